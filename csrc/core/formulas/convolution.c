/* Convolutions as operations see them: images, weights, and which of both is walked. */
/* SPDX-License-Identifier: MIT */
#include "convolution.h"

static int64_t
entry(const ft_operand *list, int axis, int64_t otherwise)
{
    if (!list->present || list->shape.ndim == 0) {
        return otherwise;
    }
    return list->shape.dims[axis < list->shape.ndim ? axis : list->shape.ndim - 1];
}

static int64_t
floor_divide(int64_t a, int64_t b)
{
    return a >= 0 ? a / b : -((-a + b - 1) / b);
}

/* Kernel positions k, k + period, ... send to the same residue modulo the stride, and there each
 * reaches an interval of `source` positions; the intervals start later and later. */
static int64_t
reached_on_axis(int64_t source, int64_t target, int64_t kernel, int64_t stride, int64_t padding,
                int64_t dilation)
{
    int64_t period = 1, count = 0;
    while (period * dilation % stride != 0) {
        period++;
    }
    for (int64_t first = 0; first < kernel && first < period && source > 0; first++) {
        int64_t residue = first * dilation % stride;
        int64_t next = floor_divide(padding - residue + stride - 1, stride);
        int64_t end = floor_divide(padding + target - 1 - residue, stride);
        for (int64_t k = first; k < kernel && next <= end; k += period) {
            int64_t start = k * dilation / stride, last = start + source - 1;
            start = start < next ? next : start;
            last = last > end ? end : last;
            if (last >= start) {
                count += last - start + 1;
                next = last + 1;
            }
        }
    }
    return count;
}

ft_status
ft_reached(const ft_operand *source, const ft_operand *target, const ft_operand *weight,
           const ft_operand *stride, const ft_operand *padding, const ft_operand *dilation,
           ft_u128 *positions)
{
    static const int64_t limit = (int64_t)1 << 31; /* products of two of them fit */
    int rank = weight->shape.ndim - 2;
    *positions = ft_u128_of(1);
    if (rank < 0 || source->shape.ndim < rank || target->shape.ndim < rank) {
        return FT_BAD_SHAPE;
    }
    for (int axis = 0; axis < rank; axis++) {
        int64_t sizes[] = {source->shape.dims[source->shape.ndim - rank + axis],
                           target->shape.dims[target->shape.ndim - rank + axis],
                           weight->shape.dims[2 + axis],
                           entry(stride, axis, 1),
                           entry(padding, axis, 0),
                           entry(dilation, axis, 1)};
        for (size_t i = 0; i < FT_COUNT_OF(sizes); i++) {
            if (sizes[i] >= limit) {
                return FT_OVERFLOW;
            }
        }
        if (sizes[3] == 0 || sizes[5] == 0) {
            return FT_BAD_SHAPE;
        }
        int64_t reached =
            reached_on_axis(sizes[0], sizes[1], sizes[2], sizes[3], sizes[4], sizes[5]);
        *positions = ft_times(*positions, ft_u128_of((uint64_t)reached));
    }
    return FT_OK;
}

ft_u128
ft_convolution_products(const ft_operand *walked, const ft_operand *weight)
{
    return ft_times(ft_numel(walked), ft_shape_product(weight->shape, 1, weight->shape.ndim));
}

enum { INPUT, WEIGHT, OUTPUT, BIAS, TRANSPOSED, STRIDE, PADDING, DILATION };

static ft_status
convolution(const ft_operand *operands, ft_cost *cost)
{
    const ft_operand *input = &operands[INPUT], *weight = &operands[WEIGHT];
    const ft_operand *output = &operands[OUTPUT];
    ft_u128 outputs = ft_numel(output), dots = outputs;
    bool transposed = ft_flag(&operands[TRANSPOSED]);
    if (weight->shape.ndim < 2 || output->shape.ndim < weight->shape.ndim - 1) {
        return FT_BAD_SHAPE;
    }
    ft_u128 products = ft_convolution_products(transposed ? input : output, weight);
    if (transposed) {
        ft_u128 positions;
        ft_status status = ft_reached(input, output, weight, &operands[STRIDE], &operands[PADDING],
                                      &operands[DILATION], &positions);
        if (status != FT_OK) {
            return status;
        }
        int images = output->shape.ndim - (weight->shape.ndim - 2);
        dots = ft_times(ft_shape_product(output->shape, 0, images), positions);
    }
    ft_add_kind(cost, FT_MAC, products);
    if (!ft_u128_is_zero(products)) {
        ft_add_kind(cost, FT_DOT, dots);
    }
    if (ft_flag(&operands[BIAS])) {
        ft_add_kind(cost, FT_BIAS, outputs);
    }
    return FT_OK;
}

