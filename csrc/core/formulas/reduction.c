/* Work that folds a tensor into fewer elements: sums, means, maxima, norms, scans. */
/* SPDX-License-Identifier: MIT */
#include "formulas.h"

enum { INPUT, OUTPUT, FOLD_ARITH, FOLD_COMPARE, ARITH, COMPARE, SPECIAL, END_ARITH, END_SPECIAL };

static ft_status
reduction(const ft_operand *operands, ft_cost *cost)
{
    ft_u128 inputs = ft_numel(&operands[INPUT]), outputs = ft_numel(&operands[OUTPUT]);
    /* k elements are folded by k - 1 steps; of none, the neutral element comes for nothing. */
    ft_u128 folds =
        ft_u128_compare(inputs, outputs) > 0 ? ft_u128_subtract(inputs, outputs) : FT_U128_ZERO;
    ft_add_kind(cost, FT_ARITH, ft_times(folds, ft_number(&operands[FOLD_ARITH])));
    ft_add_kind(cost, FT_COMPARE, ft_times(folds, ft_number(&operands[FOLD_COMPARE])));
    ft_add_kind(cost, FT_ARITH, ft_times(inputs, ft_number(&operands[ARITH])));
    ft_add_kind(cost, FT_COMPARE, ft_times(inputs, ft_number(&operands[COMPARE])));
    ft_add_kind(cost, FT_SPECIAL, ft_times(inputs, ft_number(&operands[SPECIAL])));
    ft_add_kind(cost, FT_ARITH, ft_times(outputs, ft_number(&operands[END_ARITH])));
    ft_add_kind(cost, FT_SPECIAL, ft_times(outputs, ft_number(&operands[END_SPECIAL])));
    return FT_OK;
}

const ft_formula ft_reduction = {
    .name = "reduction",
    .equation = "(n - m) folds, n elements, m results: arith and compare per fold, then arith, "
                "compare and special per element, arith and special per result",
    .source = "k elements are folded in k - 1 steps",
    .op_class = FT_CLASS_REDUCTION,
    .evaluate = reduction,
    .roles = {{"input", FT_TENSOR},
              {"output", FT_TENSOR},
              {"fold_arith", FT_NUMBER},
              {"fold_compare", FT_NUMBER},
              {"arith", FT_NUMBER},
              {"compare", FT_NUMBER},
              {"special", FT_NUMBER},
              {"end_arith", FT_NUMBER},
              {"end_special", FT_NUMBER}},
    .examples =
        {
            {
                .text = "mean of (3, 4) over the last: 12 - 3 = 9 additions, 3 divisions",
                .operands = {FT_SHAPE_OF(3, 4), FT_SHAPE_OF(3), FT_NUMBER_OF(1), FT_NUMBER_OF(0),
                             FT_NUMBER_OF(0), FT_NUMBER_OF(0), FT_NUMBER_OF(0), FT_NUMBER_OF(1),
                             FT_NUMBER_OF(0)},
                .cost = {{[FT_ARITH] = FT_COUNT(12)}},
            },
        },
};
