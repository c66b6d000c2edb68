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
count_traits(ft_replay *replay, ft_step_key key, ft_step_sign sign, ft_step_traits traits,
             uint64_t mac)
{
    ft_tally work = work_of(mac);
    ft_counted_step step = {0};
    CHECK_STATUS(ft_replay_count(replay, key, sign, traits, &work, &step), FT_OK);
    CHECK_U64(work.count, 0);
    CHECK_U128(step.flops, ft_u128_of(mac));
    return step;
}

static ft_counted_step
count(ft_replay *replay, ft_step_key key, uint64_t advance, uint64_t mac)
{
    return count_traits(replay, key, (ft_step_sign){advance, 0, 0}, (ft_step_traits){0}, mac);
}

static ft_counted_step
count_compiled(ft_replay *replay, ft_step_key key, uint64_t advance, uint64_t rest, uint64_t mac)
{
    return count_traits(replay, key, (ft_step_sign){advance, rest, 0},
                        (ft_step_traits){.compiled = true}, mac);
}

/* What the step cost; UINT64_MAX where that is not known yet. */
static uint64_t
take_sign(ft_replay *replay, ft_step_key key, uint64_t advance, uint64_t rest)
{
    bool known = false;
    ft_u128 flops = FT_U128_ZERO;
    ft_step_sign sign = {advance, rest, 0};
    CHECK_STATUS(ft_replay_take(replay, key, sign, &known, &flops), FT_OK);
    CHECK(flops.hi == 0 && (known || flops.lo == 0));
    return known ? flops.lo : UINT64_MAX;
}

