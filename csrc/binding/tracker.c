/* FlopsTracker: a run. Binds a training, counts its batches, and gives the records back. */
/* SPDX-License-Identifier: MIT */
#include "pyft.h"

#include <structmember.h>

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
    static char *names[] = {"estimator",       "run_name",   "log_wall_time", "keep_batch_logs",
                            "keep_epoch_logs", "convention", "trace",         "verify_every",
                            "max_flops",       "on_budget",  "peak_flops",    "project",
                            "runs_csv",        NULL};
    pyft_tracker *self = (pyft_tracker *)object;
    pyft_state *state = pyft_state_of(Py_TYPE(object));
    PyObject *estimator, *run_name = NULL, *trace = Py_None, *verify_every = Py_None;
    PyObject *max_flops = NULL, *on_budget = NULL, *peak = NULL;
    PyObject *project = Py_None, *runs_csv = Py_None;
    ft_u128 budget;
    const char *convention = NULL;
    pyft_switch log_wall_time = {"log_wall_time", 1}, keep_steps = {"keep_batch_logs", 1},
                keep_epochs = {"keep_epoch_logs", 1};
    if (state == NULL || pyft_check_option_names(kwargs, names, "FlopsTracker") < 0 ||
        !PyArg_ParseTupleAndKeywords(args, kwargs, "O|OO&O&O&$sOOOOOOO:FlopsTracker", names,
                                     &estimator, &run_name, pyft_to_switch, &log_wall_time,
                                     pyft_to_switch, &keep_steps, pyft_to_switch, &keep_epochs,
                                     &convention, &trace, &verify_every, &max_flops, &on_budget,
                                     &peak, &project, &runs_csv) ||
        pyft_to_budget(max_flops, &budget) < 0 || pyft_check_on_budget(on_budget) < 0) {
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
    if (peak != NULL && peak != Py_None) {
        peak = pyft_call_helper("flops_tracker._rates", "check_peak", "(O)", peak);
        if (peak == NULL) {
            return -1;
        }
        Py_XSETREF(self->peak_flops, peak);
    }
    if (run_name != NULL) { /* an exact str: one of a subclass could refer back to the tracker */
        if ((run_name = PyUnicode_FromObject(run_name)) == NULL) {
            return -1;
        }
        Py_SETREF(self->run_name, run_name);
    }
    if (trace != Py_None || verify_every != Py_None) {
        Py_XSETREF(self->trace_options, pyft_call_helper("flops_tracker._options", "trace", "(OO)",
                                                         trace, verify_every));
        if (self->trace_options == NULL) {
            return -1;
        }
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
    self->run.max_flops = budget;
    Py_XSETREF(self->on_budget, Py_XNewRef(on_budget));
    return 0;
}

static PyObject *
tracker_repr(PyObject *object)
{
    pyft_tracker *self = (pyft_tracker *)object;
    PyObject *total = pyft_grouped_text(self->run.ledger.total), *rank = pyft_rank_label();
    PyObject *text = NULL;
    if (total != NULL && rank != NULL) {
        text = PyUnicode_FromFormat("<FlopsTracker %R: %U FLOPs in %u epochs%s%U>", self->run_name,
                                    total, self->run.ledger.current.epoch,
                                    PyUnicode_GET_LENGTH(rank) > 0 ? ", " : "", rank);
    }
    Py_XDECREF(total);
    Py_XDECREF(rank);
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
    Py_VISIT(self->trace_options);
    Py_VISIT(self->own_run);
    Py_VISIT(self->written);
    Py_VISIT(self->on_budget);
    Py_VISIT(self->noted);
    return 0;
}

static int
tracker_clear(PyObject *object)
{
    pyft_tracker *self = (pyft_tracker *)object;
    Py_CLEAR(self->training);
    Py_CLEAR(self->loops);
    Py_CLEAR(self->trace_options);
    Py_CLEAR(self->on_budget);
    Py_CLEAR(self->noted);
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
    Py_CLEAR(self->peak_flops);
    Py_CLEAR(self->own_run);
    ft_epochs_clear(&self->run);
    type->tp_free(object);
    Py_DECREF(type);
}

PyDoc_STRVAR(
    tracker_doc,
    "FlopsTracker(estimator, run_name='run', log_wall_time=True, keep_batch_logs=True,\n"
    "             keep_epoch_logs=True, *, convention='standard', trace='auto',\n"
    "             verify_every=None, max_flops=None, on_budget='stop', peak_flops=None,\n"
    "             project=None, runs_csv=None)\n--\n\n"
    "Counts the FLOPs of a training run per batch and epoch, exactly, and writes them to CSV.\n\n"
    "estimator: what says what a batch costs, or a PyTorch model, whose operations are counted\n"
    "under that convention.\n"
    "trace: which steps of ft.steps are counted as they run: 'auto', the first of each kind and\n"
    "now and then one more, about every verify_every-th in the long run; 'first', these alone;\n"
    "'always', all. The others cost what one like them had cost.\n"
    "max_flops: a budget of training FLOPs, a number or a text such as '2.5 PFLOP': loops end after\n"
    "the step that comes to it. on_budget='warn' warns instead; a function is called once with the\n"
    "tracker, and what it returns says whether to stop.\n"
    "peak_flops: FLOP/s of the device at most, for rates.mfu: a number, a text such as\n"
    "'312 TFLOP/s', or a dict by dtype. Known devices need none.\n"
    "runs_csv: a ledger of runs, to which the run adds a row when it ends; project: its name there.\n"
    "It trains:   for _ in FlopsTracker(est).torch_bind(model, optimizer, train_loader=loader)(\n"
    "                 range(EPOCHS)): ...      or  .run(EPOCHS) -> int\n"
    "You train:   for epoch in ft.epochs(EPOCHS):\n"
    "                 for batch in ft.steps(loader): ...    with ft.phase('validate'): ...\n"
    "             or  with ft: ft.on_epoch_start(); ft.update_batch(batch_size=n); ft.on_epoch_end()\n\n"
    "ft(epochs, *, print_level='epoch', export='none', export_prefix=None, overwrite='rename',\n"
    "   progress=False, export_only_rank0=True, on_epoch_end=None, wandb=False, ...) -> iterator\n"
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
     "epochs($self, epochs, *, print_level='none', export='none', export_prefix=None,\n"
     "       overwrite='rename', export_only_rank0=True)\n--\n\n"
     "for epoch in ft.epochs(10): an epoch of a loop that you write yourself; an int or iterable.\n"
     "Options as for ft(epochs), of the steps of training inside."},
    {"steps", PYFT_METHOD(pyft_tracker_steps), METH_VARARGS | METH_KEYWORDS,
     "steps($self, loader)\n--\n\n"
     "for batch in ft.steps(loader): a step of your own loop, whatever its body does. The first\n"
     "of each kind is counted operation by operation, the others cost what it had cost."},
    {"step", PYFT_METHOD(pyft_tracker_step), METH_VARARGS | METH_KEYWORDS,
     "step($self, batch=None, *, batch_size=None)\n--\n\n"
     "with ft.step(batch): the same for one step; without its batch it is counted each time."},
    {"phase", PYFT_METHOD(pyft_tracker_phase), METH_VARARGS | METH_KEYWORDS,
     "phase($self, name)\n--\n\n"
     "with ft.phase('validate'): what runs inside is counted apart, under that name."},
    {"_limbs", pyft_tracker_limbs, METH_O, NULL},
    {"_mind_budget", pyft_tracker_mind, METH_O, NULL},
    {"print_total_flops", pyft_tracker_print_total, METH_NOARGS,
     "print_total_flops($self, /)\n--\n\n"
     "Prints the total and what it is made of, in one line; where operations are counted or\n"
     "peak_flops is given, a second one with shares of phases, FLOP/s and MFU."},
    {"save_batch_csv", PYFT_METHOD(pyft_tracker_save_batch_csv), METH_VARARGS | METH_KEYWORDS,
     "save_batch_csv($self, path)\n--\n\nWrites all batches so far, replacing the file."},
    {"save_epoch_csv", PYFT_METHOD(pyft_tracker_save_epoch_csv), METH_VARARGS | METH_KEYWORDS,
     "save_epoch_csv($self, path)\n--\n\nWrites all epochs so far, replacing the file."},
    {"to_html", PYFT_METHOD(pyft_tracker_to_html), METH_VARARGS | METH_KEYWORDS,
     "to_html($self, path=None, *, bandwidth=None)\n--\n\n"
     "The run as a page that stands alone, also written where a path is given. bandwidth, in\n"
     "bytes per second, is the slope of its roofline; its peak is that of rates."},
    {"_repr_html_", pyft_tracker_repr_html, METH_NOARGS, NULL},
    {"state_dict", pyft_tracker_state_dict, METH_NOARGS,
     "state_dict($self, /)\n--\n\n"
     "The run so far as plain data, for a checkpoint: totals, logs, counts by phase."},
    {"load_state_dict", PYFT_METHOD(pyft_tracker_load_state_dict), METH_VARARGS | METH_KEYWORDS,
     "load_state_dict($self, state_dict)\n--\n\n"
     "Goes on from what state_dict() gave, in a tracker that has begun no epoch. ValueError or\n"
     "TypeError, and nothing changed, where the data is damaged or does not fit this tracker."},
    {"close", pyft_tracker_close, METH_NOARGS,
     "close($self, /)\n--\n\n"
     "Ends the run: an epoch that is open is broken off, and the ledger of runs gets its row.\n"
     "RuntimeError inside of a step or phase."},
    {"_records", pyft_tracker_records, METH_VARARGS, NULL},
    {"_read_records", pyft_tracker_read_records, METH_VARARGS, NULL},
    {"_take_records", pyft_tracker_take_records, METH_VARARGS, NULL},
    {"_write_rows", pyft_tracker_write_rows, METH_VARARGS, NULL},
    {"_write_epoch", pyft_tracker_write_epoch, METH_O, NULL},
    {"_step_lines", pyft_tracker_step_lines, METH_VARARGS, NULL},
    {"_epoch_line", pyft_tracker_epoch_line, METH_NOARGS, NULL},
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
#define OVER_RANKS(name, text) {#name, pyft_tracker_over_ranks, NULL, text, #name}
    OVER_RANKS(
        global_flops,
        "The sum of total_flops over all ranks of torch.distributed, an int. All ranks must\n"
        "read it, since they wait for each other. Without a process group: total_flops."),
    OVER_RANKS(global_counts, "counts of all ranks together; all of them must read it."),
    OVER_RANKS(global_phase_counts,
               "phase_counts of all ranks together; all of them must read it."),
    {"max_flops", pyft_tracker_max_flops, pyft_tracker_set_max_flops,
     "The budget in FLOPs, an int, or None. A new one may be set, with which loops go on.", NULL},
    {"on_budget", pyft_tracker_on_budget, NULL, "What happens at the budget's end.", NULL},
    {"trace", pyft_tracker_trace, NULL, "Which steps of a loop are counted as they run.", NULL},
    {"verify_every", pyft_tracker_verify_every, NULL, "Steps between two audits at most.", NULL},
    {"peak_flops", pyft_tracker_peak_flops, NULL,
     "FLOP/s that were given, a float or a dict by dtype; None: rates look the device up.", NULL},
    {"convention", pyft_tracker_convention, NULL, "That of the estimator; None: it has none.",
     NULL},
    {"project", pyft_tracker_run_option, NULL, "In the ledger of runs, or None.", "project"},
    {"runs_csv", pyft_tracker_run_option, NULL, "Path of the ledger of runs, or None.", "path"},
    {"over_budget", pyft_tracker_over_budget, NULL,
     "Whether total_flops has come to max_flops; False without a budget.", NULL},
    {"rates", pyft_tracker_rates, NULL, "FLOP/s and MFU of the run so far, Rates.", "rates"},
    {"epoch_rates", pyft_tracker_rates, NULL, "The same of each ended epoch, a list of EpochRates.",
     "epoch_rates"},
    {"_train_time_s", pyft_tracker_train_time, NULL, NULL, NULL},
    {"run_id", pyft_tracker_run_id, NULL, "What the run is called in checkpoints and ledgers.",
     NULL},
#define OF_LOOPS(name, text) {#name, pyft_tracker_loops_attribute, NULL, text, #name}
    OF_LOOPS(counts, "All steps so far as a FlopCount, every phase."),
    OF_LOOPS(phase_counts, "The same apart, a dict: \"train\", and the names given to phase()."),
    OF_LOOPS(traced_steps, "Steps that were counted operation by operation."),
    OF_LOOPS(replayed_steps, "Steps that cost what a counted one like them had cost."),
    OF_LOOPS(unattributed_steps, "Steps of which nothing is known, and that are in no total."),
    {NULL, NULL, NULL, NULL, NULL},
};

