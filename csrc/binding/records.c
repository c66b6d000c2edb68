/* A run as Python reads it: StepLog, EpochLog, the NumPy view, CSV files, and the total in a line.
 */
/* SPDX-License-Identifier: MIT */
#include "pyft.h"

static PyStructSequence_Field step_fields[] = {
    {"epoch", "from 1"},
    {"step", "from 1 in each epoch"},
    {"batch_size", "samples"},
    {"flops_batch", "FLOPs of this batch"},
    {"flops_epoch_cum", "FLOPs of the epoch so far"},
    {"flops_total_cum", "FLOPs of the run so far"},
    {"wall_time_s", "seconds since the step before, or the start of the epoch"},
    {NULL, NULL},
};
static PyStructSequence_Desc step_desc = {"flops_tracker.StepLog", "One batch of a run.",
                                          step_fields, 7};

static PyStructSequence_Field epoch_fields[] = {
    {"epoch", "from 1"},
    {"flops_epoch", "FLOPs of this epoch"},
    {"flops_total_cum", "FLOPs of the run so far"},
    {"batches", "batches of this epoch"},
    {"samples", "samples of this epoch"},
    {"loss", "mean loss over the samples, or None where it is not known"},
    {"wall_time_s", "seconds"},
    {"complete", "False where the epoch was broken off"},
    {"train_time_s", "seconds of it without those of other phases, such as validation"},
    {NULL, NULL},
};
static PyStructSequence_Desc epoch_desc = {"flops_tracker.EpochLog", "One epoch of a run.",
                                           epoch_fields, 8};

static PyObject *
step_log(pyft_state *state, const ft_step *step, ft_u128 epoch_cum)
{
    PyObject *fields[] = {
        PyLong_FromUnsignedLong(step->epoch),
        PyLong_FromUnsignedLong(step->step),
        PyLong_FromUnsignedLongLong(step->batch_size),
        pyft_from_u128(step->flops_batch),
        pyft_from_u128(epoch_cum),
        pyft_from_u128(step->flops_total_cum),
        PyFloat_FromDouble(step->wall_time_s),
    };
    return pyft_new_record(state->step_log_type, fields, (Py_ssize_t)FT_COUNT_OF(fields));
}

static PyObject *
epoch_log(pyft_state *state, const ft_epoch *epoch)
{
    PyObject *fields[] = {
        PyLong_FromUnsignedLong(epoch->epoch),
        pyft_from_u128(epoch->flops_epoch),
        pyft_from_u128(epoch->flops_total_cum),
        PyLong_FromUnsignedLongLong(epoch->batches),
        PyLong_FromUnsignedLongLong(epoch->samples),
        epoch->has_loss ? PyFloat_FromDouble(epoch->loss) : Py_NewRef(Py_None),
        PyFloat_FromDouble(epoch->wall_time_s),
        PyBool_FromLong(epoch->complete),
        PyFloat_FromDouble(epoch->train_time_s), /* an attribute, not an item */
    };
    return pyft_new_record(state->epoch_log_type, fields, (Py_ssize_t)FT_COUNT_OF(fields));
}

static PyObject *
require_kept(bool kept, const char *option)
{
    if (!kept) {
        PyErr_Format(PyExc_RuntimeError,
                     "this tracker kept no such records: it was made with %s=False", option);
        return NULL;
    }
    return Py_None;
}

PyObject *
pyft_tracker_step_logs(PyObject *object, void *unused)
{
    (void)unused;
    const ft_ledger *ledger = &((pyft_tracker *)object)->run.ledger;
    pyft_state *state = pyft_state_of(Py_TYPE(object));
    if (state == NULL || require_kept(ledger->keep_steps, "keep_batch_logs") == NULL) {
        return NULL;
    }
    ft_u128 epoch_cum = FT_U128_ZERO;
    Py_ssize_t count = (Py_ssize_t)ledger->step_count;
    PyObject *list = PyList_New(count);
    for (Py_ssize_t i = 0; list != NULL && i < count; i++) {
        const ft_step *step = &ledger->steps->rows[i];
        epoch_cum = ft_u128_add(step->step == 1 ? FT_U128_ZERO : epoch_cum, step->flops_batch);
        PyObject *record = step_log(state, step, epoch_cum);
        if (record == NULL) {
            Py_CLEAR(list);
            break;
        }
        PyList_SET_ITEM(list, i, record);
    }
    return list;
}

