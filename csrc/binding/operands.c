/* Reads the operands of an operation's rule from a call: shapes, numbers, flags. */
/* SPDX-License-Identifier: MIT */
#include "operations.h"

#include <string.h>

/* The argument, its default where it was not given, or NULL; borrowed. Of a list, for an operation
 * on each, the element. */
static PyObject *
argument_of(const pyft_made *made, const pyft_argument *argument)
{
    PyObject *value = argument->fallback;
    if (argument->position >= 0 && argument->position < PyTuple_GET_SIZE(made->args)) {
        value = PyTuple_GET_ITEM(made->args, argument->position);
    }
    else if (made->kwargs != NULL && argument->name != NULL) {
        PyObject *given = PyDict_GetItem(made->kwargs, argument->name);
        value = given != NULL ? given : value;
    }
    if (made->element >= 0 && value != NULL && (PyTuple_Check(value) || PyList_Check(value))) {
        return made->element < PySequence_Fast_GET_SIZE(value)
                   ? PySequence_Fast_GET_ITEM(value, made->element)
                   : NULL;
    }
    return value;
}

static int
tensor_operand(pyft_made *made, PyObject *value, int64_t *dims, ft_operand *operand)
{
    if (value != NULL && (PyTuple_Check(value) || PyList_Check(value)) &&
        PySequence_Fast_GET_SIZE(value) > 0) {
        value = PySequence_Fast_GET_ITEM(value, 0);
    }
    if (value == NULL || !pyft_is_tensor(&made->state->counting->torch, value)) {
        return 0;
    }
    pyft_tensor beyond;
    const pyft_tensor *tensor = pyft_made_tensor(made, value, &beyond);
    operand->present = true;
    if (tensor == NULL) {
        return -1;
    }
    if (tensor == &beyond) {
        memcpy(dims, beyond.dims, (size_t)beyond.ndim * sizeof *dims);
    }
    operand->shape = (ft_shape){tensor == &beyond ? dims : tensor->dims, tensor->ndim};
    return 0;
}

/* The result's tensor number `index`; what works in place and returns nothing changed its first
 * argument. */
static PyObject *
output_of(const pyft_made *made, int index)
{
    static const pyft_argument first = {.position = 0};
    PyObject *result = made->result;
    bool listed = PyTuple_Check(result) || PyList_Check(result);
    Py_ssize_t at = made->element >= 0 ? made->element : index;
    if (listed && at < PySequence_Fast_GET_SIZE(result)) {
        return PySequence_Fast_GET_ITEM(result, at);
    }
    return made->element >= 0 ? argument_of(made, &first) : listed || index > 0 ? NULL : result;
}

/* Of what is worked on element by element, how many there are is enough. */
static int
output_operand(pyft_made *made, PyObject *value, ft_role_kind role, int64_t *dims,
               ft_operand *operand)
{
    int is_number = made->by_numel && role == FT_ELEMENTS && value != NULL
                        ? pyft_made_numel(made, value, &operand->number)
                        : 0;
    if (is_number == 0) {
        return tensor_operand(made, value, dims, operand);
    }
    operand->present = operand->is_number = true;
    return is_number < 0 ? -1 : 0;
}

static int
value_operand(PyObject *value, int64_t *dims, ft_operand *operand)
{
    if (value == NULL || value == Py_None) {
        return 0;
    }
    if (PyLong_Check(value)) {
        operand->present = operand->is_number = true;
        operand->number = PyLong_AsUnsignedLongLong(value);
        if (PyErr_Occurred()) { /* a negative one, such as an axis: no operand */
            PyErr_Clear();
            operand->present = false;
        }
        return 0;
    }
    if (PyFloat_Check(value)) {
        double number = PyFloat_AS_DOUBLE(value);
        bool whole = number >= 0 && number < 9e15 && number == (double)(uint64_t)number;
        operand->present = operand->is_number = whole || number == Py_HUGE_VAL;
        operand->number = whole ? (uint64_t)number : UINT64_MAX;
        return 0;
    }
    if (!PyTuple_Check(value) && !PyList_Check(value)) {
        int64_t number = -1;
        operand->present = operand->is_number = pyft_read_size(value, &number) && number >= 0;
        operand->number = (uint64_t)number;
        return 0;
    }
    Py_ssize_t length = PySequence_Fast_GET_SIZE(value);
    for (Py_ssize_t i = 0; i < length && i < FT_MAX_DIMS; i++) {
        if (!pyft_read_size(PySequence_Fast_GET_ITEM(value, i), &dims[i])) {
            PyErr_SetString(PyExc_ValueError, "a size is not known");
            return -1;
        }
    }
    operand->present = length <= FT_MAX_DIMS;
    operand->shape = (ft_shape){dims, (int)length};
    return 0;
}

