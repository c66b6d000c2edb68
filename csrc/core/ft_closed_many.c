/* Closed forms at many points: the cost as a polynomial, which its formulas give at a few. */
/* SPDX-License-Identifier: MIT */
#include "ft_closed.h"

#include <string.h>

/* Coefficients are differences of counts, at most 3^FT_MAX_VARYING times as large. */
#define LARGEST_COUNT ((int64_t)1 << 53)

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

bool
ft_polynomial_make(ft_filled *filled, int64_t *arguments, const uint8_t *varying, int count,
                   const ft_convention *convention, ft_polynomial *polynomial)
{
    int64_t values[1 << FT_MAX_VARYING];
    unsigned corners = 1u << count;
    if (!all_linear(filled->plan, arguments, varying, count)) {
        return false;
    }
    for (unsigned corner = 0; corner < corners; corner++) {
        ft_u128 flops;
        for (int i = 0; i < count; i++) {
            arguments[varying[i]] = 1 + (corner >> i & 1);
        }
        if (ft_filled_evaluate(filled, arguments, convention, &flops) != FT_OK || flops.hi != 0 ||
            flops.lo > LARGEST_COUNT) {
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
    polynomial->varying = count;
    polynomial->count = 0;
    for (unsigned corner = 0; corner < corners; corner++) {
        if (values[corner] != 0) {
            polynomial->products[polynomial->count] = (uint8_t)corner;
            polynomial->coefficients[polynomial->count++] = values[corner];
        }
    }
    return true;
}

/* Whether no sum of the products can pass 63 bits, by bounds of the arguments. */
static bool
is_within(const ft_polynomial *polynomial, const uint64_t *bounds)
{
    ft_u128 sum = FT_U128_ZERO;
    for (int i = 0; i < polynomial->count; i++) {
        int64_t coefficient = polynomial->coefficients[i];
        ft_u128 most = ft_u128_of((uint64_t)(coefficient < 0 ? -coefficient : coefficient));
        for (int j = 0; j < polynomial->varying; j++) {
            if (polynomial->products[i] >> j & 1) {
                most = ft_u128_multiply(most, ft_u128_of(bounds[j]));
            }
        }
        sum = ft_u128_add(sum, most);
    }
    return sum.hi == 0 && sum.lo <= INT64_MAX;
}

static void
add_product(int64_t coefficient, const int64_t *const *factors, int count, size_t length,
            int64_t *sums)
{
    const int64_t *a = factors[0], *b = factors[1], *c = factors[2];
    switch (count) {
    case 0:
        for (size_t i = 0; i < length; i++) {
            sums[i] += coefficient;
        }
        break;
    case 1:
        for (size_t i = 0; i < length; i++) {
            sums[i] += coefficient * a[i];
        }
        break;
    case 2:
        for (size_t i = 0; i < length; i++) {
            sums[i] += coefficient * a[i] * b[i];
        }
        break;
    case 3:
        for (size_t i = 0; i < length; i++) {
            sums[i] += coefficient * a[i] * b[i] * c[i];
        }
        break;
    default:
        for (size_t i = 0; i < length; i++) {
            int64_t product = coefficient * a[i] * b[i] * c[i];
            for (int j = 3; j < count; j++) {
                product *= factors[j][i];
            }
            sums[i] += product;
        }
    }
}

bool
ft_polynomial_evaluate(const ft_polynomial *polynomial, const int64_t *const *arguments,
                       size_t length, int64_t *flops)
{
    uint64_t bounds[FT_MAX_VARYING];
    for (int j = 0; j < polynomial->varying; j++) {
        uint64_t bits = 0; /* of x - 1, whose highest is set where x is below 1 */
        for (size_t i = 0; i < length; i++) {
            bits |= (uint64_t)arguments[j][i] - 1;
        }
        for (int shift = 1; shift < 64; shift *= 2) {
            bits |= bits >> shift;
        }
        if (bits >> 63) {
            return false;
        }
        bounds[j] = bits + 1;
    }
    if (!is_within(polynomial, bounds)) {
        return false;
    }
    memset(flops, 0, length * sizeof *flops);
    for (int i = 0; i < polynomial->count; i++) {
        const int64_t *factors[FT_MAX_VARYING] = {NULL};
        int count = 0;
        for (int j = 0; j < polynomial->varying; j++) {
            if (polynomial->products[i] >> j & 1) {
                factors[count++] = arguments[j];
            }
        }
        add_product(polynomial->coefficients[i], factors, count, length, flops);
    }
    return true;
}
