/* Linear algebra by Householder reflections: QR, its factors, least squares. */
/* SPDX-License-Identifier: MIT */
#include "linalg.h"

/* s^2 (l - s/3), s the smaller and l the larger dimension. */
static ft_u128
reflections(const ft_matrix *m)
{
    ft_u128 square = ft_times(m->least, m->least);
    return ft_part(ft_u128_subtract(ft_multiple(3, ft_times(square, m->most)), ft_cube(m->least)),
                   3);
}

/* 2 m n k - (m + n) k^2 + 2 k^3 / 3: k reflections, as the first n columns of their product. */
static ft_u128
formed(ft_u128 rows, ft_u128 columns, ft_u128 k)
{
    ft_u128 plus =
        ft_plus(ft_multiple(6, ft_times(ft_times(rows, columns), k)), ft_multiple(2, ft_cube(k)));
    ft_u128 minus = ft_multiple(3, ft_times(ft_plus(rows, columns), ft_times(k, k)));
    return ft_part(ft_u128_subtract(plus, minus), 3);
}

/* k (2 m - k) per column of the matrix that they are applied to. */
static ft_u128
applied(ft_u128 rows, ft_u128 columns, ft_u128 k)
{
    return ft_times(columns, ft_times(k, ft_u128_subtract(ft_multiple(2, rows), k)));
}

static ft_status
geqrf(const ft_operand *operands, ft_cost *cost)
{
    ft_matrix m;
    ft_status status = ft_matrices(&operands[0], &m);
    if (status == FT_OK) {
        ft_matrix_mac(&m, reflections(&m), cost);
    }
    return status;
}

static ft_status
householder(const ft_operand *operands, ft_cost *cost)
{
    ft_matrix m;
    ft_status status = ft_matrices(&operands[0], &m);
    ft_u128 k = ft_dim(&operands[1], -1);
    if (status != FT_OK || ft_u128_compare(k, m.least) > 0) {
        return FT_BAD_SHAPE;
    }
    ft_matrix_mac(&m, formed(m.rows, m.columns, k), cost);
    return FT_OK;
}

static ft_status
ormqr(const ft_operand *operands, ft_cost *cost)
{
    ft_matrix m;
    ft_status status = ft_matrices(&operands[0], &m);
    ft_u128 k = ft_dim(&operands[1], -1);
    bool left = ft_flag(&operands[2]);
    if (status != FT_OK || ft_u128_compare(k, left ? m.rows : m.columns) > 0) {
        return FT_BAD_SHAPE;
    }
    ft_matrix_mac(&m, left ? applied(m.rows, m.columns, k) : applied(m.columns, m.rows, k), cost);
    return FT_OK;
}

/* Q is empty where only R is wanted. */
static ft_status
qr(const ft_operand *operands, ft_cost *cost)
{
    ft_matrix m, q;
    ft_status status = ft_matrices(&operands[0], &m);
    if (status != FT_OK) {
        return status;
    }
    ft_matrix_mac(&m, reflections(&m), cost);
    if (ft_matrices(&operands[1], &q) == FT_OK && !ft_u128_is_zero(ft_numel(&operands[1]))) {
        ft_matrix_mac(&m, formed(q.rows, q.columns, m.least), cost);
    }
    return FT_OK;
}

/* R is solved by s(s-1)/2 products and s divisions per right-hand side. */
static ft_status
lstsq(const ft_operand *operands, ft_cost *cost)
{
    ft_matrix m;
    ft_status status = ft_matrices(&operands[0], &m);
    const ft_operand *right = &operands[1];
    if (status != FT_OK) {
        return status;
    }
    ft_u128 sides = right->shape.ndim == operands[0].shape.ndim ? ft_dim(right, -1) : ft_u128_of(1);
    ft_u128 solved = ft_part(ft_times(m.least, ft_less_one(m.least)), 2);
    ft_matrix_mac(&m, reflections(&m), cost);
    ft_matrix_mac(&m, applied(m.most, sides, m.least), cost);
    ft_matrix_mac(&m, ft_times(sides, solved), cost);
    ft_add_kind(cost, FT_ARITH, ft_times(m.count, ft_times(sides, m.least)));
    return FT_OK;
}

