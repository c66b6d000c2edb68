/* Counts as people read them: groups of three, SI prefixes, rounding, long units, the mark. */
/* SPDX-License-Identifier: MIT */
#include "ft_test.h"

#define LARGEST {UINT64_MAX - 1, UINT64_MAX} /* 340282366920938463463374607431768211454 */
#define TWO_TO_127 {0, (uint64_t)1 << 63}    /* 170141183460469231731687303715884105728 */

static void
check_grouped(ft_u128 count, const char *expected)
{
    char text[FT_TEXT_SIZE];
    memset(text, '#', sizeof text);
    CHECK_U64(ft_text_grouped(count, text), strlen(expected));
    CHECK_TEXT(text, expected);
}

static void
check_si(ft_u128 count, const char *unit, const char *expected)
{
    char text[FT_TEXT_SIZE];
    memset(text, '#', sizeof text);
    CHECK_U64(ft_text_si(count, unit, text), strlen(expected));
    CHECK_TEXT(text, expected);
}

/* 10 to the given power, by multiplications of 10. */
static ft_u128
power_of_ten(int exponent)
{
    ft_u128 power = ft_u128_of(1);
    for (int i = 0; i < exponent; i++) {
        power = ft_u128_multiply(power, ft_u128_of(10));
    }
    return power;
}

static void
test_grouped(void)
{
    check_grouped(ft_u128_of(0), "0");
    check_grouped(ft_u128_of(7), "7");
    check_grouped(ft_u128_of(42), "42");
    check_grouped(ft_u128_of(999), "999");
    check_grouped(ft_u128_of(1000), "1,000");
    check_grouped(ft_u128_of(12345), "12,345");
    check_grouped(ft_u128_of(999499), "999,499");
    check_grouped(ft_u128_of(999999), "999,999");
    check_grouped(ft_u128_of(1000000), "1,000,000");
    check_grouped(ft_u128_of(8178368512), "8,178,368,512");
    check_grouped(ft_u128_of(UINT64_MAX), "18,446,744,073,709,551,615");
    check_grouped((ft_u128)TWO_TO_127, "170,141,183,460,469,231,731,687,303,715,884,105,728");
    check_grouped((ft_u128)LARGEST, "340,282,366,920,938,463,463,374,607,431,768,211,454");
    check_grouped(power_of_ten(33), "1,000,000,000,000,000,000,000,000,000,000,000");
    check_grouped(FT_U128_OVERFLOW, "overflow");
}

static void
test_si(void)
{
    static const struct {
        uint64_t count;
        const char *text;
    } known[] = {
        {0, "0 FLOP"},
        {5, "5 FLOP"},
        {42, "42 FLOP"},
        {999, "999 FLOP"},
        {1000, "1.00 kFLOP"},
        {1004, "1.00 kFLOP"}, /* 1.004 */
        {1005, "1.01 kFLOP"}, /* 1.005, half up */
        {9994, "9.99 kFLOP"},
        {9995, "10.0 kFLOP"}, /* 9.995 carries into a new digit */
        {12349, "12.3 kFLOP"},
        {12350, "12.4 kFLOP"}, /* 12.35, half up */
        {99949, "99.9 kFLOP"},
        {99950, "100 kFLOP"},
        {123499, "123 kFLOP"},
        {123500, "124 kFLOP"},
        {999499, "999 kFLOP"},
        {999500, "1.00 MFLOP"}, /* 999.5 carries into the next prefix */
        {999999, "1.00 MFLOP"},
        {1000000, "1.00 MFLOP"},
        {8178368512, "8.18 GFLOP"}, /* 8.178 */
        {UINT64_MAX, "18.4 EFLOP"}, /* 18.446744... * 10^18 */
    };
    for (size_t i = 0; i < FT_COUNT_OF(known); i++) {
        check_si(ft_u128_of(known[i].count), "FLOP", known[i].text);
    }
}

static void
test_every_prefix(void)
{
    static const char *const ones[] = {"1 x",     "1.00 kx", "1.00 Mx", "1.00 Gx",
                                       "1.00 Tx", "1.00 Px", "1.00 Ex", "1.00 Zx",
                                       "1.00 Yx", "1.00 Rx", "1.00 Qx"};
    static const char *const tens[] = {"10 x",    "10.0 kx", "10.0 Mx", "10.0 Gx",
                                       "10.0 Tx", "10.0 Px", "10.0 Ex", "10.0 Zx",
                                       "10.0 Yx", "10.0 Rx", "10.0 Qx"};
    for (size_t i = 0; i < FT_COUNT_OF(ones); i++) {
        check_si(power_of_ten(3 * (int)i), "x", ones[i]);
        check_si(power_of_ten(3 * (int)i + 1), "x", tens[i]);
    }
    check_si(power_of_ten(32), "x", "100 Qx");
    for (int power = 28; power <= 30; power++) { /* three digits, wherever the point stands */
        static const char *const texts[] = {"1.23 Qx", "12.3 Qx", "123 Qx"};
        ft_u128 count = ft_u128_multiply(power_of_ten(power), ft_u128_of(123));
        check_si(count, "x", texts[power - 28]);
    }
}

/* Q is the last prefix; above it the whole number of Q is written out. */
static void
test_beyond_the_last_prefix(void)
{
    ft_u128 below = ft_u128_subtract(power_of_ten(33), ft_u128_of(1));
    check_si(below, "FLOP", "1,000 QFLOP"); /* 999.999... Q */
    check_si(power_of_ten(33), "FLOP", "1,000 QFLOP");
    check_si(power_of_ten(34), "FLOP", "10,000 QFLOP");
    check_si(ft_u128_subtract(power_of_ten(34), ft_u128_of(1)), "FLOP", "10,000 QFLOP");
    check_si((ft_u128)TWO_TO_127, "FLOP", "170,141,183 QFLOP"); /* then .460469... */
    check_si((ft_u128)LARGEST, "FLOP", "340,282,367 QFLOP");    /* 340282366.920938... */
    check_si(FT_U128_OVERFLOW, "FLOP", "overflow FLOP");
}

static void
test_units(void)
{
    check_si(ft_u128_of(5), "", "5 ");
    check_si(ft_u128_of(5000), "", "5.00 k");
    check_si(ft_u128_of(5), "elements", "5 elements");  /* 8 letters */
    check_si(ft_u128_of(5), "operation", "5 operatio"); /* 9 letters, cut to 8 */
    check_si(ft_u128_of(5000), "operations", "5.00 koperatio");
    check_si(FT_U128_OVERFLOW, "operations", "overflow operatio");
}

TEST_MAIN(test_grouped, test_si, test_every_prefix, test_beyond_the_last_prefix, test_units)
