/* What the formulas of linear algebra share: batches of matrices. */
/* SPDX-License-Identifier: MIT */
#ifndef FT_LINALG_H
#define FT_LINALG_H

#include "formulas.h"

typedef struct {
    ft_u128 count, rows, columns, least, most;
} ft_matrix;

/* FT_BAD_SHAPE where there are fewer than two dimensions. */
ft_status ft_matrices(const ft_operand *tensor, ft_matrix *matrix);
ft_u128 ft_part(ft_u128 whole, uint64_t divisor); /* rounded down */
ft_u128 ft_less_one(ft_u128 n);                   /* 0 of 0 */
ft_u128 ft_cube(ft_u128 n);

#endif
