/* The list of formulas and the one checked way to evaluate them. */
/* SPDX-License-Identifier: MIT */
#include "ft_rule.h"

#include "formulas/formulas.h"

#include <string.h>

static const ft_formula *const formulas[] = {
    &ft_linear,
    &ft_matmul,
    &ft_bilinear,
    &ft_sgd_linear,
    &ft_conv,
    &ft_conv_transpose_output,
    &ft_recurrent_layers,
    &ft_attention_layer,
    &ft_attention_softmax,
    &ft_norm_table,
    &ft_softmax_table,
    &ft_avg_pool_table,
    &ft_adaptive_avg_pool_table,
    &ft_resample_table,
    &ft_max_pool_free,
    &ft_activation_free,
    &ft_embedding_free,
    &ft_data_free,
    &ft_flops_profiler_table,
    &ft_linear_backward_table,
    &ft_embedding_table,
    &ft_update_table,
    &ft_pointwise,
    &ft_activation,
    &ft_norm,
    &ft_softmax,
    &ft_resample,
    &ft_update,
    &ft_scatter,
    &ft_sgd_update,
    &ft_adam_update,
    &ft_adagrad_update,
    &ft_reduction,
    &ft_vector_norm,
    &ft_distance,
    &ft_trace,
    &ft_scan,
    &ft_sort,
    &ft_binary_search,
    &ft_rms_norm,
    &ft_norm_backward,
    &ft_loss,
    &ft_margin_loss,
    &ft_ctc_joined,
    &ft_linear_cross_entropy,
    &ft_linear_cross_entropy_softmax,
    &ft_pool,
    &ft_adaptive_pool,
    &ft_resample_smoothed,
    &ft_grid_sample,
    &ft_grid_sample_backward,
    &ft_gathered_rows,
    &ft_truth_free,
    &ft_collective_free,
    &ft_random_free,
    &ft_resample_free,
    &ft_outer,
    &ft_matmul_summed,
    &ft_matmul_grouped,
    &ft_linear_backward,
    &ft_linear_weights_backward,
    &ft_relu_or_gelu,
    &ft_trilinear,
    &ft_sampled_matmul,
    &ft_sparse_reduce,
    &ft_sparse_reduce_backward,
    &ft_pair_distance,
    &ft_pair_distance_backward,
    &ft_euclidean_products,
    &ft_euclidean_rest,
    &ft_embedding_bag,
    &ft_embedding_bag_backward,
    &ft_embedding_bag_weights_backward,
    &ft_embedding_backward,
    &ft_convolution,
    &ft_convolution_backward,
    &ft_conv_tbc,
    &ft_sdpa,
    &ft_sdpa_softmax,
    &ft_sdpa_backward,
    &ft_sdpa_recompute,
    &ft_sdpa_softmax_recompute,
    &ft_sdpa_softmax_backward,
    &ft_varlen,
    &ft_varlen_softmax,
    &ft_varlen_backward,
    &ft_varlen_recompute,
    &ft_varlen_softmax_recompute,
    &ft_varlen_softmax_backward,
    &ft_flex,
    &ft_flex_softmax,
    &ft_flex_backward,
    &ft_flex_recompute,
    &ft_flex_softmax_recompute,
    &ft_flex_softmax_backward,
    &ft_heads,
    &ft_heads_softmax,
    &ft_encoder_feed_forward,
    &ft_encoder_elementwise,
    &ft_recurrent,
    &ft_recurrent_backward,
    &ft_gates,
    &ft_gates_backward,
    &ft_fft,
    &ft_fft_real,
    &ft_cholesky,
    &ft_cholesky_solve,
    &ft_cholesky_inverse,
    &ft_lu,
    &ft_lu_solve,
    &ft_solve,
    &ft_triangular_solve,
    &ft_inverse,
    &ft_det,
    &ft_slogdet,
    &ft_ldl,
    &ft_cross,
    &ft_geqrf,
    &ft_householder,
    &ft_ormqr,
    &ft_qr,
    &ft_svd,
    &ft_eigh,
    &ft_eig,
    &ft_lstsq,
    &ft_matrix_exp,
    &ft_matrix_sqrth,
    &ft_polar,
    &ft_pinv,
};

const ft_formula *const *
ft_formulas(size_t *count)
{
    *count = FT_COUNT_OF(formulas);
    return formulas;
}

const ft_formula *
ft_formula_find(const char *name)
{
    for (size_t i = 0; i < FT_COUNT_OF(formulas); i++) {
        if (strcmp(formulas[i]->name, name) == 0) {
            return formulas[i];
        }
    }
    return NULL;
}

int
ft_formula_role_count(const ft_formula *formula)
{
    int count = 0;
    while (count < FT_MAX_ROLES && formula->roles[count].kind != FT_ROLE_END) {
        count++;
    }
    return count;
}

static bool
operand_fits(const ft_operand *operand, ft_role_kind kind)
{
    bool number_ok = operand->is_number;
    bool shape_ok = !operand->is_number && ft_shape_valid(operand->shape);
    if (!operand->present) {
        return kind == FT_FLAG || kind == FT_OPTIONAL || kind == FT_INTEGERS || kind == FT_LIMITS;
    }
    switch (kind) {
    case FT_TENSOR:
        return shape_ok;
    case FT_STORED:
    case FT_ELEMENTS:
    case FT_SIZES:
    case FT_OPTIONAL:
        return number_ok || shape_ok;
    case FT_INTEGERS:
        return !operand->is_number && ft_shape_counts(operand->shape);
    case FT_LIMITS:
        return number_ok || (operand->shape.ndim >= 0 && operand->shape.ndim <= FT_MAX_DIMS);
    default:
        return number_ok;
    }
}

ft_status
ft_formula_evaluate(const ft_formula *formula, const ft_operand *operands, ft_cost *cost)
{
    memset(cost, 0, sizeof *cost);
    for (int i = 0; i < FT_MAX_ROLES && formula->roles[i].kind != FT_ROLE_END; i++) {
        if (!operand_fits(&operands[i], formula->roles[i].kind)) {
            return FT_BAD_SHAPE;
        }
    }
    ft_status status = formula->evaluate(operands, cost);
    for (int kind = 0; kind < FT_KIND_COUNT && status == FT_OK; kind++) {
        if (ft_u128_overflowed(cost->by_kind[kind])) {
            status = FT_OVERFLOW;
        }
    }
    return status;
}
