/* Spans: loops, steps, phases and optimizers' steps that are open in each other, and their ends. */
/* SPDX-License-Identifier: MIT */
#include "loops.h"

pyft_span *
pyft_loops_top(pyft_loops *self)
{
    return self->depth == 0 ? NULL : &self->spans[self->depth - 1];
}

int
pyft_loops_sequence(const pyft_loops *self, uint64_t *sequence)
{
    long long number = pyft_torch_number(self->counter->state->counting->torch.sequence);
    *sequence = (uint64_t)number;
    return number == -2 ? -1 : 0;
}

int
pyft_loops_compiled_calls(const pyft_loops *self, uint64_t *count)
{
    PyObject *calls = pyft_call_helper("flops_tracker._dynamo", "compiled_calls", "(O)", self);
    int result = calls == NULL ? -1 : pyft_to_u64(calls, "calls of compiled code", count);
    Py_XDECREF(calls);
    return result;
}

/* ---- counting: the counter is on while the innermost span is counted ---- */

static int
switch_counter(pyft_loops *self, bool on, bool lower)
{
    PyObject *counter = (PyObject *)self->counter, *done;
    if (on == self->counter->active) {
        return 0;
    }
    done = on ? PyObject_CallMethod(counter, "__enter__", NULL)
              : PyObject_CallMethod(counter, "__exit__", "OOO", Py_None, Py_None, Py_None);
    /* A body may leave a mode that it entered in an earlier step. */
    if (done != NULL && on && lower) {
        Py_SETREF(done, pyft_call_helper("flops_tracker._counting", "lower", "(O)", counter));
    }
    Py_XDECREF(done);
    return done == NULL ? -1 : 0;
}

static void
put_aside(pyft_loops *self, pyft_span *span)
{
    span->work = self->counter->tally;
    span->varying = self->counter->varying;
    span->after_backward = pyft_counter_swap_after_backward(self->counter, false);
    ft_tally_init(&self->counter->tally, ft_allocator_libc());
    self->counter->varying = NULL;
}

static void
take_back(pyft_loops *self, pyft_span *span)
{
    ft_tally_clear(&self->counter->tally);
    self->counter->tally = span->work;
    self->counter->varying = span->varying;
    ft_tally_init(&span->work, ft_allocator_libc());
    pyft_counter_swap_after_backward(self->counter, span->after_backward);
}

/* ---- hooks of optimizers, while something is open ---- */

static int
hook_optimizers(pyft_loops *self, bool on)
{
    int result = 0;
    for (int i = 0; i < 2; i++) {
        int done = on ? PyObject_SetItem(self->hook_tables[i], self->hook_key, self->hooks[i])
                      : PyObject_DelItem(self->hook_tables[i], self->hook_key);
        if (done < 0 && !on && PyErr_ExceptionMatches(PyExc_KeyError)) {
            PyErr_Clear(); /* someone cleared the table */
            done = 0;
        }
        result = done < 0 ? -1 : result;
    }
    return result;
}

/* ---- opening ---- */

int
pyft_loops_open(pyft_loops *self, pyft_span *span)
{
    pyft_span *outer = pyft_loops_top(self);
    if (outer != NULL && self->thread != PyThread_get_thread_ident()) {
        PyErr_SetString(
            PyExc_RuntimeError,
            "a step or phase of this tracker is open in another thread: what this thread does is "
            "counted there, if it was started inside; else give it a tracker of its own");
        return -1;
    }
    if (self->busy) {
        PyErr_SetString(PyExc_RuntimeError, "a step or phase of this tracker is just beginning");
        return -1;
    }
    if (self->depth == PYFT_MAX_SPANS) {
        PyErr_Format(PyExc_RuntimeError, "steps and phases are open in each other %d deep",
                     PYFT_MAX_SPANS);
        return -1;
    }
    if (pyft_loops_sequence(self, &span->sequence) < 0 ||
        (outer == NULL && hook_optimizers(self, true) < 0)) {
        return -1;
    }
    if (outer != NULL) {
        put_aside(self, outer);
    }
    self->thread = PyThread_get_thread_ident();
    self->busy = true;
    int switched = switch_counter(self, span->counted, span->kind != PYFT_SPAN_OPTIMIZER);
    self->busy = false;
    if (switched < 0) {
        PyObject *error = pyft_take_exception();
        if (outer != NULL) {
            take_back(self, outer);
        }
        else {
            hook_optimizers(self, false);
        }
        pyft_put_exception(error);
        return -1;
    }
    span->number = ++self->last_number;
    span->phase = self->phase;
    pyft_span *place = &self->spans[self->depth];
    *place = *span;
    ft_tally_init(&place->work, ft_allocator_libc());
    self->depth++;
    return 0;
}

