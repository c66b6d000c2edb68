/* A whole run with each allocation failing once, and its CSV with each write failing once. */
/* SPDX-License-Identifier: MIT */
#include "ft_test.h"
#include "ft_test_doubles.h"

enum { EPOCHS = 3, STEPS = 600, ROWS = EPOCHS * STEPS, READERS = 3 };

/* After which row each reader takes hold of the steps. */
static const size_t taken_at[READERS] = {200, 250, 700};

typedef struct {
    test_heap heap;
    ft_registry registry;
    ft_epochs run;
    ft_step_block *held[READERS];
    size_t refusals; /* allocations that failed */
    bool go_on;      /* try again after a refusal, or give up */
} script;

static test_page page;

static uint64_t
flops_of(size_t row)
{
    return 1000000007u * (uint64_t)(row + 1);
}

static bool
rows_are_right(const ft_step_block *block, size_t count)
{
    uint64_t total = 0;
    for (size_t i = 0; i < count; i++) {
        const ft_step *row = &block->rows[i];
        total += flops_of(i);
        if (row->epoch != i / STEPS + 1 || row->step != i % STEPS + 1 || row->batch_size != i ||
            row->flops_batch.lo != flops_of(i) || row->flops_batch.hi != 0 ||
            row->flops_total_cum.lo != total || row->flops_total_cum.hi != 0) {
            return false;
        }
    }
    return true;
}

static void
check_held_blocks(const script *s)
{
    for (int i = 0; i < READERS; i++) {
        CHECK(s->held[i] == NULL || rows_are_right(s->held[i], taken_at[i]));
    }
}

/* True where the script has to try once more: memory was refused, and it does not give up. */
static bool
refused(script *s, ft_status status)
{
    if (status != FT_NO_MEMORY) {
        CHECK_STATUS(status, FT_OK);
        return false;
    }
    s->refusals++;
    CHECK_U64(s->heap.calls, s->heap.fail_at);
    CHECK(ft_ledger_consistent(&s->run.ledger));
    check_held_blocks(s);
    return s->go_on;
}

static ft_status
open_registry(script *s)
{
    ft_status status = ft_registry_init(&s->registry, test_heap_allocator(&s->heap));
    if (refused(s, status)) {
        size_t found = 1;
        ft_registry_find(&s->registry, "torch.nn.modules.linear.Linear", &found);
        CHECK_U64(found, 0); /* not made is empty, not broken */
        status = ft_registry_init(&s->registry, test_heap_allocator(&s->heap));
    }
    return status;
}

static ft_status
begin(script *s, double now)
{
    ft_status status = ft_epochs_begin(&s->run, now);
    if (refused(s, status)) {
        CHECK(!s->run.open);
        status = ft_epochs_begin(&s->run, now);
    }
    return status;
}

static ft_status
batch(script *s, size_t row)
{
    ft_step step;
    ft_u128 flops = ft_u128_of(flops_of(row));
    ft_status status = ft_epochs_batch(&s->run, row, flops, (double)row, &step);
    if (refused(s, status)) {
        CHECK_U64(s->run.ledger.step_count, row);
        status = ft_epochs_batch(&s->run, row, flops, (double)row, &step);
    }
    for (int i = 0; i < READERS && status == FT_OK; i++) {
        if (row + 1 == taken_at[i]) {
            s->held[i] = s->run.ledger.steps;
            ft_step_block_retain(s->held[i]);
        }
    }
    return status;
}

/* Plays as far as it gets. */
static ft_status
play(script *s)
{
    ft_epoch epoch;
    ft_status status = open_registry(s);
    for (size_t row = 0; row < ROWS && status == FT_OK; row++) {
        if (row % STEPS == 0) {
            status = begin(s, (double)row);
        }
        if (status == FT_OK) {
            status = batch(s, row);
        }
        if (status == FT_OK && row % STEPS == STEPS - 1) {
            status = ft_epochs_end(&s->run, true, &(double){0.5}, (double)row, &epoch);
        }
    }
    return status;
}

static size_t
lines_on_page(void)
{
    size_t lines = 0;
    for (size_t i = 0; i < page.length; i++) {
        lines += page.text[i] == '\n';
    }
    return lines;
}

static void
check_finished(const script *s)
{
    const ft_ledger *ledger = &s->run.ledger;
    /* 1000000007 * (1 + 2 + ... + 1800), and that sum is 1800*1801/2 = 1620900. */
    CHECK_U128(ledger->total, ft_u128_of(1620900011346300u));
    CHECK_U64(ledger->epoch_count, EPOCHS);
    CHECK(ledger->step_count == ROWS && rows_are_right(ledger->steps, ROWS));
    for (int i = 0; i < READERS; i++) { /* each was overtaken by growth */
        CHECK(s->held[i] != NULL && s->held[i] != ledger->steps);
    }
    CHECK_STATUS(ft_csv_all_steps(test_page_sink(&page, 0), ledger), FT_OK);
    CHECK_U64(lines_on_page(), 1 + ROWS);
    CHECK_STATUS(ft_csv_all_epochs(test_page_sink(&page, 0), ledger), FT_OK);
    CHECK_U64(lines_on_page(), 1 + EPOCHS);
}

