/* OperationCounts from what counts_state.c gives. Data may have been made by anything, so all of it
 * is checked. */
/* SPDX-License-Identifier: MIT */
#include "counting.h"

#include <string.h>

typedef struct {
    pyft_counts *counts;
    PyObject *op_numbers, *dtype_numbers; /* name: number */
} pyft_loader;

static int
refuse(const char *what)
{
    PyErr_Format(PyExc_ValueError, "this is no saved FlopCount: %s", what);
    return -1;
}

/* The number of a name; a new one gets the next, and `item` at the end of the list. */
static int
number_of(PyObject *numbers, PyObject *list, PyObject *name, PyObject *item, size_t *number)
{
    PyObject *known = PyDict_GetItemWithError(numbers, name);
    if (known != NULL) {
        *number = PyLong_AsSize_t(known);
        return 0;
    }
    *number = (size_t)PyList_GET_SIZE(list);
    PyObject *next = PyErr_Occurred() ? NULL : PyLong_FromSize_t(*number);
    int result = next == NULL || PyDict_SetItem(numbers, name, next) < 0 ? -1 : 0;
    Py_XDECREF(next);
    return result < 0 ? -1 : PyList_Append(list, item);
}

static int
op_number(const pyft_loader *loader, PyObject *name, PyObject *packet, uint32_t *number)
{
    size_t found = 0;
    PyObject *pair = PyTuple_Pack(2, name, packet);
    int result = pair == NULL
                     ? -1
                     : number_of(loader->op_numbers, loader->counts->op_names, name, pair, &found);
    Py_XDECREF(pair);
    *number = (uint32_t)found;
    return result;
}

static int
phase_named(const char *name, uint8_t *phase)
{
    for (int i = 0; i < FT_PHASE_COUNT; i++) {
        if (strcmp(ft_phase_name((ft_phase)i), name) == 0) {
            *phase = (uint8_t)i;
            return 0;
        }
    }
    return refuse("there is no such phase");
}

static int
class_named(const char *name, uint8_t *op_class)
{
    for (int i = 0; i < FT_CLASS_COUNT; i++) {
        if (strcmp(ft_class_name((ft_class)i), name) == 0) {
            *op_class = (uint8_t)i;
            return 0;
        }
    }
    return refuse("there is no such class of operations");
}

static int
read_cost(PyObject *tuple, ft_cost *cost)
{
    if (PyTuple_GET_SIZE(tuple) != FT_KIND_COUNT) {
        return refuse("a cost has another number of kinds");
    }
    for (int kind = 0; kind < FT_KIND_COUNT; kind++) {
        if (pyft_to_u128(PyTuple_GET_ITEM(tuple, kind), "cost", &cost->by_kind[kind]) < 0) {
            return -1;
        }
    }
    return 0;
}

static int
check_module(const pyft_loader *loader, uint64_t number)
{
    return number < (size_t)PyList_GET_SIZE(loader->counts->modules)
               ? 0
               : refuse("a module is missing");
}

static int
load_row(const pyft_loader *loader, PyObject *row)
{
    PyObject *name, *packet, *module_given, *dtype, *calls_given, *costs;
    const char *phase, *op_class;
    uint64_t module, calls;
    ft_work_key key = {0};
    ft_cost cost;
    size_t dtype_number;
    if (!PyArg_ParseTuple(row, "UUOsUsOO!", &name, &packet, &module_given, &phase, &dtype,
                          &op_class, &calls_given, &PyTuple_Type, &costs) ||
        pyft_to_u64(module_given, "module", &module) < 0 ||
        pyft_to_u64(calls_given, "calls", &calls) < 0 || check_module(loader, module) < 0 ||
        op_number(loader, name, packet, &key.op) < 0 || phase_named(phase, &key.phase) < 0 ||
        class_named(op_class, &key.op_class) < 0 || read_cost(costs, &cost) < 0 ||
        number_of(loader->dtype_numbers, loader->counts->dtype_names, dtype, dtype, &dtype_number) <
            0) {
        return -1;
    }
    if (dtype_number > UINT16_MAX) {
        return refuse("too many dtypes");
    }
    key.module = (uint32_t)module;
    key.dtype = (uint16_t)dtype_number;
    ft_status status = ft_tally_add(&loader->counts->tally, key, &cost, calls);
    return status == FT_OK ? 0 : (pyft_raise(status, "loading counts"), -1);
}

static int
load_call(const pyft_loader *loader, PyObject *data)
{
    PyObject *name, *packet;
    const char *phase;
    unsigned module;
    double start, end;
    uint32_t op;
    pyft_place place;
    uint8_t phase_number;
    if (!PyArg_ParseTuple(data, "UUIsdd", &name, &packet, &module, &phase, &start, &end) ||
        check_module(loader, module) < 0 || op_number(loader, name, packet, &op) < 0 ||
        phase_named(phase, &phase_number) < 0) {
        return -1;
    }
    pyft_calls *calls = loader->counts->calls;
    size_t call = pyft_calls_append(calls, op, start, end);
    place.phase = (ft_phase)phase_number;
    place.module = module;
    pyft_calls_place(calls, call, &place);
    return call == 0 ? -1 : 0;
}

static int
load_work(const pyft_loader *loader, PyObject *data)
{
    PyObject *costs;
    const char *name;
    Py_ssize_t call;
    uint8_t op_class;
    ft_cost cost;
    pyft_calls *calls = loader->counts->calls;
    if (!PyArg_ParseTuple(data, "nsO!", &call, &name, &PyTuple_Type, &costs) ||
        class_named(name, &op_class) < 0 || read_cost(costs, &cost) < 0) {
        return -1;
    }
    if (call < 0 || (size_t)call >= calls->count) {
        return refuse("a call is missing");
    }
    return pyft_calls_add(calls, (size_t)call + 1, op_class, &cost);
}

