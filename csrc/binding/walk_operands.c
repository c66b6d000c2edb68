/* Reads the operands of a rule from a layer's call: shapes, attributes, constants. */
/* SPDX-License-Identifier: MIT */
#include "walk.h"

#include <string.h>

/* The first tensor in nested tuples, lists and mappings; a new reference, or NULL with an exception
 * only where they are nested too deep (in themselves, say). */
static PyObject *
first_tensor(PyObject *object)
{
    PyObject *found = NULL;
    if (object == NULL || object == Py_None ||
        Py_EnterRecursiveCall(" while looking for a tensor")) {
        return NULL;
    }
    if (PyTuple_Check(object) || PyList_Check(object)) {
        PyObject *items = PySequence_Tuple(object);
        for (Py_ssize_t i = 0;
             items != NULL && found == NULL && !PyErr_Occurred() && i < PyTuple_GET_SIZE(items);
             i++) {
            found = first_tensor(PyTuple_GET_ITEM(items, i));
        }
        Py_XDECREF(items);
    }
    else if (PyObject_HasAttrString(object, "shape")) {
        found = Py_NewRef(object);
    }
    else if (PyMapping_Check(object) && !PyUnicode_Check(object)) {
        PyObject *values = PyMapping_Values(object);
        if (values == NULL) {
            PyErr_Clear(); /* no mapping after all */
        }
        found = first_tensor(values);
        Py_XDECREF(values);
    }
    Py_LeaveRecursiveCall();
    return found;
}

static int
read_shape(PyObject *object, int64_t *dims, ft_operand *operand)
{
    PyObject *tensor = first_tensor(object);
    PyObject *shape = tensor == NULL ? NULL : PyObject_GetAttrString(tensor, "shape");
    int result = PyErr_Occurred() ? -1 : 0;
    if (shape != NULL) {
        result = pyft_to_dims(shape, dims, &operand->shape.ndim);
        operand->shape.dims = dims;
        operand->present = true;
    }
    Py_XDECREF(tensor);
    Py_XDECREF(shape);
    return result;
}

static int
read_attribute(PyObject *module, const char *name, int64_t *dims, ft_operand *operand)
{
    PyObject *value = pyft_own_attribute(module, name);
    if (value == NULL) {
        value = PyObject_GetAttrString(module, name);
    }
    if (value == NULL || value == Py_None) {
        PyErr_Clear();
        Py_XDECREF(value);
        return 0;
    }
    int result = 0;
    operand->present = true;
    if (PyIndex_Check(value)) {
        operand->is_number = true;
        operand->number = PyLong_AsUnsignedLongLong(value); /* a negative one raises */
    }
    else {
        result = pyft_to_dims(value, dims, &operand->shape.ndim);
        operand->shape.dims = dims;
    }
    Py_DECREF(value);
    return PyErr_Occurred() ? -1 : result;
}

/* A parameter that is registered and not None, a parametrized one, or a true attribute. */
static int
is_present(PyObject *module, const char *name)
{
    PyObject *owner = pyft_own_attribute(module, "_parameters");
    PyObject *value = owner == NULL ? NULL : PyMapping_GetItemString(owner, name);
    PyErr_Clear();
    if (value == NULL) {
        value = pyft_own_attribute(module, name);
    }
    if (value == NULL) {
        PyObject *modules = pyft_own_attribute(module, "_modules");
        PyObject *list =
            modules == NULL ? NULL : PyMapping_GetItemString(modules, "parametrizations");
        PyErr_Clear();
        PyObject *parametrized = list == NULL ? NULL : pyft_own_attribute(list, "_modules");
        value = parametrized == NULL ? NULL : PyMapping_GetItemString(parametrized, name);
        PyErr_Clear();
        Py_XDECREF(modules);
        Py_XDECREF(list);
        Py_XDECREF(parametrized);
    }
    int result = value != NULL && value != Py_None && value != Py_False;
    Py_XDECREF(owner);
    Py_XDECREF(value);
    return result;
}

int
pyft_read_operand(const pyft_call *made, const ft_source *source, int64_t *dims,
                  ft_operand *operand)
{
    memset(operand, 0, sizeof *operand);
    switch (source->kind) {
    case FT_FROM_INPUT: {
        PyObject *value = source->index < PyTuple_GET_SIZE(made->args)
                              ? PyTuple_GET_ITEM(made->args, source->index)
                              : PyDict_GetItemString(made->kwargs, source->name);
        return read_shape(value, dims, operand);
    }
    case FT_FROM_OUTPUT:
        return read_shape(made->output, dims, operand);
    case FT_FROM_ATTRIBUTE:
        return read_attribute(made->module, source->name, dims, operand);
    case FT_FROM_PRESENCE:
        operand->number = (uint64_t)is_present(made->module, source->name);
        break;
    case FT_FROM_CONSTANT:
        operand->number = (uint64_t)source->index;
        break;
    default: /* operations only */
        return 0;
    }
    operand->present = operand->is_number = true;
    return 0;
}
