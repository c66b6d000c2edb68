/* What fused attention and encoder layers do beside their projections and scores. */
/* SPDX-License-Identifier: MIT */
#include "formulas.h"

enum { QUERY, KEY, WIDTH, HEADS, QUERY_LENGTHS, KEY_LENGTHS, MASKED, WEIGHTS, AVERAGED };

/* Inputs are (batch, position, width), or nested: sequences of their own lengths. */
typedef struct {
    ft_u128 queries, keys, pairs; /* positions of the batch, and pairs in the same sequence */
} head_sizes;

static ft_status
read_heads(const ft_operand *operands, head_sizes *sizes)
{
    const ft_operand *query = &operands[QUERY], *key = &operands[KEY];
    const ft_operand *lengths = &operands[QUERY_LENGTHS], *key_lengths = &operands[KEY_LENGTHS];
    *sizes = (head_sizes){.pairs = FT_U128_ZERO};
    if (lengths->present && key_lengths->present &&
        lengths->shape.ndim == key_lengths->shape.ndim) {
        for (int i = 0; i < lengths->shape.ndim; i++) {
            ft_u128 here = ft_u128_of((uint64_t)lengths->shape.dims[i]);
            ft_u128 there = ft_u128_of((uint64_t)key_lengths->shape.dims[i]);
            sizes->queries = ft_plus(sizes->queries, here);
            sizes->keys = ft_plus(sizes->keys, there);
            sizes->pairs = ft_plus(sizes->pairs, ft_times(here, there));
        }
        return FT_OK;
    }
    if (query->shape.ndim != 3 || key->shape.ndim != 3) {
        return FT_BAD_SHAPE;
    }
    sizes->queries = ft_times(ft_dim(query, 0), ft_dim(query, 1));
    sizes->keys = ft_times(ft_dim(key, 0), ft_dim(key, 1));
    sizes->pairs = ft_times(sizes->queries, ft_dim(key, 1));
    return FT_OK;
}

static ft_status
heads(const ft_operand *operands, ft_cost *cost)
{
    head_sizes s;
    ft_status status = read_heads(operands, &s);
    ft_u128 width = ft_number(&operands[WIDTH]), count = ft_number(&operands[HEADS]);
    uint64_t remainder = 0;
    if (status != FT_OK || ft_u128_is_zero(count)) {
        return FT_BAD_SHAPE;
    }
    ft_u128 head_width = ft_u128_divide(width, count.lo, &remainder);
    ft_u128 outputs = ft_times(ft_times(ft_plus(s.queries, s.keys), width), ft_u128_of(2));
    ft_add_dots(cost, outputs, width);
    ft_add_kind(cost, FT_BIAS, outputs);
    ft_add_dots(cost, ft_times(s.pairs, count), head_width);
    if (!ft_u128_is_zero(s.pairs)) {
        ft_add_kind(cost, FT_MAC, ft_times(s.pairs, width));
        ft_add_kind(cost, FT_DOT, ft_times(s.queries, width));
    }
    return remainder == 0 ? FT_OK : FT_BAD_SHAPE;
}

static ft_status
heads_softmax(const ft_operand *operands, ft_cost *cost)
{
    head_sizes s;
    ft_status status = read_heads(operands, &s);
    if (status == FT_OK) {
        ft_u128 scores = ft_times(s.pairs, ft_number(&operands[HEADS]));
        bool weights = ft_flag(&operands[WEIGHTS]);
        uint64_t arith = 3 + ft_flag(&operands[MASKED]);
        arith += weights ? ft_flag(&operands[AVERAGED]) : 1;
        ft_add_kind(cost, FT_ARITH, ft_times(scores, ft_u128_of(arith)));
        if (weights) {
            ft_add_kind(cost, FT_ARITH, ft_times(s.queries, ft_number(&operands[WIDTH])));
        }
        ft_add_kind(cost, FT_COMPARE, scores);
        ft_add_kind(cost, FT_SPECIAL, scores);
    }
    return status;
}

