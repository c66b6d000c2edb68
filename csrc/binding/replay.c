/* StepReplay: which steps a counter counts, and the work of all of them. Internal; see _steps.py.
 */
/* SPDX-License-Identifier: MIT */
#include "counting.h"

#include <string.h>
#include <structmember.h>

enum { MAX_ASIDE = 16 };

typedef struct {
    PyObject_HEAD
    pyft_counter *counter; /* owned */
    ft_replay replay;
    ft_tally aside[MAX_ASIDE]; /* what the counter had when something else began to be counted */
    int aside_count;
} step_replay;

static int
read_key(PyObject *object, ft_step_key *key)
{
    if (!PyBytes_Check(object) || PyBytes_GET_SIZE(object) != (Py_ssize_t)sizeof *key) {
        PyErr_Format(PyExc_TypeError, "key must be %zu bytes, not %R", sizeof *key, object);
        return -1;
    }
    memcpy(key, PyBytes_AS_STRING(object), sizeof *key);
    return 0;
}

static PyObject *
replay_wants(PyObject *object, PyObject *given)
{
    const step_replay *self = (step_replay *)object;
    ft_step_key key;
    return read_key(given, &key) < 0 ? NULL : PyBool_FromLong(ft_replay_wants(&self->replay, key));
}

/* (FLOPs, FLOPs of its kind before, whether they differ, whether the kind varies from now on, steps
 * that had waited for it). */
static PyObject *
replay_count(PyObject *object, PyObject *args)
{
    step_replay *self = (step_replay *)object;
    PyObject *given;
    unsigned long long advance;
    int compiled;
    ft_step_key key;
    ft_counted_step step;
    if (!PyArg_ParseTuple(args, "OKp:count", &given, &advance, &compiled) ||
        read_key(given, &key) < 0) {
        return NULL;
    }
    ft_status status =
        ft_replay_count(&self->replay, key, advance, compiled != 0, &self->counter->tally, &step);
    if (status != FT_OK) {
        return pyft_raise(status, "counting a step");
    }
    return Py_BuildValue("(NNNNK)", pyft_from_u128(step.flops), pyft_from_u128(step.before),
                         PyBool_FromLong(step.differs), PyBool_FromLong(step.began_to_vary),
                         (unsigned long long)step.resolved);
}

/* FLOPs; None for a step that waits for its kind. */
static PyObject *
replay_take(PyObject *object, PyObject *args)
{
    step_replay *self = (step_replay *)object;
    PyObject *given;
    unsigned long long advance;
    ft_step_key key;
    bool known;
    ft_u128 flops;
    if (!PyArg_ParseTuple(args, "OK:take", &given, &advance) || read_key(given, &key) < 0) {
        return NULL;
    }
    ft_status status = ft_replay_take(&self->replay, key, advance, &known, &flops);
    if (status != FT_OK) {
        return pyft_raise(status, "adding a step");
    }
    return known ? pyft_from_u128(flops) : Py_NewRef(Py_None);
}

/* FLOPs of a step that waited; None where it still does. */
static PyObject *
replay_flops_of(PyObject *object, PyObject *args)
{
    const step_replay *self = (step_replay *)object;
    PyObject *given;
    unsigned long long advance;
    ft_step_key key;
    ft_u128 flops;
    if (!PyArg_ParseTuple(args, "OK:flops_of", &given, &advance) || read_key(given, &key) < 0) {
        return NULL;
    }
    return ft_replay_known(&self->replay, key, advance, &flops) ? pyft_from_u128(flops)
                                                                : Py_NewRef(Py_None);
}

static PyObject *
replay_abandon(PyObject *object, PyObject *unused)
{
    (void)unused;
    ft_replay_abandon(&((step_replay *)object)->replay);
    Py_RETURN_NONE;
}

/* Work that is of no kind: FLOPs of what the counter has, which is taken from it. */
static PyObject *
replay_settle(PyObject *object, PyObject *unused)
{
    (void)unused;
    step_replay *self = (step_replay *)object;
    ft_tally *tally = &self->counter->tally;
    ft_u128 flops = ft_tally_total(tally, self->replay.convention);
    ft_status status = ft_tally_merge(&self->replay.settled, tally, 1);
    if (status != FT_OK) {
        return pyft_raise(status, "counting a step");
    }
    ft_tally_clear(tally);
    return pyft_from_u128(flops);
}

/* What the counter has is put aside, and it begins with nothing. */
static PyObject *
replay_push(PyObject *object, PyObject *unused)
{
    (void)unused;
    step_replay *self = (step_replay *)object;
    if (self->aside_count == MAX_ASIDE) {
        PyErr_SetString(PyExc_RuntimeError, "phases and optimizer steps are nested too deep");
        return NULL;
    }
    self->aside[self->aside_count++] = self->counter->tally;
    ft_tally_init(&self->counter->tally, ft_allocator_libc());
    Py_RETURN_NONE;
}

/* What was put aside comes back; what the counter has meanwhile is added to it. */
static PyObject *
replay_pop(PyObject *object, PyObject *unused)
{
    (void)unused;
    step_replay *self = (step_replay *)object;
    if (self->aside_count == 0) {
        PyErr_SetString(PyExc_RuntimeError, "nothing was put aside");
        return NULL;
    }
    ft_tally *last = &self->aside[self->aside_count - 1], *now = &self->counter->tally;
    ft_status status = ft_tally_merge(last, now, 1);
    if (status != FT_OK) {
        return pyft_raise(status, "counting a step");
    }
    ft_tally_clear(now);
    *now = *last;
    self->aside_count--;
    Py_RETURN_NONE;
}

/* A FlopCount of all that these replays know, which have one counter: replay.counts(type, others).
 */
