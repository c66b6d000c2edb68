/* The rows of the layer table that are estimates or are taken as free; read under `layerwise`. */
/* SPDX-License-Identifier: MIT */
#include "formulas.h"

#define TABLE_SOURCE "layer table, an estimate"

static ft_status
per_element(const ft_operand *output, uint64_t times, ft_cost *cost)
{
    ft_add_kind(cost, FT_ARITH, ft_times(ft_u128_of(times), ft_numel(output)));
    return FT_OK;
}

static ft_status
five_per_element(const ft_operand *operands, ft_cost *cost)
{
    return per_element(&operands[0], 5, cost);
}

static ft_status
one_per_element(const ft_operand *operands, ft_cost *cost)
{
    return per_element(&operands[0], 1, cost);
}

static ft_status
nothing(const ft_operand *operands, ft_cost *cost)
{
    (void)operands;
    (void)cost;
    return FT_OK;
}

static ft_status
avg_pool(const ft_operand *operands, ft_cost *cost)
{
    ft_u128 window = ft_window(&operands[1], &operands[2]);
    ft_add_kind(cost, FT_ARITH, ft_times(ft_numel(&operands[0]), window));
    return FT_OK;
}

static int64_t
greatest_common_divisor(int64_t a, int64_t b)
{
    while (b != 0) {
        int64_t rest = a % b;
        a = b;
        b = rest;
    }
    return a;
}

/* Window i reads floor(i*n/m) .. ceil((i+1)*n/m). The windows tile n elements, and each inner
 * border that is not a whole number is read twice: m - gcd(n, m) of them. */
ft_status
ft_adaptive_reads(const ft_operand *input, const ft_operand *output, uint64_t rank, ft_u128 *reads)
{
    ft_shape from = input->shape, to = output->shape;
    if (from.ndim != to.ndim || rank > (uint64_t)from.ndim) {
        return FT_BAD_SHAPE;
    }
    int leading = to.ndim - (int)rank;
    *reads = ft_shape_product(to, 0, leading);
    for (int i = leading; i < to.ndim; i++) {
        int64_t n = from.dims[i], m = to.dims[i];
        uint64_t along = m == 0 ? 0 : (uint64_t)n + (uint64_t)(m - greatest_common_divisor(n, m));
        *reads = ft_times(*reads, ft_u128_of(along));
    }
    return FT_OK;
}

static ft_status
adaptive_avg_pool(const ft_operand *operands, ft_cost *cost)
{
    ft_u128 reads = FT_U128_ZERO;
    ft_status status = ft_adaptive_reads(&operands[0], &operands[1], operands[2].number, &reads);
    ft_add_kind(cost, FT_ARITH, reads);
    return status;
}

const ft_formula ft_norm_table = {
    .name = "norm_table",
    .equation = "arith = 5*numel(output)",
    .source = TABLE_SOURCE "; counted only with include_norm_cost",
    .op_class = FT_CLASS_NORM,
    .evaluate = five_per_element,
    .roles = {{"output", FT_TENSOR}},
    .examples = {{.text = "(2,8,4,4): 5*256 = 1280",
                  .operands = {FT_SHAPE_OF(2, 8, 4, 4)},
                  .cost = {{[FT_ARITH] = FT_COUNT(1280)}}}},
};

const ft_formula ft_softmax_table = {
    .name = "softmax_table",
    .equation = "arith = 5*numel(output)",
    .source = TABLE_SOURCE "; counted only with include_softmax_cost",
    .op_class = FT_CLASS_SOFTMAX,
    .evaluate = five_per_element,
    .roles = {{"output", FT_TENSOR}},
    .examples = {{.text = "(4,10): 5*40 = 200",
                  .operands = {FT_SHAPE_OF(4, 10)},
                  .cost = {{[FT_ARITH] = FT_COUNT(200)}}}},
};

