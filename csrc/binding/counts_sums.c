/* Sums and rows of OperationCounts, read under its convention. */
/* SPDX-License-Identifier: MIT */
#include "counting.h"

/* ---- sums ---- */

static PyObject *
name_on_axis(const pyft_counts *self, ft_axis axis, size_t at)
{
    switch (axis) {
    case FT_BY_OP:
        return Py_NewRef(pyft_counts_op_name(self, (uint32_t)at, false));
    case FT_BY_MODULE:
        return Py_NewRef(PyTuple_GET_ITEM(PyList_GET_ITEM(self->modules, at), 0));
    case FT_BY_PHASE:
        return PyUnicode_FromString(ft_phase_name((ft_phase)at));
    case FT_BY_DTYPE:
        return pyft_counts_dtype_name(self, at);
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
    uint64_t *calls = PyMem_Calloc(pyft_counts_op_limit(self) + 1, sizeof *calls);
    PyObject *dict = calls == NULL ? PyErr_NoMemory() : PyDict_New();
    for (size_t i = 0; dict != NULL && i < self->tally.count; i++) {
        calls[self->tally.rows[i].key.op] += self->tally.rows[i].calls;
    }
    for (size_t i = self->tally.count; dict != NULL && i-- > 0;) { /* the first row's class stays */
        const ft_work_key *key = &self->tally.rows[i].key;
        PyObject *pair = Py_BuildValue("(sK)", ft_class_name((ft_class)key->op_class),
                                       (unsigned long long)calls[key->op]);
        PyObject *name = pyft_counts_op_name(self, key->op, false);
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

/* ---- sums by module and operation ---- */

/* The group, from 1, of each operation that occurs: those with the same name are one. To be freed;
 * `groups` receives {name: group}. */
static uint32_t *
groups_of(const pyft_counts *self, PyObject *name_of, PyObject *groups)
{
    uint32_t *group = PyMem_Calloc(pyft_counts_op_limit(self) + 1, sizeof *group);
    if (group == NULL) {
        PyErr_NoMemory();
        return NULL;
    }
    for (size_t i = 0; i < self->tally.count; i++) {
        uint32_t op = self->tally.rows[i].key.op;
        if (group[op] != 0) {
            continue;
        }
        PyObject *name = name_of == Py_None
                             ? Py_NewRef(pyft_counts_op_name(self, op, false))
                             : PyObject_CallOneArg(name_of, pyft_counts_op_name(self, op, true));
        PyObject *next = name == NULL ? NULL : PyLong_FromSsize_t(PyDict_Size(groups) + 1);
        PyObject *number = next == NULL ? NULL : PyDict_SetDefault(groups, name, next);
        group[op] = number == NULL ? 0 : (uint32_t)PyLong_AsUnsignedLong(number);
        Py_XDECREF(name);
        Py_XDECREF(next);
        if (number == NULL) {
            PyMem_Free(group);
            return NULL;
        }
    }
    return group;
}

/* Every row's FLOPs (as arith) and its calls without a rule (as compare), given to its module and
 * to all that this one is inside of, up to number 0. */
static int
give_to_parents(const pyft_counts *self, const uint32_t *group, ft_tally *inclusive)
{
    for (size_t i = 0; i < self->tally.count; i++) {
        const ft_work *row = &self->tally.rows[i];
        ft_class op_class = (ft_class)row->key.op_class;
        ft_cost cost = {0};
        cost.by_kind[FT_ARITH] = ft_cost_read(&row->cost, op_class, self->convention);
        cost.by_kind[FT_COMPARE] = ft_u128_of(op_class == FT_CLASS_UNKNOWN ? row->calls : 0);
        uint32_t module = row->key.module;
        for (bool outermost = false; !outermost;) {
            ft_work_key key = {.op = group[row->key.op], .module = module};
            ft_status status = ft_tally_add(inclusive, key, &cost, row->calls);
            if (status != FT_OK) {
                pyft_raise(status, "summing by module and operation");
                return -1;
            }
            outermost = module == 0;
            PyObject *parent = PyTuple_GET_ITEM(PyList_GET_ITEM(self->modules, module), 2);
            module = (uint32_t)PyLong_AsUnsignedLong(parent);
        }
    }
    return 0;
}

/* {module number: {name: (FLOPs, calls, calls without a rule)}}. */
static PyObject *
dicts_of(const ft_tally *inclusive, PyObject *names)
{
    PyObject *dicts = PyDict_New();
    for (size_t i = 0; dicts != NULL && i < inclusive->count; i++) {
        const ft_work *row = &inclusive->rows[i];
        PyObject *module = PyLong_FromUnsignedLong(row->key.module);
        PyObject *none = PyDict_New(), *dict = NULL, *sums = NULL;
        if (module != NULL && none != NULL) {
            dict = PyDict_SetDefault(dicts, module, none);
            sums = Py_BuildValue("(NKN)", pyft_from_u128(row->cost.by_kind[FT_ARITH]),
                                 (unsigned long long)row->calls,
                                 pyft_from_u128(row->cost.by_kind[FT_COMPARE]));
        }
        if (dict == NULL || sums == NULL ||
            PyDict_SetItem(dict, PyList_GET_ITEM(names, row->key.op - 1), sums) < 0) {
            Py_CLEAR(dicts);
        }
        Py_XDECREF(module);
        Py_XDECREF(none);
        Py_XDECREF(sums);
    }
    return dicts;
}

/* By module number, with all modules inside; 0 has everything. name_of gives the name under which
 * an operation stands from its name without the overload; None: the name with it. */
PyObject *
pyft_counts_module_op_sums(PyObject *object, PyObject *name_of)
{
    pyft_counts *self = (pyft_counts *)object;
    ft_tally inclusive;
    ft_tally_init(&inclusive, ft_allocator_libc());
    PyObject *groups = PyDict_New(), *dicts = NULL;
    uint32_t *group = groups == NULL ? NULL : groups_of(self, name_of, groups);
    PyObject *names = group == NULL ? NULL : PyDict_Keys(groups);
    if (names != NULL && give_to_parents(self, group, &inclusive) == 0) {
        dicts = dicts_of(&inclusive, names);
    }
    ft_tally_clear(&inclusive);
    PyMem_Free(group);
    Py_XDECREF(names);
    Py_XDECREF(groups);
    return dicts;
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
