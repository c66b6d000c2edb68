/* PhaseTally: what a counter counted in one phase of a run. Internal; see _steps.py. */
/* SPDX-License-Identifier: MIT */
#include "counting.h"

enum { MAX_ASIDE = 64 };

typedef struct {
    PyObject_HEAD
    pyft_counter *counter; /* owned */
    ft_tally settled;
    ft_tally aside[MAX_ASIDE]; /* of spans of this phase in which others are open, and */
    bool after[MAX_ASIDE];     /* whether they came from a backward */
    int aside_count;
} phase_tally;

/* FLOPs of what the counter has, which is taken from it. */
static PyObject *
tally_settle(PyObject *object, PyObject *unused)
{
    (void)unused;
    phase_tally *self = (phase_tally *)object;
    ft_tally *tally = &self->counter->tally;
    ft_u128 flops = ft_tally_total(tally, self->counter->convention);
    ft_status status = ft_tally_merge(&self->settled, tally);
    if (status != FT_OK) {
        return pyft_raise(status, "counting a step");
    }
    ft_tally_clear(tally);
    return pyft_from_u128(flops);
}

/* What the counter has is put aside, and it begins with nothing. */
static PyObject *
tally_push(PyObject *object, PyObject *unused)
{
    (void)unused;
    phase_tally *self = (phase_tally *)object;
    if (self->aside_count == MAX_ASIDE) {
        return PyErr_Format(PyExc_RuntimeError, "steps and phases are open in each other %d deep",
                            MAX_ASIDE);
    }
    self->after[self->aside_count] = pyft_counter_swap_after_backward(self->counter, false);
    self->aside[self->aside_count++] = self->counter->tally;
    ft_tally_init(&self->counter->tally, ft_allocator_libc());
    Py_RETURN_NONE;
}

/* What was put aside last comes back, to an empty counter. */
static PyObject *
tally_pop(PyObject *object, PyObject *unused)
{
    (void)unused;
    phase_tally *self = (phase_tally *)object;
    if (self->aside_count == 0) {
        PyErr_SetString(PyExc_RuntimeError, "nothing was put aside");
        return NULL;
    }
    ft_tally_clear(&self->counter->tally);
    self->counter->tally = self->aside[--self->aside_count];
    pyft_counter_swap_after_backward(self->counter, self->after[self->aside_count]);
    Py_RETURN_NONE;
}

/* counts(type, others): a FlopCount of what these have counted, of which all have one counter. */
static PyObject *
tally_counts(PyObject *object, PyObject *args)
{
    phase_tally *self = (phase_tally *)object;
    PyObject *type, *others;
    ft_tally sum;
    if (!PyArg_ParseTuple(args, "OO!:counts", &type, &PyList_Type, &others)) {
        return NULL;
    }
    ft_tally_init(&sum, ft_allocator_libc());
    ft_status status = ft_tally_merge(&sum, &self->settled);
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(others) && status == FT_OK; i++) {
        PyObject *other = PyList_GET_ITEM(others, i);
        if (Py_TYPE(other) != Py_TYPE(object) || ((phase_tally *)other)->counter != self->counter) {
            ft_tally_clear(&sum);
            return PyErr_Format(PyExc_TypeError, "%R is no tally of the same counter", other);
        }
        status = ft_tally_merge(&sum, &((phase_tally *)other)->settled);
    }
    PyObject *counts = status == FT_OK ? pyft_counts_of(self->counter, &sum, type)
                                       : pyft_raise(status, "adding up steps");
    ft_tally_clear(&sum);
    return counts;
}

/* so_far(type, running): the same of this phase alone, with spans that are open; running: the
 * counter has what the innermost of these did. */
