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

static inline ft_u128
ft_multiple(uint64_t factor, ft_u128 n)
{
    return ft_times(ft_u128_of(factor), n);
}

/* Adds as many multiply-accumulates for each matrix. */
static inline void
ft_matrix_mac(const ft_matrix *m, ft_u128 each, ft_cost *cost)
{
    ft_add_kind(cost, FT_MAC, ft_times(m->count, each));
}

#endif
