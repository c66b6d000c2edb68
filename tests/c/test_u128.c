/* 128-bit counts: known values, the overflow mark, and random values against 16-bit limbs. */
/* SPDX-License-Identifier: MIT */
#include "ft_test.h"

/* An independent arithmetic: little-endian limbs of 16 bits, wide enough for every product here. */
enum { LIMBS = 24, LIMBS_OF_A_COUNT = 8 };

typedef struct {
    uint32_t limb[LIMBS];
} number;

static number
number_of(ft_u128 count)
{
    number result = {{0}};
    for (int i = 0; i < LIMBS_OF_A_COUNT; i++) {
        uint64_t half = i < 4 ? count.lo : count.hi;
        result.limb[i] = (uint32_t)(half >> (16 * (i % 4))) & 0xFFFF;
    }
    return result;
}

static number
number_of_word(uint64_t word)
{
    return number_of((ft_u128){word, 0});
}

static number
sum_of(number a, number b)
{
    uint32_t carry = 0;
    for (int i = 0; i < LIMBS; i++) {
        carry += a.limb[i] + b.limb[i];
        a.limb[i] = carry & 0xFFFF;
        carry >>= 16;
    }
    return a;
}

static number
product_of(number a, number b)
{
    number product;
    uint64_t column = 0;
    for (int k = 0; k < LIMBS; k++) {
        for (int i = 0; i <= k; i++) {
            column += (uint64_t)a.limb[i] * b.limb[k - i];
        }
        product.limb[k] = (uint32_t)(column & 0xFFFF);
        column >>= 16;
    }
    return product;
}

static int
order_of(number a, number b)
{
    for (int i = LIMBS - 1; i >= 0; i--) {
        if (a.limb[i] != b.limb[i]) {
            return a.limb[i] < b.limb[i] ? -1 : 1;
        }
    }
    return 0;
}

/* What the core has to say for it: 2^128 - 1 and all above are the mark. */
static ft_u128
count_of(number value)
{
    uint64_t halves[2] = {0, 0};
    for (int i = LIMBS - 1; i >= 0; i--) {
        if (i >= LIMBS_OF_A_COUNT && value.limb[i] != 0) {
            return FT_U128_OVERFLOW;
        }
        if (i < LIMBS_OF_A_COUNT) {
            halves[i / 4] = (halves[i / 4] << 16) | value.limb[i];
        }
    }
    return (ft_u128){halves[0], halves[1]};
}

static bool
is_mark(ft_u128 a)
{
    return a.lo == UINT64_MAX && a.hi == UINT64_MAX;
}

static const ft_u128 largest = {UINT64_MAX - 1, UINT64_MAX}; /* 2^128 - 2 */
static const ft_u128 two_to_64 = {0, 1};
static const ft_u128 two_to_127 = {0, (uint64_t)1 << 63};

static void
test_add(void)
{
    const ft_u128 below_64 = {UINT64_MAX, 0}, below_128 = {UINT64_MAX - 1, UINT64_MAX >> 1};
    CHECK_U128(ft_u128_add(FT_U128_ZERO, FT_U128_ZERO), FT_U128_ZERO);
    CHECK_U128(ft_u128_add(ft_u128_of(2), ft_u128_of(3)), ft_u128_of(5));
    CHECK_U128(ft_u128_add(below_64, ft_u128_of(1)), two_to_64);
    /* 2^127 + (2^127 - 2) = 2^128 - 2, the largest count; one more is the mark, and so is 2^128. */
    CHECK_U128(ft_u128_add(two_to_127, below_128), largest);
    CHECK_U128(ft_u128_add(largest, ft_u128_of(1)), FT_U128_OVERFLOW);
    CHECK_U128(ft_u128_add(largest, FT_U128_ZERO), largest);
    CHECK_U128(ft_u128_add(two_to_127, two_to_127), FT_U128_OVERFLOW);
    /* The carry alone wraps the upper half: (2^128 - 2^64) + 2^64-1 + 1. */
    CHECK_U128(ft_u128_add((ft_u128){1, UINT64_MAX}, below_64), FT_U128_OVERFLOW);
    CHECK_U128(ft_u128_add(FT_U128_OVERFLOW, FT_U128_ZERO), FT_U128_OVERFLOW);
    CHECK_U128(ft_u128_add(ft_u128_of(7), FT_U128_OVERFLOW), FT_U128_OVERFLOW);
    CHECK_U128(ft_u128_add(FT_U128_OVERFLOW, FT_U128_OVERFLOW), FT_U128_OVERFLOW);
}