#define GOLUB "Golub and Van Loan, Matrix Computations: "
#define LAPACK "LAPACK Working Note 41: "
#define LEADING "; to leading order, rounded down"

const ft_formula ft_geqrf = {
    .name = "geqrf",
    .equation = "per matrix: mac = s^2*(l - s/3), s = min(m, n), l = max(m, n)",
    .source = GOLUB "5.2, 2n^2(m - n/3) by Householder reflections" LEADING,
    .op_class = FT_CLASS_LINALG,
    .evaluate = geqrf,
    .roles = {{"matrix", FT_TENSOR}},
    .examples = {{
        .text = "4x3: 9*(4 - 1) = 27",
        .operands = {FT_SHAPE_OF(4, 3)},
        .cost = {{[FT_MAC] = FT_COUNT(27)}},
    }},
};

const ft_formula ft_householder = {
    .name = "householder",
    .equation = "per matrix: mac = 2*m*n*k - (m + n)*k^2 + 2*k^3/3; k reflections",
    .source = LAPACK "orgqr, 4mnk - 2(m + n)k^2 + 4k^3/3" LEADING,
    .op_class = FT_CLASS_LINALG,
    .evaluate = householder,
    .roles = {{"matrix", FT_TENSOR}, {"tau", FT_TENSOR}},
    .examples = {{
        .text = "4x3, 3 reflections: 72 - 63 + 18 = 27",
        .operands = {FT_SHAPE_OF(4, 3), FT_SHAPE_OF(3)},
        .cost = {{[FT_MAC] = FT_COUNT(27)}},
    }},
};

const ft_formula ft_ormqr = {
    .name = "ormqr",
    .equation = "other is m x n: mac = n*k*(2*m - k) from the left, m*k*(2*n - k) from the right",
    .source = LAPACK "ormqr, 2nk(2m - k)",
    .op_class = FT_CLASS_LINALG,
    .evaluate = ormqr,
    .roles = {{"other", FT_TENSOR}, {"tau", FT_TENSOR}, {"left", FT_FLAG}},
    .examples = {{
        .text = "3 reflections of 4 from the left on 4x3: 3*3*(8 - 3) = 45",
        .operands = {FT_SHAPE_OF(4, 3), FT_SHAPE_OF(3), FT_NUMBER_OF(1)},
        .cost = {{[FT_MAC] = FT_COUNT(45)}},
    }},
};

const ft_formula ft_qr = {
    .name = "qr",
    .equation = "geqrf, and householder with k = min(m, n) where Q is formed",
    .source = GOLUB "5.2" LEADING,
    .op_class = FT_CLASS_LINALG,
    .evaluate = qr,
    .roles = {{"matrix", FT_TENSOR}, {"q", FT_TENSOR}},
    .examples = {{
        .text = "4x3 with a Q of 4x3: 27 + 27",
        .operands = {FT_SHAPE_OF(4, 3), FT_SHAPE_OF(4, 3)},
        .cost = {{[FT_MAC] = FT_COUNT(54)}},
    }},
};

const ft_formula ft_lstsq = {
    .name = "lstsq",
    .equation = "geqrf, ormqr on the right-hand sides, and s(s-1)/2 mac and s arith for each",
    .source = GOLUB "5.3, Householder least squares" LEADING,
    .op_class = FT_CLASS_LINALG,
    .evaluate = lstsq,
    .roles = {{"matrix", FT_TENSOR}, {"right", FT_TENSOR}},
    .examples = {{
        .text = "4x3, 2 sides: 27 + 2*3*(8 - 3) + 2*3 = 63, 6 divisions",
        .operands = {FT_SHAPE_OF(4, 3), FT_SHAPE_OF(4, 2)},
        .cost = {{[FT_MAC] = FT_COUNT(63), [FT_ARITH] = FT_COUNT(6)}},
    }},
};
