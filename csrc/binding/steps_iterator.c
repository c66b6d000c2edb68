/* The iterator behind `for batch in ft.steps(loader)`: it owns the step that is open. */
/* SPDX-License-Identifier: MIT */
#include "loops.h"

typedef struct {
    PyObject_HEAD
    pyft_loops *loops;
    PyObject *loader, *batches; /* batches: NULL before the first step and after the last */
    uint64_t loop, step;        /* numbers of what is open; 0 for none */
    uint64_t position;
    bool opened;             /* the epoch that is open is this loop */
    bool running;            /* it is giving a batch */
    Py_ssize_t seen, length; /* batches; of all, -1 where the loader does not say */
} steps_iterator;

/* Ends what is open. An error that is set stays the one. */
static int
end_all(steps_iterator *self, bool whole)
{
    PyObject *error = pyft_take_exception();
    uint64_t step = self->step, loop = self->loop;
    bool opened = self->opened, unbroken = error == NULL;
    int result = 0;
    self->step = self->loop = 0;
    self->opened = false;
    Py_CLEAR(self->batches);
    if (step != 0) {
        result = pyft_loops_end(self->loops, step, false);
    }
    error = pyft_keep_first(error);
    PyObject *tracker = PyWeakref_GetObject(self->loops->tracker);
    if (loop != 0 && whole && self->loops->phase == 0 && tracker != Py_None) {
        self->loops->run_through = ((pyft_tracker *)tracker)->run.ledger.current.epoch;
    }
    if (loop != 0 && pyft_loops_end(self->loops, loop, true) < 0) {
        result = -1;
    }
    error = pyft_keep_first(error);
    if (opened && pyft_loops_end_epoch(self->loops, whole && unbroken) < 0) {
        result = -1;
    }
    pyft_put_exception(pyft_keep_first(error));
    return result;
}

/* Whether the run has come to its budget, of which a line says so. */
static int
mind_budget(pyft_tracker *tracker, long says)
{
    PyObject *level = PyLong_FromLong(says);
    PyObject *stops = level == NULL ? NULL : pyft_tracker_mind((PyObject *)tracker, level);
    Py_XDECREF(level);
    Py_XDECREF(stops);
    return stops == NULL ? -1 : stops == Py_True;
}

/* After a step: 1 where no other is to come. */
static int
ends_by_budget(steps_iterator *self)
{
    pyft_tracker *tracker = self->loops->phase == 0 ? pyft_loops_tracker(self->loops) : NULL;
    if (tracker == NULL || ft_u128_is_zero(tracker->run.max_flops)) {
        return PyErr_Occurred() ? -1 : 0;
    }
    Py_INCREF(tracker);
    int stops = mind_budget(tracker, 1);
    Py_DECREF(tracker);
    self->loops->cut = stops > 0 && self->seen != self->length;
    return stops;
}

/* Without an epoch that is open, the loop is one. */
static int
begin_with(steps_iterator *self, pyft_tracker *tracker)
{
    PyObject *loader = self->loader;
    self->length = PyObject_Size(loader);
    PyErr_Clear();
    self->batches = PyObject_GetIter(loader);
    if (self->batches == NULL) {
        return -1;
    }
    if (self->loops->phase == 0) {
        int stops = mind_budget(tracker, 2);
        if (stops != 0) {
            Py_CLEAR(self->batches);
            return stops < 0 ? -1 : 0;
        }
    }
    if (self->loops->phase == 0 && !tracker->run.open) {
        if (pyft_loops_begin_epoch(tracker, pyft_tracker_now(tracker)) < 0) {
            return -1;
        }
        self->opened = true;
    }
    if (self->loops->phase == 0) {
        self->loops->run_through = 0;
    }
    return pyft_loops_begin_loop(self->loops, loader, &self->loop);
}

static int
begin(steps_iterator *self)
{
    if (self->loader == NULL) {
        return 0;
    }
    pyft_tracker *tracker = (pyft_tracker *)Py_XNewRef(pyft_loops_tracker(self->loops));
    int result = tracker == NULL ? -1 : begin_with(self, tracker);
    Py_XDECREF(tracker);
    Py_CLEAR(self->loader);
    return result;
}