static PyMemberDef tracker_members[] = {
    {"_resumed_time_s", T_DOUBLE, offsetof(pyft_tracker, resumed_time_s), READONLY, NULL},
    {"log_wall_time", T_BOOL, offsetof(pyft_tracker, log_wall_time), READONLY, "Takes times."},
    {"keep_batch_logs", T_BOOL, offsetof(pyft_tracker, run.ledger.keep_steps), READONLY,
     "Keeps a record per batch."},
    {"keep_epoch_logs", T_BOOL, offsetof(pyft_tracker, run.ledger.keep_epochs), READONLY,
     "Keeps a record per epoch."},
    {"_epoch_is_open", T_BOOL, offsetof(pyft_tracker, run.open), READONLY, NULL},
    {"_epochs_begun", T_UINT, offsetof(pyft_tracker, run.ledger.current.epoch), READONLY, NULL},
    {"_batches", T_ULONGLONG, offsetof(pyft_tracker, run.ledger.current.batches), READONLY, NULL},
    {"_written", T_OBJECT, offsetof(pyft_tracker, written), READONLY, NULL},
    {"_last_is_complete", T_BOOL, offsetof(pyft_tracker, run.ledger.current.complete), READONLY,
     NULL},
    {"_keeps_steps", T_BOOL, offsetof(pyft_tracker, run.ledger.keep_steps), READONLY, NULL},
    {"_is_training", T_BOOL, offsetof(pyft_tracker, training_now), READONLY, NULL},
    {"_iterator", T_OBJECT, offsetof(pyft_tracker, iterator), READONLY, NULL},
    {"_run", T_OBJECT, offsetof(pyft_tracker, own_run), READONLY, NULL},
    {"estimator", T_OBJECT, offsetof(pyft_tracker, estimator), READONLY, "The estimator."},
    {"run_name", T_OBJECT, offsetof(pyft_tracker, run_name), READONLY, "Default of export_prefix."},
    {"_loops", T_OBJECT, offsetof(pyft_tracker, loops), READONLY, NULL},
    {"_training", T_OBJECT, offsetof(pyft_tracker, training), READONLY, NULL},
    {"_peak_flops", T_OBJECT, offsetof(pyft_tracker, peak_flops), READONLY, NULL},
    {"_noted", T_OBJECT, offsetof(pyft_tracker, noted), 0, NULL},
    {"_keeps_epochs", T_BOOL, offsetof(pyft_tracker, run.ledger.keep_epochs), READONLY, NULL},
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
