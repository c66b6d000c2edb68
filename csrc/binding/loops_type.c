/* StepLoops: the loops of one tracker, as _steps.py sees them. Internal. */
/* SPDX-License-Identifier: MIT */
#include "loops.h"

#include <stddef.h>
#include <string.h>
#include <structmember.h>

/* ---- the type ---- */

typedef uint64_t number_of(const pyft_loops *self);

static PyObject *
get_number(PyObject *object, void *function)
{
    number_of *number;
    memcpy(&number, &function, sizeof number);
    return PyLong_FromUnsignedLongLong(number((pyft_loops *)object));
}

static PyObject *
is_used(PyObject *object, void *unused)
{
    (void)unused;
    const pyft_loops *self = (pyft_loops *)object;
    bool used = self->depth > 0;
    for (int i = 0; i < self->phase_count; i++) {
        used = used || self->phases[i]->used;
    }
    return PyBool_FromLong(used);
}

static int
make_hooks(pyft_loops *self, PyObject *object)
{
    PyObject *found =
        pyft_call_helper("flops_tracker._step_keys", "optimizer_hooks", "(O)", object);
    if (found == NULL ||
        !PyArg_ParseTuple(found, "OOOO", &self->hook_tables[0], &self->hook_tables[1],
                          &self->hooks[0], &self->hooks[1])) {
        self->hook_tables[0] = self->hook_tables[1] = self->hooks[0] = self->hooks[1] = NULL;
        Py_XDECREF(found);
        return -1;
    }
    for (int i = 0; i < 2; i++) {
        Py_INCREF(self->hook_tables[i]);
        Py_INCREF(self->hooks[i]);
    }
    Py_DECREF(found);
    self->hook_key = PyLong_FromVoidPtr((void *)(-(intptr_t)object)); /* none that torch gives */
    return self->hook_key == NULL ? -1 : 0;
}

static int
loops_init(PyObject *object, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"tracker", "counter",      "model", "batch_dim",
                            "trace",   "verify_every", "seed",  NULL};
    static const char *const modes[] = {"auto", "always", "first"}; /* as in ft_trace_mode */
    pyft_loops *self = (pyft_loops *)object;
    PyObject *tracker, *counter, *model, *batch_dim, *train;
    const char *trace;
    unsigned long long verify_every, seed;
    pyft_state *state = pyft_state_of(Py_TYPE(object));
    if (state == NULL || self->counter != NULL ||
        !PyArg_ParseTupleAndKeywords(args, kwargs, "O!O!OOsKK:StepLoops", names,
                                     state->tracker_type, &tracker, state->counter_type, &counter,
                                     &model, &batch_dim, &trace, &verify_every, &seed)) {
        if (!PyErr_Occurred()) {
            PyErr_SetString(PyExc_RuntimeError, "StepLoops.__init__ was called twice");
        }
        return -1;
    }
    size_t mode = 0;
    while (mode < FT_COUNT_OF(modes) && strcmp(modes[mode], trace) != 0) {
        mode++;
    }
    if (mode == FT_COUNT_OF(modes) || verify_every == 0) {
        PyErr_Format(PyExc_ValueError, "trace=%s, verify_every=%llu: no such way to count", trace,
                     verify_every);
        return -1;
    }
    ft_tally_init(&self->last, ft_allocator_libc());
    self->trace = (ft_trace_mode)mode;
    self->verify_every = verify_every;
    self->seed = seed;
    self->batch_dim = Py_NewRef(batch_dim);
    self->counter = (pyft_counter *)Py_NewRef(counter);
    self->tracker = PyWeakref_NewRef(tracker, NULL);
    self->optimizers = PyList_New(0);
    self->warnings = PyList_New(0);
    train = PyUnicode_InternFromString("train");
    if (self->tracker == NULL || self->optimizers == NULL || self->warnings == NULL ||
        train == NULL || pyft_known_load(&self->known, &state->counting->torch) < 0 ||
        make_hooks(self, object) < 0 || pyft_models_add(&self->models, model) < 0) {
        Py_XDECREF(train);
        return -1;
    }
    int number;
    int result = pyft_loops_find_phase(self, train, &number);
    Py_DECREF(train);
    return result;
}

