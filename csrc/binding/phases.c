/* The phase of an operation and the module it belongs to, from autograd's and our own state. */
/* SPDX-License-Identifier: MIT */
#include "counting.h"

#include <string.h>

/* ---- optimizer steps: record_function blocks named "Optimizer.step#..." ---- */

int
pyft_step_enter(pyft_thread *thread, const pyft_torch *torch)
{
    if (thread->step_count == PYFT_MAX_STEPS) {
        return 0;
    }
    pyft_scope_cut(thread); /* a step is outside of modules */
    long long task = pyft_torch_number(torch->graph_task);
    if (task == -2) {
        return -1;
    }
    thread->steps[thread->step_count].depth = thread->records;
    thread->steps[thread->step_count++].graph_task = (long)task;
    return 0;
}

int
pyft_record_enter(pyft_thread *thread, PyObject *args, const pyft_torch *torch)
{
    static const char step[] = "Optimizer.step#";
    PyObject *name = PyTuple_GET_SIZE(args) > 0 ? PyTuple_GET_ITEM(args, 0) : Py_None;
    const char *text = PyUnicode_Check(name) ? PyUnicode_AsUTF8(name) : "";
    thread->records++;
    if (text == NULL) {
        return -1;
    }
    return strncmp(text, step, sizeof step - 1) == 0 ? pyft_step_enter(thread, torch) : 0;
}

void
pyft_record_exit(pyft_thread *thread)
{
    if (thread->records == 0) {
        return; /* it was open before the counter was */
    }
    thread->records--;
    while (thread->step_count > 0 &&
           thread->steps[thread->step_count - 1].depth > thread->records) {
        thread->step_count--;
    }
}

/* ---- forward that runs again inside of backward ---- */

/* Non-reentrant checkpoint recomputes under a pack hook of its own. */
static int
recomputes_by_hook(const pyft_torch *torch)
{
    PyObject *hooks = PyObject_CallOneArg(torch->saved_hooks, Py_True);
    if (hooks == NULL || !PyTuple_Check(hooks) || PyTuple_GET_SIZE(hooks) == 0) {
        Py_XDECREF(hooks);
        return hooks == NULL ? -1 : 0;
    }
    PyObject *name = PyObject_GetAttrString(PyTuple_GET_ITEM(hooks, 0), "__qualname__");
    const char *text = name == NULL ? NULL : PyUnicode_AsUTF8(name);
    int found = text != NULL && strstr(text, "_recomputation_hook") != NULL;
    PyErr_Clear(); /* a callable without a name */
    Py_XDECREF(name);
    Py_DECREF(hooks);
    return found;
}

/* Both kinds of checkpoint recompute with grad enabled: reentrant ones inside the backward of their
 * own node. */
static int
is_recomputed(const pyft_thread *thread, const pyft_torch *torch, long long task, PyObject *node,
              bool grad_enabled)
{
    if (thread->depth > 0 && thread->scopes[thread->depth - 1].graph_task == task) {
        return 1; /* a module called inside this backward */
    }
    if (!grad_enabled) {
        return 0;
    }
    if (strcmp(Py_TYPE(node)->tp_name, "CheckpointFunctionBackward") == 0) {
        return 1;
    }
    return recomputes_by_hook(torch);
}

/* ---- the place of an operation ---- */

/* Nodes that backward itself makes, for a second derivative, belong to the module whose backward
 * it is. The first operation of a graph task comes after the node that is made for it. */
static int
note_new_nodes(pyft_thread *thread, const pyft_torch *torch, long long task, uint32_t module)
{
    long long sequence = pyft_torch_number(torch->sequence);
    if (sequence == -2) {
        return -1;
    }
    if (thread->graph_task != task) {
        thread->graph_task = task;
        thread->sequence = sequence > 0 ? (uint64_t)sequence - 1 : 0;
    }
    int result = 0;
    if ((uint64_t)sequence > thread->sequence) {
        result = pyft_scope_note(thread, thread->sequence, module);
    }
    thread->sequence = (uint64_t)sequence;
    return result;
}

