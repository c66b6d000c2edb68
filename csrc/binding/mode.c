/* The dispatch mode: a C subclass of torch's TorchDispatchMode that counts what passes through. */
/* SPDX-License-Identifier: MIT */
#include "counting.h"

/* Made by PyType_FromModuleAndSpec and not by a class statement: that would run the base's
 * __init_subclass__, which wraps the method and breaks one that is written in C. The instance is
 * the base's, and behind it one pointer. */

static pyft_thread **
thread_of(PyObject *mode, const PyTypeObject *type)
{
    return (pyft_thread **)((char *)mode + type->tp_base->tp_basicsize);
}

/* Local operations of a wrapper subclass, such as DTensor, come back one by one. `types` are the
 * subclasses of Tensor among the arguments, in a tuple; in a list for higher-order operators. */
static int
has_wrapper(const pyft_torch *torch, PyObject *types)
{
    for (Py_ssize_t i = 0; i < PySequence_Fast_GET_SIZE(types); i++) {
        PyObject *type = PySequence_Fast_GET_ITEM(types, i);
        if (type == torch->tensor_type || type == torch->fake_type) {
            continue; /* they wrap nothing, and it takes Python to say so */
        }
        PyObject *answer = PyObject_CallOneArg(torch->is_wrapper, type);
        int found = answer == NULL ? -1 : PyObject_IsTrue(answer);
        Py_XDECREF(answer);
        if (found != 0) {
            return found;
        }
    }
    return 0;
}

/* Whether a strided nested tensor is among the arguments. */
static int
has_nested(const pyft_torch *torch, PyObject *args)
{
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(args); i++) {
        PyObject *value = PyTuple_GET_ITEM(args, i);
        PyObject *nested = pyft_is_tensor(torch, value) ? PyObject_GetAttrString(value, "is_nested")
                                                        : Py_NewRef(Py_False);
        Py_XDECREF(nested);
        if (nested != Py_False) {
            return nested == NULL ? -1 : 1;
        }
    }
    return 0;
}

/* Runs a composite operation with the mode back in force, so that its parts are counted. */
static PyObject *
decompose(const pyft_torch *torch, PyObject *mode, PyObject *parts, PyObject *args,
          PyObject *kwargs)
{
    PyObject *pushed = PyObject_CallOneArg(torch->push_mode, mode);
    if (pushed == NULL) {
        return NULL;
    }
    Py_DECREF(pushed);
    PyObject *result = PyObject_Call(parts, args, kwargs);
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    PyObject *popped = PyObject_CallOneArg(torch->pop_mode, Py_None);
    if (popped == NULL) {
        Py_CLEAR(result);
        Py_XDECREF(type);
        Py_XDECREF(value);
        Py_XDECREF(traceback);
        return NULL;
    }
    Py_DECREF(popped);
    PyErr_Restore(type, value, traceback);
    return result;
}

/* A higher-order operator whose functions are run under the mode, so that they are counted. */
static PyObject *
run_control(PyObject *mode, PyObject *operator, PyObject *args, PyObject *kwargs)
{
    return pyft_call_helper("flops_tracker._control_flow", "run_control", "(OOOO)", mode, operator,
                            args, kwargs == NULL ? Py_None : kwargs);
}

static PyObject *
count_operation(PyObject *mode, pyft_thread *thread, PyObject *overload, PyObject *args,
                PyObject *kwargs, bool subclassed)
{
    pyft_counter *counter = thread->counter;
    const pyft_torch *torch = &counter->state->counting->torch;
    uint32_t number;
    const pyft_op *op = pyft_op_of(counter->state, overload, &number);
    if (op == NULL) {
        return NULL;
    }
    PyObject *parts = op->parts;
    if (op->nested_parts != NULL) {
        int nested = has_nested(torch, args);
        if (nested < 0) {
            return NULL;
        }
        parts = nested ? op->nested_parts : parts;
    }
    if (parts != NULL) {
        return decompose(torch, mode, parts, args, kwargs);
    }
    if (op->kind == PYFT_OP_CONTROL) {
        return run_control(mode, overload, args, kwargs);
    }
    if (op->kind == PYFT_OP_QUESTION && subclassed) {
        return Py_NewRef(Py_NotImplemented); /* the subclass answers */
    }
    if (pyft_check_known(counter, op) < 0) {
        return NULL;
    }
    size_t call = 0;
    PyObject *result = counter->calls == NULL
                           ? PyObject_Call(op->call, args, kwargs)
                           : pyft_calls_run(counter, number, args, kwargs, &call);
    int counted = result == NULL ? -1 : 0;
    /* The call may have run anything, and so have ended the counting of this thread. */
    if (counted == 0 && *thread_of(mode, counter->state->mode_type) == thread) {
        if (op->kind == PYFT_OP_RECORD_ENTER) {
            counted = pyft_record_enter(thread, args, torch);
        }
        else if (op->kind == PYFT_OP_RECORD_EXIT) {
            pyft_record_exit(thread);
        }
        else if (op->kind != PYFT_OP_QUESTION) {
            thread->call = call;
            counted = pyft_count_call(thread, number, args, kwargs, result);
        }
    }
    if (counted < 0) {
        Py_CLEAR(result);
    }
    return result;
}

