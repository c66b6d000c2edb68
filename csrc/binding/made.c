/* The tensors of a call: each once, their bytes, and what sparse ones store. */
/* SPDX-License-Identifier: MIT */
#include "operations.h"

/* ---- bytes and elements ---- */

static void
add_stored(int64_t *sum, int64_t stored)
{
    if (stored == PYFT_UNREADABLE || *sum == PYFT_DENSE) {
        *sum = stored;
    }
    else if (stored != PYFT_DENSE && *sum != PYFT_UNREADABLE) {
        *sum += stored;
    }
}

/* Bytes of a tensor that is not strided, and what it stores; -1 bytes where it does not say. */
static int
read_sparse(pyft_made *made, const pyft_tensor *tensor, int64_t *bytes)
{
    int64_t stored = PYFT_DENSE;
    if (pyft_read_stored(tensor->object, &stored, bytes) < 0) {
        *bytes = -1;
        stored = PYFT_UNREADABLE;
        if (pyft_forgive() < 0) {
            return -1;
        }
    }
    bool is_result = made->first_result >= 0 && tensor == &made->tensors[made->first_result];
    if (is_result) {
        add_stored(&made->result_entries, stored);
    }
    if (!is_result || made->first_result < made->argument_count) { /* in place it is both */
        add_stored(&made->argument_entries, stored);
    }
    made->is_sparse = made->is_sparse || stored != PYFT_DENSE;
    return 0;
}

/* What works in place returns its argument, which is read once and counts twice. */
static int
position_of(const pyft_made *made, PyObject *object)
{
    int at = 0;
    while (at < made->tensor_count && made->tensors[at].object != object) {
        at++;
    }
    return at;
}

int
pyft_made_numel(pyft_made *made, PyObject *object, uint64_t *numel)
{
    const pyft_torch *torch = &made->state->counting->torch;
    int at = position_of(made, object);
    pyft_tensor *tensor = &made->tensors[at];
    if (at == made->tensor_count || tensor->ndim >= 0 || !pyft_has_own_getters(torch, object)) {
        return 0;
    }
    if (pyft_tensor_layout(torch, tensor) < 0 || pyft_tensor_dtype(made->state, tensor) < 0) {
        return -1;
    }
    uint8_t size = made->state->counting->dtypes.items[tensor->dtype].size;
    if (tensor->layout != PYFT_STRIDED || size == 0) {
        return 0;
    }
    if (pyft_tensor_bytes(torch, tensor) < 0) {
        return -1;
    }
    *numel = (uint64_t)tensor->bytes / size;
    return tensor->bytes >= 0;
}

/* From its shape, where that was read or where the tensor does not say. */
static int
add_bytes(pyft_made *made, pyft_tensor *tensor)
{
    const pyft_torch *torch = &made->state->counting->torch;
    int64_t given = -1;
    if (pyft_tensor_layout(torch, tensor) < 0 ||
        (tensor->layout == PYFT_OTHER && read_sparse(made, tensor, &given) < 0)) {
        return -1;
    }
    if (given < 0 && tensor->ndim < 0) {
        if (pyft_tensor_bytes(torch, tensor) < 0) {
            return -1;
        }
        given = tensor->bytes;
    }
    ft_u128 bytes = ft_u128_of(given < 0 ? 0 : (uint64_t)given);
    if (given < 0 && pyft_tensor_shape(made->state, tensor) < 0) {
        return -1;
    }
    if (given < 0 && tensor->known) {
        if (pyft_tensor_dtype(made->state, tensor) < 0) {
            return -1;
        }
        ft_shape shape = {tensor->dims, tensor->ndim};
        bytes =
            ft_u128_multiply(ft_shape_numel(shape),
                             ft_u128_of(made->state->counting->dtypes.items[tensor->dtype].size));
    }
    made->bytes =
        ft_u128_add(made->bytes, ft_u128_multiply(bytes, ft_u128_of((uint64_t)tensor->times)));
    return 0;
}

/* ---- all tensors of a call ---- */

static void
begin_tensor(pyft_tensor *tensor, PyObject *object)
{
    tensor->object = object;
    tensor->times = 1;
    tensor->dtype = tensor->ndim = -1;
    tensor->layout = PYFT_UNREAD;
    tensor->bytes = -1;
}

