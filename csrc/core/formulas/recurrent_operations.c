/* Recurrent layers as fused operations: matrix products and the gates' elementwise work. */
/* SPDX-License-Identifier: MIT */
#include "formulas.h"

/* As cuDNN and ATen number them. */
enum { RNN_RELU, RNN_TANH, LSTM, GRU, MODES };

static const struct {
    uint8_t gates, arith, compare, special; /* per hidden unit and step */
    uint8_t back_arith, back_compare, back_special;
} modes[MODES] = {
    [RNN_RELU] = {1, 1, 1, 0, 0, 1, 0},
    [RNN_TANH] = {1, 1, 0, 1, 3, 0, 0},
    [LSTM] = {4, 8, 0, 5, 22, 0, 1},
    [GRU] = {3, 7, 0, 3, 16, 0, 0},
};

static void
add_units(ft_u128 units, ft_kind kind, uint64_t each, ft_cost *cost)
{
    ft_add_kind(cost, kind, ft_times(units, ft_u128_of(each)));
}

static void
add_gates(ft_u128 units, uint64_t mode, bool backward, ft_cost *cost)
{
    add_units(units, FT_ARITH, backward ? modes[mode].back_arith : modes[mode].arith, cost);
    add_units(units, FT_COMPARE, backward ? modes[mode].back_compare : modes[mode].compare, cost);
    add_units(units, FT_SPECIAL, backward ? modes[mode].back_special : modes[mode].special, cost);
}

enum { INPUT, STATE, HIDDEN, PROJECTED, LAYERS, BIDIRECTIONAL, MODE, BIAS, WEIGHTS_EACH, MASK };

typedef struct {
    ft_u128 cells, hidden, layers; /* cells: steps times directions */
    ft_operand layer[8];           /* what ft_recurrent_layers takes */
} recurrent_sizes;

static ft_operand
number(uint64_t value)
{
    return (ft_operand){.present = true, .is_number = true, .number = value};
}

static ft_status
read_sizes(const ft_operand *operands, recurrent_sizes *sizes)
{
    const ft_operand *input = &operands[INPUT], *hidden = &operands[HIDDEN];
    const ft_operand *projected = &operands[PROJECTED], *each = &operands[WEIGHTS_EACH];
    uint64_t mode = operands[MODE].number;
    if (mode >= MODES || input->shape.ndim < 1 || operands[STATE].shape.ndim < 1) {
        return FT_BAD_SHAPE;
    }
    uint64_t states = ft_dim(&operands[STATE], -1).lo;
    bool is_projected = projected->is_number && projected->number != 0;
    /* Weights without a bias come two to a layer, and one more with a projection. */
    bool bias = each->is_number ? each->number > 3 : ft_flag(&operands[BIAS]);
    sizes->hidden = ft_u128_of(hidden->is_number ? hidden->number : states);
    sizes->layers = ft_number(&operands[LAYERS]);
    sizes->cells = ft_times(ft_shape_product(input->shape, 0, input->shape.ndim - 1),
                            ft_u128_of(ft_flag(&operands[BIDIRECTIONAL]) ? 2 : 1));
    const ft_operand layer[] = {*input,
                                number(ft_dim(input, -1).lo),
                                number(sizes->hidden.lo),
                                number(is_projected ? projected->number : 0),
                                operands[LAYERS],
                                number(ft_flag(&operands[BIDIRECTIONAL])),
                                number(modes[mode].gates),
                                number(bias)};
    for (size_t i = 0; i < FT_COUNT_OF(layer); i++) {
        sizes->layer[i] = layer[i];
    }
    return FT_OK;
}

static ft_status
recurrent(const ft_operand *operands, ft_cost *cost)
{
    recurrent_sizes s;
    ft_status status = read_sizes(operands, &s);
    if (status == FT_OK) {
        status = ft_recurrent_layers.evaluate(s.layer, cost);
        add_gates(ft_times(ft_times(s.cells, s.layers), s.hidden), operands[MODE].number, false,
                  cost);
    }
    return status;
}

