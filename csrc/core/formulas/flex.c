/* flex_attention: attention in the blocks of a mask; what score_mod computes is not seen. */
/* SPDX-License-Identifier: MIT */
#include "sdpa.h"

enum { PAIRS = 3, UNMASKED };

/* `pairs` has a number for each batch and head of the mask, which repeat over those of the query;
 * without it every query attends to every key. */
static ft_status
read_blocks(const ft_operand *operands, attention_work *work)
{
    const ft_operand *query = &operands[QUERY], *key = &operands[KEY], *pairs = &operands[PAIRS];
    if (!pairs->present) {
        return ft_read_batches(operands, work);
    }
    *work =
        (attention_work){.width = ft_dim(query, -1), .value_width = ft_dim(&operands[VALUE], -1)};
    if (query->shape.ndim < 2 || key->shape.ndim < 2 || pairs->shape.ndim < 1) {
        return FT_BAD_SHAPE;
    }
    ft_u128 heads = ft_shape_product(query->shape, 0, query->shape.ndim - 2);
    ft_u128 key_heads = ft_shape_product(key->shape, 0, key->shape.ndim - 2);
    uint64_t remainder = 0;
    ft_u128 repeats = ft_u128_divide(heads, (uint64_t)pairs->shape.ndim, &remainder);
    for (int i = 0; i < pairs->shape.ndim; i++) {
        work->pairs = ft_plus(work->pairs, ft_u128_of((uint64_t)pairs->shape.dims[i]));
    }
    work->pairs = ft_times(work->pairs, repeats);
    work->rows = ft_least(ft_times(ft_dim(query, -2), heads), work->pairs);
    work->columns = ft_least(ft_times(ft_dim(key, -2), key_heads), work->pairs);
    return remainder == 0 ? FT_OK : FT_BAD_SHAPE;
}

EVALUATE(forward, read_blocks, UNMASKED)
EVALUATE(backward, read_blocks, UNMASKED)
EVALUATE(recompute, read_blocks, UNMASKED)
EVALUATE(softmax, read_blocks, UNMASKED)
EVALUATE(softmax_recompute, read_blocks, UNMASKED)
EVALUATE(softmax_backward, read_blocks, UNMASKED)

#define BLOCK_ROLES                                                     \
    {                                                                   \
        {"query", FT_TENSOR}, {"key", FT_TENSOR}, {"value", FT_TENSOR}, \
        {                                                               \
            "pairs", FT_INTEGERS                                        \
        }                                                               \
    }
#define IN_BLOCKS "; scores: those in the mask's blocks; score_mod is not counted"

/* 2 heads of 4 queries, 1 head of 6 keys; a mask for all heads with 16 pairs: 32 scores */
#define BLOCKS \
    FT_SHAPE_OF(1, 2, 4, 8), FT_SHAPE_OF(1, 1, 6, 8), FT_SHAPE_OF(1, 1, 6, 8), FT_SHAPE_OF(16)

const ft_formula ft_flex = {
    CLASS_AND_TEXT("flex", ATTENTION, "mac = scores*(E + Ev), dot = scores + rows*Ev" IN_BLOCKS,
                   DEFINITION),
    .evaluate = forward_read_blocks,
    .roles = BLOCK_ROLES,
    .examples =
        {
            {
                .text = "32 scores: 32*16 = 512; 32 + 8 rows*8 = 96",
                .operands = {BLOCKS},
                .cost = {{[FT_MAC] = FT_COUNT(512), [FT_DOT] = FT_COUNT(96)}},
            },
            {
                .text = "without a mask 2*4*6 = 48 scores: 48*16 = 768; 48 + 8*8 = 112",
                .operands = {FT_SHAPE_OF(1, 2, 4, 8), FT_SHAPE_OF(1, 1, 6, 8),
                             FT_SHAPE_OF(1, 1, 6, 8)},
                .cost = {{[FT_MAC] = FT_COUNT(768), [FT_DOT] = FT_COUNT(112)}},
            },
        },
};

const ft_formula ft_flex_softmax = {
    CLASS_AND_TEXT("flex_softmax", SOFTMAX,
                   "per score: scale 1, maximum 1 compare, softmax 3 and exp 1" IN_BLOCKS,
                   DEFINITION),
    .evaluate = softmax_read_blocks,
    .roles = BLOCK_ROLES,
    .examples =
        {
            {
                .text = "32 scores: 128 steps, 32 maxima, 32 exponentials",
                .operands = {BLOCKS},
                .cost = {{[FT_ARITH] = FT_COUNT(128),
                          [FT_COMPARE] = FT_COUNT(32),
                          [FT_SPECIAL] = FT_COUNT(32)}},
            },
        },
};

const ft_formula ft_flex_backward = {
    CLASS_AND_TEXT("flex_backward", ATTENTION, BACKWARD_EQUATION IN_BLOCKS, DEFINITION),
    .evaluate = backward_read_blocks,
    .roles = BLOCK_ROLES,
    .examples =
        {
            {
                .text = "32 scores: 32*32 = 1024; 32 + 6 keys*16 + 8 rows*8 = 192",
                .operands = {BLOCKS},
                .cost = {{[FT_MAC] = FT_COUNT(1024), [FT_DOT] = FT_COUNT(192)}},
            },
        },
};

const ft_formula ft_flex_recompute = {
    CLASS_AND_TEXT("flex_recompute", ATTENTION, RECOMPUTE_EQUATION IN_BLOCKS, DEFINITION),
    .evaluate = recompute_read_blocks,
    .roles = BLOCK_ROLES,
    .examples =
        {
            {
                .text = "32 scores of width 8: 256",
                .operands = {BLOCKS},
                .cost = {{[FT_MAC] = FT_COUNT(256), [FT_DOT] = FT_COUNT(32)}},
            },
        },
};

const ft_formula ft_flex_softmax_recompute = {
    CLASS_AND_TEXT("flex_softmax_recompute", SOFTMAX, SOFTMAX_RECOMPUTE_EQUATION IN_BLOCKS,
                   DEFINITION),
    .evaluate = softmax_recompute_read_blocks,
    .roles = BLOCK_ROLES,
    .examples =
        {
            {
                .text = "32 scores: 64 steps and 32 exponentials",
                .operands = {BLOCKS},
                .cost = {{[FT_ARITH] = FT_COUNT(64), [FT_SPECIAL] = FT_COUNT(32)}},
            },
        },
};

const ft_formula ft_flex_softmax_backward = {
    CLASS_AND_TEXT("flex_softmax_backward", SOFTMAX, SOFTMAX_BACKWARD_EQUATION IN_BLOCKS,
                   DEFINITION),
    .evaluate = softmax_backward_read_blocks,
    .roles = BLOCK_ROLES,
    .examples =
        {
            {
                .text = "32 scores: 160",
                .operands = {BLOCKS},
                .cost = {{[FT_ARITH] = FT_COUNT(160)}},
            },
        },
};