static void
test_subtract(void)
{
    CHECK_U128(ft_u128_subtract(ft_u128_of(5), ft_u128_of(3)), ft_u128_of(2));
    CHECK_U128(ft_u128_subtract(two_to_64, ft_u128_of(1)), ft_u128_of(UINT64_MAX));
    CHECK_U128(ft_u128_subtract(largest, largest), FT_U128_ZERO);
    CHECK_U128(ft_u128_subtract(ft_u128_of(3), ft_u128_of(4)), FT_U128_OVERFLOW);
    CHECK_U128(ft_u128_subtract(ft_u128_of(3), two_to_64), FT_U128_OVERFLOW);
    CHECK_U128(ft_u128_subtract(FT_U128_OVERFLOW, ft_u128_of(1)), FT_U128_OVERFLOW);
    CHECK_U128(ft_u128_subtract(FT_U128_OVERFLOW, FT_U128_OVERFLOW), FT_U128_OVERFLOW);
    CHECK_U128(ft_u128_subtract(ft_u128_of(1), FT_U128_OVERFLOW), FT_U128_OVERFLOW);
}

static void
test_multiply(void)
{
    const ft_u128 below_64 = {UINT64_MAX, 0};
    CHECK_U128(ft_u128_multiply(FT_U128_ZERO, largest), FT_U128_ZERO);
    CHECK_U128(ft_u128_multiply(ft_u128_of(1), largest), largest);
    /* (2^64-1)^2 = 2^128 - 2^65 + 1 = (2^64-2) * 2^64 + 1. */
    CHECK_U128(ft_u128_multiply(below_64, below_64), ((ft_u128){1, UINT64_MAX - 1}));
    /* (2^64-1) * (2^64+1) = 2^128 - 1 would be the mark itself, so it does not fit. */
    CHECK_U128(ft_u128_multiply(below_64, (ft_u128){1, 1}), FT_U128_OVERFLOW);
    /* 2 * (2^127-1) = 2^128 - 2, while 2 * 2^127 and 2^64 * 2^64 are 2^128. */
    CHECK_U128(ft_u128_multiply(ft_u128_of(2), (ft_u128){UINT64_MAX, UINT64_MAX >> 1}), largest);
    CHECK_U128(ft_u128_multiply(ft_u128_of(2), two_to_127), FT_U128_OVERFLOW);
    CHECK_U128(ft_u128_multiply(two_to_64, two_to_64), FT_U128_OVERFLOW);
    CHECK_U128(ft_u128_multiply(two_to_64, ft_u128_of((uint64_t)1 << 63)), two_to_127);
    CHECK_U128(ft_u128_multiply(FT_U128_OVERFLOW, FT_U128_ZERO), FT_U128_OVERFLOW);
    CHECK_U128(ft_u128_multiply(ft_u128_of(1), FT_U128_OVERFLOW), FT_U128_OVERFLOW);
}

static void
test_divide(void)
{
    uint64_t rest = 99;
    CHECK_U128(ft_u128_divide(FT_U128_ZERO, 7, &rest), FT_U128_ZERO);
    CHECK_U64(rest, 0);
    CHECK_U128(ft_u128_divide(ft_u128_of(6), 7, &rest), FT_U128_ZERO);
    CHECK_U64(rest, 6);
    /* 18446744073709551616 = 10 * 1844674407370955161 + 6. */
    CHECK_U128(ft_u128_divide(two_to_64, 10, &rest), ft_u128_of(1844674407370955161u));
    CHECK_U64(rest, 6);
    CHECK_U128(ft_u128_divide(two_to_127, (uint64_t)1 << 63, &rest), two_to_64);
    CHECK_U64(rest, 0);
    /* 2^128 - 2 = (2^64-1) * 2^64 + (2^64-2). */
    CHECK_U128(ft_u128_divide(largest, UINT64_MAX, &rest), two_to_64);
    CHECK_U64(rest, UINT64_MAX - 1);
    CHECK_U128(ft_u128_divide(largest, 1, &rest), largest);
    CHECK_U128(ft_u128_divide(FT_U128_OVERFLOW, 3, &rest), FT_U128_OVERFLOW);
}

