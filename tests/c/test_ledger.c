/* The ledger: totals, numbering, overflow, retained blocks, and the consistency walk itself. */
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
add_step(ft_ledger *ledger, uint64_t batch_size, uint64_t flops)
{
    ft_step step = {0};
    CHECK_STATUS(ft_ledger_add_step(ledger, batch_size, ft_u128_of(flops), 0.5, &step), FT_OK);
    return step;
}

static ft_epoch
end_epoch(ft_ledger *ledger)
{
    ft_epoch epoch;
    ft_ledger_end_epoch(ledger, true, 2.0, &(double){0.25}, &epoch);
    return epoch;
}

static void
check_step(ft_step step, uint32_t epoch, uint32_t number, uint64_t batch_size, uint64_t flops,
           uint64_t total)
{
    CHECK_U64(step.epoch, epoch);
    CHECK_U64(step.step, number);
    CHECK_U64(step.batch_size, batch_size);
    CHECK_U128(step.flops_batch, ft_u128_of(flops));
    CHECK_U128(step.flops_total_cum, ft_u128_of(total));
    CHECK(step.wall_time_s == 0.5);
}

static void
check_epoch(ft_epoch epoch, uint32_t number, uint64_t batches, uint64_t samples, uint64_t flops,
            uint64_t total)
{
    CHECK_U64(epoch.epoch, number);
    CHECK_U64(epoch.batches, batches);
    CHECK_U64(epoch.samples, samples);
    CHECK_U128(epoch.flops_epoch, ft_u128_of(flops));
    CHECK_U128(epoch.flops_total_cum, ft_u128_of(total));
    CHECK(epoch.complete && epoch.wall_time_s == 2.0 && epoch.has_loss && epoch.loss == 0.25);
}

/* Epoch 1: 10 + 20 FLOPs on 2 + 3 samples; epoch 2: nothing; epoch 3: 5 on 1 sample, 35 in all. */
static void
test_totals(void)
{
    for (int keep = 0; keep < 4; keep++) {
        ft_ledger ledger = new_ledger((keep & 1) != 0, (keep & 2) != 0);
        CHECK_STATUS(ft_ledger_begin_epoch(&ledger), FT_OK);
        check_step(add_step(&ledger, 2, 10), 1, 1, 2, 10, 10);
        check_step(add_step(&ledger, 3, 20), 1, 2, 3, 20, 30);
        CHECK(ft_ledger_consistent(&ledger));
        CHECK_U64(ledger.current.samples, 5); /* the open epoch's sums so far */
        CHECK_U128(ledger.current.flops_epoch, ft_u128_of(30));
        CHECK_U128(ledger.current.flops_total_cum, ft_u128_of(30));
        check_epoch(end_epoch(&ledger), 1, 2, 5, 30, 30);
        CHECK_STATUS(ft_ledger_begin_epoch(&ledger), FT_OK);
        CHECK(!ledger.current.has_loss);
        check_epoch(end_epoch(&ledger), 2, 0, 0, 0, 30);
        CHECK_STATUS(ft_ledger_begin_epoch(&ledger), FT_OK);
        check_step(add_step(&ledger, 1, 5), 3, 1, 1, 5, 35);
        check_epoch(end_epoch(&ledger), 3, 1, 1, 5, 35);
        CHECK_U128(ledger.total, ft_u128_of(35));
        CHECK(ft_ledger_consistent(&ledger));
        CHECK_U64(ledger.step_count, keep & 1 ? 3 : 0);
        CHECK_U64(ledger.epoch_count, keep & 2 ? 3 : 0);
        CHECK_U64(heap.live, (keep & 1) + (keep >> 1)); /* what is not kept takes no memory */
        CHECK((ledger.steps != NULL) == ((keep & 1) != 0));
        CHECK((ledger.epochs != NULL) == ((keep & 2) != 0));
        if (keep == 3) {
            check_step(ledger.steps->rows[1], 1, 2, 3, 20, 30);
            check_step(ledger.steps->rows[2], 3, 1, 1, 5, 35);
            check_epoch(ledger.epochs[1], 2, 0, 0, 0, 30);
        }
        drop_ledger(&ledger);
    }
}

static void
test_clear_starts_again(void)
{
    ft_ledger ledger = new_ledger(true, true);
    ft_ledger_begin_epoch(&ledger);
    add_step(&ledger, 1, 7);
    end_epoch(&ledger);
    ft_ledger_clear(&ledger);
    CHECK_U64(heap.live, 0);
    CHECK_U128(ledger.total, FT_U128_ZERO);
    CHECK(ft_ledger_consistent(&ledger));
    CHECK_STATUS(ft_ledger_begin_epoch(&ledger), FT_OK);
    check_step(add_step(&ledger, 4, 9), 1, 1, 4, 9, 9);
    CHECK_U64(ledger.step_count, 1); /* both lists are kept again */
    check_epoch(end_epoch(&ledger), 1, 1, 4, 9, 9);
    CHECK_U64(ledger.epoch_count, 1);
    drop_ledger(&ledger);
    ledger = new_ledger(false, false);
    ft_ledger_clear(&ledger);
    CHECK(!ledger.keep_steps && !ledger.keep_epochs); /* what is kept is no state of the run */
}