static int
add_tensor(pyft_made *made, PyObject *object)
{
    int at = position_of(made, object);
    if (made->argument_count >= 0 && made->first_result < 0) {
        made->first_result = at;
    }
    if (at < made->tensor_count) {
        made->tensors[at].times++;
        return 0;
    }
    if (at < PYFT_MAX_TENSORS) {
        begin_tensor(&made->tensors[made->tensor_count++], object);
        return 0;
    }
    pyft_tensor beyond;
    begin_tensor(&beyond, object);
    return add_bytes(made, &beyond);
}

/* Lists: their one element for operations on each, else all of them. */
static int
add_tensors(pyft_made *made, PyObject *value)
{
    if (pyft_is_tensor(&made->state->counting->torch, value)) {
        return add_tensor(made, value);
    }
    if (!PyTuple_Check(value) && !PyList_Check(value)) {
        return 0;
    }
    Py_ssize_t first = made->element < 0 ? 0 : made->element;
    Py_ssize_t last = PySequence_Fast_GET_SIZE(value);
    if (made->element >= 0 && made->element + 1 < last) {
        last = made->element + 1;
    }
    for (Py_ssize_t i = first; i < last; i++) {
        PyObject *item = PySequence_Fast_GET_ITEM(value, i);
        if (pyft_is_tensor(&made->state->counting->torch, item) && add_tensor(made, item) < 0) {
            return -1;
        }
    }
    return 0;
}

int
pyft_made_read(pyft_made *made)
{
    made->tensor_count = 0;
    made->argument_count = made->first_result = -1;
    made->bytes = FT_U128_ZERO;
    made->has_bytes = made->is_sparse = false;
    made->argument_entries = made->result_entries = PYFT_DENSE;
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(made->args); i++) {
        if (add_tensors(made, PyTuple_GET_ITEM(made->args, i)) < 0) {
            return -1;
        }
    }
    PyObject *key, *value;
    Py_ssize_t position = 0;
    while (made->kwargs != NULL && PyDict_Next(made->kwargs, &position, &key, &value)) {
        if (add_tensors(made, value) < 0) {
            return -1;
        }
    }
    made->argument_count = made->tensor_count;
    return add_tensors(made, made->result);
}

pyft_tensor *
pyft_made_tensor(pyft_made *made, PyObject *object, pyft_tensor *beyond)
{
    int at = position_of(made, object);
    pyft_tensor *tensor = at < made->tensor_count ? &made->tensors[at] : beyond;
    if (tensor == beyond) {
        begin_tensor(beyond, object);
    }
    if (pyft_tensor_shape(made->state, tensor) < 0) {
        return NULL;
    }
    if (!tensor->known) {
        PyErr_SetString(PyExc_ValueError, "the sizes of a tensor are not known");
        return NULL;
    }
    return tensor;
}

int
pyft_made_bytes(pyft_made *made)
{
    for (int i = 0; i < made->tensor_count && !made->has_bytes; i++) {
        if (add_bytes(made, &made->tensors[i]) < 0) {
            return -1;
        }
    }
    made->has_bytes = true;
    return 0;
}

static int
dtype_at(pyft_made *made, int at)
{
    if (at >= made->tensor_count) {
        return PYFT_NO_DTYPE;
    }
    return pyft_tensor_dtype(made->state, &made->tensors[at]) < 0 ? -1 : made->tensors[at].dtype;
}

int
pyft_made_dtype(pyft_made *made)
{
    bool kept = made->first_result >= 0 && made->first_result < made->tensor_count;
    return dtype_at(made, kept ? made->first_result : 0);
}

int
pyft_made_argument_dtype(pyft_made *made)
{
    return dtype_at(made, 0);
}

Py_ssize_t
pyft_made_elements(const pyft_made *made)
{
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(made->args); i++) {
        PyObject *value = PyTuple_GET_ITEM(made->args, i);
        if (PyTuple_Check(value) || PyList_Check(value)) {
            return PySequence_Fast_GET_SIZE(value);
        }
    }
    return 0;
}
