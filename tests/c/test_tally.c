/* The tally keeps one row per key, finds it again among many, and loses nothing without memory. */
/* SPDX-License-Identifier: MIT */
#include "ft_test.h"
#include "ft_test_doubles.h"

enum { KEYS = 3000 };

static ft_work_key
key_of(uint32_t number)
{
    return (ft_work_key){.op = number % 7,
                         .module = number / 7,
                         .dtype = (uint16_t)(number % 3),
                         .phase = (uint8_t)(number % FT_PHASE_COUNT),
                         .op_class = number % 2 ? FT_CLASS_MATMUL : FT_CLASS_POINTWISE};
}

static ft_cost
cost_of(uint64_t mac, uint64_t arith)
{
    ft_cost cost = {0};
    cost.by_kind[FT_MAC] = ft_u128_of(mac);
    cost.by_kind[FT_ARITH] = ft_u128_of(arith);
    return cost;
}

static void
test_rows(void)
{
    ft_tally tally;
    ft_tally_init(&tally, ft_allocator_libc());
    ft_cost cost = cost_of(3, 1);
    for (int round = 0; round < 2; round++) {
        for (uint32_t i = 0; i < KEYS; i++) {
            CHECK_STATUS(ft_tally_add(&tally, key_of(i), &cost, 5), FT_OK);
        }
    }
    CHECK_U64(tally.count, KEYS);
    for (uint32_t i = 0; i < KEYS; i++) { /* in the order in which they came */
        CHECK(tally.rows[i].key.op == i % 7 && tally.rows[i].key.module == i / 7);
        CHECK_U64(tally.rows[i].calls, 10);
        CHECK_U128(tally.rows[i].cost.by_kind[FT_MAC], ft_u128_of(6));
    }
    /* 6 mac and 2 arith in each of 3000 rows; under matmul the 1500 rows of contractions only. */
    CHECK_U128(ft_tally_total(&tally, ft_convention_find("standard")), ft_u128_of(3000 * 14));
    CHECK_U128(ft_tally_total(&tally, ft_convention_find("matmul")), ft_u128_of(1500 * 12));
    CHECK_U128(ft_tally_kind(&tally, FT_ARITH), ft_u128_of(6000));
    ft_tally_clear(&tally);
    CHECK_U64(tally.count, 0);
}

static void
test_sums(void)
{
    ft_tally tally;
    ft_tally_init(&tally, ft_allocator_libc());
    const ft_convention *macs = ft_convention_find("macs");
    static const struct {
        ft_work_key key;
        uint64_t mac;
    } rows[] = {
        {{0, 1, 2, FT_PHASE_FORWARD, FT_CLASS_MATMUL}, 1},
        {{0, 3, 2, FT_PHASE_BACKWARD, FT_CLASS_MATMUL}, 20},
        {{4, 3, 1, FT_PHASE_BACKWARD, FT_CLASS_CONV}, 300},
    };
    for (size_t i = 0; i < FT_COUNT_OF(rows); i++) {
        ft_cost cost = cost_of(rows[i].mac, 0);
        CHECK_STATUS(ft_tally_add(&tally, rows[i].key, &cost, 1), FT_OK);
    }
    static const uint64_t expected[][5] = {
        [FT_BY_OP] = {21, 0, 0, 0, 300},    [FT_BY_MODULE] = {0, 1, 0, 320, 0},
        [FT_BY_PHASE] = {1, 320, 0, 0, 0},  [FT_BY_DTYPE] = {0, 300, 21, 0, 0},
        [FT_BY_CLASS] = {21, 300, 0, 0, 0},
    };
    for (size_t axis = 0; axis < FT_COUNT_OF(expected); axis++) {
        ft_u128 sums[5] = {{0, 0}};
        ft_tally_sum(&tally, macs, (ft_axis)axis, sums, 5);
        for (size_t i = 0; i < 5; i++) {
            CHECK_U128(sums[i], ft_u128_of(expected[axis][i]));
        }
    }
    ft_u128 few[2] = {{0, 0}};
    ft_tally_sum(&tally, macs, FT_BY_MODULE, few, 2); /* what lies beyond is left out */
    CHECK_U128(few[1], ft_u128_of(1));
    ft_tally_clear(&tally);
}

