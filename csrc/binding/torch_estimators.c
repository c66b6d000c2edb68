/* The layerwise estimators for PyTorch: one dry run, then forward FLOPs scaled to each batch. */
/* SPDX-License-Identifier: MIT */
#include "pyft.h"

#include <structmember.h>

/* FLOPs of a forward pass of B samples: fixed + slope * B / example_batch. The fixed part is work
 * that does not depend on the batch (a layer applied to constants); it is seen by a second dry run
 * with twice the batch, and is 0 where that was not possible. */
typedef struct {
    pyft_estimator base;
    PyObject *model, *input_example, *batch_dim, *device, *training_factor;
    PyObject *user_rules; /* class: callable */
    PyObject *layers;     /* tuple of Layer; NULL until prepared */
    PyObject *dry_run;    /* "fake" or "real", and why */
    unsigned classes;     /* bit set of the classes that count */
    bool cnn_only, use_eval_mode;
    uint64_t numerator, denominator; /* of training_factor */
    uint64_t example_batch;
    ft_u128 forward_flops, fixed, slope;
} layerwise;

static const char helper[] = "flops_tracker._dry_run";

/* ---- the dry run ---- */

static PyObject *
layers_with_status(layerwise *self, const char *wanted)
{
    PyObject *list = PyList_New(0);
    for (Py_ssize_t i = 0; list != NULL && i < PyTuple_GET_SIZE(self->layers); i++) {
        PyObject *layer = PyTuple_GET_ITEM(self->layers, i);
        if (PyUnicode_CompareWithASCIIString(PyStructSequence_GetItem(layer, 2), wanted) == 0 &&
            PyList_Append(list, layer) < 0) {
            Py_CLEAR(list);
        }
    }
    return list;
}

static int
warn_of_uncounted(layerwise *self, const pyft_state *state)
{
    PyObject *uncounted = layers_with_status(self, "uncounted");
    if (uncounted == NULL || PyList_GET_SIZE(uncounted) == 0) {
        Py_XDECREF(uncounted);
        return uncounted == NULL ? -1 : 0;
    }
    PyObject *text = pyft_call_helper(helper, "uncounted_message", "(O)", uncounted);
    int result = text == NULL ? -1
                              : PyErr_WarnEx(state->uncounted_warning, PyUnicode_AsUTF8(text), 1);
    Py_XDECREF(text);
    Py_DECREF(uncounted);
    return result;
}

/* passes is 2 where the pass with twice the batch worked. */
static void
fit_batch(layerwise *self, PyObject *walk, int passes)
{
    ft_u128 once = pyft_walk_total(walk, 0), twice = pyft_walk_total(walk, 1);
    ft_u128 slope = ft_u128_subtract(twice, once);
    self->forward_flops = self->slope = once;
    self->fixed = FT_U128_ZERO;
    if (passes == 2 && ft_u128_compare(twice, once) >= 0 && ft_u128_compare(slope, once) <= 0) {
        self->slope = slope;
        self->fixed = ft_u128_subtract(once, slope);
    }
}

static int
prepare(layerwise *self)
{
    pyft_state *state = pyft_state_of(Py_TYPE(self));
    PyObject *root = NULL, *walk = NULL, *result = NULL, *layers = NULL, *dry_run;
    unsigned long long batch;
    int status = -1, passes;
    if (self->layers != NULL) {
        return 0;
    }
    if (self->model == NULL) {
        PyErr_Format(PyExc_RuntimeError, "%s.__init__() was not called", Py_TYPE(self)->tp_name);
        return -1;
    }
    root = pyft_call_helper(helper, "unwrap", "(O)", self->model);
    if (state == NULL || root == NULL) {
        goto done;
    }
    walk = PyObject_CallFunction((PyObject *)state->walk_type, "OOIi", root, self->user_rules,
                                 self->classes, (int)self->cnn_only);
    if (walk == NULL) {
        goto done;
    }
    result = pyft_call_helper(helper, "trace", "(OOOOOi)", walk, root, self->input_example,
                              self->batch_dim, self->device, (int)self->use_eval_mode);
    if (result == NULL || !PyArg_ParseTuple(result, "KiU", &batch, &passes, &dry_run)) {
        goto done;
    }
    layers = pyft_walk_layers(walk);
    if (layers == NULL) {
        goto done;
    }
    self->example_batch = batch;
    fit_batch(self, walk, passes);
    Py_XSETREF(self->layers, Py_NewRef(layers));
    Py_XSETREF(self->dry_run, Py_NewRef(dry_run));
    status = warn_of_uncounted(self, state);
    if (status < 0) {
        Py_CLEAR(self->layers); /* warnings are errors here: nothing is prepared */
    }
done:
    Py_XDECREF(root);
    Py_XDECREF(walk);
    Py_XDECREF(result);
    Py_XDECREF(layers);
    return status;
}

