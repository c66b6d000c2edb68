/* Digests of what is known before a step runs: its batch, and flags of the process. */
/* SPDX-License-Identifier: MIT */
#include "steps.h"

#include <string.h>

/* ---- what is read ---- */

static PyGetSetDef *
getter_of(PyObject *type, const char *name)
{
    PyObject *found = PyObject_GetAttrString(type, name);
    PyGetSetDef *getter = found != NULL && Py_IS_TYPE(found, &PyGetSetDescr_Type)
                              ? ((PyGetSetDescrObject *)found)->d_getset
                              : NULL;
    if (found != NULL && getter == NULL) {
        PyErr_Format(PyExc_RuntimeError, "torch.Tensor.%s is %R, and no attribute of the class",
                     name, found);
    }
    Py_XDECREF(found); /* the class keeps it */
    return getter;
}

#define NAMES(X)                                   \
    X(training, "training")                        \
    X(parameters, "_parameters")                   \
    X(buffers, "_buffers")                         \
    X(modules, "_modules")                         \
    X(hooks, "_forward_hooks")                     \
    X(pre_hooks, "_forward_pre_hooks")             \
    X(backward_hooks, "_backward_hooks")           \
    X(backward_pre_hooks, "_backward_pre_hooks")   \
    X(is_contiguous, "is_contiguous")              \
    X(stride, "stride")                            \
    X(param_groups, "param_groups")                \
    X(params, "params")                            \
    X(state, "state")                              \
    X(lr, "lr")                                    \
    X(initial_lr, "initial_lr")                    \
    X(step_pre_hooks, "_optimizer_step_pre_hooks") \
    X(step_post_hooks, "_optimizer_step_post_hooks")
#define GETTERS(X)                    \
    X(grad, "grad")                   \
    X(requires_grad, "requires_grad") \
    X(version, "_version")            \
    X(shape, "shape")                 \
    X(dtype, "dtype")                 \
    X(device, "device")               \
    X(layout, "layout")               \
    X(hooked, "_backward_hooks")

int
pyft_known_load(pyft_known *known, const pyft_torch *torch)
{
#define LOAD_NAME(member, text)                                       \
    if ((known->member = PyUnicode_InternFromString(text)) == NULL) { \
        return -1;                                                    \
    }
    NAMES(LOAD_NAME)
#define LOAD_GETTER(member, text)                                        \
    if ((known->member = getter_of(torch->tensor_type, text)) == NULL) { \
        return -1;                                                       \
    }
    GETTERS(LOAD_GETTER)
    known->tensor_type = Py_NewRef(torch->tensor_type);
    known->parameter_type = Py_NewRef(torch->parameter_type);
    known->strided = Py_NewRef(torch->strided);
    PyObject *found = pyft_call_helper("flops_tracker._step_keys", "what_steps_depend_on", "()");
    if (found == NULL ||
        !PyArg_ParseTuple(found, "O!O!O!O!O!", &PyTuple_Type, &known->flags, &PyTuple_Type,
                          &known->autocast, &PyTuple_Type, &known->switches, &PyTuple_Type,
                          &known->tables, &PyTuple_Type, &known->steady)) {
        Py_XDECREF(found);
        known->flags = known->autocast = known->switches = known->tables = known->steady = NULL;
        return -1;
    }
    Py_INCREF(known->flags);
    Py_INCREF(known->autocast);
    Py_INCREF(known->switches);
    Py_INCREF(known->tables);
    Py_INCREF(known->steady);
    Py_DECREF(found);
    return 0;
}

int
pyft_known_visit(const pyft_known *known, visitproc visit, void *arg)
{
    Py_VISIT(known->tensor_type);
    Py_VISIT(known->parameter_type);
    Py_VISIT(known->strided);
    Py_VISIT(known->flags);
    Py_VISIT(known->autocast);
    Py_VISIT(known->switches);
    Py_VISIT(known->tables);
    Py_VISIT(known->steady);
    return 0;
}

void
pyft_known_clear(pyft_known *known)
{
#define CLEAR_NAME(member, text) Py_CLEAR(known->member);
    NAMES(CLEAR_NAME)
    Py_CLEAR(known->tensor_type);
    Py_CLEAR(known->parameter_type);
    Py_CLEAR(known->strided);
    Py_CLEAR(known->flags);
    Py_CLEAR(known->autocast);
    Py_CLEAR(known->switches);
    Py_CLEAR(known->tables);
    Py_CLEAR(known->steady);
}

/* ---- batches ---- */

enum { MAX_DEPTH = 32 };

