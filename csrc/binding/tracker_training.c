/* What a tracker trains: binding, running all epochs, and the total before any of them. */
/* SPDX-License-Identifier: MIT */
#include "epochs.h"

static PyObject *
bind(pyft_tracker *self, const char *module, const char *name, PyObject *args, PyObject *kwargs)
{
    PyObject *result = NULL, *bound = NULL, *function = NULL, *all = NULL, *first = NULL;
    if (self->training_now) {
        PyErr_SetString(PyExc_RuntimeError, "this tracker is training; bind before or after");
        return NULL;
    }
    if (pyft_tracker_check(self) < 0) {
        return NULL;
    }
    PyObject *helper = PyImport_ImportModule(module);
    if (helper == NULL || (function = PyObject_GetAttrString(helper, name)) == NULL ||
        (first = PyTuple_Pack(1, self->estimator)) == NULL ||
        (all = PySequence_Concat(first, args)) == NULL ||
        (bound = PyObject_Call(function, all, kwargs)) == NULL || pyft_tracker_prepare(self) < 0) {
        goto done;
    }
    Py_XSETREF(self->training, Py_NewRef(bound));
    result = Py_NewRef((PyObject *)self);
done:
    Py_XDECREF(helper);
    Py_XDECREF(function);
    Py_XDECREF(first);
    Py_XDECREF(all);
    Py_XDECREF(bound);
    return result;
}

PyObject *
pyft_tracker_torch_bind(PyObject *self, PyObject *args, PyObject *kwargs)
{
    return bind((pyft_tracker *)self, "flops_tracker._torch_training", "torch_bind", args, kwargs);
}

PyObject *
pyft_tracker_sklearn_bind(PyObject *self, PyObject *args, PyObject *kwargs)
{
    return bind((pyft_tracker *)self, "flops_tracker._sklearn_training", "sklearn_bind", args,
                kwargs);
}

PyObject *
pyft_tracker_call(PyObject *self, PyObject *args, PyObject *kwargs)
{
    return pyft_epochs_start((pyft_tracker *)self, args, kwargs, AT_EPOCH);
}

PyObject *
pyft_tracker_run(PyObject *self, PyObject *args, PyObject *kwargs)
{
    PyObject *iterator = pyft_epochs_start((pyft_tracker *)self, args, kwargs, 0);
    PyObject *item = NULL;
    while (iterator != NULL && (item = PyIter_Next(iterator)) != NULL) {
        Py_DECREF(item);
    }
    Py_XDECREF(iterator);
    return PyErr_Occurred() ? NULL : pyft_from_u128(((pyft_tracker *)self)->run.ledger.total);
}

static int
add_estimate(pyft_tracker *self, PyObject *pair, uint64_t epochs, ft_u128 *total)
{
    unsigned long long size, times;
    ft_u128 flops;
    if (!PyArg_ParseTuple(pair, "KK", &size, &times) ||
        pyft_flops_for_batch(self->estimator, self->estimator_in_c, size, &flops) < 0) {
        return -1;
    }
    flops = ft_u128_multiply(ft_u128_multiply(flops, ft_u128_of(times)), ft_u128_of(epochs));
    *total = ft_u128_add(*total, flops);
    return 0;
}

/* The same of a pair of FLOPs and how often a step costs them. */
static int
add_steps(PyObject *pair, uint64_t epochs, ft_u128 *total)
{
    PyObject *given;
    unsigned long long times;
    ft_u128 flops;
    if (!PyArg_ParseTuple(pair, "OK", &given, &times) ||
        pyft_to_u128(given, "FLOPs of a step", &flops) < 0) {
        return -1;
    }
    flops = ft_u128_multiply(ft_u128_multiply(flops, ft_u128_of(times)), ft_u128_of(epochs));
    *total = ft_u128_add(*total, flops);
    return 0;
}

/* A number, or whatever else run takes that has a length. */
static int
count_epochs(PyObject *epochs, uint64_t *count)
{
    PyObject *number = pyft_epoch_number(epochs);
    Py_ssize_t length = 0;
    if (number == NULL && !PyErr_Occurred() && (length = PyObject_Size(epochs)) < 0 &&
        PyErr_ExceptionMatches(PyExc_TypeError)) {
        PyErr_Format(PyExc_TypeError,
                     "estimate needs a number of epochs or something with a length, not %R",
                     epochs);
    }
    *count = (uint64_t)length;
    int result = PyErr_Occurred() ? -1 : number == NULL ? 0 : pyft_to_u64(number, "epochs", count);
    Py_XDECREF(number);
    return result;
}

PyObject *
pyft_tracker_estimate(PyObject *object, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"epochs", NULL};
    pyft_tracker *self = (pyft_tracker *)object;
    PyObject *argument;
    uint64_t epochs;
    ft_u128 total = FT_U128_ZERO;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O:estimate", names, &argument)) {
        return NULL;
    }
    if (self->training == NULL) {
        PyErr_SetString(PyExc_RuntimeError,
                        "estimate needs the batches: call torch_bind(model, "
                        "optimizer, ...) or sklearn_bind(clf, X, y, ...) first");
        return NULL;
    }
    if (count_epochs(argument, &epochs) < 0) {
        return NULL;
    }
    PyObject *steps = PyObject_CallMethod(self->training, "batch_costs", NULL);
    bool known = steps != Py_None; /* else the estimator knows by the size of a batch */
    if (!known) {
        Py_SETREF(steps, PyObject_CallMethod(self->training, "batch_sizes", NULL));
    }
    PyObject *list = steps == NULL ? NULL : PySequence_Fast(steps, "batch_sizes");
    int result = list == NULL ? -1 : 0;
    for (Py_ssize_t i = 0; result == 0 && i < PySequence_Fast_GET_SIZE(list); i++) {
        PyObject *pair = PySequence_Fast_GET_ITEM(list, i);
        result = known ? add_steps(pair, epochs, &total) : add_estimate(self, pair, epochs, &total);
    }
    Py_XDECREF(steps);
    Py_XDECREF(list);
    return result < 0 ? NULL : pyft_from_u128(total);
}