const ft_formula ft_avg_pool_table = {
    .name = "avg_pool_table",
    .equation = "arith = numel(output) * prod(K)",
    .source = TABLE_SOURCE "; counted only with include_pooling_cost",
    .op_class = FT_CLASS_POOL,
    .evaluate = avg_pool,
    .roles = {{"output", FT_TENSOR}, {"kernel_size", FT_SIZES}, {"rank", FT_NUMBER}},
    .examples =
        {
            {.text = "AvgPool2d(2) to (1,6,14,14): 1176*2*2 = 4704",
             .operands = {FT_SHAPE_OF(1, 6, 14, 14), FT_NUMBER_OF(2), FT_NUMBER_OF(2)},
             .cost = {{[FT_ARITH] = FT_COUNT(4704)}}},
            {.text = "AvgPool2d((3,1)) to (1,2,5,5): 50*3 = 150",
             .operands = {FT_SHAPE_OF(1, 2, 5, 5), FT_SHAPE_OF(3, 1), FT_NUMBER_OF(2)},
             .cost = {{[FT_ARITH] = FT_COUNT(150)}}},
        },
};

const ft_formula ft_adaptive_avg_pool_table = {
    .name = "adaptive_avg_pool_table",
    .equation = "arith = leading * prod over spatial dims of (n + m - gcd(n, m)), from n to m",
    .source =
        TABLE_SOURCE ", prod(K) being the elements really read; only with include_pooling_cost",
    .op_class = FT_CLASS_POOL,
    .evaluate = adaptive_avg_pool,
    .roles = {{"input", FT_TENSOR}, {"output", FT_TENSOR}, {"rank", FT_NUMBER}},
    .examples =
        {
            {.text = "7x7 to 3x3: windows 0-2, 2-4, 4-6 read 9 per dimension, 81 per channel; 4*81",
             .operands = {FT_SHAPE_OF(1, 4, 7, 7), FT_SHAPE_OF(1, 4, 3, 3), FT_NUMBER_OF(2)},
             .cost = {{[FT_ARITH] = FT_COUNT(324)}}},
            {.text = "7x7 to 1x1 over 512 channels: 512*49 = 25088",
             .operands = {FT_SHAPE_OF(1, 512, 7, 7), FT_SHAPE_OF(1, 512, 1, 1), FT_NUMBER_OF(2)},
             .cost = {{[FT_ARITH] = FT_COUNT(25088)}}},
            {.text = "2 to 5 (5 windows of 1,1,2,1,1): 2 + 5 - 1 = 6",
             .operands = {FT_SHAPE_OF(1, 2), FT_SHAPE_OF(1, 5), FT_NUMBER_OF(1)},
             .cost = {{[FT_ARITH] = FT_COUNT(6)}}},
        },
};

const ft_formula ft_resample_table = {
    .name = "resample_table",
    .equation = "arith = numel(output)",
    .source = TABLE_SOURCE,
    .op_class = FT_CLASS_RESAMPLE,
    .evaluate = one_per_element,
    .roles = {{"output", FT_TENSOR}},
    .examples = {{.text = "(1,3,8,8): 192",
                  .operands = {FT_SHAPE_OF(1, 3, 8, 8)},
                  .cost = {{[FT_ARITH] = FT_COUNT(192)}}}},
};

#define FREE_FORMULA(variable, title, family, why) \
    const ft_formula variable = {                  \
        .name = title,                             \
        .equation = "0: " why,                     \
        .source = "layer table",                   \
        .op_class = family,                        \
        .evaluate = nothing,                       \
        .examples = {{.text = "always 0"}},        \
    }

FREE_FORMULA(ft_max_pool_free, "max_pool_free", FT_CLASS_POOL, "comparisons are neglected");
FREE_FORMULA(ft_activation_free, "activation_free", FT_CLASS_ACTIVATION,
             "activations are neglected");
FREE_FORMULA(ft_embedding_free, "embedding_free", FT_CLASS_EMBEDDING, "a lookup computes nothing");
FREE_FORMULA(ft_data_free, "data_free", FT_CLASS_DATA,
             "moves, masks or reshapes data, or works once per weight and not per sample");
