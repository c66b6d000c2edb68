/* Matrix products: linear and bilinear layers, and one pass of SGD over a linear model. */
/* SPDX-License-Identifier: MIT */
#include "formulas.h"

static ft_status
linear(const ft_operand *operands, ft_cost *cost)
{
    const ft_operand *output = &operands[0], *in_features = &operands[1], *bias = &operands[2];
    ft_u128 outputs = ft_numel(output);
    ft_add_dots(cost, outputs, ft_number(in_features));
    if (ft_flag(bias)) {
        ft_add_kind(cost, FT_BIAS, outputs);
    }
    return FT_OK;
}

const ft_formula ft_linear = {
    .name = "linear",
    .equation = "mac = P*in*out, dot = P*out, bias = P*out; P positions, P*out = numel(output)",
    .source = "definition of y = x W^T + b, one dot product per output element",
    .op_class = FT_CLASS_MATMUL,
    .evaluate = linear,
    .roles = {{"output", FT_TENSOR}, {"in_features", FT_NUMBER}, {"bias", FT_FLAG}},
    .examples =
        {
            {
                .text = "Linear(64, 64) on (2, 10, 64): P = 20, mac = 20*64*64 = 81920, out = 1280",
                .operands = {FT_SHAPE_OF(2, 10, 64), FT_NUMBER_OF(64), FT_NUMBER_OF(1)},
                .cost = {{[FT_MAC] = FT_COUNT(81920),
                          [FT_DOT] = FT_COUNT(1280),
                          [FT_BIAS] = FT_COUNT(1280)}},
            },
            {
                .text = "Linear(5, 4) on one row without bias: mac = 1*5*4 = 20, dot = 4",
                .operands = {FT_SHAPE_OF(1, 4), FT_NUMBER_OF(5), FT_NUMBER_OF(0)},
                .cost = {{[FT_MAC] = FT_COUNT(20), [FT_DOT] = FT_COUNT(4)}},
            },
            {
                .text = "Linear(0, 4) on 3 rows: no product, so no addition is saved; bias = 3*4",
                .operands = {FT_SHAPE_OF(3, 4), FT_NUMBER_OF(0), FT_NUMBER_OF(1)},
                .cost = {{[FT_BIAS] = FT_COUNT(12)}},
            },
        },
};

static ft_status
bilinear(const ft_operand *operands, ft_cost *cost)
{
    const ft_operand *output = &operands[0], *bias = &operands[3];
    ft_u128 outputs = ft_numel(output);
    ft_u128 in1 = ft_number(&operands[1]), in2 = ft_number(&operands[2]);
    ft_add_dots(cost, ft_times(outputs, in2), in1);
    ft_add_dots(cost, outputs, in2);
    if (ft_flag(bias)) {
        ft_add_kind(cost, FT_BIAS, outputs);
    }
    return FT_OK;
}

const ft_formula ft_bilinear = {
    .name = "bilinear",
    .equation = "mac = P*out*(in1*in2 + in2), dot = P*out*(in2 + 1), bias = P*out",
    .source = "x1^T W x2 as two products in turn: in2 dot products of in1, then one of in2",
    .op_class = FT_CLASS_MATMUL,
    .evaluate = bilinear,
    .roles = {{"output", FT_TENSOR},
              {"in1_features", FT_NUMBER},
              {"in2_features", FT_NUMBER},
              {"bias", FT_FLAG}},
    .examples =
        {
            {
                .text = "Bilinear(3, 4, 5) on 2 rows: mac = 10*(12 + 4) = 160, dot = 10*(4 + 1)",
                .operands = {FT_SHAPE_OF(2, 5), FT_NUMBER_OF(3), FT_NUMBER_OF(4), FT_NUMBER_OF(1)},
                .cost =
                    {{[FT_MAC] = FT_COUNT(160), [FT_DOT] = FT_COUNT(50), [FT_BIAS] = FT_COUNT(10)}},
            },
        },
};

static ft_status
sgd_linear(const ft_operand *operands, ft_cost *cost)
{
    ft_u128 rows = ft_number(&operands[0]), features = ft_number(&operands[1]);
    ft_u128 hyperplanes = ft_number(&operands[2]);
    /* One product of length f per row and hyperplane forward; the update w += a*x does as many
     * multiply-accumulates again, but is no dot product. */
    ft_add_dots(cost, ft_times(rows, hyperplanes), features);
    ft_add_kind(cost, FT_MAC, ft_times(ft_times(rows, hyperplanes), features));
    return FT_OK;
}

const ft_formula ft_sgd_linear = {
    .name = "sgd_linear",
    .equation = "mac = 2*B*f*C: B*f*C for the scores and B*f*C for the update; 4*B*f*C FLOPs",
    .source = "plain SGD on a linear model: w.x per row, then w += a*x",
    .op_class = FT_CLASS_MATMUL,
    .evaluate = sgd_linear,
    .roles = {{"rows", FT_NUMBER}, {"features", FT_NUMBER}, {"hyperplanes", FT_NUMBER}},
    .examples =
        {
            {
                .text = "B = 128, f = 64, C = 10: 128*64*10 = 81920, twice = 163840; dot = 1280",
                .operands = {FT_NUMBER_OF(128), FT_NUMBER_OF(64), FT_NUMBER_OF(10)},
                .cost = {{[FT_MAC] = FT_COUNT(163840), [FT_DOT] = FT_COUNT(1280)}},
            },
        },
};

static ft_status
matmul(const ft_operand *operands, ft_cost *cost)
{
    ft_u128 outputs = ft_numel(&operands[0]);
    ft_shape left = operands[1].shape;
    if (left.ndim == 0) {
        return FT_BAD_SHAPE;
    }
    ft_add_dots(cost, outputs, ft_u128_of((uint64_t)left.dims[left.ndim - 1]));
    if (ft_flag(&operands[2])) {
        ft_add_kind(cost, FT_BIAS, outputs);
    }
    for (int scale = 3; scale <= 4; scale++) {
        ft_add_kind(cost, FT_ARITH, ft_flag(&operands[scale]) ? outputs : FT_U128_ZERO);
    }
    return FT_OK;
}

const ft_formula ft_matmul = {
    .name = "matmul",
    .equation = "mac = numel(output)*k, dot = bias = numel(output), k = last dimension of left; "
                "arith = numel(output) for each scale other than 1",
    .source = "definition of the matrix product, one dot product of length k per output element",
    .op_class = FT_CLASS_MATMUL,
    .evaluate = matmul,
    .roles = {{"output", FT_TENSOR},
              {"left", FT_TENSOR},
              {"bias", FT_FLAG},
              {"alpha", FT_FLAG},
              {"beta", FT_FLAG}},
    .examples =
        {
            {
                .text = "(4,5) times (5,6): 24 results of 5 products each: mac = 120, dot = 24",
                .operands = {FT_SHAPE_OF(4, 6), FT_SHAPE_OF(4, 5)},
                .cost = {{[FT_MAC] = FT_COUNT(120), [FT_DOT] = FT_COUNT(24)}},
            },
            {
                .text = "2*(3,2)(2,2) + b: 6 results: mac 12, dot 6, bias 6, and 6 for the scale",
                .operands = {FT_SHAPE_OF(3, 2), FT_SHAPE_OF(3, 2), FT_NUMBER_OF(1),
                             FT_NUMBER_OF(1)},
                .cost = {{[FT_MAC] = FT_COUNT(12),
                          [FT_DOT] = FT_COUNT(6),
                          [FT_BIAS] = FT_COUNT(6),
                          [FT_ARITH] = FT_COUNT(6)}},
            },
        },
};
