/* OperationCounts as plain data, for pickle and copy: names in the place of numbers, which are
 * another process's otherwise. */
/* SPDX-License-Identifier: MIT */
#include "counting.h"

/* ---- names: of the process's operations, or of those that came with the data ---- */

PyObject *
pyft_counts_op_name(const pyft_counts *self, uint32_t op, bool packet)
{
    if (self->op_names != NULL) {
        return PyTuple_GET_ITEM(PyList_GET_ITEM(self->op_names, op), packet);
    }
    const pyft_op *item = self->state->counting->ops.items[op];
    return packet ? item->packet : item->name;
}

size_t
pyft_counts_op_limit(const pyft_counts *self)
{
    return self->op_names != NULL ? (size_t)PyList_GET_SIZE(self->op_names)
                                  : self->state->counting->ops.count;
}

/* A new reference. */
PyObject *
pyft_counts_dtype_name(const pyft_counts *self, size_t dtype)
{
    if (self->dtype_names != NULL) {
        return Py_NewRef(PyList_GET_ITEM(self->dtype_names, dtype));
    }
    return dtype == PYFT_NO_DTYPE ? PyUnicode_FromString("none")
                                  : Py_NewRef(self->state->counting->dtypes.items[dtype].name);
}

/* ---- to plain data ---- */

static PyObject *
cost_tuple(const ft_cost *cost)
{
    PyObject *tuple = PyTuple_New(FT_KIND_COUNT);
    for (int kind = 0; tuple != NULL && kind < FT_KIND_COUNT; kind++) {
        PyObject *count = pyft_from_u128(cost->by_kind[kind]);
        if (count == NULL) {
            Py_CLEAR(tuple);
            break;
        }
        PyTuple_SET_ITEM(tuple, kind, count);
    }
    return tuple;
}

static PyObject *
row_data(const pyft_counts *self, size_t at)
{
    const ft_work *work = &self->tally.rows[at];
    return Py_BuildValue("(OOIsNsKN)", pyft_counts_op_name(self, work->key.op, false),
                         pyft_counts_op_name(self, work->key.op, true), work->key.module,
                         ft_phase_name((ft_phase)work->key.phase),
                         pyft_counts_dtype_name(self, work->key.dtype),
                         ft_class_name((ft_class)work->key.op_class),
                         (unsigned long long)work->calls, cost_tuple(&work->cost));
}

static PyObject *
call_data(const pyft_counts *self, size_t at)
{
    const pyft_call *call = &self->calls->items[at];
    return Py_BuildValue("(OOIsdd)", pyft_counts_op_name(self, call->op, false),
                         pyft_counts_op_name(self, call->op, true), call->module,
                         ft_phase_name((ft_phase)call->phase), call->start, call->end);
}

static PyObject *
work_data(const pyft_counts *self, size_t at)
{
    const pyft_call_work *work = &self->calls->works[at];
    return Py_BuildValue("(nsN)", (Py_ssize_t)work->call, ft_class_name((ft_class)work->op_class),
                         cost_tuple(&work->cost));
}

static PyObject *
list_of(const pyft_counts *self, size_t count, PyObject *(*item_of)(const pyft_counts *, size_t))
{
    PyObject *list = PyList_New((Py_ssize_t)count);
    for (size_t i = 0; list != NULL && i < count; i++) {
        PyObject *item = item_of(self, i);
        if (item == NULL) {
            Py_CLEAR(list);
            break;
        }
        PyList_SET_ITEM(list, (Py_ssize_t)i, item);
    }
    return list;
}

/* (convention, operations, those without a rule, modules, unknown, bounded, rows, calls, works,
 * causal);
 * the last two are None where calls were not recorded. */
PyObject *
pyft_counts_state(PyObject *object, PyObject *unused)
{
    (void)unused;
    pyft_counts *self = (pyft_counts *)object;
    PyObject *calls = Py_NewRef(Py_None), *works = Py_NewRef(Py_None);
    if (self->calls != NULL) {
        Py_SETREF(calls, list_of(self, self->call_count, call_data));
        Py_SETREF(works, list_of(self, self->work_count, work_data));
    }
    return Py_BuildValue(
        "(sKKONNNNNN)", self->convention->name, (unsigned long long)self->tally.operations,
        (unsigned long long)self->tally.unknown_operations, self->modules,
        PyDict_Copy(self->unknown), PyDict_Copy(self->bounded),
        list_of(self, self->tally.count, row_data), calls, works, PyBool_FromLong(self->causal));
}
