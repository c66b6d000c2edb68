/* Counts of several processes as one: rows of the same names become one row. */
/* SPDX-License-Identifier: MIT */
#include "counting.h"

/* While counts are added to others; names that these know, and the numbers they have there. */
typedef struct {
    pyft_counts *sum;
    const pyft_counts *from;
    PyObject *ops, *dtypes, *modules; /* dict: name, or pair of names: number */
    uint32_t *module_numbers;         /* of those of `from`, in the sum */
} merger;

/* The number of a name; a new one gets the next, and `item` at the end of the list. -1: an error.
 */
static Py_ssize_t
number_of(PyObject *numbers, PyObject *list, PyObject *name, PyObject *item)
{
    PyObject *known = PyDict_GetItemWithError(numbers, name);
    if (known != NULL || PyErr_Occurred()) {
        return known == NULL ? -1 : PyLong_AsSsize_t(known);
    }
    Py_ssize_t number = PyList_GET_SIZE(list);
    PyObject *next = PyLong_FromSsize_t(number);
    bool kept =
        next != NULL && PyList_Append(list, item) == 0 && PyDict_SetItem(numbers, name, next) == 0;
    Py_XDECREF(next);
    return kept ? number : -1;
}

/* The row of a module that other counts have as well: its calls are added, its names are kept. */
static PyObject *
joined_row(PyObject *row, PyObject *other)
{
    unsigned long long calls = PyLong_AsUnsignedLongLong(PyTuple_GET_ITEM(row, 3)),
                       more = PyLong_AsUnsignedLongLong(PyTuple_GET_ITEM(other, 3));
    if (PyErr_Occurred()) {
        return NULL;
    }
    calls = calls > UINT64_MAX - more ? UINT64_MAX : calls + more;
    int parameters = PyObject_IsTrue(PyTuple_GET_ITEM(row, 5)) == 1 ||
                     PyObject_IsTrue(PyTuple_GET_ITEM(other, 5)) == 1;
    int forward = PyObject_IsTrue(PyTuple_GET_ITEM(row, 6)) == 1 ||
                  PyObject_IsTrue(PyTuple_GET_ITEM(other, 6)) == 1;
    return Py_BuildValue("(OOOKONN)", PyTuple_GET_ITEM(row, 0), PyTuple_GET_ITEM(row, 1),
                         PyTuple_GET_ITEM(row, 2), calls, PyTuple_GET_ITEM(row, 4),
                         PyBool_FromLong(parameters), PyBool_FromLong(forward));
}

/* Finds a module by its path, or adds it behind its parent, which came before. */
static int
add_module(merger *m, Py_ssize_t at)
{
    PyObject *row = PyList_GET_ITEM(m->from->modules, at), *modules = m->sum->modules;
    Py_ssize_t count = PyList_GET_SIZE(modules);
    PyObject *path = PyTuple_GET_ITEM(row, 0);
    size_t parent = PyLong_AsSize_t(PyTuple_GET_ITEM(row, 2));
    if (parent == (size_t)-1 && PyErr_Occurred()) {
        return -1;
    }
    PyObject *moved = Py_BuildValue("(OOIOOOO)", path, PyTuple_GET_ITEM(row, 1),
                                    at == 0 ? 0 : (unsigned int)m->module_numbers[parent],
                                    PyTuple_GET_ITEM(row, 3), PyTuple_GET_ITEM(row, 4),
                                    PyTuple_GET_ITEM(row, 5), PyTuple_GET_ITEM(row, 6));
    Py_ssize_t number = moved == NULL ? -1 : number_of(m->modules, modules, path, moved);
    int result = number < 0 ? -1 : 0;
    if (number >= 0 && number < count) {
        PyObject *joined = joined_row(PyList_GET_ITEM(modules, number), moved);
        result = joined == NULL ? -1 : PyList_SetItem(modules, number, joined);
    }
    Py_XDECREF(moved);
    m->module_numbers[at] = (uint32_t)number;
    return result;
}

