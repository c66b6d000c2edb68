/* FlopsTracker: a run. Binds a training, counts its batches, and gives the records back. */
/* SPDX-License-Identifier: MIT */
#include "pyft.h"

#include <structmember.h>

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

/* ---- reading ---- */

static PyObject *
tracker_total_flops(PyObject *self, void *unused)
{
    (void)unused;
    return pyft_from_u128(((pyft_tracker *)self)->run.ledger.total);
}

/* ---- the type ---- */

/* Everything but the estimator is in place from here on, so that no method can meet a NULL. */
static PyObject *
tracker_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    (void)args;
    (void)kwargs;
    pyft_tracker *self = (pyft_tracker *)type->tp_alloc(type, 0);
    if (self == NULL) {
        return NULL;
    }
    ft_epochs_init(&self->run, ft_allocator_libc(), true, true);
    self->estimator = Py_NewRef(Py_None);
    self->run_name = PyUnicode_FromString("run");
    self->written = PyDict_New();
    if (self->run_name == NULL || self->written == NULL) {
        Py_CLEAR(self);
    }
    return (PyObject *)self;
}

static int
tracker_init(PyObject *object, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"estimator",       "run_name",        "log_wall_time",
                            "keep_batch_logs", "keep_epoch_logs", "convention",
                            "project",         "runs_csv",        NULL};
    pyft_tracker *self = (pyft_tracker *)object;
    pyft_state *state = pyft_state_of(Py_TYPE(object));
    PyObject *estimator, *run_name = NULL, *project = Py_None, *runs_csv = Py_None;
    const char *convention = NULL;
    pyft_switch log_wall_time = {"log_wall_time", 1}, keep_steps = {"keep_batch_logs", 1},
                keep_epochs = {"keep_epoch_logs", 1};
    if (state == NULL || !PyArg_ParseTupleAndKeywords(
                             args, kwargs, "O|OO&O&O&$sOO:FlopsTracker", names, &estimator,
                             &run_name, pyft_to_switch, &log_wall_time, pyft_to_switch, &keep_steps,
                             pyft_to_switch, &keep_epochs, &convention, &project, &runs_csv)) {
        return -1;
    }
    if (run_name != NULL && !PyUnicode_Check(run_name)) {
        PyErr_Format(PyExc_TypeError, "run_name must be a str, not %R", run_name);
        return -1;
    }
    if (self->estimator != Py_None) {
        PyErr_SetString(PyExc_RuntimeError, "FlopsTracker.__init__ was called twice");
        return -1;
    }
    if (run_name != NULL) { /* an exact str: one of a subclass could refer back to the tracker */
        if ((run_name = PyUnicode_FromObject(run_name)) == NULL) {
            return -1;
        }
        Py_SETREF(self->run_name, run_name);
    }
    if ((estimator = pyft_take_estimator(estimator, convention, state)) == NULL) {
        return -1;
    }
    PyObject *own_run = pyft_run_new(self, project, runs_csv, log_wall_time.on != 0);
    if (own_run == NULL) {
        Py_DECREF(estimator);
        return -1;
    }
    Py_XSETREF(self->own_run, own_run);
    self->has_ledger = runs_csv != Py_None;
    Py_SETREF(self->estimator, estimator);
    self->estimator_in_c = pyft_answers_in_c(state, estimator);
    self->log_wall_time = log_wall_time.on != 0;
    self->run.ledger.keep_steps = keep_steps.on != 0;
    self->run.ledger.keep_epochs = keep_epochs.on != 0;
    return 0;
}

static PyObject *
tracker_repr(PyObject *object)
{
    pyft_tracker *self = (pyft_tracker *)object;
    PyObject *total = pyft_grouped_text(self->run.ledger.total);
    PyObject *text =
        total == NULL ? NULL
                      : PyUnicode_FromFormat("<FlopsTracker %R: %U FLOPs in %u epochs>",
                                             self->run_name, total, self->run.ledger.current.epoch);
    Py_XDECREF(total);
    return text;
}

static int
tracker_traverse(PyObject *object, visitproc visit, void *arg)
{
    pyft_tracker *self = (pyft_tracker *)object;
    Py_VISIT(Py_TYPE(object));
    Py_VISIT(self->estimator);
    Py_VISIT(self->training);
    Py_VISIT(self->loops);
    Py_VISIT(self->own_run);
    Py_VISIT(self->written);
    return 0;
}

