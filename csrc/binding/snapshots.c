/* The state of models before and after a step: flags, and what backward did to gradients. */
/* SPDX-License-Identifier: MIT */
#include "steps.h"

#include <string.h>

static bool
is_true(PyGetSetDef *getter, PyObject *object)
{
    PyObject *value = getter->get(object, getter->closure);
    PyErr_Clear(); /* a subclass that does not say */
    Py_XDECREF(value);
    return value == Py_True;
}

static int64_t
version_of(const pyft_known *known, PyObject *tensor)
{
    PyObject *value = known->version->get(tensor, known->version->closure);
    int64_t version = value == NULL ? 0 : PyLong_AsLongLong(value);
    PyErr_Clear(); /* tensors of inference have none */
    Py_XDECREF(value);
    return version;
}

/* An address may have been that of a gradient that is gone. parameter: NULL where there is none. */
static int
take_sample(pyft_snapshot *snapshot, int number, const pyft_known *known, PyObject *parameter,
            PyObject *grad, const pyft_snapshot *before)
{
    PyObject *kept = before == NULL ? NULL : before->samples[number].gradient;
    PyObject **place = &snapshot->samples[number].gradient;
    bool same = kept != NULL && grad != NULL && PyWeakref_GetObject(kept) == grad;
    snapshot->samples[number].same = same;
    snapshot->samples[number].version = parameter == NULL ? 0 : version_of(known, parameter);
    if (grad == NULL) {
        Py_CLEAR(*place);
        return 0;
    }
    Py_XSETREF(*place, same ? Py_NewRef(kept) : PyWeakref_NewRef(grad, NULL));
    return *place == NULL ? -1 : 0;
}

/* Part of the sum of all: of which gradient it is, and that it is there, is in it. */
static uint64_t
weighed_version(const pyft_known *known, PyObject *grad, uint64_t number)
{
    return pyft_mixed(number, 1) * ((uint64_t)version_of(known, grad) + 1);
}

/* number: of all; sample: its number among the samples, or -1. */
static int
take_parameter(pyft_snapshot *snapshot, const pyft_known *known, PyObject *parameter,
               uint64_t number, int sample, const pyft_snapshot *before)
{
    bool wanted = false, has_grad = false;
    PyObject *grad = NULL;
    if (parameter != Py_None) {
        wanted = is_true(known->requires_grad, parameter);
        grad = known->grad->get(parameter, known->grad->closure);
        PyErr_Clear();
        has_grad = grad != NULL && grad != Py_None;
    }
    pyft_digest_add(&snapshot->flags, wanted);
    pyft_digest_add(&snapshot->gradients, has_grad);
    if (has_grad) {
        snapshot->versions += weighed_version(known, grad, number);
        snapshot->has_gradients = true;
    }
    int result = sample < 0
                     ? 0
                     : take_sample(snapshot, sample, known, parameter == Py_None ? NULL : parameter,
                                   has_grad ? grad : NULL, before);
    Py_XDECREF(grad);
    return result;
}

/* Which ones, by their code: one that is registered anew does what the one before it did. */
static void
add_hooks(pyft_snapshot *snapshot, int kind, PyObject *hooks)
{
    PyObject *key, *value;
    Py_ssize_t position = 0;
    while (hooks != NULL && PyDict_GET_SIZE(hooks) > 0 &&
           PyDict_Next(hooks, &position, &key, &value)) {
        PyObject *function = PyMethod_Check(value) ? PyMethod_GET_FUNCTION(value) : value;
        PyObject *code = PyFunction_Check(function) ? PyFunction_GET_CODE(function)
                                                    : (PyObject *)Py_TYPE(function);
        pyft_digest_add(&snapshot->flags, (uint64_t)kind);
        pyft_digest_add_pointer(&snapshot->flags, code);
    }
}

/* The shapes of buffers: what one that is still the same object has is known. */
static int
add_buffers(pyft_snapshot *snapshot, const pyft_root *root, const pyft_seen_module *seen,
            const pyft_known *known)
{
    PyObject *key, *value;
    Py_ssize_t position = 0;
    for (uint32_t i = 0; i < seen->buffer_count; i++) {
        pyft_seen_buffer *buffer = &root->buffers[seen->buffer_start + i];
        if (!PyDict_Next(seen->buffers, &position, &key, &value)) {
            return 0;
        }
        if (buffer->reference == NULL || PyWeakref_GetObject(buffer->reference) != value) {
            pyft_digest digest = PYFT_DIGEST_START;
            Py_INCREF(value); /* a subclass may run code of its own */
            pyft_digest_shape(&digest, known, value);
            buffer->shape = digest.low;
            bool there = value != Py_None;
            Py_XSETREF(buffer->reference, there ? PyWeakref_NewRef(value, NULL) : NULL);
            Py_DECREF(value);
            if (there && buffer->reference == NULL) {
                return -1;
            }
        }
        pyft_digest_add(&snapshot->flags, buffer->shape);
    }
    return 0;
}

/* What a parameter that stays the same object may have another one of. */
static void
add_looks(pyft_snapshot *snapshot, const pyft_known *known, PyObject *parameter)
{
    if (parameter == Py_None) {
        return;
    }
    pyft_digest_shape(&snapshot->shapes, known, parameter);
    PyObject *hooks = known->hooked->get(parameter, known->hooked->closure);
    PyErr_Clear();
    if (hooks != NULL && PyDict_Check(hooks)) {
        add_hooks(snapshot, 4, hooks);
    }
    Py_XDECREF(hooks);
}

