/* ATen's linear algebra and Fourier transforms. */
/* SPDX-License-Identifier: MIT */
#include "aten_rows.h"

/* Arithmetic beside the pairs are divisions. */
#define ALGEBRA(op, formula, ...)              \
    {                                          \
        "aten." op, &formula, FT_ROW_PRODUCTS, \
        {                                      \
            __VA_ARGS__                        \
        }                                      \
    }
/* The first result is real where the matrix is complex, or the other way round. */
#define SPECTRUM(op, formula, ...)                               \
    {                                                            \
        "aten." op, &formula, FT_ROW_PRODUCTS | FT_ROW_ARGUMENT, \
        {                                                        \
            __VA_ARGS__                                          \
        }                                                        \
    }

const ft_map_row ft_map_aten_linalg[] = {
    ALGEBRA("cholesky", ft_cholesky, TENSOR("self")),
    ALGEBRA("linalg_cholesky_ex", ft_cholesky, TENSOR("self")),
    ALGEBRA("cholesky_solve", ft_cholesky_solve, OUT, TENSOR("input2")),
    ALGEBRA("_cholesky_solve_helper", ft_cholesky_solve, OUT, TENSOR("A")),
    ALGEBRA("cholesky_inverse", ft_cholesky_inverse, TENSOR("self")),
    ALGEBRA("linalg_lu", ft_lu, TENSOR("A")),
    ALGEBRA("linalg_lu_factor_ex", ft_lu, TENSOR("A")),
    ALGEBRA("linalg_lu_solve", ft_lu_solve, OUT, TENSOR("LU")),
    ALGEBRA("linalg_ldl_factor_ex", ft_ldl, TENSOR("self")),
    ALGEBRA("linalg_ldl_solve", ft_lu_solve, OUT, TENSOR("LD")),
    ALGEBRA("_linalg_solve_ex", ft_solve, OUT, TENSOR("A")),
    ALGEBRA("linalg_solve_triangular", ft_triangular_solve, OUT, TENSOR("self"),
            VALUE("unitriangular")),
    ALGEBRA("triangular_solve", ft_triangular_solve, OUT, TENSOR("A"), VALUE("unitriangular")),
    ALGEBRA("linalg_inv_ex", ft_inverse, TENSOR("A")),
    ALGEBRA("_linalg_det", ft_det, TENSOR("A")),
    ALGEBRA("_linalg_slogdet", ft_slogdet, TENSOR("A")),
    ALGEBRA("linalg_cross", ft_cross, OUT),
    ALGEBRA("geqrf", ft_geqrf, TENSOR("self")),
    ALGEBRA("linalg_householder_product", ft_householder, TENSOR("input"), TENSOR("tau")),
    ALGEBRA("ormqr", ft_ormqr, TENSOR("input3"), TENSOR("input2"), VALUE("left")),
    ALGEBRA("linalg_qr", ft_qr, TENSOR("A"), OUT),
    ALGEBRA("linalg_lstsq", ft_lstsq, TENSOR("self"), TENSOR("b")),
    ALGEBRA("linalg_matrix_exp", ft_matrix_exp, TENSOR("self")),
    ALGEBRA("linalg_matrix_sqrth", ft_matrix_sqrth, TENSOR("self")),
    ALGEBRA("linalg_polar", ft_polar, TENSOR("A")),
    ALGEBRA("linalg_pinv", ft_pinv, TENSOR("self"), VALUE("hermitian")),
    SPECTRUM("_linalg_svd", ft_svd, TENSOR("A"), VALUE("compute_uv"), VALUE("full_matrices")),
    SPECTRUM("_linalg_eigh", ft_eigh, TENSOR("A"), VALUE("compute_v")),
    SPECTRUM("linalg_eig", ft_eig, TENSOR("self"), IS(1)),
    SPECTRUM("_linalg_eigvals", ft_eig, TENSOR("self"), IS(0)),
    SPECTRUM("linalg_eigvals", ft_eig, TENSOR("self"), IS(0)), /* with out= */

    {"aten._fft_c2c", &ft_fft, FT_ROW_REAL, {TENSOR("self"), VALUE("dim")}},
    {"aten._fft_r2c", &ft_fft_real, FT_ROW_REAL, {TENSOR("self"), VALUE("dim"), OUT}},
    {"aten._fft_c2r", &ft_fft_real, FT_ROW_REAL, {OUT, VALUE("dim"), TENSOR("self")}},

    ZERO("lu_unpack", ft_data_free),
    ZERO("_linalg_check_errors", ft_data_free),
};

const size_t ft_map_aten_linalg_count = FT_COUNT_OF(ft_map_aten_linalg);
