/* A run of which few steps are counted has the work of all of them; what is not known is not added.
 */
/* SPDX-License-Identifier: MIT */
#include "ft_test.h"
#include "ft_test_doubles.h"

static const ft_step_key A = {1, 1}, B = {2, 7};

/* Work of so many multiply-accumulates: so many FLOPs under "macs". */
static ft_tally
work_of(uint64_t mac)
{
    ft_tally work;
    ft_tally_init(&work, ft_allocator_libc());
    ft_work_key rows[] = {{.op = 3, .module = 1, .op_class = FT_CLASS_MATMUL},
                          {.op = 4, .module = 2, .op_class = FT_CLASS_CONV}};
    ft_cost part = {0};
    part.by_kind[FT_MAC] = ft_u128_of(mac / 2);
    ft_tally_add(&work, rows[0], &part, 1);
    part.by_kind[FT_MAC] = ft_u128_of(mac - mac / 2);
    ft_tally_add(&work, rows[1], &part, 2);
    return work;
}

static void
begin(ft_replay *replay, ft_trace_mode trace, uint64_t verify_every)
{
    ft_replay_init(replay, ft_allocator_libc(), ft_convention_find("macs"), trace, verify_every, 9);
}

static ft_counted_step
count_compiled(ft_replay *replay, ft_step_key key, uint64_t advance, bool compiled, uint64_t mac)
{
    ft_tally work = work_of(mac);
    ft_counted_step step = {0};
    CHECK_STATUS(ft_replay_count(replay, key, advance, compiled, &work, &step), FT_OK);
    CHECK_U64(work.count, 0);
    CHECK_U128(step.flops, ft_u128_of(mac));
    return step;
}

static ft_counted_step
count(ft_replay *replay, ft_step_key key, uint64_t advance, uint64_t mac)
{
    return count_compiled(replay, key, advance, false, mac);
}

/* What the step cost; UINT64_MAX where that is not known yet. */
static uint64_t
take(ft_replay *replay, ft_step_key key, uint64_t advance)
{
    bool known = false;
    ft_u128 flops = FT_U128_ZERO;
    CHECK_STATUS(ft_replay_take(replay, key, advance, &known, &flops), FT_OK);
    CHECK(flops.hi == 0 && (known || flops.lo == 0));
    return known ? flops.lo : UINT64_MAX;
}

static uint64_t
total(const ft_replay *replay)
{
    ft_tally sum;
    ft_tally_init(&sum, ft_allocator_libc());
    CHECK_STATUS(ft_replay_sum(replay, &sum), FT_OK);
    ft_u128 flops = ft_tally_total(&sum, replay->convention);
    /* Every step called the first operation once and the second one twice. */
    uint64_t steps = replay->counted + replay->taken;
    CHECK(sum.count == 0 ? steps == 0
                         : sum.rows[0].calls == steps && sum.rows[1].calls == 2 * steps);
    ft_tally_clear(&sum);
    CHECK(flops.hi == 0);
    return flops.lo;
}

static void
test_one_kind(void)
{
    ft_replay replay;
    begin(&replay, FT_TRACE_FIRST, 1);
    CHECK(ft_replay_wants(&replay, A));
    CHECK(!count(&replay, A, 8, 101).differs);
    CHECK(!ft_replay_wants(&replay, A));
    CHECK(ft_replay_wants(&replay, B));
    for (int i = 0; i < 999; i++) {
        CHECK_U64(take(&replay, A, 8), 101);
    }
    CHECK_U64(total(&replay), 101000); /* 1000 steps */
    CHECK_U64(replay.counted, 1);
    CHECK_U64(replay.taken, 999);
    ft_replay_clear(&replay);
}

static void
test_always(void)
{
    ft_replay replay;
    begin(&replay, FT_TRACE_ALWAYS, 1);
    for (uint64_t i = 1; i <= 10; i++) {
        CHECK(ft_replay_wants(&replay, A));
        count(&replay, A, 8, i);
    }
    CHECK_U64(total(&replay), 55);
    ft_replay_clear(&replay);
}

/* Steps of 8 and of 11 nodes take turns, which only shows when one is over. */
static void
test_a_step_waits_until_its_kind_is_counted(void)
{
    ft_replay replay;
    begin(&replay, FT_TRACE_FIRST, 1);
    count(&replay, A, 8, 10);
    CHECK_U64(take(&replay, A, 11), UINT64_MAX);
    CHECK_U64(replay.waiting, 1);
    CHECK_U64(total(&replay), 10); /* what is not known is not added */
    CHECK(ft_replay_wants(&replay, A));
    CHECK_U64(count(&replay, A, 8, 10).resolved, 0);
    CHECK(ft_replay_wants(&replay, A));
    CHECK_U64(count(&replay, A, 11, 30).resolved, 1);
    CHECK_U64(replay.waiting, 0);
    CHECK_U64(total(&replay), 10 + 30 + 10 + 30);
    CHECK(!ft_replay_wants(&replay, A));
    CHECK_U64(take(&replay, A, 8), 10);
    CHECK_U64(take(&replay, A, 11), 30);
    CHECK_U64(total(&replay), 120);
    ft_replay_clear(&replay);
}

