/* A digest of what decides which work a step of an optimizer does. */
/* SPDX-License-Identifier: MIT */
#include "steps.h"

/* Which work an option switches on: a number is 0, 1, -1 (which scale nothing), or another one. */
static int
add_option(pyft_digest *digest, PyObject *value, bool is_rate)
{
    if (PyFloat_CheckExact(value)) {
        double number = PyFloat_AS_DOUBLE(value);
        bool one = number == 1 || number == -1;
        pyft_digest_add(digest, (number == 0 && !is_rate) ? 1 : one ? 2 + (number < 0) : 4);
        return 0;
    }
    pyft_digest_add_pointer(digest, Py_TYPE(value));
    if (PyTuple_Check(value) || PyList_Check(value)) {
        int result = 0;
        for (Py_ssize_t i = 0; i < PySequence_Fast_GET_SIZE(value) && result == 0; i++) {
            result = add_option(digest, PySequence_Fast_GET_ITEM(value, i), is_rate);
        }
        return result;
    }
    if (value == Py_None || PyBool_Check(value)) {
        pyft_digest_add_pointer(digest, value);
    }
    else if (PyLong_Check(value) || PyUnicode_Check(value)) {
        return pyft_digest_hash(digest, value);
    }
    return 0;
}

/* Keys that were unpickled may be other objects. */
static bool
is_name(PyObject *key, PyObject *name)
{
    return key == name || (PyUnicode_Check(key) && !PyUnicode_CHECK_INTERNED(key) &&
                           PyUnicode_Compare(key, name) == 0);
}

static int
add_group(pyft_digest *digest, const pyft_known *known, PyObject *group, uint64_t *gradients)
{
    PyObject *key, *value;
    Py_ssize_t position = 0;
    if (!PyDict_Check(group)) {
        return 1;
    }
    while (PyDict_Next(group, &position, &key, &value)) {
        if (is_name(key, known->initial_lr)) {
            continue;
        }
        if (!is_name(key, known->params)) {
            if (add_option(digest, value, is_name(key, known->lr)) < 0) {
                return -1;
            }
            continue;
        }
        if (!PyList_Check(value)) {
            return 1;
        }
        for (Py_ssize_t i = 0; i < PyList_GET_SIZE(value); i++) {
            PyObject *parameter = PyList_GET_ITEM(value, i);
            if (!PyObject_TypeCheck(parameter, (PyTypeObject *)known->tensor_type)) {
                return 1;
            }
            PyObject *grad = known->grad->get(parameter, known->grad->closure);
            if (grad == NULL) {
                return -1;
            }
            pyft_digest_add_pointer(digest, parameter);
            *gradients = pyft_mixed(*gradients, grad == Py_None);
            Py_DECREF(grad);
        }
    }
    return 0;
}

int
pyft_digest_optimizer(pyft_digest *digest, const pyft_known *known, PyObject *optimizer,
                      uint64_t *gradients)
{
    *gradients = 0;
    PyObject *type = (PyObject *)Py_TYPE(optimizer);
    bool steady = false;
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(known->steady) && !steady; i++) {
        steady = PyTuple_GET_ITEM(known->steady, i) == type;
    }
    if (!steady) {
        return 1;
    }
    pyft_digest_add_pointer(digest, type);
    PyObject *const hooks[] = {known->step_pre_hooks, known->step_post_hooks};
    for (int i = 0; i < 2; i++) {
        PyObject *table = PyObject_GetAttr(optimizer, hooks[i]);
        pyft_digest_add(digest, table != NULL && PyDict_Check(table)
                                    ? (uint64_t)PyDict_GET_SIZE(table)
                                    : UINT64_MAX);
        Py_XDECREF(table);
        PyErr_Clear();
    }
    PyObject *groups = PyObject_GetAttr(optimizer, known->param_groups);
    int result = groups == NULL ? -1 : PyList_Check(groups) ? 0 : 1;
    for (Py_ssize_t i = 0; result == 0 && i < PyList_GET_SIZE(groups); i++) {
        result = add_group(digest, known, PyList_GET_ITEM(groups, i), gradients);
    }
    Py_XDECREF(groups);
    pyft_digest_add(digest, *gradients);
    PyObject *state = result == 0 ? PyObject_GetAttr(optimizer, known->state) : NULL;
    if (result == 0 && (state == NULL || !PyDict_Check(state))) {
        result = state == NULL ? -1 : 1;
    }
    if (result == 0) { /* the first step of a parameter makes its state */
        pyft_digest_add(digest, (uint64_t)PyDict_GET_SIZE(state));
    }
    Py_XDECREF(state);
    if (result < 0 && PyErr_ExceptionMatches(PyExc_Exception)) {
        PyErr_Clear();
        result = 1;
    }
    return result;
}
