/* Rates for Python: counts over seconds and peaks, the table of devices, the clock of a run. */
/* SPDX-License-Identifier: MIT */
#include "pyft.h"

/* ---- arithmetic ---- */

/* _rate(flops, seconds): FLOP/s; None where no time has passed. */
PyObject *
pyft_rate(PyObject *module, PyObject *args)
{
    (void)module;
    PyObject *given;
    double seconds;
    ft_u128 flops;
    if (!PyArg_ParseTuple(args, "Od:_rate", &given, &seconds) ||
        pyft_to_u128(given, "FLOPs", &flops) < 0) {
        return NULL;
    }
    return seconds > 0 ? PyFloat_FromDouble(ft_rate(flops, seconds)) : Py_NewRef(Py_None);
}

/* _shares(counts): of their sum, a list; all 0.0 where that is nothing. */
PyObject *
pyft_shares(PyObject *module, PyObject *counts)
{
    (void)module;
    ft_u128 part, whole = FT_U128_ZERO;
    if (!PyList_Check(counts)) {
        return PyErr_Format(PyExc_TypeError, "counts must be a list, not %R", counts);
    }
    Py_ssize_t count = PyList_GET_SIZE(counts);
    PyObject *shares = PyList_New(count);
    for (Py_ssize_t i = 0; shares != NULL && i < count; i++) {
        if (pyft_to_u128(PyList_GET_ITEM(counts, i), "a count", &part) < 0) {
            Py_CLEAR(shares);
            break;
        }
        whole = ft_u128_add(whole, part);
    }
    double all = ft_u128_to_double(whole);
    for (Py_ssize_t i = 0; shares != NULL && i < count; i++) {
        PyObject *share = NULL;
        if (pyft_to_u128(PyList_GET_ITEM(counts, i), "a count", &part) == 0) {
            share = PyFloat_FromDouble(all > 0 ? ft_rate(part, all) : 0);
        }
        if (share == NULL) {
            Py_CLEAR(shares);
            break;
        }
        PyList_SET_ITEM(shares, i, share);
    }
    return shares;
}

/* A list of (FLOPs, peak), to be freed. */
static ft_rate_part *
read_parts(PyObject *list, size_t *count)
{
    *count = (size_t)PyList_GET_SIZE(list);
    ft_rate_part *parts = PyMem_Calloc(*count + 1, sizeof *parts);
    for (size_t i = 0; parts != NULL && i < *count; i++) {
        PyObject *flops;
        if (!PyArg_ParseTuple(PyList_GET_ITEM(list, (Py_ssize_t)i), "Od", &flops, &parts[i].peak) ||
            pyft_to_u128(flops, "FLOPs", &parts[i].flops) < 0) {
            PyMem_Free(parts);
            return NULL;
        }
    }
    return parts == NULL ? (ft_rate_part *)PyErr_NoMemory() : parts;
}

/* _utilization(parts, seconds): the share of the peaks; None where no time has passed. */
PyObject *
pyft_utilization(PyObject *module, PyObject *args)
{
    (void)module;
    PyObject *list;
    double seconds;
    size_t count;
    if (!PyArg_ParseTuple(args, "O!d:_utilization", &PyList_Type, &list, &seconds)) {
        return NULL;
    }
    ft_rate_part *parts = read_parts(list, &count);
    if (parts == NULL) {
        return NULL;
    }
    PyObject *share = seconds > 0 ? PyFloat_FromDouble(ft_utilization(parts, count, seconds))
                                  : Py_NewRef(Py_None);
    PyMem_Free(parts);
    return share;
}

/* _joint_peak(parts): FLOP/s; None where there is no work. */
PyObject *
pyft_joint_peak(PyObject *module, PyObject *list)
{
    (void)module;
    size_t count;
    if (!PyList_Check(list)) {
        return PyErr_Format(PyExc_TypeError, "parts must be a list, not %R", list);
    }
    ft_rate_part *parts = read_parts(list, &count);
    if (parts == NULL) {
        return NULL;
    }
    double peak = ft_joint_peak(parts, count);
    PyMem_Free(parts);
    return peak > 0 ? PyFloat_FromDouble(peak) : Py_NewRef(Py_None);
}