static void
start_script(script *s, size_t fail_at, bool go_on)
{
    memset(s, 0, sizeof *s);
    s->heap.fail_at = fail_at;
    s->go_on = go_on;
    ft_epochs_init(&s->run, test_heap_allocator(&s->heap), true, true);
}

static void
end_script(script *s)
{
    CHECK(ft_ledger_consistent(&s->run.ledger));
    check_held_blocks(s);
    ft_epochs_clear(&s->run);
    check_held_blocks(s); /* they outlive the ledger */
    for (int i = 0; i < READERS; i++) {
        if (s->held[i] != NULL) {
            ft_step_block_release(s->held[i]);
        }
    }
    ft_registry_clear(&s->registry);
    CHECK_U64(s->heap.live, 0);
    CHECK(ft_ledger_consistent(&s->run.ledger));
}

/* Runs with allocation 1, 2, ... failing until none fails any more; returns how many failed. */
static size_t
fail_each_allocation(bool go_on)
{
    script s;
    size_t fail_at = 0;
    do {
        start_script(&s, ++fail_at, go_on);
        ft_status status = play(&s);
        if (go_on || s.refusals == 0) {
            if (CHECK_STATUS(status, FT_OK)) {
                check_finished(&s);
            }
        }
        else {
            CHECK_STATUS(status, FT_NO_MEMORY);
        }
        CHECK(s.refusals <= 1);
        end_script(&s);
    } while (s.refusals > 0 && fail_at < 1000);
    CHECK_U64(s.refusals, 0);
    return fail_at - 1;
}

static void
test_allocations(void)
{
    size_t tried_again = fail_each_allocation(true), given_up = fail_each_allocation(false);
    CHECK(tried_again >= 5); /* registry, epochs, steps, and the steps grew at least twice */
    CHECK_U64(given_up, tried_again);
}

/* After giving up and clearing, the same run can be played from the start. */
static void
test_again_after_clear(void)
{
    script s;
    for (size_t fail_at = 2; fail_at <= 4; fail_at++) { /* the registry's own is number 1 */
        start_script(&s, fail_at, false);
        CHECK_STATUS(play(&s), FT_NO_MEMORY);
        end_script(&s);
        memset(s.held, 0, sizeof s.held);
        CHECK_STATUS(play(&s), FT_OK);
        check_finished(&s);
        end_script(&s);
    }
}

/* What reached the sink before write fail_at failed is the beginning of the whole text. */
static void
check_failed_write(const ft_ledger *ledger, size_t fail_at, bool steps, const test_page *whole)
{
    ft_sink sink = test_page_sink(&page, fail_at);
    ft_status status = steps ? ft_csv_all_steps(sink, ledger) : ft_csv_all_epochs(sink, ledger);
    CHECK_STATUS(status, fail_at <= whole->writes ? FT_SINK_FAILED : FT_OK);
    CHECK_U64(page.writes, fail_at <= whole->writes ? fail_at : whole->writes);
    CHECK_U64(lines_on_page(), fail_at <= whole->writes ? fail_at - 1 : whole->writes);
    CHECK(memcmp(page.text, whole->text, page.length) == 0);
}

static void
test_writes(void)
{
    static test_page whole;
    script s;
    start_script(&s, 0, false);
    CHECK_STATUS(play(&s), FT_OK);
    CHECK_STATUS(ft_csv_all_epochs(test_page_sink(&whole, 0), &s.run.ledger), FT_OK);
    CHECK_U64(whole.writes, 1 + EPOCHS);
    for (size_t fail_at = 1; fail_at <= 2 + EPOCHS; fail_at++) {
        check_failed_write(&s.run.ledger, fail_at, false, &whole);
    }
    CHECK_STATUS(ft_csv_all_steps(test_page_sink(&whole, 0), &s.run.ledger), FT_OK);
    CHECK_U64(whole.writes, 1 + ROWS);
    for (size_t fail_at = 1; fail_at <= 2 + ROWS; fail_at += 53) {
        check_failed_write(&s.run.ledger, fail_at, true, &whole);
    }
    check_failed_write(&s.run.ledger, 1 + ROWS, true, &whole);
    check_failed_write(&s.run.ledger, 2 + ROWS, true, &whole);
    end_script(&s);
}

/* Every write of a smaller run: its header and 60 steps. */
static void
test_every_write(void)
{
    static test_page whole;
    ft_ledger ledger;
    ft_step step;
    ft_ledger_init(&ledger, ft_allocator_libc(), true, true);
    CHECK_STATUS(ft_ledger_begin_epoch(&ledger), FT_OK);
    for (uint64_t i = 0; i < 60; i++) {
        CHECK_STATUS(ft_ledger_add_step(&ledger, i, ft_u128_of(i), 0.5, &step), FT_OK);
    }
    CHECK_STATUS(ft_csv_all_steps(test_page_sink(&whole, 0), &ledger), FT_OK);
    for (size_t fail_at = 1; fail_at <= 62; fail_at++) {
        check_failed_write(&ledger, fail_at, true, &whole);
        CHECK(ft_ledger_consistent(&ledger));
    }
    ft_ledger_clear(&ledger);
}

TEST_MAIN(test_allocations, test_again_after_clear, test_writes, test_every_write)