/* Two steps of one kind that did different work: both are exact, and so is what follows. */
static void
test_a_difference(void)
{
    ft_replay replay;
    begin(&replay, FT_TRACE_AUTO, 1); /* every step is an audit */
    count(&replay, A, 8, 10);
    CHECK(ft_replay_wants(&replay, A));
    ft_counted_step step = count(&replay, A, 8, 12);
    CHECK(step.differs && !step.began_to_vary);
    CHECK_U128(step.before, ft_u128_of(10));
    CHECK(!count(&replay, A, 8, 12).differs);
    step = count(&replay, A, 8, 10);
    CHECK(step.differs && step.began_to_vary);
    CHECK_U64(total(&replay), 44);
    CHECK(ft_replay_wants(&replay, A));
    ft_replay_clear(&replay);

    begin(&replay, FT_TRACE_FIRST, 1);
    count(&replay, A, 8, 10);
    take(&replay, A, 8);
    step = count(&replay, A, 8, 12); /* what was taken before stays what it was */
    CHECK(step.differs);
    CHECK_U64(take(&replay, A, 8), 12);
    CHECK_U64(total(&replay), 10 + 10 + 12 + 12);
    ft_replay_clear(&replay);
}

/* In 10,000 steps about every 20th is counted, and never are there more than 2*20 - 2 between. */
static void
test_audits(void)
{
    ft_replay replay;
    begin(&replay, FT_TRACE_AUTO, 20);
    uint64_t between = 0, most = 0;
    for (int i = 0; i < 10000; i++) {
        if (ft_replay_wants(&replay, A)) {
            most = between > most ? between : most;
            between = 0;
            count(&replay, A, 8, 7);
        }
        else {
            between++;
            take(&replay, A, 8);
        }
    }
    CHECK(replay.counted > 400 && replay.counted < 600);
    CHECK(most > 30 && most <= 38);
    CHECK_U64(total(&replay), 70000);
    ft_replay_clear(&replay);
}

/* Counted, a compiled step makes 6 nodes, and runs as one of 2; the step that compiles makes 50. */
static void
test_compiled(void)
{
    ft_replay replay;
    ft_u128 flops;
    begin(&replay, FT_TRACE_FIRST, 1);
    count_compiled(&replay, A, 6, true, 10);
    CHECK(ft_replay_wants(&replay, A)); /* once may have been the first of a pair */
    count_compiled(&replay, A, 6, true, 10);
    CHECK(!ft_replay_wants(&replay, A));
    CHECK_U64(take(&replay, A, 50), 10);
    CHECK_U64(take(&replay, A, 2), UINT64_MAX);
    CHECK(ft_replay_wants(&replay, A));
    CHECK_U64(count_compiled(&replay, A, 6, true, 10).resolved, 1);
    CHECK(ft_replay_known(&replay, A, 2, &flops) && flops.lo == 10);
    CHECK(!ft_replay_wants(&replay, A));
    CHECK_U64(take(&replay, A, 2), 10);
    CHECK_U64(total(&replay), 60);
    ft_replay_clear(&replay);
}

/* Two kinds take turns, and compiled neither can be told from the other. */
static void
test_compiled_kinds_that_take_turns(void)
{
    ft_replay replay;
    begin(&replay, FT_TRACE_FIRST, 1);
    for (uint64_t i = 0; i < 200; i++) {
        CHECK(ft_replay_wants(&replay, A));
        count_compiled(&replay, A, 6 + i % 2, true, 10 + i % 2);
    }
    CHECK_U64(total(&replay), 100 * 10 + 100 * 11);
    count_compiled(&replay, A, 7, true, 11); /* twice the same in a row */
    CHECK(!ft_replay_wants(&replay, A));
    CHECK_U64(take(&replay, A, 2), 11);
    CHECK_U64(take(&replay, A, 3), UINT64_MAX);
    for (int i = 0; i < 64; i++) {
        CHECK(ft_replay_wants(&replay, A));
        count_compiled(&replay, A, 7, true, 11);
    }
    CHECK(!ft_replay_wants(&replay, A)); /* counted, it never has 3 */
    CHECK_U64(replay.waiting, 1);
    ft_replay_clear(&replay);
}

