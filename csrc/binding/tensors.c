/* Tensors as counting sees them: shape, dtype, bytes. */
/* SPDX-License-Identifier: MIT */
#include "counting.h"

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

/* A nested tensor has no shape: it counts as its elements in a row. */
static PyObject *
shape_of(const pyft_torch *torch, PyObject *object)
{
    PyObject *shape = PyObject_GetAttr(object, torch->shape_name);
    if (shape != NULL || !PyErr_ExceptionMatches(PyExc_RuntimeError)) {
        return shape;
    }
    PyErr_Clear();
    PyObject *elements = PyObject_CallMethod(object, "numel", NULL);
    shape = elements == NULL ? NULL : PyTuple_Pack(1, elements);
    Py_XDECREF(elements);
    return shape;
}

int
pyft_read_tensor(pyft_state *state, PyObject *object, pyft_tensor *tensor)
{
    pyft_counting *counting = state->counting;
    PyObject *shape = shape_of(&counting->torch, object);
    PyObject *dtype = shape == NULL ? NULL : PyObject_GetAttr(object, counting->torch.dtype_name);
    int result = -1;
    tensor->object = object;
    if (dtype != NULL) {
        read_dims(shape, tensor);
        tensor->dtype = dtype_number(&counting->dtypes, dtype);
        result = tensor->dtype < 0 ? -1 : 0;
    }
    Py_XDECREF(shape);
    Py_XDECREF(dtype);
    return result;
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

static int
add_tensor(pyft_made *made, PyObject *object)
{
    pyft_tensor beyond;
    int at = position_of(made, object);
    if (made->argument_count >= 0 && made->first_result < 0) {
        made->first_result = at;
    }
    if (at < made->tensor_count) {
        made->bytes = ft_u128_add(made->bytes, made->tensors[at].bytes);
        return 0;
    }
    pyft_tensor *tensor =
        made->tensor_count < PYFT_MAX_TENSORS ? &made->tensors[made->tensor_count] : &beyond;
    if (pyft_read_tensor(made->state, object, tensor) < 0) {
        return -1;
    }
    ft_shape shape = {tensor->dims, tensor->ndim};
    uint64_t size = made->state->counting->dtypes.items[tensor->dtype].size;
    tensor->bytes =
        tensor->known ? ft_u128_multiply(ft_shape_numel(shape), ft_u128_of(size)) : FT_U128_ZERO;
    made->bytes = ft_u128_add(made->bytes, tensor->bytes);
    made->tensor_count += tensor != &beyond;
    return 0;
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

int
pyft_made_dtype(const pyft_made *made)
{
    int at =
        made->first_result >= 0 && made->first_result < made->tensor_count ? made->first_result : 0;
    return made->tensor_count > 0 ? made->tensors[at].dtype : PYFT_NO_DTYPE;
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
