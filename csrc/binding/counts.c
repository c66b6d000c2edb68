/* OperationCounts: the frozen result of counting; FlopCount, its Python subclass, prints it. */
/* SPDX-License-Identifier: MIT */
#include "counting.h"

/* ---- making one ---- */

/* (name, class, parent, calls, other names, has parameters, has a forward) by number. */
static PyObject *
modules_list(const pyft_modules *modules, const ft_tally *tally)
{
    PyObject *list = PyList_New(modules->count);
    for (uint32_t i = 0; list != NULL && i < modules->count; i++) {
        const pyft_module_entry *entry = &modules->items[i];
        PyObject *row = Py_BuildValue(
            "(OOIKNOO)", entry->name, entry->class_name, entry->parent,
            (unsigned long long)ft_tally_visits(tally, i), PyList_AsTuple(entry->aliases),
            entry->own_parameters ? Py_True : Py_False, entry->has_forward ? Py_True : Py_False);
        if (row == NULL) {
            Py_CLEAR(list);
            break;
        }
        PyList_SET_ITEM(list, i, row);
    }
    return list;
}

pyft_counts *
pyft_counts_empty(PyTypeObject *type, pyft_state *state, const ft_convention *convention)
{
    pyft_counts *self = (pyft_counts *)type->tp_alloc(type, 0);
    if (self != NULL) {
        ft_tally_init(&self->tally, ft_allocator_libc());
        self->state = state;
        self->convention = convention;
    }
    return self;
}

static int
take_tally(pyft_counts *self, const ft_tally *tally)
{
    ft_status status = ft_tally_merge(&self->tally, tally, 1);
    return status == FT_OK ? 0 : (pyft_raise(status, "copying counts"), -1);
}

static void
share_calls(pyft_counts *self, pyft_calls *calls)
{
    self->calls = calls;
    if (calls != NULL) {
        calls->references++;
        self->call_count = calls->count;
        self->work_count = calls->work_count;
    }
}

/* Whose counts they are stays with them, also in another process. */
static int
note_rank(PyObject *counts)
{
    PyObject *label = pyft_rank_label();
    int result = label == NULL ? -1 : 0;
    if (label != NULL && PyUnicode_GET_LENGTH(label) > 0) {
        result = PyObject_SetAttrString(counts, "ranks", label);
    }
    Py_XDECREF(label);
    return result;
}

PyObject *
pyft_counts_new(pyft_counter *counter, PyObject *type)
{
    return pyft_counts_of(counter, &counter->tally, type);
}

PyObject *
pyft_counts_of(pyft_counter *counter, const ft_tally *tally, PyObject *type)
{
    if (!PyType_Check(type) ||
        !PyType_IsSubtype((PyTypeObject *)type, counter->state->counts_type)) {
        return PyErr_Format(PyExc_TypeError, "counts are a subclass of OperationCounts, not %R",
                            type);
    }
    pyft_counts *self =
        pyft_counts_empty((PyTypeObject *)type, counter->state, counter->convention);
    if (self == NULL) {
        return NULL;
    }
    self->causal = counter->causal;
    share_calls(self, counter->calls);
    self->modules = modules_list(&counter->modules, tally);
    self->unknown = PyDict_Copy(counter->unknown);
    self->bounded = PyDict_Copy(counter->bounded);
    if (self->modules == NULL || self->unknown == NULL || self->bounded == NULL ||
        take_tally(self, tally) < 0 || note_rank((PyObject *)self) < 0) {
        Py_CLEAR(self);
    }
    return (PyObject *)self;
}

