/* Steps that leave something else behind where they are counted: code that is compiled, versions.
 */
/* SPDX-License-Identifier: MIT */
#include "ft_test_replay.h"

/* Steps of one kind: nodes where they are counted, where they are not, and work. */
typedef struct {
    uint64_t counted, seen, mac;
} way;

/* The number of the way that a step takes. */
typedef uint64_t program(uint64_t step);

/* Runs it; what it did is exact but for the steps that still wait. Returns how many do. */
static uint64_t
run(ft_trace_mode trace, const way *ways, program *way_of, uint64_t steps, uint64_t *counted)
{
    ft_replay replay;
    uint64_t expected = 0, unknown[4] = {0}, waiting = 0;
    begin(&replay, trace, 1000);
    for (uint64_t i = 0; i < steps; i++) {
        uint64_t number = way_of(i);
        const way *own = &ways[number];
        ft_step_sign as_counted = {own->counted, 1, 0, false}, as_seen = {own->seen, 1, 0, false};
        ft_u128 flops;
        expected += own->mac;
        if (ft_replay_wants(&replay, A)) {
            ft_counted_step step =
                count_traits(&replay, A, as_counted, (ft_step_traits){.compiled = true}, own->mac);
            CHECK(!step.differs);
        }
        else {
            uint64_t cost = take_sign(&replay, A, as_seen);
            CHECK(cost == UINT64_MAX || cost == own->mac);
            unknown[number] += cost == UINT64_MAX;
        }
        for (int j = 0; j < 4; j++) { /* whether what waited is known meanwhile */
            if (unknown[j] > 0 &&
                ft_replay_known(&replay, A, (ft_step_sign){ways[j].seen, 1, 0, false}, &flops)) {
                CHECK_U64(flops.lo, ways[j].mac);
                unknown[j] = 0;
            }
        }
    }
    for (int j = 0; j < 4; j++) {
        waiting += unknown[j];
        expected -= unknown[j] == 0 ? 0 : unknown[j] * ways[j].mac;
    }
    CHECK_U64(replay.waiting, waiting);
    CHECK_U64(total(&replay), expected);
    *counted = replay.counted;
    ft_replay_clear(&replay);
    return waiting;
}

static const way WAYS[] = {{6, 2, 10}, {9, 3, 17}, {14, 5, 31}, {6, 4, 10}};

static uint64_t
always_the_same(uint64_t step)
{
    (void)step;
    return 0;
}

/* Eight are watched, and three counted beside: the first one and these are all. */
static void
test_compiled(void)
{
    uint64_t counted;
    CHECK_U64(run(FT_TRACE_FIRST, WAYS, always_the_same, 500, &counted), 0);
    CHECK_U64(counted, 1 + 3);
    CHECK_U64(run(FT_TRACE_AUTO, WAYS, always_the_same, 500, &counted), 0);
    CHECK(counted <= 8 + 11);
}

#define NOW_AND_THEN(name, period, offset)          \
    static uint64_t name(uint64_t step)             \
    {                                               \
        return step % (period) == (offset) ? 1 : 0; \
    }
NOW_AND_THEN(every_5th, 5, 4)
NOW_AND_THEN(every_50th, 50, 49)
NOW_AND_THEN(the_first_of_50, 50, 0)
NOW_AND_THEN(every_16th, 16, 10)
NOW_AND_THEN(every_20th, 20, 13)
NOW_AND_THEN(each_second, 2, 1)

/* Compiled, some steps do more: they are no look of the others, and are found by counting 64; a few
 * are counted before and after, to know the common ones. */
static void
test_compiled_steps_that_come_now_and_then(void)
{
    static program *const programs[] = {every_5th,  every_50th, the_first_of_50,
                                        every_16th, every_20th, each_second};
    for (size_t i = 0; i < FT_COUNT_OF(programs); i++) {
        uint64_t counted;
        CHECK_U64(run(FT_TRACE_FIRST, WAYS, programs[i], 300, &counted), 0);
        CHECK(counted <= 64 + 20);
        CHECK_U64(run(FT_TRACE_AUTO, WAYS, programs[i], 300, &counted), 0);
        CHECK(counted <= 64 + 20 + 11);
    }
}