static void
test_scale(void)
{
    static const struct {
        uint64_t count, numerator, denominator, result;
    } small[] = {
        {0, 5, 3, 0},   {1, 1, 2, 1},     {5, 1, 2, 3},   {7, 1, 2, 4},   {1, 1, 3, 0},
        {2, 1, 3, 1},   {100, 7, 7, 100}, {10, 0, 3, 0},  {3, 5, 10, 2},  {9, 1, 20, 0},
        {10, 1, 20, 1}, {11, 3, 2, 17},   {12, 3, 2, 18}, {49, 1, 99, 0}, {50, 1, 99, 1},
    }; /* 5/2 = 2.5 and 3*5/10 = 1.5 round up; 49/99 lies below a half and 50/99 above. */
    for (size_t i = 0; i < FT_COUNT_OF(small); i++) {
        ft_u128 count = ft_u128_of(small[i].count);
        CHECK_U128(ft_u128_scale(count, small[i].numerator, small[i].denominator),
                   ft_u128_of(small[i].result));
    }
    /* 2^127 * 3/2 = 3 * 2^126: the product 3 * 2^127 alone would not fit. */
    CHECK_U128(ft_u128_scale(two_to_127, 3, 2), ((ft_u128){0, (uint64_t)3 << 62}));
    CHECK_U128(ft_u128_scale(largest, UINT64_MAX, UINT64_MAX), largest);
    CHECK_U128(ft_u128_scale(two_to_127, 2, 1), FT_U128_OVERFLOW);
    /* (2^128-2) * 2^62 / 2^63 = 2^127 - 1 exactly. */
    CHECK_U128(ft_u128_scale(largest, (uint64_t)1 << 62, (uint64_t)1 << 63),
               ((ft_u128){UINT64_MAX, UINT64_MAX >> 1}));
    CHECK_U128(ft_u128_scale(FT_U128_OVERFLOW, 1, 2), FT_U128_OVERFLOW);
    CHECK_U128(ft_u128_scale(FT_U128_OVERFLOW, 0, 2), FT_U128_OVERFLOW);
}

static void
test_text_and_order(void)
{
    char text[FT_U128_TEXT_SIZE], expected[FT_U128_TEXT_SIZE] = "1";
    static const struct {
        ft_u128 count;
        const char *text;
    } known[] = {
        {{0, 0}, "0"},
        {{10, 0}, "10"},
        {{UINT64_MAX, 0}, "18446744073709551615"},
        {{0, 1}, "18446744073709551616"},
        {{0, (uint64_t)1 << 63}, "170141183460469231731687303715884105728"},
        {{UINT64_MAX - 1, UINT64_MAX}, "340282366920938463463374607431768211454"},
        {{UINT64_MAX, UINT64_MAX}, "overflow"},
    };
    for (size_t i = 0; i < FT_COUNT_OF(known); i++) {
        CHECK_U64(ft_u128_text(known[i].count, text), strlen(known[i].text));
        CHECK_TEXT(text, known[i].text);
    }
    ft_u128 power = ft_u128_of(1);
    for (size_t zeros = 0; zeros <= 38; zeros++) { /* 10^38 < 2^128 < 10^39 */
        ft_u128_text(power, text);
        CHECK_TEXT(text, expected);
        CHECK(ft_u128_compare(power, ft_u128_of(1)) == (zeros == 0 ? 0 : 1));
        power = ft_u128_multiply(power, ft_u128_of(10));
        expected[zeros + 1] = '0';
    }
    CHECK(ft_u128_overflowed(power));
    CHECK(ft_u128_compare(ft_u128_of(UINT64_MAX), two_to_64) == -1);
    CHECK(ft_u128_compare(two_to_64, ft_u128_of(UINT64_MAX)) == 1);
    CHECK(ft_u128_compare(ft_u128_of(1), ft_u128_of(2)) == -1);
    CHECK(!ft_u128_overflowed(largest) && ft_u128_overflowed(FT_U128_OVERFLOW));
    CHECK(!ft_u128_overflowed((ft_u128){UINT64_MAX, 0}));
    CHECK(!ft_u128_overflowed((ft_u128){0, UINT64_MAX}));
    CHECK(ft_u128_is_zero(FT_U128_ZERO) && !ft_u128_is_zero(two_to_64));
    CHECK(!ft_u128_is_zero(ft_u128_of(1)));
}

/* A word of random width, so that both small and full ones are common. */
static uint64_t
draw_word(uint64_t *state)
{
    uint64_t word = test_random(state) << 62 ^ test_random(state) << 31 ^ test_random(state);
    return word >> test_random(state) % 64;
}

