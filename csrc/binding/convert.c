/* Python integers, shapes and factors to and from what the core computes with. */
/* SPDX-License-Identifier: MIT */
#include "pyft.h"

#include <stdarg.h>

PyObject *
pyft_from_u128(ft_u128 count)
{
    if (ft_u128_overflowed(count)) {
        return pyft_raise(FT_OVERFLOW, "reading a count");
    }
    if (count.hi == 0) {
        return PyLong_FromUnsignedLongLong(count.lo);
    }
    char text[FT_U128_TEXT_SIZE];
    ft_u128_text(count, text);
    return PyLong_FromString(text, NULL, 10);
}

/* A batch in the place of its size: an array would be printed as a whole, or not say enough. */
static void
describe_array(PyObject *object, const char *what, PyObject *error)
{
    PyObject *sizes = PyObject_GetAttrString(object, "shape");
    PyObject *shape = sizes == NULL ? NULL : PySequence_Tuple(sizes);
    if (shape == NULL) {
        PyErr_SetObject((PyObject *)Py_TYPE(error), error);
    }
    else {
        PyErr_Format(PyExc_TypeError, "%s must be an integer, not a %s of shape %S%s", what,
                     Py_TYPE(object)->tp_name, shape,
                     strcmp(what, "batch_size") == 0 ? "; did you mean batch_size=len(x)?" : "");
    }
    Py_XDECREF(sizes);
    Py_XDECREF(shape);
}

/* An integer of any integer type, but neither bool nor float; a new reference. */
static PyObject *
to_integer(PyObject *object, const char *what)
{
    if (PyBool_Check(object) || !PyIndex_Check(object)) {
        PyErr_Format(PyExc_TypeError, "%s must be an integer, not %R of type %s", what, object,
                     Py_TYPE(object)->tp_name);
        return NULL;
    }
    PyObject *integer = PyNumber_Index(object);
    if (integer == NULL && PyErr_ExceptionMatches(PyExc_TypeError)) {
        PyObject *error = pyft_take_exception();
        describe_array(object, what, error);
        Py_DECREF(error);
    }
    return integer;
}

int
pyft_to_switch(PyObject *object, void *option)
{
    pyft_switch *given = option;
    PyObject *read = PyBool_Check(object) ? Py_NewRef(object)
                                          : pyft_call_helper("flops_tracker._options", "switch",
                                                             "(sO)", given->name, object);
    given->on = read == Py_True;
    Py_XDECREF(read);
    return read != NULL;
}

static int
check_not_negative(PyObject *integer, const char *what)
{
    int overflow = 0;
    long long value = PyLong_AsLongLongAndOverflow(integer, &overflow);
    if (overflow < 0 || (overflow == 0 && value < 0)) {
        PyErr_Format(PyExc_ValueError, "%s must be 0 or more, not %R", what, integer);
        return -1;
    }
    return 0;
}

int
pyft_to_u128(PyObject *object, const char *what, ft_u128 *count)
{
    int result = -1;
    PyObject *shift = NULL, *high = NULL, *mask = NULL, *low = NULL;
    PyObject *integer = to_integer(object, what);
    if (integer == NULL || check_not_negative(integer, what) < 0) {
        goto done;
    }
    shift = PyLong_FromLong(64);
    mask = PyLong_FromUnsignedLongLong(UINT64_MAX);
    if (shift == NULL || mask == NULL || (high = PyNumber_Rshift(integer, shift)) == NULL ||
        (low = PyNumber_And(integer, mask)) == NULL) {
        goto done;
    }
    count->lo = PyLong_AsUnsignedLongLong(low);
    count->hi = PyLong_AsUnsignedLongLong(high);
    if (PyErr_Occurred() || ft_u128_overflowed(*count)) { /* 2**128 - 1 stands for overflow */
        PyErr_Format(PyExc_OverflowError, "%s does not fit in 128 bits: %R", what, integer);
        goto done;
    }
    result = 0;
done:
    Py_XDECREF(integer);
    Py_XDECREF(shift);
    Py_XDECREF(high);
    Py_XDECREF(mask);
    Py_XDECREF(low);
    return result;
}

