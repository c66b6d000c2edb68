/* LayerWalk: hooks the layers of a model for a dry run, and says what each of them did. */
/* SPDX-License-Identifier: MIT */
#include "walk.h"

static layer *
layer_of(walk *self, PyObject *module)
{
    PyObject *key = PyLong_FromVoidPtr(module);
    PyObject *position = key == NULL ? NULL : PyDict_GetItemWithError(self->index, key);
    Py_XDECREF(key);
    if (position == NULL) {
        return NULL;
    }
    return &self->layers[PyLong_AsSsize_t(position)];
}

static PyObject *
walk_before(PyObject *object, PyObject *const *args, Py_ssize_t count)
{
    walk *self = (walk *)object;
    layer *target = count < 1 ? NULL : layer_of(self, args[0]);
    if (target != NULL && self->running_unit == NULL) {
        self->running_unit = target;
    }
    self->unit_depth += target != NULL && self->running_unit == target;
    return PyErr_Occurred() ? NULL : Py_NewRef(Py_None);
}

static PyObject *
walk_after(PyObject *object, PyObject *const *args, Py_ssize_t count)
{
    walk *self = (walk *)object;
    layer *target = count != 4 ? NULL : layer_of(self, args[0]);
    if (target == NULL) {
        return PyErr_Occurred() ? NULL : Py_NewRef(Py_None);
    }
    if (self->running_unit == target && --self->unit_depth == 0) {
        self->running_unit = NULL;
    }
    if (self->running_unit != NULL) {
        target->inner_calls++;
        Py_RETURN_NONE;
    }
    PyObject *handled = PyErr_GetHandledException();
    bool raised = handled != NULL && handled != self->handled_before;
    Py_XDECREF(handled);
    if (raised && args[3] == Py_None) {
        Py_RETURN_NONE; /* a unit's hook is called all the same, to end the unit */
    }
    target->calls[self->pass]++;
    pyft_call made = {args[0], args[1], args[2], args[3]};
    if (pyft_has_rule(target) && pyft_walk_count_call(self, target, &made) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

/* ---- hooks and passes ---- */

static int
keep_handle(walk *self, PyObject *handle)
{
    int result = handle == NULL ? -1 : PyList_Append(self->handles, handle);
    Py_XDECREF(handle);
    return result;
}

static int
hook_layer(walk *self, layer *target, PyObject *before, PyObject *after)
{
    PyObject *method = PyObject_GetAttrString(target->module, "register_forward_hook");
    PyObject *arguments = method == NULL ? NULL : PyTuple_Pack(1, after);
    PyObject *options = arguments == NULL
                            ? NULL
                            : Py_BuildValue("{s:O,s:O}", "with_kwargs", Py_True, "always_call",
                                            pyft_is_unit(target) ? Py_True : Py_False);
    PyObject *handle = options == NULL ? NULL : PyObject_Call(method, arguments, options);
    Py_XDECREF(options);
    Py_XDECREF(method);
    Py_XDECREF(arguments);
    if (keep_handle(self, handle) < 0) {
        return -1;
    }
    if (!pyft_is_unit(target)) {
        return 0;
    }
    return keep_handle(
        self, PyObject_CallMethod(target->module, "register_forward_pre_hook", "O", before));
}

static PyObject *
walk_detach(PyObject *object, PyObject *unused)
{
    (void)unused;
    walk *self = (walk *)object;
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    PyObject *handles = self->handles;
    self->handles = PyList_New(0);
    for (Py_ssize_t i = PyList_GET_SIZE(handles) - 1; i >= 0; i--) {
        PyObject *done = PyObject_CallMethod(PyList_GET_ITEM(handles, i), "remove", NULL);
        if (done == NULL) {
            PyErr_WriteUnraisable(object);
        }
        Py_XDECREF(done);
    }
    Py_DECREF(handles);
    PyErr_Restore(type, value, traceback);
    if (self->handles == NULL || PyErr_Occurred()) {
        return NULL;
    }
    Py_RETURN_NONE;
}

static PyObject *
walk_attach(PyObject *object, PyObject *unused)
{
    (void)unused;
    walk *self = (walk *)object;
    PyObject *before = PyObject_GetAttrString(object, "_before");
    PyObject *after = PyObject_GetAttrString(object, "_after");
    int result = before == NULL || after == NULL ? -1 : 0;
    for (Py_ssize_t i = 0; i < self->count && result == 0; i++) {
        if (!self->layers[i].compiled) {
            result = hook_layer(self, &self->layers[i], before, after);
        }
    }
    Py_XDECREF(before);
    Py_XDECREF(after);
    if (result < 0) {
        return walk_detach(object, NULL);
    }
    Py_RETURN_NONE;
}

static PyObject *
walk_begin_pass(PyObject *object, PyObject *argument)
{
    walk *self = (walk *)object;
    long pass = PyLong_AsLong(argument);
    if (pass < 0 || pass >= PYFT_PASSES) {
        if (!PyErr_Occurred()) {
            PyErr_Format(PyExc_ValueError, "pass must be 0 to %d, not %ld", PYFT_PASSES - 1, pass);
        }
        return NULL;
    }
    self->pass = (int)pass;
    self->running_unit = NULL;
    self->unit_depth = 0;
    Py_CLEAR(self->failure);
    Py_XSETREF(self->handled_before, PyErr_GetHandledException());
    for (Py_ssize_t i = 0; i < self->count; i++) {
        self->layers[i].calls[pass] = 0;
        self->layers[i].flops[pass] = FT_U128_ZERO;
    }
    Py_RETURN_NONE;
}

static PyObject *
walk_check(PyObject *object, PyObject *unused)
{
    (void)unused;
    PyObject *failure = ((walk *)object)->failure;
    if (failure != NULL) {
        PyErr_SetObject((PyObject *)Py_TYPE(failure), failure);
        return NULL;
    }
    Py_RETURN_NONE;
}

static PyObject *
walk_layers(PyObject *object, PyObject *unused)
{
    (void)unused;
    return pyft_walk_layers(object);
}

/* ---- the type ---- */

/* Everything but the layers is in place from here on, so that no method can meet a NULL. */
static PyObject *
walk_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    (void)args;
    (void)kwargs;
    walk *self = (walk *)type->tp_alloc(type, 0);
    if (self != NULL &&
        ((self->index = PyDict_New()) == NULL || (self->handles = PyList_New(0)) == NULL)) {
        Py_CLEAR(self);
    }
    return (PyObject *)self;
}

static int
walk_init(PyObject *object, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"model", "rules", "classes", "cnn_only", "table", NULL};
    walk *self = (walk *)object;
    PyObject *model, *rules, *table = NULL;
    int cnn_only;
    pyft_state *state = pyft_state_of(Py_TYPE(object));
    if (state == NULL || self->user_rules != NULL ||
        !PyArg_ParseTupleAndKeywords(args, kwargs, "OO!Ip|U:LayerWalk", names, &model, &PyDict_Type,
                                     &rules, &self->classes, &cnn_only, &table)) {
        if (!PyErr_Occurred()) {
            PyErr_SetString(PyExc_RuntimeError, "LayerWalk.__init__ was called twice");
        }
        return -1;
    }
    self->cnn_only = cnn_only != 0;
    self->user_rules = Py_NewRef(rules);
    if (table != NULL && PyUnicode_AsUTF8(table) == NULL) {
        return -1;
    }
    self->table = Py_XNewRef(table);
    PyObject *root = PyUnicode_FromString("");
    int result = root == NULL ? -1 : pyft_walk_add_module(self, state, model, root, -1);
    Py_XDECREF(root);
    return result;
}

