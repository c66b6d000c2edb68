/* Tensors as counting sees them: shape, dtype, bytes. */
/* SPDX-License-Identifier: MIT */
#include "operations.h"

bool
pyft_is_tensor(const pyft_torch *torch, PyObject *object)
{
    return PyObject_TypeCheck(object, (PyTypeObject *)torch->tensor_type);
}

/* ---- dtypes ---- */

static int
read_dtype(PyObject *dtype, pyft_dtype *entry)
{
    PyObject *floating = PyObject_GetAttrString(dtype, "is_floating_point");
    PyObject *complex = PyObject_GetAttrString(dtype, "is_complex");
    PyObject *size = PyObject_GetAttrString(dtype, "itemsize");
    PyObject *text = PyObject_Str(dtype); /* torch.float32 */
    int result = -1;
    if (floating != NULL && complex != NULL && size != NULL && text != NULL) {
        entry->kind = floating == Py_True  ? PYFT_REAL
                      : complex == Py_True ? PYFT_COMPLEX
                                           : PYFT_INTEGER;
        entry->size = (uint8_t)PyLong_AsLong(size);
        Py_ssize_t dot = PyUnicode_FindChar(text, '.', 0, PyUnicode_GET_LENGTH(text), 1);
        entry->name = PyUnicode_Substring(text, dot + 1, PyUnicode_GET_LENGTH(text));
        entry->dtype = Py_NewRef(dtype);
        result = entry->name == NULL || PyErr_Occurred() ? -1 : 0;
    }
    Py_XDECREF(floating);
    Py_XDECREF(complex);
    Py_XDECREF(size);
    Py_XDECREF(text);
    return result;
}

/* The number of a dtype, 0 where there is no room for one more; -1 with an exception. */
static int
dtype_number(pyft_dtypes *dtypes, PyObject *dtype)
{
    for (int i = 1; i <= dtypes->count; i++) {
        if (dtypes->items[i].dtype == dtype) {
            return i;
        }
    }
    if (dtypes->count + 1 == PYFT_MAX_DTYPES) {
        return PYFT_NO_DTYPE;
    }
    pyft_dtype entry = {0};
    if (read_dtype(dtype, &entry) < 0) {
        Py_XDECREF(entry.dtype);
        Py_XDECREF(entry.name);
        return -1;
    }
    dtypes->items[++dtypes->count] = entry;
    return dtypes->count;
}

/* ---- one tensor ---- */

bool
pyft_read_size(PyObject *value, int64_t *size)
{
    PyObject *node = NULL, *hint = NULL;
    if (!PyLong_Check(value)) {
        /* A symbolic one: asking for its value would fix it, in the graph that is being made. */
        node = PyObject_GetAttrString(value, "node");
        hint = node == NULL ? NULL : PyObject_GetAttrString(node, "hint");
        value = hint;
    }
    bool known = value != NULL && PyLong_Check(value);
    *size = known ? PyLong_AsLongLong(value) : 0;
    known = known && !PyErr_Occurred();
    PyErr_Clear();
    Py_XDECREF(node);
    Py_XDECREF(hint);
    return known;
}

static void
read_dims(PyObject *shape, pyft_tensor *tensor)
{
    Py_ssize_t length = PyTuple_Check(shape) ? PyTuple_GET_SIZE(shape) : FT_MAX_DIMS + 1;
    tensor->known = length <= FT_MAX_DIMS;
    for (Py_ssize_t i = 0; i < length && tensor->known; i++) {
        tensor->known = pyft_read_size(PyTuple_GET_ITEM(shape, i), &tensor->dims[i]);
    }
    tensor->ndim = tensor->known ? (int)length : 0;
}

