/* Counts one call of a layer, by the rules of the name map or by a rule of the user. */
/* SPDX-License-Identifier: MIT */
#include "walk.h"

static int
count_by_row(walk *self, const ft_map_row *row, const pyft_call *made, ft_u128 *flops,
             ft_status *status)
{
    int64_t dims[FT_MAX_ROLES][FT_MAX_DIMS];
    ft_operand operands[FT_MAX_ROLES];
    ft_cost cost;
    const ft_formula *formula = row->formula;
    int roles = ft_formula_role_count(formula);
    *flops = FT_U128_ZERO;
    if (!(self->classes >> formula->op_class & 1u)) {
        return 0; /* switched off */
    }
    for (int i = 0; i < roles; i++) {
        if (pyft_read_operand(made, &row->sources[i], dims[i], &operands[i]) < 0) {
            return -1;
        }
    }
    *status = ft_formula_evaluate(formula, operands, &cost);
    if (*status == FT_OK) {
        *flops = ft_cost_read(&cost, formula->op_class, ft_convention_find("layerwise"));
    }
    return 0;
}

static int
count_by_user(layer *target, const pyft_call *made, ft_u128 *flops)
{
    PyObject *result = PyObject_CallFunctionObjArgs(target->user_rule, made->module, made->args,
                                                    made->kwargs, made->output, NULL);
    int converted =
        result == NULL ? -1 : pyft_to_u128(result, "the result of a registered rule", flops);
    Py_XDECREF(result);
    return converted;
}

/* A rule of ours that does not fit a call makes the layer uncounted, with the reason. A user's rule
 * that raises ends the dry run: the exception is kept until the pass is over. */
int
pyft_walk_count_call(walk *self, layer *target, const pyft_call *made)
{
    ft_u128 sum = FT_U128_ZERO, flops;
    if (target->user_rule != NULL) {
        if (count_by_user(target, made, &sum) < 0) {
            Py_XSETREF(self->failure, pyft_take_exception());
            return 0;
        }
    }
    for (int i = 0; i < target->row_count; i++) {
        ft_status status = FT_OK;
        if (count_by_row(self, target->rows[i], made, &flops, &status) < 0) {
            if (!PyErr_ExceptionMatches(PyExc_Exception)) {
                return -1;
            }
            PyErr_Clear(); /* a symbolic or otherwise unreadable size */
            status = FT_BAD_SHAPE;
        }
        if (status != FT_OK) {
            Py_XSETREF(target->note, PyUnicode_FromFormat("its rule %s does not fit this call: %s",
                                                          target->rows[i]->formula->name,
                                                          ft_status_text(status)));
            target->row_count = 0; /* from here on it has no rule */
            break;
        }
        sum = ft_u128_add(sum, flops);
    }
    target->flops[self->pass] = ft_u128_add(target->flops[self->pass], sum);
    return 0;
}
