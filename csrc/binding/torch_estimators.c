/* The layerwise estimators for PyTorch: one dry run, then forward FLOPs scaled to each batch. */
/* SPDX-License-Identifier: MIT */
#include "layerwise.h"

/* ---- construction ---- */

typedef struct {
    PyObject *model, *example, *factor, *batch_dim, *device;
    pyft_switch pooling, norm, softmax, use_eval_mode;
} layerwise_arguments;

/* `input_size` is a second name of `input_example`. */
static int
choose_example(PyTypeObject *type, layerwise_arguments *given, PyObject *size)
{
    given->example = given->example == Py_None ? NULL : given->example;
    size = size == Py_None ? NULL : size;
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
    if (pyft_layerwise_check_idle(self, "__init__") < 0) {
        return -1;
    }
    unsigned classes = 1u << FT_CLASS_RESAMPLE;
    for (int i = 0; i < FT_CLASS_COUNT; i++) {
        classes |= ft_class_is_contraction((ft_class)i) ? 1u << i : 0u;
    }
    classes |= given->pooling.on ? 1u << FT_CLASS_POOL : 0u;
    classes |= given->norm.on ? 1u << FT_CLASS_NORM : 0u;
    classes |= given->softmax.on ? 1u << FT_CLASS_SOFTMAX : 0u;
    PyObject *factor = given->factor == NULL ? PyFloat_FromDouble(3.0) : Py_NewRef(given->factor);
    if (factor == NULL || pyft_to_ratio(factor, "training_factor", &numerator, &denominator) < 0) {
        Py_XDECREF(factor);
        return -1;
    }
    one = pyft_call_helper("flops_tracker._example", "check_arguments", "(OOO)", given->model,
                           given->example, given->batch_dim == NULL ? Py_False : given->batch_dim);
    rules = one == NULL ? NULL : PyDict_New();
    if (rules == NULL) {
        Py_XDECREF(one);
        Py_DECREF(factor);
        return -1;
    }
    self->base.evaluate = pyft_layerwise_evaluate;
    self->base.remembered = false;
    self->cnn_only = cnn_only;
    self->use_eval_mode = given->use_eval_mode.on != 0;
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
    layerwise_arguments given = {.pooling = {"include_pooling_cost", 0},
                                 .norm = {"include_norm_cost", 0},
                                 .softmax = {"include_softmax_cost", 0},
                                 .use_eval_mode = {"use_eval_mode", 1}};
    PyObject *size = NULL;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O|OOO&O&O&$OOOO&:TorchAutoEstimator", names,
                                     &given.model, &given.example, &given.factor, pyft_to_switch,
                                     &given.pooling, pyft_to_switch, &given.norm, pyft_to_switch,
                                     &given.softmax, &size, &given.batch_dim, &given.device,
                                     pyft_to_switch, &given.use_eval_mode) ||
        choose_example(Py_TYPE(self), &given, size) < 0) {
        return -1;
    }
    return layerwise_setup((layerwise *)self, &given, false);
}

static int
cnn_init(PyObject *self, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"model",         "input_example", "training_factor", "device",
                            "use_eval_mode", "input_size",    "batch_dim",       NULL};
    layerwise_arguments given = {.use_eval_mode = {"use_eval_mode", 1}};
    PyObject *size = NULL;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O|OOOO&$OO:TorchCNNLayerwiseEstimator", names,
                                     &given.model, &given.example, &given.factor, &given.device,
                                     pyft_to_switch, &given.use_eval_mode, &size,
                                     &given.batch_dim) ||
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
    PyErr_Format(PyExc_TypeError,
                 "%s is a base class: use TorchAutoEstimator or "
                 "TorchCNNLayerwiseEstimator",
                 Py_TYPE(self)->tp_name);
    return -1;
}

/* ---- the types ---- */