/* The results of both products backwards, of one layer with inputs of that width. */
static void
add_layer_dots(const recurrent_sizes *s, ft_u128 width, ft_u128 directions, ft_u128 gates,
               bool weights, ft_cost *cost)
{
    ft_u128 state = ft_number(&s->layer[3]);
    bool projected = !ft_u128_is_zero(state);
    ft_u128 both = ft_plus(width, projected ? state : s->hidden);
    ft_u128 dots = ft_plus(both, projected ? s->hidden : FT_U128_ZERO);
    if (!ft_u128_is_zero(gates)) {
        ft_add_kind(cost, FT_DOT, ft_times(s->cells, dots));
    }
    if (weights && !ft_u128_is_zero(s->cells)) {
        ft_add_kind(cost, FT_DOT, ft_times(directions, ft_times(gates, both)));
        ft_add_kind(cost, FT_DOT,
                    ft_times(directions, projected ? ft_times(state, s->hidden) : FT_U128_ZERO));
    }
}

static ft_status
recurrent_backward(const ft_operand *operands, ft_cost *cost)
{
    recurrent_sizes s;
    ft_cost forward = {0};
    ft_status status = read_sizes(operands, &s);
    if (status == FT_OK) {
        status = ft_recurrent_layers.evaluate(s.layer, &forward);
    }
    if (status != FT_OK) {
        return status;
    }
    bool weights = ft_masked(&operands[MASK], 3);
    ft_u128 directions = ft_u128_of(s.layer[5].number + 1), one = ft_u128_of(1);
    ft_u128 gates = ft_times(ft_number(&s.layer[6]), s.hidden);
    ft_u128 state = s.layer[3].number != 0 ? ft_number(&s.layer[3]) : s.hidden;
    ft_cost deeper = {0};
    ft_add_kind(cost, FT_MAC, ft_times(forward.by_kind[FT_MAC], ft_u128_of(weights ? 2 : 1)));
    add_layer_dots(&s, ft_number(&s.layer[1]), directions, gates, weights, cost);
    add_layer_dots(&s, ft_times(state, directions), directions, gates, weights, &deeper);
    ft_add_kind(cost, FT_DOT, ft_times(deeper.by_kind[FT_DOT], ft_u128_subtract(s.layers, one)));
    ft_u128 per_layer = ft_times(s.cells, gates), folds = FT_U128_ZERO;
    if (ft_u128_compare(s.cells, directions) > 0) {
        folds = ft_u128_subtract(per_layer, ft_times(directions, gates));
    }
    if (weights && ft_flag(&s.layer[7])) {
        ft_add_kind(cost, FT_ARITH, ft_times(folds, s.layers));
    }
    add_gates(ft_times(ft_times(s.cells, s.layers), s.hidden), operands[MODE].number, true, cost);
    return FT_OK;
}

#define RECURRENT_ROLES                                                                    \
    {"input", FT_TENSOR}, {"state", FT_TENSOR}, {"hidden_size", FT_OPTIONAL},              \
        {"proj_size", FT_OPTIONAL}, {"num_layers", FT_NUMBER}, {"bidirectional", FT_FLAG}, \
        {"mode", FT_NUMBER}, {"bias", FT_FLAG},                                            \
    {                                                                                      \
        "weights_each", FT_OPTIONAL                                                        \
    }

#define ONE_LSTM                                                                          \
    FT_SHAPE_OF(7, 3, 4), FT_SHAPE_OF(3, 5), FT_NUMBER_OF(5), FT_ABSENT, FT_NUMBER_OF(1), \
        FT_NUMBER_OF(0), FT_NUMBER_OF(2), FT_NUMBER_OF(1)

const ft_formula ft_recurrent = {
    .name = "recurrent",
    .equation = "recurrent_layers, and per hidden unit and step: LSTM 8 arith and 5 special, GRU "
                "7 and 3, RNN 1 and one tanh or comparison",
    .source = "torch.nn.LSTM, GRU, RNN documentation: sums of both products, products of gates, "
              "sigmoid and tanh",
    .op_class = FT_CLASS_RECURRENT,
    .evaluate = recurrent,
    .roles = {RECURRENT_ROLES},
    .examples =
        {
            {
                .text = "LSTM(4, 5), 7 steps, 3 sequences: 21*20*9 = 3780 mac, 21*40 dots and "
                        "biases; 105 units: 840 arith, 525 special",
                .operands = {ONE_LSTM},
                .cost = {{[FT_MAC] = FT_COUNT(3780),
                          [FT_DOT] = FT_COUNT(840),
                          [FT_BIAS] = FT_COUNT(840),
                          [FT_ARITH] = FT_COUNT(840),
                          [FT_SPECIAL] = FT_COUNT(525)}},
            },
        },
};