/* Whether the argument is a number other than `neutral`; a tensor is taken to be. */
static int
differs(PyObject *value, long neutral)
{
    if (value == NULL || value == Py_None) {
        return 0;
    }
    if (PyFloat_Check(value)) {
        return PyFloat_AS_DOUBLE(value) != (double)neutral;
    }
    if (!PyLong_Check(value)) {
        return 1;
    }
    double number = PyFloat_AsDouble(value);
    if (number == -1 && PyErr_Occurred()) { /* an integer too large for a double */
        PyErr_Clear();
        return 1;
    }
    return number != (double)neutral;
}

static bool
equals(PyObject *value, double number)
{
    if (value == NULL || (!PyLong_Check(value) && !PyFloat_Check(value))) {
        return false;
    }
    double given = PyFloat_AsDouble(value);
    if (given == -1 && PyErr_Occurred()) { /* an integer too large for a double */
        PyErr_Clear();
        return false;
    }
    return given == number;
}

/* Whether it is one of the words in "amax or amin". */
static bool
is_among(PyObject *value, const char *words)
{
    const char *text = value != NULL && PyUnicode_Check(value) ? PyUnicode_AsUTF8(value) : NULL;
    size_t length = text == NULL ? 0 : strlen(text);
    bool found = false;
    for (const char *at = words; length > 0 && !found && at != NULL;) {
        found = strncmp(at, text, length) == 0 && (at[length] == ' ' || at[length] == '\0');
        at = strstr(at, " or ");
        at = at == NULL ? NULL : at + strlen(" or ");
    }
    PyErr_Clear(); /* text that UTF-8 can't hold */
    return found;
}

/* The size of one dimension; a tensor without dimensions has one of 1. */
static int
axis_size(ft_shape shape, PyObject *axis, uint64_t *size)
{
    long long at = PyLong_AsLongLong(axis);
    if (at == -1 && PyErr_Occurred()) {
        return -1;
    }
    at += at < 0 ? shape.ndim : 0;
    *size = at >= 0 && at < shape.ndim ? (uint64_t)shape.dims[at] : 1;
    return 0;
}

/* How many elements lie along the dimensions `value` of the call's first tensor. */
static int
axes_operand(pyft_made *made, PyObject *value, ft_operand *operand)
{
    if (made->tensor_count == 0) {
        return 0;
    }
    const pyft_tensor *first = pyft_made_tensor(made, made->tensors[0].object, NULL);
    if (first == NULL) {
        return -1;
    }
    ft_shape shape = {first->dims, first->ndim};
    ft_u128 product = ft_u128_of(1);
    bool listed = value != NULL && (PyTuple_Check(value) || PyList_Check(value));
    Py_ssize_t count = listed ? PySequence_Fast_GET_SIZE(value) : 0;
    uint64_t size = 1;
    for (Py_ssize_t i = 0; i < count; i++) {
        if (axis_size(shape, PySequence_Fast_GET_ITEM(value, i), &size) < 0) {
            return -1;
        }
        product = ft_u128_multiply(product, ft_u128_of(size));
    }
    if (value != NULL && PyLong_Check(value)) {
        if (axis_size(shape, value, &size) < 0) {
            return -1;
        }
        product = ft_u128_of(size);
    }
    else if (count == 0) {
        product = ft_shape_numel(shape);
    }
    operand->present = operand->is_number = product.hi == 0;
    operand->number = product.lo;
    return 0;
}

