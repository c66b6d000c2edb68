/* ATen's matrix products, dense and sparse, and what is made of them. */
/* SPDX-License-Identifier: MIT */
#include "aten_rows.h"

#define PRODUCT(op, left, right)                                                  \
    {                                                                             \
        "aten." op, &ft_matmul, 0,                                                \
        {                                                                         \
            OUT, TENSOR(left), IS(0), IS(0), IS(0), ENTRIES(left), ENTRIES(right) \
        }                                                                         \
    }
#define ADDED(op, left, right)                                                                  \
    {                                                                                           \
        "aten." op, &ft_matmul, 0,                                                              \
        {                                                                                       \
            OUT, TENSOR(left), NONZERO("beta"), SCALED("alpha"), SCALED("beta"), ENTRIES(left), \
                ENTRIES(right)                                                                  \
        }                                                                                       \
    }
#define DENSE(op, left, bias, scale)           \
    {                                          \
        "aten." op, &ft_matmul, 0,             \
        {                                      \
            OUT, TENSOR(left), bias, IS(scale) \
        }                                      \
    }
#define GROUPED(op)                                            \
    {                                                          \
        "aten." op, &ft_matmul_grouped, 0,                     \
        {                                                      \
            OUT, TENSOR("self"), TENSOR("mat2"), GIVEN("bias") \
        }                                                      \
    }
/* Packed weights know their output features alone by the result, which is all it takes. */
#define PACKED_LINEAR(op)                         \
    {                                             \
        op, &ft_matmul, 0,                        \
        {                                         \
            OUT, TENSOR("X"), PACKED("W_prepack") \
        }                                         \
    }
#define RELU(op)                     \
    {                                \
        op, &ft_activation, 0,       \
        {                            \
            OUT, IS(0), IS(1), IS(0) \
        }                            \
    }

