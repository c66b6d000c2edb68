/* A ledger rebuilt from saved records is the one they came from; what can't be true is refused. */
/* SPDX-License-Identifier: MIT */
#include "ft_test.h"
#include "ft_test_doubles.h"

static const ft_u128 largest = {UINT64_MAX - 1, UINT64_MAX}; /* 2^128 - 2 */

static test_heap heap;

static ft_ledger
new_ledger(bool keep_steps, bool keep_epochs)
{
    ft_ledger ledger;
    heap = (test_heap){0, 0, 0};
    ft_ledger_init(&ledger, test_heap_allocator(&heap), keep_steps, keep_epochs);
    return ledger;
}

static void
drop_ledger(ft_ledger *ledger)
{
    ft_ledger_clear(ledger);
    CHECK_U64(heap.live, 0);
}

static ft_step
saved_step(uint64_t batch_size, uint64_t flops)
{
    return (ft_step){
        .batch_size = batch_size, .flops_batch = ft_u128_of(flops), .wall_time_s = 0.25};
}

static ft_epoch
saved_epoch(uint64_t batches, uint64_t samples, uint64_t flops)
{
    return (ft_epoch){.complete = true,
                      .has_loss = true,
                      .batches = batches,
                      .samples = samples,
                      .flops_epoch = ft_u128_of(flops),
                      .wall_time_s = 2.0,
                      .loss = 0.5};
}

/* Epoch 1: batches of 4 and 2 cost 40 and 20. Epoch 2: one of 3 costs 30, and it broke off. */
static void
test_records_come_back(void)
{
    ft_ledger ledger = new_ledger(true, true);
    ft_step steps[] = {saved_step(4, 40), saved_step(2, 20), saved_step(3, 30)};
    ft_epoch first = saved_epoch(2, 6, 60), second = saved_epoch(1, 3, 30);
    second.complete = second.has_loss = false;
    CHECK_STATUS(ft_restore_epoch(&ledger, &first, steps, 2), FT_OK);
    CHECK_STATUS(ft_restore_epoch(&ledger, &second, steps + 2, 1), FT_OK);
    CHECK(ft_ledger_consistent(&ledger));
    CHECK_U128(ledger.total, ft_u128_of(90));
    CHECK_U64(ledger.epoch_count, 2);
    CHECK_U64(ledger.step_count, 3);
    CHECK(ledger.epochs[0].complete && ledger.epochs[0].loss == 0.5);
    CHECK(!ledger.epochs[1].complete && !ledger.epochs[1].has_loss);
    CHECK(ledger.epochs[0].wall_time_s == 2.0);
    const ft_step *last = &ledger.steps->rows[2];
    CHECK_U64(last->epoch, 2);
    CHECK_U64(last->step, 1);
    CHECK_U128(last->flops_total_cum, ft_u128_of(90));
    CHECK(last->wall_time_s == 0.25);
    CHECK_STATUS(ft_ledger_begin_epoch(&ledger), FT_OK); /* and it goes on */
    CHECK_U64(ledger.current.epoch, 3);
    drop_ledger(&ledger);
}

static void
test_epochs_without_steps(void)
{
    ft_ledger ledger = new_ledger(false, true);
    ft_epoch epoch = saved_epoch(2, 6, 60);
    CHECK_STATUS(ft_restore_epoch(&ledger, &epoch, NULL, 0), FT_OK);
    CHECK_STATUS(ft_restore_epoch(&ledger, &epoch, NULL, 0), FT_OK);
    CHECK(ft_ledger_consistent(&ledger));
    CHECK_U128(ledger.total, ft_u128_of(120));
    CHECK_U64(ledger.current.batches, 2);
    epoch = saved_epoch(0, 0, 1); /* no batch can have cost anything */
    CHECK_STATUS(ft_restore_epoch(&ledger, &epoch, NULL, 0), FT_WRONG_SUMS);
    drop_ledger(&ledger);
}

static void
test_steps_without_epochs(void)
{
    ft_ledger ledger = new_ledger(true, false);
    ft_step step = saved_step(4, 40);
    CHECK_STATUS(ft_restore_epoch(&ledger, NULL, &step, 1), FT_OK);
    CHECK_U64(ledger.epoch_count, 0);
    CHECK_U64(ledger.step_count, 1);
    CHECK_U128(ledger.total, ft_u128_of(40));
    CHECK(ft_ledger_consistent(&ledger));
    drop_ledger(&ledger);
}

static void
test_sums_alone(void)
{
    ft_ledger ledger = new_ledger(false, false);
    CHECK_STATUS(ft_restore_sums(&ledger, 0, 0, ft_u128_of(1)), FT_WRONG_SUMS);
    CHECK_STATUS(ft_restore_sums(&ledger, 0, 1, FT_U128_ZERO), FT_WRONG_SUMS);
    CHECK_STATUS(ft_restore_sums(&ledger, 1, 1, FT_U128_OVERFLOW), FT_OVERFLOW);
    CHECK_STATUS(ft_restore_sums(&ledger, 7, 5, largest), FT_OK);
    CHECK_U128(ledger.total, largest);
    CHECK_U64(ledger.current.epoch, 7);
    CHECK_U64(ledger.current.batches, 5);
    drop_ledger(&ledger);
}