static int
add_row(const merger *m, const ft_work *work)
{
    ft_work_key key = work->key;
    PyObject *dtype = pyft_counts_dtype_name(m->from, key.dtype);
    PyObject *name = PyTuple_Pack(2, pyft_counts_op_name(m->from, key.op, false),
                                  pyft_counts_op_name(m->from, key.op, true));
    Py_ssize_t op = -1, dtype_number = -1;
    if (name != NULL && dtype != NULL) {
        op = number_of(m->ops, m->sum->op_names, name, name);
        dtype_number = number_of(m->dtypes, m->sum->dtype_names, dtype, dtype);
    }
    Py_XDECREF(name);
    Py_XDECREF(dtype);
    if (op < 0 || dtype_number < 0) {
        return -1;
    }
    key.op = (uint32_t)op;
    key.dtype = (uint16_t)dtype_number;
    key.module = m->module_numbers[key.module];
    ft_status status = ft_tally_add(&m->sum->tally, key, &work->cost, work->calls);
    return status == FT_OK ? 0 : (pyft_raise(status, "adding up counts of ranks"), -1);
}

static int
check_alike(const merger *m)
{
    const pyft_counts *sum = m->sum, *from = m->from;
    if (sum->convention != from->convention) {
        PyErr_Format(PyExc_ValueError,
                     "ranks counted under different conventions, %s and %s: give all of them the "
                     "same, or read them with under(...) first",
                     sum->convention->name, from->convention->name);
        return -1;
    }
    if (sum->causal != from->causal) {
        PyErr_SetString(PyExc_ValueError, "ranks counted attention differently: give all of them "
                                          "the same causal='full' or 'exact'");
        return -1;
    }
    return 0;
}

static int
add_counts(merger *m)
{
    ft_tally *tally = &m->sum->tally;
    const ft_tally *more = &m->from->tally;
    size_t modules = (size_t)PyList_GET_SIZE(m->from->modules);
    m->module_numbers = PyMem_Calloc(modules, sizeof *m->module_numbers);
    int result = m->module_numbers == NULL ? (PyErr_NoMemory(), -1) : check_alike(m);
    for (size_t i = 0; i < modules && result == 0; i++) {
        result = add_module(m, (Py_ssize_t)i);
    }
    for (size_t i = 0; i < more->count && result == 0; i++) {
        result = add_row(m, &more->rows[i]);
    }
    tally->operations += more->operations;
    tally->unknown_operations += more->unknown_operations;
    PyMem_Free(m->module_numbers);
    m->module_numbers = NULL;
    /* What is there already stays: the shapes of a first call. */
    return result < 0 || PyDict_Merge(m->sum->unknown, m->from->unknown, 0) < 0
               ? -1
               : PyDict_Merge(m->sum->bounded, m->from->bounded, 0);
}

/* Empty counts with names of their own, as those that were loaded have. */
static pyft_counts *
empty_sum(PyTypeObject *type, const pyft_counts *like)
{
    pyft_counts *sum = pyft_counts_empty(type, like->state, like->convention);
    if (sum == NULL) {
        return NULL;
    }
    sum->causal = like->causal;
    sum->modules = PyList_New(0);
    sum->unknown = PyDict_New();
    sum->bounded = PyDict_New();
    sum->op_names = PyList_New(0);
    sum->dtype_names = PyList_New(0);
    if (sum->modules == NULL || sum->unknown == NULL || sum->bounded == NULL ||
        sum->op_names == NULL || sum->dtype_names == NULL) {
        Py_CLEAR(sum);
    }
    return sum;
}

static int
add_state(merger *m, PyTypeObject *type, PyObject *state)
{
    PyObject *from = pyft_counts_from_state((PyObject *)type, state);
    if (from == NULL) {
        return -1;
    }
    m->from = (pyft_counts *)from;
    int result = -1;
    if (m->sum != NULL || (m->sum = empty_sum(type, m->from)) != NULL) {
        result = add_counts(m);
    }
    Py_DECREF(from);
    return result;
}

/* A class method: what the counts with these states have together. Single calls are not kept. */
PyObject *
pyft_counts_from_states(PyObject *type, PyObject *states)
{
    if (!PyList_Check(states) || PyList_GET_SIZE(states) == 0) {
        return PyErr_Format(PyExc_ValueError, "states of counts are a list of one or more");
    }
    merger m = {.ops = PyDict_New(), .dtypes = PyDict_New(), .modules = PyDict_New()};
    int result = m.ops == NULL || m.dtypes == NULL || m.modules == NULL ? -1 : 0;
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(states) && result == 0; i++) {
        result = add_state(&m, (PyTypeObject *)type, PyList_GET_ITEM(states, i));
    }
    Py_XDECREF(m.ops);
    Py_XDECREF(m.dtypes);
    Py_XDECREF(m.modules);
    if (result < 0) {
        Py_CLEAR(m.sum);
    }
    return (PyObject *)m.sum;
}
