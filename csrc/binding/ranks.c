/* What several processes counted together: limbs of a total, and back; see _ranks.py. */
/* SPDX-License-Identifier: MIT */
#include "pyft.h"

PyObject *
pyft_rank_label(void)
{
    return pyft_call_helper("flops_tracker._ranks", "label", "()");
}

PyObject *
pyft_rank_prefix(void)
{
    PyObject *label = pyft_rank_label();
    if (label != NULL && PyUnicode_GET_LENGTH(label) > 0) {
        Py_SETREF(label, PyUnicode_FromFormat("%U%s", label, PYFT_DOT));
    }
    return label;
}

/* _limbs(tag): the total as integers of which the sums over ranks can be joined. */
PyObject *
pyft_tracker_limbs(PyObject *object, PyObject *argument)
{
    int64_t limbs[FT_LIMB_COUNT];
    uint64_t tag;
    if (pyft_to_u64(argument, "tag", &tag) < 0) {
        return NULL;
    }
    ft_limbs_split(((pyft_tracker *)object)->run.ledger.total, (uint32_t)tag, limbs);
    PyObject *list = PyList_New(FT_LIMB_COUNT);
    for (int i = 0; list != NULL && i < FT_LIMB_COUNT; i++) {
        PyObject *limb = PyLong_FromLongLong(limbs[i]);
        if (limb == NULL) {
            Py_CLEAR(list);
            break;
        }
        PyList_SET_ITEM(list, i, limb);
    }
    return list;
}

/* _join_limbs(limbs, tag, ranks): the count; a ValueError where they are no such sum. */
PyObject *
pyft_join_limbs(PyObject *module, PyObject *args)
{
    (void)module;
    PyObject *list;
    unsigned int tag, ranks;
    int64_t limbs[FT_LIMB_COUNT];
    ft_u128 sum = FT_U128_ZERO;
    if (!PyArg_ParseTuple(args, "O!II:_join_limbs", &PyList_Type, &list, &tag, &ranks)) {
        return NULL;
    }
    if (PyList_GET_SIZE(list) != FT_LIMB_COUNT) {
        return pyft_raise(FT_BAD_SUM, "joining limbs");
    }
    for (int i = 0; i < FT_LIMB_COUNT; i++) {
        limbs[i] = PyLong_AsLongLong(PyList_GET_ITEM(list, i));
        if (limbs[i] == -1 && PyErr_Occurred()) {
            return NULL;
        }
    }
    ft_status status = ft_limbs_join(limbs, tag, ranks, &sum);
    return status == FT_OK ? pyft_from_u128(sum) : pyft_raise(status, "joining limbs");
}

/* Getters of the tracker: the function of that name in _ranks.py. */
PyObject *
pyft_tracker_over_ranks(PyObject *object, void *name)
{
    return pyft_tracker_check((pyft_tracker *)object) < 0
               ? NULL
               : pyft_call_helper("flops_tracker._ranks", name, "(O)", object);
}
