/* What a span that has ended did: the profile of its kind, or that of the kind it turns out to be.
 */
/* SPDX-License-Identifier: MIT */
#include "loops.h"

/* Modules that were seen at work and are in no model that is known, other models above all: what
 * they have belongs to the key of the steps to come. */
static int
find_models(pyft_loops *self)
{
    const pyft_modules *modules = &self->counter->modules;
    if (self->models.root_count == 0) {
        return 0;
    }
    if (self->modules_seen == 0) {
        self->modules_seen = 1; /* number 0 is the outside */
    }
    for (; self->modules_seen < modules->count; self->modules_seen++) {
        const pyft_module_entry *entry = &modules->items[self->modules_seen];
        PyObject *module = PyWeakref_GetObject(entry->reference);
        int added = module == Py_None ? 0 : pyft_models_add(&self->models, module);
        if (added < 0 || (added > 0 && pyft_models_look(&self->models, &self->known) < 0)) {
            return -1;
        }
    }
    return 0;
}

static ft_step_traits
traits_of(const pyft_loops *self, const pyft_span *span, PyObject *varying)
{
    uint64_t calls = span->compiled;
    if (span->kind == PYFT_SPAN_STEP && pyft_loops_compiled_calls(self, &calls) < 0) {
        PyErr_Clear();
    }
    return (ft_step_traits){.compiled = calls > span->compiled, .varies = varying != NULL};
}

static int
note_difference(pyft_loops *self, const pyft_span *span, const ft_counted_step *step,
                PyObject *varying)
{
    pyft_phase_work *phase = self->phases[span->phase];
    if (!step->differs && (!step->varies || phase->told_varies)) {
        return 0;
    }
    phase->told_varies = phase->told_varies || step->varies;
    self->differing += step->differs;
    PyObject *args =
        Py_BuildValue("(ONNOOO)", phase->name, pyft_from_u128(step->found),
                      pyft_from_u128(step->before), step->differs ? Py_True : Py_False,
                      step->varies ? Py_True : Py_False, varying == NULL ? Py_None : varying);
    return pyft_loops_note(self, "tell_of_difference", args);
}

/* What it did: work that was counted, and is the profile of its kind where it is like others; or
 * the profile of its kind, which may not be known yet. Added to the record. */
static int
attribute(pyft_loops *self, const pyft_span *span, ft_replay *replay, ft_step_sign sign,
          ft_tally *work, PyObject *varying, pyft_held *record)
{
    bool like_others = span->has_key && !span->odd && !span->broken, varied = replay->varies;
    ft_counted_step counted = {.differs = false};
    ft_taken_step taken = {.known = true};
    const pyft_span *outer = pyft_loops_top(self);
    bool of_counted =
        span->kind == PYFT_SPAN_STEP ? span->counted : outer != NULL && outer->counted;
    ft_status status = of_counted ? ft_tally_merge(&self->last, work, 1) : FT_OK;
    if (status != FT_OK) {
        ft_tally_clear(work);
    }
    else if (!span->counted && !span->odd) {
        status = ft_replay_take(replay, span->key, sign, &taken);
    }
    else if (like_others) {
        status = ft_replay_count(replay, span->key, sign, traits_of(self, span, varying), work,
                                 &counted);
        taken.flops = counted.flops;
        taken.resolved = counted.resolved;
    }
    else {
        taken.flops = ft_tally_total(work, self->counter->convention);
        status = ft_replay_settle(replay, work);
    }
    if (status != FT_OK) {
        pyft_raise(status, "counting a step");
        return -1;
    }
    record->known = taken.known;
    record->flops = ft_u128_add(record->flops, taken.flops);
    if (taken.resolved > 0 && span->phase == 0) {
        pyft_held_resolve(self);
    }
    if (replay->varies && !varied) {
        PyObject *args = Py_BuildValue("(O)", self->phases[span->phase]->name);
        if (pyft_loops_note(self, "tell_of_surprises", args) < 0) {
            return -1;
        }
    }
    return note_difference(self, span, &counted, varying);
}

