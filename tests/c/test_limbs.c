/* Counts split into limbs, summed limb by limb and joined, against 128-bit addition. */
/* SPDX-License-Identifier: MIT */
#include "ft_test.h"

static const uint32_t TAG = 0xFFFFFFFF; /* the largest, whose sum is the largest too */

static void
add_limbs(int64_t sum[FT_LIMB_COUNT], ft_u128 count, uint32_t tag)
{
    int64_t limbs[FT_LIMB_COUNT];
    ft_limbs_split(count, tag, limbs);
    for (int i = 0; i < FT_LIMB_COUNT; i++) {
        sum[i] += limbs[i];
    }
}

static void
check_sum(const ft_u128 *counts, uint32_t parts, ft_u128 expected)
{
    int64_t sum[FT_LIMB_COUNT] = {0};
    ft_u128 found = FT_U128_ZERO;
    for (uint32_t i = 0; i < parts; i++) {
        add_limbs(sum, counts[i], TAG);
    }
    CHECK_STATUS(ft_limbs_join(sum, TAG, parts, &found), FT_OK);
    CHECK_U128(found, expected);
}

static void
test_carries(void)
{
    /* 2^32 - 1 twice is 2^33 - 2; 2^64 - 1 and 1 carry through two limbs, 2^96 - 1 and 1 through
     * three. */
    ft_u128 limb[] = {{UINT32_MAX, 0}, {UINT32_MAX, 0}};
    check_sum(limb, 2, (ft_u128){0x1FFFFFFFE, 0});
    ft_u128 word[] = {{UINT64_MAX, 0}, {1, 0}};
    check_sum(word, 2, (ft_u128){0, 1});
    ft_u128 three[] = {{UINT64_MAX, UINT32_MAX}, {1, 0}};
    check_sum(three, 2, (ft_u128){0, 0x100000000});
    ft_u128 alone[] = {{0x0123456789ABCDEF, 0xFEDCBA9876543210}};
    check_sum(alone, 1, alone[0]);
    ft_u128 nothing[] = {{0, 0}, {0, 0}, {0, 0}};
    check_sum(nothing, 3, FT_U128_ZERO);
}

static void
test_overflow_is_kept(void)
{
    ft_u128 one_has_it[] = {{5, 0}, {UINT64_MAX, UINT64_MAX}, {7, 0}};
    check_sum(one_has_it, 3, FT_U128_OVERFLOW);
    ft_u128 all_have_it[] = {{UINT64_MAX, UINT64_MAX}, {UINT64_MAX, UINT64_MAX}};
    check_sum(all_have_it, 2, FT_U128_OVERFLOW);
    ft_u128 too_much[] = {{0, (uint64_t)1 << 63}, {0, (uint64_t)1 << 63}};
    check_sum(too_much, 2, FT_U128_OVERFLOW); /* 2^127 twice is 2^128 */
    ft_u128 most[] = {{UINT64_MAX - 1, UINT64_MAX}};
    check_sum(most, 1, most[0]); /* 2^128 - 2, the largest count */
    ft_u128 mark[] = {{UINT64_MAX - 1, UINT64_MAX}, {1, 0}};
    check_sum(mark, 2, FT_U128_OVERFLOW);
}

/* The limbs of that many ranks that all have the same count: each limb times their number. */
static void
test_as_many_ranks_as_there_can_be(void)
{
    ft_u128 count = {UINT64_MAX, UINT64_MAX >> 31}, found = FT_U128_ZERO;
    int64_t limbs[FT_LIMB_COUNT];
    ft_limbs_split(count, TAG, limbs);
    for (int i = 0; i < FT_LIMB_COUNT; i++) {
        limbs[i] *= FT_LIMBS_MOST;
    }
    CHECK_STATUS(ft_limbs_join(limbs, TAG, FT_LIMBS_MOST, &found), FT_OK);
    CHECK_U128(found, ft_u128_multiply(count, ft_u128_of(FT_LIMBS_MOST)));
    CHECK(!ft_u128_overflowed(found));
    CHECK_STATUS(ft_limbs_join(limbs, TAG, FT_LIMBS_MOST + 1U, &found), FT_BAD_SUM);
}

static void
test_random_counts(void)
{
    uint64_t state = 20261121;
    for (int round = 0; round < 2000; round++) {
        int64_t sum[FT_LIMB_COUNT] = {0};
        ft_u128 expected = FT_U128_ZERO, found = FT_U128_ZERO;
        uint32_t parts = 1 + (uint32_t)(test_random(&state) % 40);
        for (uint32_t i = 0; i < parts; i++) {
            int shift = (int)(test_random(&state) % 64);
            ft_u128 count = {test_random(&state) << 33 | test_random(&state),
                             (test_random(&state) << 33 | test_random(&state)) >> shift};
            expected = ft_u128_add(expected, count);
            add_limbs(sum, count, 17);
        }
        CHECK_STATUS(ft_limbs_join(sum, 17, parts, &found), FT_OK);
        CHECK_U128(found, expected);
    }
}

/* What no sum of `parts` counts of that tag can be; the result stays as it was. */
static void
test_other_sums_are_refused(void)
{
    ft_u128 found = {42, 0};
    int64_t good[FT_LIMB_COUNT] = {0};
    add_limbs(good, ft_u128_of(5), 3);
    add_limbs(good, ft_u128_of(6), 3);
    CHECK_STATUS(ft_limbs_join(good, 3, 2, &found), FT_OK);
    CHECK_U128(found, ft_u128_of(11));
    CHECK_STATUS(ft_limbs_join(good, 3, 3, &found), FT_BAD_SUM); /* one did not take part */
    CHECK_STATUS(ft_limbs_join(good, 3, 1, &found), FT_BAD_SUM);
    CHECK_STATUS(ft_limbs_join(good, 3, 0, &found), FT_BAD_SUM);
    CHECK_STATUS(ft_limbs_join(good, 4, 2, &found), FT_BAD_SUM); /* summed for another purpose */
    for (int i = 0; i < FT_LIMB_COUNT; i++) {
        static const int64_t wrong[] = {-1, INT64_MIN, INT64_MAX};
        for (size_t j = 0; j < FT_COUNT_OF(wrong); j++) {
            int64_t limbs[FT_LIMB_COUNT];
            for (int k = 0; k < FT_LIMB_COUNT; k++) {
                limbs[k] = k == i ? wrong[j] : good[k];
            }
            CHECK_STATUS(ft_limbs_join(limbs, 3, 2, &found), FT_BAD_SUM);
        }
    }
    CHECK_U128(found, ft_u128_of(11));
}

TEST_MAIN(test_carries, test_overflow_is_kept, test_as_many_ranks_as_there_can_be,
          test_random_counts, test_other_sums_are_refused)