static int
layerwise_evaluate(pyft_estimator *estimator, uint64_t batch_size, ft_u128 *flops)
{
    layerwise *self = (layerwise *)estimator;
    if (prepare(self) < 0) {
        return -1;
    }
    ft_u128 scaled = ft_u128_scale(self->slope, batch_size, self->example_batch);
    *flops = ft_u128_scale(ft_u128_add(self->fixed, scaled), self->numerator, self->denominator);
    if (ft_u128_overflowed(*flops)) {
        pyft_raise(FT_OVERFLOW, "scaling to a batch");
        return -1;
    }
    return 0;
}

/* ---- construction ---- */

typedef struct {
    PyObject *model, *example, *factor, *batch_dim, *device;
    int pooling, norm, softmax, use_eval_mode;
} layerwise_arguments;

/* `input_size` is a second name of `input_example`. */
static int
choose_example(PyTypeObject *type, layerwise_arguments *given, PyObject *size)
{
    if ((given->example == NULL) == (size == NULL)) {
        PyErr_Format(PyExc_TypeError,
                     "%s needs input_example (a shape such as (1, 3, 32, 32), or tensors)%s",
                     type->tp_name, size == NULL ? "" : ", and not input_size as well");
        return -1;
    }
    given->example = given->example == NULL ? size : given->example;
    return 0;
}

static int
layerwise_setup(layerwise *self, const layerwise_arguments *given, bool cnn_only)
{
    uint64_t numerator, denominator;
    PyObject *one = NULL, *rules;
    unsigned classes = 1u << FT_CLASS_RESAMPLE;
    for (int i = 0; i < FT_CLASS_COUNT; i++) {
        classes |= ft_class_is_contraction((ft_class)i) ? 1u << i : 0u;
    }
    classes |= given->pooling ? 1u << FT_CLASS_POOL : 0u;
    classes |= given->norm ? 1u << FT_CLASS_NORM : 0u;
    classes |= given->softmax ? 1u << FT_CLASS_SOFTMAX : 0u;
    PyObject *factor = given->factor == NULL ? PyFloat_FromDouble(3.0) : Py_NewRef(given->factor);
    if (factor == NULL || pyft_to_ratio(factor, "training_factor", &numerator, &denominator) < 0) {
        Py_XDECREF(factor);
        return -1;
    }
    one = pyft_call_helper(helper, "check_arguments", "(OOO)", given->model, given->example,
                           given->batch_dim == NULL ? Py_False : given->batch_dim);
    rules = one == NULL ? NULL : PyDict_New();
    if (rules == NULL) {
        Py_XDECREF(one);
        Py_DECREF(factor);
        return -1;
    }
    self->base.evaluate = layerwise_evaluate;
    self->base.remembered = false;
    self->cnn_only = cnn_only;
    self->use_eval_mode = given->use_eval_mode != 0;
    self->classes = cnn_only ? classes & ~(1u << FT_CLASS_RESAMPLE) : classes;
    self->numerator = numerator;
    self->denominator = denominator;
    Py_XSETREF(self->training_factor, factor);
    Py_XSETREF(self->batch_dim, one);
    Py_XSETREF(self->user_rules, rules);
    Py_XSETREF(self->model, Py_NewRef(given->model));
    Py_XSETREF(self->input_example, Py_NewRef(given->example));
    Py_XSETREF(self->device, Py_NewRef(given->device == NULL ? Py_None : given->device));
    Py_CLEAR(self->layers);
    return 0;
}

