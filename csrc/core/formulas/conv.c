/* Convolutions of any rank, and transposed ones counted over output positions. */
/* SPDX-License-Identifier: MIT */
#include "formulas.h"

/* Both directions: every output element is a dot product over the kernel and the input channels of
 * its group. Padding counts, since the multiplications with it are done. */
static ft_status
conv(const ft_operand *operands, ft_cost *cost)
{
    const ft_operand *output = &operands[0], *groups = &operands[3], *bias = &operands[5];
    uint64_t remainder = 0;
    if (groups->number == 0) {
        return FT_BAD_SHAPE;
    }
    ft_u128 channels = ft_u128_divide(ft_number(&operands[2]), groups->number, &remainder);
    if (remainder != 0) {
        return FT_BAD_SHAPE;
    }
    ft_u128 outputs = ft_numel(output);
    ft_add_dots(cost, outputs, ft_times(ft_window(&operands[1], &operands[4]), channels));
    if (ft_flag(bias)) {
        ft_add_kind(cost, FT_BIAS, outputs);
    }
    return FT_OK;
}

#define CONV_ROLES                                                                    \
    {                                                                                 \
        {"output", FT_TENSOR}, {"kernel_size", FT_SIZES}, {"in_channels", FT_NUMBER}, \
            {"groups", FT_NUMBER}, {"rank", FT_NUMBER},                               \
        {                                                                             \
            "bias", FT_FLAG                                                           \
        }                                                                             \
    }

const ft_formula ft_conv = {
    .name = "conv",
    .equation = "mac = numel(output) * prod(K) * C_in/groups, dot = bias = numel(output)",
    .source = "definition: each output element is a dot product over kernel and group channels",
    .op_class = FT_CLASS_CONV,
    .evaluate = conv,
    .roles = CONV_ROLES,
    .examples =
        {
            {
                .text =
                    "x (2,3,6,6), w (6,3,4,4), padding 1: out (2,6,5,5) = 300; 300*16*3 = 14400",
                .operands = {FT_SHAPE_OF(2, 6, 5, 5), FT_SHAPE_OF(4, 4), FT_NUMBER_OF(3),
                             FT_NUMBER_OF(1), FT_NUMBER_OF(2), FT_NUMBER_OF(0)},
                .cost = {{[FT_MAC] = FT_COUNT(14400), [FT_DOT] = FT_COUNT(300)}},
            },
            {
                .text = "depthwise 8 channels, K 3x3, 16x16: out (1,8,16,16) = 2048; 2048*9*1",
                .operands = {FT_SHAPE_OF(1, 8, 16, 16), FT_SHAPE_OF(3, 3), FT_NUMBER_OF(8),
                             FT_NUMBER_OF(8), FT_NUMBER_OF(2), FT_NUMBER_OF(1)},
                .cost = {{[FT_MAC] = FT_COUNT(18432),
                          [FT_DOT] = FT_COUNT(2048),
                          [FT_BIAS] = FT_COUNT(2048)}},
            },
        },
};

const ft_formula ft_conv_transpose_output = {
    .name = "conv_transpose_output",
    .equation = "mac = prod(spatial_out) * C_in * prod(K) * C_out/groups, per image",
    .source = "layer table; output positions, a factor prod(stride) above what hardware does",
    .op_class = FT_CLASS_CONV,
    .evaluate = conv,
    .roles = CONV_ROLES,
    .examples =
        {
            {
                .text = "ConvTranspose2d(4, 8, 2, stride 2) on (1,4,30,2): out (1,8,60,4) = 1920; "
                        "240 positions * 4 * 4 * 8 = 30720",
                .operands = {FT_SHAPE_OF(1, 8, 60, 4), FT_SHAPE_OF(2, 2), FT_NUMBER_OF(4),
                             FT_NUMBER_OF(1), FT_NUMBER_OF(2), FT_NUMBER_OF(0)},
                .cost = {{[FT_MAC] = FT_COUNT(30720), [FT_DOT] = FT_COUNT(1920)}},
            },
        },
};
