/* Operands that are not in a tensor's shape but in what it holds: entries, lengths, blocks. */
/* SPDX-License-Identifier: MIT */
#include "operations.h"

int
pyft_read_stored(PyObject *tensor, int64_t *entries, int64_t *bytes)
{
    *entries = PYFT_DENSE;
    PyObject *stored = pyft_call_helper("flops_tracker._operations", "stored", "(O)", tensor);
    if (stored != NULL && stored != Py_None) {
        *entries = PyLong_AsLongLong(PyTuple_GET_ITEM(stored, 0));
        *bytes = PyLong_AsLongLong(PyTuple_GET_ITEM(stored, 1));
    }
    Py_XDECREF(stored);
    return PyErr_Occurred() ? -1 : 0;
}

/* The values of a sparse tensor, of all its blocks and batches; nothing for a dense one. */
int
pyft_entries_operand(pyft_made *made, PyObject *value, ft_operand *operand)
{
    const pyft_torch *torch = &made->state->counting->torch;
    int64_t entries = PYFT_DENSE, bytes;
    int strided =
        value == NULL || !pyft_is_tensor(torch, value) ? 1 : pyft_is_strided(torch, value);
    if (strided != 0) {
        return strided < 0 ? -1 : 0;
    }
    if (pyft_read_stored(value, &entries, &bytes) < 0) {
        return -1;
    }
    operand->present = operand->is_number = entries != PYFT_DENSE;
    operand->number = (uint64_t)entries;
    return 0;
}

/* Room for a list, in `dims` where that is enough. */
static int64_t *
room_for(Py_ssize_t count, int64_t *dims)
{
    int64_t *room = count > FT_MAX_DIMS ? PyMem_Malloc((size_t)count * sizeof *room) : dims;
    if (room == NULL) {
        PyErr_NoMemory();
    }
    return room;
}

/* Whether a tensor's numbers are there, and to be had without waiting for an accelerator. */
static bool
is_readable(const pyft_torch *torch, PyObject *value)
{
    PyObject *here = (PyObject *)Py_TYPE(value) == torch->tensor_type
                         ? PyObject_GetAttrString(value, "is_cpu")
                         : NULL;
    PyErr_Clear();
    Py_XDECREF(here);
    return here == Py_True;
}

/* Offsets of sequences that lie one after the other, as lengths. */
int
pyft_lengths_operand(pyft_made *made, PyObject *value, int64_t *dims, ft_operand *operand)
{
    const pyft_torch *torch = &made->state->counting->torch;
    if (value == NULL || !pyft_is_tensor(torch, value)) {
        return 0;
    }
    PyObject *offsets =
        is_readable(torch, value) ? PyObject_CallMethod(value, "tolist", NULL) : NULL;
    if (offsets == NULL || !PyList_Check(offsets) || PyList_GET_SIZE(offsets) == 0) {
        PyErr_Clear();
        Py_XDECREF(offsets);
        made->bounded = true;
        return 0;
    }
    Py_ssize_t count = PyList_GET_SIZE(offsets) - 1;
    int64_t *lengths = room_for(count, dims);
    int64_t previous = PyLong_AsLongLong(PyList_GET_ITEM(offsets, 0));
    for (Py_ssize_t i = 0; i < count && lengths != NULL; i++) {
        int64_t next = PyLong_AsLongLong(PyList_GET_ITEM(offsets, i + 1));
        lengths[i] = next - previous;
        previous = next;
    }
    Py_DECREF(offsets);
    operand->present = lengths != NULL;
    operand->shape = (ft_shape){lengths, (int)count};
    return PyErr_Occurred() ? -1 : 0;
}

/* Numbers in a list of Python's, as a shape. */
static int
integers_operand(PyObject *list, int64_t *dims, ft_operand *operand)
{
    Py_ssize_t count = PyList_GET_SIZE(list);
    int64_t *numbers = room_for(count, dims);
    for (Py_ssize_t i = 0; i < count && numbers != NULL; i++) {
        numbers[i] = PyLong_AsLongLong(PyList_GET_ITEM(list, i));
    }
    operand->present = numbers != NULL;
    operand->shape = (ft_shape){numbers, (int)count};
    return PyErr_Occurred() ? -1 : 0;
}

int
pyft_blocks_operand(pyft_made *made, PyObject *mask, int64_t *dims, ft_operand *operand)
{
    if (mask == NULL || !PyTuple_Check(mask)) {
        return 0;
    }
    PyObject *blocks = pyft_call_helper("flops_tracker._operations", "mask_blocks", "(O)", mask);
    int result = blocks == NULL         ? -1
                 : PyList_Check(blocks) ? integers_operand(blocks, dims, operand)
                                        : 0;
    made->bounded = made->bounded || blocks == Py_None;
    Py_XDECREF(blocks);
    return result;
}

/* The first size of every tensor in a nested one. */
int
pyft_nested_operand(const pyft_torch *torch, PyObject *value, int64_t *dims, ft_operand *operand)
{
    PyObject *nested = value == NULL || !pyft_is_tensor(torch, value)
                           ? Py_NewRef(Py_False)
                           : PyObject_GetAttrString(value, "is_nested");
    Py_XDECREF(nested);
    if (nested != Py_True) {
        return nested == NULL ? -1 : 0;
    }
    PyObject *lengths =
        pyft_call_helper("flops_tracker._operations", "nested_lengths", "(O)", value);
    int result = lengths == NULL         ? -1
                 : PyList_Check(lengths) ? integers_operand(lengths, dims, operand)
                                         : 0;
    Py_XDECREF(lengths);
    return result;
}

void
pyft_operand_free(const int64_t *dims, ft_operand *operand)
{
    if (operand->present && !operand->is_number && operand->shape.ndim > FT_MAX_DIMS &&
        operand->shape.dims != dims) {
        PyMem_Free((void *)operand->shape.dims);
    }
}

int
pyft_packed_bias(PyObject *value, uint64_t *there)
{
    PyObject *found = value == NULL ? Py_NewRef(Py_False)
                                    : pyft_call_helper("flops_tracker._operations",
                                                       "has_packed_bias", "(O)", value);
    *there = found == Py_True;
    Py_XDECREF(found);
    return found == NULL ? -1 : 0;
}
