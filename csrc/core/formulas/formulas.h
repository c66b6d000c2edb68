/* Every formula by name, and the few words of arithmetic that they are all written in. */
/* SPDX-License-Identifier: MIT */
#ifndef FT_FORMULAS_H
#define FT_FORMULAS_H

#include "../ft_rule.h"

/* matmul.c */
extern const ft_formula ft_linear, ft_bilinear, ft_sgd_linear, ft_matmul;
/* elementwise.c, optimizer.c */
extern const ft_formula ft_pointwise, ft_activation, ft_norm, ft_softmax, ft_resample, ft_update,
    ft_scatter, ft_sgd_update, ft_adam_update, ft_adagrad_update;
/* reduction.c, ordering.c */
extern const ft_formula ft_reduction, ft_vector_norm, ft_distance, ft_trace, ft_scan, ft_sort,
    ft_binary_search;
/* rms_norm.c, norm_backward.c, loss.c */
extern const ft_formula ft_rms_norm, ft_norm_backward, ft_loss, ft_margin_loss, ft_ctc_joined,
    ft_linear_cross_entropy, ft_linear_cross_entropy_softmax;
/* pool.c, resample.c, gathered.c */
extern const ft_formula ft_pool, ft_adaptive_pool, ft_resample_smoothed, ft_grid_sample,
    ft_grid_sample_backward, ft_gathered_rows;
/* free.c */
extern const ft_formula ft_truth_free, ft_random_free, ft_resample_free, ft_collective_free;
/* products.c, sparse.c, distance.c, embedding.c */
extern const ft_formula ft_outer, ft_matmul_summed, ft_matmul_grouped, ft_linear_backward,
    ft_linear_weights_backward, ft_relu_or_gelu, ft_trilinear, ft_sampled_matmul, ft_sparse_reduce,
    ft_sparse_reduce_backward, ft_pair_distance, ft_pair_distance_backward, ft_euclidean_products,
    ft_euclidean_rest, ft_embedding_bag, ft_embedding_bag_backward,
    ft_embedding_bag_weights_backward, ft_embedding_backward;
/* convolution.c, convolution_backward.c */
extern const ft_formula ft_convolution, ft_convolution_backward, ft_conv_tbc;
/* sdpa.c, varlen.c, flex.c, transformer.c */
extern const ft_formula ft_sdpa, ft_sdpa_softmax, ft_sdpa_backward, ft_sdpa_recompute,
    ft_sdpa_softmax_recompute, ft_sdpa_softmax_backward, ft_varlen, ft_varlen_softmax,
    ft_varlen_backward, ft_varlen_recompute, ft_varlen_softmax_recompute,
    ft_varlen_softmax_backward, ft_flex, ft_flex_softmax, ft_flex_backward, ft_flex_recompute,
    ft_flex_softmax_recompute, ft_flex_softmax_backward, ft_heads, ft_heads_softmax,
    ft_encoder_feed_forward, ft_encoder_elementwise;
/* recurrent_operations.c */
extern const ft_formula ft_recurrent, ft_recurrent_backward, ft_gates, ft_gates_backward;
/* fft.c, linalg.c, linalg_reflections.c, linalg_spectral.c */
extern const ft_formula ft_fft, ft_fft_real, ft_cholesky, ft_cholesky_solve, ft_cholesky_inverse,
    ft_lu, ft_lu_solve, ft_solve, ft_triangular_solve, ft_inverse, ft_det, ft_slogdet, ft_ldl,
    ft_cross, ft_geqrf, ft_householder, ft_ormqr, ft_qr, ft_svd, ft_eigh, ft_eig, ft_lstsq,
    ft_matrix_exp, ft_matrix_sqrth, ft_polar, ft_pinv;
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
/* flops_profiler.c */
extern const ft_formula ft_flops_profiler_table;
/* flops_counter.c */
extern const ft_formula ft_linear_backward_table, ft_embedding_table, ft_update_table;

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

/* Of a role that takes either. */
static inline ft_u128
ft_elements(const ft_operand *operand)
{
    return operand->is_number ? ft_number(operand) : ft_numel(operand);
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

/* The positions of a window: one size per dimension, or one size (a number, or a list of one) for
 * all `rank` dimensions. */
static inline ft_u128
ft_window(const ft_operand *sizes, const ft_operand *rank)
{
    if (!sizes->is_number && sizes->shape.ndim != 1) {
        return ft_numel(sizes);
    }
    ft_u128 product = ft_u128_of(1), one = sizes->is_number ? ft_number(sizes) : ft_numel(sizes);
    for (uint64_t i = 0; i < rank->number; i++) {
        product = ft_times(product, one);
    }
    return product;
}

/* Elements that windows read when they tile `input` in as many parts as `output` has, in each of
 * the last `rank` dimensions (layer_table.c). */
ft_status ft_adaptive_reads(const ft_operand *input, const ft_operand *output, uint64_t rank,
                            ft_u128 *reads);

/* k elements become one in k - 1 steps; n elements become m in n - m, and nothing in none. */
static inline ft_u128
ft_less(ft_u128 n, ft_u128 m)
{
    return ft_u128_compare(n, m) > 0 ? ft_u128_subtract(n, m) : FT_U128_ZERO;
}

static inline ft_u128
ft_least(ft_u128 a, ft_u128 b)
{
    return ft_u128_compare(a, b) < 0 ? a : b;
}

/* Dimension `at` of a tensor, counted from its end where negative; 1 where it has none there. */
static inline ft_u128
ft_dim(const ft_operand *tensor, int at)
{
    int ndim = tensor->shape.ndim, index = at < 0 ? ndim + at : at;
    return ft_u128_of(index < 0 || index >= ndim ? 1 : (uint64_t)tensor->shape.dims[index]);
}

/* Whether entry `at` of a list of flags is set; all are where there is no list. */
static inline bool
ft_masked(const ft_operand *mask, int at)
{
    return !mask->present || (at < mask->shape.ndim && mask->shape.dims[at] != 0);
}

/* A bias and the scales of product and bias, three flags in a row; of no bias there is no scale. */
void ft_add_bias(const ft_operand *flags, ft_u128 outputs, ft_cost *cost);

/* elementwise.c: elements of the first operand times the steps, comparisons and special functions
 * that the next three state, and a step for each flag that is on. */
void ft_add_elementwise(const ft_operand *operands, int first_flag, int last_flag, ft_cost *cost);

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