/* An operand that is in what a tensor holds. */
static int
contents_operand(pyft_made *made, ft_source_kind kind, PyObject *value, int64_t *dims,
                 ft_operand *operand)
{
    const pyft_torch *torch = &made->state->counting->torch;
    int result = kind == FT_FROM_ENTRIES   ? pyft_entries_operand(made, value, operand)
                 : kind == FT_FROM_LENGTHS ? pyft_lengths_operand(made, value, dims, operand)
                 : kind == FT_FROM_BLOCKS  ? pyft_blocks_operand(made, value, dims, operand)
                                           : pyft_nested_operand(torch, value, dims, operand);
    made->varies = made->varies || operand->present;
    return result;
}

bool
pyft_made_has_options_each(const pyft_made *made)
{
    bool found = false;
    for (int role = 1; role < made->op->role_counts[0] && !found; role++) {
        PyObject *value = argument_of(made, &made->op->arguments[0][role]);
        found = value != NULL && (PyTuple_Check(value) || PyList_Check(value));
    }
    return found;
}

int
pyft_made_add_numel(pyft_made *made)
{
    const ft_source *source = &made->op->rows[0]->sources[0];
    PyObject *value = source->kind == FT_FROM_OUTPUT
                          ? output_of(made, source->index)
                          : argument_of(made, &made->op->arguments[0][0]);
    uint64_t numel = 0;
    int result = value == NULL ? 0 : pyft_made_numel(made, value, &numel);
    made->list_numel += numel;
    return result;
}

int
pyft_made_operand(pyft_made *made, int row, int role, int64_t *dims, ft_operand *operand)
{
    const ft_source *source = &made->op->rows[row]->sources[role];
    PyObject *value = argument_of(made, &made->op->arguments[row][role]);
    uint64_t number = 0;
    memset(operand, 0, sizeof *operand);
    if (made->whole_list && role == 0) {
        operand->present = operand->is_number = true;
        operand->number = made->list_numel;
        return 0;
    }
    switch (source->kind) {
    case FT_FROM_INPUT:
        return tensor_operand(made, value, dims, operand);
    case FT_FROM_OUTPUT:
        return output_operand(made, output_of(made, source->index),
                              made->op->rows[row]->formula->roles[role].kind, dims, operand);
    case FT_FROM_VALUE:
        return value_operand(value, dims, operand);
    case FT_FROM_AXES:
        return axes_operand(made, value, operand);
    case FT_FROM_ENTRIES:
    case FT_FROM_LENGTHS:
    case FT_FROM_BLOCKS:
    case FT_FROM_NESTED:
        return contents_operand(made, source->kind, value, dims, operand);
    case FT_FROM_PACKED:
        if (pyft_packed_bias(value, &number) < 0) {
            return -1;
        }
        break;
    case FT_FROM_PRESENCE:
        number = value != NULL && value != Py_None && value != Py_False;
        break;
    case FT_FROM_SCALE:
        number = (uint64_t)differs(value, 1);
        break;
    case FT_FROM_NONZERO:
        number = (uint64_t)differs(value, 0);
        break;
    case FT_FROM_LENGTH:
        number = value != NULL && (PyTuple_Check(value) || PyList_Check(value))
                     ? (uint64_t)PySequence_Fast_GET_SIZE(value)
                     : 1;
        break;
    case FT_FROM_OPTION:
        number = made->causal;
        break;
    case FT_FROM_EQUALS:
        number = equals(value, source->index);
        break;
    case FT_FROM_INFINITE:
        number = equals(value, Py_HUGE_VAL) || equals(value, -Py_HUGE_VAL);
        break;
    case FT_FROM_TEXT:
        number = is_among(value, ft_source_words(source));
        break;
    case FT_FROM_CONSTANT:
        number = (uint64_t)source->index;
        break;
    case FT_FROM_ATTRIBUTE: /* layers only */
        return 0;
    }
    operand->present = operand->is_number = true;
    operand->number = number;
    return 0;
}