static uint64_t
two_kinds_now_and_then(uint64_t step)
{
    return step % 20 == 13 ? 1 : step % 33 == 30 ? 2 : 0;
}

static uint64_t
another_kind_from_the_8th_on(uint64_t step)
{
    return step < 8 ? 0 : 1;
}

static uint64_t
compiled_anew_at_100(uint64_t step)
{
    return step < 100 ? 0 : 3;
}

static void
test_compiled_steps_of_several_kinds(void)
{
    static program *const programs[] = {two_kinds_now_and_then, another_kind_from_the_8th_on,
                                        compiled_anew_at_100};
    for (size_t i = 0; i < FT_COUNT_OF(programs); i++) {
        uint64_t counted;
        CHECK_U64(run(FT_TRACE_AUTO, WAYS, programs[i], 500, &counted), 0);
        CHECK(counted <= 2 * 64 + 20);
    }
}

/* Compiled, what is rare leaves what the common ones leave where they are counted. */
static void
test_compiled_steps_that_look_like_counted_ones(void)
{
    static const way ways[] = {{6, 2, 10}, {9, 6, 17}, {14, 5, 31}, {6, 4, 10}};
    static program *const programs[] = {every_20th, every_50th, the_first_of_50, each_second};
    for (size_t i = 0; i < FT_COUNT_OF(programs); i++) {
        uint64_t counted;
        CHECK_U64(run(FT_TRACE_FIRST, ways, programs[i], 300, &counted), 0);
        CHECK_U64(run(FT_TRACE_AUTO, ways, programs[i], 300, &counted), 0);
    }
}

/* At the end, what may be of one known kind alone is taken to be. */
static void
test_the_end(void)
{
    ft_replay replay;
    ft_step_traits compiled = {.compiled = true};
    begin(&replay, FT_TRACE_FIRST, 1);
    count_traits(&replay, A, (ft_step_sign){6, 1, 0, false}, compiled, 10);
    CHECK_U64(take_sign(&replay, A, (ft_step_sign){2, 1, 0, false}), UINT64_MAX);
    CHECK_U64(ft_replay_decide(&replay), 1);
    CHECK_U64(take_sign(&replay, A, (ft_step_sign){2, 1, 0, false}), 10);
    CHECK_U64(take_sign(&replay, A, (ft_step_sign){3, 1, 0, false}), UINT64_MAX);
    CHECK_U64(ft_replay_decide(&replay), 0); /* that one has another look */
    CHECK_U64(total(&replay), 30);
    ft_replay_clear(&replay);
}

/* One in three at random: how often they come does not say which is which, their order does. */
static uint64_t
at_random(uint64_t step)
{
    return (step * 2654435761u >> 16) % 3 == 0;
}

static void
test_compiled_steps_at_random(void)
{
    uint64_t counted;
    CHECK_U64(run(FT_TRACE_AUTO, WAYS, at_random, 500, &counted), 0);
    CHECK(counted <= 64 + 20);
}

/* Counting may change versions: what is seen four times beside three counted ones is their
 * look. */
static void
test_versions(void)
{
    ft_replay replay;
    ft_step_traits none = {.compiled = false};
    ft_step_sign counted = {6, 1, 10, false}, seen = {6, 1, 11, false}, other = {6, 1, 12, false};
    begin(&replay, FT_TRACE_FIRST, 1);
    count_traits(&replay, A, counted, none, 5);
    for (int i = 0; i < 4; i++) {
        CHECK(!ft_replay_wants(&replay, A));
        CHECK_U64(take_sign(&replay, A, seen), UINT64_MAX);
    }
    for (int i = 1; i <= 3; i++) {
        CHECK(ft_replay_wants(&replay, A));
        CHECK_U64(count_traits(&replay, A, counted, none, 5).resolved, i < 3 ? 0 : 4);
    }
    CHECK_U64(replay.waiting, 0);
    CHECK_U64(take_sign(&replay, A, seen), 5);
    CHECK_U64(take_sign(&replay, A, other), UINT64_MAX);
    CHECK(!ft_replay_wants(&replay, A));
    CHECK_U64(take_sign(&replay, A, seen), 5); /* it is not the look that has changed */
    for (int i = 0; i < 8; i++) {
        CHECK(ft_replay_wants(&replay, A));
        CHECK_U64(count_traits(&replay, A, counted, none, 5).resolved, 0);
    }
    CHECK_U64(count_traits(&replay, A, other, none, 9).resolved, 1);
    /* A counted step of what was taken for a look: those before cost 5, and may have cost 8. */
    ft_counted_step step = count_traits(&replay, A, seen, none, 8);
    CHECK(step.differs && step.before.lo == 5);
    CHECK_U64(take_sign(&replay, A, seen), 8);
    ft_replay_clear(&replay);
}

