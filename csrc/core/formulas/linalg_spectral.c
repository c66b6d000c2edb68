/* Linear algebra by iterations: singular values, eigenvalues, functions of matrices. */
/* SPDX-License-Identifier: MIT */
#include "linalg.h"

static ft_u128
singular(const ft_matrix *m, bool vectors, bool all_vectors)
{
    ft_u128 s = m->least, l = m->most, cube = ft_cube(s), wide = ft_times(l, ft_times(s, s));
    if (!vectors) {
        return ft_part(ft_u128_subtract(ft_multiple(6, wide), ft_multiple(2, cube)), 3);
    }
    if (!all_vectors) {
        return ft_plus(ft_multiple(7, wide), ft_multiple(4, cube));
    }
    ft_u128 square = ft_multiple(4, ft_times(s, ft_times(l, l)));
    return ft_part(ft_plus(square, ft_plus(ft_multiple(8, wide), ft_multiple(9, cube))), 2);
}

static ft_status
svd(const ft_operand *operands, ft_cost *cost)
{
    ft_matrix m;
    ft_status status = ft_matrices(&operands[0], &m);
    if (status == FT_OK) {
        ft_matrix_mac(&m, singular(&m, ft_flag(&operands[1]), ft_flag(&operands[2])), cost);
    }
    return status;
}

/* With vectors. */
static ft_u128
symmetric(const ft_matrix *m)
{
    return ft_part(ft_multiple(9, ft_cube(m->rows)), 2);
}

static ft_status
eigh(const ft_operand *operands, ft_cost *cost)
{
    ft_matrix m;
    ft_status status = ft_matrices(&operands[0], &m);
    if (status == FT_OK) {
        bool vectors = ft_flag(&operands[1]);
        ft_matrix_mac(&m, vectors ? symmetric(&m) : ft_part(ft_multiple(2, ft_cube(m.rows)), 3),
                      cost);
    }
    return status;
}

static ft_status
eig(const ft_operand *operands, ft_cost *cost)
{
    ft_matrix m;
    ft_status status = ft_matrices(&operands[0], &m);
    if (status == FT_OK) {
        ft_u128 cube = ft_cube(m.rows);
        ft_matrix_mac(
            &m, ft_flag(&operands[1]) ? ft_part(ft_multiple(25, cube), 2) : ft_multiple(5, cube),
            cost);
    }
    return status;
}

static ft_status
matrix_exp(const ft_operand *operands, ft_cost *cost)
{
    ft_matrix m;
    ft_status status = ft_matrices(&operands[0], &m);
    if (status == FT_OK) {
        ft_matrix_mac(&m, ft_multiple(5, ft_cube(m.rows)), cost);
    }
    return status;
}

static ft_status
matrix_sqrth(const ft_operand *operands, ft_cost *cost)
{
    ft_matrix m;
    ft_status status = ft_matrices(&operands[0], &m);
    if (status == FT_OK) {
        ft_matrix_mac(&m, ft_plus(symmetric(&m), ft_cube(m.rows)), cost);
        ft_add_kind(cost, FT_ARITH, ft_times(m.count, ft_times(m.rows, m.rows)));
        ft_add_kind(cost, FT_COMPARE, ft_times(m.count, m.rows));
        ft_add_kind(cost, FT_SPECIAL, ft_times(m.count, m.rows));
    }
    return status;
}

static ft_status
polar(const ft_operand *operands, ft_cost *cost)
{
    ft_matrix m;
    ft_status status = ft_matrices(&operands[0], &m);
    if (status == FT_OK) {
        ft_u128 square = ft_times(m.columns, m.columns);
        ft_matrix_mac(&m, singular(&m, true, false), cost);
        ft_matrix_mac(&m, ft_times(square, ft_plus(m.rows, m.columns)), cost);
        ft_add_kind(cost, FT_ARITH, ft_times(m.count, square));
    }
    return status;
}

static ft_status
pinv(const ft_operand *operands, ft_cost *cost)
{
    ft_matrix m;
    ft_status status = ft_matrices(&operands[0], &m);
    if (status != FT_OK) {
        return status;
    }
    if (ft_flag(&operands[1])) {
        ft_matrix_mac(&m, symmetric(&m), cost);
    }
    else {
        ft_matrix_mac(&m, singular(&m, true, false), cost);
    }
    ft_matrix_mac(&m, ft_times(m.least, ft_times(m.rows, m.columns)), cost);
    ft_add_kind(cost, FT_ARITH, ft_times(m.count, ft_times(m.columns, m.least)));
    ft_add_kind(cost, FT_COMPARE, ft_times(m.count, m.least));
    return FT_OK;
}

#define GOLUB "Golub and Van Loan, Matrix Computations: "
#define LEADING "; to leading order, rounded down"

