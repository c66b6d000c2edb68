/* Multi-head attention as one unit: projections, scores and weighted values, and its softmax apart.
 */
/* SPDX-License-Identifier: MIT */
#include "formulas.h"

typedef struct {
    ft_u128 batch, queries, keys; /* B, L, S as given */
    ft_u128 attended;             /* S with the keys that the layer itself adds */
    ft_u128 width, key_width, value_width, heads;
} attention_sizes;

enum { QUERY, KEY, VALUE, EMBED_DIM, NUM_HEADS, KDIM, VDIM, BATCH_FIRST, BIAS_KV, ZERO_ATTN, BIAS };

static ft_status
read_sizes(const ft_operand *operands, attention_sizes *sizes)
{
    ft_shape query = operands[QUERY].shape, key = operands[KEY].shape;
    bool batch_first = ft_flag(&operands[BATCH_FIRST]);
    uint64_t added =
        (ft_flag(&operands[BIAS_KV]) ? 1u : 0u) + (ft_flag(&operands[ZERO_ATTN]) ? 1u : 0u);
    if ((query.ndim != 2 && query.ndim != 3) || key.ndim != query.ndim) {
        return FT_BAD_SHAPE;
    }
    int length_at = query.ndim == 3 && batch_first ? 1 : 0;
    int64_t batch = query.ndim == 3 ? query.dims[batch_first ? 0 : 1] : 1;
    sizes->batch = ft_u128_of((uint64_t)batch);
    sizes->queries = ft_u128_of((uint64_t)query.dims[length_at]);
    sizes->keys = ft_u128_of((uint64_t)key.dims[length_at]);
    sizes->attended = ft_plus(sizes->keys, ft_u128_of(added));
    sizes->width = ft_number(&operands[EMBED_DIM]);
    sizes->heads = ft_number(&operands[NUM_HEADS]);
    sizes->key_width = ft_number(&operands[KDIM]);
    sizes->value_width = ft_number(&operands[VDIM]);
    return FT_OK;
}

static ft_status
attention_layer(const ft_operand *operands, ft_cost *cost)
{
    attention_sizes s;
    ft_status status = read_sizes(operands, &s);
    uint64_t remainder = 0;
    if (status != FT_OK || ft_u128_is_zero(s.heads)) {
        return FT_BAD_SHAPE;
    }
    ft_u128 head_width = ft_u128_divide(s.width, s.heads.lo, &remainder);
    ft_u128 query_outputs = ft_times(ft_times(s.batch, s.queries), s.width);
    ft_u128 key_outputs = ft_times(ft_times(s.batch, s.keys), s.width);
    ft_u128 scores = ft_times(ft_times(s.batch, s.heads), ft_times(s.queries, s.attended));
    ft_add_dots(cost, query_outputs, s.width);
    ft_add_dots(cost, key_outputs, s.key_width);
    ft_add_dots(cost, key_outputs, s.value_width);
    ft_add_dots(cost, scores, head_width);
    ft_add_dots(cost, query_outputs, s.attended);
    ft_add_dots(cost, query_outputs, s.width);
    if (ft_flag(&operands[BIAS])) {
        ft_add_kind(cost, FT_BIAS, ft_times(ft_u128_of(2), ft_plus(query_outputs, key_outputs)));
    }
    return remainder == 0 ? FT_OK : FT_BAD_SHAPE;
}

static ft_status
attention_softmax(const ft_operand *operands, ft_cost *cost)
{
    attention_sizes s;
    ft_status status = read_sizes(operands, &s);
    if (status == FT_OK) {
        ft_u128 scores = ft_times(ft_times(s.batch, s.heads), ft_times(s.queries, s.attended));
        ft_add_kind(cost, FT_ARITH, ft_times(ft_u128_of(5), scores));
    }
    return status;
}

#define ATTENTION_ROLES                                                                           \
    {                                                                                             \
        {"query", FT_TENSOR}, {"key", FT_TENSOR}, {"value", FT_TENSOR}, {"embed_dim", FT_NUMBER}, \
            {"num_heads", FT_NUMBER}, {"kdim", FT_NUMBER}, {"vdim", FT_NUMBER},                   \
            {"batch_first", FT_FLAG}, {"bias_kv", FT_FLAG}, {"add_zero_attn", FT_FLAG},           \
        {                                                                                         \
            "bias", FT_FLAG                                                                       \
        }                                                                                         \
    }

#define CROSS_ATTENTION      \
    {FT_SHAPE_OF(2, 10, 64), \
     FT_SHAPE_OF(2, 20, 32), \
     FT_SHAPE_OF(2, 20, 48), \
     FT_NUMBER_OF(64),       \
     FT_NUMBER_OF(4),        \
     FT_NUMBER_OF(32),       \
     FT_NUMBER_OF(48),       \
     FT_NUMBER_OF(1),        \
     FT_ABSENT,              \
     FT_ABSENT,              \
     FT_NUMBER_OF(1)}

const ft_formula ft_attention_layer = {
    .name = "attention_layer",
    .equation = "mac = B*(L*E*E + S*E*kdim + S*E*vdim + 2*L*S'*E + L*E*E); S' = S + added keys",
    .source =
        "torch.nn.MultiheadAttention: four projections, Q K^T and A V over all heads, E = H*d",
    .op_class = FT_CLASS_ATTENTION,
    .evaluate = attention_layer,
    .roles = ATTENTION_ROLES,
    .examples =
        {
            {
                .text = "E 64, 4 heads, kdim 32, vdim 48, q (2,10), k and v (2,20): "
                        "81920 + 81920 + 122880 + 2*25600 + 81920 = 419840; "
                        "dots 1280 + 2560 + 2560 + 1600 + 1280 + 1280; bias 2*(1280 + 2560)",
                .operands = CROSS_ATTENTION,
                .cost = {{[FT_MAC] = FT_COUNT(419840),
                          [FT_DOT] = FT_COUNT(10560),
                          [FT_BIAS] = FT_COUNT(7680)}},
            },
        },
};

const ft_formula ft_attention_softmax = {
    .name = "attention_softmax",
    .equation = "arith = 5*B*H*L*S'",
    .source = "layer table, an estimate; counted only with include_softmax_cost",
    .op_class = FT_CLASS_SOFTMAX,
    .evaluate = attention_softmax,
    .roles = ATTENTION_ROLES,
    .examples =
        {
            {
                .text = "the same layer: 5*2*4*10*20 = 8000",
                .operands = CROSS_ATTENTION,
                .cost = {{[FT_ARITH] = FT_COUNT(8000)}},
            },
        },
};
