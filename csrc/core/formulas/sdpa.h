/* What both forms of attention share: the work of a batch, and what it costs. */
/* SPDX-License-Identifier: MIT */
#ifndef FT_SDPA_H
#define FT_SDPA_H

#include "formulas.h"

/* Summed over batches and heads: pairs of a query and a key that it attends to, queries that attend
 * to any, keys that are attended to by any; and the widths of keys and values. */
typedef struct {
    ft_u128 pairs, rows, columns, width, value_width;
} attention_work;

/* A query attends to the key beside it, to `left` keys before and to `right` after it; -1 is all.
 * The first query is beside the first key, or the last beside the last. */
typedef struct {
    int64_t left, right;
    bool from_the_end;
} attention_band;

/* One head and its sequence, `times` over for queries and `key_times` over for keys. */
void ft_add_sequence(attention_work *work, int64_t queries, int64_t keys, attention_band band,
                     ft_u128 times, ft_u128 key_times);
attention_band ft_causal_band(const ft_operand *causal, const ft_operand *exact, bool from_the_end);

/* The first roles of all formulas. */
enum { QUERY, KEY, VALUE, CAUSAL, EXACT, MASK };

/* Tensors as batch, head, position, width. */
ft_status ft_read_batches(const ft_operand *operands, attention_work *work);

void ft_work_forward(const attention_work *work, bool masked, ft_cost *cost);
void ft_work_backward(const attention_work *work, bool masked, ft_cost *cost);
void ft_work_recompute(const attention_work *work, bool masked, ft_cost *cost);
void ft_work_softmax(const attention_work *work, bool masked, ft_cost *cost);
void ft_work_softmax_recompute(const attention_work *work, bool masked, ft_cost *cost);
void ft_work_softmax_backward(const attention_work *work, bool masked, ft_cost *cost);

/* A formula's function: reads the work and costs it. */
#define EVALUATE(function, read, mask_at)                                         \
    static ft_status function##_##read(const ft_operand *operands, ft_cost *cost) \
    {                                                                             \
        attention_work work;                                                      \
        ft_status status = read(operands, &work);                                 \
        if (status == FT_OK) {                                                    \
            ft_work_##function(&work, ft_flag(&operands[mask_at]), cost);         \
        }                                                                         \
        return status;                                                            \
    }
#define CLASS_AND_TEXT(id, op_class_, equation_, source_) \
    .name = id, .equation = equation_, .source = source_, .op_class = FT_CLASS_##op_class_

#define FORWARD_EQUATION                                                                          \
    "mac = scores*(E + Ev), dot = scores + rows*Ev; scores = B*H*L*S of the query's heads, with " \
    "exact causal masks and windows those that they leave"
#define BACKWARD_EQUATION \
    "mac = 2*scores*(E + Ev): four contractions; dot = scores + keys*(E + Ev) + rows*E"
#define RECOMPUTE_EQUATION "mac = scores*E, dot = scores: Q K^T once more"
#define SOFTMAX_EQUATION "per score: scale 1, maximum 1 compare, softmax 3 and exp 1, mask 1"
#define SOFTMAX_RECOMPUTE_EQUATION "per score: scale, mask, subtract the kept logarithm, exp"
#define SOFTMAX_BACKWARD_EQUATION "per score 5: product, sum, subtraction, product, scale"
#define DEFINITION "softmax(Q K^T * scale) V, and its derivative; Dao et al. 2022, algorithm 4"

#endif
