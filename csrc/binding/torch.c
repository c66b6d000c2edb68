/* What all counters share: torch's functions and types, imported on first use, and what was
 * resolved with them. */
/* SPDX-License-Identifier: MIT */
#include "counting.h"

static PyObject *
import_attribute(const char *module_name, const char *name)
{
    PyObject *module = PyImport_ImportModule(module_name);
    PyObject *found = module == NULL ? NULL : PyObject_GetAttrString(module, name);
    Py_XDECREF(module);
    return found;
}

static int
intern(PyObject **name, const char *text)
{
    if (*name == NULL) {
        *name = PyUnicode_InternFromString(text);
    }
    return *name == NULL ? -1 : 0;
}

static int
load_getter(const pyft_torch *torch, PyObject **getter, PyObject *name)
{
    if (*getter == NULL) {
        *getter = PyObject_GetAttr(torch->tensor_type, name);
    }
    if (*getter != NULL && !Py_IS_TYPE(*getter, &PyGetSetDescr_Type)) {
        PyErr_Format(PyExc_RuntimeError, "torch.Tensor.%U is %R, and no attribute of the class",
                     name, *getter);
        Py_CLEAR(*getter);
    }
    return *getter == NULL ? -1 : 0;
}

int
pyft_torch_load(pyft_torch *torch)
{
    if (intern(&torch->shape_name, "shape") < 0 || intern(&torch->dtype_name, "dtype") < 0 ||
        intern(&torch->nbytes_name, "nbytes") < 0 || intern(&torch->layout_name, "layout") < 0 ||
        intern(&torch->is_cpu_name, "is_cpu") < 0 ||
        intern(&torch->sequence_name, "_sequence_nr") < 0 ||
        intern(&torch->requires_grad_name, "requires_grad") < 0) {
        return -1;
    }
#define LOAD(member, module, attribute)                      \
    if (torch->member == NULL) {                             \
        torch->member = import_attribute(module, attribute); \
        if (torch->member == NULL) {                         \
            return -1;                                       \
        }                                                    \
    }
    PYFT_TORCH_LIST(LOAD)
#undef LOAD
    if (load_getter(torch, &torch->shape_getter, torch->shape_name) < 0 ||
        load_getter(torch, &torch->dtype_getter, torch->dtype_name) < 0 ||
        load_getter(torch, &torch->nbytes_getter, torch->nbytes_name) < 0 ||
        load_getter(torch, &torch->layout_getter, torch->layout_name) < 0 ||
        load_getter(torch, &torch->is_cpu_getter, torch->is_cpu_name) < 0) {
        return -1;
    }
    if (torch->proxy_key == NULL) {
        PyObject *keys = import_attribute("torch._C", "_TorchDispatchModeKey");
        torch->proxy_key = keys == NULL ? NULL : PyObject_GetAttrString(keys, "PROXY");
        Py_XDECREF(keys);
        if (torch->proxy_key == NULL) {
            return -1;
        }
    }
    return 0;
}

/* Those of torch are C functions, and cheap beside what a call of Python's costs. */
PyObject *
pyft_ask(PyObject *function)
{
    if (PyCFunction_CheckExact(function) && PyCFunction_GET_FLAGS(function) == METH_NOARGS) {
        return PyCFunction_GET_FUNCTION(function)(PyCFunction_GET_SELF(function), NULL);
    }
    return PyObject_CallNoArgs(function);
}

/* What an argument-free function of torch returns, as an integer; -2 with an exception. */
long long
pyft_torch_number(PyObject *function)
{
    PyObject *value = pyft_ask(function);
    long long number = value == NULL ? -2 : PyLong_AsLongLong(value);
    Py_XDECREF(value);
    return number == -1 && PyErr_Occurred() ? -2 : number;
}

/* ---- what all counters share ---- */

pyft_counting *
pyft_counting_of(pyft_state *state)
{
    if (state->counting == NULL) {
        PyObject *torch = pyft_call_helper("flops_tracker._frameworks", "need", "(ss)", "torch",
                                           "torch"); /* says how to install it */
        Py_XDECREF(torch);
        if (torch == NULL) {
            return NULL;
        }
        state->counting = PyMem_Calloc(1, sizeof *state->counting);
        if (state->counting == NULL) {
            PyErr_NoMemory();
            return NULL;
        }
    }
    pyft_counting *counting = state->counting;
    if (counting->ops.user_rules == NULL && (counting->ops.user_rules = PyDict_New()) == NULL) {
        return NULL;
    }
    return pyft_torch_load(&counting->torch) < 0 ? NULL : counting;
}

int
pyft_counting_visit(pyft_counting *counting, visitproc visit, void *arg)
{
#define VISIT(member, module, attribute) Py_VISIT(counting->torch.member);
    PYFT_TORCH_LIST(VISIT)
#undef VISIT
    Py_VISIT(counting->torch.proxy_key);
    return pyft_ops_visit(&counting->ops, visit, arg);
}

void
pyft_counting_clear(pyft_counting *counting)
{
    pyft_torch *torch = &counting->torch;
#define CLEAR(member, module, attribute) Py_CLEAR(torch->member);
    PYFT_TORCH_LIST(CLEAR)
#undef CLEAR
    Py_CLEAR(torch->shape_name);
    Py_CLEAR(torch->dtype_name);
    Py_CLEAR(torch->nbytes_name);
    Py_CLEAR(torch->shape_getter);
    Py_CLEAR(torch->dtype_getter);
    Py_CLEAR(torch->nbytes_getter);
    Py_CLEAR(torch->layout_getter);
    Py_CLEAR(torch->layout_name);
    Py_CLEAR(torch->is_cpu_getter);
    Py_CLEAR(torch->is_cpu_name);
    Py_CLEAR(torch->sequence_name);
    Py_CLEAR(torch->requires_grad_name);
    Py_CLEAR(torch->proxy_key);
    pyft_ops_clear(&counting->ops);
    for (int i = 1; i <= counting->dtypes.count; i++) {
        Py_CLEAR(counting->dtypes.items[i].dtype);
        Py_CLEAR(counting->dtypes.items[i].name);
    }
    counting->dtypes.count = 0;
}
