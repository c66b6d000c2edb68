/* What the loops of a tracker have counted, and of how many steps. */
/* SPDX-License-Identifier: MIT */
#include "loops.h"

static ft_status
add_phase(ft_tally *sum, const pyft_phase_work *phase)
{
    ft_status status = ft_replay_sum(&phase->steps, sum);
    return status == FT_OK ? ft_replay_sum(&phase->optimizers, sum) : status;
}

/* A FlopCount of phases from the first to before the last. */
static PyObject *
counts_of(pyft_loops *self, PyObject *type, int first, int last)
{
    ft_tally sum;
    ft_status status = FT_OK;
    ft_tally_init(&sum, ft_allocator_libc());
    for (int i = first; i < last && status == FT_OK; i++) {
        status = add_phase(&sum, self->phases[i]);
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
    return counts_of(self, type, 0, self->phase_count);
}

/* A dict; "train" only where there were steps. */
PyObject *
pyft_loops_phase_counts(PyObject *object, PyObject *type)
{
    pyft_loops *self = (pyft_loops *)object;
    PyObject *phases = PyDict_New();
    for (int i = 0; i < self->phase_count && phases != NULL; i++) {
        if (!self->phases[i]->used) {
            continue;
        }
        PyObject *counts = counts_of(self, type, i, i + 1);
        if (counts == NULL || PyDict_SetItem(phases, self->phases[i]->name, counts) < 0) {
            Py_CLEAR(phases);
        }
        Py_XDECREF(counts);
    }
    return phases;
}

uint64_t
pyft_loops_traced(const pyft_loops *self)
{
    return self->traced_steps;
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