static void
test_wrong_sums(void)
{
    ft_step steps[] = {saved_step(4, 40), saved_step(2, 20)};
    const ft_epoch wrong[] = {saved_epoch(3, 6, 60), saved_epoch(2, 7, 60), saved_epoch(2, 6, 61),
                              saved_epoch(1, 4, 40)};
    for (size_t i = 0; i < FT_COUNT_OF(wrong); i++) {
        ft_ledger ledger = new_ledger(true, true);
        CHECK_STATUS(ft_restore_epoch(&ledger, &wrong[i], steps, 2), FT_WRONG_SUMS);
        drop_ledger(&ledger);
    }
}

static void
test_overflow(void)
{
    ft_ledger ledger = new_ledger(false, true);
    ft_epoch epoch = saved_epoch(1, 1, 0);
    epoch.flops_epoch = largest;
    CHECK_STATUS(ft_restore_epoch(&ledger, &epoch, NULL, 0), FT_OK);
    epoch.flops_epoch = ft_u128_of(1);
    CHECK_STATUS(ft_restore_epoch(&ledger, &epoch, NULL, 0), FT_OVERFLOW);
    drop_ledger(&ledger);
    ledger = new_ledger(true, true);
    ft_step steps[] = {saved_step(UINT64_MAX, 1), saved_step(1, 1)};
    CHECK_STATUS(ft_restore_epoch(&ledger, NULL, steps, 2), FT_TOO_MANY_SAMPLES);
    drop_ledger(&ledger);
}

/* Two allocations: the epochs and the steps. */
static void
test_no_memory(void)
{
    ft_step step = saved_step(4, 40);
    ft_epoch epoch = saved_epoch(1, 4, 40);
    for (size_t fail_at = 1; fail_at <= 2; fail_at++) {
        ft_ledger ledger = new_ledger(true, true);
        heap.fail_at = fail_at;
        CHECK_STATUS(ft_restore_epoch(&ledger, &epoch, &step, 1), FT_NO_MEMORY);
        drop_ledger(&ledger);
    }
}

/* A step that is open is summed up elsewhere, and the ledger knows nothing of it. */
static void
test_sums_of_an_open_step(void)
{
    ft_ledger ledger = new_ledger(true, true);
    ft_step step;
    CHECK_STATUS(ft_ledger_begin_epoch(&ledger), FT_OK);
    CHECK_STATUS(ft_ledger_add_step(&ledger, 4, ft_u128_of(40), 0.5, &step), FT_OK);
    ft_epoch sums = ledger.current;
    ft_u128 total = ledger.total;
    CHECK_STATUS(ft_ledger_sum_step(&sums, &total, 2, ft_u128_of(20), 0.5, &step), FT_OK);
    CHECK_U64(step.step, 2);
    CHECK_U128(step.flops_total_cum, ft_u128_of(60));
    CHECK_U64(sums.samples, 6);
    CHECK_U128(ledger.total, ft_u128_of(40));
    CHECK_U64(ledger.step_count, 1);
    CHECK_STATUS(ft_ledger_sum_step(&sums, &total, 2, largest, 0.5, &step), FT_OVERFLOW);
    CHECK_U128(total, ft_u128_of(60));
    CHECK_U64(sums.batches, 2);
    drop_ledger(&ledger);
}

/* Rows from epoch 1 step 2 on: the sum of the epoch so far counts the rows before. */
static void
test_rows_from_one_on(void)
{
    static test_page page;
    ft_ledger ledger = new_ledger(true, true);
    ft_step steps[] = {saved_step(4, 40), saved_step(2, 20), saved_step(3, 30)};
    ft_epoch first = saved_epoch(2, 6, 60), second = saved_epoch(1, 3, 30);
    CHECK_STATUS(ft_restore_epoch(&ledger, &first, steps, 2), FT_OK);
    CHECK_STATUS(ft_restore_epoch(&ledger, &second, steps + 2, 1), FT_OK);
    CHECK_STATUS(ft_csv_steps_from(test_page_sink(&page, 0), &ledger, 1, 2), FT_OK);
    CHECK_TEXT(page.text, "1,2,2,20,60,60,0.250000\n2,1,3,30,30,90,0.250000\n");
    CHECK_STATUS(ft_csv_steps_from(test_page_sink(&page, 0), &ledger, 2, 2), FT_OK);
    CHECK_TEXT(page.text, "");
    CHECK_STATUS(ft_csv_epochs_from(test_page_sink(&page, 0), &ledger, 2), FT_OK);
    CHECK_TEXT(page.text, "2,30,90,1,3,0.5,2.000000,1\n");
    CHECK_STATUS(ft_csv_epochs_from(test_page_sink(&page, 1), &ledger, 2), FT_SINK_FAILED);
    drop_ledger(&ledger);
}

TEST_MAIN(test_records_come_back, test_epochs_without_steps, test_steps_without_epochs,
          test_sums_alone, test_wrong_sums, test_overflow, test_no_memory,
          test_sums_of_an_open_step, test_rows_from_one_on)
