/* Scaled dot-product attention: scores, weighted values and their gradients, over batches of equal
 * length or over sequences that lie one after the other. */
/* SPDX-License-Identifier: MIT */
#include "formulas.h"

/* Summed over batches and heads: pairs of a query and a key that it attends to, queries that attend
 * to any, keys that are attended to by any; and the widths of keys and values. */
typedef struct {
    ft_u128 pairs, rows, columns, width, value_width;
} attention_work;

enum { ALL, FROM_TOP_LEFT, FROM_BOTTOM_RIGHT };

/* n + (n - 1) + ... + 1 */
static ft_u128
triangle(ft_u128 n)
{
    uint64_t remainder = 0;
    return ft_u128_divide(ft_times(n, ft_plus(n, ft_u128_of(1))), 2, &remainder);
}

/* One head and its sequence, `times` over for queries and `key_times` over for keys. */
static void
add_sequence(attention_work *work, ft_u128 queries, ft_u128 keys, uint64_t mask, ft_u128 times,
             ft_u128 key_times)
{
    ft_u128 least = ft_least(queries, keys), pairs = ft_times(queries, keys);
    ft_u128 rows = queries, columns = keys;
    bool wide = ft_u128_compare(queries, keys) <= 0;
    if (ft_u128_is_zero(least)) {
        return;
    }
    if (mask == FROM_TOP_LEFT) {
        pairs = wide ? triangle(queries)
                     : ft_u128_subtract(pairs, triangle(ft_u128_subtract(keys, ft_u128_of(1))));
        columns = least;
    }
    else if (mask == FROM_BOTTOM_RIGHT) {
        pairs = wide ? ft_u128_subtract(pairs, triangle(ft_u128_subtract(queries, ft_u128_of(1))))
                     : triangle(keys);
        rows = least;
    }
    work->pairs = ft_plus(work->pairs, ft_times(pairs, times));
    work->rows = ft_plus(work->rows, ft_times(rows, times));
    work->columns = ft_plus(work->columns, ft_times(columns, key_times));
}

static uint64_t
causal_mask(const ft_operand *causal, const ft_operand *exact, bool bottom_right)
{
    if (!ft_flag(causal) || !ft_flag(exact) || !causal->is_number) {
        return ALL;
    }
    return bottom_right ? FROM_BOTTOM_RIGHT : causal->number;
}

/* Batch, head, position, width. */
enum { QUERY, KEY, VALUE, CAUSAL, EXACT, MASK };

static ft_status
read_batches(const ft_operand *operands, attention_work *work)
{
    const ft_operand *query = &operands[QUERY], *key = &operands[KEY];
    *work =
        (attention_work){.width = ft_dim(query, -1), .value_width = ft_dim(&operands[VALUE], -1)};
    if (query->shape.ndim < 2 || key->shape.ndim < 2 || operands[VALUE].shape.ndim < 2) {
        return FT_BAD_SHAPE;
    }
    add_sequence(work, ft_dim(query, -2), ft_dim(key, -2),
                 causal_mask(&operands[CAUSAL], &operands[EXACT], false),
                 ft_shape_product(query->shape, 0, query->shape.ndim - 2),
                 ft_shape_product(key->shape, 0, key->shape.ndim - 2));
    return FT_OK;
}

/* Batch, position, head, width; or all sequences in one, without a batch. The form says otherwise:
 * where causal masks begin, or that batches come as above. */
enum { BOTTOM_RIGHT = 1, HEADS_FIRST };
enum { FORM = 5, QUERY_LENGTHS, KEY_LENGTHS, OFFSETS, MAX_QUERIES, MAX_KEYS, VARLEN_MASK };

static ft_status
read_sequences(const ft_operand *operands, attention_work *work)
{
    const ft_operand *query = &operands[QUERY], *key = &operands[KEY];
    const ft_operand *lengths = &operands[QUERY_LENGTHS], *key_lengths = &operands[KEY_LENGTHS];
    const ft_operand *offsets = &operands[OFFSETS];
    uint64_t form = operands[FORM].is_number ? operands[FORM].number : 0;
    uint64_t mask = causal_mask(&operands[CAUSAL], &operands[EXACT], form == BOTTOM_RIGHT);
    bool joined = offsets->present && !offsets->is_number && offsets->shape.ndim == 1 &&
                  offsets->shape.dims[0] > 0;
    if (form == HEADS_FIRST && !joined) {
        return read_batches(operands, work);
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
            add_sequence(work, ft_u128_of((uint64_t)lengths->shape.dims[i]),
                         ft_u128_of((uint64_t)key_lengths->shape.dims[i]), mask, heads, key_heads);
        }
        return FT_OK;
    }
    ft_u128 batch = ft_shape_product(query->shape, 0, query->shape.ndim - 3);
    ft_u128 queries = ft_dim(query, -3), keys = ft_dim(key, -3);
    if (joined) { /* the lengths can't be read */
        if (!operands[MAX_QUERIES].is_number || !operands[MAX_KEYS].is_number) {
            return FT_BAD_SHAPE;
        }
        batch = ft_u128_of((uint64_t)offsets->shape.dims[0] - 1);
        queries = ft_number(&operands[MAX_QUERIES]);
        keys = ft_number(&operands[MAX_KEYS]);
    }
    add_sequence(work, queries, keys, mask, ft_times(batch, heads), ft_times(batch, key_heads));
    return FT_OK;
}

/* ---- what is computed ---- */

static void
forward(const attention_work *work, bool masked, ft_cost *cost)
{
    (void)masked;
    ft_add_dots(cost, work->pairs, work->width);
    if (!ft_u128_is_zero(work->pairs)) {
        ft_add_kind(cost, FT_MAC, ft_times(work->pairs, work->value_width));
        ft_add_kind(cost, FT_DOT, ft_times(work->rows, work->value_width));
    }
}