static int
auto_init(PyObject *self, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"model",
                            "input_example",
                            "training_factor",
                            "include_pooling_cost",
                            "include_norm_cost",
                            "include_softmax_cost",
                            "input_size",
                            "batch_dim",
                            "device",
                            "use_eval_mode",
                            NULL};
    layerwise_arguments given = {.use_eval_mode = 1};
    PyObject *size = NULL;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O|OOppp$OOOp:TorchAutoEstimator", names,
                                     &given.model, &given.example, &given.factor, &given.pooling,
                                     &given.norm, &given.softmax, &size, &given.batch_dim,
                                     &given.device, &given.use_eval_mode) ||
        choose_example(Py_TYPE(self), &given, size) < 0) {
        return -1;
    }
    return layerwise_setup((layerwise *)self, &given, false);
}

static int
cnn_init(PyObject *self, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"model",     "input_example", "training_factor", "device",
                            "use_eval_mode", "input_size",    "batch_dim",       NULL};
    layerwise_arguments given = {.use_eval_mode = 1};
    PyObject *size = NULL;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O|OOOp$OO:TorchCNNLayerwiseEstimator", names,
                                     &given.model, &given.example, &given.factor, &given.device,
                                     &given.use_eval_mode, &size, &given.batch_dim) ||
        choose_example(Py_TYPE(self), &given, size) < 0) {
        return -1;
    }
    return layerwise_setup((layerwise *)self, &given, true);
}

static int
layerwise_init(PyObject *self, PyObject *args, PyObject *kwargs)
{
    (void)args;
    (void)kwargs;
    PyErr_Format(PyExc_TypeError, "%s is a base class: use TorchAutoEstimator or "
                                  "TorchCNNLayerwiseEstimator",
                 Py_TYPE(self)->tp_name);
    return -1;
}

/* ---- methods ---- */

static PyObject *
layerwise_prepare(PyObject *self, PyObject *unused)
{
    (void)unused;
    return prepare((layerwise *)self) < 0 ? NULL : Py_NewRef(self);
}

static PyObject *
layerwise_register(PyObject *object, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"module_class", "fn", "override", NULL};
    layerwise *self = (layerwise *)object;
    PyObject *module_class, *fn;
    int override = 0;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OO|$p:register", names, &module_class, &fn,
                                     &override)) {
        return NULL;
    }
    if (!PyType_Check(module_class) || !PyCallable_Check(fn)) {
        PyErr_Format(PyExc_TypeError, "register takes a module class and a callable, not %R and %R",
                     module_class, fn);
        return NULL;
    }
    int known = self->user_rules == NULL ? 0 : PyDict_Contains(self->user_rules, module_class);
    if (known != 0 && !override) {
        if (known > 0) {
            PyErr_Format(PyExc_ValueError, "%R has a rule already; pass override=True to replace it",
                         module_class);
        }
        return NULL;
    }
    if (self->user_rules == NULL || PyDict_SetItem(self->user_rules, module_class, fn) < 0) {
        return NULL;
    }
    Py_CLEAR(self->layers); /* counted anew when next asked */
    self->base.remembered = false;
    return Py_NewRef(object);
}

static PyObject *
layerwise_report(PyObject *self, PyObject *unused)
{
    (void)unused;
    return prepare((layerwise *)self) < 0
               ? NULL
               : pyft_call_helper("flops_tracker._report", "layer_report", "(O)", self);
}

static PyObject *
get_layers(PyObject *object, void *status)
{
    layerwise *self = (layerwise *)object;
    if (prepare(self) < 0) {
        return NULL;
    }
    return status == NULL ? Py_NewRef(self->layers) : layers_with_status(self, status);
}

static PyObject *
get_forward_flops(PyObject *object, void *unused)
{
    (void)unused;
    layerwise *self = (layerwise *)object;
    return prepare(self) < 0 ? NULL : pyft_from_u128(self->forward_flops);
}

static PyObject *
get_example_batch(PyObject *object, void *unused)
{
    (void)unused;
    layerwise *self = (layerwise *)object;
    return prepare(self) < 0 ? NULL : PyLong_FromUnsignedLongLong(self->example_batch);
}

static PyObject *
get_dry_run(PyObject *object, void *unused)
{
    (void)unused;
    layerwise *self = (layerwise *)object;
    return prepare(self) < 0 ? NULL : Py_NewRef(self->dry_run);
}

static PyObject *
get_convention(PyObject *object, void *unused)
{
    (void)unused;
    layerwise *self = (layerwise *)object;
    return PyUnicode_FromFormat("layerwise %s %S", "×", self->training_factor);
}

