/* Every formula by name, and the few words of arithmetic that they are all written in. */
/* SPDX-License-Identifier: MIT */
#ifndef FT_FORMULAS_H
#define FT_FORMULAS_H

#include "../ft_rule.h"

/* matmul.c */
extern const ft_formula ft_linear, ft_bilinear, ft_sgd_linear, ft_matmul;
/* elementwise.c, reduction.c */
extern const ft_formula ft_pointwise, ft_activation, ft_norm, ft_softmax, ft_loss, ft_resample,
    ft_update, ft_reduction;
/* conv.c */
extern const ft_formula ft_conv, ft_conv_transpose_output;
/* recurrent.c */
extern const ft_formula ft_recurrent_layers;
/* attention.c */
extern const ft_formula ft_attention_layer, ft_attention_softmax;
/* layer_table.c */
extern const ft_formula ft_norm_table, ft_softmax_table, ft_avg_pool_table,
    ft_adaptive_avg_pool_table, ft_resample_table, ft_max_pool_free, ft_activation_free,
    ft_embedding_free, ft_data_free;

static inline ft_u128
ft_number(const ft_operand *operand)
{
    return ft_u128_of(operand->number);
}

static inline ft_u128
ft_numel(const ft_operand *operand)
{
    return ft_shape_numel(operand->shape);
}

static inline bool
ft_flag(const ft_operand *operand)
{
    return operand->present && operand->number != 0;
}

static inline ft_u128
ft_times(ft_u128 a, ft_u128 b)
{
    return ft_u128_multiply(a, b);
}

static inline ft_u128
ft_plus(ft_u128 a, ft_u128 b)
{
    return ft_u128_add(a, b);
}

/* The positions of a window: one size per dimension, or one size for all `rank` dimensions. */
static inline ft_u128
ft_window(const ft_operand *sizes, const ft_operand *rank)
{
    ft_u128 product = sizes->is_number ? ft_u128_of(1) : ft_numel(sizes);
    for (uint64_t i = 0; sizes->is_number && i < rank->number; i++) {
        product = ft_times(product, ft_number(sizes));
    }
    return product;
}

/* Adds `dots` dot products of `length` each: the building block of every contraction. */
static inline void
ft_add_dots(ft_cost *cost, ft_u128 dots, ft_u128 length)
{
    if (ft_u128_is_zero(length)) {
        return; /* an empty dot product neither multiplies nor saves an addition */
    }
    cost->by_kind[FT_MAC] = ft_plus(cost->by_kind[FT_MAC], ft_times(dots, length));
    cost->by_kind[FT_DOT] = ft_plus(cost->by_kind[FT_DOT], dots);
}

static inline void
ft_add_kind(ft_cost *cost, ft_kind kind, ft_u128 count)
{
    cost->by_kind[kind] = ft_plus(cost->by_kind[kind], count);
}

#endif