static int
tracker_clear(PyObject *object)
{
    pyft_tracker *self = (pyft_tracker *)object;
    Py_CLEAR(self->training);
    Py_CLEAR(self->loops);
    self->estimator_in_c = false;
    Py_XSETREF(self->estimator, Py_NewRef(Py_None)); /* may be used on, by a finalizer */
    return 0;
}

static void
tracker_dealloc(PyObject *object)
{
    pyft_tracker *self = (pyft_tracker *)object;
    PyTypeObject *type = Py_TYPE(object);
    if (PyObject_CallFinalizerFromDealloc(object) < 0) {
        return;
    }
    PyObject_GC_UnTrack(object);
    if (self->weak_references != NULL) {
        PyObject_ClearWeakRefs(object);
    }
    tracker_clear(object);
    Py_CLEAR(self->estimator);
    Py_CLEAR(self->run_name);
    Py_CLEAR(self->written);
    Py_CLEAR(self->own_run);
    ft_epochs_clear(&self->run);
    type->tp_free(object);
    Py_DECREF(type);
}

PyDoc_STRVAR(
    tracker_doc,
    "FlopsTracker(estimator, run_name='run', log_wall_time=True, keep_batch_logs=True,\n"
    "             keep_epoch_logs=True, *, convention='standard', project=None,\n"
    "             runs_csv=None)\n--\n\n"
    "Counts the FLOPs of a training run per batch and epoch, exactly, and writes them to CSV.\n\n"
    "estimator: what says what a batch costs, or a PyTorch model, whose operations are counted\n"
    "under that convention.\n"
    "runs_csv: a ledger of runs, to which the run adds a row when it ends; project: its name there.\n"
    "It trains:   for _ in FlopsTracker(est).torch_bind(model, optimizer, train_loader=loader)(\n"
    "                 range(EPOCHS)): ...      or  .run(EPOCHS) -> int\n"
    "You train:   for epoch in ft.epochs(EPOCHS):\n"
    "                 for batch in ft.steps(loader): ...    with ft.phase('validate'): ...\n"
    "             or  with ft: ft.on_epoch_start(); ft.update_batch(batch_size=n); ft.on_epoch_end()\n\n"
    "ft(epochs, *, print_level='epoch', export='none', export_prefix=None, overwrite='rename',\n"
    "   progress=False, on_epoch_end=None, wandb=False, ...) -> iterator\n"
    "epochs: an int or any iterable; each item is one epoch, trained before the loop's body.\n"
    "print_level, export: 'none', 'epoch', 'batch' or 'both'. export writes PREFIX_batch.csv and\n"
    "PREFIX_epoch.csv, each row when its batch or epoch ends; PREFIX defaults to run_name.\n"
    "overwrite: what happens to a file of another run: 'rename', 'append', 'replace', 'error'.\n"
    "on_epoch_end: called with (tracker, epoch number) after each epoch.");

PyDoc_STRVAR(
    torch_bind_doc,
    "torch_bind($self, model, optimizer, loss_fn=None, train_loader=None, device=None, *,\n"
    "           step_fn=None, zero_grad_kwargs=None)\n--\n\n"
    "Says what ft(epochs) trains; returns the tracker itself.\n\n"
    "train_loader yields (data, target) pairs, dicts for model(**batch), or what step_fn takes.\n"
    "loss_fn(output, target): default cross entropy for (B, C) logits or log-probabilities with\n"
    "integer targets, output.loss where the model gives one.\n"
    "device: where batches go (default: the model's device); the model itself is never moved.\n"
    "step_fn(model, batch) -> loss, or (loss, batch_size): your own forward pass.\n"
    "zero_grad_kwargs: for optimizer.zero_grad, default {'set_to_none': True}.");

PyDoc_STRVAR(
    sklearn_bind_doc,
    "sklearn_bind($self, clf, X, y, *, batch_size)\n--\n\n"
    "Says what ft(epochs) trains: clf.partial_fit on consecutive batches of the rows, one\n"
    "pass per epoch; returns the tracker itself.");

