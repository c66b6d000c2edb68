/* Exceptions: the one place where a status of the core becomes one, and taking one over. */
/* SPDX-License-Identifier: MIT */
#include "pyft.h"

PyObject *
pyft_take_exception(void)
{
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    PyErr_NormalizeException(&type, &value, &traceback);
    if (traceback != NULL) {
        PyException_SetTraceback(value, traceback);
    }
    Py_XDECREF(type);
    Py_XDECREF(traceback);
    return value;
}

PyObject *
pyft_keep_first(PyObject *first)
{
    PyObject *later = pyft_take_exception();
    if (first == NULL) {
        return later;
    }
    Py_XDECREF(later);
    return first;
}

void
pyft_forbid_stop_iteration(void)
{
    if (!PyErr_ExceptionMatches(PyExc_StopIteration)) {
        return;
    }
    PyObject *stop = pyft_take_exception();
    PyErr_SetString(PyExc_RuntimeError, "StopIteration was raised while an epoch was trained: an "
                                        "iterator that is read with next() has run out");
    PyObject *error = pyft_take_exception();
    PyException_SetCause(error, stop);
    PyErr_SetObject(PyExc_RuntimeError, error);
    Py_DECREF(error);
}

PyObject *
pyft_raise(ft_status status, const char *doing)
{
    PyObject *type = PyExc_ValueError;
    switch (status) {
    case FT_OK:
        return NULL;
    case FT_SINK_FAILED:
        if (PyErr_Occurred()) {
            return NULL; /* the file's own exception says more */
        }
        type = PyExc_OSError;
        break;
    case FT_NO_MEMORY:
        return PyErr_NoMemory();
    case FT_OVERFLOW:
    case FT_TOO_MANY_SAMPLES:
        type = PyExc_OverflowError;
        break;
    case FT_EPOCH_OPEN:
        PyErr_Format(PyExc_RuntimeError, "%s: an epoch is open; call on_epoch_end() first", doing);
        return NULL;
    case FT_NO_EPOCH:
        PyErr_Format(PyExc_RuntimeError, "%s: no epoch is open; call on_epoch_start() first",
                     doing);
        return NULL;
    default:
        break;
    }
    PyErr_Format(type, "%s: %s", doing, ft_status_text(status));
    return NULL;
}

void
pyft_put_exception(PyObject *error)
{
    if (error == NULL) {
        return;
    }
    PyErr_Restore(Py_NewRef((PyObject *)Py_TYPE(error)), error, PyException_GetTraceback(error));
}
