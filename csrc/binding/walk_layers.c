/* What a walk saw, as Layer records: which layers counted, and which work is missing. */
/* SPDX-License-Identifier: MIT */
#include "walk.h"

ft_u128
pyft_walk_total(PyObject *object, int pass)
{
    const walk *self = (const walk *)object;
    ft_u128 total = FT_U128_ZERO;
    for (Py_ssize_t i = 0; i < self->count; i++) {
        total = ft_u128_add(total, self->layers[i].flops[pass]);
    }
    return total;
}

static bool
lies_in_unit(const walk *self, const layer *target)
{
    for (Py_ssize_t i = target->parent; i >= 0; i = self->layers[i].parent) {
        if (pyft_is_unit(&self->layers[i])) {
            return true;
        }
    }
    return false;
}

static bool
holds_called(const walk *self, const layer *target)
{
    Py_ssize_t position = target - self->layers;
    for (Py_ssize_t i = position + 1; i < self->count; i++) {
        Py_ssize_t above = self->layers[i].parent;
        while (above > position) {
            above = self->layers[above].parent;
        }
        if (above != position) {
            return false; /* past its descendants, which follow it in a row */
        }
        if (self->layers[i].calls[0] > 0) {
            return true;
        }
    }
    return false;
}

static const char *
status_of(const walk *self, const layer *target)
{
    bool called = target->calls[0] > 0;
    bool needs_rule = !pyft_has_rule(target) && target->own_parameters > 0;
    bool has_own_work = pyft_has_rule(target) || target->own_parameters > 0;
    if (target->compiled) {
        return target->own_parameters > 0 ? "uncounted" : "container";
    }
    if (!called && (target->inner_calls > 0 || lies_in_unit(self, target))) {
        return "inside";
    }
    if (!target->has_forward) { /* it can't be called: ModuleList, ParameterList */
        return needs_rule ? "uncounted" : "container";
    }
    if (!called) {
        bool looped_over = !has_own_work && holds_called(self, target);
        return looped_over ? "container" : "uncalled";
    }
    if (target->incomplete) {
        return "uncounted";
    }
    if (pyft_has_rule(target)) {
        return ft_u128_is_zero(target->flops[0]) ? "neglected" : "counted";
    }
    return needs_rule ? "uncounted" : "container";
}

static PyObject *
layer_record(const walk *self, const pyft_state *state, const layer *target)
{
    const char *rule = target->user_rule != NULL ? "user"
                       : target->row_count > 0   ? target->rows[0]->formula->name
                                                 : "";
    PyObject *fields[] = {
        Py_NewRef(target->path),
        Py_NewRef(target->class_name),
        PyUnicode_FromString(status_of(self, target)),
        PyUnicode_FromString(rule),
        PyLong_FromUnsignedLongLong(target->calls[0]),
        pyft_from_u128(target->flops[0]),
        PyLong_FromUnsignedLongLong(target->own_parameters),
        target->note == NULL ? PyUnicode_FromString("") : Py_NewRef(target->note),
    };
    return pyft_new_record(state->layer_type, fields, (Py_ssize_t)FT_COUNT_OF(fields));
}

PyObject *
pyft_walk_layers(PyObject *object)
{
    const walk *self = (const walk *)object;
    pyft_state *state = pyft_state_of(Py_TYPE(object));
    PyObject *layers = state == NULL ? NULL : PyTuple_New(self->count);
    for (Py_ssize_t i = 0; layers != NULL && i < self->count; i++) {
        PyObject *record = layer_record(self, state, &self->layers[i]);
        if (record == NULL) {
            Py_CLEAR(layers);
        }
        else {
            PyTuple_SET_ITEM(layers, i, record);
        }
    }
    return layers;
}