static PyObject *
counts_under(PyObject *object, PyObject *argument)
{
    pyft_counts *self = (pyft_counts *)object;
    const char *name = PyUnicode_AsUTF8(argument);
    const ft_convention *convention = name == NULL ? NULL : pyft_convention_named(name);
    if (convention != NULL && convention->rules != self->convention->rules) {
        PyErr_Format(PyExc_ValueError,
                     "counts under '%s' can't be read under '%s', which has other rules: count "
                     "again with convention='%s'",
                     self->convention->name, name, name);
        return NULL;
    }
    pyft_counts *other =
        convention == NULL ? NULL : pyft_counts_empty(Py_TYPE(object), self->state, convention);
    if (other == NULL) {
        return NULL;
    }
    other->causal = self->causal;
    share_calls(other, self->calls);
    other->call_count = self->call_count;
    other->work_count = self->work_count;
    other->modules = Py_NewRef(self->modules);
    other->unknown = Py_NewRef(self->unknown);
    other->bounded = Py_NewRef(self->bounded);
    other->op_names = Py_XNewRef(self->op_names);
    other->dtype_names = Py_XNewRef(self->dtype_names);
    PyObject *attributes = PyObject_GetAttrString(object, "__dict__");
    PyObject *others = PyObject_GetAttrString((PyObject *)other, "__dict__");
    if (attributes == NULL || others == NULL || PyDict_Update(others, attributes) < 0 ||
        take_tally(other, &self->tally) < 0) {
        Py_CLEAR(other);
    }
    Py_XDECREF(attributes);
    Py_XDECREF(others);
    return (PyObject *)other;
}

/* ---- attributes ---- */

static PyObject *
counts_total(PyObject *object, void *unused)
{
    (void)unused;
    pyft_counts *self = (pyft_counts *)object;
    return pyft_from_u128(ft_tally_total(&self->tally, self->convention));
}

static PyObject *
counts_phase(PyObject *object, void *phase)
{
    pyft_counts *self = (pyft_counts *)object;
    ft_u128 sums[FT_PHASE_COUNT] = {{0, 0}};
    ft_tally_sum(&self->tally, self->convention, FT_BY_PHASE, sums, FT_PHASE_COUNT);
    return pyft_from_u128(sums[(intptr_t)phase]);
}

static PyObject *
counts_bytes(PyObject *object, void *unused)
{
    (void)unused;
    return pyft_from_u128(ft_tally_kind(&((pyft_counts *)object)->tally, FT_BYTES));
}

static PyObject *
counts_convention(PyObject *object, void *unused)
{
    (void)unused;
    return PyUnicode_FromString(((pyft_counts *)object)->convention->name);
}

static PyObject *
counts_operations(PyObject *object, void *unused)
{
    (void)unused;
    return PyLong_FromUnsignedLongLong(((pyft_counts *)object)->tally.operations);
}

static PyObject *
counts_unknown_operations(PyObject *object, void *unused)
{
    (void)unused;
    return PyLong_FromUnsignedLongLong(((pyft_counts *)object)->tally.unknown_operations);
}

static PyObject *
counts_modules(PyObject *object, void *unused)
{
    (void)unused;
    return Py_NewRef(((pyft_counts *)object)->modules);
}

static PyObject *
counts_unknown(PyObject *object, void *unused)
{
    (void)unused;
    return PyDict_Copy(((pyft_counts *)object)->unknown);
}

static PyObject *
counts_bounded(PyObject *object, void *unused)
{
    (void)unused;
    return PyDict_Copy(((pyft_counts *)object)->bounded);
}

static PyObject *
counts_causal(PyObject *object, void *unused)
{
    (void)unused;
    return PyUnicode_FromString(((pyft_counts *)object)->causal ? "exact" : "full");
}

static int
counts_traverse(PyObject *object, visitproc visit, void *arg)
{
    pyft_counts *self = (pyft_counts *)object;
    Py_VISIT(Py_TYPE(object));
    Py_VISIT(self->modules);
    Py_VISIT(self->unknown);
    Py_VISIT(self->bounded);
    Py_VISIT(self->op_names);
    Py_VISIT(self->dtype_names);
    return 0;
}

static int
counts_clear(PyObject *object)
{
    pyft_counts *self = (pyft_counts *)object;
    Py_CLEAR(self->modules);
    Py_CLEAR(self->unknown);
    Py_CLEAR(self->bounded);
    Py_CLEAR(self->op_names);
    Py_CLEAR(self->dtype_names);
    return 0;
}

static void
counts_dealloc(PyObject *object)
{
    PyTypeObject *type = Py_TYPE(object);
    PyObject_GC_UnTrack(object);
    counts_clear(object);
    ft_tally_clear(&((pyft_counts *)object)->tally);
    pyft_calls_release(((pyft_counts *)object)->calls);
    type->tp_free(object);
    Py_DECREF(type);
}

