/* StepLoops: the loops of one tracker, as _steps.py sees them. Internal. */
/* SPDX-License-Identifier: MIT */
#include "loops.h"

#include <stddef.h>
#include <string.h>
#include <structmember.h>

/* ---- phases ---- */

static int
find_phase(pyft_loops *self, PyObject *name, int *number)
{
    for (int i = 0; i < self->phase_count; i++) {
        int same = PyObject_RichCompareBool(self->phases[i]->name, name, Py_EQ);
        if (same != 0) {
            *number = i;
            return same < 0 ? -1 : 0;
        }
    }
    size_t size = ((size_t)self->phase_count + 1) * sizeof(pyft_phase_work *);
    pyft_phase_work **phases = PyMem_Realloc(self->phases, size);
    pyft_phase_work *phase = NULL;
    if (phases != NULL) {
        self->phases = phases;
        phase = PyMem_Calloc(1, sizeof *phase);
    }
    if (phase == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    phase->name = Py_NewRef(name);
    const ft_convention *convention = self->counter->convention;
    self->seed += 2;
    ft_replay_init(&phase->steps, ft_allocator_libc(), convention, self->trace, self->verify_every,
                   self->seed);
    ft_replay_init(&phase->optimizers, ft_allocator_libc(), convention, self->trace,
                   self->verify_every, self->seed + 1);
    *number = self->phase_count;
    self->phases[self->phase_count++] = phase;
    return 0;
}

/* ---- spans ---- */

int
pyft_loops_batch_size(pyft_loops *self, PyObject *batch, uint64_t *size)
{
    PyObject *data = batch;
    if ((PyTuple_Check(batch) || PyList_Check(batch)) && PySequence_Fast_GET_SIZE(batch) > 0) {
        data = PySequence_Fast_GET_ITEM(batch, 0);
    }
    if ((PyObject *)Py_TYPE(data) == self->known.tensor_type &&
        PyLong_CheckExact(self->batch_dim) && PyLong_AsLong(self->batch_dim) == 0) {
        PyObject *shape = self->known.shape->get(data, self->known.shape->closure);
        bool plain = shape != NULL && PyTuple_Check(shape) && PyTuple_GET_SIZE(shape) > 0;
        PyObject *first = plain ? PyTuple_GET_ITEM(shape, 0) : NULL;
        plain = first != NULL && PyLong_Check(first);
        *size = plain ? (uint64_t)PyLong_AsUnsignedLongLong(first) : 1;
        Py_XDECREF(shape);
        PyErr_Clear();
        if (plain) {
            return 0;
        }
    }
    PyObject *found =
        pyft_call_helper("flops_tracker._steps", "size_of", "(OO)", data, self->batch_dim);
    int result = found == NULL ? -1 : pyft_to_u64(found, "batch_size", size);
    Py_XDECREF(found);
    return result;
}

/* _begin_step(batch, batch_size): None as the size is that of the batch, as the batch is unknown.
 */
static PyObject *
loops_begin_step(PyObject *object, PyObject *args)
{
    pyft_loops *self = (pyft_loops *)object;
    PyObject *batch, *given;
    uint64_t size = 1, number = 0;
    if (!PyArg_ParseTuple(args, "OO", &batch, &given)) {
        return NULL;
    }
    int sized = given != Py_None   ? pyft_to_u64(given, "batch_size", &size)
                : batch != Py_None ? pyft_loops_batch_size(self, batch, &size)
                                   : 0;
    if (sized < 0) {
        return NULL;
    }
    batch = batch == Py_None ? NULL : batch;
    return pyft_loops_begin_step(self, batch, size, &number) < 0
               ? NULL
               : PyLong_FromUnsignedLongLong(number);
}

static PyObject *
loops_begin_phase(PyObject *object, PyObject *name)
{
    pyft_loops *self = (pyft_loops *)object;
    int phase, before = self->phase;
    pyft_tracker *tracker = pyft_loops_tracker(self);
    if (tracker == NULL || find_phase(self, name, &phase) < 0) {
        return NULL;
    }
    pyft_span span = {.kind = PYFT_SPAN_PHASE, .counted = true};
    self->phase = phase;
    if (pyft_loops_open(self, &span) < 0) {
        self->phase = before;
        return NULL;
    }
    if (phase != 0) { /* this is no time of training */
        ft_epochs_pause(&tracker->run, pyft_tracker_now(tracker));
    }
    return PyLong_FromUnsignedLongLong(span.number);
}

static PyObject *
loops_end(PyObject *object, PyObject *args)
{
    unsigned long long number;
    int whole;
    if (!PyArg_ParseTuple(args, "Kp", &number, &whole)) {
        return NULL;
    }
    return pyft_loops_end((pyft_loops *)object, number, whole != 0) < 0 ? NULL : Py_NewRef(Py_None);
}

/* The size of a step that is open, where only its body knows it. */
static PyObject *
loops_set_batch_size(PyObject *object, PyObject *args)
{
    pyft_loops *self = (pyft_loops *)object;
    unsigned long long number;
    PyObject *size;
    uint64_t batch_size;
    if (!PyArg_ParseTuple(args, "KO", &number, &size) ||
        pyft_to_u64(size, "the batch size", &batch_size) < 0) {
        return NULL;
    }
    for (int i = 0; i < self->depth; i++) {
        if (self->spans[i].number == number) {
            self->spans[i].batch_size = batch_size;
        }
    }
    Py_RETURN_NONE;
}

/* Autograd nodes that torch.compile made, and not what runs. */
static PyObject *
loops_exclude(PyObject *object, PyObject *nodes)
{
    pyft_loops *self = (pyft_loops *)object;
    pyft_span *top = pyft_loops_top(self);
    uint64_t count;
    if (pyft_to_u64(nodes, "nodes", &count) < 0) {
        return NULL;
    }
    if (top != NULL && self->thread == PyThread_get_thread_ident()) {
        top->excluded += count;
    }
    Py_RETURN_NONE;
}

/* ---- epochs ---- */

int
pyft_loops_end_epoch(pyft_loops *self, bool whole)
{
    pyft_tracker *tracker = pyft_loops_tracker(self);
    if (tracker == NULL || pyft_held_give_up(self) < 0) {
        return -1;
    }
    ft_epoch epoch;
    if (tracker->run.open && (whole || tracker->budget_stops)) {
        if (pyft_tracker_end_epoch_in_order(tracker, whole, NULL, &epoch) < 0) {
            return -1;
        }
    }
    else if (tracker->run.open) {
        ft_status status =
            ft_epochs_end(&tracker->run, false, NULL, pyft_tracker_now(tracker), &epoch);
        if (status != FT_OK) {
            pyft_raise(status, "ending the epoch");
            return -1;
        }
    }
    return pyft_loops_say(self);
}

static PyObject *
loops_end_epoch(PyObject *object, PyObject *complete)
{
    int whole = PyObject_IsTrue(complete);
    return whole < 0 || pyft_loops_end_epoch((pyft_loops *)object, whole != 0) < 0
               ? NULL
               : Py_NewRef(Py_None);
}

static PyObject *
loops_give_up(PyObject *object, PyObject *unused)
{
    (void)unused;
    pyft_loops *self = (pyft_loops *)object;
    return pyft_held_give_up(self) < 0 || pyft_loops_say(self) < 0 ? NULL : Py_NewRef(Py_None);
}

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
    int result = find_phase(self, train, &number);
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
        if (error != NULL) {
            pyft_put_exception(error);
        }
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

static PyMethodDef loops_methods[] = {
    {"_begin_step", loops_begin_step, METH_VARARGS, "The number of a step that is open now."},
    {"_begin_phase", loops_begin_phase, METH_O, "The same of a phase, by its name."},
    {"_end", loops_end, METH_VARARGS, "_end(number, whole)"},
    {"_set_batch_size", loops_set_batch_size, METH_VARARGS, "_set_batch_size(number, size)"},
    {"_take_last", pyft_loops_take_last, METH_O, "What the last step did, if it was counted."},
    {"_exclude", loops_exclude, METH_O, "_exclude(nodes): of the step that is open, not its own."},
    {"_iterate", pyft_steps_iterate, METH_O, "Steps over the batches of a loader."},
    {"_end_epoch", loops_end_epoch, METH_O, "_end_epoch(complete)"},
    {"_give_up", loops_give_up, METH_NOARGS, "Records that wait are made as they are."},
    {"_before_optimizer", PYFT_METHOD(pyft_loops_before_optimizer), METH_FASTCALL, NULL},
    {"_after_optimizer", PYFT_METHOD(pyft_loops_after_optimizer), METH_FASTCALL, NULL},
    {"_state", pyft_loops_state, METH_O, "Steps without a record, and counts with them."},
    {"_counts", pyft_loops_counts, METH_O, "A FlopCount of all phases, of that type."},
    {"_phase_counts", pyft_loops_phase_counts, METH_O, "A dict of them by phase."},
    {NULL, NULL, 0, NULL},
};

#define NUMBER(name, function, text) {name, get_number, NULL, text, (void *)(function)}
static PyGetSetDef loops_getset[] = {
    NUMBER("traced_steps", pyft_loops_traced, "Steps that were counted."),
    NUMBER("replayed_steps", pyft_loops_replayed,
           "Steps that cost what a counted one like them had cost."),
    {"_is_used", is_used, NULL, "Whether there was a step or a phase.", NULL},
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
    {Py_tp_methods, loops_methods},
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
