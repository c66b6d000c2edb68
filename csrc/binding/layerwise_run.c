/* The dry run of a layerwise estimator, and how its counts scale to a batch. */
/* SPDX-License-Identifier: MIT */
#include "layerwise.h"

int
pyft_layerwise_check_idle(const layerwise *self, const char *doing)
{
    if (!self->preparing) {
        return 0;
    }
    PyErr_Format(PyExc_RuntimeError,
                 "%s: the dry run of this estimator is going on (a rule, a hook or a warning uses "
                 "the estimator, or another thread does): wait until prepare() has returned",
                 doing);
    return -1;
}

static bool
has_status(PyObject *layer, const char *wanted)
{
    PyObject *status = PyStructSequence_GetItem(layer, PYFT_LAYER_STATUS);
    return PyUnicode_CompareWithASCIIString(status, wanted) == 0;
}

PyObject *
pyft_layers_with_status(layerwise *self, const char *wanted)
{
    PyObject *layers = Py_NewRef(self->layers), *list = PyList_New(0);
    for (Py_ssize_t i = 0; list != NULL && i < PyTuple_GET_SIZE(layers); i++) {
        PyObject *layer = PyTuple_GET_ITEM(layers, i);
        if (has_status(layer, wanted) && PyList_Append(list, layer) < 0) {
            Py_CLEAR(list);
        }
    }
    Py_DECREF(layers);
    return list;
}

Py_ssize_t
pyft_layers_count(const layerwise *self, const char *wanted, int field)
{
    Py_ssize_t count = 0;
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(self->layers); i++) {
        PyObject *layer = PyTuple_GET_ITEM(self->layers, i);
        bool counts = PyObject_IsTrue(PyStructSequence_GetItem(layer, field)) > 0;
        count += counts && (wanted == NULL || has_status(layer, wanted));
    }
    return count;
}

/* Steals text, which may be NULL with an exception set. */
static int
warn(const pyft_state *state, PyObject *text)
{
    const char *bytes = text == NULL ? NULL : PyUnicode_AsUTF8(text);
    int result = bytes == NULL ? -1 : PyErr_WarnEx(state->uncounted_warning, bytes, 1);
    Py_XDECREF(text);
    return result;
}

static int
warn_of_uncounted(layerwise *self, const pyft_state *state)
{
    PyObject *uncounted = pyft_layers_with_status(self, "uncounted");
    int result = uncounted == NULL ? -1 : 0;
    if (result == 0 && PyList_GET_SIZE(uncounted) > 0) {
        result = warn(state, pyft_call_helper(PYFT_DRY_RUN, "uncounted_message", "(O)", uncounted));
    }
    Py_XDECREF(uncounted);
    return result;
}

/* passes is 2 or more where the pass with twice the batch worked. */
static void
fit_batch(layerwise *self, PyObject *walk, int passes)
{
    ft_u128 once = pyft_walk_total(walk, 0), twice = pyft_walk_total(walk, 1);
    ft_u128 slope = ft_u128_subtract(twice, once);
    self->forward_flops = self->slope = once;
    self->fixed = FT_U128_ZERO;
    if (passes >= 2 && ft_u128_compare(twice, once) >= 0 && ft_u128_compare(slope, once) <= 0) {
        self->slope = slope;
        self->fixed = ft_u128_subtract(once, slope);
    }
}

static int
dry_run(layerwise *self)
{
    pyft_state *state = pyft_state_of(Py_TYPE(self));
    PyObject *root = NULL, *walk = NULL, *result = NULL, *layers = NULL, *how;
    unsigned long long batch;
    int status = -1, passes;
    root = pyft_call_helper("flops_tracker._untouched", "root_of", "(O)", self->model);
    if (state == NULL || root == NULL) {
        goto done;
    }
    walk = PyObject_CallFunction((PyObject *)state->walk_type, "OOIi", root, self->user_rules,
                                 self->classes, (int)self->cnn_only);
    if (walk == NULL) {
        goto done;
    }
    result = pyft_call_helper(PYFT_DRY_RUN, "trace", "(OOOOOi)", walk, root, self->input_example,
                              self->batch_dim, self->device, (int)self->use_eval_mode);
    if (result == NULL || !PyArg_ParseTuple(result, "KiU", &batch, &passes, &how)) {
        goto done;
    }
    layers = pyft_walk_layers(walk);
    if (layers == NULL) {
        goto done;
    }
    self->example_batch = batch;
    fit_batch(self, walk, passes);
    Py_XSETREF(self->layers, Py_NewRef(layers));
    Py_XSETREF(self->dry_run, Py_NewRef(how));
    status = warn_of_uncounted(self, state);
    if (status == 0 && passes == 3 &&
        ft_u128_compare(pyft_walk_total(walk, 1), pyft_walk_total(walk, 2)) != 0) {
        status = warn(state, pyft_call_helper(PYFT_DRY_RUN, "ambiguous_message", "(OO)",
                                              self->input_example, self->batch_dim));
    }
    if (status < 0) {
        Py_CLEAR(self->layers); /* warnings are errors here: nothing is prepared */
    }
done:
    Py_XDECREF(root);
    Py_XDECREF(walk);
    Py_XDECREF(result);
    Py_XDECREF(layers);
    return status;
}

int
pyft_layerwise_prepare(layerwise *self)
{
    if (self->model == NULL) {
        PyErr_Format(PyExc_RuntimeError, "%s.__init__() was not called", Py_TYPE(self)->tp_name);
        return -1;
    }
    if (pyft_layerwise_check_idle(self, "counting") < 0) {
        return -1;
    }
    if (self->layers != NULL) {
        return 0;
    }
    self->preparing = true;
    int status = dry_run(self);
    self->preparing = false;
    return status;
}

int
pyft_layerwise_evaluate(pyft_estimator *estimator, uint64_t batch_size, ft_u128 *flops)
{
    layerwise *self = (layerwise *)estimator;
    if (pyft_layerwise_prepare(self) < 0) {
        return -1;
    }
    ft_u128 scaled = ft_u128_scale(self->slope, batch_size, self->example_batch);
    *flops = ft_u128_scale(ft_u128_add(self->fixed, scaled), self->numerator, self->denominator);
    if (ft_u128_overflowed(*flops)) {
        pyft_raise(FT_OVERFLOW, "scaling to a batch");
        return -1;
    }
    return 0;
}