/* Whatever is refused leaves every byte of the ledger and of its records as it was. */
static void
check_refused(ft_ledger *ledger, ft_u128 flops, ft_status expected)
{
    ft_ledger before;
    ft_step rows[8], step;
    size_t size = ledger->step_count * sizeof rows[0];
    memcpy(&before, ledger, sizeof before);
    memcpy(rows, ledger->steps->rows, size);
    CHECK_STATUS(ft_ledger_add_step(ledger, 9, flops, 0.5, &step), expected);
    CHECK(memcmp(&before, ledger, sizeof before) == 0);
    CHECK(memcmp(rows, ledger->steps->rows, size) == 0);
    CHECK(ft_ledger_consistent(ledger));
}

static void
test_overflow(void)
{
    ft_ledger ledger = new_ledger(true, true);
    ft_step step;
    ft_ledger_begin_epoch(&ledger);
    add_step(&ledger, 1, 3);
    check_refused(&ledger, largest, FT_OVERFLOW); /* 3 + 2^128-2 */
    check_refused(&ledger, FT_U128_OVERFLOW, FT_OVERFLOW);
    check_refused(&ledger, (ft_u128){UINT64_MAX - 3, UINT64_MAX}, FT_OVERFLOW); /* the mark */
    ft_u128 rest = {UINT64_MAX - 4, UINT64_MAX}; /* 3 + 2^128-5 = 2^128-2, which is legal */
    CHECK_STATUS(ft_ledger_add_step(&ledger, 1, rest, 0.5, &step), FT_OK);
    CHECK_U128(step.flops_total_cum, largest);
    check_refused(&ledger, ft_u128_of(1), FT_OVERFLOW);
    CHECK_STATUS(ft_ledger_add_step(&ledger, 1, FT_U128_ZERO, 0.5, &step), FT_OK);
    CHECK_U64(step.step, 3); /* refused steps took no number */
    CHECK_U128(end_epoch(&ledger).flops_epoch, largest);
    CHECK(ft_ledger_consistent(&ledger));
    drop_ledger(&ledger);
}

static void
test_no_memory(void)
{
    ft_ledger ledger = new_ledger(true, true), before;
    ft_step step;
    heap.fail_at = 1;
    memcpy(&before, &ledger, sizeof before);
    CHECK_STATUS(ft_ledger_begin_epoch(&ledger), FT_NO_MEMORY);
    CHECK(memcmp(&before, &ledger, sizeof before) == 0);
    CHECK_STATUS(ft_ledger_begin_epoch(&ledger), FT_OK);
    heap.fail_at = heap.calls + 1;
    memcpy(&before, &ledger, sizeof before);
    CHECK_STATUS(ft_ledger_add_step(&ledger, 1, ft_u128_of(1), 0.5, &step), FT_NO_MEMORY);
    CHECK(memcmp(&before, &ledger, sizeof before) == 0);
    check_step(add_step(&ledger, 1, 1), 1, 1, 1, 1, 1);
    drop_ledger(&ledger);
}

static uint64_t
flops_of(size_t i)
{
    return 1000 + 7 * i;
}

static bool
rows_are_right(const ft_step_block *block, size_t count)
{
    uint64_t total = 0;
    for (size_t i = 0; i < count; i++) {
        const ft_step *row = &block->rows[i];
        total += flops_of(i);
        if (row->epoch != 1 || row->step != i + 1 || row->batch_size != i + 2 ||
            row->flops_batch.lo != flops_of(i) || row->flops_batch.hi != 0 ||
            row->flops_total_cum.lo != total || row->wall_time_s != 0.5) {
            return false;
        }
    }
    return true;
}

static void
add_until(ft_ledger *ledger, size_t count)
{
    for (size_t i = ledger->step_count; i < count; i++) {
        add_step(ledger, i + 2, flops_of(i));
    }
}

