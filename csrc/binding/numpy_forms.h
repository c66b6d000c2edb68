/* What the files of flops_tracker._numpy share: NumPy's C API, and the closed forms. */
/* SPDX-License-Identifier: MIT */
#ifndef FT_NUMPY_FORMS_H
#define FT_NUMPY_FORMS_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#define NPY_NO_DEPRECATED_API NPY_2_0_API_VERSION
#define NPY_TARGET_VERSION NPY_1_25_API_VERSION /* the oldest that pyproject.toml allows */
#define PY_ARRAY_UNIQUE_SYMBOL flops_tracker_array_api
#define PY_UFUNC_UNIQUE_SYMBOL flops_tracker_ufunc_api
#ifndef FT_IMPORTS_NUMPY
#define NO_IMPORT_ARRAY
#define NO_IMPORT_UFUNC
#endif
#include <numpy/arrayobject.h>
#include <numpy/ufuncobject.h>

#include "ft.h"

/* closed_forms(): a tuple for each form: name, about, the formulas of its terms, its arguments as
 * (name, sign, default) with None for no default. */
PyObject *pyft_closed_forms(PyObject *module, PyObject *unused);
/* closed_form(name): its ufunc, made anew; the last input is the number of a convention. */
PyObject *pyft_closed_form(PyObject *module, PyObject *name);

#endif
