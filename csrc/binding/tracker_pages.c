/* A tracker as HTML: _html/run.py makes the page, and the fragment for notebooks. */
/* SPDX-License-Identifier: MIT */
#include "pyft.h"

#define PAGES "flops_tracker._html.run"

PyObject *
pyft_tracker_to_html(PyObject *self, PyObject *args, PyObject *kwargs)
{
    if (pyft_tracker_check((pyft_tracker *)self) < 0) {
        return NULL;
    }
    PyObject *result = NULL, *function = NULL, *first = NULL, *all = NULL;
    PyObject *module = PyImport_ImportModule(PAGES);
    if (module != NULL && (function = PyObject_GetAttrString(module, "to_html")) != NULL &&
        (first = PyTuple_Pack(1, self)) != NULL && (all = PySequence_Concat(first, args)) != NULL) {
        result = PyObject_Call(function, all, kwargs);
    }
    Py_XDECREF(all);
    Py_XDECREF(first);
    Py_XDECREF(function);
    Py_XDECREF(module);
    return result;
}

PyObject *
pyft_tracker_repr_html(PyObject *self, PyObject *unused)
{
    (void)unused;
    return pyft_tracker_check((pyft_tracker *)self) < 0
               ? NULL
               : pyft_call_helper(PAGES, "fragment", "(O)", self);
}