PyObject *
pyft_tracker_epoch_logs(PyObject *object, void *unused)
{
    (void)unused;
    const ft_ledger *ledger = &((pyft_tracker *)object)->run.ledger;
    pyft_state *state = pyft_state_of(Py_TYPE(object));
    if (state == NULL || require_kept(ledger->keep_epochs, "keep_epoch_logs") == NULL) {
        return NULL;
    }
    Py_ssize_t count = (Py_ssize_t)ledger->epoch_count;
    PyObject *list = PyList_New(count);
    for (Py_ssize_t i = 0; list != NULL && i < count; i++) {
        PyObject *record = epoch_log(state, &ledger->epochs[i]);
        if (record == NULL) {
            Py_CLEAR(list);
            break;
        }
        PyList_SET_ITEM(list, i, record);
    }
    return list;
}

static const char block_name[] = "flops_tracker.step_block";

static void
release_block(PyObject *capsule)
{
    ft_step_block_release(PyCapsule_GetPointer(capsule, block_name));
}

/* The records themselves, shared with _numpy: (capsule that keeps them, address, number). */
PyObject *
pyft_tracker_step_block(PyObject *object, PyObject *unused)
{
    (void)unused;
    const ft_ledger *ledger = &((pyft_tracker *)object)->run.ledger;
    if (require_kept(ledger->keep_steps, "keep_batch_logs") == NULL) {
        return NULL;
    }
    if (ledger->steps == NULL) {
        return Py_BuildValue("(Oin)", Py_None, 0, (Py_ssize_t)0);
    }
    PyObject *capsule = PyCapsule_New(ledger->steps, block_name, release_block);
    if (capsule == NULL) {
        return NULL;
    }
    ft_step_block_retain(ledger->steps);
    return Py_BuildValue("(NNn)", capsule, PyLong_FromVoidPtr(ledger->steps->rows),
                         (Py_ssize_t)ledger->step_count);
}

PyObject *
pyft_tracker_history(PyObject *object, void *unused)
{
    (void)unused;
    PyObject *block = pyft_tracker_step_block(object, NULL);
    PyObject *array = block == NULL
                          ? NULL
                          : pyft_call_helper("flops_tracker._numpy", "step_records", "(O)", block);
    Py_XDECREF(block);
    return array;
}

static ft_status
write_line(void *file, const char *bytes, size_t length)
{
    PyObject *line = PyBytes_FromStringAndSize(bytes, (Py_ssize_t)length);
    PyObject *done = line == NULL ? NULL : PyObject_CallMethod(file, "write", "O", line);
    Py_XDECREF(line);
    Py_XDECREF(done);
    return done == NULL ? FT_SINK_FAILED : FT_OK;
}

ft_sink
pyft_file_sink(PyObject *file)
{
    return (ft_sink){write_line, file};
}

static PyObject *
save_csv(PyObject *object, PyObject *args, PyObject *kwargs, const char *format,
         ft_status (*write_all)(ft_sink, const ft_ledger *))
{
    static char *names[] = {"path", NULL};
    pyft_tracker *self = (pyft_tracker *)object;
    PyObject *path;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, format, names, &path)) {
        return NULL;
    }
    PyObject *name = PyOS_FSPath(path); /* open takes an int for a file that is open */
    if (name == NULL && PyErr_ExceptionMatches(PyExc_TypeError)) {
        PyErr_Format(PyExc_TypeError, "path must be a str or os.PathLike, not %R", path);
    }
    PyObject *file = name == NULL ? NULL : pyft_call_helper("builtins", "open", "(Os)", name, "wb");
    Py_XDECREF(name);
    if (file == NULL) {
        return NULL;
    }
    ft_status status = write_all(pyft_file_sink(file), &self->run.ledger);
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    PyObject *closed = PyObject_CallMethod(file, "close", NULL);
    Py_DECREF(file);
    if (status != FT_OK) {
        PyErr_Restore(type, value, traceback);
        Py_XDECREF(closed);
        return pyft_raise(status, "writing the CSV file");
    }
    Py_XDECREF(closed);
    return closed == NULL ? NULL : Py_NewRef(Py_None);
}

PyObject *
pyft_tracker_save_batch_csv(PyObject *self, PyObject *args, PyObject *kwargs)
{
    const ft_ledger *ledger = &((pyft_tracker *)self)->run.ledger;
    return require_kept(ledger->keep_steps, "keep_batch_logs") == NULL
               ? NULL
               : save_csv(self, args, kwargs, "O:save_batch_csv", ft_csv_all_steps);
}

