/* FlopCounter: a block in which every operation is counted, and the threads it counts in. */
/* SPDX-License-Identifier: MIT */
#include "counting.h"

#include <stddef.h>
#include <structmember.h>

/* ---- the block ---- */

/* A subclass may forget to call the base's __init__. */
int
pyft_counter_check(const pyft_counter *self)
{
    if (self->bounded == NULL) {
        PyErr_SetString(PyExc_RuntimeError, "FlopCounter.__init__ was not called");
        return -1;
    }
    return 0;
}

static PyObject *
counter_enter(PyObject *object, PyObject *unused)
{
    (void)unused;
    pyft_counter *self = (pyft_counter *)object;
    if (pyft_counter_check(self) < 0) {
        return NULL;
    }
    if (self->active) {
        PyErr_SetString(PyExc_RuntimeError,
                        "this FlopCounter is counting already; use another one inside");
        return NULL;
    }
    self->active = true;
    self->session = pyft_call_helper("flops_tracker._counting", "open_session", "(O)", object);
    if (self->session == NULL) {
        self->active = false;
        pyft_threads_end(self);
        return NULL;
    }
    return Py_NewRef(object);
}

static PyObject *
counter_exit(PyObject *object, PyObject *const *args, Py_ssize_t count)
{
    (void)args;
    (void)count;
    pyft_counter *self = (pyft_counter *)object;
    PyObject *session = self->session;
    self->session = NULL;
    PyObject *closed =
        session == NULL ? Py_NewRef(Py_None) : PyObject_CallMethod(session, "close", NULL);
    self->active = false;
    pyft_threads_end(self);
    Py_XDECREF(session);
    Py_XDECREF(closed);
    return closed == NULL ? NULL : Py_NewRef(Py_False);
}

/* From now on, and none of those before. */
static int
record_calls(pyft_counter *self, PyObject *observer)
{
    pyft_calls *calls = pyft_calls_new();
    if (calls == NULL) {
        return -1;
    }
    pyft_calls_release(self->calls);
    self->calls = calls;
    Py_XSETREF(self->observer, Py_XNewRef(observer));
    return 0;
}

