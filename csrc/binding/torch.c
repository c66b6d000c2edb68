/* torch's own functions and types that counting needs, imported on first use. */
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

int
pyft_torch_load(pyft_torch *torch)
{
    if (intern(&torch->shape_name, "shape") < 0 || intern(&torch->dtype_name, "dtype") < 0 ||
        intern(&torch->layout_name, "layout") < 0 ||
        intern(&torch->sequence_name, "_sequence_nr") < 0) {
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
    return 0;
}

/* What an argument-free function of torch returns, as an integer; -2 with an exception. */
long long
pyft_torch_number(PyObject *function)
{
    PyObject *value = PyObject_CallNoArgs(function);
    long long number = value == NULL ? -2 : PyLong_AsLongLong(value);
    Py_XDECREF(value);
    return number == -1 && PyErr_Occurred() ? -2 : number;
}
