/* The three gradients of a convolution. */
/* SPDX-License-Identifier: MIT */
#include "convolution.h"

enum { GRAD, INPUT, WEIGHT, MASK, TRANSPOSED, STRIDE, PADDING, DILATION };

/* The gradient of the input is itself a convolution of the gradient: transposed where the forward
 * one was not, so that not every element need receive a product. */
static ft_status
input_dots(const ft_operand *operands, ft_u128 *dots)
{
    const ft_operand *input = &operands[INPUT], *weight = &operands[WEIGHT];
    *dots = ft_numel(input);
    if (ft_flag(&operands[TRANSPOSED])) {
        return FT_OK;
    }
    ft_u128 positions;
    ft_status status = ft_reached(&operands[GRAD], input, weight, &operands[STRIDE],
                                  &operands[PADDING], &operands[DILATION], &positions);
    if (status == FT_OK) {
        int images = input->shape.ndim - (weight->shape.ndim - 2);
        *dots = ft_times(ft_shape_product(input->shape, 0, images), positions);
    }
    return status;
}

static ft_u128
bias_additions(const ft_operand *grad, int rank)
{
    ft_u128 elements = ft_numel(grad);
    int channel = grad->shape.ndim - rank - 1;
    if (channel < 0 || ft_u128_is_zero(elements)) {
        return FT_U128_ZERO;
    }
    return ft_u128_subtract(elements, ft_dim(grad, channel));
}

static ft_status
convolution_backward(const ft_operand *operands, ft_cost *cost)
{
    const ft_operand *weight = &operands[WEIGHT], *mask = &operands[MASK];
    bool transposed = ft_flag(&operands[TRANSPOSED]);
    if (weight->shape.ndim < 2) {
        return FT_BAD_SHAPE;
    }
    ft_u128 products = ft_convolution_products(&operands[transposed ? INPUT : GRAD], weight);
    bool any = !ft_u128_is_zero(products);
    if (ft_masked(mask, 0) && any) {
        ft_u128 dots;
        ft_status status = input_dots(operands, &dots);
        if (status != FT_OK) {
            return status;
        }
        ft_add_kind(cost, FT_MAC, products);
        ft_add_kind(cost, FT_DOT, dots);
    }
    if (ft_masked(mask, 1) && any) {
        ft_add_kind(cost, FT_MAC, products);
        ft_add_kind(cost, FT_DOT, ft_numel(weight));
    }
    if (ft_masked(mask, 2)) {
        ft_add_kind(cost, FT_ARITH, bias_additions(&operands[GRAD], weight->shape.ndim - 2));
    }
    return FT_OK;
}

const ft_formula ft_convolution_backward = {
    .name = "convolution_backward",
    .equation =
        "grad_input and grad_weight: mac as forward each; dot = input elements that receive "
        "a product, numel(weight); grad_bias: arith = numel(grad_output) - C_out",
    .source = "every product of the forward pass gives one to either gradient",
    .op_class = FT_CLASS_CONV,
    .evaluate = convolution_backward,
    .roles = {{"grad_output", FT_TENSOR},
              {"input", FT_TENSOR},
              {"weight", FT_TENSOR},
              {"output_mask", FT_INTEGERS},
              {"transposed", FT_FLAG},
              {"stride", FT_INTEGERS},
              {"padding", FT_INTEGERS},
              {"dilation", FT_INTEGERS}},
    .examples =
        {
            {
                .text = "depthwise 8 channels, K 3, padding 1, 2 images of 16x16: 4096*9 = 36864 "
                        "twice; dots 4096 + 72; bias 4096 - 8",
                .operands = {FT_SHAPE_OF(2, 8, 16, 16), FT_SHAPE_OF(2, 8, 16, 16),
                             FT_SHAPE_OF(8, 1, 3, 3), FT_ABSENT, FT_ABSENT, FT_SHAPE_OF(1, 1),
                             FT_SHAPE_OF(1, 1)},
                .cost = {{[FT_MAC] = FT_COUNT(73728),
                          [FT_DOT] = FT_COUNT(4168),
                          [FT_ARITH] = FT_COUNT(4088)}},
            },
            {
                .text = "K 1, stride 2, 3 positions of 5: grad_input alone: 3 products, 3 dots",
                .operands = {FT_SHAPE_OF(1, 1, 3), FT_SHAPE_OF(1, 1, 5), FT_SHAPE_OF(1, 1, 1),
                             FT_SHAPE_OF(1, 0, 0), FT_ABSENT, FT_SHAPE_OF(2)},
                .cost = {{[FT_MAC] = FT_COUNT(3), [FT_DOT] = FT_COUNT(3)}},
            },
        },
};