static PyObject *
get_trust_line(PyObject *object, void *unused)
{
    layerwise *self = (layerwise *)object;
    PyObject *convention = NULL, *counted = NULL, *uncounted = NULL, *line = NULL;
    if (prepare(self) == 0 && (convention = get_convention(object, unused)) != NULL &&
        (counted = layers_with_status(self, "counted")) != NULL &&
        (uncounted = layers_with_status(self, "uncounted")) != NULL) {
        line = PyUnicode_FromFormat("%U%s%zd layers counted, %zd without a rule%soperations "
                                    "outside modules not seen",
                                    convention, PYFT_DOT, PyList_GET_SIZE(counted),
                                    PyList_GET_SIZE(uncounted), PYFT_DOT);
    }
    Py_XDECREF(convention);
    Py_XDECREF(counted);
    Py_XDECREF(uncounted);
    return line;
}

static PyObject *
layerwise_repr(PyObject *object)
{
    layerwise *self = (layerwise *)object;
    return PyUnicode_FromFormat("<%s of %s, training_factor=%S>", Py_TYPE(object)->tp_name,
                                self->model == NULL ? "?" : Py_TYPE(self->model)->tp_name,
                                self->training_factor == NULL ? Py_None : self->training_factor);
}

/* ---- the types ---- */

static int
layerwise_traverse(PyObject *object, visitproc visit, void *arg)
{
    layerwise *self = (layerwise *)object;
    Py_VISIT(Py_TYPE(object));
    Py_VISIT(self->model);
    Py_VISIT(self->input_example);
    Py_VISIT(self->user_rules);
    Py_VISIT(self->layers);
    return 0;
}

static int
layerwise_clear(PyObject *object)
{
    layerwise *self = (layerwise *)object;
    Py_CLEAR(self->model);
    Py_CLEAR(self->input_example);
    Py_CLEAR(self->batch_dim);
    Py_CLEAR(self->device);
    Py_CLEAR(self->training_factor);
    Py_CLEAR(self->user_rules);
    Py_CLEAR(self->layers);
    Py_CLEAR(self->dry_run);
    return 0;
}

static void
layerwise_dealloc(PyObject *object)
{
    PyTypeObject *type = Py_TYPE(object);
    PyObject_GC_UnTrack(object);
    layerwise_clear(object);
    type->tp_free(object);
    Py_DECREF(type);
}

PyDoc_STRVAR(auto_doc,
             "TorchAutoEstimator(model, input_example, training_factor=3.0, "
             "include_pooling_cost=False,\n"
             "                   include_norm_cost=False, include_softmax_cost=False, *, "
             "input_size=None,\n"
             "                   batch_dim=0, device=None, use_eval_mode=True)\n--\n\n"
             "FLOPs of training a PyTorch model, layer by layer, by the `layerwise` table (see\n"
             "docs/formulas.md); one training step is training_factor x the forward pass.\n\n"
             "input_example: a shape (1, 3, 32, 32); a (shape, dtype) pair such as\n"
             "((1, 16), torch.int64) for token ids; a tuple of these for several arguments; a dict\n"
             "for keyword arguments; or tensors in the same places.\n"
             "batch_dim: the dimension of the inputs that is the batch; None for unbatched input.\n"
             "The model is run once on fake copies, untouched; where its forward reads data, on a\n"
             "real example in eval mode, without gradients, with modes, buffers and RNG restored.");

PyDoc_STRVAR(cnn_doc,
             "TorchCNNLayerwiseEstimator(model, input_example, training_factor=3.0, device=None,\n"
             "                           use_eval_mode=True, *, input_size=None, batch_dim=0)\n"
             "--\n\n"
             "FLOPs of training a CNN: Conv2d and Linear only, 2 per multiply-accumulate; pooling,\n"
             "norms and dropout are neglected, any other layer with parameters is in `uncounted`.\n"
             "Arguments as for TorchAutoEstimator.");

