/* flex_attention: attention in the blocks of a mask; what score_mod computes is not seen. */
/* SPDX-License-Identifier: MIT */
#include "sdpa.h"

enum { BLOCKS = 3, UNMASKED };

/* How many of `total` lie in block number `at` of that size; the last one may be cut. */
static uint64_t
inside(uint64_t total, int64_t size, int64_t at)
{
    uint64_t before = (uint64_t)at * (uint64_t)size;
    uint64_t left = before < total ? total - before : 0;
    return left < (uint64_t)size ? left : (uint64_t)size;
}

/* `blocks` is a list: the queries and the keys of a block, how many masks there are (which repeat
 * over batches and heads of the query), then the row and the column of each block in any of them.
 * Without it every query attends to every key. */
static ft_status
read_blocks(const ft_operand *operands, attention_work *work)
{
    const ft_operand *query = &operands[QUERY], *key = &operands[KEY];
    ft_status status = ft_read_batches(operands, work);
    if (status != FT_OK || !operands[BLOCKS].present) {
        return status;
    }
    const ft_shape list = operands[BLOCKS].shape;
    if (list.ndim < 3 || list.ndim % 2 == 0 || list.dims[2] < 1) {
        return FT_BAD_SHAPE;
    }
    uint64_t queries = ft_dim(query, -2).lo, keys = ft_dim(key, -2).lo, remainder = 0;
    ft_u128 pairs = FT_U128_ZERO;
    for (int i = 3; i < list.ndim; i += 2) {
        uint64_t rows = inside(queries, list.dims[0], list.dims[i]);
        uint64_t columns = inside(keys, list.dims[1], list.dims[i + 1]);
        pairs = ft_plus(pairs, ft_times(ft_u128_of(rows), ft_u128_of(columns)));
    }
    ft_u128 heads = ft_shape_product(query->shape, 0, query->shape.ndim - 2);
    work->pairs = ft_times(pairs, ft_u128_divide(heads, (uint64_t)list.dims[2], &remainder));
    work->rows = ft_least(work->rows, work->pairs);
    work->columns = ft_least(work->columns, work->pairs);
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
            "blocks", FT_INTEGERS                                       \
        }                                                               \
    }
#define IN_BLOCKS "; scores: those in the mask's blocks; score_mod is not counted"

/* 2 heads of 4 queries, 1 head of 6 keys; blocks of 2 by 4, of which (0,0), (1,0) and (1,1), with 2
 * keys left: 8 + 8 + 4 = 20 pairs for either head, 40 scores */
#define MASKED                                                                 \
    FT_SHAPE_OF(1, 2, 4, 8), FT_SHAPE_OF(1, 1, 6, 8), FT_SHAPE_OF(1, 1, 6, 8), \
        FT_SHAPE_OF(2, 4, 1, 0, 0, 1, 0, 1, 1)

const ft_formula ft_flex = {
    CLASS_AND_TEXT("flex", ATTENTION, "mac = scores*(E + Ev), dot = scores + rows*Ev" IN_BLOCKS,
                   DEFINITION),
    .evaluate = forward_read_blocks,
    .roles = BLOCK_ROLES,
    .examples =
        {
            {
                .text = "40 scores: 40*16 = 640; 40 + 8 rows*8 = 104",
                .operands = {MASKED},
                .cost = {{[FT_MAC] = FT_COUNT(640), [FT_DOT] = FT_COUNT(104)}},
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
                .text = "40 scores: 160 steps, 40 maxima, 40 exponentials",
                .operands = {MASKED},
                .cost = {{[FT_ARITH] = FT_COUNT(160),
                          [FT_COMPARE] = FT_COUNT(40),
                          [FT_SPECIAL] = FT_COUNT(40)}},
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
                .text = "40 scores: 40*32 = 1280; 40 + 6 keys*16 + 8 rows*8 = 200",
                .operands = {MASKED},
                .cost = {{[FT_MAC] = FT_COUNT(1280), [FT_DOT] = FT_COUNT(200)}},
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
                .text = "40 scores of width 8: 320",
                .operands = {MASKED},
                .cost = {{[FT_MAC] = FT_COUNT(320), [FT_DOT] = FT_COUNT(40)}},
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
                .text = "40 scores: 80 steps and 40 exponentials",
                .operands = {MASKED},
                .cost = {{[FT_ARITH] = FT_COUNT(80), [FT_SPECIAL] = FT_COUNT(40)}},
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
                .text = "40 scores: 200",
                .operands = {MASKED},
                .cost = {{[FT_ARITH] = FT_COUNT(200)}},
            },
        },
};
