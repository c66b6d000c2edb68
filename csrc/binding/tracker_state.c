/* What a tracker has recorded as plain data, for state_dict; the rest is in _state.py. */
/* SPDX-License-Identifier: MIT */
#include "pyft.h"

/* Sums of a run as they are now: an open epoch counts as ended, an open step as a step. */
typedef struct {
    const ft_epochs *run;
    ft_epoch current;
    ft_u128 total;
    bool open;
    ft_step *extra; /* of steps that are open */
    Py_ssize_t extra_count;
} snapshot;

static int
add_open_step(snapshot *now, PyObject *pair, double time)
{
    PyObject *size, *given;
    uint64_t batch_size;
    ft_u128 flops;
    if (!PyArg_ParseTuple(pair, "OO", &size, &given) ||
        pyft_to_u64(size, "batch_size", &batch_size) < 0 ||
        pyft_to_u128(given, "FLOPs of a step", &flops) < 0) {
        return -1;
    }
    double wall = now->run->open && now->extra_count == 0 ? time - now->run->step_ended : 0;
    ft_status status = ft_ledger_sum_step(&now->current, &now->total, batch_size, flops, wall,
                                          &now->extra[now->extra_count]);
    if (status != FT_OK) {
        pyft_raise(status, "state_dict");
        return -1;
    }
    now->extra_count++;
    return 0;
}

