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

enum { OUTPUT, LEFT, BIAS, ALPHA, BETA, LEFT_ENTRIES, RIGHT_ENTRIES };

void
ft_add_bias(const ft_operand *flags, ft_u128 outputs, ft_cost *cost)
{
    bool bias = ft_flag(&flags[0]), alpha = ft_flag(&flags[1]), beta = ft_flag(&flags[2]);
    ft_add_kind(cost, FT_BIAS, bias ? outputs : FT_U128_ZERO);
    ft_add_kind(cost, FT_ARITH, alpha ? outputs : FT_U128_ZERO);
    ft_add_kind(cost, FT_ARITH, bias && beta ? outputs : FT_U128_ZERO);
}

/* A sparse factor multiplies each of its entries with a row or column of the other. */
static ft_status
sparse_products(const ft_operand *operands, ft_cost *cost)
{
    const ft_operand *output = &operands[OUTPUT];
    bool left = operands[LEFT_ENTRIES].present;
    if (left && operands[RIGHT_ENTRIES].present) {
        return FT_BAD_SHAPE; /* which entries meet depends on where they are */
    }
    bool matrix = output->shape.ndim >= 2 && output->shape.ndim == operands[LEFT].shape.ndim;
    ft_u128 others = !matrix ? ft_u128_of(1) : ft_dim(output, left ? -1 : -2);
    ft_u128 products = ft_times(ft_number(&operands[left ? LEFT_ENTRIES : RIGHT_ENTRIES]), others);
    ft_add_kind(cost, FT_MAC, products);
    ft_add_kind(cost, FT_DOT, ft_least(products, ft_numel(output)));
    return FT_OK;
}

static ft_status
matmul(const ft_operand *operands, ft_cost *cost)
{
    ft_u128 outputs = ft_numel(&operands[OUTPUT]);
    ft_status status = FT_OK;
    if (operands[LEFT].shape.ndim == 0) {
        return FT_BAD_SHAPE;
    }
    if (operands[LEFT_ENTRIES].present || operands[RIGHT_ENTRIES].present) {
        status = sparse_products(operands, cost);
    }
    else {
        ft_add_dots(cost, outputs, ft_dim(&operands[LEFT], -1));
    }
    ft_add_bias(&operands[BIAS], outputs, cost);
    return status;
}

const ft_formula ft_matmul = {
    .name = "matmul",
    .equation =
        "mac = numel(output)*k, dot = bias = numel(output), k = last dimension of left; "
        "arith = numel(output) for each scale other than 1 (a bias times 0 is none); a sparse factor: mac = entries "
        "times columns (rows) of the other, dot = min(mac, numel(output))",
    .source = "definition of the matrix product, one dot product of length k per output element; "
              "of two sparse factors it depends on the values and is not counted",
    .op_class = FT_CLASS_MATMUL,
    .evaluate = matmul,
    .roles = {{"output", FT_TENSOR},
              {"left", FT_TENSOR},
              {"bias", FT_FLAG},
              {"alpha", FT_FLAG},
              {"beta", FT_FLAG},
              {"left_entries", FT_OPTIONAL},
              {"right_entries", FT_OPTIONAL}},
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
            {
                .text = "a sparse (4,5) of 3 entries times (5,6): 3*6 = 18 products for 24 results",
                .operands = {FT_SHAPE_OF(4, 6), FT_SHAPE_OF(4, 5), FT_ABSENT, FT_ABSENT, FT_ABSENT,
                             FT_NUMBER_OF(3)},
                .cost = {{[FT_MAC] = FT_COUNT(18), [FT_DOT] = FT_COUNT(18)}},
            },
        },
};
