/* For loops that the user writes: batches told by hand; epochs, steps, phases (see _steps.py). */
/* SPDX-License-Identifier: MIT */
#include "loops.h"

#include <string.h>

/* ---- batch by batch ---- */

/* By hand is for loops that the user writes; a loop of ours counts for itself. */
static int
check_by_hand(pyft_tracker *self, const char *doing)
{
    if (self->training_now) {
        PyErr_Format(PyExc_RuntimeError,
                     "%s: this tracker is training by itself and counts its own batches", doing);
        return -1;
    }
    return self->iterator == NULL ? 0 : pyft_epochs_displace(self->iterator);
}

int
pyft_tracker_record_all(pyft_tracker *self)
{
    PyObject *done = self->loops == NULL ? Py_NewRef(Py_None)
                                         : PyObject_CallMethod(self->loops, "_give_up", NULL);
    Py_XDECREF(done);
    return done == NULL ? -1 : 0;
}

PyObject *
pyft_tracker_on_epoch_start(PyObject *object, PyObject *unused)
{
    (void)unused;
    pyft_tracker *self = (pyft_tracker *)object;
    if (check_by_hand(self, "on_epoch_start") < 0 || pyft_tracker_prepare(self) < 0 ||
        pyft_run_begin(self) < 0) {
        return NULL;
    }
    ft_status status = ft_epochs_begin(&self->run, pyft_tracker_now(self));
    return status == FT_OK ? Py_NewRef(Py_None) : pyft_raise(status, "on_epoch_start");
}

PyObject *
pyft_tracker_update_batch(PyObject *object, PyObject *const *args, Py_ssize_t count,
                          PyObject *names)
{
    pyft_tracker *self = (pyft_tracker *)object;
    Py_ssize_t keywords = names == NULL ? 0 : PyTuple_GET_SIZE(names);
    ft_step step;
    uint64_t batch_size;
    bool named_right =
        keywords == 0 || (keywords == 1 && PyUnicode_CompareWithASCIIString(
                                               PyTuple_GET_ITEM(names, 0), "batch_size") == 0);
    if (count + keywords != 1 || !named_right) {
        PyErr_SetString(PyExc_TypeError, "update_batch takes one argument, batch_size");
        return NULL;
    }
    if ((self->training_now || self->iterator != NULL) && check_by_hand(self, "update_batch") < 0) {
        return NULL;
    }
    if (pyft_to_u64(args[0], "batch_size", &batch_size) < 0 ||
        pyft_tracker_add_batch(self, batch_size, &step) < 0 ||
        pyft_tracker_mind_budget(self) < 0) { /* what it says is the user's to ask for */
        return NULL;
    }
    Py_RETURN_NONE;
}

PyObject *
pyft_tracker_on_epoch_end(PyObject *object, PyObject *unused)
{
    (void)unused;
    pyft_tracker *self = (pyft_tracker *)object;
    ft_epoch epoch;
    if (check_by_hand(self, "on_epoch_end") < 0 || pyft_tracker_record_all(self) < 0) {
        return NULL;
    }
    if (!self->run.open) {
        return pyft_raise(FT_NO_EPOCH, "on_epoch_end");
    }
    return pyft_tracker_end_epoch_in_order(self, true, NULL, &epoch) < 0 ? NULL
                                                                         : Py_NewRef(Py_None);
}

PyObject *
pyft_tracker_enter(PyObject *object, PyObject *unused)
{
    (void)unused;
    pyft_tracker *self = (pyft_tracker *)object;
    return pyft_tracker_prepare(self) < 0 || pyft_run_enter(self) < 0 ? NULL : Py_NewRef(object);
}

/* An epoch that is still open was broken off; its batches stay counted. */
static int
break_off(pyft_tracker *self, const char *doing)
{
    ft_epoch epoch;
    if (check_by_hand(self, doing) < 0 || pyft_tracker_record_all(self) < 0) {
        return -1;
    }
    if (self->run.open) {
        ft_epochs_end(&self->run, false, NULL, pyft_tracker_now(self), &epoch);
    }
    return 0;
}

