/* The extension module flops_tracker._numpy: the records of a run as a NumPy array, without a copy,
 * and closed forms as ufuncs. */
/* SPDX-License-Identifier: MIT */
#define FT_IMPORTS_NUMPY
#include "numpy_forms.h"

/* An extension of its own, so that importing the package does not import NumPy. */

/* NumPy has no 128-bit integers: a count is two columns, the upper half in the one ending in _hi.
 */
static PyArray_Descr *
step_dtype(void)
{
    PyObject *fields = Py_BuildValue(
        "{s:[ssssssss],s:[ssssssss],s:[nnnnnnnn],s:n}", "names", "epoch", "step", "batch_size",
        "flops_batch", "flops_batch_hi", "flops_total_cum", "flops_total_cum_hi", "wall_time_s",
        "formats", "=u4", "=u4", "=u8", "=u8", "=u8", "=u8", "=u8", "=f8", "offsets",
        (Py_ssize_t)offsetof(ft_step, epoch), (Py_ssize_t)offsetof(ft_step, step),
        (Py_ssize_t)offsetof(ft_step, batch_size), (Py_ssize_t)offsetof(ft_step, flops_batch.lo),
        (Py_ssize_t)offsetof(ft_step, flops_batch.hi),
        (Py_ssize_t)offsetof(ft_step, flops_total_cum.lo),
        (Py_ssize_t)offsetof(ft_step, flops_total_cum.hi),
        (Py_ssize_t)offsetof(ft_step, wall_time_s), "itemsize", (Py_ssize_t)sizeof(ft_step));
    PyArray_Descr *dtype = NULL;
    if (fields != NULL && PyArray_DescrConverter(fields, &dtype) == NPY_FAIL) {
        dtype = NULL;
    }
    Py_XDECREF(fields);
    return dtype;
}

/* A read-only view that keeps the block of records alive; the tracker goes on in a new block. */
static PyObject *
step_records(PyObject *module, PyObject *block)
{
    (void)module;
    PyObject *owner, *address;
    Py_ssize_t count;
    if (!PyArg_ParseTuple(block, "OOn:step_records", &owner, &address, &count)) {
        return NULL;
    }
    void *rows = PyLong_AsVoidPtr(address);
    PyArray_Descr *dtype = PyErr_Occurred() ? NULL : step_dtype();
    if (dtype == NULL) {
        return NULL;
    }
    npy_intp length = count;
    PyObject *array = PyArray_NewFromDescr(&PyArray_Type, dtype, 1, &length, NULL,
                                           count == 0 ? NULL : rows, 0, NULL);
    if (array != NULL && count > 0 &&
        PyArray_SetBaseObject((PyArrayObject *)array, Py_NewRef(owner)) < 0) {
        Py_CLEAR(array);
    }
    return array;
}

static PyMethodDef methods[] = {
    {"step_records", step_records, METH_O,
     "step_records($module, block, /)\n--\n\nThe records of FlopsTracker._step_block() as an array."},
    {"closed_forms", pyft_closed_forms, METH_NOARGS,
     "closed_forms($module, /)\n--\n\nThe closed forms: name, about, formulas, arguments."},
    {"closed_form", pyft_closed_form, METH_O,
     "closed_form($module, name, /)\n--\n\nA closed form as a ufunc; a convention's number comes last."},
    {NULL, NULL, 0, NULL},
};

static int
module_exec(PyObject *module)
{
    (void)module;
    if (PyArray_ImportNumPyAPI() < 0) {
        return -1;
    }
    import_umath1(-1);
    return 0;
}

static PyModuleDef_Slot slots[] = {
    {Py_mod_exec, module_exec},
#if PY_VERSION_HEX >= 0x030C0000
    {Py_mod_multiple_interpreters,
     Py_MOD_MULTIPLE_INTERPRETERS_NOT_SUPPORTED}, /* as NumPy itself */
#endif
#if PY_VERSION_HEX >= 0x030D0000
    {Py_mod_gil, Py_MOD_GIL_USED},
#endif
    {0, NULL},
};

static PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "flops_tracker._numpy",
    .m_doc = "NumPy views of the core's records, and closed forms.",
    .m_methods = methods,
    .m_slots = slots,
};

PyMODINIT_FUNC
PyInit__numpy(void)
{
    return PyModuleDef_Init(&definition);
}
