/* ATen's pooling and resampling, and their gradients. */
/* SPDX-License-Identifier: MIT */
#include "aten_rows.h"

#define MAX_POOL(op, rank)                                           \
    {                                                                \
        "aten." op, &ft_pool, 0,                                     \
        {                                                            \
            OUT, VALUE("kernel_size"), IS(rank), IS(0), IS(1), IS(0) \
        }                                                            \
    }
#define AVERAGE_POOL(op, rank)                                       \
    {                                                                \
        "aten." op, &ft_pool, 0,                                     \
        {                                                            \
            OUT, VALUE("kernel_size"), IS(rank), IS(1), IS(0), IS(0) \
        }                                                            \
    }
/* A gradient is divided once and added to each element of its window. */
#define AVERAGE_POOL_BACKWARD(op, rank)                                                \
    {                                                                                  \
        "aten." op, &ft_pool, 0,                                                       \
        {                                                                              \
            TENSOR("grad_output"), VALUE("kernel_size"), IS(rank), IS(1), IS(0), IS(1) \
        }                                                                              \
    }
#define ADAPTIVE(op, input, output, rank, arith, compare, end_arith)       \
    {                                                                      \
        "aten." op, &ft_adaptive_pool, 0,                                  \
        {                                                                  \
            input, output, IS(rank), IS(arith), IS(compare), IS(end_arith) \
        }                                                                  \
    }
#define ADDED_MAXIMA(op)                                             \
    {                                                                \
        "aten." op, &ft_pool, 0,                                     \
        {                                                            \
            TENSOR("grad_output"), IS(1), IS(0), IS(0), IS(0), IS(1) \
        }                                                            \
    }
#define ADDED(formula, op, tensor) PER(formula, op, 0, TENSOR(tensor), 1, 0, 0, IS(0))
#define RESAMPLE(op, forward, backward)                 \
    PER(ft_resample, op, 0, OUT, forward, 0, 0, IS(0)), \
        PER(ft_resample, op "_backward", 0, TENSOR("grad_output"), backward, 0, 0, IS(0))
#define SMOOTHED(op, support)                                                          \
    {"aten." op, &ft_resample_smoothed, 0, {TENSOR("self"), OUT, IS(support), IS(0)}}, \
    {                                                                                  \
        "aten." op "_backward", &ft_resample_smoothed, 0,                              \
        {                                                                              \
            OUT, TENSOR("grad_output"), IS(support), IS(1)                             \
        }                                                                              \
    }
#define GRID_SAMPLE(op, mode, rank)     \
    {                                   \
        "aten." op, &ft_grid_sample, 0, \
        {                               \
            OUT, mode, IS(rank)         \
        }                               \
    }
#define GRID_BACKWARD(op, mode, rank, mask)             \
    {                                                   \
        "aten." op, &ft_grid_sample_backward, 0,        \
        {                                               \
            TENSOR("grad_output"), mode, IS(rank), mask \
        }                                               \
    }

