/* FlopsEstimator, the base class that users extend, and the closed form for scikit-learn's SGD. */
/* SPDX-License-Identifier: MIT */
#include "pyft.h"

#include "formulas/formulas.h"

#include <structmember.h>

/* A subclass written in Python may have a method of its own, so only our own types answer in C. */
bool
pyft_answers_in_c(const pyft_state *state, PyObject *estimator)
{
    PyTypeObject *type = Py_TYPE(estimator);
    return type == state->sgd_type || type == state->torch_auto_type ||
           type == state->torch_cnn_type;
}

int
pyft_flops_for_batch(PyObject *estimator, bool answers_in_c, uint64_t batch_size, ft_u128 *flops)
{
    if (answers_in_c) {
        pyft_estimator *self = (pyft_estimator *)estimator;
        if (!self->remembered || self->remembered_batch != batch_size) {
            if (self->evaluate(self, batch_size, &self->remembered_flops) < 0) {
                self->remembered = false;
                return -1;
            }
            self->remembered = true;
            self->remembered_batch = batch_size;
        }
        *flops = self->remembered_flops;
        return 0;
    }
    PyObject *result =
        PyObject_CallMethod(estimator, "flops_for_batch", "K", (unsigned long long)batch_size);
    if (result == NULL) {
        return -1;
    }
    int converted = pyft_to_u128(result, "the result of flops_for_batch", flops);
    Py_DECREF(result);
    return converted;
}

/* A subclass without the one method would fail at its first batch. */
static int
check_method(PyObject *estimator, const pyft_state *state)
{
    PyObject *own = PyObject_GetAttrString((PyObject *)Py_TYPE(estimator), "flops_for_batch");
    PyObject *base = PyObject_GetAttrString((PyObject *)state->estimator_type, "flops_for_batch");
    bool missing = own != NULL && own == base;
    if (missing) {
        PyErr_Format(PyExc_TypeError, "%s does not define flops_for_batch(self, batch_size) -> int",
                     Py_TYPE(estimator)->tp_name);
    }
    Py_XDECREF(own);
    Py_XDECREF(base);
    return PyErr_Occurred() ? -1 : 0;
}

PyObject *
pyft_take_estimator(PyObject *estimator, const char *convention, const pyft_state *state)
{
    if (PyObject_TypeCheck(estimator, state->estimator_type)) {
        if (convention != NULL) {
            PyErr_SetString(PyExc_TypeError,
                            "convention is for a model; this estimator has its own");
            return NULL;
        }
        return check_method(estimator, state) < 0 ? NULL : Py_NewRef(estimator);
    }
    if (!PyType_Check(estimator) && PyObject_HasAttrString(estimator, "named_modules")) {
        return pyft_call_helper("flops_tracker._op_estimator", "for_model", "(Os)", estimator,
                                convention == NULL ? "standard" : convention);
    }
    PyErr_Format(PyExc_TypeError,
                 "FlopsTracker needs a PyTorch model or an estimator, not %s: "
                 "TorchAutoEstimator(model, input_example), for scikit-learn's SGD "
                 "SklearnSGDEstimator(n_features, n_classes), or a subclass of FlopsEstimator",
                 Py_TYPE(estimator)->tp_name);
    return NULL;
}

PyObject *
pyft_estimator_flops_for_batch(PyObject *self, PyObject *batch_size)
{
    uint64_t size;
    ft_u128 flops;
    pyft_estimator *estimator = (pyft_estimator *)self;
    if (estimator->evaluate == NULL) {
        PyErr_Format(PyExc_RuntimeError, "%s.__init__() was not called", Py_TYPE(self)->tp_name);
        return NULL;
    }
    if (pyft_to_u64(batch_size, "batch_size", &size) < 0 ||
        estimator->evaluate(estimator, size, &flops) < 0) {
        return NULL;
    }
    return pyft_from_u128(flops);
}

static PyObject *
base_flops_for_batch(PyObject *self, PyObject *batch_size)
{
    (void)batch_size;
    PyErr_Format(PyExc_NotImplementedError,
                 "%s must define flops_for_batch(self, batch_size) and return the FLOPs as an int",
                 Py_TYPE(self)->tp_name);
    return NULL;
}

/* Tells copy and pickle that __new__ makes an estimator and its attributes are all there is to it.
 */
static PyObject *
base_getnewargs(PyObject *self, PyObject *unused)
{
    (void)self;
    (void)unused;
    return PyTuple_New(0);
}

static PyObject *
base_trust_line(PyObject *self, void *unused)
{
    (void)unused;
    return PyUnicode_FromFormat("as %s says", Py_TYPE(self)->tp_name);
}

static void
estimator_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    type->tp_free(self);
    Py_DECREF(type);
}

PyDoc_STRVAR(base_doc,
             "FlopsEstimator()\n--\n\n"
             "Base class of all estimators. Write your own by subclassing it with one method,\n"
             "``flops_for_batch(self, batch_size) -> int``: the FLOPs of training on that many\n"
             "samples.");

