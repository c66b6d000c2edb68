/* Attention over sequences that lie one after the other, or over batches with the heads inside. */
/* SPDX-License-Identifier: MIT */
#include "sdpa.h"

/* Batch, position, head, width; or all sequences in one, without a batch. The form says otherwise:
 * where causal masks begin, or that batches come as above. */
enum { BOTTOM_RIGHT = 1, HEADS_FIRST };
enum {
    FORM = 5,
    QUERY_LENGTHS,
    KEY_LENGTHS,
    OFFSETS,
    MAX_QUERIES,
    MAX_KEYS,
    VARLEN_MASK,
    WINDOW,
    WINDOW_RIGHT
};

/* The window is a pair, or two numbers. */
static attention_band
band_of(const ft_operand *operands, bool from_the_end)
{
    attention_band band = ft_causal_band(&operands[CAUSAL], &operands[EXACT], from_the_end);
    const ft_operand *left = &operands[WINDOW], *right = &operands[WINDOW_RIGHT];
    if (!ft_flag(&operands[EXACT])) {
        return band;
    }
    bool pair = left->present && !left->is_number && left->shape.ndim == 2;
    if (pair || left->is_number) {
        band.left = pair ? left->shape.dims[0] : (int64_t)left->number;
    }
    if (band.right != 0 && (pair || right->is_number)) {
        band.right = pair ? left->shape.dims[1] : (int64_t)right->number;
    }
    return band;
}

static ft_status
read_sequences(const ft_operand *operands, attention_work *work)
{
    const ft_operand *query = &operands[QUERY], *key = &operands[KEY];
    const ft_operand *lengths = &operands[QUERY_LENGTHS], *key_lengths = &operands[KEY_LENGTHS];
    const ft_operand *offsets = &operands[OFFSETS];
    uint64_t form = operands[FORM].is_number ? operands[FORM].number : 0;
    attention_band band = band_of(operands, form == BOTTOM_RIGHT);
    bool joined = offsets->present && !offsets->is_number && offsets->shape.ndim == 1 &&
                  offsets->shape.dims[0] > 0;
    if (form == HEADS_FIRST && !joined) {
        return ft_read_batches(operands, work);
    }
    *work =
        (attention_work){.width = ft_dim(query, -1), .value_width = ft_dim(&operands[VALUE], -1)};
    if (query->shape.ndim < 3 || key->shape.ndim < 3 || operands[VALUE].shape.ndim < 3 ||
        (lengths->present && key_lengths->present &&
         lengths->shape.ndim != key_lengths->shape.ndim)) {
        return FT_BAD_SHAPE;
    }
    ft_u128 heads = ft_dim(query, -2), key_heads = ft_dim(key, -2);
    if (lengths->present && key_lengths->present) { /* all there is */
        for (int i = 0; i < lengths->shape.ndim; i++) {
            ft_add_sequence(work, lengths->shape.dims[i], key_lengths->shape.dims[i], band, heads,
                            key_heads);
        }
        return FT_OK;
    }
    ft_u128 batch = ft_shape_product(query->shape, 0, query->shape.ndim - 3);
    int64_t queries = query->shape.dims[query->shape.ndim - 3];
    int64_t keys = key->shape.dims[key->shape.ndim - 3];
    if (joined) { /* the lengths can't be read */
        if (!operands[MAX_QUERIES].is_number || !operands[MAX_KEYS].is_number) {
            return FT_BAD_SHAPE;
        }
        batch = ft_u128_of((uint64_t)offsets->shape.dims[0] - 1);
        queries = (int64_t)operands[MAX_QUERIES].number;
        keys = (int64_t)operands[MAX_KEYS].number;
    }
    ft_add_sequence(work, queries, keys, band, ft_times(batch, heads), ft_times(batch, key_heads));
    return FT_OK;
}

EVALUATE(forward, read_sequences, VARLEN_MASK)
EVALUATE(backward, read_sequences, VARLEN_MASK)
EVALUATE(recompute, read_sequences, VARLEN_MASK)
EVALUATE(softmax, read_sequences, VARLEN_MASK)
EVALUATE(softmax_recompute, read_sequences, VARLEN_MASK)
EVALUATE(softmax_backward, read_sequences, VARLEN_MASK)

#define SEQUENCE_ROLES                                                                            \
    {                                                                                             \
        {"query", FT_TENSOR}, {"key", FT_TENSOR}, {"value", FT_TENSOR}, {"causal", FT_OPTIONAL},  \
            {"exact", FT_FLAG}, {"form", FT_OPTIONAL}, {"query_lengths", FT_INTEGERS},            \
            {"key_lengths", FT_INTEGERS}, {"offsets", FT_OPTIONAL}, {"max_queries", FT_OPTIONAL}, \
            {"max_keys", FT_OPTIONAL}, {"mask", FT_FLAG}, {"window", FT_LIMITS},                  \
        {                                                                                         \
            "window_right", FT_LIMITS                                                             \
        }                                                                                         \
    }

/* q (7,2,8), lengths 3 and 4; k (9,1,8), v (9,1,6), lengths 4 and 5: 2*(12 + 20) = 64 scores,
 * 2*7 = 14 rows, 9 keys */
