/* Recurrent layers: RNN, GRU and LSTM, all layers and directions, and their single cells. */
/* SPDX-License-Identifier: MIT */
#include "formulas.h"

/* Positions are time steps times sequences: all leading dimensions of the input, whatever their
 * order, so batch_first, unbatched and packed input need no case of their own. The first layer
 * reads the input, all others the states of the layer below in every direction. */
static ft_status
recurrent_layers(const ft_operand *operands, ft_cost *cost)
{
    const ft_operand *input = &operands[0], *bias = &operands[7];
    ft_u128 hidden = ft_number(&operands[2]), layers = ft_number(&operands[4]);
    ft_u128 directions = ft_u128_of(ft_flag(&operands[5]) ? 2 : 1);
    ft_u128 gates = ft_times(ft_number(&operands[6]), hidden);
    bool projected = operands[3].number != 0;
    ft_u128 state = projected ? ft_number(&operands[3]) : hidden;
    if (input->shape.ndim < 1 || ft_u128_is_zero(layers)) {
        return FT_BAD_SHAPE;
    }
    ft_u128 cells = ft_times(ft_shape_product(input->shape, 0, input->shape.ndim - 1), directions);
    ft_u128 units = ft_times(cells, gates), deeper = ft_u128_subtract(layers, ft_u128_of(1));
    ft_add_dots(cost, units, ft_number(&operands[1]));
    ft_add_dots(cost, ft_times(units, deeper), ft_times(state, directions));
    ft_add_dots(cost, ft_times(units, layers), state);
    if (projected) {
        ft_add_dots(cost, ft_times(ft_times(cells, state), layers), hidden);
    }
    if (ft_flag(bias)) {
        ft_add_kind(cost, FT_BIAS, ft_times(ft_times(units, layers), ft_u128_of(2)));
    }
    return FT_OK;
}

const ft_formula ft_recurrent_layers = {
    .name = "recurrent_layers",
    .equation = "mac = B*T*D * sum over layers of G*H*(I_l + R) + R*H if projected; "
                "I_0 = I, I_l = D*R, R = proj_size or H, G gates, D directions",
    .source = "torch.nn.LSTM, GRU and RNN documentation; the layer table leaves the gates' "
              "elementwise work out",
    .op_class = FT_CLASS_RECURRENT,
    .evaluate = recurrent_layers,
    .roles = {{"input", FT_TENSOR},
              {"input_size", FT_NUMBER},
              {"hidden_size", FT_NUMBER},
              {"proj_size", FT_NUMBER},
              {"num_layers", FT_NUMBER},
              {"bidirectional", FT_FLAG},
              {"gates", FT_NUMBER},
              {"bias", FT_FLAG}},
    .examples =
        {
            {
                .text = "LSTM(32, 64, 2 layers, both directions) on (2,10,32): 40 positions; "
                        "256*(32+64) + 256*(128+64) = 73728; mac = 40*73728; dot = 40*4*256",
                .operands = {FT_SHAPE_OF(2, 10, 32), FT_NUMBER_OF(32), FT_NUMBER_OF(64),
                             FT_NUMBER_OF(0), FT_NUMBER_OF(2), FT_NUMBER_OF(1), FT_NUMBER_OF(4),
                             FT_NUMBER_OF(1)},
                .cost = {{[FT_MAC] = FT_COUNT(2949120),
                          [FT_DOT] = FT_COUNT(40960),
                          [FT_BIAS] = FT_COUNT(40960)}},
            },
            {
                .text = "LSTM(4, 5) on (7,3,4): 21*20*(4+5) = 3780 mac, 21*40 dots",
                .operands = {FT_SHAPE_OF(7, 3, 4), FT_NUMBER_OF(4), FT_NUMBER_OF(5),
                             FT_NUMBER_OF(0), FT_NUMBER_OF(1), FT_NUMBER_OF(0), FT_NUMBER_OF(4),
                             FT_NUMBER_OF(0)},
                .cost = {{[FT_MAC] = FT_COUNT(3780), [FT_DOT] = FT_COUNT(840)}},
            },
            {
                .text = "LSTM(4, 6, proj_size 2) on (5,1,4): 5*(24*(4+2) + 2*6) = 5*156 = 780; "
                        "dots 5*(24+24+2)",
                .operands = {FT_SHAPE_OF(5, 1, 4), FT_NUMBER_OF(4), FT_NUMBER_OF(6),
                             FT_NUMBER_OF(2), FT_NUMBER_OF(1), FT_NUMBER_OF(0), FT_NUMBER_OF(4),
                             FT_NUMBER_OF(0)},
                .cost = {{[FT_MAC] = FT_COUNT(780), [FT_DOT] = FT_COUNT(250)}},
            },
        },
};