const ft_formula ft_recurrent_backward = {
    .name = "recurrent_backward",
    .equation = "mac of recurrent_layers for inputs and states, and again for weights; per unit "
                "and step: LSTM 22 arith and 1 special, GRU 16, RNN 3 or 1 compare; sums of the "
                "gates' gradients for the bias",
    .source = "derivatives of the equations in torch.nn.LSTM, GRU, RNN",
    .op_class = FT_CLASS_RECURRENT,
    .evaluate = recurrent_backward,
    .roles = {RECURRENT_ROLES, {"output_mask", FT_INTEGERS}},
    .examples =
        {
            {
                .text = "the same LSTM: 2*3780 mac; dots 21*(4+5) + 20*(4+5) = 369; arith 105*22 + "
                        "(21-1)*20 = 2710; 105 tanh",
                .operands = {ONE_LSTM},
                .cost = {{[FT_MAC] = FT_COUNT(7560),
                          [FT_DOT] = FT_COUNT(369),
                          [FT_ARITH] = FT_COUNT(2710),
                          [FT_SPECIAL] = FT_COUNT(105)}},
            },
        },
};

static ft_status
gates(const ft_operand *operands, ft_cost *cost)
{
    ft_u128 units = ft_numel(&operands[0]);
    uint64_t mode = operands[1].number;
    if (mode >= MODES) {
        return FT_BAD_SHAPE;
    }
    add_gates(units, mode, false, cost);
    for (int bias = 2; bias <= 3; bias++) {
        add_units(units, FT_ARITH, ft_flag(&operands[bias]) ? modes[mode].gates : 0, cost);
    }
    return FT_OK;
}

const ft_formula ft_gates = {
    .name = "gates",
    .equation = "per unit: LSTM 8 arith and 5 special, GRU 7 and 3; 4 or 3 more for each bias",
    .source = "torch.nn.LSTM, GRU documentation; the matrix products are operations of their own",
    .op_class = FT_CLASS_RECURRENT,
    .evaluate = gates,
    .roles = {{"state", FT_TENSOR},
              {"mode", FT_NUMBER},
              {"input_bias", FT_FLAG},
              {"hidden_bias", FT_FLAG}},
    .examples =
        {
            {
                .text = "LSTM, 3 sequences of 5 units, both biases: 15*(8 + 4 + 4), 15*5",
                .operands = {FT_SHAPE_OF(3, 5), FT_NUMBER_OF(2), FT_NUMBER_OF(1), FT_NUMBER_OF(1)},
                .cost = {{[FT_ARITH] = FT_COUNT(240), [FT_SPECIAL] = FT_COUNT(75)}},
            },
        },
};

static ft_status
gates_backward(const ft_operand *operands, ft_cost *cost)
{
    ft_u128 units = ft_numel(&operands[0]), width = ft_dim(&operands[0], -1);
    uint64_t mode = operands[1].number;
    if (mode >= MODES) {
        return FT_BAD_SHAPE;
    }
    add_gates(units, mode, true, cost);
    if (ft_flag(&operands[2]) && ft_u128_compare(units, width) > 0) {
        uint64_t biases = mode == GRU ? 2u * modes[mode].gates : modes[mode].gates;
        add_units(ft_u128_subtract(units, width), FT_ARITH, biases, cost);
    }
    return FT_OK;
}

const ft_formula ft_gates_backward = {
    .name = "gates_backward",
    .equation = "per unit: LSTM 22 arith and 1 special, GRU 16; sums over the batch for the biases "
                "(of GRU two)",
    .source = "derivatives of the gates in torch.nn.LSTM, GRU documentation",
    .op_class = FT_CLASS_RECURRENT,
    .evaluate = gates_backward,
    .roles = {{"state", FT_TENSOR}, {"mode", FT_NUMBER}, {"bias", FT_FLAG}},
    .examples =
        {
            {
                .text = "LSTM, 3 sequences of 5 units with bias: 15*22 + (15 - 5)*4 = 370, 15 tanh",
                .operands = {FT_SHAPE_OF(3, 5), FT_NUMBER_OF(2), FT_NUMBER_OF(1)},
                .cost = {{[FT_ARITH] = FT_COUNT(370), [FT_SPECIAL] = FT_COUNT(15)}},
            },
        },
};