static int
load_each(const pyft_loader *loader, PyObject *list,
          int (*load_one)(const pyft_loader *, PyObject *))
{
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(list); i++) {
        PyObject *item = PyList_GET_ITEM(list, i);
        if (!PyTuple_Check(item)) {
            return refuse("a row is no tuple");
        }
        if (load_one(loader, item) < 0) {
            return -1;
        }
    }
    return 0;
}

/* Parents come before their children, and the outside first. */
static int
check_modules(const pyft_loader *loader)
{
    PyObject *modules = loader->counts->modules;
    if (PyList_GET_SIZE(modules) == 0) {
        return refuse("it has no modules, not even the outside");
    }
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(modules); i++) {
        PyObject *name, *kind, *parent, *calls_given, *aliases;
        uint64_t calls;
        int parameters, forward;
        PyObject *row = PyList_GET_ITEM(modules, i);
        if (!PyTuple_Check(row)) {
            return refuse("a module is no tuple");
        }
        if (!PyArg_ParseTuple(row, "UUO!OO!pp", &name, &kind, &PyLong_Type, &parent, &calls_given,
                              &PyTuple_Type, &aliases, &parameters, &forward) ||
            pyft_to_u64(calls_given, "calls", &calls) < 0) {
            return -1;
        }
        size_t number = PyLong_AsSize_t(parent);
        if (PyErr_Occurred()) {
            return -1;
        }
        if (number >= (size_t)(i == 0 ? 1 : i)) {
            return refuse("a module comes before its parent");
        }
        for (Py_ssize_t alias = 0; alias < PyTuple_GET_SIZE(aliases); alias++) {
            if (!PyUnicode_Check(PyTuple_GET_ITEM(aliases, alias))) {
                return refuse("another name of a module is no text");
            }
        }
    }
    return 0;
}

static int
load_calls(const pyft_loader *loader, PyObject *calls, PyObject *works)
{
    pyft_counts *counts = loader->counts;
    if (calls == Py_None) {
        return 0;
    }
    if (!PyList_Check(calls) || !PyList_Check(works)) {
        return refuse("its calls are no lists");
    }
    counts->calls = pyft_calls_new();
    if (counts->calls == NULL || load_each(loader, calls, load_call) < 0 ||
        load_each(loader, works, load_work) < 0) {
        return -1;
    }
    counts->call_count = counts->calls->count;
    counts->work_count = counts->calls->work_count;
    return 0;
}

static int
load(pyft_loader *loader, PyObject *rows, PyObject *calls, PyObject *works)
{
    pyft_counts *counts = loader->counts;
    PyObject *none = PyUnicode_FromString("none");
    size_t number;
    counts->op_names = PyList_New(0);
    counts->dtype_names = PyList_New(0);
    loader->op_numbers = PyDict_New();
    loader->dtype_numbers = PyDict_New();
    int result =
        none == NULL || counts->op_names == NULL || counts->dtype_names == NULL ||
                loader->op_numbers == NULL || loader->dtype_numbers == NULL ||
                number_of(loader->dtype_numbers, counts->dtype_names, none, none, &number) < 0 ||
                check_modules(loader) < 0 || load_each(loader, rows, load_row) < 0 ||
                load_calls(loader, calls, works) < 0
            ? -1
            : 0;
    Py_XDECREF(none);
    Py_XDECREF(loader->op_numbers);
    Py_XDECREF(loader->dtype_numbers);
    return result;
}

/* A class method: the counts of what pyft_counts_state gave, here or in another process. */
PyObject *
pyft_counts_from_state(PyObject *type, PyObject *data)
{
    const char *convention;
    uint64_t operations, unknown_operations;
    int causal;
    PyObject *ran, *without_rule, *modules, *unknown, *bounded, *rows, *calls, *works;
    if (!PyTuple_Check(data)) {
        refuse("it is no tuple");
        return NULL;
    }
    if (!PyArg_ParseTuple(data, "sOOO!O!O!O!OOp", &convention, &ran, &without_rule, &PyList_Type,
                          &modules, &PyDict_Type, &unknown, &PyDict_Type, &bounded, &PyList_Type,
                          &rows, &calls, &works, &causal) ||
        pyft_to_u64(ran, "operations", &operations) < 0 ||
        pyft_to_u64(without_rule, "operations", &unknown_operations) < 0) {
        return NULL;
    }
    pyft_state *state = pyft_state_of((PyTypeObject *)type);
    const ft_convention *found = state == NULL ? NULL : pyft_convention_named(convention);
    pyft_loader loader = {
        .counts = found == NULL ? NULL : pyft_counts_empty((PyTypeObject *)type, state, found)};
    if (loader.counts == NULL) {
        return NULL;
    }
    loader.counts->tally.operations = operations;
    loader.counts->tally.unknown_operations = unknown_operations;
    loader.counts->causal = causal;
    loader.counts->modules = PyList_GetSlice(modules, 0, PyList_GET_SIZE(modules));
    loader.counts->unknown = PyDict_Copy(unknown);
    loader.counts->bounded = PyDict_Copy(bounded);
    if (loader.counts->modules == NULL || loader.counts->unknown == NULL ||
        loader.counts->bounded == NULL || load(&loader, rows, calls, works) < 0) {
        Py_CLEAR(loader.counts);
    }
    return (PyObject *)loader.counts;
}