static uint64_t
take(ft_replay *replay, ft_step_key key, uint64_t advance)
{
    return take_sign(replay, key, advance, 0);
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

/* What is left of a step beside the nodes that it made tells kinds apart as well. */
static void
test_kinds_by_the_rest_of_their_sign(void)
{
    ft_replay replay;
    begin(&replay, FT_TRACE_FIRST, 1);
    count_traits(&replay, A, (ft_step_sign){8, 1, 0}, (ft_step_traits){0}, 10);
    CHECK_U64(take_sign(&replay, A, 8, 2), UINT64_MAX);
    CHECK_U64(count_traits(&replay, A, (ft_step_sign){8, 2, 0}, (ft_step_traits){0}, 4).resolved,
              1);
    CHECK_U64(take_sign(&replay, A, 8, 1), 10);
    CHECK_U64(take_sign(&replay, A, 8, 2), 4);
    CHECK_U64(total(&replay), 10 + 4 + 4 + 10 + 4);
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
    CHECK(step.differs && !step.varies);
    CHECK_U128(step.before, ft_u128_of(10));
    CHECK(!count(&replay, A, 8, 12).differs);
    step = count(&replay, A, 8, 10);
    CHECK(step.differs && step.varies);
    step = count(&replay, A, 8, 12);
    CHECK(!step.differs && !step.varies); /* that was said */
    CHECK_U64(total(&replay), 56);
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

/* A change that stays is one difference: after it few steps are counted again. */
static void
test_work_that_changes_once(void)
{
    ft_replay replay;
    begin(&replay, FT_TRACE_AUTO, 100);
    uint64_t differences = 0;
    for (int i = 0; i < 4000; i++) {
        uint64_t mac = i < 2000 ? 10 : 20;
        if (ft_replay_wants(&replay, A)) {
            ft_counted_step step = count(&replay, A, 8, mac);
            CHECK(!step.varies);
            differences += step.differs;
        }
        else {
            take(&replay, A, 8);
        }
    }
    CHECK_U64(differences, 1);
    CHECK(replay.counted < 70);
    /* At most 150 steps between two audits took the old profile for the new one. */
    CHECK(total(&replay) <= 60000 && total(&replay) >= 60000 - 150 * 10);
    ft_replay_clear(&replay);
}

/* Where sizes depend on data, no step stands for another one. */
static void
test_work_that_data_decides(void)
{
    ft_replay replay;
    begin(&replay, FT_TRACE_AUTO, 100);
    ft_step_traits traits = {.varies = true};
    CHECK(count_traits(&replay, A, (ft_step_sign){8, 0, 0}, traits, 10).varies);
    CHECK(ft_replay_wants(&replay, A));
    CHECK(!count_traits(&replay, A, (ft_step_sign){8, 0, 0}, traits, 11).varies);
    CHECK(ft_replay_wants(&replay, A) && ft_replay_wants(&replay, B));
    CHECK_U64(total(&replay), 21);
    ft_replay_clear(&replay);

    begin(&replay, FT_TRACE_AUTO, 100); /* a new kind each time: layers dropped at random, say */
    uint64_t expected = 0;
    for (uint64_t i = 0; i < 200; i++) {
        expected += i;
        if (ft_replay_wants(&replay, A)) {
            count(&replay, A, i, i);
        }
        else {
            expected -= take(&replay, A, i) == UINT64_MAX ? i : 0;
        }
    }
    CHECK(ft_replay_wants(&replay, A) && replay.waiting <= 4);
    CHECK_U64(total(&replay), expected);
    ft_replay_clear(&replay);

    begin(&replay, FT_TRACE_AUTO, 100); /* and of many keys */
    for (uint64_t i = 0; i < 2000; i++) {
        ft_step_key key = {i % 100, 7};
        if (ft_replay_wants(&replay, key)) {
            count(&replay, key, i, i);
        }
        else {
            take(&replay, key, i);
        }
    }
    CHECK(replay.varies && replay.surprises == 10);
    CHECK_U64(replay.counted, 2000 - 10);
    ft_replay_clear(&replay);
}

/* The gap doubles: 10 audits in the first 1,000 steps or so, and then one in about 200. */
static void
test_audits(void)
{
    ft_replay replay;
    begin(&replay, FT_TRACE_AUTO, 200);
    uint64_t between = 0, most = 0;
    for (int i = 0; i < 100000; i++) {
        if (ft_replay_wants(&replay, A)) {
            most = between > most ? between : most;
            between = 0;
            count(&replay, A, 8, 7);
        }
        else {
            between++;
            take(&replay, A, 8);
        }
        CHECK(i != 1000 || (replay.counted >= 8 && replay.counted <= 16));
    }
    CHECK(replay.counted > 450 && replay.counted < 560);
    CHECK(most > 250 && most <= 300);
    CHECK_U64(total(&replay), 700000);
    ft_replay_clear(&replay);
}

/* Three counted steps of one kind in vain: the next one is not counted, to see how it looks. */
static void
count_thrice(ft_replay *replay, ft_step_sign sign, bool compiled, uint64_t mac)
{
    ft_step_traits traits = {.compiled = compiled};
    for (int i = 0; i < 3; i++) {
        CHECK(ft_replay_wants(replay, A));
        CHECK_U64(count_traits(replay, A, sign, traits, mac).resolved, 0);
    }
    CHECK(!ft_replay_wants(replay, A));
}

/* Counted, a compiled step makes 6 nodes, and runs as one of 2; the step that compiles makes 50. */
static void
test_compiled(void)
{
    ft_replay replay;
    ft_u128 flops;
    ft_step_sign sign = {6, 1, 0};
    begin(&replay, FT_TRACE_FIRST, 1);
    count_compiled(&replay, A, 6, 1, 10);
    CHECK_U64(take_sign(&replay, A, 50, 1), UINT64_MAX);
    count_thrice(&replay, sign, true, 10);
    CHECK_U64(take_sign(&replay, A, 2, 1), UINT64_MAX); /* 50 were the step that compiled */
    CHECK(!ft_replay_wants(&replay, A));
    CHECK_U64(take_sign(&replay, A, 2, 1), UINT64_MAX); /* but now it is clear */
    CHECK_U64(replay.explained, 2);
    CHECK_U64(replay.waiting, 1); /* the one that compiled: nothing is known of it */
    CHECK(ft_replay_known(&replay, A, (ft_step_sign){2, 1, 0}, &flops) && flops.lo == 10);
    for (int i = 0; i < 64; i++) { /* it is looked for, and given up */
        count_compiled(&replay, A, 6, 1, 10);
    }
    CHECK(!ft_replay_wants(&replay, A));
    CHECK_U64(take_sign(&replay, A, 2, 1), 10);
    CHECK_U64(total(&replay), 40 + 20 + 640 + 10);
    ft_replay_clear(&replay);
}

/* Compiled, every 5th step does more: it is no look of the others, and is found by counting. */
static void
test_compiled_steps_that_come_now_and_then(void)
{
    ft_replay replay;
    begin(&replay, FT_TRACE_FIRST, 1);
    uint64_t expected = 0, waiting = 0;
    for (uint64_t i = 0; i < 200; i++) {
        bool more = i % 5 == 4;
        uint64_t mac = more ? 17 : 10;
        expected += mac;
        if (ft_replay_wants(&replay, A)) {
            count_compiled(&replay, A, more ? 9 : 6, 1, mac);
        }
        else {
            take_sign(&replay, A, more ? 3 : 2, 1);
        }
    }
    waiting = replay.waiting;
    CHECK(total(&replay) <= expected && total(&replay) >= expected - 17 * waiting);
    CHECK(waiting <= 16);
    ft_replay_clear(&replay);
}

/* Counting may change versions: it is known that it does when it did from the start. */
static void
test_versions(void)
{
    ft_replay replay;
    bool known;
    ft_u128 flops;
    ft_step_sign counted = {6, 1, 10}, seen = {6, 1, 11}, other = {6, 1, 12};
    begin(&replay, FT_TRACE_FIRST, 1);
    count_traits(&replay, A, counted, (ft_step_traits){0}, 5);
    CHECK_STATUS(ft_replay_take(&replay, A, seen, &known, &flops), FT_OK);
    CHECK(!known);
    count_thrice(&replay, counted, false, 5);
    CHECK_STATUS(ft_replay_take(&replay, A, seen, &known, &flops), FT_OK);
    CHECK_STATUS(ft_replay_take(&replay, A, seen, &known, &flops), FT_OK);
    CHECK(!known && replay.waiting == 0 && replay.explained == 3);
    CHECK_STATUS(ft_replay_take(&replay, A, seen, &known, &flops), FT_OK);
    CHECK(known && flops.lo == 5);
    CHECK_STATUS(ft_replay_take(&replay, A, other, &known, &flops), FT_OK);
    CHECK(!known); /* it is known how the first kind looks */
    for (int i = 0; i < 8; i++) {
        CHECK_U64(count_traits(&replay, A, counted, (ft_step_traits){0}, 5).resolved, 0);
    }
    CHECK_U64(count_traits(&replay, A, other, (ft_step_traits){0}, 9).resolved, 1);
    /* A counted step of what was taken for a look: two steps before cost 5, and may have cost 8. */
    ft_counted_step step = count_traits(&replay, A, seen, (ft_step_traits){0}, 8);
    CHECK(step.differs && step.before.lo == 5);
    CHECK_STATUS(ft_replay_take(&replay, A, seen, &known, &flops), FT_OK);
    CHECK(known && flops.lo == 8);
    ft_replay_clear(&replay);
}

/* A second backward now and then, which only versions tell: it is a kind of its own. */
static void
test_versions_that_come_now_and_then(void)
{
    ft_replay replay;
    bool known;
    ft_u128 flops;
    ft_step_sign often = {6, 1, 0}, rare = {6, 1, 1};
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
            CHECK_STATUS(ft_replay_take(&replay, A, sign, &known, &flops), FT_OK);
        }
    }
    CHECK_U64(replay.waiting, 0);
    CHECK_U64(total(&replay), expected);
    CHECK(replay.counted < 20);
    ft_replay_clear(&replay);
}

