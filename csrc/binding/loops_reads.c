/* What the loops of a tracker have counted, and of how many steps. */
/* SPDX-License-Identifier: MIT */
#include "loops.h"

static ft_status
add_phase(ft_tally *sum, const pyft_phase_work *phase)
{
    ft_status status = ft_replay_sum(&phase->steps, sum);
    return status == FT_OK ? ft_replay_sum(&phase->optimizers, sum) : status;
}

/* What a span that is open has done: what was counted of it; and of a step that is not counted,
 * what its kind costs, if it is one that is known as it is now. *known: whether that is all. */
static ft_status
add_open(ft_tally *sum, pyft_loops *self, int number, ft_u128 *flops, bool *known)
{
    pyft_span *span = &self->spans[number];
    bool innermost = number == self->depth - 1;
    const ft_tally *work = innermost ? &self->counter->tally : &span->work;
    ft_step_sign sign;
    *known = span->counted;
    if (span->kind == PYFT_SPAN_STEP && !span->counted && innermost && !span->odd &&
        pyft_loops_sequence(self, &span->last) == 0 && pyft_loops_sign(self, span, &sign) == 0) {
        const ft_tally *profile =
            ft_replay_profile(&self->phases[span->phase]->steps, span->key, sign);
        *known = profile != NULL;
        work = profile == NULL ? work : profile;
    }
    *flops = ft_u128_add(span->inside, ft_tally_total(work, self->counter->convention));
    return sum == NULL ? FT_OK : ft_tally_merge(sum, work, 1);
}

/* A FlopCount of phases from the first to before the last, with what is open. */
static PyObject *
counts_of(pyft_loops *self, PyObject *type, int first, int last, bool with_open)
{
    ft_tally sum;
    ft_u128 flops;
    bool known;
    ft_status status = FT_OK;
    ft_tally_init(&sum, ft_allocator_libc());
    for (int i = first; i < last && status == FT_OK; i++) {
        status = add_phase(&sum, self->phases[i]);
    }
    for (int i = 0; with_open && i < self->depth && status == FT_OK; i++) {
        if (self->spans[i].phase >= first && self->spans[i].phase < last) {
            status = add_open(&sum, self, i, &flops, &known);
        }
    }
    PyObject *counts = status == FT_OK ? pyft_counts_of(self->counter, &sum, type)
                                       : pyft_raise(status, "adding up steps");
    ft_tally_clear(&sum);
    return counts;
}

PyObject *
pyft_loops_counts(PyObject *object, PyObject *type)
{
    pyft_loops *self = (pyft_loops *)object;
    return counts_of(self, type, 0, self->phase_count, false);
}

static PyObject *
by_phase(pyft_loops *self, PyObject *type, bool with_open)
{
    PyObject *phases = PyDict_New();
    for (int i = 0; i < self->phase_count && phases != NULL; i++) {
        bool used = self->phases[i]->used;
        for (int j = 0; with_open && j < self->depth; j++) {
            used = used || self->spans[j].phase == i;
        }
        PyObject *counts = used ? counts_of(self, type, i, i + 1, with_open) : NULL;
        if (used && (counts == NULL || PyDict_SetItem(phases, self->phases[i]->name, counts) < 0)) {
            Py_CLEAR(phases);
        }
        Py_XDECREF(counts);
    }
    return phases;
}

/* A dict, of phases in which a step or the phase itself has ended. */
PyObject *
pyft_loops_phase_counts(PyObject *object, PyObject *type)
{
    return by_phase((pyft_loops *)object, type, false);
}

static int
append_step(PyObject *steps, uint64_t batch_size, ft_u128 flops)
{
    PyObject *step = Py_BuildValue("(KN)", (unsigned long long)batch_size, pyft_from_u128(flops));
    int result = step == NULL ? -1 : PyList_Append(steps, step);
    Py_XDECREF(step);
    return result;
}

/* (steps of training that have no record yet, as they are: size and FLOPs; counts by phase; how
 * many of those that are open are counted, cost what others did, are not known) */
PyObject *
pyft_loops_state(PyObject *object, PyObject *type)
{
    pyft_loops *self = (pyft_loops *)object;
    PyObject *steps = PyList_New(0);
    ft_u128 flops;
    bool known;
    unsigned int numbers[3] = {0};
    int result = steps == NULL ? -1 : 0;
    for (size_t i = self->held_first; i < self->held_count && result == 0; i++) {
        result = append_step(steps, self->held[i].batch_size, self->held[i].flops);
    }
    for (int i = self->depth - 1; i >= 0 && result == 0; i--) {
        const pyft_span *span = &self->spans[i];
        if (span->kind == PYFT_SPAN_STEP && span->phase == 0) {
            add_open(NULL, self, i, &flops, &known);
            numbers[span->counted ? 0 : known ? 1 : 2]++;
            result = append_step(steps, span->batch_size, flops);
        }
    }
    PyObject *counts = result < 0 ? NULL : by_phase(self, type, true);
    return counts == NULL
               ? (Py_XDECREF(steps), NULL)
               : Py_BuildValue("(NN(III))", steps, counts, numbers[0], numbers[1], numbers[2]);
}

/* A FlopCount of the last step where it was counted, once; else None. */
PyObject *
pyft_loops_take_last(PyObject *object, PyObject *type)
{
    pyft_loops *self = (pyft_loops *)object;
    if (self->last.count == 0) {
        Py_RETURN_NONE;
    }
    PyObject *counts = pyft_counts_of(self->counter, &self->last, type);
    ft_tally_clear(&self->last);
    return counts;
}

uint64_t
pyft_loops_traced(const pyft_loops *self)
{
    return self->traced_steps;
}

uint64_t
pyft_loops_differing(const pyft_loops *self)
{
    return self->differing;
}

uint64_t
pyft_loops_replayed(const pyft_loops *self)
{
    uint64_t steps = 0;
    for (int i = 0; i < self->phase_count; i++) {
        steps += self->phases[i]->steps.taken;
    }
    return steps;
}

uint64_t
pyft_loops_unattributed(const pyft_loops *self)
{
    uint64_t steps = self->odd_steps;
    for (int i = 0; i < self->phase_count; i++) {
        steps += self->phases[i]->steps.waiting + self->phases[i]->steps.lost;
    }
    return steps;
}
