/* Work along one dimension: scans, and what puts elements in order. */
/* SPDX-License-Identifier: MIT */
#include "formulas.h"

static uint64_t
steps_of_bisection(uint64_t length)
{
    uint64_t steps = 0;
    for (uint64_t reach = 1; reach < length && steps < 64; steps++) {
        reach *= 2;
    }
    return steps;
}

static ft_u128
rows_of(ft_u128 elements, uint64_t length)
{
    uint64_t rest = 0;
    return length == 0 ? FT_U128_ZERO : ft_u128_divide(elements, length, &rest);
}

static ft_status
scan(const ft_operand *operands, ft_cost *cost)
{
    ft_u128 elements = ft_numel(&operands[0]);
    ft_u128 steps = ft_less(elements, rows_of(elements, operands[1].number));
    ft_add_kind(cost, FT_ARITH, ft_times(steps, ft_number(&operands[2])));
    ft_add_kind(cost, FT_COMPARE, ft_times(steps, ft_number(&operands[3])));
    ft_add_kind(cost, FT_SPECIAL, ft_times(steps, ft_number(&operands[4])));
    return FT_OK;
}

const ft_formula ft_scan = {
    .name = "scan",
    .equation = "(n - n/length) steps: arith, compare and special of each",
    .source = "the first element of each row is taken as it is",
    .op_class = FT_CLASS_REDUCTION,
    .evaluate = scan,
    .roles = {{"tensor", FT_TENSOR},
              {"length", FT_NUMBER},
              {"arith", FT_NUMBER},
              {"compare", FT_NUMBER},
              {"special", FT_NUMBER}},
    .examples = {{.text = "cumsum of (3, 4) along the last: 3 rows of 3 additions",
                  .operands = {FT_SHAPE_OF(3, 4), FT_NUMBER_OF(4), FT_NUMBER_OF(1), FT_NUMBER_OF(0),
                               FT_NUMBER_OF(0)},
                  .cost = {{[FT_ARITH] = FT_COUNT(9)}}}},
};

static ft_status
sort(const ft_operand *operands, ft_cost *cost)
{
    ft_u128 elements = ft_numel(&operands[0]);
    uint64_t length = operands[1].number;
    ft_add_kind(cost, FT_COMPARE, ft_times(elements, ft_u128_of(steps_of_bisection(length))));
    if (ft_flag(&operands[2])) {
        ft_add_kind(cost, FT_COMPARE, ft_less(elements, rows_of(elements, length)));
    }
    return FT_OK;
}

const ft_formula ft_sort = {
    .name = "sort",
    .equation = "compare = n*ceil(log2(length)), and n - n/length to find equal neighbours",
    .source = "merge sort: Cormen et al., Introduction to Algorithms",
    .op_class = FT_CLASS_REDUCTION,
    .evaluate = sort,
    .roles = {{"tensor", FT_TENSOR}, {"length", FT_NUMBER}, {"neighbours", FT_FLAG}},
    .examples =
        {
            {.text = "3 rows of 5: 15*ceil(log2(5)) = 15*3",
             .operands = {FT_SHAPE_OF(3, 5), FT_NUMBER_OF(5)},
             .cost = {{[FT_COMPARE] = FT_COUNT(45)}}},
            {.text = "the mode of 4: sorted by 4*2, then 3 pairs of neighbours: 11",
             .operands = {FT_SHAPE_OF(4), FT_NUMBER_OF(4), FT_NUMBER_OF(1)},
             .cost = {{[FT_COMPARE] = FT_COUNT(11)}}},
        },
};

static ft_status
binary_search(const ft_operand *operands, ft_cost *cost)
{
    ft_u128 elements = ft_numel(&operands[0]), edges = ft_numel(&operands[1]);
    ft_add_kind(cost, FT_COMPARE, ft_times(elements, ft_u128_of(steps_of_bisection(edges.lo))));
    ft_add_kind(cost, FT_ARITH, elements);
    return FT_OK;
}

const ft_formula ft_binary_search = {
    .name = "binary_search",
    .equation = "compare = n*ceil(log2(edges)), arith = n: each element found and added to its bin",
    .source = "bisection",
    .op_class = FT_CLASS_REDUCTION,
    .evaluate = binary_search,
    .roles = {{"tensor", FT_TENSOR}, {"edges", FT_TENSOR}},
    .examples = {{.text = "10 elements, 5 edges: 10*3 comparisons, 10 additions",
                  .operands = {FT_SHAPE_OF(10), FT_SHAPE_OF(5)},
                  .cost = {{[FT_ARITH] = FT_COUNT(10), [FT_COMPARE] = FT_COUNT(30)}}}},
};
