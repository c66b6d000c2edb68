/* Sums and rows of OperationCounts, read under its convention. */
/* SPDX-License-Identifier: MIT */
#include "counting.h"

/* ---- sums ---- */

static PyObject *
name_on_axis(const pyft_counts *self, ft_axis axis, size_t at)
{
    const pyft_counting *counting = self->state->counting;
    switch (axis) {
    case FT_BY_OP:
        return Py_NewRef(counting->ops.items[at]->name);
    case FT_BY_MODULE:
        return Py_NewRef(PyTuple_GET_ITEM(PyList_GET_ITEM(self->modules, at), 0));
    case FT_BY_PHASE:
        return PyUnicode_FromString(ft_phase_name((ft_phase)at));
    case FT_BY_DTYPE:
        return at == PYFT_NO_DTYPE ? PyUnicode_FromString("none")
                                   : Py_NewRef(counting->dtypes.items[at].name);
    default:
        return PyUnicode_FromString(ft_class_name((ft_class)at));
    }
}

/* The FLOPs of each position on an axis; *size receives their number. To be freed. */
static ft_u128 *
sums_on_axis(const pyft_counts *self, ft_axis axis, size_t *size)
{
    *size = 0;
    for (size_t i = 0; i < self->tally.count; i++) {
        size_t at = ft_work_position(&self->tally.rows[i], axis);
        *size = at >= *size ? at + 1 : *size;
    }
    ft_u128 *sums = PyMem_Calloc(*size + 1, sizeof *sums);
    if (sums == NULL) {
        PyErr_NoMemory();
        return NULL;
    }
    ft_tally_sum(&self->tally, self->convention, axis, sums, *size);
    return sums;
}

static int
set_count(PyObject *dict, PyObject *name, ft_u128 count)
{
    PyObject *number = name == NULL ? NULL : pyft_from_u128(count);
    int result = number == NULL ? -1 : PyDict_SetItem(dict, name, number);
    Py_XDECREF(name);
    Py_XDECREF(number);
    return result;
}

static int
axis_named(PyObject *argument, ft_axis *axis)
{
    static const char *const names[] = {"op", "module", "phase", "dtype", "class"};
    for (size_t i = 0; i < FT_COUNT_OF(names); i++) {
        if (PyUnicode_Check(argument) &&
            PyUnicode_CompareWithASCIIString(argument, names[i]) == 0) {
            *axis = (ft_axis)i;
            return 0;
        }
    }
    PyErr_Format(PyExc_ValueError, "the axis must be op, module, phase, dtype or class, not %R",
                 argument);
    return -1;
}

/* Every name that occurs, in the order of its first appearance. */
PyObject *
pyft_counts_sums(PyObject *object, PyObject *argument)
{
    pyft_counts *self = (pyft_counts *)object;
    ft_axis axis;
    size_t size;
    ft_u128 *sums = axis_named(argument, &axis) < 0 ? NULL : sums_on_axis(self, axis, &size);
    PyObject *dict = sums == NULL ? NULL : PyDict_New();
    for (size_t i = 0; dict != NULL && i < self->tally.count; i++) {
        size_t at = ft_work_position(&self->tally.rows[i], axis);
        if (set_count(dict, name_on_axis(self, axis, at), sums[at]) < 0) {
            Py_CLEAR(dict);
        }
    }
    PyMem_Free(sums);
    return dict;
}

