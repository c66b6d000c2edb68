/* What the tool flops-profiler states of operations that are no contractions; read under the
 * convention of its name. */
/* SPDX-License-Identifier: MIT */
#include "formulas.h"

static ft_status
stated_per_element(const ft_operand *operands, ft_cost *cost)
{
    ft_add_kind(cost, FT_ARITH, ft_times(ft_numel(&operands[0]), ft_number(&operands[1])));
    return FT_OK;
}

const ft_formula ft_flops_profiler_table = {
    .name = "flops_profiler_table",
    .equation = "stated = numel(tensor) * times",
    .source = "the tool flops-profiler, which counts them beside multiply-accumulates",
    .op_class = FT_CLASS_STATED,
    .evaluate = stated_per_element,
    .roles = {{"tensor", FT_TENSOR}, {"times", FT_NUMBER}},
    .examples =
        {
            {.text = "AvgPool2d on (1024,6,28,28): 1024*4704 = 4816896, its 4.82 MMACs",
             .operands = {FT_SHAPE_OF(1024, 6, 28, 28), FT_NUMBER_OF(1)},
             .cost = {{[FT_ARITH] = FT_COUNT(4816896)}}},
            {.text = "BatchNorm2d on (2,3,4,4): 96*2 = 192",
             .operands = {FT_SHAPE_OF(2, 3, 4, 4), FT_NUMBER_OF(2)},
             .cost = {{[FT_ARITH] = FT_COUNT(192)}}},
        },
};
