/* Pooling: so much per element of a window. */
/* SPDX-License-Identifier: MIT */
#include "formulas.h"

static ft_status
pool(const ft_operand *operands, ft_cost *cost)
{
    ft_u128 outputs = ft_numel(&operands[0]);
    ft_u128 reads = ft_times(outputs, ft_window(&operands[1], &operands[2]));
    ft_add_kind(cost, FT_ARITH, ft_times(reads, ft_number(&operands[3])));
    ft_add_kind(cost, FT_COMPARE, ft_times(ft_less(reads, outputs), ft_number(&operands[4])));
    ft_add_kind(cost, FT_ARITH, ft_times(outputs, ft_number(&operands[5])));
    return FT_OK;
}

const ft_formula ft_pool = {
    .name = "pool",
    .equation = "numel(output)*prod(K) window elements: arith of each, compare of each but the "
                "first of a window; arith of each output element",
    .source = "of K elements: maximum K - 1 comparisons; mean K - 1 additions and a division",
    .op_class = FT_CLASS_POOL,
    .evaluate = pool,
    .roles = {{"output", FT_TENSOR},
              {"kernel_size", FT_SIZES},
              {"rank", FT_NUMBER},
              {"arith", FT_NUMBER},
              {"compare", FT_NUMBER},
              {"end_arith", FT_NUMBER}},
    .examples =
        {
            {.text = "maximum over 3x3 to (1, 2, 5, 5), the window given as [3]: 50*8 = 400",
             .operands = {FT_SHAPE_OF(1, 2, 5, 5), FT_SHAPE_OF(3), FT_NUMBER_OF(2), FT_NUMBER_OF(0),
                          FT_NUMBER_OF(1), FT_NUMBER_OF(0)},
             .cost = {{[FT_COMPARE] = FT_COUNT(400)}}},
            {.text = "gradient of a mean over 2x3: 8 elements, each divided and added 6 times: 56",
             .operands = {FT_SHAPE_OF(2, 4), FT_SHAPE_OF(2, 3), FT_NUMBER_OF(2), FT_NUMBER_OF(1),
                          FT_NUMBER_OF(0), FT_NUMBER_OF(1)},
             .cost = {{[FT_ARITH] = FT_COUNT(56)}}},
        },
};

static ft_status
adaptive_pool(const ft_operand *operands, ft_cost *cost)
{
    ft_u128 reads = FT_U128_ZERO, outputs = ft_numel(&operands[1]);
    ft_status status = ft_adaptive_reads(&operands[0], &operands[1], operands[2].number, &reads);
    ft_add_kind(cost, FT_ARITH, ft_times(reads, ft_number(&operands[3])));
    ft_add_kind(cost, FT_COMPARE, ft_times(ft_less(reads, outputs), ft_number(&operands[4])));
    ft_add_kind(cost, FT_ARITH, ft_times(outputs, ft_number(&operands[5])));
    return status;
}

const ft_formula ft_adaptive_pool = {
    .name = "adaptive_pool",
    .equation =
        "leading * prod over dims of (n + m - gcd(n, m)) window elements: arith of each, compare "
        "of each but the first of a window; arith of each output element",
    .source = "windows floor(i*n/m) .. ceil((i + 1)*n/m)",
    .op_class = FT_CLASS_POOL,
    .evaluate = adaptive_pool,
    .roles = {{"input", FT_TENSOR},
              {"output", FT_TENSOR},
              {"rank", FT_NUMBER},
              {"arith", FT_NUMBER},
              {"compare", FT_NUMBER},
              {"end_arith", FT_NUMBER}},
    .examples = {{.text = "mean of 7x7 to 3x3, 4 channels: windows read 9 per dimension: 4*81",
                  .operands = {FT_SHAPE_OF(1, 4, 7, 7), FT_SHAPE_OF(1, 4, 3, 3), FT_NUMBER_OF(2),
                               FT_NUMBER_OF(1), FT_NUMBER_OF(0), FT_NUMBER_OF(0)},
                  .cost = {{[FT_ARITH] = FT_COUNT(324)}}}},
};
