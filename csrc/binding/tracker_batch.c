/* A tracker's clock, and what counting one batch takes. */
/* SPDX-License-Identifier: MIT */
#include "pyft.h"

#ifdef _WIN32
#include <windows.h>
#else
#include <time.h>
#endif

double
pyft_now(void)
{
#ifdef _WIN32
    LARGE_INTEGER ticks, frequency;
    QueryPerformanceCounter(&ticks);
    QueryPerformanceFrequency(&frequency);
    return (double)ticks.QuadPart / (double)frequency.QuadPart;
#else
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
#endif
}

double
pyft_tracker_now(const pyft_tracker *tracker)
{
    return tracker->log_wall_time ? pyft_now() : 0;
}

/* ---- counting ---- */

int
pyft_tracker_add_batch(pyft_tracker *tracker, uint64_t batch_size, ft_step *step)
{
    ft_u128 flops;
    if (!tracker->run.open) {
        if (pyft_tracker_check(tracker) == 0) {
            pyft_raise(FT_NO_EPOCH, "counting a batch");
        }
        return -1;
    }
    if (pyft_flops_for_batch(tracker->estimator, tracker->estimator_in_c, batch_size, &flops) < 0) {
        return -1;
    }
    ft_status status =
        ft_epochs_batch(&tracker->run, batch_size, flops, pyft_tracker_now(tracker), step);
    if (status != FT_OK) {
        pyft_raise(status, "counting a batch");
        return -1;
    }
    return 0;
}

int
pyft_tracker_check(pyft_tracker *self)
{
    if (self->estimator != Py_None) {
        return 0;
    }
    PyErr_Format(PyExc_RuntimeError, "FlopsTracker.__init__() was not called by %s.__init__()",
                 Py_TYPE(self)->tp_name);
    return -1;
}

int
pyft_tracker_prepare(pyft_tracker *self)
{
    if (pyft_tracker_check(self) < 0) {
        return -1;
    }
    pyft_state *state = pyft_state_of(Py_TYPE(self));
    if (state == NULL || !PyObject_TypeCheck(self->estimator, state->torch_layer_type)) {
        return state == NULL ? -1 : 0;
    }
    PyObject *done = PyObject_CallMethod(self->estimator, "prepare", NULL);
    Py_XDECREF(done);
    return done == NULL ? -1 : 0;
}
