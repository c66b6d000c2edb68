/* The options of ft(epochs, ...): checked before anything is touched, then an iterator is made. */
/* SPDX-License-Identifier: MIT */
#include "epochs.h"

typedef struct {
    PyObject *epochs, *prefix, *on_epoch_end, *config;
    PyObject *print_level, *export_level, *overwrite, *wandb_log; /* NULL: not given */
    const char *wandb_project, *wandb_run_name, *wandb_entity;
    pyft_switch progress, export_only_rank0, wandb, wandb_only_rank0;
} epoch_options;

/* "none", "epoch", "batch" or "both" as bits; -1 with an exception. */
static int
parse_level(const char *option, PyObject *value, int by_default)
{
    static const char *const names[] = {"none", "epoch", "batch", "both"};
    if (value == NULL) {
        return by_default;
    }
    for (int i = 0; PyUnicode_Check(value) && i < 4; i++) {
        if (PyUnicode_CompareWithASCIIString(value, names[i]) == 0) {
            return i;
        }
    }
    PyErr_Format(PyUnicode_Check(value) ? PyExc_ValueError : PyExc_TypeError,
                 "%s must be 'none', 'epoch', 'batch' or 'both', not %R", option, value);
    return -1;
}

static int
parse_options(PyObject *args, PyObject *kwargs, epoch_options *options)
{
    static char *names[] = {"epochs",
                            "print_level",
                            "export",
                            "export_prefix",
                            "overwrite",
                            "progress",
                            "export_only_rank0",
                            "on_epoch_end",
                            "wandb",
                            "wandb_project",
                            "wandb_run_name",
                            "wandb_config",
                            "wandb_log",
                            "wandb_entity",
                            "wandb_only_rank0",
                            NULL};
    return pyft_check_option_names(kwargs, names, "ft(epochs)") == 0 &&
                   PyArg_ParseTupleAndKeywords(
                       args, kwargs, "O|$OOOOO&O&OO&zzOOzO&:ft", names, &options->epochs,
                       &options->print_level, &options->export_level, &options->prefix,
                       &options->overwrite, pyft_to_switch, &options->progress, pyft_to_switch,
                       &options->export_only_rank0, &options->on_epoch_end, pyft_to_switch,
                       &options->wandb, &options->wandb_project, &options->wandb_run_name,
                       &options->config, &options->wandb_log, &options->wandb_entity,
                       pyft_to_switch, &options->wandb_only_rank0)
               ? 0
               : -1;
}

static PyObject *
count_items(PyObject *integer)
{
    uint64_t count;
    if (pyft_to_u64(integer, "epochs", &count) < 0) {
        return NULL;
    }
    PyObject *range = pyft_call_helper("builtins", "range", "(K)", (unsigned long long)count);
    PyObject *items = range == NULL ? NULL : PyObject_GetIter(range);
    Py_XDECREF(range);
    return items;
}

PyObject *
pyft_epoch_number(PyObject *epochs)
{
    bool iterable = Py_TYPE(epochs)->tp_iter != NULL || PySequence_Check(epochs);
    if (PyUnicode_Check(epochs) || PyBool_Check(epochs) || (!iterable && !PyIndex_Check(epochs))) {
        PyErr_Format(PyExc_TypeError, "epochs must be an int or an iterable, not %R of type %s",
                     epochs, Py_TYPE(epochs)->tp_name);
        return NULL;
    }
    PyObject *integer = PyIndex_Check(epochs) ? PyNumber_Index(epochs) : NULL;
    if (integer == NULL && iterable && PyErr_ExceptionMatches(PyExc_TypeError)) {
        PyErr_Clear();
    }
    return integer;
}

static PyObject *
epoch_items(PyObject *epochs)
{
    PyObject *integer = pyft_epoch_number(epochs);
    if (integer == NULL) {
        return PyErr_Occurred() ? NULL : PyObject_GetIter(epochs);
    }
    PyObject *items = count_items(integer);
    Py_DECREF(integer);
    return items;
}

static const char *
overwrite_of(const epoch_options *options)
{
    return options->overwrite == NULL ? "rename" : PyUnicode_AsUTF8(options->overwrite);
}

/* Opens the CSV files: both or, where one can't be opened, none. */
static int
open_files(epoch_iterator *self, const epoch_options *options)
{
    bool batch = self->export_at & AT_BATCH, epoch = self->export_at & AT_EPOCH;
    PyObject *prefix = options->prefix == NULL || options->prefix == Py_None
                           ? self->tracker->run_name
                           : options->prefix;
    PyObject *files = pyft_call_helper("flops_tracker._csv_files", "open_run", "(OOOOsOO)", prefix,
                                       batch ? Py_True : Py_False, epoch ? Py_True : Py_False,
                                       self->tracker->written, overwrite_of(options),
                                       self->print_at != 0 ? Py_True : Py_False, self->tracker);
    PyObject *batch_file, *epoch_file;
    int result = files == NULL ? -1 : 0;
    if (files != NULL && !PyArg_ParseTuple(files, "OO", &batch_file, &epoch_file)) {
        result = -1;
    }
    if (result == 0) {
        self->batch_file = batch ? Py_NewRef(batch_file) : NULL;
        self->epoch_file = epoch ? Py_NewRef(epoch_file) : NULL;
    }
    Py_XDECREF(files);
    return result;
}

