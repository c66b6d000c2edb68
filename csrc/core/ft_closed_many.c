/* Closed forms at many points: the cost as a polynomial, which its formulas give at a few. */
/* SPDX-License-Identifier: MIT */
#include "ft_closed.h"

#include <string.h>

/* Loops over 64-bit products gain much from AVX2; which of both is run is found out when the
 * library is loaded. */
#if defined(__x86_64__) && defined(__GLIBC__) && defined(__has_attribute) && \
    !defined(__SANITIZE_ADDRESS__)
#if __has_attribute(target_clones)
#define FT_CLONES __attribute__((target_clones("default", "avx2")))
#endif
#endif
#ifndef FT_CLONES
#define FT_CLONES
#endif

static bool
all_linear(const ft_plan *plan, const int64_t *arguments, const uint8_t *varying, int count)
{
    for (int i = 0; i < plan->argument_count; i++) {
        if (plan->arguments[i].sign == '!' && arguments[i] != 0) {
            return false;
        }
    }
    for (int i = 0; i < count; i++) {
        if (plan->arguments[varying[i]].sign != '*') {
            return false;
        }
    }
    return true;
}

/* Those with a coefficient, each as how often every column is in it: arguments that share a column
 * share their products. What is in all of them is taken out. */
static void
keep_products(const int64_t *values, unsigned corners, ft_polynomial *p)
{
    p->count = 0;
    memset(p->common, 0, sizeof p->common);
    for (unsigned corner = 0; corner < corners; corner++) {
        uint8_t powers[FT_MAX_VARYING] = {0};
        int at = 0;
        for (int i = 0; i < p->varying; i++) {
            uint8_t *power = &powers[p->column_of[i]];
            *power = (uint8_t)(*power + (corner >> i & 1));
        }
        while (at < p->count && memcmp(p->products[at].powers, powers, sizeof powers) != 0) {
            at++;
        }
        if (values[corner] != 0 && at == p->count) {
            memcpy(p->products[p->count].powers, powers, sizeof powers);
            p->products[p->count++].coefficient = 0;
        }
        if (values[corner] != 0) {
            p->products[at].coefficient += values[corner];
        }
    }
    for (int column = 0; column < FT_MAX_VARYING && p->count > 0; column++) {
        uint8_t least = p->products[0].powers[column];
        for (int i = 1; i < p->count; i++) {
            uint8_t power = p->products[i].powers[column];
            least = power < least ? power : least;
        }
        p->common[column] = least;
        for (int i = 0; i < p->count; i++) {
            p->products[i].powers[column] = (uint8_t)(p->products[i].powers[column] - least);
        }
    }
}

bool
ft_polynomial_make(ft_filled *filled, int64_t *arguments, const ft_convention *convention,
                   ft_polynomial *polynomial)
{
    int64_t values[1 << FT_MAX_VARYING];
    unsigned corners = 1u << polynomial->varying;
    uint64_t largest = INT64_MAX; /* so that differences, and sums of their sizes, fit */
    for (unsigned axis = 1; axis < corners; axis *= 2) {
        largest /= 6;
    }
    const uint8_t *varying = polynomial->arguments;
    if (!all_linear(filled->plan, arguments, varying, polynomial->varying)) {
        return false;
    }
    for (unsigned corner = 0; corner < corners; corner++) {
        ft_u128 flops;
        for (int i = 0; i < polynomial->varying; i++) {
            arguments[varying[i]] = 1 + (corner >> i & 1);
        }
        if (ft_filled_evaluate(filled, arguments, convention, &flops) != FT_OK || flops.hi != 0 ||
            flops.lo > largest) {
            return false;
        }
        values[corner] = (int64_t)flops.lo;
    }
    /* Along each argument: from f(1) and f(2) to the slope and the rest. */
    for (unsigned bit = 1; bit < corners; bit *= 2) {
        for (unsigned corner = 0; corner < corners; corner++) {
            if (corner & bit) {
                values[corner] -= values[corner - bit];
                values[corner - bit] -= values[corner];
            }
        }
    }
    keep_products(values, corners, polynomial);
    return true;
}

