/* Asks the rules that users wrote, in Python, and reads what they give. */
/* SPDX-License-Identifier: MIT */
#include "counting.h"

/* What a user's rule raised says whose rule it was. */
static void
note_rule(PyObject *name)
{
    PyObject *error = pyft_take_exception();
    PyObject *note = PyUnicode_FromFormat("in the rule of %U", name);
    PyObject *noted = note == NULL ? NULL : PyObject_CallMethod(error, "add_note", "O", note);
    PyErr_Clear(); /* what was raised matters more */
    Py_XDECREF(noted);
    Py_XDECREF(note);
    pyft_put_exception(error);
}

PyObject *
pyft_call_rule(const pyft_made *made, PyObject *rule)
{
    PyObject *kwargs = made->kwargs == NULL ? PyDict_New() : Py_NewRef(made->kwargs);
    Py_INCREF(rule); /* it may be replaced while it runs */
    PyObject *result =
        kwargs == NULL ? NULL
                       : PyObject_CallFunctionObjArgs(rule, made->args, kwargs, made->result, NULL);
    Py_DECREF(rule);
    Py_XDECREF(kwargs);
    return result;
}

/* A count that a rule gave; `kind` is NULL where it stands for all. */
static int
read_count(const pyft_op *op, PyObject *given, const char *kind, ft_u128 *count)
{
    PyObject *what = kind == NULL ? PyUnicode_FromFormat("what the rule of %U gave", op->name)
                                  : PyUnicode_FromFormat("in the rule of %U: %s", op->name, kind);
    const char *text = what == NULL ? NULL : PyUnicode_AsUTF8(what);
    int status = text == NULL ? -1 : pyft_to_u128(given, text, count);
    Py_XDECREF(what);
    return status;
}

static int
read_kinds(const pyft_op *op, PyObject *dict, ft_cost *cost)
{
    Py_ssize_t known = 0;
    for (int kind = 0; kind < FT_BYTES; kind++) {
        const char *name = ft_kind_name((ft_kind)kind);
        PyObject *count = PyDict_GetItemString(dict, name);
        known += count != NULL;
        if (count != NULL && read_count(op, count, name, &cost->by_kind[kind]) < 0) {
            return -1;
        }
    }
    if (known != PyDict_GET_SIZE(dict)) {
        PyErr_Format(PyExc_ValueError,
                     "the rule of %U gave %R: the kinds of a cost are mac, dot, bias, arith, "
                     "compare and special",
                     op->name, dict);
        return -1;
    }
    return 0;
}

int
pyft_user_cost(const pyft_op *op, PyObject *result, ft_cost *cost, ft_class *op_class)
{
    *op_class = FT_CLASS_POINTWISE;
    if (result == NULL) {
        note_rule(op->name);
        return -1;
    }
    int status = PyDict_Check(result) ? read_kinds(op, result, cost)
                                      : read_count(op, result, NULL, &cost->by_kind[FT_ARITH]);
    if (!ft_u128_is_zero(cost->by_kind[FT_MAC])) {
        *op_class = FT_CLASS_MATMUL;
    }
    Py_DECREF(result);
    return status;
}
