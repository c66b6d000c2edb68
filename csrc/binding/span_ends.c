/* What a span that has ended did: the profile of its kind, or that of the kind it turns out to be.
 */
/* SPDX-License-Identifier: MIT */
#include "loops.h"

/* Other models than the tracker's whose modules were seen at work: what they have belongs to the
 * key of the steps to come. */
static int
find_models(pyft_loops *self)
{
    const pyft_modules *modules = &self->counter->modules;
    if (self->modules_seen == 0) {
        self->modules_seen = 1; /* number 0 is the outside */
    }
    for (; self->modules_seen < modules->count; self->modules_seen++) {
        const pyft_module_entry *entry = &modules->items[self->modules_seen];
        PyObject *module = PyWeakref_GetObject(entry->reference);
        if (entry->parent == 0 && module != Py_None && pyft_models_add(&self->models, module) < 0) {
            return -1;
        }
    }
    return 0;
}

static ft_step_traits
traits_of(const pyft_span *span, PyObject *varying)
{
    PyObject *calls = pyft_call_helper("flops_tracker._counting", "compiled_calls", "()");
    bool compiled = calls != NULL && PyLong_AsUnsignedLongLong(calls) > span->compiled;
    Py_XDECREF(calls);
    PyErr_Clear();
    return (ft_step_traits){.compiled = compiled, .varies = varying != NULL};
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
    PyObject *args =
        Py_BuildValue("(ONNOOO)", phase->name, pyft_from_u128(step->flops),
                      pyft_from_u128(step->before), step->differs ? Py_True : Py_False,
                      step->varies ? Py_True : Py_False, varying == NULL ? Py_None : varying);
    return pyft_loops_note(self, "tell_of_difference", args);
}

/* A counted step that is like others: what it did is the profile of its kind. */
static ft_status
count_step(pyft_loops *self, const pyft_span *span, ft_step_sign sign, ft_tally *work,
           PyObject *varying, ft_u128 *flops)
{
    ft_counted_step step;
    ft_replay *replay = &self->phases[span->phase]->steps;
    ft_status status =
        ft_replay_count(replay, span->key, sign, traits_of(span, varying), work, &step);
    if (status != FT_OK) {
        return status;
    }
    *flops = step.flops;
    if (step.resolved > 0 && span->phase == 0) {
        pyft_held_resolve(self, span->key);
    }
    note_difference(self, span, &step, varying);
    return FT_OK;
}

static ft_status
settle(ft_replay *replay, const ft_convention *convention, ft_tally *work, ft_u128 *flops)
{
    *flops = ft_tally_total(work, convention);
    return ft_replay_settle(replay, work);
}

/* What the step left behind. */
int
pyft_loops_sign(pyft_loops *self, const pyft_span *span, ft_step_sign *sign)
{
    uint64_t sequence = 0;
    const pyft_span *outer = pyft_loops_top(self);
    if (pyft_loops_sequence(self, &sequence) < 0 ||
        pyft_snapshot_take(&self->now, &self->models, &self->known,
                           &self->before[span - self->spans]) < 0) {
        return -1;
    }
    self->now_loop = outer != NULL && outer->kind == PYFT_SPAN_LOOP ? outer->number : 0;
    sign->advance = sequence - span->sequence - span->excluded;
    pyft_snapshot_change(&self->before[span - self->spans], &self->now, &sign->rest, &sign->fine);
    sign->rest = pyft_mixed(span->events, sign->rest);
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
    ft_replay *replay = &self->phases[span->phase]->steps;
    pyft_held record = {
        .batch_size = span->batch_size, .flops = span->inside, .known = true, .key = span->key};
    ft_u128 flops = FT_U128_ZERO;
    ft_status status = FT_OK;
    if (span->has_key && !span->odd && pyft_loops_sign(self, span, &record.sign) < 0) {
        PyErr_Clear();
        span->odd = true;
    }
    if (span->counted) {
        self->traced_steps++;
        status = span->has_key && !span->odd && !span->broken
                     ? count_step(self, span, record.sign, work, varying, &flops)
                     : settle(replay, self->counter->convention, work, &flops);
    }
    else if (span->odd || (span->broken && !has_ended(self, span, record.sign))) {
        record.lost = !did_nothing(self, span, record.sign);
        record.known = !record.lost;
        self->odd_steps += record.lost;
    }
    else {
        bool varied = replay->varies;
        uint64_t explained = replay->explained;
        status = ft_replay_take(replay, span->key, record.sign, &record.known, &flops);
        if (replay->explained > explained) { /* this one among them */
            record.known = record.known || ft_replay_known(replay, span->key, record.sign, &flops);
            if (span->phase == 0) {
                pyft_held_resolve(self, span->key);
            }
        }
        if (replay->varies && !varied &&
            pyft_loops_note(self, "tell_of_surprises",
                            Py_BuildValue("(O)", self->phases[span->phase]->name)) < 0) {
            return -1;
        }
    }
    record.flops = ft_u128_add(record.flops, flops);
    if (status == FT_OK && self->models.root_count > 0 && span->counted && find_models(self) < 0) {
        return -1;
    }
    if (status != FT_OK) {
        pyft_raise(status, "counting a step");
    }
    return span->phase != 0 ? (status == FT_OK ? 0 : -1) : pyft_held_add(self, &record);
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
    ft_u128 flops = FT_U128_ZERO;
    ft_status status = FT_OK;
    phase->used = phase->used || span->kind != PYFT_SPAN_LOOP;
    switch (span->kind) {
    case PYFT_SPAN_STEP:
        return end_step(self, span, work, varying);
    case PYFT_SPAN_LOOP:
        self->now_loop = 0;
        break;
    case PYFT_SPAN_PHASE:
        resume_training(self, span);
        status = settle(&phase->steps, self->counter->convention, work, &flops);
        break;
    case PYFT_SPAN_OPTIMIZER:
        if (!span->counted && !span->odd) {
            bool known;
            status =
                ft_replay_take(&phase->optimizers, span->key, (ft_step_sign){0}, &known, &flops);
        }
        else if (span->has_key && !span->odd) {
            ft_counted_step step;
            status = ft_replay_count(&phase->optimizers, span->key, (ft_step_sign){0},
                                     (ft_step_traits){.varies = varying != NULL}, work, &step);
            if (status == FT_OK) {
                flops = step.flops;
                note_difference(self, span, &step, varying);
            }
        }
        else {
            status = settle(&phase->optimizers, self->counter->convention, work, &flops);
        }
        break;
    }
    pyft_span *outer = pyft_loops_top(self);
    if (outer != NULL && span->kind == PYFT_SPAN_OPTIMIZER) {
        outer->inside = ft_u128_add(outer->inside, ft_u128_add(span->inside, flops));
    }
    return status == FT_OK ? 0 : (pyft_raise(status, "counting a step"), -1);
}
