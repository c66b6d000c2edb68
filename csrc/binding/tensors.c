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

bool
pyft_has_own_getters(const pyft_torch *torch, PyObject *object)
{
    PyObject *type = (PyObject *)Py_TYPE(object);
    return type == torch->tensor_type || type == torch->parameter_type || type == torch->fake_type;
}

/* The getters of a tensor's own class are called without looking them up. */
static PyObject *
attribute_of(const pyft_torch *torch, PyObject *object, PyObject *name, PyObject *getter)
{
    if (pyft_has_own_getters(torch, object)) {
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

int
pyft_tensor_shape(pyft_state *state, pyft_tensor *tensor)
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

int
pyft_tensor_dtype(pyft_state *state, pyft_tensor *tensor)
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

/* Below a mode, lists on a CPU are changed in place without a new version of their tensors. */
int
pyft_raise_versions(const pyft_torch *torch, PyObject *args)
{
    PyObject *list = PyTuple_GET_SIZE(args) == 0 ? NULL : PyTuple_GET_ITEM(args, 0);
    PyObject *on_cpu = list == NULL || !PyList_Check(list) ? NULL : PyList_New(0);
    if (on_cpu == NULL) {
        return PyErr_Occurred() ? -1 : 0;
    }
    int result = 0;
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(list) && result == 0; i++) {
        PyObject *tensor = PyList_GET_ITEM(list, i);
        PyObject *is_cpu = attribute_of(torch, tensor, torch->is_cpu_name, torch->is_cpu_getter);
        result = is_cpu == NULL ? -1 : is_cpu == Py_True ? PyList_Append(on_cpu, tensor) : 0;
        Py_XDECREF(is_cpu);
    }
    PyObject *raised = result < 0 || PyList_GET_SIZE(on_cpu) == 0
                           ? NULL
                           : PyObject_CallOneArg(torch->increment_version, on_cpu);
    Py_XDECREF(raised);
    Py_DECREF(on_cpu);
    return PyErr_Occurred() ? -1 : 0;
}

/* Tensors that do not say, and the like; 0 but for an interrupt, which stays. */
int
pyft_forgive(void)
{
    if (PyErr_Occurred() && !PyErr_ExceptionMatches(PyExc_Exception)) {
        return -1;
    }
    PyErr_Clear();
    return 0;
}

int
pyft_tensor_layout(const pyft_torch *torch, pyft_tensor *tensor)
{
    if (tensor->layout == PYFT_UNREAD) {
        int strided = pyft_is_strided(torch, tensor->object);
        if (strided < 0 && pyft_forgive() < 0) {
            return -1;
        }
        tensor->layout = strided < 0 ? PYFT_SILENT : strided ? PYFT_STRIDED : PYFT_OTHER;
    }
    return 0;
}

int
pyft_tensor_bytes(const pyft_torch *torch, pyft_tensor *tensor)
{
    if (tensor->bytes >= 0) {
        return 0;
    }
    PyObject *value = attribute_of(torch, tensor->object, torch->nbytes_name, torch->nbytes_getter);
    if (value == NULL || !pyft_read_size(value, &tensor->bytes)) {
        tensor->bytes = -1;
    }
    Py_XDECREF(value);
    return pyft_forgive();
}