/* What this process is among those of a training; its lines then say so. 0 where it is the first,
 * 1 for a later one, -1 with an exception. */
static int
take_place(epoch_iterator *self)
{
    PyObject *rank = pyft_call_helper("flops_tracker._ranks", "rank", "()");
    int later = rank == NULL ? -1 : PyObject_IsTrue(rank);
    Py_XDECREF(rank);
    self->rank = later < 0 ? NULL : pyft_rank_prefix();
    return self->rank == NULL ? -1 : later;
}

/* Ranks above 0 of a distributed training print nothing, and write files only where asked to. */
static int
open_outputs(epoch_iterator *self, const epoch_options *options)
{
    int later_rank = take_place(self);
    if (later_rank < 0) {
        return -1;
    }
    if (later_rank) {
        self->print_at = 0;
        self->export_at = options->export_only_rank0.on ? 0 : self->export_at;
    }
    else if (options->progress.on) { /* before the files: tqdm may be missing */
        self->progress = pyft_call_helper("flops_tracker._progress", "open_progress", "(OO)",
                                          self->tracker->training, options->epochs);
        if (self->progress == NULL) {
            return -1;
        }
    }
    return self->export_at == 0 ? 0 : open_files(self, options);
}

/* Checks everything that can be wrong before the first file is touched. */
static int
check_start(pyft_tracker *tracker, const epoch_options *options)
{
    if (tracker->training == NULL) {
        PyErr_SetString(
            PyExc_RuntimeError,
            "nothing to train: call torch_bind(model, optimizer, loss_fn, train_loader) "
            "or sklearn_bind(clf, X, y, batch_size=...) first; or write the loop "
            "yourself with on_epoch_start, update_batch and on_epoch_end");
        return -1;
    }
    if (tracker->training_now) {
        PyErr_SetString(PyExc_RuntimeError, "this tracker is training an epoch already");
        return -1;
    }
    if (tracker->run.open && tracker->iterator == NULL) {
        pyft_raise(FT_EPOCH_OPEN, "ft(...)");
        return -1;
    }
    if (options->on_epoch_end != NULL && options->on_epoch_end != Py_None &&
        !PyCallable_Check(options->on_epoch_end)) {
        PyErr_Format(PyExc_TypeError, "on_epoch_end must be callable, not %R",
                     options->on_epoch_end);
        return -1;
    }
    if (parse_level("wandb_log", options->wandb_log, 0) < 0) {
        return -1;
    }
    if (options->overwrite == NULL) {
        return 0;
    }
    PyObject *known =
        pyft_call_helper("flops_tracker._csv_files", "check_overwrite", "(O)", options->overwrite);
    Py_XDECREF(known);
    return known == NULL ? -1 : 0;
}

PyObject *
pyft_epochs_start(pyft_tracker *tracker, PyObject *args, PyObject *kwargs, int default_print_at)
{
    epoch_options options = {.progress = {"progress", 0},
                             .export_only_rank0 = {"export_only_rank0", 1},
                             .wandb = {"wandb", 0},
                             .wandb_only_rank0 = {"wandb_only_rank0", 0}};
    pyft_state *state = pyft_state_of(Py_TYPE(tracker));
    if (state == NULL || parse_options(args, kwargs, &options) < 0 ||
        check_start(tracker, &options) < 0) {
        return NULL;
    }
    int print_at = parse_level("print_level", options.print_level, default_print_at);
    int export_at = print_at < 0 ? -1 : parse_level("export", options.export_level, 0);
    PyObject *items = export_at < 0 ? NULL : epoch_items(options.epochs);
    if (items == NULL ||
        (tracker->iterator != NULL && pyft_epochs_displace(tracker->iterator) < 0)) {
        Py_XDECREF(items);
        return NULL;
    }
    epoch_iterator *self = PyObject_GC_New(epoch_iterator, state->epoch_iterator_type);
    if (self == NULL) {
        Py_DECREF(items);
        return NULL;
    }
    self->tracker = (pyft_tracker *)Py_NewRef((PyObject *)tracker);
    self->items = items;
    self->print_at = print_at;
    self->export_at = export_at;
    self->batch_file = self->epoch_file = self->progress = self->rank = NULL;
    self->on_epoch_end = options.on_epoch_end == Py_None ? NULL : Py_XNewRef(options.on_epoch_end);
    self->closed = self->displaced = self->failed = self->warned_of_no_batch = false;
    self->started = true; /* no complaint where opening the files fails */
    PyObject_GC_Track((PyObject *)self);
    if (open_outputs(self, &options) < 0 ||
        (options.wandb.on && PyErr_WarnEx(PyExc_UserWarning,
                                          "wandb logging is not built in yet: training goes on and "
                                          "nothing is sent",
                                          1) < 0)) {
        Py_DECREF(self);
        return NULL;
    }
    self->started = false;
    tracker->iterator = (PyObject *)self;
    return (PyObject *)self;
}
