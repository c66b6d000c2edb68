/* The run's state machine, with times that are handed in. */
/* SPDX-License-Identifier: MIT */
#include "ft_test.h"
#include "ft_test_doubles.h"

static test_heap heap;

static ft_epochs
new_run(void)
{
    ft_epochs run;
    heap = (test_heap){0, 0, 0};
    ft_epochs_init(&run, test_heap_allocator(&heap), true, true);
    return run;
}

static void
drop_run(ft_epochs *run)
{
    CHECK(ft_ledger_consistent(&run->ledger));
    ft_epochs_clear(run);
    CHECK_U64(heap.live, 0);
}

static ft_step
batch(ft_epochs *run, uint64_t batch_size, uint64_t flops, double now)
{
    ft_step step = {0};
    CHECK_STATUS(ft_epochs_batch(run, batch_size, ft_u128_of(flops), now, &step), FT_OK);
    return step;
}

static void
test_wrong_order(void)
{
    ft_epochs run = new_run();
    ft_step step;
    ft_epoch epoch;
    CHECK(!run.open);
    CHECK_STATUS(ft_epochs_batch(&run, 1, ft_u128_of(1), 1.0, &step), FT_NO_EPOCH);
    CHECK_STATUS(ft_epochs_end(&run, true, &(double){0.5}, 1.0, &epoch), FT_NO_EPOCH);
    CHECK_U128(run.ledger.total, FT_U128_ZERO);
    CHECK_STATUS(ft_epochs_begin(&run, 2.0), FT_OK);
    CHECK_STATUS(ft_epochs_begin(&run, 3.0), FT_EPOCH_OPEN);
    CHECK_U64(run.ledger.current.epoch, 1); /* the second begin changed nothing */
    CHECK(batch(&run, 1, 1, 4.0).wall_time_s == 2.0);
    CHECK_STATUS(ft_epochs_begin(&run, 5.0), FT_EPOCH_OPEN);
    CHECK_STATUS(ft_epochs_end(&run, true, &(double){0.5}, 6.0, &epoch), FT_OK);
    CHECK(epoch.wall_time_s == 4.0);
    CHECK_U64(epoch.batches, 1);
    CHECK_STATUS(ft_epochs_end(&run, true, &(double){0.5}, 7.0, &epoch), FT_NO_EPOCH);
    CHECK_STATUS(ft_epochs_batch(&run, 1, ft_u128_of(1), 7.0, &step), FT_NO_EPOCH);
    CHECK_U64(run.ledger.step_count, 1);
    CHECK_U64(run.ledger.epoch_count, 1);
    drop_run(&run);
    CHECK(!run.open);
}

/* All times are sums of powers of two, so every difference is exact. */
static void
test_wall_times(void)
{
    ft_epochs run = new_run();
    ft_epoch epoch;
    CHECK_STATUS(ft_epochs_begin(&run, 100.0), FT_OK);
    CHECK(batch(&run, 1, 1, 100.25).wall_time_s == 0.25); /* since the start of the epoch */
    CHECK(batch(&run, 1, 1, 101.0).wall_time_s == 0.75);  /* since the step before */
    CHECK(batch(&run, 1, 1, 101.0).wall_time_s == 0.0);   /* on a clock that stands */
    CHECK_STATUS(ft_epochs_end(&run, true, &(double){0.5}, 102.5, &epoch), FT_OK);
    CHECK(epoch.wall_time_s == 2.5); /* from 100, the time after the last step included */
    CHECK_STATUS(ft_epochs_begin(&run, 110.0), FT_OK);
    CHECK(batch(&run, 1, 1, 110.125).wall_time_s == 0.125); /* the pause between is nobody's */
    CHECK_STATUS(ft_epochs_end(&run, true, &(double){0.5}, 110.5, &epoch), FT_OK);
    CHECK(epoch.wall_time_s == 0.5);
    CHECK(run.ledger.steps->rows[1].wall_time_s == 0.75);
    CHECK(run.ledger.epochs[0].wall_time_s == 2.5);
    drop_run(&run);
}

/* A refused batch takes no time: the next one's runs from the last that was taken. */
static void
test_refused_batch(void)
{
    ft_epochs run = new_run();
    ft_step step;
    CHECK_STATUS(ft_epochs_begin(&run, 10.0), FT_OK);
    batch(&run, 1, 5, 11.0);
    CHECK_STATUS(ft_epochs_batch(&run, 1, FT_U128_OVERFLOW, 12.0, &step), FT_OVERFLOW);
    CHECK(run.open);
    step = batch(&run, 1, 6, 13.5);
    CHECK(step.wall_time_s == 2.5);
    CHECK_U64(step.step, 2);
    CHECK_U128(step.flops_total_cum, ft_u128_of(11));
    drop_run(&run);
}

static void
test_refused_begin(void)
{
    ft_epochs run = new_run();
    ft_step step;
    heap.fail_at = 1;
    CHECK_STATUS(ft_epochs_begin(&run, 10.0), FT_NO_MEMORY);
    CHECK(!run.open);
    CHECK_STATUS(ft_epochs_batch(&run, 1, ft_u128_of(1), 11.0, &step), FT_NO_EPOCH);
    CHECK_STATUS(ft_epochs_begin(&run, 20.0), FT_OK);
    step = batch(&run, 1, 1, 21.0);
    CHECK_U64(step.epoch, 1); /* the refused one took no number */
    CHECK(step.wall_time_s == 1.0);
    drop_run(&run);
}

