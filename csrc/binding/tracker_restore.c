/* Recorded data back into a tracker, for load_state_dict: it may be anything, so all is checked. */
/* SPDX-License-Identifier: MIT */
#include "pyft.h"

#include <math.h>

enum { SIZES, FLOPS, TIMES, COLUMNS };

static const char records_name[] = "flops_tracker.records";

static int
refuse(const char *what)
{
    PyErr_SetString(PyExc_ValueError, what);
    return -1;
}

static int
to_seconds(PyObject *given, double *seconds)
{
    bool number = PyFloat_Check(given) || (PyLong_Check(given) && !PyBool_Check(given));
    *seconds = number ? PyFloat_AsDouble(given) : -1;
    if (PyErr_Occurred()) {
        return -1;
    }
    if (!(*seconds >= 0) || isinf(*seconds)) {
        PyErr_Format(PyExc_ValueError, "a time must be a number of seconds, not %R", given);
        return -1;
    }
    return 0;
}

static int
read_epoch(PyObject *row, ft_epoch *epoch)
{
    PyObject *flops, *batches, *samples, *wall, *trained, *loss, *complete;
    *epoch = (ft_epoch){0};
    if (!PyTuple_Check(row) || !PyArg_ParseTuple(row, "OOOOOOO", &flops, &batches, &samples, &wall,
                                                 &trained, &loss, &complete)) {
        return PyErr_Occurred() ? -1 : refuse("an epoch is no tuple");
    }
    if (pyft_to_u128(flops, "flops_epoch", &epoch->flops_epoch) < 0 ||
        pyft_to_u64(batches, "batches", &epoch->batches) < 0 ||
        pyft_to_u64(samples, "samples", &epoch->samples) < 0 ||
        to_seconds(wall, &epoch->wall_time_s) < 0 ||
        to_seconds(trained, &epoch->train_time_s) < 0) {
        return -1;
    }
    if (!PyBool_Check(complete) || !(loss == Py_None || PyFloat_Check(loss))) {
        PyErr_Format(PyExc_ValueError, "complete must be a bool and loss a float or None, not %R",
                     row);
        return -1;
    }
    epoch->complete = complete == Py_True;
    epoch->has_loss = loss != Py_None;
    epoch->loss = epoch->has_loss ? PyFloat_AsDouble(loss) : 0;
    return 0;
}

/* Steps as they were given: lists, of which the caller has made sure that nobody else has them. */
typedef struct {
    PyObject *numbers, *columns[COLUMNS];
    Py_ssize_t next;
} saved_steps;

static int
read_step_lists(PyObject *given, saved_steps *steps)
{
    if (!PyArg_ParseTuple(given, "O!O!O!O!", &PyList_Type, &steps->numbers, &PyList_Type,
                          &steps->columns[SIZES], &PyList_Type, &steps->columns[FLOPS],
                          &PyList_Type, &steps->columns[TIMES])) {
        return -1;
    }
    Py_ssize_t count = PyList_GET_SIZE(steps->columns[SIZES]);
    return PyList_GET_SIZE(steps->columns[FLOPS]) == count &&
                   PyList_GET_SIZE(steps->columns[TIMES]) == count
               ? 0
               : refuse("the lists of steps differ in their lengths");
}

static int
read_step(const saved_steps *steps, Py_ssize_t at, ft_step *step)
{
    *step = (ft_step){0};
    return pyft_to_u64(PyList_GET_ITEM(steps->columns[SIZES], at), "batch_size",
                       &step->batch_size) < 0 ||
                   pyft_to_u128(PyList_GET_ITEM(steps->columns[FLOPS], at), "flops_batch",
                                &step->flops_batch) < 0 ||
                   to_seconds(PyList_GET_ITEM(steps->columns[TIMES], at), &step->wall_time_s) < 0
               ? -1
               : 0;
}

