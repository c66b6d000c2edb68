/* WorkSum: work by class, dtype and phase alone, of any number of counts. Internal; for rates. */
/* SPDX-License-Identifier: MIT */
#include "counting.h"

typedef struct {
    PyObject_HEAD
    ft_tally tally; /* its keys have neither operation nor module */
    pyft_state *state;
} work_sum;

static ft_cost
times_cost(const ft_cost *cost, uint64_t times)
{
    ft_cost product = *cost;
    for (int kind = 0; kind < FT_KIND_COUNT; kind++) {
        product.by_kind[kind] = ft_u128_multiply(product.by_kind[kind], ft_u128_of(times));
    }
    return product;
}

/* All or nothing: the sums are made aside. */
static ft_status
add_tally(ft_tally *sum, const ft_tally *from, uint64_t times)
{
    ft_tally both;
    ft_tally_init(&both, ft_allocator_libc());
    ft_status status = ft_tally_merge(&both, sum, 1);
    for (size_t i = 0; i < from->count && status == FT_OK; i++) {
        const ft_work *row = &from->rows[i];
        ft_work_key key = {
            .dtype = row->key.dtype, .phase = row->key.phase, .op_class = row->key.op_class};
        ft_cost cost = times_cost(&row->cost, times);
        status = ft_tally_add(&both, key, &cost, row->calls);
    }
    if (status != FT_OK) {
        ft_tally_clear(&both);
        return status;
    }
    ft_tally_clear(sum);
    *sum = both;
    return FT_OK;
}

/* add(counts, times=1): counts of this process, or another WorkSum. */
static PyObject *
sum_add(PyObject *object, PyObject *args)
{
    work_sum *self = (work_sum *)object;
    PyObject *other, *number = NULL;
    uint64_t times = 1;
    if (!PyArg_ParseTuple(args, "O|O:add", &other, &number) ||
        (number != NULL && pyft_to_u64(number, "times", &times) < 0)) {
        return NULL;
    }
    const ft_tally *tally = NULL;
    if (Py_TYPE(other) == Py_TYPE(object)) {
        tally = &((work_sum *)other)->tally;
    }
    else if (PyObject_TypeCheck(other, self->state->counts_type) &&
             ((pyft_counts *)other)->dtype_names == NULL) {
        tally = &((pyft_counts *)other)->tally;
    }
    if (tally == NULL) {
        return PyErr_Format(PyExc_TypeError, "no counts of this process: %R", other);
    }
    ft_status status = add_tally(&self->tally, tally, times);
    return status == FT_OK ? Py_NewRef(Py_None) : pyft_raise(status, "adding up work");
}

static ft_u128
count_of(const ft_tally *tally, ft_work_key key, const ft_convention *convention)
{
    for (size_t i = 0; i < tally->count; i++) {
        ft_work_key own = tally->rows[i].key;
        if (own.dtype == key.dtype && own.phase == key.phase && own.op_class == key.op_class) {
            return ft_cost_read(&tally->rows[i].cost, (ft_class)key.op_class, convention);
        }
    }
    return FT_U128_ZERO;
}

static PyObject *
dtype_name(const work_sum *self, uint16_t dtype)
{
    return dtype == PYFT_NO_DTYPE ? PyUnicode_FromString("none")
                                  : Py_NewRef(self->state->counting->dtypes.items[dtype].name);
}

/* contractions(since): a list of (dtype, class, whether it was recomputed, FLOPs) of the work that
 * came after `since`, a WorkSum or None, under the convention matmul. */
static PyObject *
sum_contractions(PyObject *object, PyObject *since)
{
    work_sum *self = (work_sum *)object;
    const ft_convention *matmul = ft_convention_find("matmul");
    if (since != Py_None && Py_TYPE(since) != Py_TYPE(object)) {
        return PyErr_Format(PyExc_TypeError, "since must be a WorkSum or None, not %R", since);
    }
    PyObject *list = PyList_New(0);
    for (size_t i = 0; list != NULL && i < self->tally.count; i++) {
        const ft_work_key key = self->tally.rows[i].key;
        ft_u128 flops = count_of(&self->tally, key, matmul);
        if (since != Py_None) {
            flops = ft_u128_subtract(flops, count_of(&((work_sum *)since)->tally, key, matmul));
        }
        if (ft_u128_is_zero(flops)) {
            continue;
        }
        PyObject *row = Py_BuildValue(
            "(NsON)", dtype_name(self, key.dtype), ft_class_name((ft_class)key.op_class),
            key.phase == FT_PHASE_RECOMPUTE ? Py_True : Py_False, pyft_from_u128(flops));
        if (row == NULL || PyList_Append(list, row) < 0) {
            Py_CLEAR(list);
        }
        Py_XDECREF(row);
    }
    return list;
}

/* recomputed(convention): FLOPs that were recomputed, and all others. */
static PyObject *
sum_recomputed(PyObject *object, PyObject *name)
{
    work_sum *self = (work_sum *)object;
    const char *text = PyUnicode_AsUTF8(name);
    const ft_convention *convention = text == NULL ? NULL : pyft_convention_named(text);
    if (convention == NULL) {
        return NULL;
    }
    ft_u128 sums[FT_PHASE_COUNT] = {{0, 0}}, others = FT_U128_ZERO;
    ft_tally_sum(&self->tally, convention, FT_BY_PHASE, sums, FT_PHASE_COUNT);
    for (int phase = 0; phase < FT_PHASE_COUNT; phase++) {
        others = ft_u128_add(others, phase == FT_PHASE_RECOMPUTE ? FT_U128_ZERO : sums[phase]);
    }
    return Py_BuildValue("(NN)", pyft_from_u128(sums[FT_PHASE_RECOMPUTE]), pyft_from_u128(others));
}

/* ---- the type ---- */

static PyObject *
sum_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    pyft_state *state = pyft_state_of(type);
    if (state == NULL || (kwargs != NULL && PyDict_GET_SIZE(kwargs) > 0) ||
        !PyArg_ParseTuple(args, ":WorkSum")) {
        return NULL;
    }
    work_sum *self = (work_sum *)type->tp_alloc(type, 0);
    if (self != NULL) {
        self->state = state;
        ft_tally_init(&self->tally, ft_allocator_libc());
    }
    return (PyObject *)self;
}

static void
sum_dealloc(PyObject *object)
{
    PyTypeObject *type = Py_TYPE(object);
    ft_tally_clear(&((work_sum *)object)->tally);
    type->tp_free(object);
    Py_DECREF(type);
}

static PyMethodDef sum_methods[] = {
    {"add", sum_add, METH_VARARGS, "add(counts, times=1): counts, or another sum."},
    {"contractions", sum_contractions, METH_O,
     "contractions(since): (dtype, class, recomputed, FLOPs) of the work after since."},
    {"recomputed", sum_recomputed, METH_O, "recomputed(convention): FLOPs of it, and of the rest."},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot sum_slots[] = {
    {Py_tp_new, sum_new},
    {Py_tp_dealloc, sum_dealloc},
    {Py_tp_methods, sum_methods},
    {0, NULL},
};

static PyType_Spec sum_spec = {
    .name = "flops_tracker._core.WorkSum",
    .basicsize = sizeof(work_sum),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = sum_slots,
};

int
pyft_add_work_sum(PyObject *module)
{
    PyObject *type = PyType_FromModuleAndSpec(module, &sum_spec, NULL);
    int result = type == NULL ? -1 : PyModule_AddType(module, (PyTypeObject *)type);
    Py_XDECREF(type);
    return result;
}