static int
place_in_backward(pyft_thread *thread, const pyft_torch *torch, long long task, bool grad_enabled,
                  pyft_place *place)
{
    if (thread->depth > 0 && thread->scopes[thread->depth - 1].graph_task != task) {
        pyft_scope_cut(thread); /* as backward is, most often */
    }
    thread->after_backward = true;
    if (!grad_enabled && thread->depth == 0 && pyft_scope_is_one_place(thread)) {
        place->phase = FT_PHASE_BACKWARD; /* whatever the node */
        return 0;
    }
    PyObject *node = pyft_ask(torch->node);
    if (node != NULL && node == thread->node && !grad_enabled && thread->depth == 0) {
        Py_DECREF(node);
        place->phase = FT_PHASE_BACKWARD;
        place->module = thread->node_module;
        return 0;
    }
    int recomputed = node == NULL ? -1 : is_recomputed(thread, torch, task, node, grad_enabled);
    bool in_module = thread->depth > 0 && thread->scopes[thread->depth - 1].graph_task == task;
    int result = recomputed < 0 ? -1 : 0;
    place->phase = recomputed > 0 ? FT_PHASE_RECOMPUTE : FT_PHASE_BACKWARD;
    place->module = pyft_scope_of_forward(thread);
    if (result == 0 && !in_module) {
        result = pyft_scope_of_node(thread, torch, node, &place->module);
    }
    if (result == 0 && grad_enabled) {
        result = note_new_nodes(thread, torch, task, place->module);
    }
    if (result == 0 && !in_module) {
        Py_XSETREF(thread->node, Py_NewRef(node));
        thread->node_module = place->module;
    }
    Py_XDECREF(node);
    return result;
}

static bool
requires_grad(const pyft_torch *torch, PyObject *value)
{
    if (PyTuple_Check(value) || PyList_Check(value)) {
        bool found = false;
        for (Py_ssize_t i = 0; i < PySequence_Fast_GET_SIZE(value) && !found; i++) {
            found = requires_grad(torch, PySequence_Fast_GET_ITEM(value, i));
        }
        return found;
    }
    if (!pyft_is_tensor(torch, value)) {
        return false;
    }
    PyObject *flag = PyObject_GetAttr(value, torch->requires_grad_name);
    PyErr_Clear(); /* a subclass that does not say */
    Py_XDECREF(flag);
    return flag == Py_True;
}

/* Clipping, scaling and averages are update work too. With gradients enabled, what changes lists in
 * place is, and all that an optimizer does but its closure's forward. */
static bool
is_update(const pyft_thread *thread, const pyft_op *op, bool grad_enabled, bool differentiated)
{
    if (thread->step_count > 0) {
        return !grad_enabled || (thread->depth == 0 && !differentiated);
    }
    return thread->depth == 0 && thread->after_backward &&
           (!grad_enabled || (op->update && !differentiated));
}

int
pyft_place_of(pyft_thread *thread, const pyft_op *op, PyObject *args, pyft_place *place)
{
    const pyft_torch *torch = &thread->counter->state->counting->torch;
    long long task = pyft_torch_number(torch->graph_task);
    bool stepping = thread->step_count > 0, after = stepping || thread->after_backward;
    if (task == -2) {
        return -1;
    }
    place->module = pyft_scope_of_forward(thread);
    place->phase = FT_PHASE_FORWARD;
    if (task == -1) {
        Py_CLEAR(thread->node);
        if (!after) {
            return 0;
        }
    }
    PyObject *grad = pyft_ask(torch->grad_enabled);
    bool grad_enabled = grad == Py_True;
    if (grad == NULL) {
        return -1;
    }
    Py_DECREF(grad);
    if (task != -1 && !(stepping && thread->steps[thread->step_count - 1].graph_task == task)) {
        return place_in_backward(thread, torch, task, grad_enabled, place);
    }
    /* A result does not say it yet: autograd is above. */
    bool differentiated = grad_enabled && op->kind != PYFT_OP_VIEW && requires_grad(torch, args);
    if (after && is_update(thread, op, grad_enabled, differentiated)) {
        place->phase = FT_PHASE_OPTIMIZER;
    }
    if (differentiated && !stepping) {
        thread->after_backward = false;
    }
    return 0;
}
