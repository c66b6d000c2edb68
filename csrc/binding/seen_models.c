/* What models are made of: their modules and parameters, looked for again where they changed. */
/* SPDX-License-Identifier: MIT */
#include "steps.h"

#include <string.h>

/* ---- what a model is made of ---- */

/* What was known goes last: a finalizer that it runs may look at models again. */
static void
clear_contents(pyft_root *root)
{
    pyft_root gone = *root;
    PyObject *reference = root->reference;
    memset(root, 0, sizeof *root);
    root->reference = reference;
    for (uint32_t i = 0; i < gone.module_count; i++) {
        pyft_seen_module *module = &gone.modules[i];
        Py_XDECREF(module->module);
        Py_XDECREF(module->dict);
        Py_XDECREF(module->parameters);
        Py_XDECREF(module->buffers);
        Py_XDECREF(module->modules);
        for (int j = 0; j < 4; j++) {
            Py_XDECREF(module->hooks[j]);
        }
    }
    for (uint32_t i = 0; i < gone.parameter_count; i++) {
        Py_XDECREF(gone.parameters[i]);
    }
    for (uint32_t i = 0; i < gone.child_count; i++) {
        Py_XDECREF(gone.children[i]);
    }
    for (uint32_t i = 0; i < gone.buffer_count; i++) {
        Py_XDECREF(gone.buffers[i].reference);
    }
    PyMem_Free(gone.buffers);
    PyMem_Free(gone.modules);
    PyMem_Free(gone.parameters);
    PyMem_Free(gone.children);
}

static void
clear_root(pyft_root *root)
{
    clear_contents(root);
    Py_CLEAR(root->reference);
}