static PyObject *
mode_dispatch(PyObject *self, PyTypeObject *type, PyObject *const *args, Py_ssize_t count,
              PyObject *names)
{
    if (count < 2 || count > 4 || (names != NULL && PyTuple_GET_SIZE(names) > 0) ||
        !(PyTuple_Check(args[1]) || PyList_Check(args[1]))) {
        PyErr_SetString(PyExc_TypeError,
                        "__torch_dispatch__ takes func, types, args and kwargs, by position");
        return NULL;
    }
    PyObject *arguments = count > 2 ? Py_NewRef(args[2]) : PyTuple_New(0);
    /* pybind11 takes longer over an empty dict than over none. */
    PyObject *kwargs =
        count > 3 && PyDict_Check(args[3]) && PyDict_GET_SIZE(args[3]) > 0 ? args[3] : NULL;
    pyft_thread *thread = *thread_of(self, type);
    PyObject *result = NULL;
    if (arguments == NULL) {
        return NULL;
    }
    if (thread == NULL) {
        result = PyObject_Call(args[0], arguments, kwargs);
    }
    else {
        pyft_thread_hold(thread);
        int wrapped = has_wrapper(&thread->counter->state->counting->torch, args[1]);
        if (wrapped > 0) {
            result = Py_NewRef(Py_NotImplemented);
        }
        else if (wrapped == 0) {
            result = count_operation(self, thread, args[0], arguments, kwargs,
                                     PySequence_Fast_GET_SIZE(args[1]) > 0);
        }
        pyft_thread_release(thread);
    }
    Py_DECREF(arguments);
    return result;
}

static PyMethodDef mode_methods[] = {
    {"__torch_dispatch__", PYFT_METHOD(mode_dispatch), METH_METHOD | METH_FASTCALL | METH_KEYWORDS,
     "Runs the operation and counts it."},
    {NULL, NULL, 0, NULL},
};

static PyTypeObject *
make_type(void)
{
    PyObject *base = NULL, *torch_module = PyImport_ImportModule("torch.utils._python_dispatch");
    PyTypeObject *type = NULL;
    PyObject *core = PyImport_ImportModule("flops_tracker._core");
    if (torch_module != NULL && core != NULL) {
        base = PyObject_GetAttrString(torch_module, "TorchDispatchMode");
    }
    if (base != NULL) {
        PyType_Slot slots[] = {
            {Py_tp_doc, "Counts the operations of one thread."},
            {Py_tp_methods, mode_methods},
            {0, NULL},
        };
        PyType_Spec spec = {
            .name = "flops_tracker._core.CountingMode",
            .basicsize =
                (int)(((PyTypeObject *)base)->tp_basicsize + (Py_ssize_t)sizeof(pyft_thread *)),
            .flags = Py_TPFLAGS_DEFAULT,
            .slots = slots,
        };
        type = (PyTypeObject *)PyType_FromModuleAndSpec(core, &spec, base);
    }
    if (type != NULL &&
        PyObject_SetAttrString((PyObject *)type, "supports_higher_order_operators", Py_True) < 0) {
        Py_CLEAR(type);
    }
    Py_XDECREF(base);
    Py_XDECREF(core);
    Py_XDECREF(torch_module);
    return type;
}

PyObject *
pyft_mode_new(pyft_state *state, pyft_thread *thread)
{
    if (state->mode_type == NULL && (state->mode_type = make_type()) == NULL) {
        return NULL;
    }
    PyObject *mode = PyObject_CallNoArgs((PyObject *)state->mode_type);
    if (mode != NULL) {
        *thread_of(mode, state->mode_type) = thread;
    }
    return mode;
}

pyft_thread *
pyft_mode_thread(PyObject *mode, const pyft_state *state)
{
    return Py_TYPE(mode) == state->mode_type ? *thread_of(mode, state->mode_type) : NULL;
}

void
pyft_mode_forget(PyObject *mode)
{
    *thread_of(mode, Py_TYPE(mode)) = NULL;
}