/* Two kinds that leave the same behind: compiled, neither can be told from the other. */
static void
test_compiled_kinds_that_look_alike(void)
{
    ft_replay replay;
    begin(&replay, FT_TRACE_FIRST, 1);
    count_compiled(&replay, A, 6, 1, 10);
    count_compiled(&replay, A, 7, 1, 11);
    CHECK_U64(take_sign(&replay, A, 2, 1), UINT64_MAX);
    for (int i = 0; i < 64; i++) {
        CHECK(ft_replay_wants(&replay, A));
        count_compiled(&replay, A, 6 + (uint64_t)i % 2, 1, 10 + (uint64_t)i % 2);
    }
    CHECK(!ft_replay_wants(&replay, A)); /* in vain */
    CHECK_U64(replay.waiting, 1);
    ft_replay_clear(&replay);
}

/* At the end of each epoch there is a step like no other: the first is lost, others are found. */
static void
test_steps_that_are_given_up(void)
{
    ft_replay replay;
    ft_u128 flops;
    begin(&replay, FT_TRACE_FIRST, 1);
    count(&replay, A, 8, 10);
    CHECK_U64(take(&replay, A, 11), UINT64_MAX);
    CHECK(!ft_replay_known(&replay, A, (ft_step_sign){11, 0, 0}, &flops));
    CHECK(!ft_replay_known(&replay, B, (ft_step_sign){8, 0, 0}, &flops));
    ft_replay_abandon(&replay);
    CHECK(replay.waiting == 0 && replay.lost == 1);
    CHECK(ft_replay_wants(&replay, A));
    count(&replay, A, 8, 10);
    CHECK(ft_replay_wants(&replay, A));
    CHECK_U64(count(&replay, A, 11, 30).resolved, 0);
    CHECK(!ft_replay_wants(&replay, A));
    CHECK_U64(take(&replay, A, 11), 30);
    CHECK_U64(total(&replay), 80);
    ft_replay_clear(&replay);
}