/* A second backward now and then, which only versions tell: it is a kind of its own. */
static void
test_versions_that_come_now_and_then(void)
{
    ft_replay replay;
    ft_step_sign often = {6, 1, 0, false}, rare = {6, 1, 1, false};
    begin(&replay, FT_TRACE_FIRST, 1);
    uint64_t expected = 0;
    for (uint64_t i = 0; i < 200; i++) {
        uint64_t mac = i > 0 && i % 8 == 1 ? 9 : 5;
        ft_step_sign sign = mac == 9 ? rare : often;
        expected += mac;
        if (ft_replay_wants(&replay, A)) {
            CHECK(!count_traits(&replay, A, sign, (ft_step_traits){0}, mac).differs);
        }
        else {
            take_sign(&replay, A, sign);
        }
    }
    CHECK_U64(replay.waiting, 0);
    CHECK_U64(total(&replay), expected);
    CHECK(replay.counted < 20);
    ft_replay_clear(&replay);
}

/* Steps of two kinds, which leave the same behind where they are compiled: it is said, and all are
 * counted from then on. Returns how many were taken before, each as 10 or 11. */
static uint64_t
run_alike(program *way_of, uint64_t *counted)
{
    ft_replay replay;
    bool told = false;
    uint64_t expected = 0;
    begin(&replay, FT_TRACE_AUTO, 1000);
    for (uint64_t i = 0; i < 1000; i++) {
        uint64_t number = way_of(i);
        expected += 10 + number;
        if (!ft_replay_wants(&replay, A)) {
            take_sign(&replay, A, (ft_step_sign){2, 1, 0, false});
            continue;
        }
        ft_step_sign sign = {6 + number, 1, 0, false};
        ft_counted_step step =
            count_traits(&replay, A, sign, (ft_step_traits){.compiled = true}, 10 + number);
        told = told || step.varies;
    }
    CHECK(told && ft_replay_wants(&replay, A));
    uint64_t missing = replay.waiting * 11;
    CHECK(total(&replay) + missing + replay.taken >= expected &&
          total(&replay) <= expected + replay.taken);
    *counted = replay.counted;
    uint64_t taken = replay.taken;
    ft_replay_clear(&replay);
    return taken;
}

static uint64_t
others_from_the_300th_on(uint64_t step)
{
    return step >= 300;
}

static void
test_compiled_kinds_that_look_alike(void)
{
    uint64_t counted;
    CHECK_U64(run_alike(each_second, &counted), 0); /* neither is known, ever */
    CHECK(counted >= 1000 - 24);
    /* The gap between two audits is at most 256 then; three are needed, close to each other. */
    CHECK(run_alike(others_from_the_300th_on, &counted) <= 300 + 384 + 40);
    CHECK(run_alike(every_5th, &counted) <= 300);
    CHECK(run_alike(at_random, &counted) <= 300);
}

TEST_MAIN(test_compiled, test_compiled_steps_that_come_now_and_then,
          test_compiled_steps_of_several_kinds, test_compiled_steps_that_look_like_counted_ones,
          test_the_end, test_compiled_steps_at_random, test_versions,
          test_versions_that_come_now_and_then, test_compiled_kinds_that_look_alike)