const ft_map_row ft_map_aten_contractions[] = {
    PRODUCT("mm", "self", "mat2"),
    PRODUCT("bmm", "self", "mat2"),
    PRODUCT("mv", "self", "vec"),
    PRODUCT("dot", "self", "tensor"),
    PRODUCT("vdot", "self", "other"),
    PRODUCT("hspmm", "mat1", "mat2"),
    PRODUCT("_int_mm", "self", "mat2"),
    ADDED("addmm", "mat1", "mat2"),
    ADDED("_sparse_addmm", "mat1", "mat2"),
    ADDED("addmv", "mat", "vec"),
    ADDED("baddbmm", "batch1", "batch2"),
    ADDED("_addmm_activation", "mat1", "mat2"),
    {"aten._addmm_activation", &ft_relu_or_gelu, 0, {OUT, VALUE("use_gelu")}},
    {"aten.addr", &ft_outer, 0, {OUT, NONZERO("beta"), SCALED("alpha"), SCALED("beta")}},
    {"aten.addbmm",
     &ft_matmul_summed,
     0,
     {OUT, TENSOR("batch1"), NONZERO("beta"), SCALED("alpha"), SCALED("beta")}},

    DENSE("linear.out", "input", GIVEN("bias"), 0), /* the others are taken apart */
    DENSE("_scaled_mm", "self", GIVEN("bias"), 0),
    PER(ft_pointwise, "_scaled_mm", 0, OUT, 2, 0, 0, GIVEN("scale_result")),
    DENSE("_scaled_mm_v2", "self", GIVEN("bias"), 0),
    PER(ft_pointwise, "_scaled_mm_v2", 0, OUT, 2, 0, 0, IS(0)),
    ADDED("_scaled_addmm", "mat1", "mat2"),
    PER(ft_pointwise, "_scaled_addmm", 0, OUT, 2, 0, 0, IS(0)),
    GROUPED("_grouped_mm"),
    GROUPED("_scaled_grouped_mm"),
    PER(ft_pointwise, "_scaled_grouped_mm", 0, OUT, 2, 0, 0, GIVEN("scale_result")),
    GROUPED("_scaled_grouped_mm_v2"),
    PER(ft_pointwise, "_scaled_grouped_mm_v2", 0, OUT, 2, 0, 0, IS(0)),
    DENSE("_dyn_quant_matmul_4bit", "inp", IS(0), 0),
    DENSE("_weight_int8pack_mm", "self", IS(0), 1),
    DENSE("_weight_int4pack_mm", "self", IS(0), 0),
    DENSE("_weight_int4pack_mm_for_cpu", "self", IS(0), 0),
    DENSE("_weight_int4pack_mm_with_scales_and_zeros", "self", IS(0), 0),
    DENSE("_mixed_dtypes_linear", "input", GIVEN("bias"), 0),
    DENSE("mkldnn_linear", "self", GIVEN("bias"), 0),
    DENSE("mkldnn_linear_backward_input", "grad_output", IS(0), 0),
    {"aten.mkldnn_linear_backward_weights",
     &ft_linear_weights_backward,
     0,
     {TENSOR("grad_output"), TENSOR("input"), VALUE("bias_defined")}},
    {"aten.mkldnn_linear_backward",
     &ft_linear_backward,
     0,
     {TENSOR("grad_output"), TENSOR("self"), VALUE("output_mask")}},
    {"aten.linear_backward",
     &ft_linear_backward,
     0,
     {TENSOR("grad_output"), TENSOR("self"), VALUE("output_mask")}},
    PACKED_LINEAR("quantized.linear_dynamic"),
    PACKED_LINEAR("quantized.linear_dynamic_fp16"),
    PACKED_LINEAR("quantized.linear_relu_dynamic"),
    RELU("quantized.linear_relu_dynamic"),
    PACKED_LINEAR("quantized.linear_relu_dynamic_fp16"),
    RELU("quantized.linear_relu_dynamic_fp16"),
    PACKED_LINEAR("_quantized.linear_dynamic"),

    /* A matrix with 2 of 4 entries is stored as its entries: half as wide. */
    DENSE("_sparse_semi_structured_mm", "mat1", IS(0), 0),
    DENSE("_sparse_semi_structured_linear", "weight", GIVEN("bias"), 0),
    {"aten._sparse_semi_structured_addmm",
     &ft_matmul,
     0,
     {OUT, TENSOR("mat1"), NONZERO("beta"), SCALED("alpha"), SCALED("beta")}},
    {"aten.sparse_sampled_addmm",
     &ft_sampled_matmul,
     0,
     {ENTRIES("self"), TENSOR("mat1"), NONZERO("beta"), SCALED("alpha"), SCALED("beta")}},
    {"aten._sparse_mm_reduce_impl", &ft_sparse_reduce, 0, {ENTRIES("self"), TENSOR("other"), OUT}},
    {"aten._sparse_mm_reduce_impl_backward",
     &ft_sparse_reduce_backward,
     0,
     {ENTRIES("self"), TENSOR("weight"), VALUE("output_mask")}},

    {"aten.sspaddmm",
     &ft_matmul,
     0,
     {OUT, TENSOR("mat1"), IS(0), IS(0), IS(0), ENTRIES("mat1"), NOTHING}},
    PER(ft_pointwise, "sspaddmm", 0, ENTRIES("mat1"), 0, 0, 0, SCALED("alpha")),
    PER(ft_pointwise, "sspaddmm", 0, ENTRIES("self"), 0, 0, 0, SCALED("beta")),
    /* Sums of terms of a polynomial of matrices. */
    {"aten._compute_linear_combination", &ft_matmul, 0, {OUT, TENSOR("coefficients")}},

    {"aten._trilinear",
     &ft_trilinear,
     0,
     {TENSOR("i1"), TENSOR("i2"), TENSOR("i3"), VALUE("expand1"), VALUE("expand2"),
      VALUE("expand3"), VALUE("sumdim")}},
    {"aten._cdist_forward", &ft_pair_distance, 0, {OUT, TENSOR("x1"), VALUE("p")}},
    {"aten._cdist_backward",
     &ft_pair_distance_backward,
     0,
     {TENSOR("cdist"), TENSOR("x1"), VALUE("p"), IS(0)}},
    {"aten._pdist_forward", &ft_pair_distance, 0, {OUT, TENSOR("self"), VALUE("p")}},
    {"aten._pdist_backward",
     &ft_pair_distance_backward,
     0,
     {TENSOR("pdist"), TENSOR("self"), VALUE("p"), IS(1)}},
    {"aten._euclidean_dist", &ft_euclidean_products, 0, {OUT, TENSOR("x1")}},
    {"aten._euclidean_dist", &ft_euclidean_rest, 0, {OUT, TENSOR("x1"), TENSOR("x2")}},

    {"aten._embedding_bag",
     &ft_embedding_bag,
     0,
     {OUT, TENSOR("indices"), VALUE("mode"), GIVEN("per_sample_weights")}},
    {"aten._embedding_bag_forward_only",
     &ft_embedding_bag,
     0,
     {OUT, TENSOR("indices"), VALUE("mode"), GIVEN("per_sample_weights")}},
    {"aten._embedding_bag_backward",
     &ft_embedding_bag_backward,
     0,
     {TENSOR("grad"), TENSOR("indices"), VALUE("mode"), GIVEN("per_sample_weights"),
      VALUE("scale_grad_by_freq")}},
    {"aten._embedding_bag_dense_backward",
     &ft_embedding_bag_backward,
     0,
     {TENSOR("grad"), TENSOR("indices"), VALUE("mode"), GIVEN("per_sample_weights"),
      VALUE("scale_grad_by_freq")}},
    {"aten._embedding_bag_per_sample_weights_backward",
     &ft_embedding_bag_weights_backward,
     0,
     {TENSOR("indices"), TENSOR("grad")}},
    {"aten.embedding_dense_backward",
     &ft_embedding_backward,
     0,
     {TENSOR("grad_output"), VALUE("scale_grad_by_freq")}},
};

const size_t ft_map_aten_contractions_count = FT_COUNT_OF(ft_map_aten_contractions);
