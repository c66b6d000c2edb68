/* Records of steps, in their order: a step that waits for what it cost holds up those after it. */
/* SPDX-License-Identifier: MIT */
#include "loops.h"

#include <string.h>

pyft_tracker *
pyft_loops_tracker(const pyft_loops *self)
{
    PyObject *tracker = PyWeakref_GetObject(self->tracker);
    if (tracker == Py_None) {
        PyErr_SetString(PyExc_RuntimeError,
                        "the FlopsTracker of this loop is gone: keep it in a variable");
        return NULL;
    }
    return (pyft_tracker *)tracker;
}

int
pyft_loops_begin_epoch(pyft_tracker *tracker, double now)
{
    if (pyft_run_begin(tracker) < 0) {
        return -1;
    }
    ft_status status = ft_epochs_begin(&tracker->run, now);
    return status == FT_OK ? 0 : (pyft_raise(status, "a loop of steps"), -1);
}

static int
record(pyft_tracker *tracker, const pyft_held *held)
{
    ft_step step;
    if (!tracker->run.open && pyft_loops_begin_epoch(tracker, held->now) < 0) {
        return -1;
    }
    /* As if all that was no training until now had come before it ended. */
    double now = pyft_tracker_now(tracker);
    double ended = held->now + ft_epochs_paused(&tracker->run, now) - held->paused;
    ft_status status = ft_epochs_batch(&tracker->run, held->batch_size, held->flops, ended, &step);
    if (status != FT_OK) {
        pyft_raise(status, "counting a step");
        return -1;
    }
    return tracker->iterator != NULL ? pyft_epochs_report_step(tracker->iterator, &step) : 0;
}

/* Each leaves before its record is made, of which a line may be printed, by code of the user's. */
int
pyft_held_flush(pyft_loops *self)
{
    int result = 0;
    pyft_tracker *tracker = self->held_count == 0 ? NULL : pyft_loops_tracker(self);
    if (self->held_count > 0 && tracker == NULL) {
        return -1;
    }
    while (result == 0 && self->held_first < self->held_count &&
           (self->held[self->held_first].known || self->held[self->held_first].lost)) {
        pyft_held first = self->held[self->held_first++];
        result = record(tracker, &first);
    }
    if (self->held_first > 0) {
        self->held_count -= self->held_first;
        memmove(self->held, self->held + self->held_first, self->held_count * sizeof *self->held);
        self->held_first = 0;
    }
    return result;
}

bool
pyft_held_over_budget(const pyft_loops *self, const ft_epochs *run)
{
    ft_u128 total = run->ledger.total;
    for (size_t i = self->held_first; i < self->held_count; i++) {
        total = ft_u128_add(total, self->held[i].flops);
    }
    return ft_u128_compare(total, run->max_flops) >= 0;
}

int
pyft_held_add(pyft_loops *self, const pyft_held *added)
{
    pyft_tracker *tracker = pyft_loops_tracker(self);
    if (tracker == NULL) {
        return -1;
    }
    pyft_held held = *added;
    held.now = pyft_tracker_now(tracker);
    held.paused = ft_epochs_paused(&tracker->run, held.now);
    if (self->held_count == 0 && (held.known || held.lost)) {
        return record(tracker, &held);
    }
    if (self->held_count == PYFT_MAX_HELD && pyft_held_give_up(self) < 0) {
        return -1;
    }
    if (self->held_count == self->held_capacity) {
        size_t capacity = self->held_capacity == 0 ? 64 : 2 * self->held_capacity;
        pyft_held *larger = PyMem_Realloc(self->held, capacity * sizeof *larger);
        if (larger == NULL) {
            PyErr_NoMemory();
            return -1;
        }
        self->held = larger;
        self->held_capacity = capacity;
    }
    self->held[self->held_count++] = held;
    return 0;
}

void
pyft_held_resolve(pyft_loops *self)
{
    for (size_t i = self->held_first; i < self->held_count; i++) {
        pyft_held *held = &self->held[i];
        ft_u128 flops;
        if (!held->known && !held->lost &&
            ft_replay_known(&self->phases[0]->steps, held->key, held->sign, &flops)) {
            held->known = true;
            held->flops = ft_u128_add(held->flops, flops);
        }
    }
}

int
pyft_held_give_up(pyft_loops *self)
{
    if (ft_replay_decide(&self->phases[0]->steps) > 0) {
        pyft_held_resolve(self);
    }
    uint64_t lost = self->odd_steps - self->odd_told;
    self->odd_told = self->odd_steps;
    for (size_t i = self->held_first; i < self->held_count; i++) {
        lost += !self->held[i].known;
        self->held[i].lost = !self->held[i].known;
    }
    ft_replay_abandon(&self->phases[0]->steps);
    if (lost > 0 && pyft_loops_note(self, "tell_of_lost_steps",
                                    Py_BuildValue("(K)", (unsigned long long)lost)) < 0) {
        return -1;
    }
    return pyft_held_flush(self);
}

/* ---- what is to be said ---- */

/* Steals the arguments, which may be NULL with an exception. */
int
pyft_loops_note(pyft_loops *self, const char *name, PyObject *args)
{
    PyObject *note = args == NULL ? NULL : Py_BuildValue("(sN)", name, args);
    int result = note == NULL ? -1 : PyList_Append(self->warnings, note);
    Py_XDECREF(note);
    return result;
}

/* Where warnings are errors, the others are kept for the next time. */
int
pyft_loops_say(pyft_loops *self)
{
    while (PyList_GET_SIZE(self->warnings) > 0) {
        PyObject *note = Py_NewRef(PyList_GET_ITEM(self->warnings, 0));
        PyObject *said = NULL;
        if (PyList_SetSlice(self->warnings, 0, 1, NULL) == 0) {
            said =
                pyft_call_helper("flops_tracker._tell", PyUnicode_AsUTF8(PyTuple_GET_ITEM(note, 0)),
                                 "O", PyTuple_GET_ITEM(note, 1));
        }
        Py_DECREF(note);
        Py_XDECREF(said);
        if (said == NULL) {
            return -1;
        }
    }
    return 0;
}