static PyObject *
counter_record_calls(PyObject *object, PyObject *observer)
{
    pyft_counter *self = (pyft_counter *)object;
    if (pyft_threads_in_use(self)) {
        PyErr_SetString(PyExc_RuntimeError, "ask for calls outside of the block");
        return NULL;
    }
    if (record_calls(self, observer == Py_None ? NULL : observer) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

static int
start_afresh(pyft_counter *self)
{
    pyft_threads_free(self);
    ft_tally_clear(&self->tally);
    pyft_modules_clear(&self->modules);
    if (self->calls != NULL && record_calls(self, self->observer) < 0) {
        return -1;
    }
    Py_XSETREF(self->unknown, PyDict_New());
    Py_XSETREF(self->bounded, PyDict_New());
    if (self->unknown == NULL || self->bounded == NULL || pyft_modules_init(&self->modules) < 0) {
        return -1;
    }
    self->modules.has_model = self->model != NULL;
    return self->model == NULL ? 0 : pyft_modules_add_tree(&self->modules, self->model, 0);
}

static PyObject *
counter_reset(PyObject *object, PyObject *unused)
{
    (void)unused;
    pyft_counter *self = (pyft_counter *)object;
    if (pyft_threads_in_use(self)) {
        PyErr_SetString(PyExc_RuntimeError,
                        "reset() a FlopCounter outside of its block, when no thread is counted");
        return NULL;
    }
    if (start_afresh(self) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

/* FLOPs stated by functions of (args, kwargs, result), for this counter alone, by packet name; they
 * come before all rules and are the same under every convention. */
static PyObject *
counter_set_formulas(PyObject *object, PyObject *formulas)
{
    pyft_counter *self = (pyft_counter *)object;
    if (!PyDict_Check(formulas)) {
        PyErr_Format(PyExc_TypeError, "formulas must be a dict, not %R", formulas);
        return NULL;
    }
    Py_XSETREF(self->formulas, PyDict_Copy(formulas));
    return self->formulas == NULL ? NULL : Py_NewRef(Py_None);
}

/* Whether a dispatch mode is one of this counter's, in a block that is open. */
static PyObject *
counter_owns(PyObject *object, PyObject *mode)
{
    const pyft_counter *self = (pyft_counter *)object;
    const pyft_thread *thread = pyft_mode_thread(mode, self->state);
    return PyBool_FromLong(thread != NULL && thread->counter == self);
}

static PyObject *
counter_call_count(PyObject *object, void *unused)
{
    (void)unused;
    const pyft_counter *self = (pyft_counter *)object;
    return PyLong_FromSize_t(self->calls == NULL ? 0 : self->calls->count);
}

static PyObject *
counter_varying(PyObject *object, void *unused)
{
    (void)unused;
    PyObject *name = ((pyft_counter *)object)->varying;
    return Py_NewRef(name == NULL ? Py_None : name);
}

/* ---- the type ---- */

static bool
is_text(PyObject *object, const char *text)
{
    return PyUnicode_Check(object) && PyUnicode_CompareWithASCIIString(object, text) == 0;
}

static const ft_convention *
convention_of(PyObject *object)
{
    if (!PyUnicode_Check(object)) {
        PyErr_Format(PyExc_TypeError, "convention must be a name such as 'standard', not %R",
                     object);
        return NULL;
    }
    const char *name = PyUnicode_AsUTF8(object);
    return name == NULL ? NULL : pyft_convention_named(name);
}

static int
counter_init(PyObject *object, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"model", "convention", "strict", "causal", NULL};
    pyft_counter *self = (pyft_counter *)object;
    PyObject *model = Py_None, *convention = NULL, *causal = NULL;
    pyft_switch strict = {"strict", false};
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|O$OO&O:FlopCounter", names, &model,
                                     &convention, pyft_to_switch, &strict, &causal)) {
        return -1;
    }
    if (pyft_threads_in_use(self)) {
        PyErr_SetString(PyExc_RuntimeError, "this FlopCounter is counting");
        return -1;
    }
    const ft_convention *found =
        convention == NULL ? ft_convention_find("standard") : convention_of(convention);
    if (found == NULL) {
        return -1;
    }
    bool exact = causal != NULL && is_text(causal, "exact");
    if (causal != NULL && !exact && !is_text(causal, "full")) {
        PyErr_Format(PyExc_ValueError, "causal must be 'full' or 'exact', not %R", causal);
        return -1;
    }
    self->causal = exact;
    self->state = pyft_state_of(Py_TYPE(object));
    if (self->state == NULL || pyft_counting_of(self->state) == NULL) {
        return -1;
    }
    self->convention = found;
    self->strict = strict.on;
    Py_XSETREF(self->model, model == Py_None ? NULL : Py_NewRef(model));
    return start_afresh(self);
}

static PyObject *
counter_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    (void)args;
    (void)kwargs;
    pyft_counter *self = (pyft_counter *)type->tp_alloc(type, 0);
    if (self != NULL) {
        ft_tally_init(&self->tally, ft_allocator_libc());
        self->convention = ft_convention_find("standard");
        self->state = pyft_state_of(type);
    }
    return (PyObject *)self;
}

static int
counter_traverse(PyObject *object, visitproc visit, void *arg)
{
    pyft_counter *self = (pyft_counter *)object;
    Py_VISIT(Py_TYPE(object));
    Py_VISIT(self->unknown);
    Py_VISIT(self->bounded);
    Py_VISIT(self->model);
    Py_VISIT(self->session);
    Py_VISIT(self->observer);
    Py_VISIT(self->formulas);
    for (int i = 0; i < self->thread_count; i++) {
        Py_VISIT(self->threads[i]->mode);
        Py_VISIT(self->threads[i]->node);
        for (int j = 0; j < self->threads[i]->depth; j++) {
            Py_VISIT(self->threads[i]->scopes[j].frame);
        }
    }
    return 0;
}

