/* Gradients of norms, per element; terms per row or channel are left out. */
/* SPDX-License-Identifier: MIT */
#include "formulas.h"

enum { TENSOR, MASK, STATISTICS, MEAN, WEIGHT, SHARED };

static bool
wanted(const ft_operand *mask, int index)
{
    return mask->is_number || (index < mask->shape.ndim && mask->shape.dims[index] != 0);
}

static ft_status
norm_backward(const ft_operand *operands, ft_cost *cost)
{
    const ft_operand *mask = &operands[MASK];
    bool input = wanted(mask, 0), weight = wanted(mask, 1), bias = wanted(mask, 2);
    bool statistics = ft_flag(&operands[STATISTICS]), mean = ft_flag(&operands[MEAN]);
    int each = 0;
    if ((input && statistics) || weight) {
        each += mean ? 2 : 1; /* the normalized element h, made again */
    }
    if (input) {
        /* g*h, its sum, h*c, subtracted, scaled; with a mean also the sum of g, subtracted */
        each += statistics ? 5 + (mean ? 2 : 0) : 1;
        each += statistics && ft_flag(&operands[WEIGHT]);
    }
    bool sums_there = input && statistics && ft_flag(&operands[SHARED]);
    if (!sums_there) {
        each += (weight ? 2 : 0) + (bias ? 1 : 0);
    }
    ft_add_kind(cost, FT_ARITH, ft_times(ft_numel(&operands[TENSOR]), ft_u128_of((uint64_t)each)));
    return FT_OK;
}

const ft_formula ft_norm_backward = {
    .name = "norm_backward",
    .equation = "arith per element: h made again 2; gradient of the input: g*h, its sum, sum of g, "
                "h*c, subtract twice, scale: 7 (1 with given statistics), g times weight 1; of the "
                "weight 2, of the bias 1, nothing where the input's sums are these (shared); "
                "without a mean 1 + 5",
    .source = "derivative of (x - mean)/deviation; terms per row or channel are left out",
    .op_class = FT_CLASS_NORM,
    .evaluate = norm_backward,
    .roles = {{"tensor", FT_TENSOR},
              {"mask", FT_SIZES},
              {"statistics", FT_FLAG},
              {"mean", FT_FLAG},
              {"weight", FT_FLAG},
              {"shared", FT_FLAG}},
    .examples =
        {
            {.text = "layer norm with weight and bias on (2, 8): 16*(2 + 7 + 1 + 2 + 1) = 208",
             .operands = {FT_SHAPE_OF(2, 8), FT_SHAPE_OF(1, 1, 1), FT_NUMBER_OF(1), FT_NUMBER_OF(1),
                          FT_NUMBER_OF(1)},
             .cost = {{[FT_ARITH] = FT_COUNT(208)}}},
            {.text = "batch norm in training on 10: h 2 and 7, its sums are those of both: 90",
             .operands = {FT_SHAPE_OF(10), FT_SHAPE_OF(1, 1, 1), FT_NUMBER_OF(1), FT_NUMBER_OF(1),
                          FT_ABSENT, FT_NUMBER_OF(1)},
             .cost = {{[FT_ARITH] = FT_COUNT(90)}}},
            {.text = "batch norm in eval on 10: g*scale 1, h 2, weight 2, bias 1: 60",
             .operands = {FT_SHAPE_OF(10), FT_SHAPE_OF(1, 1, 1), FT_ABSENT, FT_NUMBER_OF(1),
                          FT_ABSENT, FT_NUMBER_OF(1)},
             .cost = {{[FT_ARITH] = FT_COUNT(60)}}},
        },
};
