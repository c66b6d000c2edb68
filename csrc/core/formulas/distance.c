/* Distances between all pairs of rows, pair by pair or by a matrix product. */
/* SPDX-License-Identifier: MIT */
#include "formulas.h"

#define MAXIMUM_NORM UINT64_MAX

static void
add_times(ft_cost *cost, ft_u128 count, uint64_t arith, uint64_t compare, uint64_t special)
{
    ft_add_kind(cost, FT_ARITH, ft_times(count, ft_u128_of(arith)));
    ft_add_kind(cost, FT_COMPARE, ft_times(count, ft_u128_of(compare)));
    ft_add_kind(cost, FT_SPECIAL, ft_times(count, ft_u128_of(special)));
}

static ft_status
pair_distance(const ft_operand *operands, ft_cost *cost)
{
    ft_u128 pairs = ft_numel(&operands[0]), length = ft_dim(&operands[1], -1);
    const ft_operand *p = &operands[2];
    if (ft_u128_is_zero(length)) {
        return FT_OK;
    }
    ft_u128 each = ft_times(pairs, length);
    ft_u128 folds = ft_u128_subtract(each, pairs);
    add_times(cost, each, 1, 0, 0); /* the difference */
    if (p->present && p->number == 2) {
        add_times(cost, each, 1, 0, 0);
        add_times(cost, folds, 1, 0, 0);
        add_times(cost, pairs, 0, 0, 1);
    }
    else if (p->present && p->number == MAXIMUM_NORM) {
        add_times(cost, each, 0, 1, 0);
        add_times(cost, folds, 0, 1, 0);
    }
    else if (p->present && p->number <= 1) { /* a sum of absolute values, or a count of others */
        add_times(cost, each, 0, 1, 0);
        add_times(cost, folds, 1, 0, 0);
    }
    else {
        add_times(cost, each, 0, 1, 1);
        add_times(cost, folds, 1, 0, 0);
        add_times(cost, pairs, 0, 0, 1);
    }
    return FT_OK;
}

const ft_formula ft_pair_distance = {
    .name = "pair_distance",
    .equation = "per pair of rows of length m: m differences, m squares (p = 2), absolute values "
                "(p = 0, 1, inf) or both with a power, m - 1 folds, one root",
    .source = "definition of the p-norm of a difference, element by element",
    .op_class = FT_CLASS_REDUCTION,
    .evaluate = pair_distance,
    .roles = {{"output", FT_TENSOR}, {"rows", FT_TENSOR}, {"p", FT_OPTIONAL}},
    .examples =
        {
            {
                .text = "3 rows against 2 of length 4, p = 2: 6 pairs: 24 + 24 + 18 = 66, 6 roots",
                .operands = {FT_SHAPE_OF(3, 2), FT_SHAPE_OF(3, 4), FT_NUMBER_OF(2)},
                .cost = {{[FT_ARITH] = FT_COUNT(66), [FT_SPECIAL] = FT_COUNT(6)}},
            },
            {
                .text = "the same with p = 1: 24 differences, 24 absolute values, 18 additions",
                .operands = {FT_SHAPE_OF(3, 2), FT_SHAPE_OF(3, 4), FT_NUMBER_OF(1)},
                .cost = {{[FT_ARITH] = FT_COUNT(42), [FT_COMPARE] = FT_COUNT(24)}},
            },
        },
};

static ft_status
pair_distance_backward(const ft_operand *operands, ft_cost *cost)
{
    ft_u128 each = ft_times(ft_numel(&operands[0]), ft_dim(&operands[1], -1));
    const ft_operand *p = &operands[2];
    uint64_t targets = ft_flag(&operands[3]) ? 2 : 1; /* rows that a pair adds its share to */
    if (p->present && p->number == 0) {
        return FT_OK; /* a count has no gradient */
    }
    if (p->present && p->number == 2) {
        add_times(cost, each, 3 + targets, 0, 0); /* difference, times gradient, over distance */
    }
    else if (p->present && (p->number == 1 || p->number == MAXIMUM_NORM)) {
        add_times(cost, each, 2 + targets, p->number == 1 ? 1 : 2, 0);
    }
    else { /* difference * |difference|^(p-2) * gradient / distance^(p-1) */
        add_times(cost, each, 4 + targets, 1, 2);
    }
    return FT_OK;
}

