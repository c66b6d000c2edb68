/* RMSNorm where one kernel does it: what its steps cost where they are done one by one. */
/* SPDX-License-Identifier: MIT */
#include "formulas.h"

static ft_status
rms_norm(const ft_operand *operands, ft_cost *cost)
{
    ft_u128 elements = ft_numel(&operands[0]), length = ft_numel(&operands[1]);
    uint64_t rest = 0;
    if (!operands[1].present || length.hi != 0 || (length.lo == 0 && !ft_u128_is_zero(elements))) {
        return FT_BAD_SHAPE;
    }
    ft_u128 rows = length.lo == 0 ? FT_U128_ZERO : ft_u128_divide(elements, length.lo, &rest);
    uint64_t steps = 2 + ft_flag(&operands[2]);
    ft_add_kind(cost, FT_ARITH, ft_plus(ft_times(elements, ft_u128_of(steps)), rows));
    ft_add_kind(cost, FT_SPECIAL, ft_plus(elements, rows));
    return rest == 0 ? FT_OK : FT_BAD_SHAPE;
}

const ft_formula ft_rms_norm = {
    .name = "rms_norm",
    .equation = "n elements in rows of `shape`: special = n + rows, arith = n*(2 + weight) + rows",
    .source = "as torch does it step by step: each squared (a power); the mean, epsilon and 1/sqrt "
              "of each row; each times that, and times its weight",
    .op_class = FT_CLASS_NORM,
    .evaluate = rms_norm,
    .roles = {{"output", FT_TENSOR}, {"shape", FT_INTEGERS}, {"weight", FT_FLAG}},
    .examples =
        {
            {
                .text = "(2, 5) over the last with weight: 10*3 + 2 = 32 arith, 10 + 2 special",
                .operands = {FT_SHAPE_OF(2, 5), FT_SHAPE_OF(5), FT_NUMBER_OF(1)},
                .cost = {{[FT_ARITH] = FT_COUNT(32), [FT_SPECIAL] = FT_COUNT(12)}},
            },
        },
};