int
pyft_to_u64(PyObject *object, const char *what, uint64_t *number)
{
    if (PyLong_CheckExact(object)) { /* the one case on the way of every batch */
        int overflow = 0;
        long long value = PyLong_AsLongLongAndOverflow(object, &overflow);
        if (overflow == 0 && value >= 0) {
            *number = (uint64_t)value;
            return 0;
        }
    }
    PyObject *integer = to_integer(object, what);
    if (integer == NULL || check_not_negative(integer, what) < 0) {
        Py_XDECREF(integer);
        return -1;
    }
    *number = PyLong_AsUnsignedLongLong(integer);
    if (PyErr_Occurred()) {
        PyErr_Format(PyExc_OverflowError, "%s must be below 2**64, not %R", what, integer);
    }
    Py_DECREF(integer);
    return PyErr_Occurred() ? -1 : 0;
}

int
pyft_to_dims(PyObject *sequence, int64_t *dims, int *ndim)
{
    PyObject *items = PySequence_Tuple(sequence); /* a list could shrink in an __index__ */
    if (items == NULL) {
        return -1;
    }
    Py_ssize_t length = PyTuple_GET_SIZE(items);
    int result = 0;
    if (length > FT_MAX_DIMS) {
        PyErr_Format(PyExc_ValueError, "a shape has at most %d dimensions, not %zd", FT_MAX_DIMS,
                     length);
        result = -1;
    }
    for (Py_ssize_t i = 0; i < length && result == 0; i++) {
        PyObject *integer = to_integer(PyTuple_GET_ITEM(items, i), "a dimension");
        dims[i] = integer == NULL ? -1 : PyLong_AsLongLong(integer);
        Py_XDECREF(integer);
        result = PyErr_Occurred() ? -1 : 0;
    }
    *ndim = (int)length;
    Py_DECREF(items);
    return result;
}

int
pyft_to_ratio(PyObject *object, const char *what, uint64_t *numerator, uint64_t *denominator)
{
    double value = PyBool_Check(object) ? -1 : PyFloat_AsDouble(object);
    if (value == -1 && PyErr_Occurred()) {
        PyErr_Clear();
    }
    if (!(value >= 0 && value <= 1e6)) {
        PyErr_Format(PyExc_ValueError, "%s must be a number from 0 to 1e6, not %R", what, object);
        return -1;
    }
    /* 2.7 means 27/10 and not the binary fraction next to it: twelve decimals are kept. */
    *denominator = 1000000000000;
    *numerator = (uint64_t)(value * 1e12 + 0.5);
    while (*numerator % 10 == 0 && *denominator > 1) {
        *numerator /= 10;
        *denominator /= 10;
    }
    return 0;
}

PyObject *
pyft_sum_counts(PyObject *module, PyObject *counts)
{
    (void)module;
    ft_u128 sum = FT_U128_ZERO, count;
    PyObject *items = PySequence_Tuple(counts);
    if (items == NULL) {
        return NULL;
    }
    int result = 0;
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(items) && result == 0; i++) {
        if ((result = pyft_to_u128(PyTuple_GET_ITEM(items, i), "count", &count)) == 0) {
            sum = ft_u128_add(sum, count);
        }
    }
    Py_DECREF(items);
    return result < 0 ? NULL : pyft_from_u128(sum);
}

PyObject *
pyft_subtract_counts(PyObject *module, PyObject *args)
{
    (void)module;
    PyObject *first, *second;
    ft_u128 from, count;
    if (!PyArg_ParseTuple(args, "OO:_subtract_counts", &first, &second) ||
        pyft_to_u128(first, "count", &from) < 0 || pyft_to_u128(second, "count", &count) < 0) {
        return NULL;
    }
    if (ft_u128_compare(from, count) < 0) {
        return PyErr_Format(PyExc_ValueError, "%R is less than %R", first, second);
    }
    return pyft_from_u128(ft_u128_subtract(from, count));
}