static PyObject *
next_batch(steps_iterator *self)
{
    uint64_t size, step = self->step;
    if (self->loader == NULL && self->batches == NULL) {
        return NULL;
    }
    self->step = 0;
    if (begin(self) < 0 || (step != 0 && pyft_loops_end(self->loops, step, true) < 0)) {
        end_all(self, false);
        return NULL;
    }
    int stops = step == 0 ? 0 : ends_by_budget(self);
    PyObject *batches = Py_XNewRef(self->batches); /* what is called may end this */
    PyObject *batch = batches == NULL || stops != 0 ? NULL : PyIter_Next(batches);
    Py_XDECREF(batches);
    if (batch == NULL) { /* the end, or an error of the loader */
        end_all(self, !PyErr_Occurred() && !(stops > 0 && self->loops->cut));
        return NULL;
    }
    self->seen++;
    if (pyft_loops_batch_size(self->loops, batch, &size) < 0 ||
        pyft_loops_begin_step(self->loops, batch, size, self->position, &self->step) < 0) {
        Py_DECREF(batch);
        end_all(self, false);
        return NULL;
    }
    return batch;
}

static PyObject *
steps_next(PyObject *object)
{
    steps_iterator *self = (steps_iterator *)object;
    if (self->running) {
        PyErr_SetString(PyExc_RuntimeError,
                        "this loop over ft.steps is asked for a batch while it is giving one");
        return NULL;
    }
    self->running = true;
    PyObject *batch = next_batch(self);
    self->running = false;
    return batch;
}

PyObject *
pyft_steps_iterate(PyObject *object, PyObject *args)
{
    pyft_loops *loops = (pyft_loops *)object;
    PyObject *loader;
    long long position;
    if (!PyArg_ParseTuple(args, "OL", &loader, &position)) {
        return NULL;
    }
    PyTypeObject *type = loops->counter->state->steps_iterator_type;
    steps_iterator *self = PyObject_GC_New(steps_iterator, type);
    if (self == NULL) {
        return NULL;
    }
    self->loops = (pyft_loops *)Py_NewRef(object);
    self->loader = Py_NewRef(loader);
    self->batches = NULL;
    self->loop = self->step = 0;
    self->position = (uint64_t)position;
    self->opened = self->running = false;
    self->seen = 0;
    self->length = -1;
    PyObject_GC_Track((PyObject *)self);
    return (PyObject *)self;
}

/* ---- the type ---- */

static void
steps_finalize(PyObject *object)
{
    PyObject *error = pyft_take_exception();
    steps_iterator *self = (steps_iterator *)object;
    PyObject *tracker = PyWeakref_GetObject(self->loops->tracker);
    bool gone = tracker == Py_None; /* then there is nobody to tell */
    if (end_all(self, false) < 0 && PyErr_Occurred()) {
        if (gone) {
            PyErr_Clear();
        }
        else {
            PyErr_WriteUnraisable(object);
        }
    }
    PyErr_Clear();
    pyft_put_exception(error);
}

static int
steps_traverse(PyObject *object, visitproc visit, void *arg)
{
    steps_iterator *self = (steps_iterator *)object;
    Py_VISIT(Py_TYPE(object));
    Py_VISIT((PyObject *)self->loops);
    Py_VISIT(self->loader);
    Py_VISIT(self->batches);
    return 0;
}

static int
steps_clear(PyObject *object)
{
    steps_iterator *self = (steps_iterator *)object;
    Py_CLEAR(self->loader);
    Py_CLEAR(self->batches);
    return 0;
}

static void
steps_dealloc(PyObject *object)
{
    steps_iterator *self = (steps_iterator *)object;
    PyTypeObject *type = Py_TYPE(object);
    if (PyObject_CallFinalizerFromDealloc(object) < 0) {
        return;
    }
    PyObject_GC_UnTrack(object);
    steps_clear(object);
    Py_DECREF(self->loops);
    PyObject_GC_Del(object);
    Py_DECREF(type);
}

static PyType_Slot steps_slots[] = {
    {Py_tp_doc, "Gives the batches of a loader, each in a step; made by ft.steps(loader)."},
    {Py_tp_iter, PyObject_SelfIter},
    {Py_tp_iternext, steps_next},
    {Py_tp_finalize, steps_finalize},
    {Py_tp_dealloc, steps_dealloc},
    {Py_tp_traverse, steps_traverse},
    {Py_tp_clear, steps_clear},
    {0, NULL},
};

static PyType_Spec steps_spec = {
    .name = "flops_tracker._core.StepsIterator",
    .basicsize = sizeof(steps_iterator),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE |
             Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = steps_slots,
};

int
pyft_add_steps_iterator(PyObject *module, pyft_state *state)
{
    state->steps_iterator_type =
        (PyTypeObject *)PyType_FromModuleAndSpec(module, &steps_spec, NULL);
    return state->steps_iterator_type == NULL
               ? -1
               : PyModule_AddType(module, state->steps_iterator_type);
}