/* The steps of the next epoch; *rows is the caller's to free, also after an error. */
static int
read_steps(saved_steps *steps, Py_ssize_t epoch, ft_step **rows, size_t *count)
{
    uint64_t number;
    Py_ssize_t left = PyList_GET_SIZE(steps->columns[SIZES]) - steps->next;
    if (pyft_to_u64(PyList_GET_ITEM(steps->numbers, epoch), "steps_of_epochs", &number) < 0) {
        return -1;
    }
    if (number > (uint64_t)left) {
        return refuse("there are less steps than its epochs have");
    }
    if ((*rows = PyMem_Calloc((size_t)number + 1, sizeof **rows)) == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    *count = (size_t)number;
    for (size_t i = 0; i < *count; i++) {
        if (read_step(steps, steps->next++, &(*rows)[i]) < 0) {
            return -1;
        }
    }
    return 0;
}

static int
read_one(ft_ledger *ledger, PyObject *epochs, saved_steps *steps, Py_ssize_t at)
{
    ft_epoch epoch;
    ft_step *rows = NULL;
    size_t count = 0;
    ft_status status = FT_OK;
    int result = epochs != Py_None ? read_epoch(PyList_GET_ITEM(epochs, at), &epoch) : 0;
    if (result == 0 && steps != NULL) {
        result = read_steps(steps, at, &rows, &count);
    }
    if (result == 0) {
        status = ft_restore_epoch(ledger, epochs != Py_None ? &epoch : NULL, rows, count);
    }
    PyMem_Free(rows);
    if (status != FT_OK) {
        pyft_raise(status, "load_state_dict");
    }
    return status == FT_OK ? result : -1;
}

/* The sums that were saved beside the records are compared with what these give. */
static int
read_records(ft_ledger *ledger, PyObject *total, PyObject *begun, PyObject *last, PyObject *epochs,
             PyObject *given_steps)
{
    ft_u128 saved_total;
    uint64_t saved_epochs, last_batches;
    saved_steps lists = {0}, *steps = given_steps == Py_None ? NULL : &lists;
    if (pyft_to_u128(total, "total_flops", &saved_total) < 0 ||
        pyft_to_u64(begun, "epoch", &saved_epochs) < 0 ||
        pyft_to_u64(last, "step", &last_batches) < 0 ||
        (steps != NULL && read_step_lists(given_steps, steps) < 0)) {
        return -1;
    }
    if (saved_epochs >= UINT32_MAX) {
        return refuse("epoch is too large");
    }
    if (epochs == Py_None && steps == NULL) {
        ft_status status =
            ft_restore_sums(ledger, (uint32_t)saved_epochs, last_batches, saved_total);
        return status == FT_OK ? 0 : (pyft_raise(status, "load_state_dict"), -1);
    }
    Py_ssize_t count = PyList_GET_SIZE(epochs != Py_None ? epochs : steps->numbers);
    if (steps != NULL && PyList_GET_SIZE(steps->numbers) != count) {
        return refuse("it has not the steps of each epoch");
    }
    for (Py_ssize_t i = 0; i < count; i++) {
        if (read_one(ledger, epochs, steps, i) < 0) {
            return -1;
        }
    }
    if ((uint64_t)count != saved_epochs || ledger->current.batches != last_batches ||
        ft_u128_compare(ledger->total, saved_total) != 0 ||
        (steps != NULL && steps->next != PyList_GET_SIZE(steps->columns[SIZES]))) {
        return refuse("its records do not add up to its total, epochs and steps");
    }
    return 0;
}

static void
free_records(PyObject *capsule)
{
    ft_ledger *ledger = PyCapsule_GetPointer(capsule, records_name);
    ft_ledger_clear(ledger);
    PyMem_Free(ledger);
}

/* _read_records(total, epochs begun, steps of the last, epochs, steps): what _take_records takes.
 * The lists are the caller's own, so that nobody changes them meanwhile. */
PyObject *
pyft_tracker_read_records(PyObject *object, PyObject *args)
{
    const ft_ledger *own = &((pyft_tracker *)object)->run.ledger;
    PyObject *total, *begun, *last, *epochs, *steps;
    if (!PyArg_ParseTuple(args, "OOOOO:_read_records", &total, &begun, &last, &epochs, &steps)) {
        return NULL;
    }
    if ((epochs == Py_None && own->keep_epochs) || (steps == Py_None && own->keep_steps)) {
        refuse("records are missing that this tracker keeps");
        return NULL;
    }
    if ((epochs != Py_None && !PyList_Check(epochs)) ||
        (steps != Py_None && !PyTuple_Check(steps))) {
        refuse("its records are no lists");
        return NULL;
    }
    ft_ledger *ledger = PyMem_Calloc(1, sizeof *ledger);
    if (ledger == NULL) {
        return PyErr_NoMemory();
    }
    ft_ledger_init(ledger, ft_allocator_libc(), own->keep_steps, own->keep_epochs);
    PyObject *capsule = PyCapsule_New(ledger, records_name, free_records);
    if (capsule == NULL) {
        PyMem_Free(ledger);
        return NULL;
    }
    if (read_records(ledger, total, begun, last, epochs, steps) < 0) {
        Py_CLEAR(capsule);
    }
    return capsule;
}

/* _take_records(records, seconds): they become the tracker's; it has none so far. */
PyObject *
pyft_tracker_take_records(PyObject *object, PyObject *args)
{
    pyft_tracker *self = (pyft_tracker *)object;
    PyObject *capsule, *seconds;
    double trained;
    if (!PyArg_ParseTuple(args, "OO:_take_records", &capsule, &seconds) ||
        to_seconds(seconds, &trained) < 0) {
        return NULL;
    }
    ft_ledger *ledger = PyCapsule_GetPointer(capsule, records_name);
    if (ledger == NULL) {
        return NULL;
    }
    if (self->run.open || self->run.ledger.current.epoch > 0) {
        refuse("this tracker has begun an epoch already: load into a new one");
        return NULL;
    }
    ft_ledger own = self->run.ledger;
    self->run.ledger = *ledger;
    *ledger = own;
    self->run.train_time_s = self->resumed_time_s = trained;
    self->budget_late = ft_epochs_over_budget(&self->run);
    Py_RETURN_NONE;
}