/* The getters of a tensor's own class are called without looking them up. */
static PyObject *
attribute_of(const pyft_torch *torch, PyObject *object, PyObject *name, PyObject *getter)
{
    if ((PyObject *)Py_TYPE(object) == torch->tensor_type ||
        (PyObject *)Py_TYPE(object) == torch->parameter_type) {
        const PyGetSetDef *direct = ((PyGetSetDescrObject *)getter)->d_getset;
        return direct->get(object, direct->closure);
    }
    return PyObject_GetAttr(object, name);
}

/* A nested tensor has no shape: it counts as its elements in a row. */
static PyObject *
shape_of(const pyft_torch *torch, PyObject *object)
{
    PyObject *shape = attribute_of(torch, object, torch->shape_name, torch->shape_getter);
    if (shape != NULL || !PyErr_ExceptionMatches(PyExc_RuntimeError)) {
        return shape;
    }
    PyErr_Clear();
    PyObject *elements = PyObject_CallMethod(object, "numel", NULL);
    shape = elements == NULL ? NULL : PyTuple_Pack(1, elements);
    Py_XDECREF(elements);
    return shape;
}

static int
read_shape(pyft_state *state, pyft_tensor *tensor)
{
    if (tensor->ndim >= 0) {
        return 0;
    }
    PyObject *shape = shape_of(&state->counting->torch, tensor->object);
    if (shape == NULL) {
        return -1;
    }
    read_dims(shape, tensor);
    Py_DECREF(shape);
    return 0;
}

static int
read_tensor_dtype(pyft_state *state, pyft_tensor *tensor)
{
    const pyft_torch *torch = &state->counting->torch;
    if (tensor->dtype >= 0) {
        return 0;
    }
    PyObject *dtype = attribute_of(torch, tensor->object, torch->dtype_name, torch->dtype_getter);
    tensor->dtype = dtype == NULL ? -1 : dtype_number(&state->counting->dtypes, dtype);
    Py_XDECREF(dtype);
    return tensor->dtype < 0 ? -1 : 0;
}

int
pyft_is_strided(const pyft_torch *torch, PyObject *tensor)
{
    PyObject *layout = attribute_of(torch, tensor, torch->layout_name, torch->layout_getter);
    Py_XDECREF(layout);
    return layout == NULL ? -1 : layout == torch->strided;
}

/* Tensors that do not say, and the like; 0 but for an interrupt, which stays. */
static int
forgive(void)
{
    if (PyErr_Occurred() && !PyErr_ExceptionMatches(PyExc_Exception)) {
        return -1;
    }
    PyErr_Clear();
    return 0;
}

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
        if (forgive() < 0) {
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

/* From its shape, where that was read or where the tensor does not say. */
static int
add_bytes(pyft_made *made, pyft_tensor *tensor)
{
    const pyft_torch *torch = &made->state->counting->torch;
    int64_t given = -1;
    int strided = pyft_is_strided(torch, tensor->object);
    if (strided < 0 && forgive() < 0) {
        return -1;
    }
    if (strided == 0 && read_sparse(made, tensor, &given) < 0) {
        return -1;
    }
    if (given < 0 && tensor->ndim < 0) {
        PyObject *value =
            attribute_of(torch, tensor->object, torch->nbytes_name, torch->nbytes_getter);
        if (value == NULL || !pyft_read_size(value, &given)) {
            given = -1;
        }
        Py_XDECREF(value);
        if (forgive() < 0) {
            return -1;
        }
    }
    ft_u128 bytes = ft_u128_of(given < 0 ? 0 : (uint64_t)given);
    if (given < 0 && read_shape(made->state, tensor) < 0) {
        return -1;
    }
    if (given < 0 && tensor->known) {
        if (read_tensor_dtype(made->state, tensor) < 0) {
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

static void
begin_tensor(pyft_tensor *tensor, PyObject *object)
{
    tensor->object = object;
    tensor->times = 1;
    tensor->dtype = tensor->ndim = -1;
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
    if (read_shape(made->state, tensor) < 0) {
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
    return read_tensor_dtype(made->state, &made->tensors[at]) < 0 ? -1 : made->tensors[at].dtype;
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
