/* A run of which few steps are counted has the work of all of them; what is not known is not added.
 */
/* SPDX-License-Identifier: MIT */
#include "ft_test_replay.h"

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
    count_traits(&replay, A, (ft_step_sign){8, 1, 0, false}, (ft_step_traits){0}, 10);
    CHECK_U64(take_sign(&replay, A, (ft_step_sign){8, 2, 0, false}), UINT64_MAX);
    CHECK_U64(
        count_traits(&replay, A, (ft_step_sign){8, 2, 0, false}, (ft_step_traits){0}, 4).resolved,
        1);
    CHECK_U64(take_sign(&replay, A, (ft_step_sign){8, 1, 0, false}), 10);
    CHECK_U64(take_sign(&replay, A, (ft_step_sign){8, 2, 0, false}), 4);
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
    CHECK(count_traits(&replay, A, (ft_step_sign){8, 0, 0, false}, traits, 10).varies);
    CHECK(ft_replay_wants(&replay, A));
    CHECK(!count_traits(&replay, A, (ft_step_sign){8, 0, 0, false}, traits, 11).varies);
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
        ft_step_key key = {i % 100, 7, i % 100};
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

/* The first 8 are counted; the gap doubles: 10 audits in the next 1,000 steps or so, and then one
 * in about 200. */
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
        CHECK(i != 1000 || (replay.counted >= 8 + 8 && replay.counted <= 8 + 12));
    }
    CHECK(replay.counted > 450 && replay.counted < 560);
    CHECK(most > 250 && most <= 300);
    CHECK_U64(total(&replay), 700000);
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
    CHECK(!ft_replay_known(&replay, A, (ft_step_sign){11, 0, 0, false}, &flops));
    CHECK(!ft_replay_known(&replay, B, (ft_step_sign){8, 0, 0, false}, &flops));
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

/* What was in the gradients makes no difference to steps that make their own: one that waits is
 * known by a counted one behind another key. */
static void
test_the_same_kind_behind_another_key(void)
{
    ft_replay replay;
    ft_u128 flops;
    const ft_step_key left = {5, 5, 1}, other = {6, 6, 2};
    const ft_step_sign fresh = {11, 3, 0, true}, same = {11, 3, 0, false};
    ft_step_traits none = {.compiled = false};
    begin(&replay, FT_TRACE_FIRST, 1);
    count(&replay, A, 8, 10);
    count(&replay, B, 8, 10);
    CHECK_U64(take_sign(&replay, A, fresh), UINT64_MAX);
    CHECK_U64(count_traits(&replay, other, fresh, none, 30).resolved, 0); /* of another base */
    CHECK_U64(count_traits(&replay, left, same, none, 30).resolved, 0);
    CHECK_U64(count_traits(&replay, left, (ft_step_sign){11, 4, 0, true}, none, 20).resolved, 0);
    CHECK_U64(count_traits(&replay, left, (ft_step_sign){12, 3, 0, true}, none, 20).resolved, 0);
    ft_replay_clear(&replay);

    begin(&replay, FT_TRACE_FIRST, 1);
    count(&replay, A, 8, 10);
    CHECK_U64(take_sign(&replay, A, fresh), UINT64_MAX);
    CHECK(!ft_replay_known(&replay, A, fresh, &flops));
    CHECK_U64(count_traits(&replay, left, fresh, none, 30).resolved, 1);
    CHECK(ft_replay_known(&replay, A, fresh, &flops) && flops.lo == 30);
    CHECK_U64(take_sign(&replay, A, fresh), 30);
    CHECK_U64(replay.waiting, 0);
    CHECK(!ft_replay_wants(&replay, A));
    CHECK_U64(total(&replay), 10 + 30 + 30 + 30);
    ft_replay_clear(&replay);
}

/* A kind that comes so rarely that it is given up: it is found where it is due. */
static void
test_a_kind_that_comes_regularly(void)
{
    ft_replay replay;
    begin(&replay, FT_TRACE_FIRST, 1);
    uint64_t expected = 0;
    for (uint64_t i = 0; i < 2000; i++) {
        uint64_t advance = i % 500 == 499 ? 11 : 8;
        expected += advance;
        if (ft_replay_wants(&replay, A)) {
            count(&replay, A, advance, advance);
        }
        else {
            take(&replay, A, advance);
        }
    }
    /* The first one, 64 after the one at 499 in vain, and that at 1499, which is 500 after 999. */
    CHECK_U64(replay.counted, 1 + 64 + 1);
    CHECK_U64(replay.waiting, 0);
    CHECK_U64(total(&replay), expected);
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
        ft_step_key key = {i, i << 32, i};
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
    CHECK(ft_replay_wants(&replay, (ft_step_key){3, 3ull << 32, 3}));
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
            ft_step_key key = {i, 0, i};
            ft_counted_step step;
            ft_taken_step taken;
            ft_tally work = work_of(i);
            /* The run keeps the rows: they must come from its own allocator. */
            ft_tally own;
            ft_tally_init(&own, test_heap_allocator(&heap));
            if (ft_tally_merge(&own, &work, 1) != FT_OK) {
                CHECK_STATUS(ft_tally_merge(&own, &work, 1), FT_OK);
            }
            ft_tally_clear(&work);
            if (ft_replay_count(&replay, key, (ft_step_sign){8, 0, 0, false}, (ft_step_traits){0},
                                &own, &step) != FT_OK) {
                CHECK_U64(own.count, 2);
                CHECK_STATUS(ft_replay_count(&replay, key, (ft_step_sign){8, 0, 0, false},
                                             (ft_step_traits){0}, &own, &step),
                             FT_OK);
            }
            if (ft_replay_take(&replay, key, (ft_step_sign){8, 0, 0, false}, &taken) != FT_OK) {
                CHECK_STATUS(ft_replay_take(&replay, key, (ft_step_sign){8, 0, 0, false}, &taken),
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
          test_work_that_data_decides, test_audits, test_steps_that_are_given_up,
          test_the_same_kind_behind_another_key, test_a_kind_that_comes_regularly, test_settling,
          test_more_keys_than_are_kept, test_any_program_that_can_be_told_apart,
          test_without_memory)