static void
test_merge(void)
{
    ft_tally one, other;
    ft_tally_init(&one, ft_allocator_libc());
    ft_tally_init(&other, ft_allocator_libc());
    ft_cost cost = cost_of(2, 0);
    ft_tally_add(&one, key_of(1), &cost, 1);
    ft_tally_add(&other, key_of(2), &cost, 1);
    ft_tally_add(&other, key_of(1), &cost, 4);
    other.operations = 5;
    other.unknown_operations = 1;
    CHECK_STATUS(ft_tally_visit(&other, 40), FT_OK);
    CHECK(!ft_tally_equal(&one, &other));
    CHECK_STATUS(ft_tally_merge(&one, &other, 1), FT_OK);
    CHECK_U64(one.count, 2);
    CHECK_U64(one.rows[0].calls, 5);
    CHECK_U128(one.rows[0].cost.by_kind[FT_MAC], ft_u128_of(4));
    CHECK(one.operations == 5 && one.unknown_operations == 1);
    CHECK(ft_tally_visits(&one, 40) == 1 && ft_tally_visits(&one, 3) == 0);
    CHECK_U64(ft_tally_visits(&one, 4000), 0);

    CHECK_STATUS(ft_tally_merge(&one, &other, 0), FT_OK); /* nothing */
    CHECK_U64(one.operations, 5);
    CHECK_STATUS(ft_tally_merge(&one, &other, 3), FT_OK);
    CHECK_U64(one.rows[0].calls, 5 + 3 * 4);
    CHECK_U128(one.rows[1].cost.by_kind[FT_MAC], ft_u128_of(2 + 3 * 2));
    CHECK_U64(one.operations, 5 + 3 * 5);
    CHECK_U64(ft_tally_visits(&one, 40), 4);
    ft_tally_clear(&one);
    ft_tally_clear(&other);
}

/* Equal are the same rows in any order, and what was called as often. */
static void
test_equal(void)
{
    ft_tally one, other;
    ft_tally_init(&one, ft_allocator_libc());
    ft_tally_init(&other, ft_allocator_libc());
    ft_cost cost = cost_of(2, 0), more = cost_of(3, 0);
    CHECK(ft_tally_equal(&one, &other));
    for (uint32_t i = 0; i < 5; i++) {
        ft_tally_add(&one, key_of(i), &cost, 1);
        ft_tally_add(&other, key_of(4 - i), &cost, 1);
    }
    CHECK(ft_tally_equal(&one, &other));
    ft_tally_visit(&one, 2);
    CHECK(!ft_tally_equal(&one, &other));
    ft_tally_visit(&other, 2);
    CHECK(ft_tally_equal(&one, &other));
    ft_tally_add(&one, key_of(3), &cost, 0);
    ft_tally_add(&other, key_of(3), &more, 0);
    CHECK(!ft_tally_equal(&one, &other));
    ft_tally_clear(&one);
    ft_tally_clear(&other);
}

/* Each allocation fails once: the row that found no room comes in at the second try. */
static void
test_without_memory(void)
{
    size_t calls = 1;
    for (size_t fail_at = 1; fail_at <= calls; fail_at++) {
        test_heap heap = {.fail_at = fail_at};
        ft_tally tally;
        ft_tally_init(&tally, test_heap_allocator(&heap));
        ft_cost cost = cost_of(1, 0);
        for (uint32_t i = 0; i < KEYS; i++) {
            size_t before = tally.count;
            ft_status status = ft_tally_add(&tally, key_of(i), &cost, 1);
            if (status != FT_OK) {
                CHECK_STATUS(status, FT_NO_MEMORY);
                CHECK_U64(tally.count, before);
                CHECK_STATUS(ft_tally_add(&tally, key_of(i), &cost, 1), FT_OK);
            }
        }
        CHECK_U64(tally.count, KEYS);
        CHECK_U128(ft_tally_kind(&tally, FT_MAC), ft_u128_of(KEYS));
        ft_tally_clear(&tally);
        CHECK_U64(heap.live, 0);
        calls = heap.calls;
    }
    CHECK(calls > 10);
}

TEST_MAIN(test_rows, test_sums, test_merge, test_equal, test_without_memory)