static PyObject *
replay_counts(PyObject *object, PyObject *args)
{
    step_replay *self = (step_replay *)object;
    PyObject *type, *others;
    ft_tally sum;
    if (!PyArg_ParseTuple(args, "OO!:counts", &type, &PyList_Type, &others)) {
        return NULL;
    }
    if (!PyType_Check(type) ||
        !PyType_IsSubtype((PyTypeObject *)type, self->counter->state->counts_type)) {
        return PyErr_Format(PyExc_TypeError, "counts are a subclass of OperationCounts, not %R",
                            type);
    }
    ft_tally_init(&sum, ft_allocator_libc());
    ft_status status = ft_replay_sum(&self->replay, &sum);
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(others) && status == FT_OK; i++) {
        PyObject *other = PyList_GET_ITEM(others, i);
        if (Py_TYPE(other) != Py_TYPE(object) || ((step_replay *)other)->counter != self->counter) {
            ft_tally_clear(&sum);
            return PyErr_Format(PyExc_TypeError, "%R is no replay of the same counter", other);
        }
        status = ft_replay_sum(&((step_replay *)other)->replay, &sum);
    }
    PyObject *counts = NULL;
    if (status == FT_OK) {
        ft_tally own = self->counter->tally;
        self->counter->tally = sum;
        counts = pyft_counts_new(self->counter, type);
        sum = self->counter->tally;
        self->counter->tally = own;
    }
    else {
        pyft_raise(status, "adding up steps");
    }
    ft_tally_clear(&sum);
    return counts;
}

static PyObject *
get_number(PyObject *object, void *place)
{
    const char *replay = (const char *)&((step_replay *)object)->replay;
    uint64_t number;
    memcpy(&number, replay + (size_t)place, sizeof number);
    return PyLong_FromUnsignedLongLong(number);
}

/* ---- the type ---- */

static PyObject *
replay_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static const char *const modes[] = {"auto", "always", "first"}; /* as in ft_trace_mode */
    pyft_state *state = pyft_state_of(type);
    PyObject *counter;
    const char *trace;
    unsigned long long verify_every, seed;
    if (state == NULL || (kwargs != NULL && PyDict_GET_SIZE(kwargs) > 0) ||
        !PyArg_ParseTuple(args, "O!sKK:StepReplay", state->counter_type, &counter, &trace,
                          &verify_every, &seed)) {
        return NULL;
    }
    size_t mode = 0;
    while (mode < FT_COUNT_OF(modes) && strcmp(modes[mode], trace) != 0) {
        mode++;
    }
    if (mode == FT_COUNT_OF(modes) || verify_every == 0) {
        return PyErr_Format(PyExc_ValueError, "trace=%s, verify_every=%llu: no such way to count",
                            trace, verify_every);
    }
    step_replay *self = (step_replay *)type->tp_alloc(type, 0);
    if (self != NULL) {
        self->counter = (pyft_counter *)Py_NewRef(counter);
        ft_replay_init(&self->replay, ft_allocator_libc(), self->counter->convention,
                       (ft_trace_mode)mode, verify_every, seed);
    }
    return (PyObject *)self;
}

static int
replay_traverse(PyObject *object, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(object));
    Py_VISIT((PyObject *)((step_replay *)object)->counter);
    return 0;
}

static void
replay_dealloc(PyObject *object)
{
    step_replay *self = (step_replay *)object;
    PyTypeObject *type = Py_TYPE(object);
    PyObject_GC_UnTrack(object);
    ft_replay_clear(&self->replay);
    while (self->aside_count > 0) {
        ft_tally_clear(&self->aside[--self->aside_count]);
    }
    Py_XDECREF(self->counter);
    type->tp_free(object);
    Py_DECREF(type);
}

static PyMethodDef replay_methods[] = {
    {"wants", replay_wants, METH_O, "wants(key): whether to count the step."},
    {"count", replay_count, METH_VARARGS,
     "count(key, advance, compiled): a step that the counter counted."},
    {"take", replay_take, METH_VARARGS, "take(key, advance): a step not counted."},
    {"flops_of", replay_flops_of, METH_VARARGS, "flops_of(key, advance): of a step not counted."},
    {"abandon", replay_abandon, METH_NOARGS, "Steps that wait are lost."},
    {"settle", replay_settle, METH_NOARGS, "Adds what the counter has, as work of no kind."},
    {"push", replay_push, METH_NOARGS, "Puts aside what the counter has."},
    {"pop", replay_pop, METH_NOARGS, "Takes that back, with what the counter has now."},
    {"counts", replay_counts, METH_VARARGS, "counts(type, others): of these replays together."},
    {NULL, NULL, 0, NULL},
};

#define NUMBER(name, text) {#name, get_number, NULL, text, (void *)offsetof(ft_replay, name)}
static PyGetSetDef replay_getset[] = {
    NUMBER(counted, "Steps that were counted."),
    NUMBER(taken, "Steps that cost what a counted one had cost."),
    NUMBER(waiting, "Steps of which nothing is known yet."),
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot replay_slots[] = {
    {Py_tp_new, replay_new},           {Py_tp_dealloc, replay_dealloc},
    {Py_tp_traverse, replay_traverse}, {Py_tp_methods, replay_methods},
    {Py_tp_getset, replay_getset},     {0, NULL},
};

static PyType_Spec replay_spec = {
    .name = "flops_tracker._core.StepReplay",
    .basicsize = sizeof(step_replay),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = replay_slots,
};

int
pyft_add_replay(PyObject *module)
{
    PyObject *type = PyType_FromModuleAndSpec(module, &replay_spec, NULL);
    int result = type == NULL ? -1 : PyModule_AddType(module, (PyTypeObject *)type);
    Py_XDECREF(type);
    return result;
}