const ft_formula ft_convolution = {
    .name = "convolution",
    .equation = "mac = numel(output)*prod(weight.shape[1:]), dot = bias = numel(output); "
                "transposed: mac = numel(input)*prod(weight.shape[1:]), dot = output elements that "
                "receive a product",
    .source = "definition; weight is (C_out, C_in/groups, K...), transposed (C_in, C_out/groups, "
              "K...); products with padding and those cut off by it count",
    .op_class = FT_CLASS_CONV,
    .evaluate = convolution,
    .roles = {{"input", FT_TENSOR},
              {"weight", FT_TENSOR},
              {"output", FT_TENSOR},
              {"bias", FT_FLAG},
              {"transposed", FT_FLAG},
              {"stride", FT_INTEGERS},
              {"padding", FT_INTEGERS},
              {"dilation", FT_INTEGERS}},
    .examples =
        {
            {
                .text = "x (2,3,6,6), w (6,3,4,4), padding 1: out (2,6,5,5) = 300; 300*48 = 14400",
                .operands = {FT_SHAPE_OF(2, 3, 6, 6), FT_SHAPE_OF(6, 3, 4, 4),
                             FT_SHAPE_OF(2, 6, 5, 5)},
                .cost = {{[FT_MAC] = FT_COUNT(14400), [FT_DOT] = FT_COUNT(300)}},
            },
            {
                .text =
                    "transposed, stride 2, K 2: (1,4,30,2) to (1,8,60,4): 240*8*4 = 7680; every "
                    "output gets a product: 1920",
                .operands = {FT_SHAPE_OF(1, 4, 30, 2), FT_SHAPE_OF(4, 8, 2, 2),
                             FT_SHAPE_OF(1, 8, 60, 4), FT_NUMBER_OF(0), FT_NUMBER_OF(1),
                             FT_SHAPE_OF(2, 2)},
                .cost = {{[FT_MAC] = FT_COUNT(7680), [FT_DOT] = FT_COUNT(1920)}},
            },
            {
                .text = "transposed, stride 3, K 1: 2 positions reach 2 of 4; all 4 get the bias",
                .operands = {FT_SHAPE_OF(1, 1, 2), FT_SHAPE_OF(1, 1, 1), FT_SHAPE_OF(1, 1, 4),
                             FT_NUMBER_OF(1), FT_NUMBER_OF(1), FT_SHAPE_OF(3)},
                .cost = {{[FT_MAC] = FT_COUNT(2), [FT_DOT] = FT_COUNT(2), [FT_BIAS] = FT_COUNT(4)}},
            },
        },
};

static ft_status
conv_tbc(const ft_operand *operands, ft_cost *cost)
{
    const ft_operand *output = &operands[0], *weight = &operands[1];
    ft_add_dots(cost, ft_numel(output), ft_times(ft_dim(weight, 0), ft_dim(weight, 1)));
    ft_add_kind(cost, FT_BIAS, ft_numel(output));
    return FT_OK;
}

const ft_formula ft_conv_tbc = {
    .name = "conv_tbc",
    .equation = "mac = numel(output)*K*C_in, dot = bias = numel(output)",
    .source = "definition; weight is (K, C_in, C_out)",
    .op_class = FT_CLASS_CONV,
    .evaluate = conv_tbc,
    .roles = {{"output", FT_TENSOR}, {"weight", FT_TENSOR}},
    .examples =
        {
            {
                .text = "4 steps, 2 sequences, 5 channels; K 3, 6 in: 40*18 = 720",
                .operands = {FT_SHAPE_OF(4, 2, 5), FT_SHAPE_OF(3, 6, 5)},
                .cost =
                    {{[FT_MAC] = FT_COUNT(720), [FT_DOT] = FT_COUNT(40), [FT_BIAS] = FT_COUNT(40)}},
            },
        },
};
