/* What users ask a layerwise estimator: its layers, its totals, its report, and rules of their own.
 */
/* SPDX-License-Identifier: MIT */
#include "layerwise.h"

static PyObject *
method_prepare(PyObject *self, PyObject *unused)
{
    (void)unused;
    return pyft_layerwise_prepare((layerwise *)self) < 0 ? NULL : Py_NewRef(self);
}

static PyObject *
method_register(PyObject *object, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"module_class", "fn", "override", NULL};
    layerwise *self = (layerwise *)object;
    PyObject *module_class, *fn;
    pyft_switch override = {"override", 0};
    if (pyft_layerwise_check_idle(self, "register") < 0) {
        return NULL;
    }
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OO|$O&:register", names, &module_class, &fn,
                                     pyft_to_switch, &override)) {
        return NULL;
    }
    if (!PyType_Check(module_class) || !PyCallable_Check(fn)) {
        PyErr_Format(PyExc_TypeError, "register takes a module class and a callable, not %R and %R",
                     module_class, fn);
        return NULL;
    }
    int known = self->user_rules == NULL ? 0 : PyDict_Contains(self->user_rules, module_class);
    if (known != 0 && !override.on) {
        if (known > 0) {
            PyErr_Format(PyExc_ValueError,
                         "%R has a rule already; pass override=True to replace it", module_class);
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
method_report(PyObject *self, PyObject *unused)
{
    (void)unused;
    return pyft_layerwise_prepare((layerwise *)self) < 0
               ? NULL
               : pyft_call_helper("flops_tracker._report", "layer_report", "(O)", self);
}

static PyObject *
get_layers(PyObject *object, void *status)
{
    layerwise *self = (layerwise *)object;
    if (pyft_layerwise_prepare(self) < 0) {
        return NULL;
    }
    return status == NULL ? Py_NewRef(self->layers) : pyft_layers_with_status(self, status);
}

static PyObject *
get_forward_flops(PyObject *object, void *unused)
{
    (void)unused;
    layerwise *self = (layerwise *)object;
    return pyft_layerwise_prepare(self) < 0 ? NULL : pyft_from_u128(self->forward_flops);
}

static PyObject *
get_example_batch(PyObject *object, void *unused)
{
    (void)unused;
    layerwise *self = (layerwise *)object;
    return pyft_layerwise_prepare(self) < 0 ? NULL
                                            : PyLong_FromUnsignedLongLong(self->example_batch);
}

static PyObject *
get_dry_run(PyObject *object, void *unused)
{
    (void)unused;
    layerwise *self = (layerwise *)object;
    return pyft_layerwise_prepare(self) < 0 ? NULL : Py_NewRef(self->dry_run);
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
    PyObject *convention = get_convention(object, unused); /* first, since it may run Python */
    PyObject *never = NULL, *line = NULL;
    if (convention != NULL && pyft_layerwise_prepare(self) == 0) {
        Py_ssize_t counted = pyft_layers_count(self, NULL, PYFT_LAYER_FLOPS);
        Py_ssize_t uncounted = pyft_layers_count(self, "uncounted", PYFT_LAYER_PARAMETERS);
        Py_ssize_t uncalled = pyft_layers_count(self, "uncalled", PYFT_LAYER_PARAMETERS);
        never = uncalled == 0 ? PyUnicode_FromString("")
                              : PyUnicode_FromFormat(", %zd never called", uncalled);
        line = never == NULL
                   ? NULL
                   : PyUnicode_FromFormat("%U%s%zd layer%s counted, %zd without a rule%U%s"
                                          "operations outside modules not seen",
                                          convention, PYFT_DOT, counted, counted == 1 ? "" : "s",
                                          uncounted, never, PYFT_DOT);
    }
    Py_XDECREF(convention);
    Py_XDECREF(never);
    return line;
}

static PyObject *
refuse_to_copy(PyObject *self, PyObject *unused)
{
    (void)unused;
    PyErr_Format(PyExc_TypeError,
                 "a %s can't be copied or pickled, since it belongs to its model: make a new one "
                 "from the model and input_example",
                 Py_TYPE(self)->tp_name);
    return NULL;
}

PyMethodDef pyft_layerwise_methods[] = {
    {"flops_for_batch", pyft_estimator_flops_for_batch, METH_O,
     "flops_for_batch($self, batch_size, /)\n--\n\n"
     "training_factor x the forward FLOPs of that many samples, an int."},
    {"prepare", method_prepare, METH_NOARGS,
     "prepare($self, /)\n--\n\nDoes the dry run now instead of when first needed; returns self."},
    {"register", PYFT_METHOD(method_register), METH_VARARGS | METH_KEYWORDS,
     "register($self, module_class, fn, *, override=False)\n--\n\n"
     "Adds a rule: fn(module, args, kwargs, output) -> forward FLOPs of that call, an int. Such a\n"
     "module counts as one unit: what runs inside of it is not counted again. Returns self."},
    {"report", method_report, METH_NOARGS,
     "report($self, /)\n--\n\nA table of the layers and what was not counted, a str."},
    {"__getstate__", refuse_to_copy, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

PyGetSetDef pyft_layerwise_getset[] = {
    {"layers", get_layers, NULL, "All modules as Layer records, in the order of the model.", NULL},
    {"uncounted", get_layers, NULL,
     "Layers that have parameters and no rule, or a forward of their own that has more of them\n"
     "than the rule knows: work that is missing from the total.",
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

PyMemberDef pyft_layerwise_members[] = {
    {"model", T_OBJECT, offsetof(layerwise, model), READONLY, "The model, as it was given."},
    {"input_example", T_OBJECT, offsetof(layerwise, input_example), READONLY, "As it was given."},
    {"batch_dim", T_OBJECT, offsetof(layerwise, batch_dim), READONLY,
     "An int, None, or these per input."},
    {"training_factor", T_OBJECT, offsetof(layerwise, training_factor), READONLY,
     "FLOPs of a training step over those of its forward pass."},
    {NULL, 0, 0, 0, NULL},
};
