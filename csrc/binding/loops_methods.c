/* Methods of StepLoops: steps, phases and epochs open and end, as _steps.py asks for it. */
/* SPDX-License-Identifier: MIT */
#include "loops.h"

/* ---- phases ---- */

int
pyft_loops_find_phase(pyft_loops *self, PyObject *name, int *number)
{
    for (int i = 0; i < self->phase_count; i++) {
        int same = PyObject_RichCompareBool(self->phases[i]->name, name, Py_EQ);
        if (same != 0) {
            *number = i;
            return same < 0 ? -1 : 0;
        }
    }
    size_t size = ((size_t)self->phase_count + 1) * sizeof(pyft_phase_work *);
    pyft_phase_work **phases = PyMem_Realloc(self->phases, size);
    pyft_phase_work *phase = NULL;
    if (phases != NULL) {
        self->phases = phases;
        phase = PyMem_Calloc(1, sizeof *phase);
    }
    if (phase == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    phase->name = Py_NewRef(name);
    const ft_convention *convention = self->counter->convention;
    self->seed += 2;
    ft_replay_init(&phase->steps, ft_allocator_libc(), convention, self->trace, self->verify_every,
                   self->seed);
    ft_replay_init(&phase->optimizers, ft_allocator_libc(), convention, self->trace,
                   self->verify_every, self->seed + 1);
    *number = self->phase_count;
    self->phases[self->phase_count++] = phase;
    return 0;
}

/* ---- spans ---- */

int
pyft_loops_batch_size(pyft_loops *self, PyObject *batch, uint64_t *size)
{
    PyObject *data = batch;
    if ((PyTuple_Check(batch) || PyList_Check(batch)) && PySequence_Fast_GET_SIZE(batch) > 0) {
        data = PySequence_Fast_GET_ITEM(batch, 0);
    }
    if ((PyObject *)Py_TYPE(data) == self->known.tensor_type &&
        PyLong_CheckExact(self->batch_dim) && PyLong_AsLong(self->batch_dim) == 0) {
        PyObject *shape = self->known.shape->get(data, self->known.shape->closure);
        bool plain = shape != NULL && PyTuple_Check(shape) && PyTuple_GET_SIZE(shape) > 0;
        PyObject *first = plain ? PyTuple_GET_ITEM(shape, 0) : NULL;
        plain = first != NULL && PyLong_Check(first);
        *size = plain ? (uint64_t)PyLong_AsUnsignedLongLong(first) : 1;
        Py_XDECREF(shape);
        PyErr_Clear();
        if (plain) {
            return 0;
        }
    }
    PyObject *found =
        pyft_call_helper("flops_tracker._steps", "size_of", "(OO)", data, self->batch_dim);
    int result = found == NULL ? -1 : pyft_to_u64(found, "batch_size", size);
    Py_XDECREF(found);
    return result;
}

/* _begin_step(batch, batch_size, position): None as the size is that of the batch, as the batch is
 * unknown. */
static PyObject *
loops_begin_step(PyObject *object, PyObject *args)
{
    pyft_loops *self = (pyft_loops *)object;
    PyObject *batch, *given;
    long long position;
    uint64_t size = 1, number = 0;
    if (!PyArg_ParseTuple(args, "OOL", &batch, &given, &position)) {
        return NULL;
    }
    int sized = given != Py_None   ? pyft_to_u64(given, "batch_size", &size)
                : batch != Py_None ? pyft_loops_batch_size(self, batch, &size)
                                   : 0;
    if (sized < 0) {
        return NULL;
    }
    batch = batch == Py_None ? NULL : batch;
    return pyft_loops_begin_step(self, batch, size, (uint64_t)position, &number) < 0
               ? NULL
               : PyLong_FromUnsignedLongLong(number);
}

static PyObject *
loops_begin_phase(PyObject *object, PyObject *name)
{
    pyft_loops *self = (pyft_loops *)object;
    int phase, before = self->phase;
    pyft_tracker *tracker = pyft_loops_tracker(self);
    if (tracker == NULL || pyft_loops_find_phase(self, name, &phase) < 0) {
        return NULL;
    }
    pyft_span span = {.kind = PYFT_SPAN_PHASE, .counted = true};
    self->phase = phase;
    if (pyft_loops_open(self, &span) < 0) {
        self->phase = before;
        return NULL;
    }
    if (phase != 0) { /* this is no time of training */
        ft_epochs_pause(&tracker->run, pyft_tracker_now(tracker));
    }
    return PyLong_FromUnsignedLongLong(span.number);
}

static PyObject *
loops_end(PyObject *object, PyObject *args)
{
    unsigned long long number;
    int whole;
    if (!PyArg_ParseTuple(args, "Kp", &number, &whole)) {
        return NULL;
    }
    return pyft_loops_end((pyft_loops *)object, number, whole != 0) < 0 ? NULL : Py_NewRef(Py_None);
}

/* _end_batch(number, size): ends a step of ft(...), whose size only its body knows; one that raised
 * has none, and is as if it had not been, unless an optimizer has stepped in it. */
static PyObject *
loops_end_batch(PyObject *object, PyObject *args)
{
    pyft_loops *self = (pyft_loops *)object;
    unsigned long long number;
    PyObject *size;
    uint64_t batch_size = 0;
    if (!PyArg_ParseTuple(args, "KO", &number, &size)) {
        return NULL;
    }
    bool dropped = size == Py_None || pyft_to_u64(size, "the batch size", &batch_size) < 0;
    PyObject *error = pyft_take_exception();
    for (int i = 0; i < self->depth; i++) {
        if (self->spans[i].number == number) {
            self->spans[i].batch_size = dropped ? self->spans[i].batch_size : batch_size;
            self->spans[i].dropped = dropped;
        }
    }
    int result = pyft_loops_end(self, number, !dropped);
    error = pyft_keep_first(error);
    bool failed = result < 0 || error != NULL;
    pyft_put_exception(error);
    return failed ? NULL : Py_NewRef(Py_None);
}

/* Autograd nodes that torch.compile made, and not what runs. */
static PyObject *
loops_exclude(PyObject *object, PyObject *nodes)
{
    pyft_loops *self = (pyft_loops *)object;
    pyft_span *top = pyft_loops_top(self);
    uint64_t count;
    if (pyft_to_u64(nodes, "nodes", &count) < 0) {
        return NULL;
    }
    if (top != NULL && self->thread == PyThread_get_thread_ident()) {
        top->excluded += count;
    }
    Py_RETURN_NONE;
}

/* ---- epochs ---- */

int
pyft_loops_end_epoch(pyft_loops *self, bool whole)
{
    pyft_tracker *tracker = pyft_loops_tracker(self);
    if (tracker == NULL || pyft_held_give_up(self) < 0) {
        return -1;
    }
    ft_epoch epoch;
    if (tracker->run.open && (whole || tracker->budget_stops)) {
        if (pyft_tracker_end_epoch_in_order(tracker, whole, NULL, &epoch) < 0) {
            return -1;
        }
    }
    else if (tracker->run.open) {
        ft_status status =
            ft_epochs_end(&tracker->run, false, NULL, pyft_tracker_now(tracker), &epoch);
        if (status != FT_OK) {
            pyft_raise(status, "ending the epoch");
            return -1;
        }
    }
    return pyft_loops_say(self);
}

static PyObject *
loops_end_epoch(PyObject *object, PyObject *complete)
{
    int whole = PyObject_IsTrue(complete);
    return whole < 0 || pyft_loops_end_epoch((pyft_loops *)object, whole != 0) < 0
               ? NULL
               : Py_NewRef(Py_None);
}

static PyObject *
loops_give_up(PyObject *object, PyObject *unused)
{
    (void)unused;
    pyft_loops *self = (pyft_loops *)object;
    return pyft_held_give_up(self) < 0 || pyft_loops_say(self) < 0 ? NULL : Py_NewRef(Py_None);
}

PyMethodDef pyft_loops_methods[] = {
    {"_begin_step", loops_begin_step, METH_VARARGS, "The number of a step that is open now."},
    {"_begin_phase", loops_begin_phase, METH_O, "The same of a phase, by its name."},
    {"_end", loops_end, METH_VARARGS, "_end(number, whole)"},
    {"_end_batch", loops_end_batch, METH_VARARGS, "_end_batch(number, size)"},
    {"_take_last", pyft_loops_take_last, METH_O, "What the last step did, if it was counted."},
    {"_exclude", loops_exclude, METH_O, "_exclude(nodes): of the step that is open, not its own."},
    {"_iterate", pyft_steps_iterate, METH_VARARGS, "_iterate(loader, position)"},
    {"_end_epoch", loops_end_epoch, METH_O, "_end_epoch(complete)"},
    {"_give_up", loops_give_up, METH_NOARGS, "Records that wait are made as they are."},
    {"_before_optimizer", PYFT_METHOD(pyft_loops_before_optimizer), METH_FASTCALL, NULL},
    {"_after_optimizer", PYFT_METHOD(pyft_loops_after_optimizer), METH_FASTCALL, NULL},
    {"_state", pyft_loops_state, METH_O, "Steps without a record, and counts with them."},
    {"_counts", pyft_loops_counts, METH_O, "A FlopCount of all phases, of that type."},
    {"_phase_counts", pyft_loops_phase_counts, METH_O, "A dict of them by phase."},
    {NULL, NULL, 0, NULL},
};