int
pyft_loops_begin_loop(pyft_loops *self, PyObject *loader, uint64_t *number)
{
    PyObject *aloof = pyft_call_helper("flops_tracker._step_keys", "is_aloof", "(O)", loader);
    if (aloof == NULL) {
        return -1;
    }
    pyft_span span = {.kind = PYFT_SPAN_LOOP, .aloof = aloof == Py_True};
    Py_DECREF(aloof);
    int result = pyft_loops_open(self, &span);
    *number = span.number;
    return result;
}

/* The state of all models that are known, as they were left by the step before, in a loop. */
static int
look_before(pyft_loops *self, pyft_snapshot *before)
{
    const pyft_span *outer = pyft_loops_top(self);
    bool goes_on = outer != NULL && outer->kind == PYFT_SPAN_LOOP && outer->aloof &&
                   self->now_loop == outer->number;
    self->now_loop = 0;
    if (goes_on && self->now.valid && self->now.generation == self->models.generation) {
        pyft_snapshot now = self->now;
        self->now = *before;
        *before = now;
        return 0;
    }
    return pyft_snapshot_take(before, &self->models, &self->known, NULL);
}

int
pyft_loops_begin_step(pyft_loops *self, PyObject *batch, uint64_t batch_size, uint64_t position,
                      uint64_t *number)
{
    if (self->depth == PYFT_MAX_SPANS) {
        pyft_span none = {.kind = PYFT_SPAN_STEP};
        return pyft_loops_open(self, &none); /* says so */
    }
    pyft_span span = {.kind = PYFT_SPAN_STEP, .batch_size = batch_size, .counted = true};
    pyft_snapshot *before = &self->before[self->depth];
    pyft_digest digest = PYFT_DIGEST_START;
    int unknown = batch == NULL || self->count_all || self->trace == FT_TRACE_ALWAYS
                      ? 1
                      : pyft_digest_batch(&digest, &self->known, batch);
    if (unknown == 1 && batch != NULL && !self->count_all && self->trace != FT_TRACE_ALWAYS &&
        !self->told_of_batch) {
        self->told_of_batch = true;
        if (pyft_loops_note(self, "tell_of_unknown_batch", PyTuple_Pack(1, batch)) < 0) {
            return -1;
        }
    }
    if (unknown == 0) {
        if (look_before(self, before) < 0 || pyft_digest_flags(&digest, &self->known) < 0) {
            return -1;
        }
        pyft_digest_add(&digest, before->flags.low);
        pyft_digest_add(&digest, before->flags.high);
        pyft_digest_add(&digest, before->generation);
        pyft_digest_add(&digest, position);
        span.key.base = digest.low;
        pyft_digest_add(&digest, before->gradients.low);
        span.key.low = digest.low;
        span.key.high = digest.high;
        span.has_key = true;
        span.counted = ft_replay_wants(&self->phases[self->phase]->steps, span.key);
    }
    if (span.counted && span.has_key && pyft_loops_compiled_calls(self, &span.compiled) < 0) {
        return -1;
    }
    pyft_tracker *tracker = self->phase == 0 ? pyft_loops_tracker(self) : NULL;
    if (tracker != NULL && !tracker->run.open) {
        pyft_loops_begin_epoch(tracker, pyft_tracker_now(tracker));
    }
    ft_tally_clear(&self->last);
    if (PyErr_Occurred() || unknown < 0 || pyft_loops_open(self, &span) < 0) {
        return -1;
    }
    *number = span.number;
    return 0;
}

/* ---- closing ---- */

