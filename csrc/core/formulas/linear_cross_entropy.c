/* A linear layer and its cross entropy as one operation, which prepares the gradients with it. */
/* SPDX-License-Identifier: MIT */
#include "formulas.h"

enum { INPUT, WEIGHT, BIAS, GRAD_INPUT, GRAD_WEIGHT, GRAD_BIAS };

static ft_status
linear_cross_entropy(const ft_operand *operands, ft_cost *cost)
{
    const ft_operand *input = &operands[INPUT], *weight = &operands[WEIGHT];
    ft_u128 rows = ft_dim(input, 0), width = ft_dim(input, 1), classes = ft_dim(weight, 0);
    ft_u128 logits = ft_times(rows, classes);
    if (input->shape.ndim != 2 || weight->shape.ndim != 2) {
        return FT_BAD_SHAPE;
    }
    ft_add_dots(cost, logits, width);
    if (ft_flag(&operands[BIAS])) {
        ft_add_kind(cost, FT_BIAS, logits);
    }
    if (ft_flag(&operands[GRAD_INPUT])) {
        ft_add_dots(cost, ft_times(rows, width), classes);
    }
    if (ft_flag(&operands[GRAD_WEIGHT])) {
        ft_add_dots(cost, ft_times(classes, width), rows);
    }
    if (ft_flag(&operands[GRAD_BIAS]) && !ft_u128_is_zero(rows)) {
        ft_add_kind(cost, FT_ARITH, ft_u128_subtract(logits, classes));
    }
    return FT_OK;
}

static ft_status
linear_cross_entropy_softmax(const ft_operand *operands, ft_cost *cost)
{
    ft_u128 logits = ft_times(ft_dim(&operands[INPUT], 0), ft_dim(&operands[WEIGHT], 0));
    bool gradients = ft_flag(&operands[GRAD_INPUT]) || ft_flag(&operands[GRAD_WEIGHT]) ||
                     ft_flag(&operands[GRAD_BIAS]);
    ft_add_kind(cost, FT_ARITH, ft_times(logits, ft_u128_of(gradients ? 3 : 2)));
    ft_add_kind(cost, FT_COMPARE, logits);
    ft_add_kind(cost, FT_SPECIAL, logits);
    return FT_OK;
}

#define ROLES                                                                                    \
    {                                                                                            \
        {"input", FT_TENSOR}, {"weight", FT_TENSOR}, {"bias", FT_FLAG}, {"grad_input", FT_FLAG}, \
            {"grad_weight", FT_FLAG},                                                            \
        {                                                                                        \
            "grad_bias", FT_FLAG                                                                 \
        }                                                                                        \
    }

const ft_formula ft_linear_cross_entropy = {
    .name = "linear_cross_entropy",
    .equation =
        "mac = N*F*C, again for grad_input and for grad_weight; dot = N*C, N*F, C*F; bias = "
        "N*C; grad_bias: arith = (N - 1)*C",
    .source = "logits = x W^T + b and the gradients of a loss of them",
    .op_class = FT_CLASS_MATMUL,
    .evaluate = linear_cross_entropy,
    .roles = ROLES,
    .examples =
        {
            {
                .text = "8 rows of 3, 4 classes, both gradients: 3*96 products, 32 + 24 + 12 dots",
                .operands = {FT_SHAPE_OF(8, 3), FT_SHAPE_OF(4, 3), FT_NUMBER_OF(0), FT_NUMBER_OF(1),
                             FT_NUMBER_OF(1)},
                .cost = {{[FT_MAC] = FT_COUNT(288), [FT_DOT] = FT_COUNT(68)}},
            },
        },
};

const ft_formula ft_linear_cross_entropy_softmax = {
    .name = "linear_cross_entropy_softmax",
    .equation =
        "per logit: maximum, subtract it, exp, sum; a division where gradients are prepared",
    .source = "the steps of softmax; what is per row is left out",
    .op_class = FT_CLASS_SOFTMAX,
    .evaluate = linear_cross_entropy_softmax,
    .roles = ROLES,
    .examples =
        {
            {
                .text = "8 rows, 4 classes, with gradients: 32*3, 32 maxima, 32 exponentials",
                .operands = {FT_SHAPE_OF(8, 3), FT_SHAPE_OF(4, 3), FT_NUMBER_OF(0), FT_NUMBER_OF(1),
                             FT_NUMBER_OF(1)},
                .cost = {{[FT_ARITH] = FT_COUNT(96),
                          [FT_COMPARE] = FT_COUNT(32),
                          [FT_SPECIAL] = FT_COUNT(32)}},
            },
        },
};