static PyMethodDef base_methods[] = {
    {"flops_for_batch", base_flops_for_batch, METH_O,
     "flops_for_batch($self, batch_size, /)\n--\n\nThe FLOPs of one training batch, an int."},
    {"__getnewargs__", base_getnewargs, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef base_getset[] = {
    {"trust_line", base_trust_line, NULL, "What the counts are made of, in one line.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot base_slots[] = {
    {Py_tp_doc, (void *)base_doc},
    {Py_tp_dealloc, estimator_dealloc},
    {Py_tp_methods, base_methods},
    {Py_tp_getset, base_getset},
    {0, NULL},
};

static PyType_Spec base_spec = {
    .name = "flops_tracker.FlopsEstimator",
    .basicsize = sizeof(pyft_estimator),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE,
    .slots = base_slots,
};

typedef struct {
    pyft_estimator base;
    uint64_t n_features, n_classes;
    PyObject *model;
} sgd_estimator;

static int
sgd_evaluate(pyft_estimator *estimator, uint64_t batch_size, ft_u128 *flops)
{
    const sgd_estimator *self = (const sgd_estimator *)estimator;
    ft_operand operands[] = {
        {.present = true, .is_number = true, .number = batch_size},
        {.present = true, .is_number = true, .number = self->n_features},
        {.present = true, .is_number = true, .number = self->n_classes},
    };
    ft_cost cost;
    ft_status status = ft_formula_evaluate(&ft_sgd_linear, operands, &cost);
    if (status == FT_OK) {
        *flops = ft_cost_read(&cost, ft_sgd_linear.op_class, ft_convention_find("layerwise"));
        status = ft_u128_overflowed(*flops) ? FT_OVERFLOW : FT_OK;
    }
    if (status != FT_OK) {
        pyft_raise(status, "counting a batch of SGD");
        return -1;
    }
    return 0;
}

static int
sgd_init(PyObject *object, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"n_features", "n_classes", "model", NULL};
    sgd_estimator *self = (sgd_estimator *)object;
    PyObject *features, *classes = NULL, *model = NULL;
    uint64_t n_features, n_classes = 1;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O|OO:SklearnSGDEstimator", names, &features,
                                     &classes, &model) ||
        pyft_to_u64(features, "n_features", &n_features) < 0 ||
        (classes != NULL && pyft_to_u64(classes, "n_classes", &n_classes) < 0)) {
        return -1;
    }
    if (n_features == 0 || n_classes == 0) {
        PyErr_Format(PyExc_ValueError, "%s must be 1 or more, not 0",
                     n_features == 0 ? "n_features" : "n_classes");
        return -1;
    }
    self->n_features = n_features;
    self->n_classes = n_classes;
    self->base.evaluate = sgd_evaluate;
    self->base.remembered = false;
    Py_XSETREF(self->model, Py_NewRef(model == NULL ? Py_None : model));
    return 0;
}

/* One hyperplane for a binary problem or a regression, one per class otherwise: the rows of coef_.
 */
static PyObject *
sgd_from_estimator(PyObject *type, PyObject *clf)
{
    PyObject *result = NULL, *features = NULL, *shape = NULL, *kwargs = NULL;
    PyObject *coefficients = PyObject_GetAttrString(clf, "coef_");
    int64_t dims[FT_MAX_DIMS];
    int ndim;
    if (coefficients == NULL ||
        (features = PyObject_GetAttrString(clf, "n_features_in_")) == NULL) {
        if (PyErr_ExceptionMatches(PyExc_AttributeError)) {
            PyErr_Format(
                PyExc_ValueError,
                "%R is not a fitted linear model: from_estimator reads coef_ and "
                "n_features_in_. Fit it first (one partial_fit will do), or give the sizes "
                "as SklearnSGDEstimator(n_features, n_classes)",
                clf);
        }
        goto done;
    }
    shape = PyObject_GetAttrString(coefficients, "shape");
    if (shape == NULL || pyft_to_dims(shape, dims, &ndim) < 0) {
        goto done;
    }
    kwargs = Py_BuildValue("{s:O,s:L,s:O}", "n_features", features, "n_classes",
                           (long long)(ndim > 1 ? dims[0] : 1), "model", clf);
    if (kwargs != NULL) {
        PyObject *empty = PyTuple_New(0);
        result = empty == NULL ? NULL : PyObject_Call(type, empty, kwargs);
        Py_XDECREF(empty);
    }
done:
    Py_XDECREF(coefficients);
    Py_XDECREF(features);
    Py_XDECREF(shape);
    Py_XDECREF(kwargs);
    return result;
}

/* The arguments of __init__, and the attributes that a subclass may have added. */
static PyObject *
sgd_getstate(PyObject *object, PyObject *unused)
{
    (void)unused;
    sgd_estimator *self = (sgd_estimator *)object;
    PyObject *added = PyObject_GetAttrString(object, "__dict__");
    if (added == NULL) {
        PyErr_Clear();
        added = PyDict_New();
    }
    return Py_BuildValue("(KKO)N", (unsigned long long)self->n_features,
                         (unsigned long long)self->n_classes,
                         self->model == NULL ? Py_None : self->model, added);
}