static PyMethodDef tracker_methods[] = {
    {"torch_bind", PYFT_METHOD(pyft_tracker_torch_bind), METH_VARARGS | METH_KEYWORDS,
     torch_bind_doc},
    {"sklearn_bind", PYFT_METHOD(pyft_tracker_sklearn_bind), METH_VARARGS | METH_KEYWORDS,
     sklearn_bind_doc},
    {"run", PYFT_METHOD(pyft_tracker_run), METH_VARARGS | METH_KEYWORDS,
     "run($self, epochs, **options)\n--\n\n"
     "Trains all epochs and returns the total FLOPs of the run, an int. Options as for ft(epochs),\n"
     "but print_level is 'none' by default."},
    {"estimate", PYFT_METHOD(pyft_tracker_estimate), METH_VARARGS | METH_KEYWORDS,
     "estimate($self, epochs)\n--\n\n"
     "The exact FLOPs of that many epochs (an int, or what has a length), an int, from the sizes\n"
     "of the batches; nothing is trained and no batch is drawn."},
    {"on_epoch_start", pyft_tracker_on_epoch_start, METH_NOARGS,
     "on_epoch_start($self, /)\n--\n\nOpens the next epoch of a loop that you write yourself."},
    {"update_batch", PYFT_METHOD(pyft_tracker_update_batch), METH_FASTCALL | METH_KEYWORDS,
     "update_batch($self, batch_size)\n--\n\nCounts one batch of that many samples."},
    {"on_epoch_end", pyft_tracker_on_epoch_end, METH_NOARGS,
     "on_epoch_end($self, /)\n--\n\nCloses the epoch."},
    {"epochs", PYFT_METHOD(pyft_tracker_epochs), METH_VARARGS | METH_KEYWORDS,
     "epochs($self, epochs)\n--\n\n"
     "for epoch in ft.epochs(10): an epoch of a loop that you write yourself; an int or iterable."},
    {"steps", PYFT_METHOD(pyft_tracker_steps), METH_VARARGS | METH_KEYWORDS,
     "steps($self, loader)\n--\n\n"
     "for batch in ft.steps(loader): a step of your own loop, whatever its body does, counted\n"
     "operation by operation."},
    {"step", PYFT_METHOD(pyft_tracker_step), METH_VARARGS | METH_KEYWORDS,
     "step($self, batch=None, *, batch_size=None)\n--\n\n"
     "with ft.step(batch): the same for one step."},
    {"phase", PYFT_METHOD(pyft_tracker_phase), METH_VARARGS | METH_KEYWORDS,
     "phase($self, name)\n--\n\n"
     "with ft.phase('validate'): what runs inside is counted apart, under that name."},
    {"_add_step", pyft_tracker_add_step, METH_VARARGS, NULL},
    {"_end_epoch", pyft_tracker_end_epoch, METH_O, NULL},
    {"print_total_flops", pyft_tracker_print_total, METH_NOARGS,
     "print_total_flops($self, /)\n--\n\nPrints the total and what it is made of, in one line."},
    {"save_batch_csv", PYFT_METHOD(pyft_tracker_save_batch_csv), METH_VARARGS | METH_KEYWORDS,
     "save_batch_csv($self, path)\n--\n\nWrites all batches so far, replacing the file."},
    {"save_epoch_csv", PYFT_METHOD(pyft_tracker_save_epoch_csv), METH_VARARGS | METH_KEYWORDS,
     "save_epoch_csv($self, path)\n--\n\nWrites all epochs so far, replacing the file."},
    {"state_dict", pyft_tracker_state_dict, METH_NOARGS,
     "state_dict($self, /)\n--\n\n"
     "The run so far as plain data, for a checkpoint: totals, logs, counts by phase."},
    {"load_state_dict", PYFT_METHOD(pyft_tracker_load_state_dict), METH_VARARGS | METH_KEYWORDS,
     "load_state_dict($self, state_dict)\n--\n\n"
     "Goes on from what state_dict() gave, in a tracker that has begun no epoch. ValueError or\n"
     "TypeError, and nothing changed, where the data is damaged or does not fit this tracker."},
    {"close", pyft_tracker_close, METH_NOARGS,
     "close($self, /)\n--\n\n"
     "Ends the run: what is open is broken off, and the ledger of runs gets its row."},
    {"_records", pyft_tracker_records, METH_VARARGS, NULL},
    {"_read_records", pyft_tracker_read_records, METH_VARARGS, NULL},
    {"_take_records", pyft_tracker_take_records, METH_O, NULL},
    {"_write_rows", pyft_tracker_write_rows, METH_VARARGS, NULL},
    {"_own_loops", pyft_tracker_loops, METH_NOARGS, NULL},
    {"_step_block", pyft_tracker_step_block, METH_NOARGS, "Internal: the records, for _numpy."},
    {"__enter__", pyft_tracker_enter, METH_NOARGS, NULL},
    {"__exit__", pyft_tracker_exit, METH_VARARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef tracker_getset[] = {
    {"total_flops", tracker_total_flops, NULL, "FLOPs of the run so far, an int.", NULL},
    {"step_logs", pyft_tracker_step_logs, NULL, "All batches so far, a list of StepLog.", NULL},
    {"epoch_logs", pyft_tracker_epoch_logs, NULL, "All ended epochs, a list of EpochLog.", NULL},
    {"history", pyft_tracker_history, NULL,
     "All batches so far as a NumPy structured array over the records themselves; counts are\n"
     "64-bit, with their upper halves in the columns ending in _hi.",
     NULL},
    {"run_id", pyft_tracker_run_id, NULL, "What the run is called in checkpoints and ledgers.",
     NULL},
#define OF_LOOPS(name, text) {#name, pyft_tracker_loops_attribute, NULL, text, #name}
    OF_LOOPS(counts, "All steps so far as a FlopCount, every phase."),
    OF_LOOPS(phase_counts, "The same apart, a dict: \"train\", and the names given to phase()."),
    {NULL, NULL, NULL, NULL, NULL},
};

static PyMemberDef tracker_members[] = {
    {"_epoch_is_open", T_BOOL, offsetof(pyft_tracker, run.open), READONLY, NULL},
    {"_epochs_begun", T_UINT, offsetof(pyft_tracker, run.ledger.current.epoch), READONLY, NULL},
    {"_last_is_complete", T_BOOL, offsetof(pyft_tracker, run.ledger.current.complete), READONLY,
     NULL},
    {"_keeps_steps", T_BOOL, offsetof(pyft_tracker, run.ledger.keep_steps), READONLY, NULL},
    {"_keeps_epochs", T_BOOL, offsetof(pyft_tracker, run.ledger.keep_epochs), READONLY, NULL},
    {"_is_training", T_BOOL, offsetof(pyft_tracker, training_now), READONLY, NULL},
    {"_iterator", T_OBJECT, offsetof(pyft_tracker, iterator), READONLY, NULL},
    {"_training", T_OBJECT, offsetof(pyft_tracker, training), READONLY, NULL},
    {"_loops", T_OBJECT, offsetof(pyft_tracker, loops), READONLY, NULL},
    {"_run", T_OBJECT, offsetof(pyft_tracker, own_run), READONLY, NULL},
    {"estimator", T_OBJECT, offsetof(pyft_tracker, estimator), READONLY, "The estimator."},
    {"run_name", T_OBJECT, offsetof(pyft_tracker, run_name), READONLY, "Default of export_prefix."},
    {"__weaklistoffset__", T_PYSSIZET, offsetof(pyft_tracker, weak_references), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot tracker_slots[] = {
    {Py_tp_doc, (void *)tracker_doc},
    {Py_tp_init, tracker_init},
    {Py_tp_repr, tracker_repr},
    {Py_tp_call, pyft_tracker_call},
    {Py_tp_new, tracker_new},
    {Py_tp_dealloc, tracker_dealloc},
    {Py_tp_traverse, tracker_traverse},
    {Py_tp_clear, tracker_clear},
    {Py_tp_methods, tracker_methods},
    {Py_tp_getset, tracker_getset},
    {Py_tp_members, tracker_members},
    {Py_tp_finalize, pyft_run_finalize},
    {0, NULL},
};

static PyType_Spec tracker_spec = {
    .name = "flops_tracker.FlopsTracker",
    .basicsize = sizeof(pyft_tracker),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
    .slots = tracker_slots,
};

int
pyft_add_tracker(PyObject *module, pyft_state *state)
{
    state->tracker_type = (PyTypeObject *)PyType_FromModuleAndSpec(module, &tracker_spec, NULL);
    if (state->tracker_type == NULL) {
        return -1;
    }
    return PyModule_AddType(module, state->tracker_type);
}