const ft_map_row ft_map_aten_images[] = {
    MAX_POOL("max_pool2d_with_indices", 2),
    MAX_POOL("max_pool3d_with_indices", 3),
    MAX_POOL("mkldnn_max_pool2d", 2),
    MAX_POOL("mkldnn_max_pool3d", 3),
    MAX_POOL("quantized_max_pool1d", 1),
    MAX_POOL("quantized_max_pool2d", 2),
    MAX_POOL("quantized_max_pool3d", 3),
    MAX_POOL("fractional_max_pool2d", 2),
    MAX_POOL("fractional_max_pool3d", 3),
    /* Each gradient is added where its maximum was. */
    ADDED_MAXIMA("max_pool2d_with_indices_backward"),
    ADDED_MAXIMA("max_pool3d_with_indices_backward"),
    ADDED_MAXIMA("max_pool2d_backward"),
    ADDED_MAXIMA("mkldnn_max_pool2d_backward"),
    ADDED_MAXIMA("mkldnn_max_pool3d_backward"),
    ADDED_MAXIMA("fractional_max_pool2d_backward"),
    ADDED_MAXIMA("fractional_max_pool3d_backward"),
    ADDED_MAXIMA("adaptive_max_pool2d_backward"),
    ADDED_MAXIMA("adaptive_max_pool3d_backward"),
    AVERAGE_POOL("avg_pool1d", 1),
    AVERAGE_POOL("avg_pool2d", 2),
    AVERAGE_POOL("avg_pool3d", 3),
    AVERAGE_POOL_BACKWARD("avg_pool2d_backward", 2),
    AVERAGE_POOL_BACKWARD("avg_pool3d_backward", 3),
    ADAPTIVE("adaptive_avg_pool1d", TENSOR("self"), OUT, 1, 1, 0, 0),
    ADAPTIVE("adaptive_avg_pool2d", TENSOR("self"), OUT, 2, 1, 0, 0),
    ADAPTIVE("adaptive_avg_pool3d", TENSOR("self"), OUT, 3, 1, 0, 0),
    ADAPTIVE("_adaptive_avg_pool2d", TENSOR("self"), OUT, 2, 1, 0, 0),
    ADAPTIVE("_adaptive_avg_pool3d", TENSOR("self"), OUT, 3, 1, 0, 0),
    ADAPTIVE("mkldnn_adaptive_avg_pool2d", TENSOR("self"), OUT, 2, 1, 0, 0),
    ADAPTIVE("adaptive_max_pool2d", TENSOR("self"), OUT, 2, 0, 1, 0),
    ADAPTIVE("adaptive_max_pool3d", TENSOR("self"), OUT, 3, 0, 1, 0),
    ADAPTIVE("_adaptive_avg_pool2d_backward", TENSOR("self"), TENSOR("grad_output"), 2, 1, 0, 1),
    ADAPTIVE("_adaptive_avg_pool3d_backward", TENSOR("self"), TENSOR("grad_output"), 3, 1, 0, 1),
    ADAPTIVE("adaptive_avg_pool3d_backward", TENSOR("self"), TENSOR("grad_output"), 3, 1, 0, 1),
    ADAPTIVE("mkldnn_adaptive_avg_pool2d_backward", TENSOR("self"), TENSOR("grad_output"), 2, 1, 0,
             1),
    ZERO("upsample_nearest1d", ft_resample_free),
    ADDED(ft_resample, "upsample_nearest1d_backward", "grad_output"),
    ZERO("upsample_nearest2d", ft_resample_free),
    ADDED(ft_resample, "upsample_nearest2d_backward", "grad_output"),
    ZERO("upsample_nearest3d", ft_resample_free),
    ADDED(ft_resample, "upsample_nearest3d_backward", "grad_output"),
    ZERO("_upsample_nearest_exact1d", ft_resample_free),
    ADDED(ft_resample, "_upsample_nearest_exact1d_backward", "grad_output"),
    ZERO("_upsample_nearest_exact2d", ft_resample_free),
    ADDED(ft_resample, "_upsample_nearest_exact2d_backward", "grad_output"),
    ZERO("_upsample_nearest_exact3d", ft_resample_free),
    ADDED(ft_resample, "_upsample_nearest_exact3d_backward", "grad_output"),
    /* v values times weights, added up: 2*v - 1; backward 2*v */
    RESAMPLE("upsample_linear1d", 3, 4),
    RESAMPLE("upsample_bilinear2d", 7, 8),
    RESAMPLE("upsample_trilinear3d", 15, 16),
    RESAMPLE("upsample_bicubic2d", 31, 32),
    SMOOTHED("_upsample_bilinear2d_aa", 2),
    SMOOTHED("_upsample_bicubic2d_aa", 4),
    SMOOTHED("_upsample_lanczos2d_aa", 6),
    GRID_SAMPLE("grid_sampler_2d", VALUE("interpolation_mode"), 2),
    GRID_SAMPLE("grid_sampler_3d", VALUE("interpolation_mode"), 3),
    GRID_SAMPLE("_grid_sampler_2d_cpu_fallback", VALUE("interpolation_mode"), 2),
    GRID_SAMPLE("cudnn_grid_sampler", IS(0), 2),
    GRID_BACKWARD("grid_sampler_2d_backward", VALUE("interpolation_mode"), 2, VALUE("output_mask")),
    GRID_BACKWARD("grid_sampler_3d_backward", VALUE("interpolation_mode"), 3, VALUE("output_mask")),
    GRID_BACKWARD("_grid_sampler_2d_cpu_fallback_backward", VALUE("interpolation_mode"), 2, IS(1)),
    GRID_BACKWARD("cudnn_grid_sampler_backward", IS(0), 2, IS(1)),
    /* Each coordinate is a row of theta times a position. */
    {"aten.affine_grid_generator", &ft_matmul, 0, {OUT, TENSOR("theta"), IS(0), IS(0), IS(0)}},
    {"aten.cudnn_affine_grid_generator",
     &ft_matmul,
     0,
     {OUT, TENSOR("theta"), IS(0), IS(0), IS(0)}},
};

const size_t ft_map_aten_images_count = FT_COUNT_OF(ft_map_aten_images);
