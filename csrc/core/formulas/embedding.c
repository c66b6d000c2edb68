/* Sums over rows of an embedding table, and the sums of its gradient. */
/* SPDX-License-Identifier: MIT */
#include "formulas.h"

enum { SUM, MEAN, MAX };

static ft_status
embedding_bag(const ft_operand *operands, ft_cost *cost)
{
    const ft_operand *output = &operands[0];
    uint64_t mode = operands[2].number;
    ft_u128 results = ft_numel(output);
    ft_u128 elements = ft_times(ft_numel(&operands[1]), ft_dim(output, -1));
    ft_u128 folds =
        ft_u128_compare(elements, results) > 0 ? ft_u128_subtract(elements, results) : FT_U128_ZERO;
    ft_add_kind(cost, mode == MAX ? FT_COMPARE : FT_ARITH, folds);
    if (mode == MEAN) {
        ft_add_kind(cost, FT_ARITH, results);
    }
    if (ft_flag(&operands[3])) {
        ft_add_kind(cost, FT_ARITH, elements);
    }
    return FT_OK;
}

const ft_formula ft_embedding_bag = {
    .name = "embedding_bag",
    .equation = "folds = indices*width - bags*width: arith, compare for a maximum; a division per "
                "result for a mean, a product per element with weights",
    .source = "n rows are folded in n - 1 steps; bags that are empty are taken for full ones",
    .op_class = FT_CLASS_EMBEDDING,
    .evaluate = embedding_bag,
    .roles = {{"output", FT_TENSOR},
              {"indices", FT_TENSOR},
              {"mode", FT_NUMBER},
              {"weighted", FT_FLAG}},
    .examples =
        {
            {
                .text = "mean of 4 rows of 3 in 2 bags: 12 - 6 additions, 6 divisions",
                .operands = {FT_SHAPE_OF(2, 3), FT_SHAPE_OF(4), FT_NUMBER_OF(1)},
                .cost = {{[FT_ARITH] = FT_COUNT(12)}},
            },
        },
};

static ft_status
embedding_bag_backward(const ft_operand *operands, ft_cost *cost)
{
    const ft_operand *grad = &operands[0];
    uint64_t mode = operands[2].number;
    ft_u128 elements =
        mode == MAX ? ft_numel(grad) : ft_times(ft_numel(&operands[1]), ft_dim(grad, -1));
    uint64_t steps = 1u + (mode == MEAN) + ft_flag(&operands[3]) + ft_flag(&operands[4]);
    ft_add_kind(cost, FT_ARITH, ft_times(elements, ft_u128_of(steps)));
    return FT_OK;
}

const ft_formula ft_embedding_bag_backward = {
    .name = "embedding_bag_backward",
    .equation = "arith = indices*width, an addition into the table each; for a mean, weights and "
                "scaling by frequency one step more each; for a maximum bags*width",
    .source = "the gradient of a row is the sum over its uses",
    .op_class = FT_CLASS_EMBEDDING,
    .evaluate = embedding_bag_backward,
    .roles = {{"grad", FT_TENSOR},
              {"indices", FT_TENSOR},
              {"mode", FT_NUMBER},
              {"weighted", FT_FLAG},
              {"by_frequency", FT_FLAG}},
    .examples =
        {
            {
                .text = "mean of 4 rows of 3: 12 divisions and 12 additions",
                .operands = {FT_SHAPE_OF(2, 3), FT_SHAPE_OF(4), FT_NUMBER_OF(1)},
                .cost = {{[FT_ARITH] = FT_COUNT(24)}},
            },
        },
};

static ft_status
embedding_bag_weights_backward(const ft_operand *operands, ft_cost *cost)
{
    ft_add_dots(cost, ft_numel(&operands[0]), ft_dim(&operands[1], -1));
    return FT_OK;
}

const ft_formula ft_embedding_bag_weights_backward = {
    .name = "embedding_bag_weights_backward",
    .equation = "mac = indices*width, dot = indices",
    .source = "the gradient of a weight is the product of its row with the bag's gradient",
    .op_class = FT_CLASS_EMBEDDING,
    .evaluate = embedding_bag_weights_backward,
    .roles = {{"indices", FT_TENSOR}, {"grad", FT_TENSOR}},
    .examples =
        {
            {
                .text = "4 rows of 3: 4 dots of 3",
                .operands = {FT_SHAPE_OF(4), FT_SHAPE_OF(2, 3)},
                .cost = {{[FT_MAC] = FT_COUNT(12), [FT_DOT] = FT_COUNT(4)}},
            },
        },
};

static ft_status
embedding_backward(const ft_operand *operands, ft_cost *cost)
{
    uint64_t steps = ft_flag(&operands[1]) ? 2 : 1;
    ft_add_kind(cost, FT_ARITH, ft_times(ft_numel(&operands[0]), ft_u128_of(steps)));
    return FT_OK;
}

const ft_formula ft_embedding_backward = {
    .name = "embedding_backward",
    .equation = "arith = numel(grad_output), twice that when scaled by frequency",
    .source = "each row of the gradient is added into the table",
    .op_class = FT_CLASS_EMBEDDING,
    .evaluate = embedding_backward,
    .roles = {{"grad_output", FT_TENSOR}, {"by_frequency", FT_FLAG}},
    .examples =
        {
            {
                .text = "2 sentences of 5 words of width 3: 30 additions",
                .operands = {FT_SHAPE_OF(2, 5, 3)},
                .cost = {{[FT_ARITH] = FT_COUNT(30)}},
            },
        },
};