/* Whether no sum of products can pass 63 bits, by bounds of the columns. */
static bool
is_within(const ft_polynomial *p, const uint64_t *bounds)
{
    ft_u128 sum = FT_U128_ZERO;
    for (int i = 0; i < p->count; i++) {
        int64_t coefficient = p->products[i].coefficient;
        uint64_t size = (uint64_t)(coefficient < 0 ? -coefficient : coefficient);
        ft_u128 most = ft_u128_of(size | 1); /* of 0 too: what it is times is computed */
        for (int column = 0; column < p->columns; column++) {
            int powers = p->products[i].powers[column] + p->common[column];
            for (int power = 0; power < powers; power++) {
                most = ft_u128_multiply(most, ft_u128_of(bounds[column]));
            }
        }
        sum = ft_u128_add(sum, most);
    }
    return sum.hi == 0 && sum.lo <= INT64_MAX;
}

/* The columns in a product, each as often as it is in it. */
static int
factors_of(const uint8_t *powers, const int64_t *const *columns, const int64_t **factors)
{
    int count = 0;
    for (int column = 0; column < FT_MAX_VARYING; column++) {
        for (int power = 0; power < powers[column]; power++) {
            factors[count++] = columns[column];
        }
    }
    return count;
}

static inline void
add_product(int64_t coefficient, const int64_t **factors, int count, size_t length, int64_t *sums)
{
    const int64_t *a = factors[0], *b = factors[1];
    for (size_t i = 0; count == 0 && i < length; i++) {
        sums[i] += coefficient;
    }
    for (size_t i = 0; count == 1 && i < length; i++) {
        sums[i] += coefficient * a[i];
    }
    for (size_t i = 0; count == 2 && i < length; i++) {
        sums[i] += coefficient * a[i] * b[i];
    }
    for (size_t i = 0; count > 2 && i < length; i++) {
        int64_t product = coefficient * a[i] * b[i];
        for (int j = 2; j < count; j++) {
            product *= factors[j][i];
        }
        sums[i] += product;
    }
}

static inline void
multiply(const int64_t **factors, int count, size_t length, int64_t *sums)
{
    for (; count >= 4; count -= 4, factors += 4) {
        for (size_t i = 0; i < length; i++) {
            sums[i] *= (factors[0][i] * factors[1][i]) * (factors[2][i] * factors[3][i]);
        }
    }
    for (; count >= 2; count -= 2, factors += 2) {
        for (size_t i = 0; i < length; i++) {
            sums[i] *= factors[0][i] * factors[1][i];
        }
    }
    for (size_t i = 0; count == 1 && i < length; i++) {
        sums[i] *= factors[0][i];
    }
}

/* The bits of all x - 1, and all bits below them; the highest is set where an x is below 1. */
static inline uint64_t
bits_of(const int64_t *column, size_t length)
{
    uint64_t bits = 0;
    for (size_t i = 0; i < length; i++) {
        bits |= (uint64_t)column[i] - 1;
    }
    for (int shift = 1; shift < 64; shift *= 2) {
        bits |= bits >> shift;
    }
    return bits;
}

FT_CLONES bool
ft_polynomial_evaluate(const ft_polynomial *polynomial, const int64_t *const *columns,
                       size_t length, int64_t *flops)
{
    uint64_t bounds[FT_MAX_VARYING];
    const int64_t *factors[FT_MAX_VARYING] = {NULL};
    for (int column = 0; column < polynomial->columns; column++) {
        uint64_t bits = bits_of(columns[column], length);
        if (bits >> 63) {
            return false;
        }
        bounds[column] = bits + 1;
    }
    if (!is_within(polynomial, bounds)) {
        return false;
    }
    /* A constant comes first, if there is one: products are in the order of their corners. */
    bool constant =
        polynomial->count > 0 && factors_of(polynomial->products[0].powers, columns, factors) == 0;
    for (size_t i = 0; i < length; i++) {
        flops[i] = constant ? polynomial->products[0].coefficient : 0;
    }
    for (int i = constant; i < polynomial->count; i++) {
        int count = factors_of(polynomial->products[i].powers, columns, factors);
        add_product(polynomial->products[i].coefficient, factors, count, length, flops);
    }
    multiply(factors, factors_of(polynomial->common, columns, factors), length, flops);
    return true;
}
