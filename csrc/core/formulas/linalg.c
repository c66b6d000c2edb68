/* Linear algebra in finitely many steps: triangular factors, their solutions, determinants. */
/* SPDX-License-Identifier: MIT */
#include "linalg.h"

ft_status
ft_matrices(const ft_operand *tensor, ft_matrix *matrix)
{
    int ndim = tensor->shape.ndim;
    if (ndim < 2) {
        return FT_BAD_SHAPE;
    }
    matrix->count = ft_shape_product(tensor->shape, 0, ndim - 2);
    matrix->rows = ft_dim(tensor, -2);
    matrix->columns = ft_dim(tensor, -1);
    matrix->least = ft_least(matrix->rows, matrix->columns);
    bool tall = ft_u128_compare(matrix->rows, matrix->columns) >= 0;
    matrix->most = tall ? matrix->rows : matrix->columns;
    return FT_OK;
}

ft_u128
ft_part(ft_u128 whole, uint64_t divisor)
{
    uint64_t remainder = 0;
    return ft_u128_divide(whole, divisor, &remainder);
}

ft_u128
ft_less_one(ft_u128 n)
{
    return ft_u128_is_zero(n) ? n : ft_u128_subtract(n, ft_u128_of(1));
}

ft_u128
ft_cube(ft_u128 n)
{
    return ft_times(n, ft_times(n, n));
}

static void
add_cholesky(const ft_matrix *m, bool roots, ft_cost *cost)
{
    ft_u128 n = m->rows, pairs = ft_part(ft_times(n, ft_less_one(n)), 2);
    ft_matrix_mac(m, ft_part(ft_u128_subtract(ft_cube(n), n), 6), cost);
    ft_add_kind(cost, FT_ARITH, ft_times(m->count, pairs));
    ft_add_kind(cost, FT_SPECIAL, roots ? ft_times(m->count, n) : FT_U128_ZERO);
}

static ft_status
cholesky(const ft_operand *operands, ft_cost *cost)
{
    ft_matrix m;
    ft_status status = ft_matrices(&operands[0], &m);
    if (status == FT_OK) {
        add_cholesky(&m, true, cost);
    }
    return status;
}

static ft_status
ldl(const ft_operand *operands, ft_cost *cost)
{
    ft_matrix m;
    ft_status status = ft_matrices(&operands[0], &m);
    if (status == FT_OK) {
        add_cholesky(&m, false, cost);
    }
    return status;
}

/* The sum of (m - k)(n - k) for k = 1..least, and as many divisions and comparisons as there are
 * elements under the diagonal. */
static void
add_lu(const ft_matrix *m, ft_cost *cost)
{
    ft_u128 r = m->least, one = ft_u128_of(1), next = ft_plus(r, one);
    ft_u128 sum = ft_part(ft_times(r, next), 2);
    ft_u128 squares = ft_part(ft_times(ft_times(r, next), ft_plus(ft_plus(r, r), one)), 6);
    ft_u128 all = ft_plus(ft_times(r, ft_times(m->rows, m->columns)), squares);
    ft_u128 below = ft_u128_subtract(ft_times(r, m->rows), sum);
    ft_u128 pairs = ft_u128_subtract(all, ft_times(ft_plus(m->rows, m->columns), sum));
    ft_matrix_mac(m, pairs, cost);
    ft_add_kind(cost, FT_ARITH, ft_times(m->count, below));
    ft_add_kind(cost, FT_COMPARE, ft_times(m->count, below));
}

static ft_status
lu(const ft_operand *operands, ft_cost *cost)
{
    ft_matrix m;
    ft_status status = ft_matrices(&operands[0], &m);
    if (status == FT_OK) {
        add_lu(&m, cost);
    }
    return status;
}

/* Each element of the solution takes n - 1 products on average of both triangles, and a division
 * for each triangle without ones on its diagonal. */