PyObject *
pyft_tracker_exit(PyObject *object, PyObject *args)
{
    pyft_tracker *self = (pyft_tracker *)object;
    bool failed = PyTuple_GET_SIZE(args) > 0 && PyTuple_GET_ITEM(args, 0) != Py_None;
    return break_off(self, "leaving the block") < 0 || pyft_run_leave(self, failed) < 0
               ? NULL
               : Py_NewRef(Py_False);
}

/* A row would lack what the step or phase still does, which another run would then have. */
static int
check_nothing_is_open(const pyft_tracker *self)
{
    const pyft_loops *loops = (pyft_loops *)self->loops;
    for (int i = 0; loops != NULL && i < loops->depth; i++) {
        const pyft_span *span = &loops->spans[i];
        bool step = span->kind == PYFT_SPAN_STEP;
        if (!span->closed && (step || span->kind == PYFT_SPAN_PHASE)) {
            PyErr_Format(PyExc_RuntimeError,
                         "close: a %s is open: call it after the loop or block that it is in",
                         step ? "step" : "phase");
            return -1;
        }
    }
    return 0;
}

PyObject *
pyft_tracker_close(PyObject *object, PyObject *unused)
{
    (void)unused;
    pyft_tracker *self = (pyft_tracker *)object;
    return pyft_tracker_check(self) < 0 || check_nothing_is_open(self) < 0 ||
                   break_off(self, "close") < 0 || pyft_run_close(self) < 0
               ? NULL
               : Py_NewRef(Py_None);
}

/* ---- epochs, steps, phases ---- */

/* The loops of a tracker, made when they are first asked for; borrowed. */
static PyObject *
loops_of(PyObject *object)
{
    pyft_tracker *self = (pyft_tracker *)object;
    if (self->loops == NULL && pyft_tracker_check(self) == 0) {
        PyObject *options = self->trace_options == NULL ? Py_None : self->trace_options;
        self->loops = pyft_call_helper("flops_tracker._steps", "Loops", "(OO)", object, options);
    }
    return self->loops;
}

/* What is no training may be counted in the body of ft(...). */
static bool
is_aside(const pyft_tracker *self, const char *name)
{
    return !self->training_now && self->iterator != NULL &&
           (strcmp(name, "phase") == 0 || (strcmp(name, "epochs") != 0 && self->loops != NULL &&
                                           ((pyft_loops *)self->loops)->phase != 0));
}

static PyObject *
call_loops(PyObject *object, const char *name, PyObject *args, PyObject *kwargs)
{
    pyft_tracker *self = (pyft_tracker *)object;
    bool allowed = is_aside(self, name) || check_by_hand(self, name) == 0;
    PyObject *loops = allowed ? loops_of(object) : NULL;
    PyObject *method = loops == NULL ? NULL : PyObject_GetAttrString(loops, name);
    PyObject *result = method == NULL ? NULL : PyObject_Call(method, args, kwargs);
    Py_XDECREF(method);
    return result;
}

#define OF_LOOPS(name)                                                                \
    PyObject *pyft_tracker_##name(PyObject *object, PyObject *args, PyObject *kwargs) \
    {                                                                                 \
        return call_loops(object, #name, args, kwargs);                               \
    }
OF_LOOPS(epochs)
OF_LOOPS(steps)
OF_LOOPS(step)
OF_LOOPS(phase)

PyObject *
pyft_tracker_loops_attribute(PyObject *object, void *name)
{
    PyObject *loops = loops_of(object);
    return loops == NULL ? NULL : PyObject_GetAttrString(loops, name);
}

/* Internal: the same object, for _state.py. */
PyObject *
pyft_tracker_loops(PyObject *object, PyObject *unused)
{
    (void)unused;
    return Py_XNewRef(loops_of(object));
}
