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

/* Gradients keep no address: one that is gone may have left it to the next one. */
static int
take_sample(pyft_snapshot *snapshot, int number, PyObject *grad, const pyft_snapshot *before)
{
    PyObject *kept = before == NULL ? NULL : before->samples[number];
    snapshot->same[number] = kept != NULL && PyWeakref_GetObject(kept) == grad;
    if (snapshot->same[number]) {
        Py_XSETREF(snapshot->samples[number], Py_NewRef(kept));
        return 0;
    }
    Py_XSETREF(snapshot->samples[number], PyWeakref_NewRef(grad, NULL));
    return snapshot->samples[number] == NULL ? -1 : 0;
}

static int
take_parameter(pyft_snapshot *snapshot, const pyft_known *known, PyObject *parameter, int sample,
               const pyft_snapshot *before)
{
    int64_t version = -1;
    bool wanted = false;
    if (parameter != Py_None) {
        wanted = is_true(known->requires_grad, parameter);
        PyObject *grad = known->grad->get(parameter, known->grad->closure);
        PyErr_Clear();
        if (grad != NULL && grad != Py_None) {
            version = version_of(known, grad);
            if (sample >= 0 && take_sample(snapshot, sample, grad, before) < 0) {
                Py_DECREF(grad);
                return -1;
            }
        }
        Py_XDECREF(grad);
    }
    if (sample >= 0 && version < 0) {
        Py_CLEAR(snapshot->samples[sample]);
    }
    snapshot->versions[snapshot->count++] = version;
    pyft_digest_add(&snapshot->flags, (uint64_t)(wanted ? 2 : 0) + (version < 0 ? 1 : 0));
    return 0;
}

static int
take_root(pyft_snapshot *snapshot, const pyft_root *root, int number, const pyft_known *known,
          const pyft_snapshot *before)
{
    if (snapshot->count + root->parameter_count > snapshot->capacity) {
        size_t capacity = 2 * ((size_t)snapshot->count + root->parameter_count);
        int64_t *versions = PyMem_Realloc(snapshot->versions, capacity * sizeof *versions);
        snapshot->versions = versions == NULL ? snapshot->versions : versions;
        uint8_t *sample_of = PyMem_Realloc(snapshot->sample_of, capacity * sizeof *sample_of);
        snapshot->sample_of = sample_of == NULL ? snapshot->sample_of : sample_of;
        if (versions == NULL || sample_of == NULL) {
            PyErr_NoMemory();
            return -1;
        }
        snapshot->capacity = (uint32_t)capacity;
    }
    for (uint32_t i = 0; i < root->module_count; i++) {
        const pyft_seen_module *seen = &root->modules[i];
        PyObject *training = PyDict_GetItemWithError(seen->dict, known->training);
        uint64_t hooks = 0;
        for (int j = 0; j < 4; j++) {
            hooks = (hooks << 12) +
                    (seen->hooks[j] == NULL ? 0 : (uint64_t)PyDict_GET_SIZE(seen->hooks[j]));
        }
        pyft_digest_add(&snapshot->flags, hooks << 1 | (training == Py_True));
    }
    uint32_t stride = root->parameter_count / PYFT_SAMPLES + 1;
    for (uint32_t i = 0; i < root->parameter_count; i++) {
        int sample = number * PYFT_SAMPLES + (int)(i / stride);
        bool sampled = i % stride == 0;
        snapshot->sample_of[snapshot->count] = (uint8_t)sample;
        if (take_parameter(snapshot, known, root->parameters[i], sampled ? sample : -1, before) <
            0) {
            return -1;
        }
    }
    if (root->parameter_count > 0 && root->parameters[0] != Py_None) { /* model.half() */
        PyObject *dtype = known->dtype->get(root->parameters[0], known->dtype->closure);
        PyErr_Clear();
        pyft_digest_add_pointer(&snapshot->flags, dtype);
        Py_XDECREF(dtype);
    }
    return 0;
}

int
pyft_snapshot_take(pyft_snapshot *snapshot, pyft_models *models, const pyft_known *known,
                   const pyft_snapshot *before)
{
    snapshot->valid = false;
    snapshot->count = 0;
    snapshot->flags = PYFT_DIGEST_START;
    memset(snapshot->same, 0, sizeof snapshot->same);
    if (pyft_models_look(models, known) < 0) {
        return -1;
    }
    before = before != NULL && before->generation == models->generation ? before : NULL;
    for (int i = 0; i < models->root_count; i++) {
        if (take_root(snapshot, &models->roots[i], i, known, before) < 0) {
            return -1;
        }
    }
    snapshot->sample_count = models->root_count * PYFT_SAMPLES;
    snapshot->generation = models->generation;
    snapshot->valid = true;
    return 0;
}

/* A gradient has its version from when it was made, and one more for each change in place: where
 * backward adds to it, where it is clipped, where it is set to zero. */
void
pyft_snapshot_change(const pyft_snapshot *before, const pyft_snapshot *after, uint64_t *change,
                     uint64_t *fine)
{
    *change = pyft_mixed(after->flags.low, after->flags.high);
    *fine = 0;
    if (!before->valid || !after->valid || before->generation != after->generation) {
        *change = pyft_mixed(*change, UINT64_MAX); /* other models than before */
        return;
    }
    for (int i = 0; i < after->sample_count; i++) {
        *change = pyft_mixed(*change, after->same[i]);
    }
    for (uint32_t i = 0; i < after->count; i++) {
        int64_t first = before->versions[i], last = after->versions[i];
        bool goes_on = first >= 0 && last >= first && after->same[after->sample_of[i]];
        *fine = pyft_mixed(*fine, (uint64_t)(goes_on ? last - first : last) << 1 | goes_on);
    }
}

bool
pyft_snapshot_equal(const pyft_snapshot *before, const pyft_snapshot *after)
{
    bool equal =
        before->valid && after->valid && before->generation == after->generation &&
        before->flags.low == after->flags.low && before->flags.high == after->flags.high &&
        memcmp(before->versions, after->versions, after->count * sizeof *after->versions) == 0;
    for (int i = 0; i < after->sample_count && equal; i++) {
        equal = after->same[i] || after->samples[i] == NULL;
    }
    return equal;
}

void
pyft_snapshot_clear(pyft_snapshot *snapshot)
{
    for (size_t i = 0; i < FT_COUNT_OF(snapshot->samples); i++) {
        Py_CLEAR(snapshot->samples[i]);
    }
    PyMem_Free(snapshot->versions);
    PyMem_Free(snapshot->sample_of);
    memset(snapshot, 0, sizeof *snapshot);
}