static void
add_triangles(const ft_operand *solution, ft_u128 n, int triangles, uint64_t divisions,
              ft_cost *cost)
{
    ft_u128 elements = ft_numel(solution), both = ft_times(elements, ft_less_one(n));
    ft_add_kind(cost, FT_MAC, triangles == 2 ? both : ft_part(both, 2));
    ft_add_kind(cost, FT_ARITH, ft_times(elements, ft_u128_of(divisions)));
}

static ft_status
triangular_solve(const ft_operand *operands, ft_cost *cost)
{
    add_triangles(&operands[0], ft_dim(&operands[1], -1), 1, ft_flag(&operands[2]) ? 0 : 1, cost);
    return FT_OK;
}

static ft_status
lu_solve(const ft_operand *operands, ft_cost *cost)
{
    add_triangles(&operands[0], ft_dim(&operands[1], -1), 2, 1, cost);
    return FT_OK;
}

static ft_status
cholesky_solve(const ft_operand *operands, ft_cost *cost)
{
    add_triangles(&operands[0], ft_dim(&operands[1], -1), 2, 2, cost);
    return FT_OK;
}

static ft_status
solve(const ft_operand *operands, ft_cost *cost)
{
    ft_status status = lu(&operands[1], cost);
    return status == FT_OK ? lu_solve(operands, cost) : status;
}

static ft_status
add_cube(const ft_operand *tensor, uint64_t times, uint64_t divisor, ft_cost *cost)
{
    ft_matrix m;
    ft_status status = ft_matrices(tensor, &m);
    if (status == FT_OK) {
        ft_u128 cubes = ft_times(ft_cube(m.rows), ft_u128_of(times));
        ft_matrix_mac(&m, ft_part(cubes, divisor), cost);
    }
    return status;
}

static ft_status
cholesky_inverse(const ft_operand *operands, ft_cost *cost)
{
    return add_cube(&operands[0], 1, 3, cost);
}

static ft_status
inverse(const ft_operand *operands, ft_cost *cost)
{
    return add_cube(&operands[0], 1, 1, cost);
}

static ft_status
det(const ft_operand *operands, ft_cost *cost)
{
    ft_matrix m;
    ft_status status = ft_matrices(&operands[0], &m);
    if (status == FT_OK) {
        add_lu(&m, cost);
        ft_add_kind(cost, FT_ARITH, ft_times(m.count, ft_less_one(m.rows)));
    }
    return status;
}

static ft_status
slogdet(const ft_operand *operands, ft_cost *cost)
{
    ft_matrix m;
    ft_status status = det(operands, cost);
    if (status == FT_OK && ft_matrices(&operands[0], &m) == FT_OK) {
        ft_add_kind(cost, FT_SPECIAL, ft_times(m.count, m.rows));
        ft_add_kind(cost, FT_COMPARE, ft_times(m.count, ft_times(m.rows, ft_u128_of(2))));
    }
    return status;
}

static ft_status
cross(const ft_operand *operands, ft_cost *cost)
{
    ft_add_kind(cost, FT_MAC, ft_numel(&operands[0]));
    ft_add_kind(cost, FT_ARITH, ft_numel(&operands[0]));
    return FT_OK;
}

#define GOLUB "Golub and Van Loan, Matrix Computations: "
#define MATRIX_ROLE             \
    {                           \
        {                       \
            "matrix", FT_TENSOR \
        }                       \
    }
#define SOLUTION_ROLES           \
    {                            \
        {"solution", FT_TENSOR}, \
        {                        \
            "matrix", FT_TENSOR  \
        }                        \
    }

const ft_formula ft_cholesky = {
    .name = "cholesky",
    .equation = "per matrix: mac = (n^3 - n)/6, arith = n(n-1)/2 divisions, special = n roots",
    .source = GOLUB "4.2, n^3/3 to leading order",
    .op_class = FT_CLASS_LINALG,
    .evaluate = cholesky,
    .roles = MATRIX_ROLE,
    .examples = {{
        .text = "two of 3x3: 2*(27 - 3)/6 = 8 pairs, 2*3 divisions, 2*3 roots",
        .operands = {FT_SHAPE_OF(2, 3, 3)},
        .cost = {{[FT_MAC] = FT_COUNT(8), [FT_ARITH] = FT_COUNT(6), [FT_SPECIAL] = FT_COUNT(6)}},
    }},
};