/* Work of no kind, such as a step that was broken off. */
static void
test_settling(void)
{
    ft_replay replay;
    begin(&replay, FT_TRACE_FIRST, 1);
    ft_tally work = work_of(7);
    CHECK_STATUS(ft_replay_settle(&replay, &work), FT_OK);
    CHECK_U64(work.count, 0);
    ft_tally sum;
    ft_tally_init(&sum, ft_allocator_libc());
    CHECK_STATUS(ft_replay_sum(&replay, &sum), FT_OK);
    CHECK_U128(ft_tally_total(&sum, replay.convention), ft_u128_of(7));
    ft_tally_clear(&sum);
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
            if (ft_replay_count(&replay, key, (ft_step_sign){8, 0, 0}, (ft_step_traits){0}, &own,
                                &step) != FT_OK) {
                CHECK_U64(own.count, 2);
                CHECK_STATUS(ft_replay_count(&replay, key, (ft_step_sign){8, 0, 0},
                                             (ft_step_traits){0}, &own, &step),
                             FT_OK);
            }
            if (ft_replay_take(&replay, key, (ft_step_sign){8, 0, 0}, &known, &flops) != FT_OK) {
                CHECK_STATUS(ft_replay_take(&replay, key, (ft_step_sign){8, 0, 0}, &known, &flops),
                             FT_OK);
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
          test_kinds_by_the_rest_of_their_sign, test_a_difference, test_work_that_changes_once,
          test_work_that_data_decides, test_audits, test_compiled,
          test_compiled_steps_that_come_now_and_then, test_versions,
          test_versions_that_come_now_and_then, test_compiled_kinds_that_look_alike,
          test_steps_that_are_given_up, test_settling, test_more_keys_than_are_kept,
          test_any_program_that_can_be_told_apart, test_without_memory)