/* _count_difference(count, other): count - other, below 0 where it is less. */
PyObject *
pyft_count_difference(PyObject *module, PyObject *args)
{
    (void)module;
    PyObject *first, *second;
    ft_u128 from, count;
    if (!PyArg_ParseTuple(args, "OO:_count_difference", &first, &second) ||
        pyft_to_u128(first, "count", &from) < 0 || pyft_to_u128(second, "count", &count) < 0) {
        return NULL;
    }
    if (ft_u128_compare(from, count) >= 0) {
        return pyft_from_u128(ft_u128_subtract(from, count));
    }
    PyObject *less = pyft_from_u128(ft_u128_subtract(count, from));
    PyObject *difference = less == NULL ? NULL : PyNumber_Negative(less);
    Py_XDECREF(less);
    return difference;
}

PyObject *
pyft_grouped_text(ft_u128 count)
{
    char text[FT_TEXT_SIZE];
    ft_text_grouped(count, text);
    return PyUnicode_FromString(text);
}

PyObject *
pyft_si_text(ft_u128 count)
{
    char text[FT_TEXT_SIZE];
    ft_text_si(count, "FLOP", text);
    return PyUnicode_FromString(text);
}

PyObject *
pyft_flops_text(ft_u128 count)
{
    char exact[FT_TEXT_SIZE], rounded[FT_TEXT_SIZE];
    ft_text_grouped(count, exact);
    ft_text_si(count, "FLOP", rounded);
    return count.hi == 0 && count.lo < 1000 ? PyUnicode_FromFormat("%s FLOPs", exact)
                                            : PyUnicode_FromFormat("%s FLOPs (%s)", exact, rounded);
}

PyObject *
pyft_call_helper(const char *module_name, const char *name, const char *format, ...)
{
    PyObject *result = NULL, *function = NULL, *arguments = NULL;
    PyObject *module = PyImport_ImportModule(module_name);
    if (module != NULL && (function = PyObject_GetAttrString(module, name)) != NULL) {
        va_list values;
        va_start(values, format);
        arguments = Py_VaBuildValue(format, values); /* the format is one tuple */
        va_end(values);
        if (arguments != NULL) {
            result = PyObject_CallObject(function, arguments);
        }
    }
    Py_XDECREF(arguments);
    Py_XDECREF(function);
    Py_XDECREF(module);
    return result;
}

PyObject *
pyft_new_record(PyTypeObject *type, PyObject **fields, Py_ssize_t count)
{
    PyObject *record = PyStructSequence_New(type);
    for (Py_ssize_t i = 0; i < count; i++) {
        if (record == NULL) {
            Py_XDECREF(fields[i]);
        }
        else {
            PyStructSequence_SetItem(record, i, fields[i]);
        }
    }
    if (record != NULL && PyErr_Occurred()) {
        Py_CLEAR(record);
    }
    return record;
}

PyTypeObject *
pyft_new_record_type(PyStructSequence_Desc *desc)
{
    PyTypeObject *type = PyStructSequence_NewType(desc);
    PyObject *fields = type == NULL ? NULL : PyTuple_New(desc->n_in_sequence);
    for (Py_ssize_t i = 0; fields != NULL && i < desc->n_in_sequence; i++) {
        PyObject *name = PyUnicode_FromString(desc->fields[i].name);
        if (name == NULL) {
            Py_CLEAR(fields);
            break;
        }
        PyTuple_SET_ITEM(fields, i, name);
    }
    /* As namedtuple has it: pandas.DataFrame(ft.epoch_logs) finds its columns by this. */
    if (fields == NULL || PyObject_SetAttrString((PyObject *)type, "_fields", fields) < 0) {
        Py_CLEAR(type);
    }
    Py_XDECREF(fields);
    return type;
}
