/* Unsigned 128-bit counts that never wrap: the largest value means "overflowed" and is sticky. */
/* SPDX-License-Identifier: MIT */
#ifndef FT_U128_H
#define FT_U128_H

#include "ft_base.h"

/* 2^128 - 1 in both halves is the overflow mark, so a count needs no flag beside it: whatever is
 * computed from an overflowed count has overflowed too. */
typedef struct {
    uint64_t lo, hi;
} ft_u128;

#define FT_U128_ZERO ((ft_u128){0, 0})
#define FT_U128_OVERFLOW ((ft_u128){UINT64_MAX, UINT64_MAX})
#define FT_U128_TEXT_SIZE 40 /* 39 digits and the end */

static inline ft_u128
ft_u128_of(uint64_t value)
{
    return (ft_u128){value, 0};
}

static inline bool
ft_u128_overflowed(ft_u128 a)
{
    return a.lo == UINT64_MAX && a.hi == UINT64_MAX;
}

static inline bool
ft_u128_is_zero(ft_u128 a)
{
    return (a.lo | a.hi) == 0;
}

/* -1, 0 or 1. */
static inline int
ft_u128_compare(ft_u128 a, ft_u128 b)
{
    if (a.hi != b.hi) {
        return a.hi < b.hi ? -1 : 1;
    }
    return a.lo == b.lo ? 0 : (a.lo < b.lo ? -1 : 1);
}

static inline ft_u128
ft_u128_add(ft_u128 a, ft_u128 b)
{
    ft_u128 sum = {a.lo + b.lo, 0};
    uint64_t carry = sum.lo < a.lo;
    sum.hi = a.hi + b.hi;
    bool wrapped = sum.hi < a.hi;
    sum.hi += carry;
    wrapped = wrapped || sum.hi < carry;
    if (wrapped || ft_u128_overflowed(a) || ft_u128_overflowed(b)) {
        return FT_U128_OVERFLOW;
    }
    return sum;
}

/* a - b; the overflow mark where b > a, so that a wrong subtraction can't pass for a count. */
ft_u128 ft_u128_subtract(ft_u128 a, ft_u128 b);
ft_u128 ft_u128_multiply(ft_u128 a, ft_u128 b);
/* a / divisor with its remainder; divisor is not 0. */
ft_u128 ft_u128_divide(ft_u128 a, uint64_t divisor, uint64_t *remainder);
/* a * numerator / denominator to the nearest integer, halves up; denominator is not 0. */
ft_u128 ft_u128_scale(ft_u128 a, uint64_t numerator, uint64_t denominator);

/* Decimal digits; returns their number. */
size_t ft_u128_text(ft_u128 a, char text[FT_U128_TEXT_SIZE]);

#endif
