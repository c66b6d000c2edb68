/* Work that folds a tensor into fewer elements: sums, means, maxima, norms, scans. */
/* SPDX-License-Identifier: MIT */
#include "formulas.h"

enum { INPUT, OUTPUT, FOLD_ARITH, FOLD_COMPARE, ARITH, COMPARE, SPECIAL, END_ARITH, END_SPECIAL };

static ft_status
reduction(const ft_operand *operands, ft_cost *cost)
{
    ft_u128 inputs = ft_elements(&operands[INPUT]), outputs = ft_elements(&operands[OUTPUT]);
    /* k elements are folded by k - 1 steps; of none, the neutral element comes for nothing. */
    ft_u128 folds = ft_less(inputs, outputs);
    ft_add_kind(cost, FT_ARITH, ft_times(folds, ft_number(&operands[FOLD_ARITH])));
    ft_add_kind(cost, FT_COMPARE, ft_times(folds, ft_number(&operands[FOLD_COMPARE])));
    ft_add_kind(cost, FT_ARITH, ft_times(inputs, ft_number(&operands[ARITH])));
    ft_add_kind(cost, FT_COMPARE, ft_times(inputs, ft_number(&operands[COMPARE])));
    ft_add_kind(cost, FT_SPECIAL, ft_times(inputs, ft_number(&operands[SPECIAL])));
    ft_add_kind(cost, FT_ARITH, ft_times(outputs, ft_number(&operands[END_ARITH])));
    ft_add_kind(cost, FT_SPECIAL, ft_times(outputs, ft_number(&operands[END_SPECIAL])));
    return FT_OK;
}

const ft_formula ft_reduction = {
    .name = "reduction",
    .equation = "(n - m) folds, n elements, m results: arith and compare per fold, then arith, "
                "compare and special per element, arith and special per result",
    .source = "k elements are folded in k - 1 steps",
    .op_class = FT_CLASS_REDUCTION,
    .evaluate = reduction,
    .roles = {{"input", FT_STORED},
              {"output", FT_STORED},
              {"fold_arith", FT_NUMBER},
              {"fold_compare", FT_NUMBER},
              {"arith", FT_NUMBER},
              {"compare", FT_NUMBER},
              {"special", FT_NUMBER},
              {"end_arith", FT_NUMBER},
              {"end_special", FT_NUMBER}},
    .examples =
        {
            {
                .text = "mean of (3, 4) over the last: 12 - 3 = 9 additions, 3 divisions",
                .operands = {FT_SHAPE_OF(3, 4), FT_SHAPE_OF(3), FT_NUMBER_OF(1), FT_NUMBER_OF(0),
                             FT_NUMBER_OF(0), FT_NUMBER_OF(0), FT_NUMBER_OF(0), FT_NUMBER_OF(1),
                             FT_NUMBER_OF(0)},
                .cost = {{[FT_ARITH] = FT_COUNT(12)}},
            },
            {
                .text = "sum of 7 entries in 5 places of a sparse tensor: 2 additions",
                .operands = {FT_NUMBER_OF(7), FT_NUMBER_OF(5), FT_NUMBER_OF(1), FT_NUMBER_OF(0),
                             FT_NUMBER_OF(0), FT_NUMBER_OF(0), FT_NUMBER_OF(0), FT_NUMBER_OF(0),
                             FT_NUMBER_OF(0)},
                .cost = {{[FT_ARITH] = FT_COUNT(2)}},
            },
        },
};

enum { TWO, ONE, ZERO, INFINITE, UNROOTED };

/* The norm of n elements, m of them left, by its order: |x| to the power, summed, and the root. */
static void
add_norm(ft_cost *cost, ft_u128 n, ft_u128 m, const ft_operand *orders)
{
    bool one = ft_flag(&orders[ONE]), zero = ft_flag(&orders[ZERO]), two = ft_flag(&orders[TWO]);
    bool infinite = ft_flag(&orders[INFINITE]), power = !one && !zero && !two && !infinite;
    ft_add_kind(cost, two ? FT_ARITH : FT_COMPARE, n); /* square, or absolute value */
    ft_add_kind(cost, infinite ? FT_COMPARE : FT_ARITH, ft_less(n, m));
    if (power) {
        ft_add_kind(cost, FT_SPECIAL, n);
    }
    if ((power || two) && !ft_flag(&orders[UNROOTED])) {
        ft_add_kind(cost, FT_SPECIAL, m);
    }
}

static ft_status
vector_norm(const ft_operand *operands, ft_cost *cost)
{
    add_norm(cost, ft_elements(&operands[0]), ft_elements(&operands[1]), &operands[2]);
    return FT_OK;
}