static ft_u128
draw_count(uint64_t *state)
{
    static const ft_u128 edges[] = {
        {0, 0},
        {1, 0},
        {UINT32_MAX, 0},
        {(uint64_t)1 << 32, 0},
        {UINT64_MAX, 0},
        {0, 1},
        {1, 1},
        {0, (uint64_t)1 << 63},
        {UINT64_MAX, UINT64_MAX >> 1},
        {0, UINT64_MAX},
        {UINT64_MAX - 1, UINT64_MAX},
        {UINT64_MAX, UINT64_MAX},
    };
    switch (test_random(state) % 8) {
    case 0:
        return edges[test_random(state) % FT_COUNT_OF(edges)];
    case 1:
    case 2:
    case 3:
        return (ft_u128){draw_word(state), 0};
    default:
        return (ft_u128){draw_word(state), draw_word(state)};
    }
}

static void
check_sums(ft_u128 a, ft_u128 b)
{
    number left = number_of(a), right = number_of(b);
    bool mark = is_mark(a) || is_mark(b);
    CHECK_U128(ft_u128_add(a, b), mark ? FT_U128_OVERFLOW : count_of(sum_of(left, right)));
    CHECK_U128(ft_u128_multiply(a, b), mark ? FT_U128_OVERFLOW : count_of(product_of(left, right)));
    CHECK(ft_u128_compare(a, b) == order_of(left, right));
    ft_u128 difference = ft_u128_subtract(a, b);
    if (mark || order_of(left, right) < 0) {
        CHECK_U128(difference, FT_U128_OVERFLOW);
    }
    else {
        CHECK(order_of(sum_of(right, number_of(difference)), left) == 0);
    }
}

/* Quotient and remainder are the only pair with a = quotient * divisor + rest, rest < divisor. */
static void
check_quotient(ft_u128 a, uint64_t divisor)
{
    uint64_t rest = divisor;
    ft_u128 quotient = ft_u128_divide(a, divisor, &rest);
    if (is_mark(a)) {
        CHECK_U128(quotient, FT_U128_OVERFLOW);
        return;
    }
    number product = product_of(number_of(quotient), number_of_word(divisor));
    CHECK(rest < divisor);
    CHECK(order_of(sum_of(product, number_of_word(rest)), number_of(a)) == 0);
}

/* With x = a * n / d, halves up: result <= x + 1/2 < result + 1, all of it times 2d. The mark is
 * for every result of 2^128 - 1 or more, for which only the left half has to hold. */
static void
check_scaled(ft_u128 a, uint64_t numerator, uint64_t denominator)
{
    ft_u128 result = ft_u128_scale(a, numerator, denominator);
    if (is_mark(a)) {
        CHECK_U128(result, FT_U128_OVERFLOW);
        return;
    }
    number twice = product_of(number_of_word(denominator), number_of_word(2));
    number exact = product_of(number_of(a), number_of_word(numerator));
    exact = sum_of(sum_of(exact, exact), number_of_word(denominator));
    number lower = product_of(number_of(result), twice);
    CHECK(order_of(lower, exact) <= 0);
    CHECK(is_mark(result) || order_of(exact, sum_of(lower, twice)) < 0);
}

static void
check_digits(ft_u128 a)
{
    char text[FT_U128_TEXT_SIZE];
    size_t length = ft_u128_text(a, text);
    number value = {{0}};
    if (is_mark(a)) {
        return;
    }
    for (size_t i = 0; i < length; i++) {
        CHECK(text[i] >= '0' && text[i] <= '9');
        value = product_of(value, number_of_word(10));
        value = sum_of(value, number_of_word((uint64_t)(text[i] - '0')));
    }
    CHECK(text[length] == '\0' && (length == 1 || text[0] != '0'));
    CHECK(order_of(value, number_of(a)) == 0);
}

static void
test_against_limbs(void)
{
    uint64_t state = 20240601;
    for (int i = 0; i < 200000; i++) {
        ft_u128 a = draw_count(&state), b = draw_count(&state);
        uint64_t numerator = draw_word(&state), denominator = draw_word(&state);
        check_sums(a, b);
        check_quotient(a, denominator == 0 ? UINT64_MAX : denominator);
        check_scaled(b, numerator, denominator == 0 ? UINT64_MAX : denominator);
        if (i % 20 == 0) {
            check_digits(a);
        }
    }
}

TEST_MAIN(test_add, test_subtract, test_multiply, test_divide, test_scale, test_text_and_order,
          test_against_limbs)
