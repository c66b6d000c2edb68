/* A FlopCounter reads like the FlopCount of what it has seen so far. */
/* SPDX-License-Identifier: MIT */
#include "counting.h"

#include <string.h>

static PyObject *
flop_count_type(void)
{
    PyObject *module = PyImport_ImportModule("flops_tracker._counts");
    PyObject *type = module == NULL ? NULL : PyObject_GetAttrString(module, "FlopCount");
    Py_XDECREF(module);
    return type;
}

PyObject *
pyft_counter_counts(PyObject *object, void *unused)
{
    (void)unused;
    if (pyft_counter_check((pyft_counter *)object) < 0) {
        return NULL;
    }
    PyObject *type = flop_count_type();
    PyObject *counts = type == NULL ? NULL : pyft_counts_new((pyft_counter *)object, type);
    Py_XDECREF(type);
    PyObject *model = ((pyft_counter *)object)->model;
    if (counts != NULL && model != NULL) {
        PyObject *number =
            pyft_call_helper("flops_tracker._untouched", "parameter_count", "(O)", model);
        if (number == NULL || PyObject_SetAttrString(counts, "params", number) < 0) {
            Py_CLEAR(counts);
        }
        Py_XDECREF(number);
    }
    return counts;
}

PyObject *
pyft_counter_counts_as(PyObject *object, PyObject *type)
{
    pyft_counter *self = (pyft_counter *)object;
    if (pyft_counter_check(self) < 0) {
        return NULL;
    }
    return pyft_counts_new(self, type);
}

PyObject *
pyft_counter_getattro(PyObject *object, PyObject *name)
{
    PyObject *value = PyObject_GenericGetAttr(object, name);
    const char *text = value == NULL ? PyUnicode_AsUTF8(name) : NULL;
    bool shown = text != NULL && strncmp(text, "_repr_", 6) == 0; /* what notebooks ask for */
    if (value != NULL || text == NULL || (text[0] == '_' && !shown) ||
        !PyErr_ExceptionMatches(PyExc_AttributeError)) {
        return value;
    }
    PyErr_Clear();
    PyObject *counts = pyft_counter_counts(object, NULL);
    value = counts == NULL ? NULL : PyObject_GetAttr(counts, name);
    Py_XDECREF(counts);
    return value;
}

PyObject *
pyft_counter_repr(PyObject *object)
{
    PyObject *counts = pyft_counter_counts(object, NULL);
    PyObject *line = counts == NULL ? NULL : PyObject_GetAttrString(counts, "trust_line");
    PyObject *total = line == NULL ? NULL : PyObject_GetAttrString(counts, "total");
    PyObject *text =
        total == NULL
            ? NULL
            : PyUnicode_FromFormat("<flops_tracker.FlopCounter: %S FLOPs, %U>", total, line);
    Py_XDECREF(counts);
    Py_XDECREF(line);
    Py_XDECREF(total);
    return text;
}

PyObject *
pyft_counter_str(PyObject *object)
{
    PyObject *counts = pyft_counter_counts(object, NULL);
    PyObject *text = counts == NULL ? NULL : PyObject_Str(counts);
    Py_XDECREF(counts);
    return text;
}

/* Its own names and those of what it reads like, for completion. */
PyObject *
pyft_counter_dir(PyObject *object, PyObject *unused)
{
    (void)unused;
    PyObject *own = PyObject_CallMethod((PyObject *)&PyBaseObject_Type, "__dir__", "O", object);
    PyObject *names = own == NULL ? NULL : PySet_New(own);
    PyObject *type = names == NULL ? NULL : flop_count_type();
    PyObject *others = type == NULL ? NULL : PyObject_Dir(type);
    PyObject *done = others == NULL ? NULL : PyObject_CallMethod(names, "update", "O", others);
    PyObject *list = done == NULL ? NULL : PySequence_List(names);
    Py_XDECREF(own);
    Py_XDECREF(names);
    Py_XDECREF(type);
    Py_XDECREF(others);
    Py_XDECREF(done);
    return list;
}
