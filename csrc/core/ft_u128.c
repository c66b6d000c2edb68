/* 128-bit arithmetic, on the compiler's own type where there is one and on 64-bit halves elsewhere.
 */
/* SPDX-License-Identifier: MIT */
#include "ft_u128.h"

#if defined(__SIZEOF_INT128__) && !defined(FT_NO_INT128)
#define FT_HAVE_INT128 1
__extension__ typedef unsigned __int128 native_u128;
#else
#define FT_HAVE_INT128 0
#endif

ft_u128
ft_u128_subtract(ft_u128 a, ft_u128 b)
{
    if (ft_u128_overflowed(a) || ft_u128_compare(a, b) < 0) {
        return FT_U128_OVERFLOW;
    }
    return (ft_u128){a.lo - b.lo, a.hi - b.hi - (a.lo < b.lo)};
}

/* The full product of two 64-bit numbers; it can't overflow. */
static ft_u128
multiply_words(uint64_t a, uint64_t b)
{
#if FT_HAVE_INT128
    native_u128 product = (native_u128)a * b;
    return (ft_u128){(uint64_t)product, (uint64_t)(product >> 64)};
#else
    uint64_t a_low = (uint32_t)a, a_high = a >> 32, b_low = (uint32_t)b, b_high = b >> 32;
    uint64_t low = a_low * b_low;
    uint64_t middle = a_high * b_low + (low >> 32);
    uint64_t other = a_low * b_high + (uint32_t)middle;
    return (ft_u128){(other << 32) | (uint32_t)low,
                     a_high * b_high + (middle >> 32) + (other >> 32)};
#endif
}

ft_u128
ft_u128_multiply(ft_u128 a, ft_u128 b)
{
    if ((a.hi | b.hi) == 0) { /* nearly always */
        return multiply_words(a.lo, b.lo);
    }
    if (ft_u128_overflowed(a) || ft_u128_overflowed(b) || (a.hi != 0 && b.hi != 0)) {
        return FT_U128_OVERFLOW;
    }
    /* At most one of the cross products is not 0, and it has to fit into the upper half. */
    ft_u128 low = multiply_words(a.lo, b.lo);
    ft_u128 cross = a.hi != 0 ? multiply_words(a.hi, b.lo) : multiply_words(a.lo, b.hi);
    if (cross.hi != 0) {
        return FT_U128_OVERFLOW;
    }
    return ft_u128_add(low, (ft_u128){0, cross.lo});
}

ft_u128
ft_u128_divide(ft_u128 a, uint64_t divisor, uint64_t *remainder)
{
    uint64_t rest;
    ft_u128 quotient;
    if (ft_u128_overflowed(a)) {
        *remainder = 0;
        return FT_U128_OVERFLOW;
    }
#if FT_HAVE_INT128
    native_u128 value = ((native_u128)a.hi << 64) | a.lo;
    native_u128 result = value / divisor;
    rest = (uint64_t)(value % divisor);
    quotient = (ft_u128){(uint64_t)result, (uint64_t)(result >> 64)};
#else
    quotient = (ft_u128){0, a.hi / divisor};
    rest = a.hi % divisor;
    for (int bit = 63; bit >= 0; bit--) {
        bool carry = rest >> 63;
        rest = (rest << 1) | ((a.lo >> bit) & 1);
        if (carry || rest >= divisor) {
            rest -= divisor;
            quotient.lo |= (uint64_t)1 << bit;
        }
    }
#endif
    *remainder = rest;
    return quotient;
}

ft_u128
ft_u128_scale(ft_u128 a, uint64_t numerator, uint64_t denominator)
{
    /* Split first: whole * numerator stays small where a * numerator would not. The remainder is
     * below the denominator, so remainder * numerator always fits. */
    uint64_t remainder, rest;
    ft_u128 whole = ft_u128_divide(a, denominator, &remainder);
    ft_u128 part = ft_u128_divide(multiply_words(remainder, numerator), denominator, &rest);
    ft_u128 result = ft_u128_add(ft_u128_multiply(whole, ft_u128_of(numerator)), part);
    bool round_up = rest >= denominator - rest;
    return round_up ? ft_u128_add(result, ft_u128_of(1)) : result;
}

size_t
ft_u128_text(ft_u128 a, char text[FT_U128_TEXT_SIZE])
{
    char reversed[FT_U128_TEXT_SIZE];
    size_t length = 0;
    if (ft_u128_overflowed(a)) {
        static const char mark[] = "overflow";
        for (; length < sizeof mark - 1; length++) {
            text[length] = mark[length];
        }
        text[length] = '\0';
        return length;
    }
    do {
        uint64_t digit;
        a = ft_u128_divide(a, 10, &digit);
        reversed[length++] = (char)('0' + digit);
    } while (!ft_u128_is_zero(a));
    for (size_t i = 0; i < length; i++) {
        text[i] = reversed[length - 1 - i];
    }
    text[length] = '\0';
    return length;
}
