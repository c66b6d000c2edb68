/* Rows of a table looked up by index: work on each of their elements. */
/* SPDX-License-Identifier: MIT */
#include "formulas.h"

/* Elements of the rows that `indices` pick out of `table`. */
static ft_u128
gathered(const ft_operand *table, const ft_operand *indices)
{
    ft_shape shape = table->shape;
    return ft_times(ft_numel(indices), ft_shape_product(shape, shape.ndim > 0, shape.ndim));
}

static ft_status
gathered_rows(const ft_operand *operands, ft_cost *cost)
{
    ft_u128 elements = gathered(&operands[0], &operands[1]);
    ft_add_kind(cost, FT_ARITH, ft_times(elements, ft_number(&operands[2])));
    ft_add_kind(cost, FT_SPECIAL, ft_times(elements, ft_number(&operands[3])));
    return FT_OK;
}

const ft_formula ft_gathered_rows = {
    .name = "gathered_rows",
    .equation = "arith and special of each of indices*row elements",
    .source = "the operation's documented formula for each row looked up",
    .op_class = FT_CLASS_EMBEDDING,
    .evaluate = gathered_rows,
    .roles = {{"table", FT_TENSOR},
              {"indices", FT_TENSOR},
              {"arith", FT_NUMBER},
              {"special", FT_NUMBER}},
    .examples = {{.text = "norms of 6 rows of 3: power, sum and scale each element: 36 and 18",
                  .operands = {FT_SHAPE_OF(2, 3), FT_SHAPE_OF(6), FT_NUMBER_OF(2), FT_NUMBER_OF(1)},
                  .cost = {{[FT_ARITH] = FT_COUNT(36), [FT_SPECIAL] = FT_COUNT(18)}}}},
};