#define HEAD_ROLES                                                                            \
    {                                                                                         \
        {"query", FT_TENSOR}, {"key", FT_TENSOR}, {"width", FT_NUMBER}, {"heads", FT_NUMBER}, \
            {"query_lengths", FT_INTEGERS}, {"key_lengths", FT_INTEGERS}, {"mask", FT_FLAG},  \
            {"weights", FT_FLAG},                                                             \
        {                                                                                     \
            "averaged", FT_FLAG                                                               \
        }                                                                                     \
    }

const ft_formula ft_heads = {
    .name = "heads",
    .equation = "mac = 2*(L + S)*E*E + 2*L*S*E per sequence, dot = 2*(L + S)*E + H*L*S + L*E, bias "
                "= 2*(L + S)*E",
    .source = "torch.nn.MultiheadAttention: projections of L queries, of S keys and values, and "
              "back; Q K^T and A V of every head",
    .op_class = FT_CLASS_ATTENTION,
    .evaluate = heads,
    .roles = HEAD_ROLES,
    .examples =
        {
            {
                .text = "2 sentences of 5, width 16, 4 heads: 40*256 + 2*50*16 = 11840; dots 640 + "
                        "200 + 160, bias 640",
                .operands = {FT_SHAPE_OF(2, 5, 16), FT_SHAPE_OF(2, 5, 16), FT_NUMBER_OF(16),
                             FT_NUMBER_OF(4)},
                .cost = {{[FT_MAC] = FT_COUNT(11840),
                          [FT_DOT] = FT_COUNT(1000),
                          [FT_BIAS] = FT_COUNT(640)}},
            },
            {
                .text = "nested, of 4 and 3: 28*256 + 2*25*16 = 7968; dots 448 + 100 + 112",
                .operands = {FT_SHAPE_OF(112), FT_SHAPE_OF(112), FT_NUMBER_OF(16), FT_NUMBER_OF(4),
                             FT_SHAPE_OF(4, 3), FT_SHAPE_OF(4, 3)},
                .cost = {{[FT_MAC] = FT_COUNT(7968),
                          [FT_DOT] = FT_COUNT(660),
                          [FT_BIAS] = FT_COUNT(448)}},
            },
        },
};

const ft_formula ft_heads_softmax = {
    .name = "heads_softmax",
    .equation = "per score, of H*L*S a sequence: scale 1, maximum 1 compare, softmax 3 and exp 1, "
                "mask 1; where weights are wanted the queries are scaled, L*E, and the mean over "
                "heads is 1 per score",
    .source = "softmax(Q K^T * scale) of every head, as in sdpa_softmax; "
              "torch.nn.functional.multi_head_attention_forward where weights are wanted",
    .op_class = FT_CLASS_SOFTMAX,
    .evaluate = heads_softmax,
    .roles = HEAD_ROLES,
    .examples =
        {
            {
                .text = "2 sentences of 5, 4 heads: 200 scores: 800, 200 maxima, 200 exponentials",
                .operands = {FT_SHAPE_OF(2, 5, 16), FT_SHAPE_OF(2, 5, 16), FT_NUMBER_OF(16),
                             FT_NUMBER_OF(4)},
                .cost = {{[FT_ARITH] = FT_COUNT(800),
                          [FT_COMPARE] = FT_COUNT(200),
                          [FT_SPECIAL] = FT_COUNT(200)}},
            },
            {
                .text = "the same, averaged weights wanted: 600, 160 queries scaled, means 200",
                .operands = {FT_SHAPE_OF(2, 5, 16), FT_SHAPE_OF(2, 5, 16), FT_NUMBER_OF(16),
                             FT_NUMBER_OF(4), FT_ABSENT, FT_ABSENT, FT_ABSENT, FT_NUMBER_OF(1),
                             FT_NUMBER_OF(1)},
                .cost = {{[FT_ARITH] = FT_COUNT(960),
                          [FT_COMPARE] = FT_COUNT(200),
                          [FT_SPECIAL] = FT_COUNT(200)}},
            },
        },
};

