/* ATen's norms, softmax and dropout, and their gradients. */
/* SPDX-License-Identifier: MIT */
#include "aten_rows.h"

/* Further options are steps per element. */
#define NORM(op, ...) NORM_(op, __VA_ARGS__, IS(0))
#define NORM_(op, arith, ...) \
    PER(ft_norm, op, 0, OUT, arith, 0, 0, GIVEN("weight"), GIVEN("bias"), __VA_ARGS__)
#define BACKWARD(op, gradient, mask, statistics, mean, weight, shared) \
    {                                                                  \
        "aten." op, &ft_norm_backward, 0,                              \
        {                                                              \
            TENSOR(gradient), mask, statistics, mean, weight, shared   \
        }                                                              \
    }

const ft_map_row ft_map_aten_norms[] = {
    NORM("native_batch_norm", 2, GIVEN("training"), GIVEN("training"), GIVEN("training")),
    NORM("_native_batch_norm_legit", 2, GIVEN("training"), GIVEN("training"), GIVEN("training")),
    NORM("_native_batch_norm_legit_functional", 2, GIVEN("training"), GIVEN("training"),
         GIVEN("training")),
    NORM("cudnn_batch_norm", 2, GIVEN("training"), GIVEN("training"), GIVEN("training")),
    NORM("miopen_batch_norm", 2, GIVEN("training"), GIVEN("training"), GIVEN("training")),
    NORM("_native_batch_norm_legit_no_training", 2),
    NORM("_batch_norm_no_update", 2),
    NORM("quantized_batch_norm", 2),
    NORM("_batch_norm_with_update", 5),
    NORM("_batch_norm_with_update_functional", 5),
    NORM("native_layer_norm", 5),
    NORM("native_group_norm", 5),
    {"aten._fused_rms_norm", &ft_rms_norm, 0, {OUT, VALUE("normalized_shape"), GIVEN("weight")}},
    /* In parts, as over several devices: statistics, and the rest. */
    PER(ft_norm, "batch_norm_stats", 0, TENSOR("input"), 3, 0, 0, IS(0)),
    PER(ft_norm, "batch_norm_update_stats", 0, TENSOR("input"), 3, 0, 0, IS(0)),
    PER(ft_norm, "batch_norm_gather_stats", 0, TENSOR("mean"), 3, 0, 0, IS(0)),
    PER(ft_norm, "batch_norm_gather_stats_with_counts", 0, TENSOR("mean"), 3, 0, 0, IS(0)),
    NORM("batch_norm_elemt", 2),
    /* h 2, g*h, its sum, sum of g; then h again 2, h*c, subtracted twice, scaled */
    PER(ft_norm, "batch_norm_backward_reduce", 0, TENSOR("input"), 5, 0, 0, IS(0)),
    PER(ft_norm, "batch_norm_backward_elemt", 0, TENSOR("input"), 6, 0, 0, IS(0)),

    BACKWARD("native_batch_norm_backward", "grad_out", VALUE("output_mask"), GIVEN("train"), IS(1),
             IS(0), IS(1)),
    BACKWARD("batch_norm_backward", "grad_out", VALUE("output_mask"), GIVEN("update"), IS(1), IS(0),
             IS(1)),
    BACKWARD("cudnn_batch_norm_backward", "grad_output", IS(1), IS(1), IS(1), IS(0), IS(1)),
    BACKWARD("miopen_batch_norm_backward", "grad_output", IS(1), IS(1), IS(1), IS(0), IS(1)),
    BACKWARD("native_layer_norm_backward", "grad_out", VALUE("output_mask"), IS(1), IS(1),
             GIVEN("weight"), IS(0)),
    BACKWARD("native_group_norm_backward", "grad_out", VALUE("output_mask"), IS(1), IS(1),
             GIVEN("weight"), IS(0)),
    BACKWARD("_fused_rms_norm_backward", "grad_out", VALUE("output_mask"), IS(1), IS(0),
             GIVEN("weight"), IS(0)),
    /* v*v, its sum, v*(g/norm); g*v, its sum, g*c, v*d, subtracted */
    PER(ft_norm, "_weight_norm_interface", 0, OUT, 3, 0, 0, IS(0)),
    PER(ft_norm, "_weight_norm_interface_backward", 0, OUT, 5, 0, 0, IS(0)),
    /* |x|^p, its sum, x scaled */
    PER(ft_norm, "renorm", 0, OUT, 2, 0, 1, IS(0)),

    PER(ft_softmax, "softmax", 0, OUT, 3, 1, 1, IS(0)), /* with out= only; else composite */
    PER(ft_softmax, "log_softmax", 0, OUT, 3, 1, 1, IS(0)),
    PER(ft_softmax, "_softmax", 0, OUT, 3, 1, 1, IS(0)),
    PER(ft_softmax, "_log_softmax", 0, OUT, 3, 1, 1, IS(0)),
    PER(ft_softmax, "_safe_softmax", 0, OUT, 3, 1, 1, IS(0)),
    PER(ft_softmax, "_masked_softmax", 0, OUT, 3, 1, 1, IS(0)),
    PER(ft_softmax, "_nested_tensor_softmax_with_shape", 0, OUT, 3, 1, 1, IS(0)),
    PER(ft_softmax, "_sparse_softmax", 0, OUT, 3, 1, 1, IS(0)),
    PER(ft_softmax, "_sparse_log_softmax", 0, OUT, 3, 1, 1, IS(0)),
    /* y*(g - sum(g*y)); g - exp(y)*sum(g) */
    PER(ft_softmax, "_softmax_backward_data", 0, OUT, 4, 0, 0, IS(0)),
    PER(ft_softmax, "_masked_softmax_backward", 0, OUT, 4, 0, 0, IS(0)),
    PER(ft_softmax, "_sparse_softmax_backward_data", 0, OUT, 4, 0, 0, IS(0)),
    PER(ft_softmax, "_log_softmax_backward_data", 0, OUT, 3, 0, 1, IS(0)),
    PER(ft_softmax, "_sparse_log_softmax_backward_data", 0, OUT, 3, 0, 1, IS(0)),

    /* x*mask*scale */
    PER(ft_pointwise, "native_dropout", 0, OUT, 2, 0, 0, IS(0)),
    PER(ft_pointwise, "_fused_dropout", 0, OUT, 2, 0, 0, IS(0)),
    PER(ft_pointwise, "native_dropout_backward", 0, OUT, 2, 0, 0, IS(0)),
    PER(ft_pointwise, "_masked_scale", 0, OUT, 2, 0, 0, IS(0)),
};

const size_t ft_map_aten_norms_count = FT_COUNT_OF(ft_map_aten_norms);