static PyObject *
sgd_setstate(PyObject *self, PyObject *args)
{
    PyObject *arguments, *added, *own;
    if (!PyArg_ParseTuple(args, "(O!O!):__setstate__", &PyTuple_Type, &arguments, &PyDict_Type,
                          &added) ||
        sgd_init(self, arguments, NULL) < 0) {
        return NULL;
    }
    if (PyDict_GET_SIZE(added) == 0) {
        Py_RETURN_NONE;
    }
    own = PyObject_GetAttrString(self, "__dict__");
    int result = own == NULL ? -1 : PyDict_Update(own, added);
    Py_XDECREF(own);
    return result < 0 ? NULL : Py_NewRef(Py_None);
}

static PyObject *
sgd_trust_line(PyObject *self, void *unused)
{
    (void)self;
    (void)unused;
    return PyUnicode_FromString("4·B·f·C per batch (closed form of plain SGD)");
}

static PyObject *
sgd_repr(PyObject *object)
{
    sgd_estimator *self = (sgd_estimator *)object;
    return PyUnicode_FromFormat("SklearnSGDEstimator(n_features=%llu, n_classes=%llu)",
                                (unsigned long long)self->n_features,
                                (unsigned long long)self->n_classes);
}

static int
sgd_traverse(PyObject *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(((sgd_estimator *)self)->model);
    return 0;
}

static int
sgd_clear(PyObject *self)
{
    Py_CLEAR(((sgd_estimator *)self)->model);
    return 0;
}

static void
sgd_dealloc(PyObject *self)
{
    PyObject_GC_UnTrack(self);
    sgd_clear(self);
    estimator_dealloc(self);
}

PyDoc_STRVAR(
    sgd_doc,
    "SklearnSGDEstimator(n_features, n_classes=1, model=None)\n--\n\n"
    "FLOPs of one pass of plain SGD over a linear model: 4·B·f·C for a batch of B rows,\n"
    "f features and C hyperplanes (2·B·f·C for the scores, as much for the update).\n\n"
    "n_classes counts hyperplanes as it stands; scikit-learn fits one for a binary problem\n"
    "and one per class otherwise, which SklearnSGDEstimator.from_estimator reads.");

static PyMethodDef sgd_methods[] = {
    {"flops_for_batch", pyft_estimator_flops_for_batch, METH_O,
     "flops_for_batch($self, batch_size, /)\n--\n\n4 * batch_size * n_features * n_classes, an int."},
    {"__getstate__", sgd_getstate, METH_NOARGS, NULL},
    {"__setstate__", sgd_setstate, METH_VARARGS, NULL},
    {"from_estimator", sgd_from_estimator, METH_O | METH_CLASS,
     "from_estimator($type, clf, /)\n--\n\n"
     "Reads the sizes from a fitted linear model (coef_ and n_features_in_): 1 hyperplane for a\n"
     "binary problem or a regression, one per class otherwise. ValueError if it is not fitted."},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef sgd_getset[] = {
    {"trust_line", sgd_trust_line, NULL, "What the counts are made of, in one line.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyMemberDef sgd_members[] = {
    {"n_features", T_ULONGLONG, offsetof(sgd_estimator, n_features), READONLY, "f, an int."},
    {"n_classes", T_ULONGLONG, offsetof(sgd_estimator, n_classes), READONLY, "C, an int."},
    {"model", T_OBJECT, offsetof(sgd_estimator, model), READONLY, "The classifier, or None."},
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot sgd_slots[] = {
    {Py_tp_doc, (void *)sgd_doc},   {Py_tp_init, sgd_init},
    {Py_tp_repr, sgd_repr},         {Py_tp_dealloc, sgd_dealloc},
    {Py_tp_traverse, sgd_traverse}, {Py_tp_clear, sgd_clear},
    {Py_tp_methods, sgd_methods},   {Py_tp_getset, sgd_getset},
    {Py_tp_members, sgd_members},   {0, NULL},
};

static PyType_Spec sgd_spec = {
    .name = "flops_tracker.SklearnSGDEstimator",
    .basicsize = sizeof(sgd_estimator),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
    .slots = sgd_slots,
};

int
pyft_add_estimators(PyObject *module, pyft_state *state)
{
    state->estimator_type = (PyTypeObject *)PyType_FromModuleAndSpec(module, &base_spec, NULL);
    if (state->estimator_type == NULL || PyModule_AddType(module, state->estimator_type) < 0) {
        return -1;
    }
    state->sgd_type = (PyTypeObject *)PyType_FromModuleAndSpec(module, &sgd_spec,
                                                               (PyObject *)state->estimator_type);
    return state->sgd_type == NULL ? -1 : PyModule_AddType(module, state->sgd_type);
}