/* Hidden units: as many as elements of the input, times F/E. */
static ft_status
hidden_units(const ft_operand *operands, ft_u128 *hidden)
{
    ft_u128 width = ft_dim(&operands[1], 1);
    uint64_t remainder = 0;
    *hidden = FT_U128_ZERO;
    if (operands[1].shape.ndim != 2) {
        return FT_BAD_SHAPE;
    }
    if (!ft_u128_is_zero(width)) {
        ft_u128 positions = ft_u128_divide(ft_numel(&operands[0]), width.lo, &remainder);
        *hidden = ft_times(positions, ft_dim(&operands[1], 0));
    }
    return remainder == 0 ? FT_OK : FT_BAD_SHAPE;
}

static ft_status
encoder_feed_forward(const ft_operand *operands, ft_cost *cost)
{
    const ft_operand *input = &operands[0], *weight = &operands[1];
    ft_u128 hidden;
    if (hidden_units(operands, &hidden) != FT_OK) {
        return FT_BAD_SHAPE;
    }
    ft_add_dots(cost, hidden, ft_dim(weight, 1));
    ft_add_dots(cost, ft_numel(input), ft_dim(weight, 0));
    ft_add_kind(cost, FT_BIAS, ft_plus(hidden, ft_numel(input)));
    return FT_OK;
}

const ft_formula ft_encoder_feed_forward = {
    .name = "encoder_feed_forward",
    .equation = "mac = 2*P*E*F, dot = bias = P*(E + F); weight is (F, E)",
    .source = "torch.nn.TransformerEncoderLayer: two linear layers",
    .op_class = FT_CLASS_MATMUL,
    .evaluate = encoder_feed_forward,
    .roles = {{"input", FT_TENSOR}, {"weight", FT_TENSOR}},
    .examples =
        {
            {
                .text = "10 positions, 16 to 32 and back: 2*10*512 products, 10*48 results",
                .operands = {FT_SHAPE_OF(2, 5, 16), FT_SHAPE_OF(32, 16)},
                .cost = {{[FT_MAC] = FT_COUNT(10240),
                          [FT_DOT] = FT_COUNT(480),
                          [FT_BIAS] = FT_COUNT(480)}},
            },
        },
};

static ft_status
encoder_elementwise(const ft_operand *operands, ft_cost *cost)
{
    const ft_operand *input = &operands[0];
    ft_u128 hidden;
    if (hidden_units(operands, &hidden) != FT_OK) {
        return FT_BAD_SHAPE;
    }
    ft_add_kind(cost, FT_ARITH, ft_times(ft_numel(input), ft_u128_of(2 * (7 + 1))));
    if (ft_flag(&operands[2])) {
        ft_add_kind(cost, FT_ARITH, ft_times(hidden, ft_u128_of(4)));
        ft_add_kind(cost, FT_SPECIAL, hidden);
    }
    else {
        ft_add_kind(cost, FT_COMPARE, hidden);
    }
    return FT_OK;
}

const ft_formula ft_encoder_elementwise = {
    .name = "encoder_elementwise",
    .equation = "arith = 16*P*E: two layer norms of 7 and two residual additions; compare = P*F "
                "(ReLU), or special = P*F and arith = 4*P*F (GELU by erf)",
    .source = "torch.nn.TransformerEncoderLayer",
    .op_class = FT_CLASS_NORM,
    .evaluate = encoder_elementwise,
    .roles = {{"input", FT_TENSOR}, {"weight", FT_TENSOR}, {"gelu", FT_FLAG}},
    .examples =
        {
            {
                .text = "10 positions of 16, 32 hidden: 160*16 = 2560, 320 comparisons",
                .operands = {FT_SHAPE_OF(2, 5, 16), FT_SHAPE_OF(32, 16)},
                .cost = {{[FT_ARITH] = FT_COUNT(2560), [FT_COMPARE] = FT_COUNT(320)}},
            },
        },
};
