/* Operations without a rule, or of which a bound is counted: what a counter says of them. */
/* SPDX-License-Identifier: MIT */
#include "counting.h"

static PyObject *
shapes_text(const pyft_made *made)
{
    PyObject *parts = PyList_New(0);
    for (int i = 0; parts != NULL && i < made->argument_count; i++) {
        PyObject *shape = PyObject_GetAttrString(made->tensors[i].object, "shape");
        PyErr_Clear(); /* a nested one has none */
        PyObject *sizes = shape == NULL ? NULL : PySequence_Tuple(shape);
        PyObject *text = shape == NULL   ? PyUnicode_FromString("nested")
                         : sizes == NULL ? NULL
                                         : PyObject_Repr(sizes);
        if (text == NULL || PyList_Append(parts, text) < 0) {
            Py_CLEAR(parts);
        }
        Py_XDECREF(shape);
        Py_XDECREF(sizes);
        Py_XDECREF(text);
    }
    PyObject *comma = PyUnicode_FromString(", ");
    PyObject *result = parts == NULL || comma == NULL ? NULL : PyUnicode_Join(comma, parts);
    Py_XDECREF(parts);
    Py_XDECREF(comma);
    return result;
}

/* The shapes of the first call are kept, which is enough to write a rule. */
int
pyft_note_shapes(PyObject *dict, const pyft_made *made)
{
    int known = PyDict_Contains(dict, made->op->name);
    if (known != 0) {
        return known < 0 ? -1 : 0;
    }
    PyObject *shapes = shapes_text(made);
    int result = shapes == NULL ? -1 : PyDict_SetItem(dict, made->op->name, shapes);
    Py_XDECREF(shapes);
    return result;
}

int
pyft_check_known(const pyft_counter *counter, const pyft_op *op)
{
    if (counter->strict && op->kind == PYFT_OP_UNKNOWN && pyft_formula_of(counter, op) == NULL) {
        if (PyErr_Occurred()) {
            return -1;
        }
        PyErr_Format(counter->state->unknown_error,
                     "no rule for %U, and this counter is strict: add one with "
                     "flops_tracker.register_rule(\"%U\", fn)",
                     op->name, op->name);
        return -1;
    }
    return 0;
}