const ft_formula ft_ldl = {
    .name = "ldl",
    .equation = "per matrix: mac = (n^3 - n)/6, arith = n(n-1)/2 divisions",
    .source = GOLUB "4.4, n^3/3 to leading order; pivoting left out",
    .op_class = FT_CLASS_LINALG,
    .evaluate = ldl,
    .roles = MATRIX_ROLE,
    .examples = {{
        .text = "3x3: (27 - 3)/6 = 4 pairs, 3 divisions",
        .operands = {FT_SHAPE_OF(3, 3)},
        .cost = {{[FT_MAC] = FT_COUNT(4), [FT_ARITH] = FT_COUNT(3)}},
    }},
};

const ft_formula ft_lu = {
    .name = "lu",
    .equation = "per matrix: mac = sum over k of (m-k)(n-k), arith and compare = sum of m-k",
    .source = GOLUB "3.2 and 3.4, 2n^3/3 to leading order, with partial pivoting",
    .op_class = FT_CLASS_LINALG,
    .evaluate = lu,
    .roles = MATRIX_ROLE,
    .examples = {{
                     .text = "3x3: 2*2 + 1*1 = 5 pairs, 2 + 1 divisions and comparisons",
                     .operands = {FT_SHAPE_OF(3, 3)},
                     .cost = {{[FT_MAC] = FT_COUNT(5),
                               [FT_ARITH] = FT_COUNT(3),
                               [FT_COMPARE] = FT_COUNT(3)}},
                 },
                 {
                     .text = "4x2: 3*1 + 2*0 = 3 pairs, 3 + 2",
                     .operands = {FT_SHAPE_OF(4, 2)},
                     .cost = {{[FT_MAC] = FT_COUNT(3),
                               [FT_ARITH] = FT_COUNT(5),
                               [FT_COMPARE] = FT_COUNT(5)}},
                 }},
};

const ft_formula ft_triangular_solve = {
    .name = "triangular_solve",
    .equation = "per right-hand side: mac = n(n-1)/2, arith = n divisions, 0 with a unit diagonal",
    .source = GOLUB "3.1, n^2",
    .op_class = FT_CLASS_LINALG,
    .evaluate = triangular_solve,
    .roles = {{"solution", FT_TENSOR}, {"matrix", FT_TENSOR}, {"unit", FT_FLAG}},
    .examples = {{
        .text = "3x3, 2 right-hand sides: 2*3 pairs, 6 divisions",
        .operands = {FT_SHAPE_OF(3, 2), FT_SHAPE_OF(3, 3)},
        .cost = {{[FT_MAC] = FT_COUNT(6), [FT_ARITH] = FT_COUNT(6)}},
    }},
};

const ft_formula ft_lu_solve = {
    .name = "lu_solve",
    .equation = "per right-hand side: mac = n(n-1), arith = n divisions",
    .source = GOLUB "3.1, 2n^2: one triangle has ones on its diagonal; or D in between",
    .op_class = FT_CLASS_LINALG,
    .evaluate = lu_solve,
    .roles = SOLUTION_ROLES,
    .examples = {{
        .text = "3x3, 2 right-hand sides: 2*6 pairs, 6 divisions",
        .operands = {FT_SHAPE_OF(3, 2), FT_SHAPE_OF(3, 3)},
        .cost = {{[FT_MAC] = FT_COUNT(12), [FT_ARITH] = FT_COUNT(6)}},
    }},
};

const ft_formula ft_cholesky_solve = {
    .name = "cholesky_solve",
    .equation = "per right-hand side: mac = n(n-1), arith = 2n divisions",
    .source = GOLUB "3.1, 2n^2: two triangles",
    .op_class = FT_CLASS_LINALG,
    .evaluate = cholesky_solve,
    .roles = SOLUTION_ROLES,
    .examples = {{
        .text = "3x3, 2 right-hand sides: 2*6 pairs, 12 divisions",
        .operands = {FT_SHAPE_OF(3, 2), FT_SHAPE_OF(3, 3)},
        .cost = {{[FT_MAC] = FT_COUNT(12), [FT_ARITH] = FT_COUNT(12)}},
    }},
};