static int
grow(void **block, uint32_t count, uint32_t *capacity, size_t size)
{
    if (count < *capacity) {
        return 0;
    }
    uint32_t more = *capacity == 0 ? 16 : 2 * *capacity;
    void *larger = PyMem_Realloc(*block, more * size);
    if (larger == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    *block = larger;
    *capacity = more;
    return 0;
}

static int
append(PyObject ***block, uint32_t *count, uint32_t *capacity, PyObject *value)
{
    if (grow((void **)block, *count, capacity, sizeof **block) < 0) {
        return -1;
    }
    (*block)[(*count)++] = Py_NewRef(value);
    return 0;
}

static PyObject *
dict_in(PyObject *dict, PyObject *name)
{
    PyObject *found = PyDict_GetItemWithError(dict, name);
    return found != NULL && PyDict_Check(found) ? Py_NewRef(found) : NULL;
}

static int collect(pyft_root *root, const pyft_known *known, PyObject *module, PyObject *met);

static int
collect_members(pyft_root *root, const pyft_known *known, uint32_t number, PyObject *met)
{
    pyft_seen_module *seen = &root->modules[number];
    PyObject *key, *value, *children = seen->modules;
    Py_ssize_t position = 0;
    seen->parameter_start = root->parameter_count;
    while (PyDict_Next(seen->parameters, &position, &key, &value)) {
        if (append(&root->parameters, &root->parameter_count, &root->parameter_capacity, value) <
            0) {
            return -1;
        }
    }
    seen->parameter_count = root->parameter_count - seen->parameter_start;
    seen->buffer_start = root->buffer_count;
    for (position = 0; PyDict_Next(seen->buffers, &position, &key, &value);) {
        if (grow((void **)&root->buffers, root->buffer_count, &root->buffer_capacity,
                 sizeof *root->buffers) < 0) {
            return -1;
        }
        root->buffers[root->buffer_count++] = (pyft_seen_buffer){.reference = NULL};
    }
    seen->buffer_count = root->buffer_count - seen->buffer_start;
    seen->child_start = root->child_count;
    for (position = 0; PyDict_Next(children, &position, &key, &value);) {
        if (append(&root->children, &root->child_count, &root->child_capacity, value) < 0) {
            return -1;
        }
    }
    seen->child_count = root->child_count - seen->child_start;
    uint32_t start = seen->child_start, end = root->child_count;
    for (uint32_t i = start; i < end; i++) { /* `seen` may move from here on */
        if (collect(root, known, root->children[i], met) < 0) {
            return -1;
        }
    }
    return 0;
}

/* By way of `__dict__`: properties and parametrizations must not run. */
static int
collect(pyft_root *root, const pyft_known *known, PyObject *module, PyObject *met)
{
    PyObject *address = PyLong_FromVoidPtr(module);
    int is_met = address == NULL ? -1 : PySet_Contains(met, address);
    if (is_met == 0 && PySet_Add(met, address) < 0) {
        is_met = -1;
    }
    Py_XDECREF(address);
    if (is_met != 0 || module == Py_None) {
        return is_met < 0 ? -1 : 0;
    }
    if (grow((void **)&root->modules, root->module_count, &root->module_capacity,
             sizeof *root->modules) < 0) {
        return -1;
    }
    PyObject *dict = PyObject_GenericGetDict(module, NULL);
    if (dict == NULL) {
        PyErr_Clear();
        return 0; /* no module */
    }
    pyft_seen_module seen = {.dict = dict};
    PyObject *const names[] = {known->hooks, known->pre_hooks, known->backward_hooks,
                               known->backward_pre_hooks};
    seen.parameters = dict_in(dict, known->parameters);
    seen.buffers = dict_in(dict, known->buffers);
    seen.modules = dict_in(dict, known->modules);
    for (int i = 0; i < 4; i++) {
        seen.hooks[i] = dict_in(dict, names[i]);
    }
    PyErr_Clear();
    if (seen.parameters == NULL || seen.buffers == NULL ||
        seen.modules == NULL) { /* __init__ was not called, or a script */
        Py_XDECREF(seen.parameters);
        Py_XDECREF(seen.buffers);
        Py_XDECREF(seen.modules);
        for (int i = 0; i < 4; i++) {
            Py_XDECREF(seen.hooks[i]);
        }
        Py_DECREF(dict);
        return 0;
    }
    seen.module = root->module_count == 0 ? NULL : Py_NewRef(module);
    root->modules[root->module_count++] = seen;
    return collect_members(root, known, root->module_count - 1, met);
}

static int
look_again(pyft_models *models, pyft_root *root, const pyft_known *known, PyObject *module)
{
    models->generation++;
    clear_contents(root);
    PyObject *met = PySet_New(NULL);
    int result = met == NULL ? -1 : collect(root, known, module, met);
    Py_XDECREF(met);
    return result;
}

static bool
are_same(PyObject *dict, PyObject *const *values, uint32_t count)
{
    if ((Py_ssize_t)count != PyDict_GET_SIZE(dict)) {
        return false;
    }
    PyObject *key, *value;
    Py_ssize_t position = 0;
    for (uint32_t i = 0; PyDict_Next(dict, &position, &key, &value); i++) {
        if (value != values[i]) {
            return false;
        }
    }
    return true;
}

static bool
is_as_known(const pyft_root *root)
{
    for (uint32_t i = 0; i < root->module_count; i++) {
        const pyft_seen_module *seen = &root->modules[i];
        if (!are_same(seen->parameters, root->parameters + seen->parameter_start,
                      seen->parameter_count) ||
            (Py_ssize_t)seen->buffer_count != PyDict_GET_SIZE(seen->buffers) ||
            !are_same(seen->modules, root->children + seen->child_start, seen->child_count)) {
            return false;
        }
    }
    return root->module_count > 0;
}

int
pyft_models_add(pyft_models *models, PyObject *module)
{
    for (int i = 0; i < models->root_count; i++) {
        const pyft_root *root = &models->roots[i];
        bool inside = PyWeakref_GetObject(root->reference) == module;
        for (uint32_t j = 0; j < root->module_count && !inside; j++) {
            inside = root->modules[j].module == module;
        }
        if (inside) {
            return 0;
        }
    }
    if (models->root_count == PYFT_MAX_ROOTS) {
        return 0; /* what they have of their own is left to the audits */
    }
    PyObject *reference = PyWeakref_NewRef(module, NULL);
    if (reference == NULL) {
        return -1;
    }
    models->roots[models->root_count++] = (pyft_root){.reference = reference};
    models->generation++;
    return 1;
}

int
pyft_models_visit(const pyft_models *models, visitproc visit, void *arg)
{
    for (int i = 0; i < models->root_count; i++) {
        const pyft_root *root = &models->roots[i];
        for (uint32_t j = 0; j < root->module_count; j++) {
            Py_VISIT(root->modules[j].module);
            Py_VISIT(root->modules[j].dict);
            Py_VISIT(root->modules[j].parameters);
            Py_VISIT(root->modules[j].buffers);
            Py_VISIT(root->modules[j].modules);
            for (int k = 0; k < 4; k++) {
                Py_VISIT(root->modules[j].hooks[k]);
            }
        }
        for (uint32_t j = 0; j < root->parameter_count; j++) {
            Py_VISIT(root->parameters[j]);
        }
        for (uint32_t j = 0; j < root->child_count; j++) {
            Py_VISIT(root->children[j]);
        }
    }
    return 0;
}

void
pyft_models_clear(pyft_models *models)
{
    while (models->root_count > 0) {
        clear_root(&models->roots[--models->root_count]);
    }
}

static int
look_at_all(pyft_models *models, const pyft_known *known)
{
    for (int i = models->root_count - 1; i >= 0; i--) {
        pyft_root *root = &models->roots[i];
        PyObject *module = PyWeakref_GetObject(root->reference);
        if (module == Py_None) { /* it is gone, and what it was made of is not to be kept by us */
            pyft_root gone = *root;
            *root = models->roots[--models->root_count];
            memset(&models->roots[models->root_count], 0, sizeof *root);
            models->generation++;
            clear_root(&gone);
        }
        else if (!is_as_known(root)) {
            Py_INCREF(module);
            int result = look_again(models, root, known, module);
            Py_DECREF(module);
            if (result < 0) {
                return -1;
            }
        }
    }
    return 0;
}

int
pyft_models_look(pyft_models *models, const pyft_known *known)
{
    if (models->looking) {
        PyErr_SetString(PyExc_RuntimeError, "a step begins or ends where another one just does");
        return -1;
    }
    models->looking = true;
    int result = look_at_all(models, known);
    models->looking = false;
    return result;
}
