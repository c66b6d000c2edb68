/* Modules by number, and the module in which an operation runs: a stack of open calls in forward,
 * intervals of autograd's sequence numbers in backward. */
/* SPDX-License-Identifier: MIT */
#include "counting.h"

#include <string.h>

enum { FULL_RING = 1 << 20 };

/* ---- the table of modules ---- */

static int
reserve_entry(pyft_modules *modules)
{
    if (modules->count < modules->capacity) {
        return 0;
    }
    uint32_t capacity = modules->capacity == 0 ? 64 : 2 * modules->capacity;
    pyft_module_entry *items = PyMem_Realloc(modules->items, capacity * sizeof *items);
    if (items == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    modules->items = items;
    modules->capacity = capacity;
    return 0;
}

/* Takes the references that the entry holds, also where it fails. */
static int
append_entry(pyft_modules *modules, PyObject *module, pyft_module_entry *entry)
{
    PyObject *key = PyLong_FromVoidPtr(module);
    PyObject *number = PyLong_FromUnsignedLong(modules->count);
    int result = -1;
    if (key != NULL && number != NULL && entry->name != NULL && entry->class_name != NULL &&
        entry->reference != NULL && entry->aliases != NULL && reserve_entry(modules) == 0 &&
        PyDict_SetItem(modules->numbers, key, number) == 0) {
        modules->items[modules->count++] = *entry;
        result = 0;
    }
    else {
        Py_XDECREF(entry->reference);
        Py_XDECREF(entry->name);
        Py_XDECREF(entry->class_name);
        Py_XDECREF(entry->aliases);
    }
    Py_XDECREF(key);
    Py_XDECREF(number);
    return result;
}

static PyObject *
joined(PyObject *root, PyObject *path)
{
    return PyUnicode_GET_LENGTH(path) == 0 ? Py_NewRef(root)
                                           : PyUnicode_FromFormat("%U.%U", root, path);
}

/* The class's name; with a number after it from the second root of that class on. */
static PyObject *
root_name(pyft_modules *modules, PyObject *module)
{
    PyObject *name = PyObject_GetAttrString((PyObject *)Py_TYPE(module), "__name__");
    PyObject *known = name == NULL ? NULL : PyDict_GetItemWithError(modules->roots, name);
    long before = known == NULL ? 0 : PyLong_AsLong(known);
    PyObject *now = PyErr_Occurred() ? NULL : PyLong_FromLong(before + 1);
    if (now == NULL || PyDict_SetItem(modules->roots, name, now) < 0) {
        Py_CLEAR(name);
    }
    Py_XDECREF(now);
    if (name != NULL && before > 0) {
        Py_SETREF(name, PyUnicode_FromFormat("%U (%ld)", name, before + 1));
    }
    return name;
}

static int
add_row(pyft_modules *modules, PyObject *row, PyObject *root, uint32_t base)
{
    PyObject *module, *path, *aliases;
    int parent, own_parameters, has_forward;
    if (!PyArg_ParseTuple(row, "OUiOpp", &module, &path, &parent, &aliases, &own_parameters,
                          &has_forward)) {
        return -1;
    }
    pyft_module_entry entry = {
        .reference = PyWeakref_NewRef(module, NULL),
        .name = joined(root, path),
        .class_name = PyObject_GetAttrString((PyObject *)Py_TYPE(module), "__name__"),
        .aliases = Py_NewRef(aliases),
        .parent = parent < 0 ? 0 : base + (uint32_t)parent,
        .own_parameters = own_parameters,
        .has_forward = has_forward,
    };
    return append_entry(modules, module, &entry);
}

int
pyft_modules_add_tree(pyft_modules *modules, PyObject *module)
{
    PyObject *rows = pyft_call_helper("flops_tracker._operations", "module_tree", "(O)", module);
    PyObject *root = rows == NULL ? NULL : root_name(modules, module);
    uint32_t base = modules->count;
    int result = root == NULL ? -1 : 0;
    for (Py_ssize_t i = 0; result == 0 && i < PyList_GET_SIZE(rows); i++) {
        result = add_row(modules, PyList_GET_ITEM(rows, i), root, base);
    }
    Py_XDECREF(rows);
    Py_XDECREF(root);
    return result;
}

static PyObject *
number_of(const pyft_modules *modules, PyObject *module)
{
    PyObject *key = PyLong_FromVoidPtr(module);
    PyObject *number = key == NULL ? NULL : PyDict_GetItemWithError(modules->numbers, key);
    Py_XDECREF(key);
    return number;
}

int
pyft_modules_find(pyft_modules *modules, PyObject *module, uint32_t *number)
{
    PyObject *known = number_of(modules, module);
    if (known != NULL) {
        *number = (uint32_t)PyLong_AsUnsignedLong(known);
        if (PyWeakref_GetObject(modules->items[*number].reference) == module) {
            return 0;
        }
    }
    /* Never seen, or an address that another module had: a root of its own. */
    if (PyErr_Occurred() || pyft_modules_add_tree(modules, module) < 0 ||
        (known = number_of(modules, module)) == NULL) {
        return -1;
    }
    *number = (uint32_t)PyLong_AsUnsignedLong(known);
    return 0;
}

int
pyft_modules_init(pyft_modules *modules)
{
    pyft_module_entry outside = {0};
    modules->numbers = PyDict_New();
    modules->roots = PyDict_New();
    outside.reference = Py_NewRef(Py_None);
    outside.name = PyUnicode_FromString("");
    outside.class_name = PyUnicode_FromString("");
    outside.aliases = PyList_New(0);
    return modules->numbers == NULL || modules->roots == NULL
               ? -1
               : append_entry(modules, Py_None, &outside);
}

void
pyft_modules_clear(pyft_modules *modules)
{
    for (uint32_t i = 0; i < modules->count; i++) {
        Py_CLEAR(modules->items[i].reference);
        Py_CLEAR(modules->items[i].name);
        Py_CLEAR(modules->items[i].class_name);
        Py_CLEAR(modules->items[i].aliases);
    }
    PyMem_Free(modules->items);
    Py_CLEAR(modules->numbers);
    Py_CLEAR(modules->roots);
    memset(modules, 0, sizeof *modules);
}

/* ---- intervals of sequence numbers ---- */

static pyft_interval *
interval_at(const pyft_thread *thread, uint64_t index)
{
    return &thread->intervals[(thread->interval_first + index) % thread->interval_capacity];
}

static int
grow_intervals(pyft_thread *thread)
{
    uint64_t capacity = thread->interval_capacity == 0 ? 1024 : 2 * thread->interval_capacity;
    pyft_interval *intervals =
        PyMem_Realloc(thread->intervals, (size_t)capacity * sizeof *intervals);
    if (intervals == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    thread->intervals = intervals; /* first is 0: a ring turns only at its full size */
    thread->interval_capacity = capacity;
    return 0;
}

int
pyft_scope_note(pyft_thread *thread, uint64_t start, uint32_t module)
{
    pyft_interval *last =
        thread->interval_count == 0 ? NULL : interval_at(thread, thread->interval_count - 1);
    if (last != NULL && (last->module == module || last->start >= start)) {
        last->module = module;
        return 0;
    }
    if (thread->interval_count == thread->interval_capacity) {
        if (thread->interval_capacity < FULL_RING) {
            if (grow_intervals(thread) < 0) {
                return -1;
            }
        }
        else {
            thread->interval_first = (thread->interval_first + 1) % thread->interval_capacity;
            thread->interval_count--;
        }
    }
    *interval_at(thread, thread->interval_count++) = (pyft_interval){start, module};
    return 0;
}

/* The module that made the node with this number; the outside for one older than the ring. */
static uint32_t
module_of_sequence(const pyft_thread *thread, uint64_t sequence)
{
    uint64_t low = 0, high = thread->interval_count; /* the last one that starts at or before */
    while (low < high) {
        uint64_t middle = low + (high - low) / 2;
        if (interval_at(thread, middle)->start <= sequence) {
            low = middle + 1;
        }
        else {
            high = middle;
        }
    }
    return low == 0 ? 0 : interval_at(thread, low - 1)->module;
}

int
pyft_scope_of_node(const pyft_thread *thread, const pyft_torch *torch, PyObject *node,
                   uint32_t *module)
{
    *module = 0;
    if (node == Py_None) {
        return 0;
    }
    PyObject *sequence = PyObject_CallMethodNoArgs(node, torch->sequence_name);
    if (sequence == NULL) {
        return -1;
    }
    uint64_t number = PyLong_AsUnsignedLongLongMask(sequence); /* the largest: accumulation */
    Py_DECREF(sequence);
    if (number != UINT64_MAX) {
        *module = module_of_sequence(thread, number);
    }
    return 0;
}

/* ---- the stack of open calls ---- */

int
pyft_scope_enter(pyft_thread *thread, PyObject *module)
{
    const pyft_torch *torch = &thread->counter->state->counting->torch;
    uint32_t number;
    if (pyft_modules_find(&thread->counter->modules, module, &number) < 0) {
        return -1;
    }
    if (thread->depth == thread->scope_capacity) {
        int capacity = thread->scope_capacity == 0 ? 64 : 2 * thread->scope_capacity;
        pyft_scope *scopes = PyMem_Realloc(thread->scopes, (size_t)capacity * sizeof *scopes);
        if (scopes == NULL) {
            PyErr_NoMemory();
            return -1;
        }
        thread->scopes = scopes;
        thread->scope_capacity = capacity;
    }
    long long task = pyft_torch_number(torch->graph_task);
    long long sequence = pyft_torch_number(torch->sequence);
    if (task == -2 || sequence == -2 || pyft_scope_note(thread, (uint64_t)sequence, number) < 0) {
        return -1;
    }
    bool unit = pyft_ruled_class(&thread->counter->state->counting->ops, module) != NULL;
    thread->scopes[thread->depth++] = (pyft_scope){number, unit, (long)task, module};
    thread->units += unit;
    thread->counter->modules.items[number].calls++;
    thread->after_backward = false;
    return 0;
}

/* Down to its own module: hooks of inner ones are skipped by KeyboardInterrupt and the like. */
int
pyft_scope_leave(pyft_thread *thread, PyObject *module, PyObject *args, PyObject *output)
{
    const pyft_torch *torch = &thread->counter->state->counting->torch;
    int depth = thread->depth;
    while (depth > 0 && thread->scopes[depth - 1].object != module) {
        depth--;
    }
    if (depth == 0) {
        return 0; /* it was open before the counter was */
    }
    bool unit = thread->scopes[depth - 1].unit;
    for (; thread->depth >= depth; thread->depth--) {
        thread->units -= thread->scopes[thread->depth - 1].unit;
    }
    /* Within an outer unit nothing counts; and forward that raised has no output. */
    if (unit && thread->units == 0 && output != Py_None &&
        pyft_count_unit(thread, module, args, output) < 0) {
        return -1;
    }
    long long sequence = pyft_torch_number(torch->sequence);
    return sequence == -2
               ? -1
               : pyft_scope_note(thread, (uint64_t)sequence, pyft_scope_of_forward(thread));
}

uint32_t
pyft_scope_of_forward(const pyft_thread *thread)
{
    return thread->depth == 0 ? 0 : thread->scopes[thread->depth - 1].module;
}

void
pyft_thread_free(pyft_thread *thread)
{
    PyMem_Free(thread->scopes);
    PyMem_Free(thread->intervals);
    Py_XDECREF(thread->mode);
    PyMem_Free(thread);
}
