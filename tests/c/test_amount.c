/* Amounts and rates as people write them: exact, grouped, with units; and what is refused. */
/* SPDX-License-Identifier: MIT */
#include "ft_test.h"

static void
check_amount(const char *text, bool per_second, ft_u128 expected)
{
    ft_u128 value = ft_u128_of(7);
    CHECK_TEXT(ft_amount_text(ft_amount_parse(text, per_second, &value)), "ok");
    if (!CHECK_U128(value, expected)) {
        printf("    in %s\n", text);
    }
}

static void
check_refused(const char *text, bool per_second, ft_amount_problem problem)
{
    ft_u128 value = ft_u128_of(7);
    if (!CHECK_TEXT(ft_amount_text(ft_amount_parse(text, per_second, &value)),
                    ft_amount_text(problem))) {
        printf("    in %s\n", text);
    }
    CHECK_U128(value, ft_u128_of(7));
}

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
test_numbers(void)
{
    static const struct {
        const char *text;
        uint64_t value;
    } known[] = {
        {"0", 0},
        {"12", 12},
        {" 12 ", 12},
        {"+12", 12},
        {"-0", 0},
        {"1,000", 1000},
        {"12,345,678", 12345678},
        {"1e15", 1000000000000000},
        {"1E+15", 1000000000000000},
        {"2.5e3", 2500},
        {"2500000e-3", 2500},
        {"1.", 1},
        {".5e1", 5},
        {"1.000000000000000000000000000000000000000000000000000", 1},
        {"0.1", 1}, /* a part of a FLOP is rounded up */
        {"1e-4000", 1},
        {"1e-99999999999", 1},
        {"0e99999", 0},
        {"1000000000000000001", 1000000000000000001}, /* no double has it */
    };
    for (size_t i = 0; i < FT_COUNT_OF(known); i++) {
        check_amount(known[i].text, false, ft_u128_of(known[i].value));
    }
}

static void
test_units(void)
{
    static const char prefixes[] = "kMGTPEZYRQ";
    char text[16];
    for (int i = 0; i < 10; i++) {
        snprintf(text, sizeof text, "1 %cFLOP", prefixes[i]);
        check_amount(text, false, power_of_ten(3 * (i + 1)));
        snprintf(text, sizeof text, "1%cflops", prefixes[i]);
        check_amount(text, false, power_of_ten(3 * (i + 1)));
    }
    check_amount("500 GFLOP", false, ft_u128_of(500000000000));
    check_amount("2.5 EFLOPs", false, ft_u128_of(2500000000000000000));
    check_amount("1 KFLOP", false, ft_u128_of(1000));
    check_amount("7 FLOP", false, ft_u128_of(7));
    check_amount("7e2FLOPs", false, ft_u128_of(700));
    check_amount("1e3 kFLOP", false, ft_u128_of(1000000));
    check_amount("1.0000000000000000001 EFLOP", false, ft_u128_of(1000000000000000001));
    check_amount("21,012,480 FLOPs", false, ft_u128_of(21012480));
    check_amount("312 TFLOP/s", true, ft_u128_of(312000000000000));
    check_amount("312 TFLOPS", true, ft_u128_of(312000000000000));
    check_amount("312 TFLOPs", true, ft_u128_of(312000000000000));
    check_amount("989.4TFLOPs/s", true, ft_u128_of(989400000000000));
    check_amount("312e12", true, ft_u128_of(312000000000000));
}

static void
test_refused(void)
{
    check_refused("", false, FT_AMOUNT_NO_NUMBER);
    check_refused("   ", false, FT_AMOUNT_NO_NUMBER);
    check_refused("PFLOP", false, FT_AMOUNT_NO_NUMBER);
    check_refused(".", false, FT_AMOUNT_NO_NUMBER);
    check_refused("nan", false, FT_AMOUNT_NO_NUMBER);
    check_refused("inf", false, FT_AMOUNT_NO_NUMBER);
    check_refused("e15", false, FT_AMOUNT_NO_NUMBER);
    check_refused("-1 PFLOP", false, FT_AMOUNT_NEGATIVE);
    check_refused("-1e-9", false, FT_AMOUNT_NEGATIVE);
    check_refused("1 P", false, FT_AMOUNT_UNKNOWN_UNIT);
    check_refused("1 pFLOP", false, FT_AMOUNT_UNKNOWN_UNIT);
    check_refused("1 mFLOP", false, FT_AMOUNT_UNKNOWN_UNIT);
    check_refused("1 MACs", false, FT_AMOUNT_UNKNOWN_UNIT);
    check_refused("1 PFLOPss", false, FT_AMOUNT_UNKNOWN_UNIT);
    check_refused("1 PFLO", false, FT_AMOUNT_UNKNOWN_UNIT);
    check_refused("1 PFLOP 2", false, FT_AMOUNT_UNKNOWN_UNIT);
    check_refused("1 P FLOP", false, FT_AMOUNT_UNKNOWN_UNIT);
    check_refused("2,5 PFLOP", false, FT_AMOUNT_UNKNOWN_UNIT); /* no group of three */
    check_refused("1,0000", false, FT_AMOUNT_UNKNOWN_UNIT);
    check_refused("1.2.3", false, FT_AMOUNT_UNKNOWN_UNIT);
    check_refused("1 TFLOP/s/s", true, FT_AMOUNT_UNKNOWN_UNIT);
    check_refused("1 PFLOPS", false, FT_AMOUNT_PER_SECOND);
    check_refused("1 PFLOP/s", false, FT_AMOUNT_PER_SECOND);
    check_refused("1e39", false, FT_AMOUNT_TOO_LARGE);
    check_refused("1e4000", false, FT_AMOUNT_TOO_LARGE);
    check_refused("1e99999999999", false, FT_AMOUNT_TOO_LARGE);
    check_refused("999999999 QFLOP", false, FT_AMOUNT_TOO_LARGE);
    check_refused("340282366920938463463374607431768211455", false, FT_AMOUNT_TOO_LARGE);
    check_refused("1000000000000000000000000000000000000000000e-9", false, FT_AMOUNT_TOO_LARGE);
    check_amount("340282366920938463463374607431768211454", false,
                 (ft_u128){UINT64_MAX - 1, UINT64_MAX});
}

static void
test_doubles(void)
{
    CHECK_U128(ft_amount_of_double(0), FT_U128_ZERO);
    CHECK_U128(ft_amount_of_double(1e15), ft_u128_of(1000000000000000));
    CHECK_U128(ft_amount_of_double(2.25), ft_u128_of(3));
    CHECK_U128(ft_amount_of_double(5e-324), ft_u128_of(1));
    CHECK_U128(ft_amount_of_double(9007199254740993.0), ft_u128_of(9007199254740992)); /* 2^53 */
    CHECK_U128(ft_amount_of_double(18446744073709551616.0), ((ft_u128){0, 1}));
    CHECK_U128(ft_amount_of_double(3 * 18446744073709551616.0 + 8192), ((ft_u128){8192, 3}));
    CHECK_U128(ft_amount_of_double(-1), FT_U128_OVERFLOW);
    CHECK_U128(ft_amount_of_double(3.5e38), FT_U128_OVERFLOW);
    double zero = 0;
    CHECK_U128(ft_amount_of_double(zero / zero), FT_U128_OVERFLOW);
    CHECK_U128(ft_amount_of_double(1 / zero), FT_U128_OVERFLOW);
}

TEST_MAIN(test_numbers, test_units, test_refused, test_doubles)