/* _to_rate(value, name): FLOP/s above 0, from a number or a text, for the option of that name. */
PyObject *
pyft_to_rate(PyObject *module, PyObject *args)
{
    (void)module;
    PyObject *value;
    const char *name;
    ft_u128 rate;
    if (!PyArg_ParseTuple(args, "Os:_to_rate", &value, &name) ||
        pyft_to_amount(value, name, true, &rate) < 0) {
        return NULL;
    }
    if (ft_u128_is_zero(rate)) {
        return PyErr_Format(PyExc_ValueError, "%s must be above 0, not %R", name, value);
    }
    return PyFloat_FromDouble(ft_u128_to_double(rate));
}

/* ---- devices ---- */

/* (device, {dtype: FLOP/s}, source) */
static PyObject *
peak_tuple(const ft_peak *peak)
{
    PyObject *rates = PyDict_New();
    for (int i = 0; rates != NULL && i < FT_FORMAT_COUNT; i++) {
        PyObject *rate = peak->peaks[i] > 0 ? PyFloat_FromDouble(peak->peaks[i]) : NULL;
        if (rate != NULL && PyDict_SetItemString(rates, ft_format_name((ft_format)i), rate) < 0) {
            Py_CLEAR(rates);
        }
        Py_XDECREF(rate);
    }
    if (rates == NULL || PyErr_Occurred()) {
        Py_XDECREF(rates);
        return NULL;
    }
    return Py_BuildValue("(sNs)", peak->device, rates, peak->source);
}

/* _peak_of(name): of the device that a driver calls so; None where it is not known. */
PyObject *
pyft_peak_of(PyObject *module, PyObject *name)
{
    (void)module;
    const char *text = PyUnicode_AsUTF8(name);
    const ft_peak *found = text == NULL ? NULL : ft_peak_find(text);
    if (found == NULL) {
        return text == NULL ? NULL : Py_NewRef(Py_None);
    }
    return peak_tuple(found);
}

/* _peaks(): all of them. */
PyObject *
pyft_peaks(PyObject *module, PyObject *unused)
{
    (void)module;
    (void)unused;
    size_t count;
    const ft_peak *peaks = ft_peaks(&count);
    PyObject *list = PyList_New((Py_ssize_t)count);
    for (size_t i = 0; list != NULL && i < count; i++) {
        PyObject *tuple = peak_tuple(&peaks[i]);
        if (tuple == NULL) {
            Py_CLEAR(list);
            break;
        }
        PyList_SET_ITEM(list, (Py_ssize_t)i, tuple);
    }
    return list;
}

/* ---- the clock of a run ---- */

PyObject *
pyft_tracker_train_time(PyObject *object, void *unused)
{
    (void)unused;
    return PyFloat_FromDouble(ft_epochs_train_time(&((pyft_tracker *)object)->run));
}

/* _rates.NAME(tracker), for an attribute of that name. */
PyObject *
pyft_tracker_rates(PyObject *object, void *name)
{
    return pyft_tracker_check((pyft_tracker *)object) < 0
               ? NULL
               : pyft_call_helper("flops_tracker._rates", name, "(O)", object);
}

/* An epoch that ends in order: what runs on a GPU is waited for, and its work is noted. */
int
pyft_tracker_end_epoch_in_order(pyft_tracker *self, bool complete, const double *loss,
                                ft_epoch *epoch)
{
    PyObject *done = NULL;
    if (self->run.open && self->log_wall_time) {
        done = pyft_call_helper("flops_tracker._rates", "synchronise", "(O)", self->estimator);
        if (done == NULL) {
            return -1;
        }
        Py_DECREF(done);
    }
    ft_status status = ft_epochs_end(&self->run, complete, loss, pyft_tracker_now(self), epoch);
    if (status != FT_OK) {
        pyft_raise(status, "ending the epoch");
        return -1;
    }
    done = pyft_call_helper("flops_tracker._rates", "note_epoch", "(OId)", self,
                            (unsigned int)epoch->epoch, epoch->train_time_s);
    Py_XDECREF(done);
    return done == NULL ? -1 : 0;
}