static PyObject *
tally_so_far(PyObject *object, PyObject *args)
{
    phase_tally *self = (phase_tally *)object;
    PyObject *type;
    int running;
    ft_tally sum;
    if (!PyArg_ParseTuple(args, "Op:so_far", &type, &running)) {
        return NULL;
    }
    ft_tally_init(&sum, ft_allocator_libc());
    ft_status status = ft_tally_merge(&sum, &self->settled);
    for (int i = 0; i < self->aside_count && status == FT_OK; i++) {
        status = ft_tally_merge(&sum, &self->aside[i]);
    }
    if (running && status == FT_OK) {
        status = ft_tally_merge(&sum, &self->counter->tally);
    }
    PyObject *counts = status == FT_OK ? pyft_counts_of(self->counter, &sum, type)
                                       : pyft_raise(status, "adding up steps");
    ft_tally_clear(&sum);
    return counts;
}

/* open_flops(running): of each of those spans, the outermost first. */
static PyObject *
tally_open_flops(PyObject *object, PyObject *argument)
{
    phase_tally *self = (phase_tally *)object;
    int running = PyObject_IsTrue(argument);
    PyObject *list = running < 0 ? NULL : PyList_New(self->aside_count + running);
    for (int i = 0; list != NULL && i < self->aside_count + running; i++) {
        const ft_tally *tally = i < self->aside_count ? &self->aside[i] : &self->counter->tally;
        PyObject *flops = pyft_from_u128(ft_tally_total(tally, self->counter->convention));
        if (flops == NULL) {
            Py_CLEAR(list);
            break;
        }
        PyList_SET_ITEM(list, i, flops);
    }
    return list;
}

/* ---- the type ---- */

static PyObject *
tally_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    pyft_state *state = pyft_state_of(type);
    PyObject *counter;
    if (state == NULL || (kwargs != NULL && PyDict_GET_SIZE(kwargs) > 0) ||
        !PyArg_ParseTuple(args, "O!:PhaseTally", state->counter_type, &counter)) {
        return NULL;
    }
    phase_tally *self = (phase_tally *)type->tp_alloc(type, 0);
    if (self != NULL) {
        self->counter = (pyft_counter *)Py_NewRef(counter);
        ft_tally_init(&self->settled, ft_allocator_libc());
    }
    return (PyObject *)self;
}

static int
tally_traverse(PyObject *object, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(object));
    Py_VISIT((PyObject *)((phase_tally *)object)->counter);
    return 0;
}

static void
tally_dealloc(PyObject *object)
{
    phase_tally *self = (phase_tally *)object;
    PyTypeObject *type = Py_TYPE(object);
    PyObject_GC_UnTrack(object);
    ft_tally_clear(&self->settled);
    while (self->aside_count > 0) {
        ft_tally_clear(&self->aside[--self->aside_count]);
    }
    Py_XDECREF(self->counter);
    type->tp_free(object);
    Py_DECREF(type);
}

static PyMethodDef tally_methods[] = {
    {"settle", tally_settle, METH_NOARGS, "Takes what the counter has, and gives its FLOPs."},
    {"push", tally_push, METH_NOARGS, "Puts aside what the counter has."},
    {"pop", tally_pop, METH_NOARGS, "Gives that back to it."},
    {"counts", tally_counts, METH_VARARGS, "counts(type, others): of these tallies together."},
    {"so_far", tally_so_far, METH_VARARGS, "so_far(type, running): with spans that are open."},
    {"open_flops", tally_open_flops, METH_O, "open_flops(running): of each of these."},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot tally_slots[] = {
    {Py_tp_new, tally_new},
    {Py_tp_dealloc, tally_dealloc},
    {Py_tp_traverse, tally_traverse},
    {Py_tp_methods, tally_methods},
    {0, NULL},
};

static PyType_Spec tally_spec = {
    .name = "flops_tracker._core.PhaseTally",
    .basicsize = sizeof(phase_tally),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = tally_slots,
};

int
pyft_add_phase_tally(PyObject *module)
{
    PyObject *type = PyType_FromModuleAndSpec(module, &tally_spec, NULL);
    int result = type == NULL ? -1 : PyModule_AddType(module, (PyTypeObject *)type);
    Py_XDECREF(type);
    return result;
}