static uint64_t
number_of(int root, uint32_t parameter)
{
    return (uint64_t)root << 32 | parameter;
}

static int
take_root(pyft_snapshot *snapshot, const pyft_root *root, int number, const pyft_known *known,
          const pyft_snapshot *before)
{
    for (uint32_t i = 0; i < root->module_count; i++) {
        const pyft_seen_module *seen = &root->modules[i];
        PyObject *training = PyDict_GetItemWithError(seen->dict, known->training);
        pyft_digest_add(&snapshot->flags, training == Py_True);
        for (int j = 0; j < 4; j++) {
            add_hooks(snapshot, j, seen->hooks[j]);
        }
        if (add_buffers(snapshot, root, seen, known) < 0) {
            return -1;
        }
    }
    uint32_t stride = root->parameter_count / PYFT_SAMPLES + 1;
    uint32_t sampled = (root->parameter_count + stride - 1) / stride;
    for (uint32_t i = sampled; i < PYFT_SAMPLES; i++) {
        take_sample(snapshot, number * PYFT_SAMPLES + (int)i, known, NULL, NULL, NULL);
    }
    for (uint32_t i = 0; i < root->parameter_count; i++) {
        int sample = i % stride == 0 ? number * PYFT_SAMPLES + (int)(i / stride) : -1;
        if (take_parameter(snapshot, known, root->parameters[i], number_of(number, i), sample,
                           before) < 0) {
            return -1;
        }
    }
    if (root->parameter_count > 0) { /* model.half(), p.data = ... */
        add_looks(snapshot, known, root->parameters[0]);
    }
    return 0;
}

int
pyft_snapshot_take(pyft_snapshot *snapshot, pyft_models *models, const pyft_known *known,
                   const pyft_snapshot *before)
{
    snapshot->valid = false;
    snapshot->flags = snapshot->gradients = snapshot->shapes = PYFT_DIGEST_START;
    snapshot->versions = 0;
    snapshot->has_gradients = false;
    if (pyft_models_look(models, known) < 0) {
        return -1;
    }
    before = before != NULL && before->generation == models->generation ? before : NULL;
    for (int i = 0; i < models->root_count; i++) {
        if (take_root(snapshot, &models->roots[i], i, known, before) < 0) {
            return -1;
        }
    }
    pyft_digest_add(&snapshot->flags, snapshot->shapes.low);
    snapshot->sample_count = models->root_count * PYFT_SAMPLES;
    snapshot->generation = models->generation;
    snapshot->valid = true;
    return 0;
}

/* A gradient has its version from when it was made, and one more for each change in place: where
 * backward adds to it, where it is clipped, where it is set to zero. A parameter's says whether
 * something changed it, an optimizer or code of the user's. */
void
pyft_snapshot_change(const pyft_snapshot *before, const pyft_snapshot *after, ft_step_sign *sign)
{
    sign->rest = pyft_mixed(after->flags.low, after->gradients.low);
    sign->fine = 0;
    sign->fresh = before->valid && after->valid && before->generation == after->generation;
    if (!sign->fresh) {
        sign->rest = pyft_mixed(sign->rest, UINT64_MAX); /* other models than before */
        return;
    }
    for (int i = 0; i < after->sample_count; i++) {
        int64_t changes = after->samples[i].version - before->samples[i].version;
        bool goes_on = after->samples[i].same;
        sign->fresh = sign->fresh && !goes_on;
        sign->rest = pyft_mixed(sign->rest, (uint64_t)goes_on << 1 | (changes != 0));
        sign->fine = pyft_mixed(sign->fine, (uint64_t)changes);
    }
    /* Gradients that were there before and are gone say nothing of the step. */
    sign->fine += after->versions - (sign->fresh ? 0 : before->versions);
}

uint64_t
pyft_gradient_versions(const pyft_models *models, const pyft_known *known)
{
    uint64_t sum = 0;
    for (int i = 0; i < models->root_count; i++) {
        const pyft_root *root = &models->roots[i];
        for (uint32_t j = 0; j < root->parameter_count; j++) {
            PyObject *grad = root->parameters[j] == Py_None
                                 ? NULL
                                 : known->grad->get(root->parameters[j], known->grad->closure);
            PyErr_Clear();
            sum +=
                grad == NULL || grad == Py_None ? 0 : weighed_version(known, grad, number_of(i, j));
            Py_XDECREF(grad);
        }
    }
    return sum;
}

bool
pyft_snapshot_equal(const pyft_snapshot *before, const pyft_snapshot *after)
{
    bool equal = before->valid && after->valid && before->generation == after->generation &&
                 before->versions == after->versions && before->flags.low == after->flags.low &&
                 before->gradients.low == after->gradients.low;
    for (int i = 0; i < after->sample_count && equal; i++) {
        equal = after->samples[i].version == before->samples[i].version &&
                (after->samples[i].same || after->samples[i].gradient == NULL);
    }
    return equal;
}

void
pyft_snapshot_clear(pyft_snapshot *snapshot)
{
    for (size_t i = 0; i < FT_COUNT_OF(snapshot->samples); i++) {
        Py_CLEAR(snapshot->samples[i].gradient);
    }
    snapshot->valid = false;
}
