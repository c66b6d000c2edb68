/* Where a tracker's run begins and ends, which _run.py is told of: it writes the ledger of runs. */
/* SPDX-License-Identifier: MIT */
#include "pyft.h"

PyObject *
pyft_run_new(pyft_tracker *tracker, PyObject *project, PyObject *runs_csv, bool log_wall_time)
{
    return pyft_call_helper("flops_tracker._run", "Run", "(OOOO)", tracker, project, runs_csv,
                            log_wall_time ? Py_True : Py_False);
}

/* Nothing where __init__ was not called; else calls the method of that name. */
static int
tell(pyft_tracker *tracker, const char *name, PyObject *argument)
{
    if (tracker->own_run == NULL) {
        return 0;
    }
    PyObject *done = argument == NULL
                         ? PyObject_CallMethod(tracker->own_run, name, "O", tracker)
                         : PyObject_CallMethod(tracker->own_run, name, "OO", tracker, argument);
    Py_XDECREF(done);
    return done == NULL ? -1 : 0;
}

int
pyft_run_begin(pyft_tracker *tracker)
{
    return tell(tracker, "begin", NULL);
}

int
pyft_run_loop_ended(pyft_tracker *tracker, bool failed)
{
    return tell(tracker, "loop_ended", failed ? Py_True : Py_False);
}

int
pyft_run_enter(pyft_tracker *tracker)
{
    return tell(tracker, "enter", NULL);
}

int
pyft_run_leave(pyft_tracker *tracker, bool failed)
{
    return tell(tracker, "leave", failed ? Py_True : Py_False);
}

int
pyft_run_close(pyft_tracker *tracker)
{
    return tell(tracker, "close", NULL);
}

/* A tracker that is dropped has ended its run. */
void
pyft_run_finalize(PyObject *object)
{
    pyft_tracker *self = (pyft_tracker *)object;
    if (!self->has_ledger) {
        return;
    }
    PyObject *error = pyft_take_exception();
    if (tell(self, "dropped", NULL) < 0) {
        PyErr_WriteUnraisable(object);
    }
    pyft_put_exception(error);
}

PyObject *
pyft_tracker_run_id(PyObject *object, void *unused)
{
    (void)unused;
    pyft_tracker *self = (pyft_tracker *)object;
    return pyft_tracker_check(self) < 0 ? NULL : PyObject_GetAttrString(self->own_run, "run_id");
}