/* now->extra is the caller's to free, also after an error. */
static int
take_snapshot(pyft_tracker *self, bool complete, PyObject *open_steps, snapshot *now)
{
    const ft_epochs *run = &self->run;
    Py_ssize_t count = PyList_GET_SIZE(open_steps);
    double time = pyft_tracker_now(self);
    *now = (snapshot){run, run->ledger.current, run->ledger.total, run->open, NULL, 0};
    if (count > 0 && (now->extra = PyMem_Calloc((size_t)count, sizeof *now->extra)) == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    if (count > 0 && !now->open) { /* the first step opens an epoch when it ends */
        now->current = (ft_epoch){.epoch = now->current.epoch + 1};
        now->open = true;
    }
    for (Py_ssize_t i = 0; i < count; i++) {
        if (add_open_step(now, PyList_GET_ITEM(open_steps, i), time) < 0) {
            return -1;
        }
    }
    if (now->open) {
        now->current.complete = complete;
        now->current.flops_total_cum = now->total;
        now->current.wall_time_s = run->open ? time - run->epoch_started : 0;
        now->current.train_time_s = run->open ? ft_epochs_train_time(run) - run->train_time_s : 0;
        now->current.has_loss = false;
    }
    return 0;
}

static PyObject *
epoch_tuple(const ft_epoch *epoch)
{
    PyObject *loss = epoch->has_loss ? PyFloat_FromDouble(epoch->loss) : Py_NewRef(Py_None);
    PyObject *flops = pyft_from_u128(epoch->flops_epoch);
    return Py_BuildValue("(NKKddNO)", flops, (unsigned long long)epoch->batches,
                         (unsigned long long)epoch->samples, epoch->wall_time_s,
                         epoch->train_time_s, loss, epoch->complete ? Py_True : Py_False);
}

static PyObject *
all_epochs(const snapshot *now)
{
    const ft_ledger *ledger = &now->run->ledger;
    if (!ledger->keep_epochs) {
        return Py_NewRef(Py_None);
    }
    Py_ssize_t count = (Py_ssize_t)ledger->epoch_count;
    PyObject *list = PyList_New(count + now->open);
    for (Py_ssize_t i = 0; list != NULL && i < count + now->open; i++) {
        PyObject *row = epoch_tuple(i < count ? &ledger->epochs[i] : &now->current);
        if (row == NULL) {
            Py_CLEAR(list);
            break;
        }
        PyList_SET_ITEM(list, i, row);
    }
    return list;
}

/* How many steps each epoch has. */
static PyObject *
steps_of_epochs(const ft_step *const *rows, Py_ssize_t count, uint32_t epochs)
{
    PyObject *list = PyList_New((Py_ssize_t)epochs);
    Py_ssize_t row = 0;
    for (uint32_t epoch = 1; list != NULL && epoch <= epochs; epoch++) {
        Py_ssize_t first = row;
        while (row < count && rows[row]->epoch == epoch) {
            row++;
        }
        PyObject *number = PyLong_FromSsize_t(row - first);
        if (number == NULL) {
            Py_CLEAR(list);
            break;
        }
        PyList_SET_ITEM(list, (Py_ssize_t)epoch - 1, number);
    }
    return list;
}

enum { SIZES, FLOPS, TIMES, COLUMNS };

/* Batches are alike: an int that is the one before is kept once. */
static PyObject *
step_value(const ft_step *step, const ft_step *before, int column, PyObject *last)
{
    if (column == TIMES) {
        return PyFloat_FromDouble(step->wall_time_s);
    }
    bool same = before != NULL &&
                (column == SIZES ? step->batch_size == before->batch_size
                                 : ft_u128_compare(step->flops_batch, before->flops_batch) == 0);
    if (same) {
        return Py_NewRef(last);
    }
    return column == SIZES ? PyLong_FromUnsignedLongLong(step->batch_size)
                           : pyft_from_u128(step->flops_batch);
}

static PyObject *
step_column(const ft_step *const *rows, Py_ssize_t count, int column)
{
    PyObject *list = PyList_New(count);
    PyObject *value = NULL;
    for (Py_ssize_t i = 0; list != NULL && i < count; i++) {
        value = step_value(rows[i], i == 0 ? NULL : rows[i - 1], column, value);
        if (value == NULL) {
            Py_CLEAR(list);
            break;
        }
        PyList_SET_ITEM(list, i, value);
    }
    return list;
}

static PyObject *
all_steps(const snapshot *now)
{
    const ft_ledger *ledger = &now->run->ledger;
    if (!ledger->keep_steps) {
        return Py_NewRef(Py_None);
    }
    Py_ssize_t count = (Py_ssize_t)ledger->step_count + now->extra_count;
    const ft_step **rows = PyMem_Calloc((size_t)count + 1, sizeof *rows);
    if (rows == NULL) {
        return PyErr_NoMemory();
    }
    for (Py_ssize_t i = 0; i < count; i++) {
        rows[i] = (size_t)i < ledger->step_count ? &ledger->steps->rows[i]
                                                 : &now->extra[(size_t)i - ledger->step_count];
    }
    PyObject *steps = Py_BuildValue(
        "(NNNN)", steps_of_epochs(rows, count, now->current.epoch), step_column(rows, count, SIZES),
        step_column(rows, count, FLOPS), step_column(rows, count, TIMES));
    PyMem_Free(rows);
    return steps;
}

/* _records(complete, open_steps) -> (total, epochs begun, steps of the last, epochs, steps) */
PyObject *
pyft_tracker_records(PyObject *object, PyObject *args)
{
    int complete;
    PyObject *open_steps;
    snapshot now;
    if (!PyArg_ParseTuple(args, "pO!:_records", &complete, &PyList_Type, &open_steps)) {
        return NULL;
    }
    PyObject *records = NULL;
    if (take_snapshot((pyft_tracker *)object, complete != 0, open_steps, &now) == 0) {
        PyObject *total = pyft_from_u128(now.total);
        records = Py_BuildValue("(NIKNN)", total, (unsigned int)now.current.epoch,
                                (unsigned long long)now.current.batches, all_epochs(&now),
                                all_steps(&now));
    }
    PyMem_Free(now.extra);
    return records;
}

/* ---- what Python does with it ---- */

/* _write_rows(file, epoch, step): kept records from that one on as CSV; without a step, epochs. */
PyObject *
pyft_tracker_write_rows(PyObject *object, PyObject *args)
{
    const ft_ledger *ledger = &((pyft_tracker *)object)->run.ledger;
    PyObject *file, *step;
    unsigned int epoch;
    if (!PyArg_ParseTuple(args, "OIO:_write_rows", &file, &epoch, &step)) {
        return NULL;
    }
    ft_status status;
    if (step == Py_None) {
        status = ft_csv_epochs_from(pyft_file_sink(file), ledger, epoch);
    }
    else {
        uint64_t number;
        if (pyft_to_u64(step, "step", &number) < 0) {
            return NULL;
        }
        status = ft_csv_steps_from(pyft_file_sink(file), ledger, epoch, (uint32_t)number);
    }
    return status == FT_OK ? Py_NewRef(Py_None) : pyft_raise(status, "writing CSV rows");
}

static PyObject *
call_with(PyObject *object, const char *name, PyObject *argument)
{
    if (pyft_tracker_check((pyft_tracker *)object) < 0) {
        return NULL;
    }
    return argument == NULL
               ? pyft_call_helper("flops_tracker._state", name, "(O)", object)
               : pyft_call_helper("flops_tracker._state", name, "(OO)", object, argument);
}

PyObject *
pyft_tracker_state_dict(PyObject *object, PyObject *unused)
{
    (void)unused;
    return call_with(object, "state_dict", NULL);
}

PyObject *
pyft_tracker_load_state_dict(PyObject *object, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"state_dict", NULL};
    PyObject *state;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O:load_state_dict", names, &state)) {
        return NULL;
    }
    return call_with(object, "load_state_dict", state);
}
