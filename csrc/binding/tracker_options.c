/* The options of a tracker: names that are none, and the values as attributes. */
/* SPDX-License-Identifier: MIT */
#include "pyft.h"

#include <string.h>

/* Whether a name of that spelling is in the list, which ends with NULL. */
static bool
is_listed(PyObject *name, char *const *names)
{
    bool found = false;
    for (; *names != NULL && !found; names++) {
        found = PyUnicode_CompareWithASCIIString(name, *names) == 0;
    }
    return found;
}

static PyObject *
list_of(char *const *names)
{
    PyObject *list = PyList_New(0);
    for (; *names != NULL && list != NULL; names++) {
        PyObject *name = PyUnicode_FromString(*names);
        if (name == NULL || PyList_Append(list, name) < 0) {
            Py_CLEAR(list);
        }
        Py_XDECREF(name);
    }
    return list;
}

int
pyft_check_option_names(PyObject *kwargs, char *const *names, const char *function)
{
    PyObject *name, *value;
    Py_ssize_t at = 0;
    while (kwargs != NULL && PyDict_Next(kwargs, &at, &name, &value)) {
        if (PyUnicode_Check(name) && !is_listed(name, names)) {
            PyObject *list = list_of(names), *done = NULL;
            if (list != NULL) {
                done = pyft_call_helper("flops_tracker._options", "refuse_unknown", "(sON)",
                                        function, name, list);
            }
            Py_XDECREF(done);
            return -1;
        }
    }
    return 0;
}

/* ---- attributes ---- */

/* Element of (trace, verify_every); the default's where neither was given. */
static PyObject *
trace_option(PyObject *object, Py_ssize_t index)
{
    PyObject *given = ((pyft_tracker *)object)->trace_options;
    PyObject *options = given != NULL ? Py_NewRef(given)
                                      : pyft_call_helper("flops_tracker._options", "trace", "(OO)",
                                                         Py_None, Py_None);
    PyObject *value = options == NULL ? NULL : PySequence_GetItem(options, index);
    Py_XDECREF(options);
    return value;
}

PyObject *
pyft_tracker_trace(PyObject *object, void *unused)
{
    (void)unused;
    return trace_option(object, 0);
}

PyObject *
pyft_tracker_verify_every(PyObject *object, void *unused)
{
    (void)unused;
    return trace_option(object, 1);
}

PyObject *
pyft_tracker_on_budget(PyObject *object, void *unused)
{
    (void)unused;
    PyObject *on_budget = ((pyft_tracker *)object)->on_budget;
    return on_budget == NULL ? PyUnicode_FromString("stop") : Py_NewRef(on_budget);
}

/* A copy: what was given by dtype must not be changed behind the checks. */
PyObject *
pyft_tracker_peak_flops(PyObject *object, void *unused)
{
    (void)unused;
    PyObject *peak = ((pyft_tracker *)object)->peak_flops;
    if (peak == NULL) {
        Py_RETURN_NONE;
    }
    return PyDict_Check(peak) ? PyDict_Copy(peak) : Py_NewRef(peak);
}

PyObject *
pyft_tracker_convention(PyObject *object, void *unused)
{
    (void)unused;
    pyft_tracker *self = (pyft_tracker *)object;
    PyObject *found =
        pyft_tracker_check(self) < 0
            ? NULL
            : pyft_call_helper("flops_tracker._run", "counted_by", "(O)", self->estimator);
    PyObject *convention = found == NULL ? NULL : PySequence_GetItem(found, 1);
    Py_XDECREF(found);
    return convention;
}

/* project and runs_csv, which the run keeps. */
PyObject *
pyft_tracker_run_option(PyObject *object, void *name)
{
    pyft_tracker *self = (pyft_tracker *)object;
    PyObject *value =
        pyft_tracker_check(self) < 0 ? NULL : PyObject_GetAttrString(self->own_run, name);
    bool none = value != NULL && PyUnicode_Check(value) && PyUnicode_GET_LENGTH(value) == 0;
    if (none) { /* a row has no project: "" */
        Py_SETREF(value, Py_NewRef(Py_None));
    }
    return value;
}
