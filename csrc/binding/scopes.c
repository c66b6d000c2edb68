/* The module in which an operation runs: a stack of open calls in forward, intervals of autograd's
 * sequence numbers in backward. */
/* SPDX-License-Identifier: MIT */
#include "counting.h"

#include <string.h>

enum { FULL_RING = 1 << 20 };

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
    if (PyThread_get_thread_ident() != thread->id) {
        return 0; /* autograd's own thread, whose nodes have numbers of their own */
    }
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

uint64_t
pyft_scope_last(const pyft_thread *thread)
{
    return thread->interval_count == 0 ? 0 : interval_at(thread, thread->interval_count - 1)->start;
}

bool
pyft_scope_is_one_place(const pyft_thread *thread)
{
    return thread->interval_count <= 1 &&
           (thread->interval_count == 0 || interval_at(thread, 0)->module == 0);
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

static int
reserve_scope(pyft_thread *thread)
{
    if (thread->depth < thread->scope_capacity) {
        return 0;
    }
    int capacity = thread->scope_capacity == 0 ? 64 : 2 * thread->scope_capacity;
    pyft_scope *scopes = PyMem_Realloc(thread->scopes, (size_t)capacity * sizeof *scopes);
    if (scopes == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    thread->scopes = scopes;
    thread->scope_capacity = capacity;
    return 0;
}

static void
pop_scope(pyft_thread *thread)
{
    pyft_scope scope = thread->scopes[--thread->depth];
    thread->units -= scope.unit;
    Py_XDECREF(scope.frame);
}

void
pyft_scope_clear(pyft_thread *thread)
{
    while (thread->depth > 0) {
        pop_scope(thread);
    }
}

/* A frame that runs can't be cleared; one that is over can, and is of no more use. */
static bool
is_over(PyObject *frame)
{
    PyObject *cleared = frame == NULL ? NULL : PyObject_CallMethod(frame, "clear", NULL);
    PyErr_Clear();
    Py_XDECREF(cleared);
    return cleared != NULL;
}

void
pyft_scope_cut(pyft_thread *thread)
{
    while (thread->depth > 0 && is_over(thread->scopes[thread->depth - 1].frame)) {
        pop_scope(thread);
    }
}

/* The exception that is being handled, to see whether it is another one later; borrowed. */
static PyObject *
handled_exception(void)
{
    PyObject *handled = PyErr_GetHandledException();
    Py_XDECREF(handled);
    return handled;
}

int
pyft_scope_enter(pyft_thread *thread, PyObject *module)
{
    pyft_modules *modules = &thread->counter->modules;
    const pyft_torch *torch = &thread->counter->state->counting->torch;
    long long known = pyft_modules_known(modules, module);
    uint32_t number = known < 0 ? 0 : (uint32_t)known;
    if (thread->depth > 0 &&
        (known < 0 || modules->items[number].parent != pyft_scope_of_forward(thread))) {
        pyft_scope_cut(thread);
        known = -1; /* what was let go may have run anything */
    }
    if (known < 0 &&
        pyft_modules_find(modules, module, pyft_scope_of_forward(thread), &number) < 0) {
        return -1;
    }
    bool unit = pyft_ruled_class(&thread->counter->state->counting->ops, module) != NULL;
    long long task = pyft_torch_number(torch->graph_task);
    long long sequence = pyft_torch_number(torch->sequence);
    if (ft_tally_visit(&thread->counter->tally, number) != FT_OK) {
        PyErr_NoMemory();
        return -1;
    }
    if (task == -2 || sequence == -2 || reserve_scope(thread) < 0 ||
        pyft_scope_note(thread, (uint64_t)sequence, number) < 0) {
        return -1;
    }
    /* Before there is a place for it: making it may collect garbage, which visits all places. */
    PyObject *frame = Py_XNewRef((PyObject *)PyEval_GetFrame());
    thread->scopes[thread->depth] = (pyft_scope){
        .module = number,
        .unit = unit,
        .graph_task = (long)task,
        .object = module,
        .handled = handled_exception(),
        .frame = frame,
    };
    thread->depth++;
    thread->units += unit;
    thread->after_backward = false;
    return 0;
}

/* Down to its own module: hooks of inner ones are skipped by KeyboardInterrupt and the like. */
int
pyft_scope_leave(pyft_thread *thread, PyObject *module, PyObject *args, PyObject *kwargs,
                 PyObject *output)
{
    const pyft_torch *torch = &thread->counter->state->counting->torch;
    int depth = thread->depth;
    while (depth > 0 && thread->scopes[depth - 1].object != module) {
        depth--;
    }
    if (depth == 0) {
        return 0; /* it was open before the counter was */
    }
    pyft_scope own = thread->scopes[depth - 1];
    bool raised = output == Py_None && handled_exception() != own.handled;
    while (thread->depth > depth) {
        pop_scope(thread);
    }
    int counted = 0;
    thread->units -= own.unit;
    thread->scopes[depth - 1].unit = false; /* what the rule itself does is not its inside */
    if (own.unit && thread->units == 0) {
        counted = pyft_count_unit(thread, module, args, kwargs, raised ? NULL : output);
    }
    if (thread->depth == depth) {
        pop_scope(thread);
    }
    if (counted < 0) {
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