static int
walk_traverse(PyObject *object, visitproc visit, void *arg)
{
    walk *self = (walk *)object;
    Py_VISIT(Py_TYPE(object));
    Py_VISIT(self->index);
    Py_VISIT(self->user_rules);
    Py_VISIT(self->handles);
    Py_VISIT(self->failure);
    Py_VISIT(self->handled_before);
    for (Py_ssize_t i = 0; i < self->count; i++) {
        Py_VISIT(self->layers[i].module);
        Py_VISIT(self->layers[i].user_rule);
    }
    return 0;
}

static int
walk_clear(PyObject *object)
{
    walk *self = (walk *)object;
    Py_CLEAR(self->user_rules);
    Py_CLEAR(self->table);
    Py_CLEAR(self->handles);
    Py_CLEAR(self->failure);
    Py_CLEAR(self->handled_before);
    Py_CLEAR(self->index);
    Py_ssize_t count = self->count;
    self->count = 0;
    for (Py_ssize_t i = 0; i < count; i++) {
        Py_CLEAR(self->layers[i].module);
        Py_CLEAR(self->layers[i].path);
        Py_CLEAR(self->layers[i].class_name);
        Py_CLEAR(self->layers[i].user_rule);
        Py_CLEAR(self->layers[i].note);
    }
    return 0;
}

