/* Scaled dot-product attention: scores, weighted values and their gradients. */
/* SPDX-License-Identifier: MIT */
#include "sdpa.h"

/* n + (n - 1) + ... + 1, of a negative n nothing */
static ft_u128
triangle(int64_t n)
{
    uint64_t remainder = 0;
    uint64_t size = n > 0 ? (uint64_t)n : 0;
    ft_u128 square = ft_times(ft_u128_of(size), ft_u128_of(size + 1));
    return ft_u128_divide(square, 2, &remainder);
}

/* Pairs of a query i and a key up to i + last: i + last + 1 for each query, if that is above 0,
 * less what is beyond the last key. */
static ft_u128
pairs_up_to(int64_t queries, int64_t keys, int64_t last)
{
    ft_u128 within = ft_u128_subtract(triangle(queries + last), triangle(last));
    ft_u128 beyond = ft_u128_subtract(triangle(queries + last - keys), triangle(last - keys));
    return ft_u128_subtract(within, beyond);
}

static int64_t
lesser(int64_t one, int64_t other)
{
    return one < other ? one : other;
}

static void
add_pairs(attention_work *work, ft_u128 pairs, int64_t rows, int64_t columns, ft_u128 times,
          ft_u128 key_times)
{
    work->pairs = ft_plus(work->pairs, ft_times(pairs, times));
    work->rows = ft_plus(work->rows, ft_times(ft_u128_of((uint64_t)rows), times));
    work->columns = ft_plus(work->columns, ft_times(ft_u128_of((uint64_t)columns), key_times));
}

void
ft_add_sequence(attention_work *work, int64_t queries, int64_t keys, attention_band band,
                ft_u128 times, ft_u128 key_times)
{
    if (queries <= 0 || keys <= 0) {
        return;
    }
    enum { BITS = 60 }; /* sizes beyond would overflow here, and fit in no memory */
    bool vast = (queries | keys) >> BITS != 0;
    if (vast || (band.left < 0 && band.right < 0)) {
        ft_u128 pairs = ft_times(ft_u128_of((uint64_t)queries), ft_u128_of((uint64_t)keys));
        add_pairs(work, pairs, queries, keys, times, key_times);
        return;
    }
    /* Wider than all there is makes no difference. */
    int64_t all = queries + keys;
    int64_t left = band.left < 0 ? all : lesser(band.left, all);
    int64_t right = band.right < 0 ? all : lesser(band.right, all);
    int64_t shift = band.from_the_end ? keys - queries : 0;
    ft_u128 pairs = ft_u128_subtract(pairs_up_to(queries, keys, shift + right),
                                     pairs_up_to(queries, keys, shift - left - 1));
    int64_t rows = lesser(queries, keys + (band.from_the_end ? right : left));
    int64_t columns = lesser(keys, queries + (band.from_the_end ? left : right));
    add_pairs(work, pairs, rows, columns, times, key_times);
}

attention_band
ft_causal_band(const ft_operand *causal, const ft_operand *exact, bool from_the_end)
{
    bool masked = ft_flag(causal) && ft_flag(exact) && causal->is_number;
    /* Of a type of mask, 2 is the one from the bottom right. */
    return (attention_band){.left = -1,
                            .right = masked ? 0 : -1,
                            .from_the_end = from_the_end || (masked && causal->number == 2)};
}

/* Batch, head, position, width. */

ft_status
ft_read_batches(const ft_operand *operands, attention_work *work)
{
    const ft_operand *query = &operands[QUERY], *key = &operands[KEY];
    *work =
        (attention_work){.width = ft_dim(query, -1), .value_width = ft_dim(&operands[VALUE], -1)};
    if (query->shape.ndim < 2 || key->shape.ndim < 2 || operands[VALUE].shape.ndim < 2) {
        return FT_BAD_SHAPE;
    }
    ft_add_sequence(work, query->shape.dims[query->shape.ndim - 2],
                    key->shape.dims[key->shape.ndim - 2],
                    ft_causal_band(&operands[CAUSAL], &operands[EXACT], false),
                    ft_shape_product(query->shape, 0, query->shape.ndim - 2),
                    ft_shape_product(key->shape, 0, key->shape.ndim - 2));
    return FT_OK;
}