#define SEQUENCES                                                                           \
    FT_SHAPE_OF(7, 2, 8), FT_SHAPE_OF(9, 1, 8), FT_SHAPE_OF(9, 1, 6), FT_ABSENT, FT_ABSENT, \
        FT_ABSENT, FT_SHAPE_OF(3, 4), FT_SHAPE_OF(4, 5)

const ft_formula ft_varlen = {
    CLASS_AND_TEXT("varlen", ATTENTION, FORWARD_EQUATION, DEFINITION),
    .evaluate = forward_read_sequences,
    .roles = SEQUENCE_ROLES,
    .examples =
        {
            {
                .text = "2 heads, 3 by 4 and 4 by 5: 64 scores: 64*14 = 896; 64 + 14*6 = 148",
                .operands = {SEQUENCES},
                .cost = {{[FT_MAC] = FT_COUNT(896), [FT_DOT] = FT_COUNT(148)}},
            },
            {
                .text =
                    "lengths not known, 2 sequences of up to 4 and 5, 2 heads: 80*14, 80 + 16*6",
                .operands = {FT_SHAPE_OF(7, 2, 8), FT_SHAPE_OF(9, 1, 8), FT_SHAPE_OF(9, 1, 6),
                             FT_ABSENT, FT_ABSENT, FT_ABSENT, FT_ABSENT, FT_ABSENT, FT_SHAPE_OF(3),
                             FT_NUMBER_OF(4), FT_NUMBER_OF(5)},
                .cost = {{[FT_MAC] = FT_COUNT(1120), [FT_DOT] = FT_COUNT(176)}},
            },
            {
                .text = "exact, a window of one key before and none after, the last query beside "
                        "the last key: 3*2 and 4*2 pairs a head: 28*14; 28 + 14*6",
                .operands = {FT_SHAPE_OF(7, 2, 8), FT_SHAPE_OF(9, 1, 8), FT_SHAPE_OF(9, 1, 6),
                             FT_ABSENT, FT_NUMBER_OF(1), FT_NUMBER_OF(1), FT_SHAPE_OF(3, 4),
                             FT_SHAPE_OF(4, 5), FT_ABSENT, FT_ABSENT, FT_ABSENT, FT_ABSENT,
                             FT_SHAPE_OF(1, 0)},
                .cost = {{[FT_MAC] = FT_COUNT(392), [FT_DOT] = FT_COUNT(112)}},
            },
        },
};

const ft_formula ft_varlen_backward = {
    CLASS_AND_TEXT("varlen_backward", ATTENTION, BACKWARD_EQUATION, DEFINITION),
    .evaluate = backward_read_sequences,
    .roles = SEQUENCE_ROLES,
    .examples =
        {
            {
                .text = "64 scores: 64*28 = 1792; 64 + 9*14 + 14*8 = 302",
                .operands = {SEQUENCES},
                .cost = {{[FT_MAC] = FT_COUNT(1792), [FT_DOT] = FT_COUNT(302)}},
            },
        },
};

const ft_formula ft_varlen_recompute = {
    CLASS_AND_TEXT("varlen_recompute", ATTENTION, RECOMPUTE_EQUATION, DEFINITION),
    .evaluate = recompute_read_sequences,
    .roles = SEQUENCE_ROLES,
    .examples =
        {
            {
                .text = "64 scores of width 8: 512",
                .operands = {SEQUENCES},
                .cost = {{[FT_MAC] = FT_COUNT(512), [FT_DOT] = FT_COUNT(64)}},
            },
        },
};

const ft_formula ft_varlen_softmax = {
    CLASS_AND_TEXT("varlen_softmax", SOFTMAX, SOFTMAX_EQUATION, DEFINITION),
    .evaluate = softmax_read_sequences,
    .roles = SEQUENCE_ROLES,
    .examples =
        {
            {
                .text = "64 scores without a mask: 256, 64 maxima, 64 exponentials",
                .operands = {SEQUENCES},
                .cost = {{[FT_ARITH] = FT_COUNT(256),
                          [FT_COMPARE] = FT_COUNT(64),
                          [FT_SPECIAL] = FT_COUNT(64)}},
            },
        },
};

const ft_formula ft_varlen_softmax_recompute = {
    CLASS_AND_TEXT("varlen_softmax_recompute", SOFTMAX, SOFTMAX_RECOMPUTE_EQUATION, DEFINITION),
    .evaluate = softmax_recompute_read_sequences,
    .roles = SEQUENCE_ROLES,
    .examples =
        {
            {
                .text = "64 scores: 128 steps and 64 exponentials",
                .operands = {SEQUENCES},
                .cost = {{[FT_ARITH] = FT_COUNT(128), [FT_SPECIAL] = FT_COUNT(64)}},
            },
        },
};

const ft_formula ft_varlen_softmax_backward = {
    CLASS_AND_TEXT("varlen_softmax_backward", SOFTMAX, SOFTMAX_BACKWARD_EQUATION, DEFINITION),
    .evaluate = softmax_backward_read_sequences,
    .roles = SEQUENCE_ROLES,
    .examples =
        {
            {
                .text = "64 scores: 320",
                .operands = {SEQUENCES},
                .cost = {{[FT_ARITH] = FT_COUNT(320)}},
            },
        },
};