static void
walk_dealloc(PyObject *object)
{
    walk *self = (walk *)object;
    PyTypeObject *type = Py_TYPE(object);
    PyObject_GC_UnTrack(object);
    walk_clear(object);
    PyMem_Free(self->layers);
    type->tp_free(object);
    Py_DECREF(type);
}

static PyMethodDef walk_methods[] = {
    {"attach", walk_attach, METH_NOARGS, "Registers a forward hook on every layer."},
    {"detach", walk_detach, METH_NOARGS, "Removes them."},
    {"begin_pass", walk_begin_pass, METH_O, "Starts counting a pass from zero."},
    {"check", walk_check, METH_NOARGS, "Raises what a user's rule raised during the pass."},
    {"layers", walk_layers, METH_NOARGS, "What each layer did in the first pass, as Layers."},
    {"_before", PYFT_METHOD(walk_before), METH_FASTCALL, "Forward pre-hook of units."},
    {"_after", PYFT_METHOD(walk_after), METH_FASTCALL, "Forward hook of all layers."},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot walk_slots[] = {
    {Py_tp_doc, "Internal: the layers of one model, for one dry run."},
    {Py_tp_new, walk_new},
    {Py_tp_init, walk_init},
    {Py_tp_dealloc, walk_dealloc},
    {Py_tp_traverse, walk_traverse},
    {Py_tp_clear, walk_clear},
    {Py_tp_methods, walk_methods},
    {0, NULL},
};

static PyType_Spec walk_spec = {
    .name = "flops_tracker._core.LayerWalk",
    .basicsize = sizeof(walk),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = walk_slots,
};

static PyStructSequence_Field layer_fields[] = {
    {"path", "where it is in the model; '' is the model itself"},
    {"module_class", "the name of its class"},
    {"status", "counted, neglected, uncounted, uncalled, inside (a unit), or container"},
    {"rule", "the formula that counted it, 'user', or ''"},
    {"calls", "how often the dry run called it"},
    {"flops", "forward FLOPs of all its calls for the example input"},
    {"parameters", "elements of its own parameters, without its children's"},
    {"note", "what a reader should know, or ''"},
    {NULL, NULL},
};

static PyStructSequence_Desc layer_desc = {
    "flops_tracker.Layer", "One module of a model, as the dry run saw it.", layer_fields, 8};

int
pyft_add_walk(PyObject *module, pyft_state *state)
{
    state->walk_type = (PyTypeObject *)PyType_FromModuleAndSpec(module, &walk_spec, NULL);
    state->layer_type = pyft_new_record_type(&layer_desc);
    if (state->walk_type == NULL || state->layer_type == NULL ||
        PyModule_AddType(module, state->walk_type) < 0) {
        return -1;
    }
    return PyModule_AddType(module, state->layer_type);
}