/* ---- what is computed ---- */

void
ft_work_forward(const attention_work *work, bool masked, ft_cost *cost)
{
    (void)masked;
    ft_add_dots(cost, work->pairs, work->width);
    if (!ft_u128_is_zero(work->pairs)) {
        ft_add_kind(cost, FT_MAC, ft_times(work->pairs, work->value_width));
        ft_add_kind(cost, FT_DOT, ft_times(work->rows, work->value_width));
    }
}

/* Of values and of attention weights; of queries and of keys. */
void
ft_work_backward(const attention_work *work, bool masked, ft_cost *cost)
{
    (void)masked;
    ft_u128 both = ft_plus(work->width, work->value_width);
    ft_add_dots(cost, work->pairs, work->value_width);
    if (!ft_u128_is_zero(work->pairs)) {
        ft_add_kind(cost, FT_MAC, ft_times(work->pairs, ft_plus(both, work->width)));
        ft_add_kind(cost, FT_DOT, ft_times(work->columns, both));
        ft_add_kind(cost, FT_DOT, ft_times(work->rows, work->width));
    }
}

void
ft_work_recompute(const attention_work *work, bool masked, ft_cost *cost)
{
    (void)masked;
    ft_add_dots(cost, work->pairs, work->width);
}

static void
add_per_score(const attention_work *work, uint64_t arith, uint64_t compare, uint64_t special,
              ft_cost *cost)
{
    ft_add_kind(cost, FT_ARITH, ft_times(work->pairs, ft_u128_of(arith)));
    ft_add_kind(cost, FT_COMPARE, ft_times(work->pairs, ft_u128_of(compare)));
    ft_add_kind(cost, FT_SPECIAL, ft_times(work->pairs, ft_u128_of(special)));
}

void
ft_work_softmax(const attention_work *work, bool masked, ft_cost *cost)
{
    add_per_score(work, masked ? 5 : 4, 1, 1, cost);
}

/* The logarithm of the sum is kept: scale, subtract it, exp. */
void
ft_work_softmax_recompute(const attention_work *work, bool masked, ft_cost *cost)
{
    add_per_score(work, masked ? 3 : 2, 0, 1, cost);
}

/* Product with the gradient, its sum, subtract it, product with the weight; scale. */
void
ft_work_softmax_backward(const attention_work *work, bool masked, ft_cost *cost)
{
    (void)masked;
    add_per_score(work, 5, 0, 0, cost);
}

EVALUATE(forward, ft_read_batches, MASK)
EVALUATE(backward, ft_read_batches, MASK)
EVALUATE(recompute, ft_read_batches, MASK)
EVALUATE(softmax, ft_read_batches, MASK)
EVALUATE(softmax_recompute, ft_read_batches, MASK)
EVALUATE(softmax_backward, ft_read_batches, MASK)

#define BATCH_ROLES                                                                              \
    {                                                                                            \
        {"query", FT_TENSOR}, {"key", FT_TENSOR}, {"value", FT_TENSOR}, {"causal", FT_OPTIONAL}, \
            {"exact", FT_FLAG},                                                                  \
        {                                                                                        \
            "mask", FT_FLAG                                                                      \
        }                                                                                        \
    }

/* q (2,3,4,8), k (2,3,5,8), v (2,3,5,6): 2*3*4*5 = 120 scores, 24 rows, 30 keys */
#define BATCHES FT_SHAPE_OF(2, 3, 4, 8), FT_SHAPE_OF(2, 3, 5, 8), FT_SHAPE_OF(2, 3, 5, 6)