static PyObject *
layerwise_repr(PyObject *object)
{
    layerwise *self = (layerwise *)object;
    return PyUnicode_FromFormat("<%s of %s, training_factor=%S>", Py_TYPE(object)->tp_name,
                                self->model == NULL ? "?" : Py_TYPE(self->model)->tp_name,
                                self->training_factor == NULL ? Py_None : self->training_factor);
}

static int
layerwise_traverse(PyObject *object, visitproc visit, void *arg)
{
    layerwise *self = (layerwise *)object;
    Py_VISIT(Py_TYPE(object));
    Py_VISIT(self->model);
    Py_VISIT(self->input_example);
    Py_VISIT(self->batch_dim);
    Py_VISIT(self->device);
    Py_VISIT(self->training_factor);
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

PyDoc_STRVAR(
    auto_doc,
    "TorchAutoEstimator(model, input_example=None, training_factor=3.0, "
    "include_pooling_cost=False,\n"
    "                   include_norm_cost=False, include_softmax_cost=False, *, "
    "input_size=None,\n"
    "                   batch_dim=0, device=None, use_eval_mode=True)\n--\n\n"
    "FLOPs of training a PyTorch model, layer by layer, by the `layerwise` table (see\n"
    "docs/formulas.md); one training step is training_factor x the forward pass.\n\n"
    "input_example: a shape (1, 3, 32, 32); a (shape, dtype) pair such as\n"
    "((1, 16), torch.int64) for token ids; a tuple of these for several arguments; a dict\n"
    "for keyword arguments; or tensors in the same places.\n"
    "batch_dim: the dimension of the inputs that is the batch; None for unbatched input; a tuple\n"
    "or dict shaped like input_example, such as (0, None), where only some inputs have a batch.\n"
    "The model is run once on fake copies, untouched; where its forward reads data, on a\n"
    "real example in eval mode, without gradients, with modes, buffers and RNG restored.");

PyDoc_STRVAR(
    cnn_doc,
    "TorchCNNLayerwiseEstimator(model, input_example=None, training_factor=3.0, device=None,\n"
    "                           use_eval_mode=True, *, input_size=None, batch_dim=0)\n"
    "--\n\n"
    "FLOPs of training a CNN: Conv2d and Linear only, 2 per multiply-accumulate; pooling,\n"
    "norms and dropout are neglected, any other layer with parameters is in `uncounted`.\n"
    "Arguments as for TorchAutoEstimator.");

static PyType_Slot layerwise_slots[] = {
    {Py_tp_doc, "Base of the layerwise PyTorch estimators; use one of the two."},
    {Py_tp_new, PyType_GenericNew},
    {Py_tp_init, layerwise_init},
    {Py_tp_repr, layerwise_repr},
    {Py_tp_dealloc, layerwise_dealloc},
    {Py_tp_traverse, layerwise_traverse},
    {Py_tp_clear, layerwise_clear},
    {Py_tp_methods, pyft_layerwise_methods},
    {Py_tp_getset, pyft_layerwise_getset},
    {Py_tp_members, pyft_layerwise_members},
    {0, NULL},
};

static PyType_Slot auto_slots[] = {
    {Py_tp_doc, (void *)auto_doc}, {Py_tp_init, auto_init}, {0, NULL}};
static PyType_Slot cnn_slots[] = {{Py_tp_doc, (void *)cnn_doc}, {Py_tp_init, cnn_init}, {0, NULL}};

#define ESTIMATOR_SPEC(variable, type_name, type_slots, more_flags)       \
    static PyType_Spec variable = {                                       \
        .name = "flops_tracker." type_name,                               \
        .basicsize = sizeof(layerwise),                                   \
        .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | (more_flags), \
        .slots = type_slots,                                              \
    }

ESTIMATOR_SPEC(layerwise_spec, "TorchLayerwiseEstimator", layerwise_slots, Py_TPFLAGS_HAVE_GC);
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
    return PyModule_AddType(module, state->torch_layer_type) < 0 ||
                   PyModule_AddType(module, state->torch_auto_type) < 0
               ? -1
               : PyModule_AddType(module, state->torch_cnn_type);
}