/* A reader holds the block at 100 rows, one at 600; the ledger goes on to 5000 and is cleared. */
static void
test_retained_block(void)
{
    ft_ledger ledger = new_ledger(true, true);
    ft_ledger_begin_epoch(&ledger);
    add_until(&ledger, 100);
    ft_step_block *early = ledger.steps;
    ft_step_block_retain(early);
    ft_step_block_retain(early);
    add_until(&ledger, 600);
    ft_step_block *late = ledger.steps;
    ft_step_block_retain(late);
    size_t early_capacity = early->capacity, late_capacity = late->capacity;
    add_until(&ledger, 5000);
    CHECK(early_capacity < 5000 && early != ledger.steps && early->capacity == early_capacity);
    CHECK(late_capacity < 5000 && late != ledger.steps && late->capacity == late_capacity);
    CHECK(rows_are_right(early, 100));
    CHECK(rows_are_right(late, 600));
    CHECK(rows_are_right(ledger.steps, 5000));
    CHECK(ft_ledger_consistent(&ledger));
    CHECK_U64(ledger.step_count, 5000);
    ft_step_block_release(early); /* the second reference still holds it */
    CHECK(rows_are_right(early, 100));
    ft_ledger_clear(&ledger);
    CHECK(rows_are_right(early, 100) && rows_are_right(late, 600));
    CHECK_U64(heap.live, early == late ? 1 : 2);
    ft_step_block_release(early);
    ft_step_block_release(late);
    CHECK_U64(heap.live, 0);
}

/* A block that nobody else holds is not left behind, however often it grows. */
static void
test_growth_without_readers(void)
{
    ft_ledger ledger = new_ledger(true, false);
    ft_ledger_begin_epoch(&ledger);
    for (size_t count = 500; count <= 5000; count += 500) {
        add_until(&ledger, count);
        CHECK_U64(heap.live, 1);
        CHECK_U64(ledger.steps->references, 1);
    }
    CHECK(rows_are_right(ledger.steps, 5000));
    drop_ledger(&ledger);
}

/* Random runs against sums kept here. */
static void
test_random_runs(void)
{
    uint64_t state = 31;
    for (int run = 0; run < 200; run++) {
        ft_ledger ledger = new_ledger((run & 1) != 0, (run & 2) != 0);
        uint64_t total = 0, steps = 0, epochs = test_random(&state) % 40;
        for (uint32_t epoch = 1; epoch <= epochs; epoch++) {
            uint64_t flops = 0, samples = 0, batches = test_random(&state) % 30;
            CHECK_STATUS(ft_ledger_begin_epoch(&ledger), FT_OK);
            for (uint32_t batch = 1; batch <= batches; batch++) {
                uint64_t size = test_random(&state) % 100, cost = test_random(&state);
                flops += cost;
                total += cost;
                samples += size;
                check_step(add_step(&ledger, size, cost), epoch, batch, size, cost, total);
            }
            CHECK(ft_ledger_consistent(&ledger));
            check_epoch(end_epoch(&ledger), epoch, batches, samples, flops, total);
            CHECK(ft_ledger_consistent(&ledger));
            steps += batches;
        }
        CHECK_U128(ledger.total, ft_u128_of(total));
        CHECK_U64(ledger.step_count, run & 1 ? steps : 0);
        CHECK_U64(ledger.epoch_count, run & 2 ? epochs : 0);
        drop_ledger(&ledger);
    }
}

static void
check_found(const ft_ledger *ledger, uint64_t amount, uint32_t epoch, uint32_t step)
{
    uint32_t found_epoch = 9, found_step = 9;
    ft_ledger_find(ledger, ft_u128_of(amount), &found_epoch, &found_step);
    CHECK_U64(found_epoch, epoch);
    CHECK_U64(found_step, step);
}

/* Totals after each step: 10 and 30 in epoch 1, none in epoch 2, 35 and 35 in epoch 3. */
static void
test_where_an_amount_was_reached(void)
{
    for (int keep = 0; keep < 4; keep++) {
        bool steps = (keep & 1) != 0, epochs = (keep & 2) != 0, any = steps || epochs;
        ft_ledger ledger = new_ledger(steps, epochs);
        check_found(&ledger, 1, 0, 0);
        ft_ledger_begin_epoch(&ledger);
        add_step(&ledger, 1, 10);
        check_found(&ledger, 10, any ? 1 : 0, steps ? 1 : 0); /* the epoch is open */
        check_found(&ledger, 11, 0, 0);
        add_step(&ledger, 1, 20);
        end_epoch(&ledger);
        ft_ledger_begin_epoch(&ledger);
        end_epoch(&ledger);
        ft_ledger_begin_epoch(&ledger);
        check_found(&ledger, 30, any ? 1 : 0, steps ? 2 : 0); /* epoch 3 has no step yet */
        add_step(&ledger, 1, 5);
        add_step(&ledger, 1, 0);
        check_found(&ledger, 1, any ? 1 : 0, steps ? 1 : 0);
        check_found(&ledger, 31, any ? 3 : 0, steps ? 1 : 0);
        check_found(&ledger, 35, any ? 3 : 0, steps ? 1 : 0);
        check_found(&ledger, 36, 0, 0);
        end_epoch(&ledger);
        check_found(&ledger, 35, any ? 3 : 0, steps ? 1 : 0);
        drop_ledger(&ledger);
    }
}

TEST_MAIN(test_totals, test_where_an_amount_was_reached, test_clear_starts_again, test_overflow,
          test_no_memory, test_retained_block, test_growth_without_readers, test_random_runs)
