/* Products over dimensions, and which dimension lists are shapes at all. */
/* SPDX-License-Identifier: MIT */
#include "ft_test.h"

#define BIG ((int64_t)1 << 62)

static ft_shape
shape_of(const int64_t *dims, int ndim)
{
    return (ft_shape){dims, ndim};
}

static void
test_numel(void)
{
    const int64_t small[] = {2, 3, 5}, big[] = {BIG, BIG}, too_big[] = {BIG, BIG, 16};
    const int64_t largest[] = {BIG, BIG, 15};
    CHECK_U128(ft_shape_numel(shape_of(NULL, 0)), ft_u128_of(1)); /* the empty product */
    CHECK_U128(ft_shape_numel(shape_of(small, 1)), ft_u128_of(2));
    CHECK_U128(ft_shape_numel(shape_of(small, 3)), ft_u128_of(30));
    /* 2^62 * 2^62 = 2^124 = 2^60 * 2^64; 15 * 2^124 still fits and 16 * 2^124 = 2^128 does not. */
    CHECK_U128(ft_shape_numel(shape_of(big, 2)), ((ft_u128){0, (uint64_t)1 << 60}));
    CHECK_U128(ft_shape_numel(shape_of(largest, 3)), ((ft_u128){0, (uint64_t)15 << 60}));
    CHECK_U128(ft_shape_numel(shape_of(too_big, 3)), FT_U128_OVERFLOW);
}

static void
test_zero_dimension(void)
{
    for (int zero_at = 0; zero_at < 4; zero_at++) {
        int64_t dims[] = {BIG, BIG, BIG, BIG};
        CHECK_U128(ft_shape_numel(shape_of(dims, 4)), FT_U128_OVERFLOW);
        dims[zero_at] = 0;
        CHECK_U128(ft_shape_numel(shape_of(dims, 4)), FT_U128_ZERO);
    }
}

static void
test_ranges(void)
{
    const int64_t dims[] = {2, 3, 5, 7}, with_zero[] = {0, 4, 6, 0};
    ft_shape shape = shape_of(dims, 4);
    for (int first = 0; first <= 4; first++) {
        for (int last = first; last <= 4; last++) {
            uint64_t product = 1;
            for (int i = first; i < last; i++) {
                product *= (uint64_t)dims[i];
            }
            CHECK_U128(ft_shape_product(shape, first, last), ft_u128_of(product));
        }
    }
    CHECK_U128(ft_shape_product(shape, 1, 3), ft_u128_of(15)); /* 3*5 */
    CHECK_U128(ft_shape_product(shape, 4, 4), ft_u128_of(1));
    /* A zero outside of the range plays no part: 4*6. */
    CHECK_U128(ft_shape_product(shape_of(with_zero, 4), 1, 3), ft_u128_of(24));
    CHECK_U128(ft_shape_product(shape_of(with_zero, 4), 0, 3), FT_U128_ZERO);
    CHECK_U128(ft_shape_product(shape_of(with_zero, 4), 1, 4), FT_U128_ZERO);
}

static void
test_valid(void)
{
    int64_t dims[65];
    for (int i = 0; i < 65; i++) {
        dims[i] = 2;
    }
    CHECK(ft_shape_valid(shape_of(NULL, 0)));
    CHECK(!ft_shape_valid(shape_of(NULL, -1)));
    CHECK_U64(FT_MAX_DIMS, 64);
    CHECK(ft_shape_valid(shape_of(dims, 64)));
    CHECK(!ft_shape_valid(shape_of(dims, 65)));
    /* 64 times 2 is 2^64. */
    CHECK_U128(ft_shape_numel(shape_of(dims, 64)), ((ft_u128){0, 1}));
    for (int i = 0; i < 64; i += 21) { /* the first, two in the middle and the last */
        dims[i] = 0;
        CHECK(ft_shape_valid(shape_of(dims, 64)));
        dims[i] = -1;
        CHECK(!ft_shape_valid(shape_of(dims, 64)));
        dims[i] = INT64_MIN;
        CHECK(!ft_shape_valid(shape_of(dims, 64)));
        dims[i] = INT64_MAX;
        CHECK(ft_shape_valid(shape_of(dims, 64)));
        dims[i] = 2;
    }
}

TEST_MAIN(test_numel, test_zero_dimension, test_ranges, test_valid)