static int
loops_traverse(PyObject *object, visitproc visit, void *arg)
{
    pyft_loops *self = (pyft_loops *)object;
    Py_VISIT(Py_TYPE(object));
    Py_VISIT((PyObject *)self->counter);
    Py_VISIT(self->hooks[0]);
    Py_VISIT(self->hooks[1]);
    Py_VISIT(self->hook_tables[0]);
    Py_VISIT(self->hook_tables[1]);
    Py_VISIT(self->optimizers);
    Py_VISIT(self->warnings);
    Py_VISIT(self->batch_dim);
    int visited = pyft_known_visit(&self->known, visit, arg);
    return visited != 0 ? visited : pyft_models_visit(&self->models, visit, arg);
}

static int
loops_clear(PyObject *object)
{
    pyft_loops *self = (pyft_loops *)object;
    pyft_models_clear(&self->models);
    return 0;
}

static void
loops_dealloc(PyObject *object)
{
    pyft_loops *self = (pyft_loops *)object;
    PyTypeObject *type = Py_TYPE(object);
    PyObject_GC_UnTrack(object);
    for (int i = 0; i < 2 && self->depth > 0 && self->hook_key != NULL; i++) {
        PyObject *error = pyft_take_exception();
        PyObject_DelItem(self->hook_tables[i], self->hook_key);
        PyErr_Clear();
        pyft_put_exception(error);
    }
    if (self->weak_references != NULL) {
        PyObject_ClearWeakRefs(object);
    }
    loops_clear(object);
    for (int i = 0; i < self->phase_count; i++) {
        ft_replay_clear(&self->phases[i]->steps);
        ft_replay_clear(&self->phases[i]->optimizers);
        Py_DECREF(self->phases[i]->name);
        PyMem_Free(self->phases[i]);
    }
    PyMem_Free(self->phases);
    for (int i = 0; i < PYFT_MAX_SPANS; i++) {
        pyft_snapshot_clear(&self->before[i]);
        if (i < self->depth) {
            ft_tally_clear(&self->spans[i].work);
        }
    }
    pyft_snapshot_clear(&self->now);
    ft_tally_clear(&self->last);
    PyMem_Free(self->held);
    pyft_known_clear(&self->known);
    Py_CLEAR(self->hooks[0]);
    Py_CLEAR(self->hooks[1]);
    Py_CLEAR(self->hook_tables[0]);
    Py_CLEAR(self->hook_tables[1]);
    Py_CLEAR(self->hook_key);
    Py_CLEAR(self->optimizers);
    Py_CLEAR(self->warnings);
    Py_CLEAR(self->batch_dim);
    Py_CLEAR(self->tracker);
    Py_CLEAR(self->counter);
    type->tp_free(object);
    Py_DECREF(type);
}

#define NUMBER(name, function, text) {name, get_number, NULL, text, (void *)(function)}
static PyGetSetDef loops_getset[] = {
    NUMBER("traced_steps", pyft_loops_traced, "Steps that were counted."),
    NUMBER("replayed_steps", pyft_loops_replayed,
           "Steps that cost what a counted one like them had cost."),
    {"_is_used", is_used, NULL, "Whether there was a step or a phase.", NULL},
    NUMBER("_differing", pyft_loops_differing,
           "Counted steps that did other work than others like them."),
    NUMBER("unattributed_steps", pyft_loops_unattributed, "Steps of which nothing is known."),
    {NULL, NULL, NULL, NULL, NULL},
};

static PyMemberDef loops_members[] = {
    {"_run_through", T_UINT, offsetof(pyft_loops, run_through), READONLY, NULL},
    {"_cut", T_BOOL, offsetof(pyft_loops, cut), 0, "The budget ended a loop before its last step."},
    {"__weaklistoffset__", T_PYSSIZET, offsetof(pyft_loops, weak_references), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot loops_slots[] = {
    {Py_tp_init, loops_init},
    {Py_tp_new, PyType_GenericNew},
    {Py_tp_dealloc, loops_dealloc},
    {Py_tp_traverse, loops_traverse},
    {Py_tp_clear, loops_clear},
    {Py_tp_methods, pyft_loops_methods},
    {Py_tp_getset, loops_getset},
    {Py_tp_members, loops_members},
    {0, NULL},
};

static PyType_Spec loops_spec = {
    .name = "flops_tracker._core.StepLoops",
    .basicsize = sizeof(pyft_loops),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_BASETYPE,
    .slots = loops_slots,
};

int
pyft_add_loops(PyObject *module, pyft_state *state)
{
    PyObject *type = PyType_FromModuleAndSpec(module, &loops_spec, NULL);
    int result = type == NULL ? -1 : PyModule_AddType(module, (PyTypeObject *)type);
    Py_XDECREF(type);
    return result < 0 ? -1 : pyft_add_steps_iterator(module, state);
}