static int
close_top(pyft_loops *self)
{
    pyft_span *span = pyft_loops_top(self);
    ft_tally work = self->counter->tally;
    PyObject *varying = self->counter->varying;
    int result = 0;
    span->last = span->sequence;
    ft_tally_init(&self->counter->tally, ft_allocator_libc());
    self->counter->varying = NULL;
    self->depth--;
    pyft_span *outer = pyft_loops_top(self);
    bool same_thread = self->thread == PyThread_get_thread_ident();
    if (!same_thread || pyft_loops_sequence(self, &span->last) < 0) {
        PyErr_Clear();
        span->odd = true;
    }
    if (switch_counter(self, outer != NULL && outer->counted && same_thread, true) < 0) {
        result = -1;
    }
    PyObject *error = pyft_take_exception();
    if (outer == NULL) {
        result = hook_optimizers(self, false) < 0 ? -1 : result;
    }
    else {
        outer->excluded += span->last - span->sequence;
        if (span->kind != PYFT_SPAN_OPTIMIZER) { /* these were noted when they began */
            uint64_t what = pyft_mixed((uint64_t)span->kind, (uint64_t)span->phase);
            what = pyft_mixed(what, span->kind == PYFT_SPAN_STEP ? span->key.low : span->events);
            outer->events = pyft_mixed(outer->events, what);
        }
        outer->odd = outer->odd || !same_thread;
        take_back(self, outer);
    }
    if (span->kind == PYFT_SPAN_PHASE) {
        self->phase = outer == NULL ? 0 : outer->phase;
    }
    result = pyft_loops_end_span(self, span, &work, varying) < 0 ? -1 : result;
    ft_tally_clear(&work);
    pyft_put_exception(pyft_keep_first(error));
    return result;
}

int
pyft_loops_close_top(pyft_loops *self)
{
    self->busy = true;
    int result = close_top(self);
    self->busy = false;
    return result;
}

void
pyft_loops_break_off(pyft_loops *self, int at)
{
    self->spans[at].odd = true;
    for (int i = 0; i < at; i++) {
        self->spans[i].odd = self->spans[i].odd || !self->spans[at].counted;
        self->spans[i].events = pyft_mixed(self->spans[i].events, UINT64_MAX);
    }
}

/* Optimizers that raised have no end of their own. */
static void
drop_optimizers(pyft_loops *self, int above)
{
    for (int i = above; i < self->depth; i++) {
        if (self->spans[i].kind == PYFT_SPAN_OPTIMIZER && !self->spans[i].closed) {
            self->spans[i].closed = true;
            pyft_loops_break_off(self, i);
        }
    }
}

/* Loops that take turns, as in zip(ft.steps(a), ft.steps(b)), close their steps below others. What
 * the step has done while it was the innermost is its work. */
static int
take_out(pyft_loops *self, int at)
{
    pyft_span span = self->spans[at];
    pyft_snapshot before = self->before[at];
    size_t above = (size_t)(self->depth - 1 - at);
    memmove(&self->spans[at], &self->spans[at + 1], above * sizeof span);
    memmove(&self->before[at], &self->before[at + 1], above * sizeof before);
    self->before[--self->depth] = before;
    self->count_all = span.odd = true;
    for (int i = at; i < self->depth; i++) {
        self->spans[i].odd = true;
    }
    self->busy = true;
    int result = pyft_loops_end_span(self, &span, &span.work, span.varying);
    self->busy = false;
    ft_tally_clear(&span.work);
    return result;
}

int
pyft_loops_end(pyft_loops *self, uint64_t number, bool whole)
{
    int at = self->depth - 1, result = 0;
    while (at >= 0 && self->spans[at].number != number) {
        at--;
    }
    if (at < 0 || self->spans[at].closed) {
        return 0;
    }
    if (self->busy) { /* a finalizer, while another span opens or closes */
        self->spans[at].closed = self->spans[at].odd = true;
        return 0;
    }
    drop_optimizers(self, at + 1);
    self->spans[at].closed = true;
    self->spans[at].broken = !whole;
    bool in_order = true;
    for (int i = at + 1; i < self->depth; i++) {
        in_order = in_order && self->spans[i].closed;
    }
    if (!in_order) {
        result = take_out(self, at);
    }
    while (self->depth > 0 && pyft_loops_top(self)->closed) {
        result = pyft_loops_close_top(self) < 0 ? -1 : result;
    }
    if (result == 0 && self->phase == 0) {
        result = pyft_held_flush(self);
    }
    return result < 0 ? -1 : pyft_loops_say(self);
}
