/* A record of every call that a counter counts, where it is asked for them; nothing otherwise. */
/* SPDX-License-Identifier: MIT */
#include "counting.h"

/* ---- the records ---- */

pyft_calls *
pyft_calls_new(void)
{
    pyft_calls *calls = PyMem_Calloc(1, sizeof *calls);
    if (calls == NULL) {
        PyErr_NoMemory();
        return NULL;
    }
    calls->references = 1;
    return calls;
}

void
pyft_calls_release(pyft_calls *calls)
{
    if (calls != NULL && --calls->references == 0) {
        PyMem_Free(calls->items);
        PyMem_Free(calls->works);
        PyMem_Free(calls);
    }
}

/* Room for one item more in an array of `count`. */
static int
reserve(void **items, size_t count, size_t *capacity, size_t size)
{
    if (count < *capacity) {
        return 0;
    }
    size_t more = *capacity == 0 ? 256 : 2 * *capacity;
    void *grown = PyMem_Realloc(*items, more * size);
    if (grown == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    *items = grown;
    *capacity = more;
    return 0;
}

size_t
pyft_calls_append(pyft_calls *calls, uint32_t op, double start, double end)
{
    if (reserve((void **)&calls->items, calls->count, &calls->capacity, sizeof *calls->items) < 0) {
        return 0;
    }
    calls->items[calls->count] = (pyft_call){.op = op, .start = start, .end = end};
    return ++calls->count;
}

void
pyft_calls_place(pyft_calls *calls, size_t call, const pyft_place *place)
{
    if (calls != NULL && call > 0 && call <= calls->count) {
        calls->items[call - 1].module = place->module;
        calls->items[call - 1].phase = (uint8_t)place->phase;
    }
}

int
pyft_calls_add(pyft_calls *calls, size_t call, uint8_t op_class, const ft_cost *cost)
{
    if (calls == NULL || call == 0 || call > calls->count) {
        return 0;
    }
    if (reserve((void **)&calls->works, calls->work_count, &calls->work_capacity,
                sizeof *calls->works) < 0) {
        return -1;
    }
    calls->works[calls->work_count++] = (pyft_call_work){call - 1, op_class, *cost};
    return 0;
}

/* ---- while counting ---- */

static bool
is_work(const pyft_op *op)
{
    return op->kind != PYFT_OP_QUESTION && op->kind != PYFT_OP_RECORD_ENTER &&
           op->kind != PYFT_OP_RECORD_EXIT;
}

static int
tell_observer(PyObject *observer, size_t call, PyObject *before, PyObject *result)
{
    PyObject *told = PyObject_CallMethod(observer, "after", "KOO", (unsigned long long)call - 1,
                                         before == NULL ? Py_None : before, result);
    Py_XDECREF(told);
    return told == NULL ? -1 : 0;
}

PyObject *
pyft_calls_run(const pyft_counter *counter, uint32_t number, PyObject *args, PyObject *kwargs,
               size_t *call)
{
    const pyft_op *op = counter->state->counting->ops.items[number];
    if (!is_work(op)) {
        return PyObject_Call(op->call, args, kwargs);
    }
    /* The call may run anything; what was there before it is kept until it is over. */
    pyft_calls *calls = counter->calls;
    PyObject *observer = Py_XNewRef(counter->observer), *result = NULL;
    PyObject *before = observer == NULL ? NULL : PyObject_CallMethod(observer, "before", NULL);
    calls->references++;
    if (observer == NULL || before != NULL) {
        double start = pyft_now();
        result = PyObject_Call(op->call, args, kwargs);
        double end = pyft_now();
        if (result != NULL &&
            ((*call = pyft_calls_append(calls, number, start, end)) == 0 ||
             (observer != NULL && tell_observer(observer, *call, before, result) < 0))) {
            Py_CLEAR(result);
        }
    }
    pyft_calls_release(calls);
    Py_XDECREF(before);
    Py_XDECREF(observer);
    return result;
}

/* ---- reading them; those that came after the counts were taken are not theirs ---- */

static ft_u128
flops_of(const pyft_counts *self, const pyft_call_work *work)
{
    return ft_cost_read(&work->cost, (ft_class)work->op_class, self->convention);
}

static PyObject *
call_tuple(const pyft_counts *self, size_t at, ft_u128 flops, uint8_t op_class)
{
    const pyft_call *call = &self->calls->items[at];
    PyObject *module = PyList_GetItem(self->modules, (Py_ssize_t)call->module);
    return module == NULL
               ? NULL
               : Py_BuildValue("(OOssNdd)", pyft_counts_op_name(self, call->op, false),
                               PyTuple_GET_ITEM(module, 0), ft_phase_name((ft_phase)call->phase),
                               ft_class_name((ft_class)op_class), pyft_from_u128(flops),
                               call->start, call->end - call->start);
}

/* [(op, module, phase, class, FLOPs, start in seconds, seconds)]; None where none were recorded. */
PyObject *
pyft_counts_calls(PyObject *object, void *unused)
{
    (void)unused;
    pyft_counts *self = (pyft_counts *)object;
    if (self->calls == NULL) {
        Py_RETURN_NONE;
    }
    ft_u128 *sums = PyMem_Calloc(self->call_count + 1, sizeof *sums);
    uint8_t *classes = PyMem_Malloc(self->call_count + 1);
    PyObject *list = sums == NULL || classes == NULL ? PyErr_NoMemory()
                                                     : PyList_New((Py_ssize_t)self->call_count);
    for (size_t i = 0; list != NULL && i < self->call_count; i++) {
        classes[i] = FT_CLASS_DATA;
    }
    for (size_t i = self->work_count; list != NULL && i-- > 0;) { /* the first one's class stays */
        const pyft_call_work *work = &self->calls->works[i];
        sums[work->call] = ft_u128_add(sums[work->call], flops_of(self, work));
        classes[work->call] = work->op_class;
    }
    for (size_t i = 0; list != NULL && i < self->call_count; i++) {
        PyObject *tuple = call_tuple(self, i, sums[i], classes[i]);
        if (tuple == NULL) {
            Py_CLEAR(list);
            break;
        }
        PyList_SET_ITEM(list, (Py_ssize_t)i, tuple);
    }
    PyMem_Free(sums);
    PyMem_Free(classes);
    return list;
}

static int
choose(PyObject *numbers, bool *chosen, size_t count)
{
    PyObject *fast = PySequence_Fast(numbers, "the calls must be a sequence of their numbers");
    int result = fast == NULL ? -1 : 0;
    for (Py_ssize_t i = 0; result == 0 && i < PySequence_Fast_GET_SIZE(fast); i++) {
        size_t at = PyLong_AsSize_t(PySequence_Fast_GET_ITEM(fast, i));
        if (PyErr_Occurred()) {
            result = -1;
        }
        else if (at >= count) {
            PyErr_Format(PyExc_IndexError, "there is no call %zu, only %zu", at, count);
            result = -1;
        }
        else {
            chosen[at] = true;
        }
    }
    Py_XDECREF(fast);
    return result;
}

/* The FLOPs of the calls with these numbers, each once. */
PyObject *
pyft_counts_calls_sum(PyObject *object, PyObject *numbers)
{
    pyft_counts *self = (pyft_counts *)object;
    bool *chosen = PyMem_Calloc(self->call_count + 1, sizeof *chosen);
    PyObject *result = NULL;
    if (chosen == NULL) {
        PyErr_NoMemory();
    }
    else if (choose(numbers, chosen, self->call_count) == 0) {
        ft_u128 sum = FT_U128_ZERO;
        for (size_t i = 0; i < self->work_count; i++) {
            if (chosen[self->calls->works[i].call]) {
                sum = ft_u128_add(sum, flops_of(self, &self->calls->works[i]));
            }
        }
        result = pyft_from_u128(sum);
    }
    PyMem_Free(chosen);
    return result;
}
