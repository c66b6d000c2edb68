/* A step of an optimizer is counted by itself: the hooks that torch.optim calls before and after.
 */
/* SPDX-License-Identifier: MIT */
#include "loops.h"

enum { MAX_OPTIMIZERS = 64 };

/* A number that no other optimizer has had: an address may have been that of another one. */
static int
number_of(pyft_loops *self, PyObject *optimizer, uint64_t *number)
{
    Py_ssize_t count = PyList_GET_SIZE(self->optimizers);
    for (Py_ssize_t i = count - 1; i >= 0; i--) {
        if (PyWeakref_GetObject(PyList_GET_ITEM(self->optimizers, i)) == optimizer) {
            *number = (uint64_t)i;
            return 0;
        }
    }
    if (count == MAX_OPTIMIZERS) {
        return 1; /* made anew all the time */
    }
    PyObject *reference = PyWeakref_NewRef(optimizer, NULL);
    int result = reference == NULL ? -1 : PyList_Append(self->optimizers, reference);
    Py_XDECREF(reference);
    *number = (uint64_t)count;
    return result;
}

/* *event: what of it the steps around it are known by, which does not have the state of the
 * optimizer: that its first step does other work is its own affair. */
static int
find_key(pyft_loops *self, PyObject *optimizer, bool runs_model, pyft_span *span, uint64_t *event)
{
    pyft_digest digest = PYFT_DIGEST_START;
    uint64_t number = 0;
    *event = 0;
    int unknown = runs_model || self->trace == FT_TRACE_ALWAYS
                      ? 1
                      : pyft_digest_optimizer(&digest, &self->known, optimizer, event);
    if (unknown >= 0) {
        int numbered = number_of(self, optimizer, &number);
        unknown = numbered != 0 ? numbered : unknown;
        *event = pyft_mixed(*event, number);
    }
    if (unknown == 0) {
        pyft_digest_add(&digest, number);
        for (int i = 0; i < self->depth; i++) { /* a parameter's data may be another's */
            bool knows = self->spans[i].kind == PYFT_SPAN_STEP && self->before[i].valid;
            pyft_digest_add(&digest, knows ? self->before[i].shapes.low : 0);
        }
        span->key = (ft_step_key){digest.low, digest.high, 0};
        span->has_key = true;
    }
    return unknown < 0 ? -1 : 0;
}

/* It raised, and is tried again, or what came after it is over. */
static int
drop_broken_off(pyft_loops *self, const PyObject *optimizer)
{
    int broken = self->depth - 1;
    while (broken >= 0 && self->spans[broken].kind == PYFT_SPAN_OPTIMIZER &&
           self->spans[broken].optimizer != optimizer) {
        broken--;
    }
    if (broken < 0 || self->spans[broken].kind != PYFT_SPAN_OPTIMIZER) {
        return 0;
    }
    while (self->depth > broken) {
        pyft_loops_break_off(self, self->depth - 1);
        if (pyft_loops_close_top(self) < 0) {
            return -1;
        }
    }
    return 0;
}

static bool
is_followed(const pyft_loops *self)
{
    return self->depth > 0 && self->thread == PyThread_get_thread_ident() && !self->busy &&
           self->spans[self->depth - 1].kind != PYFT_SPAN_LOOP;
}

/* A closure runs the model. The first of the arguments is the optimizer itself. */
static bool
has_closure(PyObject *args, PyObject *kwargs)
{
    PyObject *closure = NULL;
    if (PyDict_Check(kwargs)) {
        closure = PyDict_GetItemString(kwargs, "closure");
    }
    if (closure == NULL && PyTuple_Check(args) && PyTuple_GET_SIZE(args) > 1) {
        closure = PyTuple_GET_ITEM(args, 1);
    }
    return closure != NULL && closure != Py_None;
}

/* Gradients may be gone at the end of a step, and what was done to them with them: their versions
 * say it where an optimizer steps, if there were none at the start of the step. */
static void
note_gradients(pyft_loops *self)
{
    uint64_t versions = 0;
    for (int i = 0; i < self->depth; i++) {
        pyft_span *span = &self->spans[i];
        if (span->kind == PYFT_SPAN_STEP && span->has_key && self->before[i].valid &&
            !self->before[i].has_gradients) {
            versions =
                versions == 0 ? pyft_gradient_versions(&self->models, &self->known) : versions;
            span->stepped = pyft_mixed(span->stepped, versions);
        }
    }
}

PyObject *
pyft_loops_before_optimizer(PyObject *object, PyObject *const *args, Py_ssize_t count)
{
    pyft_loops *self = (pyft_loops *)object;
    uint64_t event;
    if (count != 3 || !is_followed(self)) {
        Py_RETURN_NONE;
    }
    PyObject *optimizer = args[0];
    pyft_span span = {.kind = PYFT_SPAN_OPTIMIZER, .optimizer = optimizer};
    if (drop_broken_off(self, optimizer) < 0 ||
        find_key(self, optimizer, has_closure(args[1], args[2]), &span, &event) < 0) {
        return NULL;
    }
    bool inside_counted = self->spans[self->depth - 1].counted;
    const ft_replay *replay = &self->phases[self->phase]->optimizers;
    span.counted = inside_counted || !span.has_key || ft_replay_wants(replay, span.key);
    for (int i = 0; i < self->depth; i++) {
        self->spans[i].events = pyft_mixed(self->spans[i].events, event);
    }
    note_gradients(self);
    if (pyft_loops_open(self, &span) < 0) {
        return NULL;
    }
    if (span.counted && !inside_counted) {
        return pyft_counter_enter_step((PyObject *)self->counter, NULL);
    }
    Py_RETURN_NONE;
}

PyObject *
pyft_loops_after_optimizer(PyObject *object, PyObject *const *args, Py_ssize_t count)
{
    pyft_loops *self = (pyft_loops *)object;
    const PyObject *optimizer = count == 0 ? NULL : args[0];
    bool is_open = false;
    for (int i = 0; i < self->depth; i++) {
        is_open = is_open || self->spans[i].optimizer == optimizer;
    }
    if (!is_open || !is_followed(self)) {
        Py_RETURN_NONE; /* it began before the step did, or in another one */
    }
    /* Optimizers that it called and that raised are above it. */
    while (self->spans[self->depth - 1].kind == PYFT_SPAN_OPTIMIZER) {
        pyft_span *span = &self->spans[self->depth - 1];
        bool last = span->optimizer == optimizer;
        span->odd = span->odd || !last;
        if (pyft_loops_close_top(self) < 0) {
            return NULL;
        }
        if (last) {
            break;
        }
    }
    Py_RETURN_NONE;
}