PyObject *
pyft_tracker_save_epoch_csv(PyObject *self, PyObject *args, PyObject *kwargs)
{
    const ft_ledger *ledger = &((pyft_tracker *)self)->run.ledger;
    return require_kept(ledger->keep_epochs, "keep_epoch_logs") == NULL
               ? NULL
               : save_csv(self, args, kwargs, "O:save_epoch_csv", ft_csv_all_epochs);
}

PyObject *
pyft_tracker_trust_line(pyft_tracker *tracker)
{
    if (pyft_tracker_check(tracker) < 0) {
        return NULL;
    }
    PyObject *source = tracker->loops != NULL ? tracker->loops : tracker->estimator;
    PyObject *trust = PyObject_GetAttrString(source, "trust_line");
    PyObject *flops = pyft_flops_text(tracker->run.ledger.total);
    PyObject *rank = pyft_rank_label();
    PyObject *rates = NULL, *line = NULL;
    if (trust != NULL && flops != NULL && rank != NULL &&
        (rates = pyft_tracker_rates((PyObject *)tracker, "line")) != NULL) {
        line = PyUnicode_FromFormat("total %U%s%U%s%S%U", flops, PYFT_DOT, rank,
                                    PyUnicode_GET_LENGTH(rank) > 0 ? PYFT_DOT : "", trust, rates);
    }
    Py_XDECREF(rank);
    Py_XDECREF(trust);
    Py_XDECREF(flops);
    Py_XDECREF(rates);
    return line;
}

PyObject *
pyft_tracker_print_total(PyObject *self, PyObject *unused)
{
    (void)unused;
    PyObject *line = pyft_tracker_trust_line((pyft_tracker *)self);
    PyObject *done = line == NULL ? NULL : pyft_call_helper("builtins", "print", "(O)", line);
    Py_XDECREF(line);
    return done;
}

/* ---- rates of records ---- */

static PyObject *
rate_of(PyObject *record, const char *flops_name, const char *seconds_name)
{
    ft_u128 flops;
    PyObject *given = PyObject_GetAttrString(record, flops_name);
    PyObject *time = given == NULL ? NULL : PyObject_GetAttrString(record, seconds_name);
    double seconds = time == NULL ? -1 : PyFloat_AsDouble(time);
    PyObject *rate = NULL;
    if (!PyErr_Occurred() && pyft_to_u128(given, flops_name, &flops) == 0) {
        rate = seconds > 0 ? PyFloat_FromDouble(ft_rate(flops, seconds)) : Py_NewRef(Py_None);
    }
    Py_XDECREF(given);
    Py_XDECREF(time);
    return rate;
}

static PyObject *
step_rate(PyObject *record, void *unused)
{
    (void)unused;
    return rate_of(record, "flops_batch", "wall_time_s");
}

static PyObject *
epoch_rate(PyObject *record, void *unused)
{
    (void)unused;
    return rate_of(record, "flops_epoch", "train_time_s");
}

static PyGetSetDef step_rate_def = {
    "flops_per_second", step_rate, NULL,
    "FLOP/s: flops_batch over wall_time_s; None where no time was taken.", NULL};
static PyGetSetDef epoch_rate_def = {
    "flops_per_second", epoch_rate, NULL,
    "FLOP/s: flops_epoch over train_time_s; None where no time was taken.", NULL};

static int
add_rate(PyTypeObject *type, PyGetSetDef *def)
{
    PyObject *descriptor = type == NULL ? NULL : PyDescr_NewGetSet(type, def);
    int result =
        descriptor == NULL ? -1 : PyObject_SetAttrString((PyObject *)type, def->name, descriptor);
    Py_XDECREF(descriptor);
    return result;
}

int
pyft_add_records(PyObject *module, pyft_state *state)
{
    state->step_log_type = pyft_new_record_type(&step_desc);
    state->epoch_log_type = pyft_new_record_type(&epoch_desc);
    if (add_rate(state->step_log_type, &step_rate_def) < 0 ||
        add_rate(state->epoch_log_type, &epoch_rate_def) < 0 ||
        PyModule_AddType(module, state->step_log_type) < 0) {
        return -1;
    }
    return PyModule_AddType(module, state->epoch_log_type);
}