static int
counter_clear(PyObject *object)
{
    pyft_counter *self = (pyft_counter *)object;
    Py_CLEAR(self->unknown);
    Py_CLEAR(self->bounded);
    Py_CLEAR(self->model);
    Py_CLEAR(self->session);
    Py_CLEAR(self->observer);
    Py_CLEAR(self->formulas);
    return 0;
}

static void
counter_dealloc(PyObject *object)
{
    pyft_counter *self = (pyft_counter *)object;
    PyTypeObject *type = Py_TYPE(object);
    PyObject_GC_UnTrack(object);
    if (self->weak_references != NULL) {
        PyObject_ClearWeakRefs(object);
    }
    pyft_threads_free(self);
    counter_clear(object);
    ft_tally_clear(&self->tally);
    pyft_modules_clear(&self->modules);
    pyft_calls_release(self->calls);
    type->tp_free(object);
    Py_DECREF(type);
}

static PyMethodDef counter_methods[] = {
    {"__dir__", pyft_counter_dir, METH_NOARGS, NULL},
    {"__enter__", counter_enter, METH_NOARGS, "Starts to count in this thread."},
    {"__exit__", PYFT_METHOD(counter_exit), METH_FASTCALL, "Ends it."},
    {"reset", counter_reset, METH_NOARGS, "reset($self, /)\n--\n\nForgets what was counted."},
    {"_record_calls", counter_record_calls, METH_O, NULL},
    {"_counts_as", pyft_counter_counts_as, METH_O, NULL},
    {"_set_formulas", counter_set_formulas, METH_O, NULL},
    {"_new_mode", pyft_counter_new_mode, METH_NOARGS, NULL},
    {"_owns", counter_owns, METH_O, NULL},
    {"_enter_module", PYFT_METHOD(pyft_counter_enter_module), METH_FASTCALL, NULL},
    {"_leave_module", PYFT_METHOD(pyft_counter_leave_module), METH_FASTCALL, NULL},
    {NULL, NULL, 0, NULL},
};

static PyMemberDef counter_members[] = {
    {"__weaklistoffset__", T_PYSSIZET, offsetof(pyft_counter, weak_references), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyGetSetDef counter_getset[] = {
    {"counts", pyft_counter_counts, NULL, "What was counted so far, as a FlopCount.", NULL},
    {"_call_count", counter_call_count, NULL, NULL, NULL},
    {"_varying", counter_varying, NULL, "An operation whose work data decided, or None.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot counter_slots[] = {
    {Py_tp_doc,
     "FlopCounter(model=None, *, convention='standard', strict=False, causal='full')\n--\n\n"
     "Counts every PyTorch operation of a block: `with FlopCounter() as c: ...`.\n\n"
     "Afterwards, and inside, it reads like a FlopCount: c.total, c.by_op(), c.table().\n"
     "The same counter entered again goes on. `model` gives names to its modules from the\n"
     "start and lists those that never ran; without it, modules are named when they run.\n"
     "strict: an operation without a rule raises UnknownOperationError before it runs. causal='exact'\n"
     "counts the lower triangle of causal attention only."},
    {Py_tp_new, counter_new},
    {Py_tp_init, counter_init},
    {Py_tp_repr, pyft_counter_repr},
    {Py_tp_str, pyft_counter_str},
    {Py_tp_getattro, pyft_counter_getattro},
    {Py_tp_traverse, counter_traverse},
    {Py_tp_clear, counter_clear},
    {Py_tp_dealloc, counter_dealloc},
    {Py_tp_methods, counter_methods},
    {Py_tp_members, counter_members},
    {Py_tp_getset, counter_getset},
    {0, NULL},
};

static PyType_Spec counter_spec = {
    .name = "flops_tracker.FlopCounter",
    .basicsize = sizeof(pyft_counter),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_BASETYPE,
    .slots = counter_slots,
};

int
pyft_add_counter(PyObject *module, pyft_state *state)
{
    state->counter_type = (PyTypeObject *)PyType_FromModuleAndSpec(module, &counter_spec, NULL);
    return state->counter_type == NULL ? -1 : PyModule_AddType(module, state->counter_type);
}