/* What the step left behind. */
int
pyft_loops_sign(pyft_loops *self, const pyft_span *span, ft_step_sign *sign)
{
    const pyft_span *outer = pyft_loops_top(self);
    if (pyft_snapshot_take(&self->now, &self->models, &self->known,
                           &self->before[span - self->spans]) < 0) {
        return -1;
    }
    self->now_loop = outer != NULL && outer->kind == PYFT_SPAN_LOOP ? outer->number : 0;
    sign->advance = span->last - span->sequence - span->excluded;
    pyft_snapshot_change(&self->before[span - self->spans], &self->now, sign);
    sign->rest = pyft_mixed(span->events, sign->rest);
    if (!self->now.has_gradients) { /* else they tell of themselves */
        sign->fine = pyft_mixed(span->stepped, sign->fine);
    }
    return 0;
}

/* Whether a step that was broken off did all that steps of a kind do. */
static bool
has_ended(const pyft_loops *self, const pyft_span *span, ft_step_sign sign)
{
    ft_u128 flops;
    return sign.advance > 0 &&
           ft_replay_known(&self->phases[span->phase]->steps, span->key, sign, &flops);
}

/* Whether it was broken off before it did anything, as `if i == 100: break` does. Where nothing is
 * recorded for a backward, that can't be told. */
static bool
did_nothing(const pyft_loops *self, const pyft_span *span, ft_step_sign sign)
{
    PyObject *grad = PyObject_CallNoArgs(self->counter->state->counting->torch.grad_enabled);
    PyErr_Clear();
    Py_XDECREF(grad);
    return !span->odd && grad == Py_True && sign.advance == 0 && span->events == 0 &&
           pyft_snapshot_equal(&self->before[span - self->spans], &self->now);
}

static int
end_step(pyft_loops *self, pyft_span *span, ft_tally *work, PyObject *varying)
{
    pyft_held record = {
        .batch_size = span->batch_size, .flops = span->inside, .known = true, .key = span->key};
    int result = 0;
    if (span->dropped && ft_u128_is_zero(span->inside)) { /* else an optimizer's work is counted */
        return 0;
    }
    if (span->has_key && !span->odd && pyft_loops_sign(self, span, &record.sign) < 0) {
        PyErr_Clear();
        span->odd = true;
    }
    self->traced_steps += span->counted;
    if (!span->counted && (span->odd || (span->broken && !has_ended(self, span, record.sign)))) {
        record.lost = !did_nothing(self, span, record.sign);
        record.known = !record.lost;
        self->odd_steps += record.lost;
    }
    else {
        result = attribute(self, span, &self->phases[span->phase]->steps, record.sign, work,
                           varying, &record);
    }
    if (result < 0 || (span->counted && span->has_key && find_models(self) < 0)) {
        return -1;
    }
    return span->phase != 0 ? 0 : pyft_held_add(self, &record);
}

static void
resume_training(const pyft_loops *self, const pyft_span *span)
{
    PyObject *tracker = PyWeakref_GetObject(self->tracker);
    if (span->phase != 0 && tracker != Py_None) {
        pyft_tracker *found = (pyft_tracker *)tracker;
        ft_epochs_resume(&found->run, pyft_tracker_now(found));
    }
}

int
pyft_loops_end_span(pyft_loops *self, pyft_span *span, ft_tally *work, PyObject *varying)
{
    pyft_phase_work *phase = self->phases[span->phase];
    pyft_span *outer = pyft_loops_top(self);
    pyft_held record = {.flops = span->inside};
    phase->used = phase->used || span->kind != PYFT_SPAN_LOOP;
    switch (span->kind) {
    case PYFT_SPAN_STEP:
        return end_step(self, span, work, varying);
    case PYFT_SPAN_LOOP:
        self->now_loop = 0;
        return 0;
    case PYFT_SPAN_PHASE:
        resume_training(self, span);
        span->has_key = false;
        return attribute(self, span, &phase->steps, record.sign, work, varying, &record);
    case PYFT_SPAN_OPTIMIZER:
        break;
    }
    int result = attribute(self, span, &phase->optimizers, record.sign, work, varying, &record);
    if (outer != NULL) {
        outer->inside = ft_u128_add(outer->inside, record.flops);
    }
    return result;
}