const ft_formula ft_svd = {
    .name = "svd",
    .equation = "per matrix, s = min, l = max: mac = 2*l*s^2 - 2*s^3/3 values alone, 7*l*s^2 + "
                "4*s^3 with vectors, (4*l^2*s + 8*l*s^2 + 9*s^3)/2 with all",
    .source = GOLUB "table 5.4.1 (3rd edition), Golub-Reinsch" LEADING,
    .op_class = FT_CLASS_LINALG,
    .evaluate = svd,
    .roles = {{"matrix", FT_TENSOR}, {"vectors", FT_FLAG}, {"all_vectors", FT_FLAG}},
    .examples = {{
                     .text = "4x3, values: 72 - 18 = 54",
                     .operands = {FT_SHAPE_OF(4, 3)},
                     .cost = {{[FT_MAC] = FT_COUNT(54)}},
                 },
                 {
                     .text = "4x3 with vectors: 252 + 108 = 360",
                     .operands = {FT_SHAPE_OF(4, 3), FT_NUMBER_OF(1)},
                     .cost = {{[FT_MAC] = FT_COUNT(360)}},
                 },
                 {
                     .text = "4x3 with all: (192 + 288 + 243)/2 = 361",
                     .operands = {FT_SHAPE_OF(4, 3), FT_NUMBER_OF(1), FT_NUMBER_OF(1)},
                     .cost = {{[FT_MAC] = FT_COUNT(361)}},
                 }},
};

const ft_formula ft_eigh = {
    .name = "eigh",
    .equation = "per matrix: mac = 9*n^3/2 with vectors, 2*n^3/3 without",
    .source = GOLUB "8.3, symmetric QR: 9n^3, 4n^3/3" LEADING,
    .op_class = FT_CLASS_LINALG,
    .evaluate = eigh,
    .roles = {{"matrix", FT_TENSOR}, {"vectors", FT_FLAG}},
    .examples = {{
        .text = "4x4 with vectors: 9*64/2 = 288",
        .operands = {FT_SHAPE_OF(4, 4), FT_NUMBER_OF(1)},
        .cost = {{[FT_MAC] = FT_COUNT(288)}},
    }},
};

const ft_formula ft_eig = {
    .name = "eig",
    .equation = "per matrix: mac = 25*n^3/2 with vectors, 5*n^3 without",
    .source = GOLUB "7.5, QR algorithm: 25n^3, 10n^3" LEADING,
    .op_class = FT_CLASS_LINALG,
    .evaluate = eig,
    .roles = {{"matrix", FT_TENSOR}, {"vectors", FT_FLAG}},
    .examples = {{
        .text = "4x4 with vectors: 25*64/2 = 800",
        .operands = {FT_SHAPE_OF(4, 4), FT_NUMBER_OF(1)},
        .cost = {{[FT_MAC] = FT_COUNT(800)}},
    }},
};

const ft_formula ft_matrix_exp = {
    .name = "matrix_exp",
    .equation = "per matrix: mac = 5*n^3, the products of a Taylor polynomial of degree 18",
    .source = "Bader, Blanes, Casas 2019, as ATen; how often it squares, or takes a lower degree, "
              "depends on the values and is left out",
    .op_class = FT_CLASS_LINALG,
    .evaluate = matrix_exp,
    .roles = {{"matrix", FT_TENSOR}},
    .examples = {{
        .text = "3x3: 5*27 = 135",
        .operands = {FT_SHAPE_OF(3, 3)},
        .cost = {{[FT_MAC] = FT_COUNT(135)}},
    }},
};

const ft_formula ft_matrix_sqrth = {
    .name = "matrix_sqrth",
    .equation =
        "per matrix: eigh with vectors, n comparisons with 0, n roots, n^2 arith, mac = n^3",
    .source = "V sqrt(W) V^T from the eigenvalues W" LEADING,
    .op_class = FT_CLASS_LINALG,
    .evaluate = matrix_sqrth,
    .roles = {{"matrix", FT_TENSOR}},
    .examples = {{
        .text = "4x4: 9*64/2 + 64 = 352, 16 scaled, 4 comparisons, 4 roots",
        .operands = {FT_SHAPE_OF(4, 4)},
        .cost = {{[FT_MAC] = FT_COUNT(352),
                  [FT_ARITH] = FT_COUNT(16),
                  [FT_COMPARE] = FT_COUNT(4),
                  [FT_SPECIAL] = FT_COUNT(4)}},
    }},
};

const ft_formula ft_polar = {
    .name = "polar",
    .equation = "per m x n matrix: svd with vectors, mac = m*n^2 + n^3, n^2 arith",
    .source = "U V^T and V S V^T from the singular values S" LEADING,
    .op_class = FT_CLASS_LINALG,
    .evaluate = polar,
    .roles = {{"matrix", FT_TENSOR}},
    .examples = {{
        .text = "4x3: 360 of the svd + 4*9 + 27 = 423, 9 scaled",
        .operands = {FT_SHAPE_OF(4, 3)},
        .cost = {{[FT_MAC] = FT_COUNT(423), [FT_ARITH] = FT_COUNT(9)}},
    }},
};

const ft_formula ft_pinv = {
    .name = "pinv",
    .equation = "svd with vectors (eigh where hermitian), s divisions of n each, mac = s*m*n",
    .source = GOLUB "5.5, V S^-1 U^T" LEADING,
    .op_class = FT_CLASS_LINALG,
    .evaluate = pinv,
    .roles = {{"matrix", FT_TENSOR}, {"hermitian", FT_FLAG}},
    .examples = {{
        .text = "4x3: 360 + 36 = 396, 3*3 divisions, 3 comparisons",
        .operands = {FT_SHAPE_OF(4, 3)},
        .cost = {{[FT_MAC] = FT_COUNT(396), [FT_ARITH] = FT_COUNT(9), [FT_COMPARE] = FT_COUNT(3)}},
    }},
};