static void
test_steps_that_are_given_up(void)
{
    ft_replay replay;
    ft_u128 flops;
    begin(&replay, FT_TRACE_FIRST, 1);
    count(&replay, A, 8, 10);
    CHECK_U64(take(&replay, A, 11), UINT64_MAX);
    CHECK(!ft_replay_known(&replay, A, 11, &flops) && !ft_replay_known(&replay, B, 8, &flops));
    ft_replay_abandon(&replay);
    CHECK(replay.waiting == 0 && replay.lost == 1);
    CHECK(!ft_replay_wants(&replay, A));
    CHECK_U64(count(&replay, A, 11, 30).resolved, 0);
    CHECK_U64(total(&replay), 40);
    ft_replay_clear(&replay);
}

/* Shapes that hardly ever come again: memory stays bounded, and the sum exact. */
static void
test_more_keys_than_are_kept(void)
{
    ft_replay replay;
    begin(&replay, FT_TRACE_FIRST, 1);
    uint64_t expected = 0;
    for (uint64_t i = 0; i < 3000; i++) {
        ft_step_key key = {i, i << 32};
        count(&replay, key, 8, i);
        CHECK_U64(take(&replay, key, 8), i);
        expected += 2 * i;
        if (ft_replay_wants(&replay, A)) {
            count(&replay, A, 8, 5);
        }
        else {
            take(&replay, A, 8);
        }
        expected += 5;
    }
    CHECK(replay.group_count <= FT_MAX_GROUPS);
    CHECK(!ft_replay_wants(&replay, A)); /* it was in use all the time */
    CHECK(ft_replay_wants(&replay, (ft_step_key){3, 3ull << 32}));
    CHECK_U64(total(&replay), expected);
    ft_replay_clear(&replay);
}

/* A program with a hidden state: of each key some kinds, which take turns at random. */
static void
test_any_program_that_can_be_told_apart(void)
{
    uint64_t random = 12345;
    for (int run = 0; run < 200; run++) {
        ft_replay replay;
        begin(&replay, FT_TRACE_AUTO, 50);
        uint64_t expected = 0, unknown[2][3] = {{0}};
        for (int i = 0; i < 300; i++) {
            random = random * 6364136223846793005u + 1442695040888963407u;
            uint64_t which = random >> 33 & 1, advance = (random >> 40) % 3;
            uint64_t mac = 100 * which + 10 * advance + 1;
            ft_step_key key = which ? A : B;
            expected += mac;
            if (ft_replay_wants(&replay, key)) {
                CHECK(!count(&replay, key, advance, mac).differs);
                unknown[which][advance] = 0;
            }
            else if (take(&replay, key, advance) == UINT64_MAX) {
                unknown[which][advance] += mac;
            }
        }
        for (int which = 0; which < 2; which++) {
            for (int advance = 0; advance < 3; advance++) {
                expected -= unknown[which][advance];
            }
        }
        CHECK_U64(total(&replay), expected);
        CHECK_U64(replay.counted + replay.taken + replay.waiting, 300);
        ft_replay_clear(&replay);
    }
}

/* Each allocation fails once: nothing is lost or added twice, and the second try works. */
static void
test_without_memory(void)
{
    size_t calls = 1;
    for (size_t fail_at = 1; fail_at <= calls; fail_at++) {
        test_heap heap = {.fail_at = fail_at};
        ft_replay replay;
        ft_replay_init(&replay, test_heap_allocator(&heap), ft_convention_find("macs"),
                       FT_TRACE_FIRST, 1, 9);
        for (uint64_t i = 0; i < 1100; i++) {
            ft_step_key key = {i, 0};
            ft_counted_step step;
            bool known;
            ft_u128 flops;
            ft_tally work = work_of(i);
            /* The run keeps the rows: they must come from its own allocator. */
            ft_tally own;
            ft_tally_init(&own, test_heap_allocator(&heap));
            if (ft_tally_merge(&own, &work, 1) != FT_OK) {
                CHECK_STATUS(ft_tally_merge(&own, &work, 1), FT_OK);
            }
            ft_tally_clear(&work);
            if (ft_replay_count(&replay, key, 8, false, &own, &step) != FT_OK) {
                CHECK_U64(own.count, 2);
                CHECK_STATUS(ft_replay_count(&replay, key, 8, false, &own, &step), FT_OK);
            }
            if (ft_replay_take(&replay, key, 8, &known, &flops) != FT_OK) {
                CHECK_STATUS(ft_replay_take(&replay, key, 8, &known, &flops), FT_OK);
            }
        }
        CHECK_U64(total(&replay), 1100 * 1099);
        ft_replay_clear(&replay);
        CHECK_U64(heap.live, 0);
        calls = fail_at < 40 ? heap.calls : fail_at; /* later ones are of the same kinds */
    }
    CHECK(calls >= 40);
}

TEST_MAIN(test_one_kind, test_always, test_a_step_waits_until_its_kind_is_counted,
          test_a_difference, test_audits, test_compiled, test_compiled_kinds_that_take_turns,
          test_steps_that_are_given_up, test_more_keys_than_are_kept,
          test_any_program_that_can_be_told_apart, test_without_memory)