static PyMethodDef counts_methods[] = {
    {"under", counts_under, METH_O,
     "under($self, convention, /)\n--\n\nThe same counts under another convention."},
    {"_sums", pyft_counts_sums, METH_O, NULL},
    {"_op_calls", pyft_counts_op_calls, METH_NOARGS, NULL},
    {"_calls_sum", pyft_counts_calls_sum, METH_O, NULL},
    {"_module_sums", pyft_counts_module_sums, METH_NOARGS, NULL},
    {"_module_op_sums", pyft_counts_module_op_sums, METH_O, NULL},
    {"_state", pyft_counts_state, METH_NOARGS, NULL},
    {"_from_state", pyft_counts_from_state, METH_O | METH_CLASS, NULL},
    {"_from_states", pyft_counts_from_states, METH_O | METH_CLASS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef counts_getset[] = {
    {"total", counts_total, NULL, "FLOPs of all phases, an int.", NULL},
    {"forward", counts_phase, NULL, "FLOPs of the forward pass.", (void *)FT_PHASE_FORWARD},
    {"backward", counts_phase, NULL, "FLOPs of the backward pass, as it ran.",
     (void *)FT_PHASE_BACKWARD},
    {"recompute", counts_phase, NULL, "FLOPs of forward work that backward did again.",
     (void *)FT_PHASE_RECOMPUTE},
    {"optimizer", counts_phase, NULL, "FLOPs of optimizer steps and other updates.",
     (void *)FT_PHASE_OPTIMIZER},
    {"bytes", counts_bytes, NULL, "Read and written, from shapes and dtypes.", NULL},
    {"convention", counts_convention, NULL, "The name of the convention.", NULL},
    {"operations", counts_operations, NULL, "Operations that ran.", NULL},
    {"unknown_operations", counts_unknown_operations, NULL, "Those that have no rule.", NULL},
    {"unknown", counts_unknown, NULL,
     "dict: operations without a rule, and the shapes of the first call of each.", NULL},
    {"causal", counts_causal, NULL,
     "'exact' where attention counts the pairs that its mask leaves, else 'full'.", NULL},
    {"upper_bounds", counts_bounded, NULL,
     "dict: operations whose lengths were not read, since that waits for a GPU or there are none in\n"
     "fake tensors; they count the most that these can be. The shapes of the first call of each.",
     NULL},
    {"rows", pyft_counts_rows, NULL, "All rows, a list of OperationRow.", NULL},
    {"_calls", pyft_counts_calls, NULL, NULL, NULL},
    {"_modules", counts_modules, NULL, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot counts_slots[] = {
    {Py_tp_doc, "Counts by operation, module, phase and dtype; see FlopCount."},
    {Py_tp_traverse, counts_traverse},
    {Py_tp_clear, counts_clear},
    {Py_tp_dealloc, counts_dealloc},
    {Py_tp_methods, counts_methods},
    {Py_tp_getset, counts_getset},
    {0, NULL},
};

static PyType_Spec counts_spec = {
    .name = "flops_tracker._core.OperationCounts",
    .basicsize = sizeof(pyft_counts),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_BASETYPE |
             Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = counts_slots,
};

static PyStructSequence_Field row_fields[] = {
    {"op", "the operation, with its overload"},
    {"module", "the path of its module; '' outside of all"},
    {"phase", "forward, backward, recompute or optimizer"},
    {"dtype", "of its result"},
    {"op_class", "matmul, conv, attention, ..."},
    {"calls", "how often it was called"},
    {"flops", "under the convention of the counts"},
    {"cost", "dict: counts by kind of work"},
    {NULL, NULL},
};
static PyStructSequence_Desc row_desc = {"flops_tracker.OperationRow",
                                         "One operation in one module and phase.", row_fields, 8};

int
pyft_add_counts(PyObject *module, pyft_state *state)
{
    state->operation_row_type = pyft_new_record_type(&row_desc);
    state->counts_type = (PyTypeObject *)PyType_FromModuleAndSpec(module, &counts_spec, NULL);
    return state->operation_row_type == NULL || state->counts_type == NULL ||
                   PyModule_AddType(module, state->operation_row_type) < 0
               ? -1
               : PyModule_AddType(module, state->counts_type);
}