#define ORDER_ROLES                                                               \
    {"two", FT_FLAG}, {"one", FT_FLAG}, {"zero", FT_FLAG}, {"infinite", FT_FLAG}, \
    {                                                                             \
        "unrooted", FT_FLAG                                                       \
    }

const ft_formula ft_vector_norm = {
    .name = "vector_norm",
    .equation = "(n - m) folds, n elements, m results; order 2: arith = n + folds, special = m; 1 "
                "and 0: compare = n, arith = folds; infinite: compare = n + folds; else compare = "
                "n, special = n + m, arith = folds; unrooted: without m",
    .source = "definition of the p-norm",
    .op_class = FT_CLASS_REDUCTION,
    .evaluate = vector_norm,
    .roles = {{"input", FT_STORED}, {"output", FT_STORED}, ORDER_ROLES},
    .examples =
        {
            {.text = "Euclidean norm of (2, 3), whole: 6 squares, 5 additions, 1 root",
             .operands = {FT_SHAPE_OF(2, 3), FT_SHAPE_OF(1), FT_NUMBER_OF(1)},
             .cost = {{[FT_ARITH] = FT_COUNT(11), [FT_SPECIAL] = FT_COUNT(1)}}},
            {.text = "maximum norm of 4: 4 absolute values, 3 maxima",
             .operands = {FT_SHAPE_OF(4), FT_SHAPE_OF(1), FT_ABSENT, FT_ABSENT, FT_ABSENT,
                          FT_NUMBER_OF(1)},
             .cost = {{[FT_COMPARE] = FT_COUNT(7)}}},
            {.text = "order 3 of 4: 4 absolute values, 4 powers, 3 additions, 1 root",
             .operands = {FT_SHAPE_OF(4), FT_SHAPE_OF(1)},
             .cost = {{[FT_ARITH] = FT_COUNT(3),
                       [FT_COMPARE] = FT_COUNT(4),
                       [FT_SPECIAL] = FT_COUNT(5)}}},
        },
};

/* Elements of two tensors broadcast against each other. */
static ft_status
broadcast(ft_shape a, ft_shape b, ft_u128 *elements)
{
    *elements = ft_u128_of(1);
    for (int i = 1; i <= a.ndim || i <= b.ndim; i++) {
        int64_t one = i <= a.ndim ? a.dims[a.ndim - i] : 1;
        int64_t other = i <= b.ndim ? b.dims[b.ndim - i] : 1;
        if (one != other && one != 1 && other != 1) {
            return FT_BAD_SHAPE;
        }
        *elements = ft_times(*elements, ft_u128_of((uint64_t)(one == 1 ? other : one)));
    }
    return FT_OK;
}

static ft_status
distance(const ft_operand *operands, ft_cost *cost)
{
    ft_u128 elements = FT_U128_ZERO;
    ft_status status = broadcast(operands[0].shape, operands[1].shape, &elements);
    ft_add_kind(cost, FT_ARITH, elements);
    add_norm(cost, elements, ft_numel(&operands[2]), &operands[3]);
    return status;
}

const ft_formula ft_distance = {
    .name = "distance",
    .equation = "arith = n for the differences, then vector_norm",
    .source = "definition of the p-norm",
    .op_class = FT_CLASS_REDUCTION,
    .evaluate = distance,
    .roles = {{"a", FT_TENSOR}, {"b", FT_TENSOR}, {"output", FT_TENSOR}, ORDER_ROLES},
    .examples = {{.text = "(2, 3) and 3, Euclidean: 6 differences, 6 squares, 5 additions, 1 root",
                  .operands = {FT_SHAPE_OF(2, 3), FT_SHAPE_OF(3), FT_SHAPE_OF(1), FT_NUMBER_OF(1)},
                  .cost = {{[FT_ARITH] = FT_COUNT(17), [FT_SPECIAL] = FT_COUNT(1)}}}},
};

static ft_status
trace(const ft_operand *operands, ft_cost *cost)
{
    ft_shape matrix = operands[0].shape;
    if (matrix.ndim != 2) {
        return FT_BAD_SHAPE;
    }
    int64_t shorter = matrix.dims[0] < matrix.dims[1] ? matrix.dims[0] : matrix.dims[1];
    ft_add_kind(cost, FT_ARITH, ft_less(ft_u128_of((uint64_t)shorter), ft_u128_of(1)));
    return FT_OK;
}

const ft_formula ft_trace = {
    .name = "trace",
    .equation = "arith = min(rows, columns) - 1",
    .source = "sum of the diagonal",
    .op_class = FT_CLASS_REDUCTION,
    .evaluate = trace,
    .roles = {{"matrix", FT_TENSOR}},
    .examples = {{.text = "(3, 5): a diagonal of 3, 2 additions",
                  .operands = {FT_SHAPE_OF(3, 5)},
                  .cost = {{[FT_ARITH] = FT_COUNT(2)}}}},
};