static PyMethodDef layerwise_methods[] = {
    {"flops_for_batch", pyft_estimator_flops_for_batch, METH_O,
     "flops_for_batch($self, batch_size, /)\n--\n\n"
     "training_factor x the forward FLOPs of that many samples, an int."},
    {"prepare", layerwise_prepare, METH_NOARGS,
     "prepare($self, /)\n--\n\nDoes the dry run now instead of when first needed; returns self."},
    {"register", PYFT_METHOD(layerwise_register), METH_VARARGS | METH_KEYWORDS,
     "register($self, module_class, fn, *, override=False)\n--\n\n"
     "Adds a rule: fn(module, args, kwargs, output) -> forward FLOPs of that call, an int. Such a\n"
     "module counts as one unit: what runs inside of it is not counted again. Returns self."},
    {"report", layerwise_report, METH_NOARGS,
     "report($self, /)\n--\n\nA table of the layers and what was not counted, a str."},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef layerwise_getset[] = {
    {"layers", get_layers, NULL, "All modules as Layer records, in the order of the model.", NULL},
    {"uncounted", get_layers, NULL,
     "Layers that have parameters and no rule: their FLOPs are missing from the total.",
     "uncounted"},
    {"uncalled", get_layers, NULL, "Layers that the forward pass never called.", "uncalled"},
    {"forward_flops", get_forward_flops, NULL,
     "Forward FLOPs of the example as it was given, before training_factor; an int.", NULL},
    {"example_batch", get_example_batch, NULL, "The batch size of the example.", NULL},
    {"dry_run", get_dry_run, NULL, "'fake', or 'real: ' and why fake copies would not do.", NULL},
    {"convention", get_convention, NULL, "'layerwise × training_factor'.", NULL},
    {"trust_line", get_trust_line, NULL, "What the counts are made of, in one line.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyMemberDef layerwise_members[] = {
    {"model", T_OBJECT, offsetof(layerwise, model), READONLY, "The model, as it was given."},
    {"input_example", T_OBJECT, offsetof(layerwise, input_example), READONLY, "As it was given."},
    {"batch_dim", T_OBJECT, offsetof(layerwise, batch_dim), READONLY, "An int, or None."},
    {"training_factor", T_OBJECT, offsetof(layerwise, training_factor), READONLY,
     "FLOPs of a training step over those of its forward pass."},
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot layerwise_slots[] = {
    {Py_tp_doc, "Base of the layerwise PyTorch estimators; use one of the two."},
    {Py_tp_new, PyType_GenericNew},
    {Py_tp_init, layerwise_init},
    {Py_tp_repr, layerwise_repr},
    {Py_tp_dealloc, layerwise_dealloc},
    {Py_tp_traverse, layerwise_traverse},
    {Py_tp_clear, layerwise_clear},
    {Py_tp_methods, layerwise_methods},
    {Py_tp_getset, layerwise_getset},
    {Py_tp_members, layerwise_members},
    {0, NULL},
};

static PyType_Slot auto_slots[] = {{Py_tp_doc, (void *)auto_doc}, {Py_tp_init, auto_init}, {0, NULL}};
static PyType_Slot cnn_slots[] = {{Py_tp_doc, (void *)cnn_doc}, {Py_tp_init, cnn_init}, {0, NULL}};

#define ESTIMATOR_SPEC(variable, type_name, type_slots, more_flags)                                \
    static PyType_Spec variable = {                                                                \
        .name = "flops_tracker." type_name,                                                        \
        .basicsize = sizeof(layerwise),                                                            \
        .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | (more_flags),                          \
        .slots = type_slots,                                                                       \
    }

ESTIMATOR_SPEC(layerwise_spec, "TorchLayerwiseEstimator", layerwise_slots,
               Py_TPFLAGS_HAVE_GC);
ESTIMATOR_SPEC(auto_spec, "TorchAutoEstimator", auto_slots, 0); /* collected as their base is */
ESTIMATOR_SPEC(cnn_spec, "TorchCNNLayerwiseEstimator", cnn_slots, 0);

int
pyft_add_torch_estimators(PyObject *module, pyft_state *state)
{
    state->torch_layer_type = (PyTypeObject *)PyType_FromModuleAndSpec(
        module, &layerwise_spec, (PyObject *)state->estimator_type);
    if (state->torch_layer_type == NULL) {
        return -1;
    }
    PyObject *base = (PyObject *)state->torch_layer_type;
    state->torch_auto_type = (PyTypeObject *)PyType_FromModuleAndSpec(module, &auto_spec, base);
    state->torch_cnn_type = (PyTypeObject *)PyType_FromModuleAndSpec(module, &cnn_spec, base);
    if (state->torch_auto_type == NULL || state->torch_cnn_type == NULL) {
        return -1;
    }
    return PyModule_AddType(module, state->torch_auto_type) < 0
               ? -1
               : PyModule_AddType(module, state->torch_cnn_type);
}