/* Of values and of attention weights; of queries and of keys. */
static void
backward(const attention_work *work, bool masked, ft_cost *cost)
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

static void
recompute(const attention_work *work, bool masked, ft_cost *cost)
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

static void
softmax(const attention_work *work, bool masked, ft_cost *cost)
{
    add_per_score(work, masked ? 5 : 4, 1, 1, cost);
}

/* The logarithm of the sum is kept: scale, subtract it, exp. */
static void
softmax_recompute(const attention_work *work, bool masked, ft_cost *cost)
{
    add_per_score(work, masked ? 3 : 2, 0, 1, cost);
}

/* Product with the gradient, its sum, subtract it, product with the weight; scale. */
static void
softmax_backward(const attention_work *work, bool masked, ft_cost *cost)
{
    (void)masked;
    add_per_score(work, 5, 0, 0, cost);
}

#define EVALUATE(function, read, mask_at)                                         \
    static ft_status function##_##read(const ft_operand *operands, ft_cost *cost) \
    {                                                                             \
        attention_work work;                                                      \
        ft_status status = read(operands, &work);                                 \
        if (status == FT_OK) {                                                    \
            function(&work, ft_flag(&operands[mask_at]), cost);                   \
        }                                                                         \
        return status;                                                            \
    }
EVALUATE(forward, read_batches, MASK)
EVALUATE(backward, read_batches, MASK)
EVALUATE(recompute, read_batches, MASK)
EVALUATE(softmax, read_batches, MASK)
EVALUATE(softmax_recompute, read_batches, MASK)
EVALUATE(softmax_backward, read_batches, MASK)
EVALUATE(forward, read_sequences, VARLEN_MASK)
EVALUATE(backward, read_sequences, VARLEN_MASK)
EVALUATE(recompute, read_sequences, VARLEN_MASK)
EVALUATE(softmax, read_sequences, VARLEN_MASK)
EVALUATE(softmax_recompute, read_sequences, VARLEN_MASK)
EVALUATE(softmax_backward, read_sequences, VARLEN_MASK)

/* ---- the formulas ---- */

#define BATCH_ROLES                                                                              \
    {                                                                                            \
        {"query", FT_TENSOR}, {"key", FT_TENSOR}, {"value", FT_TENSOR}, {"causal", FT_OPTIONAL}, \
            {"exact", FT_FLAG},                                                                  \
        {                                                                                        \
            "mask", FT_FLAG                                                                      \
        }                                                                                        \
    }
#define SEQUENCE_ROLES                                                                            \
    {                                                                                             \
        {"query", FT_TENSOR}, {"key", FT_TENSOR}, {"value", FT_TENSOR}, {"causal", FT_OPTIONAL},  \
            {"exact", FT_FLAG}, {"form", FT_OPTIONAL}, {"query_lengths", FT_INTEGERS},            \
            {"key_lengths", FT_INTEGERS}, {"offsets", FT_OPTIONAL}, {"max_queries", FT_OPTIONAL}, \
            {"max_keys", FT_OPTIONAL},                                                            \
        {                                                                                         \
            "mask", FT_FLAG                                                                       \
        }                                                                                         \
    }
#define CLASS_AND_TEXT(id, op_class_, equation_, source_) \
    .name = id, .equation = equation_, .source = source_, .op_class = FT_CLASS_##op_class_

/* q (2,3,4,8), k (2,3,5,8), v (2,3,5,6): 2*3*4*5 = 120 scores, 24 rows, 30 keys */
#define BATCHES FT_SHAPE_OF(2, 3, 4, 8), FT_SHAPE_OF(2, 3, 5, 8), FT_SHAPE_OF(2, 3, 5, 6)
/* q (7,2,8), lengths 3 and 4; k (9,1,8), v (9,1,6), lengths 4 and 5: 2*(12 + 20) = 64 scores,
 * 2*7 = 14 rows, 9 keys */
#define SEQUENCES                                                                           \
    FT_SHAPE_OF(7, 2, 8), FT_SHAPE_OF(9, 1, 8), FT_SHAPE_OF(9, 1, 6), FT_ABSENT, FT_ABSENT, \
        FT_ABSENT, FT_SHAPE_OF(3, 4), FT_SHAPE_OF(4, 5)

#define FORWARD_EQUATION                                                                          \
    "mac = scores*(E + Ev), dot = scores + rows*Ev; scores = B*H*L*S of the query's heads, with " \
    "exact causal masks those on and under the diagonal"
#define BACKWARD_EQUATION \
    "mac = 2*scores*(E + Ev): four contractions; dot = scores + keys*(E + Ev) + rows*E"
#define RECOMPUTE_EQUATION "mac = scores*E, dot = scores: Q K^T once more"
#define SOFTMAX_EQUATION "per score: scale 1, maximum 1 compare, softmax 3 and exp 1, mask 1"
#define SOFTMAX_RECOMPUTE_EQUATION "per score: scale, mask, subtract the kept logarithm, exp"
#define SOFTMAX_BACKWARD_EQUATION "per score 5: product, sum, subtraction, product, scale"
#define DEFINITION "softmax(Q K^T * scale) V, and its derivative; Dao et al. 2022, algorithm 4"

const ft_formula ft_sdpa = {
    CLASS_AND_TEXT("sdpa", ATTENTION, FORWARD_EQUATION, DEFINITION),
    .evaluate = forward_read_batches,
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
    .evaluate = backward_read_batches,
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
    .evaluate = recompute_read_batches,
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
    .evaluate = softmax_read_batches,
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
    .evaluate = softmax_recompute_read_batches,
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
    .evaluate = softmax_backward_read_batches,
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
