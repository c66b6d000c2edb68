/* How the tool flops-profiler counts an operation, where that is not how it is counted else. What
 * is not here counts as its contractions, with the bias of a convolution, or nothing. */
/* SPDX-License-Identifier: MIT */
#include "aten_rows.h"

#define STATED(op, tensor, times)                               \
    {                                                           \
        "flops_profiler/aten." op, &ft_flops_profiler_table, 0, \
        {                                                       \
            tensor, IS(times)                                   \
        }                                                       \
    }
#define OF_INPUT(op) STATED(op, TENSOR("self"), 1)
#define BATCH_NORM(op) STATED(op, TENSOR("input"), 2)
/* A linear layer: its products without the bias. */
#define LINEAR(op)                                \
    {                                             \
        "flops_profiler/aten." op, &ft_matmul, 0, \
        {                                         \
            OUT, TENSOR("mat1")                   \
        }                                         \
    }

const ft_map_row ft_map_flops_profiler[] = {
    LINEAR("addmm"),
    LINEAR("_addmm_activation"),
    OF_INPUT("relu"),
    OF_INPUT("_prelu_kernel"),
    OF_INPUT("elu"),
    OF_INPUT("leaky_relu"),
    OF_INPUT("hardtanh"), /* what relu6 is made of */
    OF_INPUT("avg_pool1d"),
    OF_INPUT("avg_pool2d"),
    OF_INPUT("avg_pool3d"),
    OF_INPUT("max_pool2d_with_indices"),
    OF_INPUT("max_pool3d_with_indices"),
    OF_INPUT("mkldnn_max_pool2d"),
    OF_INPUT("mkldnn_max_pool3d"),
    OF_INPUT("adaptive_avg_pool1d"),
    OF_INPUT("adaptive_avg_pool2d"),
    OF_INPUT("adaptive_avg_pool3d"),
    OF_INPUT("_adaptive_avg_pool2d"),
    OF_INPUT("_adaptive_avg_pool3d"),
    OF_INPUT("mkldnn_adaptive_avg_pool2d"),
    OF_INPUT("adaptive_max_pool2d"),
    OF_INPUT("adaptive_max_pool3d"),
    BATCH_NORM("native_batch_norm"),
    BATCH_NORM("_native_batch_norm_legit"),
    BATCH_NORM("_native_batch_norm_legit_no_training"),
    BATCH_NORM("_native_batch_norm_legit_functional"),
    BATCH_NORM("_batch_norm_no_update"),
    BATCH_NORM("_batch_norm_with_update"),
    BATCH_NORM("cudnn_batch_norm"),
    BATCH_NORM("miopen_batch_norm"),
    OF_INPUT("_softmax"),
    STATED("upsample_nearest1d", OUT, 1),
    STATED("upsample_nearest2d", OUT, 1),
    STATED("upsample_nearest3d", OUT, 1),
    STATED("_upsample_nearest_exact1d", OUT, 1),
    STATED("_upsample_nearest_exact2d", OUT, 1),
    STATED("_upsample_nearest_exact3d", OUT, 1),
    STATED("upsample_linear1d", OUT, 1),
    STATED("upsample_bilinear2d", OUT, 1),
    STATED("upsample_trilinear3d", OUT, 1),
    STATED("upsample_bicubic2d", OUT, 1),
};

const size_t ft_map_flops_profiler_count = FT_COUNT_OF(ft_map_flops_profiler);
