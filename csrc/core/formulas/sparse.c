/* Products with sparse matrices whose result or reduction is not that of a plain product. */
/* SPDX-License-Identifier: MIT */
#include "formulas.h"

static ft_status
sampled_matmul(const ft_operand *operands, ft_cost *cost)
{
    ft_u128 entries = ft_number(&operands[0]);
    ft_add_dots(cost, entries, ft_dim(&operands[1], -1));
    ft_add_bias(&operands[2], entries, cost);
    return FT_OK;
}

const ft_formula ft_sampled_matmul = {
    .name = "sampled_matmul",
    .equation = "mac = entries*k, dot = bias = entries; arith = entries for each scale",
    .source = "a matrix product, only where the sparse matrix has an entry",
    .op_class = FT_CLASS_MATMUL,
    .evaluate = sampled_matmul,
    .roles = {{"entries", FT_NUMBER},
              {"left", FT_TENSOR},
              {"bias", FT_FLAG},
              {"alpha", FT_FLAG},
              {"beta", FT_FLAG}},
    .examples =
        {
            {
                .text = "7 entries, (4,5)(5,6) plus themselves: 7*5 products, 7 additions",
                .operands = {FT_NUMBER_OF(7), FT_SHAPE_OF(4, 5), FT_NUMBER_OF(1)},
                .cost =
                    {{[FT_MAC] = FT_COUNT(35), [FT_DOT] = FT_COUNT(7), [FT_BIAS] = FT_COUNT(7)}},
            },
        },
};

static ft_status
sparse_reduce(const ft_operand *operands, ft_cost *cost)
{
    ft_u128 products = ft_times(ft_number(&operands[0]), ft_dim(&operands[1], -1));
    ft_add_kind(cost, FT_MAC, products);
    ft_add_kind(cost, FT_DOT, ft_least(products, ft_numel(&operands[2])));
    return FT_OK;
}

const ft_formula ft_sparse_reduce = {
    .name = "sparse_reduce",
    .equation = "mac = entries*columns, dot = min(mac, numel(output)), for every reduction",
    .source = "each entry is multiplied with a row and folded into the result; a mean's divisions "
              "are left out",
    .op_class = FT_CLASS_MATMUL,
    .evaluate = sparse_reduce,
    .roles = {{"entries", FT_NUMBER}, {"other", FT_TENSOR}, {"output", FT_TENSOR}},
    .examples =
        {
            {
                .text = "7 entries of (3,5) times (5,2): 14 products for 6 results",
                .operands = {FT_NUMBER_OF(7), FT_SHAPE_OF(5, 2), FT_SHAPE_OF(3, 2)},
                .cost = {{[FT_MAC] = FT_COUNT(14), [FT_DOT] = FT_COUNT(6)}},
            },
        },
};

static ft_status
sparse_reduce_backward(const ft_operand *operands, ft_cost *cost)
{
    const ft_operand *weight = &operands[1], *mask = &operands[2];
    ft_u128 entries = ft_number(&operands[0]), columns = ft_dim(weight, -1);
    ft_u128 products = ft_times(entries, columns);
    if (ft_masked(mask, 0)) {
        ft_add_dots(cost, entries, columns);
    }
    if (ft_masked(mask, 1)) {
        ft_add_kind(cost, FT_MAC, products);
        ft_add_kind(cost, FT_DOT, ft_least(products, ft_numel(weight)));
    }
    return FT_OK;
}

const ft_formula ft_sparse_reduce_backward = {
    .name = "sparse_reduce_backward",
    .equation = "mac = entries*columns for either gradient",
    .source = "gradients of a sparse matrix product: one sampled, one with the transposed matrix",
    .op_class = FT_CLASS_MATMUL,
    .evaluate = sparse_reduce_backward,
    .roles = {{"entries", FT_NUMBER}, {"other", FT_TENSOR}, {"output_mask", FT_INTEGERS}},
    .examples =
        {
            {
                .text = "7 entries, (5,2): 7 dots of 2, then 14 products into 10: mac 28, dot 17",
                .operands = {FT_NUMBER_OF(7), FT_SHAPE_OF(5, 2)},
                .cost = {{[FT_MAC] = FT_COUNT(28), [FT_DOT] = FT_COUNT(17)}},
            },
        },
};