/* (class, calls) of every operation by name. */
PyObject *
pyft_counts_op_calls(PyObject *object, PyObject *unused)
{
    (void)unused;
    pyft_counts *self = (pyft_counts *)object;
    size_t count = self->state->counting->ops.count;
    uint64_t *calls = PyMem_Calloc(count + 1, sizeof *calls);
    PyObject *dict = calls == NULL ? PyErr_NoMemory() : PyDict_New();
    for (size_t i = 0; dict != NULL && i < self->tally.count; i++) {
        calls[self->tally.rows[i].key.op] += self->tally.rows[i].calls;
    }
    for (size_t i = self->tally.count; dict != NULL && i-- > 0;) { /* the first row's class stays */
        const ft_work_key *key = &self->tally.rows[i].key;
        PyObject *pair = Py_BuildValue("(sK)", ft_class_name((ft_class)key->op_class),
                                       (unsigned long long)calls[key->op]);
        PyObject *name = self->state->counting->ops.items[key->op]->name;
        if (pair == NULL || PyDict_SetItem(dict, name, pair) < 0) {
            Py_CLEAR(dict);
        }
        Py_XDECREF(pair);
    }
    PyMem_Free(calls);
    return dict;
}

/* A list of (own, inclusive) FLOPs by module number; number 0 is the outside. */
PyObject *
pyft_counts_module_sums(PyObject *object, PyObject *unused)
{
    (void)unused;
    pyft_counts *self = (pyft_counts *)object;
    Py_ssize_t count = PyList_GET_SIZE(self->modules);
    ft_u128 *own = PyMem_Calloc(2 * (size_t)count, sizeof *own), *inclusive = own + count;
    PyObject *list = own == NULL ? PyErr_NoMemory() : PyList_New(count);
    if (list != NULL) {
        ft_tally_sum(&self->tally, self->convention, FT_BY_MODULE, own, (size_t)count);
        for (Py_ssize_t i = count - 1; i >= 0; i--) { /* children come after their parents */
            inclusive[i] = ft_u128_add(inclusive[i], own[i]);
            PyObject *row = PyList_GET_ITEM(self->modules, i);
            long parent = PyLong_AsLong(PyTuple_GET_ITEM(row, 2));
            if (i > 0 && parent > 0) {
                inclusive[parent] = ft_u128_add(inclusive[parent], inclusive[i]);
            }
        }
    }
    for (Py_ssize_t i = 0; list != NULL && i < count; i++) {
        PyObject *pair =
            Py_BuildValue("(NN)", pyft_from_u128(own[i]), pyft_from_u128(inclusive[i]));
        if (pair == NULL) {
            Py_CLEAR(list);
            break;
        }
        PyList_SET_ITEM(list, i, pair);
    }
    PyMem_Free(own);
    return list;
}

/* ---- rows ---- */

static PyObject *
cost_dict(const ft_cost *cost)
{
    PyObject *dict = PyDict_New();
    for (int kind = 0; dict != NULL && kind < FT_KIND_COUNT; kind++) {
        if (set_count(dict, PyUnicode_FromString(ft_kind_name((ft_kind)kind)),
                      cost->by_kind[kind]) < 0) {
            Py_CLEAR(dict);
        }
    }
    return dict;
}

PyObject *
pyft_counts_rows(PyObject *object, void *unused)
{
    (void)unused;
    pyft_counts *self = (pyft_counts *)object;
    PyObject *list = PyList_New((Py_ssize_t)self->tally.count);
    for (size_t i = 0; list != NULL && i < self->tally.count; i++) {
        const ft_work *work = &self->tally.rows[i];
        ft_class op_class = (ft_class)work->key.op_class;
        PyObject *fields[] = {
            name_on_axis(self, FT_BY_OP, work->key.op),
            name_on_axis(self, FT_BY_MODULE, work->key.module),
            name_on_axis(self, FT_BY_PHASE, work->key.phase),
            name_on_axis(self, FT_BY_DTYPE, work->key.dtype),
            name_on_axis(self, FT_BY_CLASS, work->key.op_class),
            PyLong_FromUnsignedLongLong(work->calls),
            pyft_from_u128(ft_cost_read(&work->cost, op_class, self->convention)),
            cost_dict(&work->cost),
        };
        PyObject *row = pyft_new_record(self->state->operation_row_type, fields,
                                        (Py_ssize_t)FT_COUNT_OF(fields));
        if (row == NULL) {
            Py_CLEAR(list);
            break;
        }
        PyList_SET_ITEM(list, (Py_ssize_t)i, row);
    }
    return list;
}
