/* Counts of several processes added up by something that adds only 64-bit integers. */
/* SPDX-License-Identifier: MIT */
#ifndef FT_LIMBS_H
#define FT_LIMBS_H

#include "ft_u128.h"

/* Four limbs of 32 bits, how many of the counts overflowed, and who took part: how many, and the
 * sum of their tags. Each is below 2^32, so 2^31 of them fit into an int64. */
enum { FT_LIMB_COUNT = 7, FT_LIMBS_MOST = 1 << 30 };

void ft_limbs_split(ft_u128 count, uint32_t tag, int64_t limbs[FT_LIMB_COUNT]);
/* The sum of `parts` counts, of which limbs[i] is the sum of their limbs; the overflow mark where
 * one had it or 128 bits are too few. FT_BAD_SUM where it is not that of so many with this tag. */
ft_status ft_limbs_join(const int64_t limbs[FT_LIMB_COUNT], uint32_t tag, uint32_t parts,
                        ft_u128 *sum);

#endif