int
pyft_digest_hash(pyft_digest *digest, PyObject *value)
{
    Py_hash_t hash = value == NULL ? -1 : PyObject_Hash(value);
    if (hash == -1) {
        return -1;
    }
    pyft_digest_add(digest, (uint64_t)hash);
    return 0;
}

/* What a getter of tensors gives, by its address (types and layouts are never freed). */
static int
add_constant(pyft_digest *digest, PyGetSetDef *getter, PyObject *tensor)
{
    PyObject *value = getter->get(tensor, getter->closure);
    if (value == NULL) {
        return -1;
    }
    pyft_digest_add_pointer(digest, value);
    Py_DECREF(value);
    return 0;
}

static int
add_sizes(pyft_digest *digest, PyObject *sizes)
{
    if (sizes == NULL || !PyTuple_Check(sizes)) {
        return sizes == NULL ? -1 : 1;
    }
    Py_ssize_t count = PyTuple_GET_SIZE(sizes);
    pyft_digest_add(digest, (uint64_t)count);
    for (Py_ssize_t i = 0; i < count; i++) {
        PyObject *size = PyTuple_GET_ITEM(sizes, i);
        if (!PyLong_Check(size)) {
            return 1; /* a symbol */
        }
        pyft_digest_add(digest, (uint64_t)PyLong_AsLongLong(size));
    }
    return 0;
}

void
pyft_digest_shape(pyft_digest *digest, const pyft_known *known, PyObject *tensor)
{
    if (PyObject_TypeCheck(tensor, (PyTypeObject *)known->tensor_type)) {
        PyObject *shape = known->shape->get(tensor, known->shape->closure);
        add_sizes(digest, shape);
        Py_XDECREF(shape);
        PyErr_Clear(); /* a lazy layer's */
        add_constant(digest, known->dtype, tensor);
        PyErr_Clear();
    }
}

/* Strides decide whether operations copy first. */
static int
add_order(pyft_digest *digest, const pyft_known *known, PyObject *tensor)
{
    PyObject *contiguous = PyObject_CallMethodNoArgs(tensor, known->is_contiguous);
    int result = contiguous == NULL ? -1 : 0;
    pyft_digest_add_pointer(digest, contiguous);
    if (contiguous == Py_False) {
        PyObject *strides = PyObject_CallMethodNoArgs(tensor, known->stride);
        result = add_sizes(digest, strides);
        Py_XDECREF(strides);
    }
    Py_XDECREF(contiguous);
    return result;
}

/* Work on sparse and nested tensors goes by what they store; the latter don't give a shape. */
static int
add_tensor(pyft_digest *digest, const pyft_known *known, PyObject *tensor)
{
    PyObject *type = (PyObject *)Py_TYPE(tensor);
    if (type != known->tensor_type && type != known->parameter_type) {
        return 1;
    }
    PyObject *layout = known->layout->get(tensor, known->layout->closure);
    Py_XDECREF(layout);
    if (layout != known->strided) {
        return layout == NULL ? -1 : 1;
    }
    int result;
    pyft_digest_add_pointer(digest, type);
    PyObject *shape = known->shape->get(tensor, known->shape->closure);
    result = add_sizes(digest, shape);
    Py_XDECREF(shape);
    if (result != 0) {
        return result;
    }
    PyObject *device = known->device->get(tensor, known->device->closure);
    result = pyft_digest_hash(digest, device);
    Py_XDECREF(device);
    if (result != 0 || add_constant(digest, known->dtype, tensor) < 0 ||
        add_constant(digest, known->requires_grad, tensor) < 0) {
        return -1;
    }
    return add_order(digest, known, tensor);
}

static int add_value(pyft_digest *digest, const pyft_known *known, PyObject *value, int depth);

static int
add_items(pyft_digest *digest, const pyft_known *known, PyObject *sequence, int depth)
{
    pyft_digest_add(digest, (uint64_t)PySequence_Fast_GET_SIZE(sequence));
    int result = 0;
    for (Py_ssize_t i = 0; i < PySequence_Fast_GET_SIZE(sequence) && result == 0; i++) {
        PyObject *item = Py_NewRef(PySequence_Fast_GET_ITEM(sequence, i));
        result = add_value(digest, known, item, depth + 1); /* it may run code of the item's */
        Py_DECREF(item);
    }
    return result;
}