const ft_formula ft_solve = {
    .name = "solve",
    .equation = "lu and lu_solve",
    .source = GOLUB "3.4, 2n^3/3 and 2n^2 per right-hand side",
    .op_class = FT_CLASS_LINALG,
    .evaluate = solve,
    .roles = SOLUTION_ROLES,
    .examples = {{
        .text = "3x3, one right-hand side: 5 + 6 pairs, 3 + 3 divisions, 3 comparisons",
        .operands = {FT_SHAPE_OF(3), FT_SHAPE_OF(3, 3)},
        .cost = {{[FT_MAC] = FT_COUNT(11), [FT_ARITH] = FT_COUNT(6), [FT_COMPARE] = FT_COUNT(3)}},
    }},
};

const ft_formula ft_cholesky_inverse = {
    .name = "cholesky_inverse",
    .equation = "per matrix: mac = n^3/3, rounded down",
    .source = "LAPACK Working Note 41: 2n^3/3 from a Cholesky factor, to leading order",
    .op_class = FT_CLASS_LINALG,
    .evaluate = cholesky_inverse,
    .roles = MATRIX_ROLE,
    .examples = {{
        .text = "3x3: 27/3 = 9",
        .operands = {FT_SHAPE_OF(3, 3)},
        .cost = {{[FT_MAC] = FT_COUNT(9)}},
    }},
};

const ft_formula ft_inverse = {
    .name = "inverse",
    .equation = "per matrix: mac = n^3",
    .source = GOLUB "3.4, 2n^3 to leading order",
    .op_class = FT_CLASS_LINALG,
    .evaluate = inverse,
    .roles = MATRIX_ROLE,
    .examples = {{
        .text = "3x3: 27",
        .operands = {FT_SHAPE_OF(3, 3)},
        .cost = {{[FT_MAC] = FT_COUNT(27)}},
    }},
};

const ft_formula ft_det = {
    .name = "det",
    .equation = "lu, and arith = n - 1 products of its diagonal",
    .source = GOLUB "3.2",
    .op_class = FT_CLASS_LINALG,
    .evaluate = det,
    .roles = MATRIX_ROLE,
    .examples = {{
        .text = "3x3: 5 pairs, 3 divisions and 2 products, 3 comparisons",
        .operands = {FT_SHAPE_OF(3, 3)},
        .cost = {{[FT_MAC] = FT_COUNT(5), [FT_ARITH] = FT_COUNT(5), [FT_COMPARE] = FT_COUNT(3)}},
    }},
};

const ft_formula ft_slogdet = {
    .name = "slogdet",
    .equation =
        "lu, and of its diagonal n logarithms, n signs and absolute values, n - 1 additions",
    .source = GOLUB "3.2",
    .op_class = FT_CLASS_LINALG,
    .evaluate = slogdet,
    .roles = MATRIX_ROLE,
    .examples = {{
        .text = "3x3: 5 pairs, 3 + 2, comparisons 3 + 6, 3 logarithms",
        .operands = {FT_SHAPE_OF(3, 3)},
        .cost = {{[FT_MAC] = FT_COUNT(5),
                  [FT_ARITH] = FT_COUNT(5),
                  [FT_COMPARE] = FT_COUNT(9),
                  [FT_SPECIAL] = FT_COUNT(3)}},
    }},
};

const ft_formula ft_cross = {
    .name = "cross",
    .equation = "per element a product, and a product that is subtracted: arith = mac = numel",
    .source = "definition of the cross product: a2*b3 - a3*b2",
    .op_class = FT_CLASS_LINALG,
    .evaluate = cross,
    .roles = {{"output", FT_TENSOR}},
    .examples = {{
        .text = "4 vectors: 12 elements",
        .operands = {FT_SHAPE_OF(4, 3)},
        .cost = {{[FT_MAC] = FT_COUNT(12), [FT_ARITH] = FT_COUNT(12)}},
    }},
};