const ft_formula ft_pair_distance_backward = {
    .name = "pair_distance_backward",
    .equation = "per pair and element: p = 2: difference, product, quotient and its addition to "
                "one row or both; p = 1, inf: the sign instead of the quotient; others: 2 powers",
    .source = "derivative of the p-norm of a difference",
    .op_class = FT_CLASS_REDUCTION,
    .evaluate = pair_distance_backward,
    .roles = {{"distances", FT_TENSOR}, {"rows", FT_TENSOR}, {"p", FT_OPTIONAL}, {"both", FT_FLAG}},
    .examples =
        {
            {
                .text = "3 rows against 2 of length 4, p = 2, gradient of the 3: 24*4 = 96",
                .operands = {FT_SHAPE_OF(3, 2), FT_SHAPE_OF(3, 4), FT_NUMBER_OF(2)},
                .cost = {{[FT_ARITH] = FT_COUNT(96)}},
            },
        },
};

/* |a|^2 - 2ab + |b|^2 as one product: the rows get two more columns, a norm and a one. */
static ft_status
euclidean_products(const ft_operand *operands, ft_cost *cost)
{
    ft_add_dots(cost, ft_numel(&operands[0]), ft_plus(ft_dim(&operands[1], -1), ft_u128_of(2)));
    return FT_OK;
}

const ft_formula ft_euclidean_products = {
    .name = "euclidean_products",
    .equation = "mac = pairs*(m + 2), dot = pairs; rows of length m",
    .source = "|a - b|^2 = [-2a, |a|^2, 1] . [b, 1, |b|^2], as ATen computes it",
    .op_class = FT_CLASS_MATMUL,
    .evaluate = euclidean_products,
    .roles = {{"output", FT_TENSOR}, {"rows", FT_TENSOR}},
    .examples =
        {
            {
                .text = "30 rows against 3 of length 4: 90 dots of 6",
                .operands = {FT_SHAPE_OF(30, 3), FT_SHAPE_OF(30, 4)},
                .cost = {{[FT_MAC] = FT_COUNT(540), [FT_DOT] = FT_COUNT(90)}},
            },
        },
};

static ft_status
euclidean_rest(const ft_operand *operands, ft_cost *cost)
{
    const ft_operand *output = &operands[0];
    for (int side = 1; side <= 2; side++) {
        ft_u128 elements = ft_numel(&operands[side]);
        add_times(cost, elements, 1, 0, 0);
        if (!ft_u128_is_zero(elements)) {
            int last = operands[side].shape.ndim - 1;
            ft_u128 rows = ft_shape_product(operands[side].shape, 0, last);
            add_times(cost, ft_u128_subtract(elements, rows), 1, 0, 0);
        }
    }
    add_times(cost, ft_numel(&operands[1]), 1, 0, 0); /* by -2 */
    add_times(cost, ft_numel(output), 0, 1, 1);
    return FT_OK;
}

const ft_formula ft_euclidean_rest = {
    .name = "euclidean_rest",
    .equation = "m squares and m - 1 additions per row of either side, m products by -2 per row of "
                "the first, a maximum and a root per pair",
    .source = "what is around the matrix product in |a|^2 - 2ab + |b|^2",
    .op_class = FT_CLASS_REDUCTION,
    .evaluate = euclidean_rest,
    .roles = {{"output", FT_TENSOR}, {"x1", FT_TENSOR}, {"x2", FT_TENSOR}},
    .examples =
        {
            {
                .text = "30 rows and 3 of length 4: 30*(4+3+4) + 3*(4+3) = 351; 90 maxima, roots",
                .operands = {FT_SHAPE_OF(30, 3), FT_SHAPE_OF(30, 4), FT_SHAPE_OF(3, 4)},
                .cost = {{[FT_ARITH] = FT_COUNT(351),
                          [FT_COMPARE] = FT_COUNT(90),
                          [FT_SPECIAL] = FT_COUNT(90)}},
            },
        },
};