static int
add_dict(pyft_digest *digest, const pyft_known *known, PyObject *dict, int depth)
{
    PyObject *key, *value;
    Py_ssize_t position = 0, size = PyDict_GET_SIZE(dict);
    int result = 0;
    pyft_digest_add(digest, (uint64_t)size);
    while (result == 0 && PyDict_Next(dict, &position, &key, &value)) {
        Py_INCREF(key);
        Py_INCREF(value);
        result = add_value(digest, known, key, depth + 1);
        result = result != 0 ? result : add_value(digest, known, value, depth + 1);
        Py_DECREF(key);
        Py_DECREF(value);
        if (result == 0 && PyDict_GET_SIZE(dict) != size) {
            result = 1; /* what was asked has changed it */
        }
    }
    return result;
}

/* A mapping of another kind, such as a tokenizer's, is read as a dict. */
static int
add_mapping(pyft_digest *digest, const pyft_known *known, PyObject *value, int depth)
{
    PyObject *plain = pyft_call_helper("flops_tracker._step_keys", "as_dict", "(O)", value);
    int result = plain == NULL ? -1 : plain == Py_None ? 1 : add_dict(digest, known, plain, depth);
    Py_XDECREF(plain);
    return result;
}

/* All values but those of tensors: a forward may decide by them. */
static int
add_value(pyft_digest *digest, const pyft_known *known, PyObject *value, int depth)
{
    if (depth > MAX_DEPTH) {
        return 1;
    }
    if (PyObject_TypeCheck(value, (PyTypeObject *)known->tensor_type)) {
        return add_tensor(digest, known, value);
    }
    pyft_digest_add_pointer(digest, Py_TYPE(value));
    if (PyTuple_Check(value) || PyList_Check(value)) {
        return add_items(digest, known, value, depth);
    }
    if (PyDict_Check(value)) {
        return add_dict(digest, known, value, depth);
    }
    if (value == Py_None) {
        return 0;
    }
    if (PyLong_CheckExact(value) || PyBool_Check(value)) { /* -1 and -2 have one hash */
        int overflow;
        long long number = PyLong_AsLongLongAndOverflow(value, &overflow);
        pyft_digest_add(digest, (uint64_t)number);
        return overflow == 0 ? 0 : pyft_digest_hash(digest, value);
    }
    if (PyFloat_CheckExact(value)) {
        double number = PyFloat_AS_DOUBLE(value);
        uint64_t bits;
        memcpy(&bits, &number, sizeof bits);
        pyft_digest_add(digest, bits);
        return 0;
    }
    if (PyUnicode_CheckExact(value) || PyBytes_CheckExact(value)) {
        return pyft_digest_hash(digest, value);
    }
    return add_mapping(digest, known, value, depth);
}

int
pyft_digest_batch(pyft_digest *digest, const pyft_known *known, PyObject *batch)
{
    int result = add_value(digest, known, batch, 0);
    if (result < 0 && PyErr_ExceptionMatches(PyExc_Exception)) {
        PyErr_Clear(); /* a tensor that does not say */
        result = 1;
    }
    return result;
}

/* ---- flags ---- */

/* *last: what the last of them gave; borrowed, True or False or a constant. */
static int
add_flags(pyft_digest *digest, PyObject *functions, PyObject **last)
{
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(functions); i++) {
        PyObject *flag = pyft_ask(PyTuple_GET_ITEM(functions, i));
        if (flag == NULL) {
            return -1;
        }
        if (PyLong_CheckExact(flag)) {
            pyft_digest_add(digest, (uint64_t)PyLong_AsLongLong(flag));
        }
        else {
            pyft_digest_add_pointer(digest, flag); /* True, False, a dtype */
        }
        *last = flag;
        Py_DECREF(flag);
    }
    return 0;
}

int
pyft_digest_flags(pyft_digest *digest, const pyft_known *known)
{
    PyObject *last = NULL;
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(known->switches); i++) {
        PyObject *pair = PyTuple_GET_ITEM(known->switches, i);
        PyObject *value =
            PyDict_GetItemWithError(PyTuple_GET_ITEM(pair, 0), PyTuple_GET_ITEM(pair, 1));
        if (value == NULL && PyErr_Occurred()) {
            return -1;
        }
        pyft_digest_add_pointer(digest, value);
    }
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(known->tables); i++) {
        PyObject *table = PyTuple_GET_ITEM(known->tables, i);
        pyft_digest_add(digest, PyDict_Check(table) ? (uint64_t)PyDict_GET_SIZE(table) : 0);
    }
    if (add_flags(digest, known->flags, &last) < 0) {
        return -1;
    }
    return last == Py_True ? add_flags(digest, known->autocast, &last) : 0;
}