const ft_formula ft_sdpa = {
    CLASS_AND_TEXT("sdpa", ATTENTION, FORWARD_EQUATION, DEFINITION),
    .evaluate = forward_ft_read_batches,
    .roles = BATCH_ROLES,
    .examples =
        {
            {
                .text = "q (2,3,4,8), k (2,3,5,8), v (2,3,5,6): 120*14 = 1680; 120 + 24*6 = 264",
                .operands = {BATCHES},
                .cost = {{[FT_MAC] = FT_COUNT(1680), [FT_DOT] = FT_COUNT(264)}},
            },
            {
                .text = "the same, causal and exact: 1+2+3+4 = 10 of 20 each: 60*14, 60 + 24*6",
                .operands = {BATCHES, FT_NUMBER_OF(1), FT_NUMBER_OF(1)},
                .cost = {{[FT_MAC] = FT_COUNT(840), [FT_DOT] = FT_COUNT(204)}},
            },
        },
};

const ft_formula ft_sdpa_backward = {
    CLASS_AND_TEXT("sdpa_backward", ATTENTION, BACKWARD_EQUATION, DEFINITION),
    .evaluate = backward_ft_read_batches,
    .roles = BATCH_ROLES,
    .examples =
        {
            {
                .text = "120 scores: 120*(6 + 6 + 8 + 8) = 3360; 120 + 30*14 + 24*8 = 732",
                .operands = {BATCHES},
                .cost = {{[FT_MAC] = FT_COUNT(3360), [FT_DOT] = FT_COUNT(732)}},
            },
        },
};

const ft_formula ft_sdpa_recompute = {
    CLASS_AND_TEXT("sdpa_recompute", ATTENTION, RECOMPUTE_EQUATION, DEFINITION),
    .evaluate = recompute_ft_read_batches,
    .roles = BATCH_ROLES,
    .examples =
        {
            {
                .text = "120 scores of width 8: 960",
                .operands = {BATCHES},
                .cost = {{[FT_MAC] = FT_COUNT(960), [FT_DOT] = FT_COUNT(120)}},
            },
        },
};

const ft_formula ft_sdpa_softmax = {
    CLASS_AND_TEXT("sdpa_softmax", SOFTMAX, SOFTMAX_EQUATION, DEFINITION),
    .evaluate = softmax_ft_read_batches,
    .roles = BATCH_ROLES,
    .examples =
        {
            {
                .text = "120 scores with a mask: 120*5 = 600, 120 maxima, 120 exponentials",
                .operands = {BATCHES, FT_ABSENT, FT_ABSENT, FT_NUMBER_OF(1)},
                .cost = {{[FT_ARITH] = FT_COUNT(600),
                          [FT_COMPARE] = FT_COUNT(120),
                          [FT_SPECIAL] = FT_COUNT(120)}},
            },
        },
};

const ft_formula ft_sdpa_softmax_recompute = {
    CLASS_AND_TEXT("sdpa_softmax_recompute", SOFTMAX, SOFTMAX_RECOMPUTE_EQUATION, DEFINITION),
    .evaluate = softmax_recompute_ft_read_batches,
    .roles = BATCH_ROLES,
    .examples =
        {
            {
                .text = "120 scores: 240 steps and 120 exponentials",
                .operands = {BATCHES},
                .cost = {{[FT_ARITH] = FT_COUNT(240), [FT_SPECIAL] = FT_COUNT(120)}},
            },
        },
};

const ft_formula ft_sdpa_softmax_backward = {
    CLASS_AND_TEXT("sdpa_softmax_backward", SOFTMAX, SOFTMAX_BACKWARD_EQUATION, DEFINITION),
    .evaluate = softmax_backward_ft_read_batches,
    .roles = BATCH_ROLES,
    .examples =
        {
            {
                .text = "120 scores: 600",
                .operands = {BATCHES},
                .cost = {{[FT_ARITH] = FT_COUNT(600)}},
            },
        },
};