/* Epoch 1 is broken off after 7 FLOPs on 2 samples; epoch 2 adds 10 on 3 samples: 17 in all. */
static void
test_incomplete_epoch(void)
{
    ft_epochs run = new_run();
    ft_epoch epoch;
    CHECK_STATUS(ft_epochs_begin(&run, 0.0), FT_OK);
    batch(&run, 2, 7, 1.0);
    CHECK_STATUS(ft_epochs_end(&run, false, NULL, 1.5, &epoch), FT_OK);
    CHECK(!epoch.complete && !epoch.has_loss && epoch.wall_time_s == 1.5);
    CHECK_U128(epoch.flops_epoch, ft_u128_of(7));
    CHECK(!run.open);
    CHECK_STATUS(ft_epochs_begin(&run, 2.0), FT_OK);
    ft_step step = batch(&run, 3, 10, 3.0);
    CHECK_U64(step.epoch, 2);
    CHECK_U64(step.step, 1);
    CHECK_U128(step.flops_total_cum, ft_u128_of(17));
    CHECK_STATUS(ft_epochs_end(&run, true, &(double){1.25}, 4.0, &epoch), FT_OK);
    CHECK(epoch.complete && epoch.has_loss && epoch.loss == 1.25);
    CHECK_U64(epoch.epoch, 2);
    CHECK_U64(epoch.batches, 1);
    CHECK_U64(epoch.samples, 3);
    CHECK_U128(epoch.flops_epoch, ft_u128_of(10));
    CHECK_U128(epoch.flops_total_cum, ft_u128_of(17));
    CHECK(!run.ledger.epochs[0].complete && run.ledger.epochs[1].complete);
    drop_run(&run);
}

static void
test_clear_closes(void)
{
    ft_epochs run = new_run();
    ft_step step;
    CHECK_STATUS(ft_epochs_begin(&run, 0.0), FT_OK);
    batch(&run, 2, 7, 1.0);
    ft_epochs_clear(&run);
    CHECK(!run.open);
    CHECK_U64(heap.live, 0);
    CHECK_STATUS(ft_epochs_batch(&run, 1, ft_u128_of(1), 2.0, &step), FT_NO_EPOCH);
    CHECK_STATUS(ft_epochs_begin(&run, 5.0), FT_OK);
    step = batch(&run, 1, 4, 6.0);
    CHECK_U64(step.epoch, 1);
    CHECK_U128(step.flops_total_cum, ft_u128_of(4));
    drop_run(&run);
}

/* Validation from 102 to 110 in a step, and from 112 to 116 after the last one. */
static void
test_pauses(void)
{
    ft_epochs run = new_run();
    ft_epoch epoch;
    CHECK(ft_epochs_train_time(&run) == 0);
    CHECK_STATUS(ft_epochs_begin(&run, 100.0), FT_OK);
    CHECK(batch(&run, 1, 1, 101.0).wall_time_s == 1.0);
    ft_epochs_pause(&run, 102.0);
    ft_epochs_pause(&run, 103.0); /* one in it is a part of it */
    ft_epochs_resume(&run, 104.0);
    ft_epochs_resume(&run, 110.0);
    CHECK(batch(&run, 1, 1, 111.0).wall_time_s == 2.0); /* 101 to 102, and 110 to 111 */
    CHECK(ft_epochs_train_time(&run) == 3.0);
    ft_epochs_pause(&run, 112.0);
    ft_epochs_resume(&run, 116.0);
    CHECK_STATUS(ft_epochs_end(&run, true, NULL, 116.5, &epoch), FT_OK);
    CHECK(epoch.wall_time_s == 16.5);
    CHECK(epoch.train_time_s == 4.5); /* without 8 and 4 */
    CHECK(ft_epochs_train_time(&run) == 4.5);
    drop_run(&run);
}

/* A pause that was there before the epoch, has a step in it, and outlasts it. */
static void
test_pause_around_an_epoch(void)
{
    ft_epochs run = new_run();
    ft_epoch epoch;
    ft_epochs_pause(&run, 0.0);
    CHECK_STATUS(ft_epochs_begin(&run, 100.0), FT_OK);
    CHECK(batch(&run, 1, 1, 101.0).wall_time_s == 0.0);
    CHECK_STATUS(ft_epochs_end(&run, true, NULL, 102.0, &epoch), FT_OK);
    CHECK(epoch.wall_time_s == 2.0 && epoch.train_time_s == 0.0);
    ft_epochs_resume(&run, 103.0);
    CHECK_STATUS(ft_epochs_begin(&run, 104.0), FT_OK);
    CHECK(batch(&run, 1, 1, 105.0).wall_time_s == 1.0);
    CHECK_STATUS(ft_epochs_end(&run, true, NULL, 106.0, &epoch), FT_OK);
    CHECK(epoch.train_time_s == 2.0);
    drop_run(&run);
}

static void
test_budget(void)
{
    ft_epochs run = new_run();
    CHECK(!ft_epochs_over_budget(&run)); /* there is none */
    run.max_flops = ft_u128_of(10);
    CHECK_STATUS(ft_epochs_begin(&run, 0.0), FT_OK);
    batch(&run, 1, 9, 1.0);
    CHECK(!ft_epochs_over_budget(&run));
    batch(&run, 1, 1, 2.0);
    CHECK(ft_epochs_over_budget(&run)); /* at it, as past it */
    run.max_flops = (ft_u128){0, 1};
    CHECK(!ft_epochs_over_budget(&run));
    drop_run(&run);
}

TEST_MAIN(test_wrong_order, test_wall_times, test_refused_batch, test_refused_begin,
          test_incomplete_epoch, test_clear_closes, test_pauses, test_pause_around_an_epoch,
          test_budget)
