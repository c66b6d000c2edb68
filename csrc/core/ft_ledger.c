/* Adding up steps and epochs without ever losing or half-adding one. */
/* SPDX-License-Identifier: MIT */
#include "ft_ledger.h"

#include <string.h>

enum { FIRST_STEPS = 256, FIRST_EPOCHS = 16 };

void
ft_ledger_init(ft_ledger *ledger, ft_allocator allocator, bool keep_steps, bool keep_epochs)
{
    memset(ledger, 0, sizeof *ledger);
    ledger->allocator = allocator;
    ledger->keep_steps = keep_steps;
    ledger->keep_epochs = keep_epochs;
}

void
ft_ledger_clear(ft_ledger *ledger)
{
    if (ledger->steps != NULL) {
        ft_step_block_release(ledger->steps);
    }
    ft_free(ledger->allocator, ledger->epochs);
    ft_ledger_init(ledger, ledger->allocator, ledger->keep_steps, ledger->keep_epochs);
}

void
ft_step_block_retain(ft_step_block *block)
{
    block->references++;
}

void
ft_step_block_release(ft_step_block *block)
{
    if (--block->references == 0) {
        ft_free(block->allocator, block);
    }
}

ft_status
ft_ledger_begin_epoch(ft_ledger *ledger)
{
    if (ledger->keep_epochs && ledger->epoch_count == ledger->epoch_capacity) {
        size_t capacity = ledger->epoch_capacity == 0 ? FIRST_EPOCHS : 2 * ledger->epoch_capacity;
        ft_epoch *epochs = ledger->allocator.resize(ledger->allocator.context, ledger->epochs,
                                                    capacity * sizeof *epochs);
        if (epochs == NULL) {
            return FT_NO_MEMORY;
        }
        ledger->epochs = epochs;
        ledger->epoch_capacity = capacity;
    }
    ledger->current = (ft_epoch){.epoch = ledger->current.epoch + 1};
    return FT_OK;
}

static ft_status
make_room_for_a_step(ft_ledger *ledger)
{
    ft_step_block *old = ledger->steps;
    if (old != NULL && ledger->step_count < old->capacity) {
        return FT_OK;
    }
    size_t capacity = old == NULL ? FIRST_STEPS : 2 * old->capacity;
    size_t size = sizeof *old + capacity * sizeof old->rows[0];
    bool shared = old != NULL && old->references > 1;
    ft_allocator allocator = ledger->allocator;
    ft_step_block *block = allocator.resize(allocator.context, shared ? NULL : old, size);
    if (block == NULL) {
        return FT_NO_MEMORY;
    }
    if (shared) {
        memcpy(block->rows, old->rows, ledger->step_count * sizeof old->rows[0]);
        ft_step_block_release(old);
    }
    if (shared || old == NULL) {
        block->allocator = allocator;
        block->references = 1;
    }
    block->capacity = capacity;
    ledger->steps = block;
    return FT_OK;
}

ft_status
ft_ledger_sum_step(ft_epoch *epoch, ft_u128 *total, uint64_t batch_size, ft_u128 flops,
                   double wall_time_s, ft_step *step)
{
    ft_u128 sum = ft_u128_add(*total, flops);
    if (ft_u128_overflowed(sum)) {
        return FT_OVERFLOW;
    }
    if (batch_size > UINT64_MAX - epoch->samples) {
        return FT_TOO_MANY_SAMPLES;
    }
    *total = sum;
    epoch->batches++;
    epoch->samples += batch_size;
    epoch->flops_epoch = ft_u128_add(epoch->flops_epoch, flops); /* at most the total */
    epoch->flops_total_cum = sum;
    *step = (ft_step){epoch->epoch, (uint32_t)epoch->batches, batch_size, flops, sum, wall_time_s};
    return FT_OK;
}

ft_status
ft_ledger_add_step(ft_ledger *ledger, uint64_t batch_size, ft_u128 flops, double wall_time_s,
                   ft_step *step)
{
    if (ledger->keep_steps) {
        ft_status status = make_room_for_a_step(ledger);
        if (status != FT_OK) {
            return status;
        }
    }
    ft_status status =
        ft_ledger_sum_step(&ledger->current, &ledger->total, batch_size, flops, wall_time_s, step);
    if (status == FT_OK && ledger->keep_steps) {
        ledger->steps->rows[ledger->step_count++] = *step;
    }
    return status;
}

void
ft_ledger_end_epoch(ft_ledger *ledger, bool complete, double wall_time_s, const double *loss,
                    ft_epoch *epoch)
{
    ledger->current.complete = complete;
    ledger->current.flops_total_cum = ledger->total;
    ledger->current.wall_time_s = wall_time_s;
    ledger->current.has_loss = loss != NULL;
    ledger->current.loss = loss == NULL ? 0 : *loss;
    if (ledger->keep_epochs) {
        ledger->epochs[ledger->epoch_count++] = ledger->current;
    }
    *epoch = ledger->current;
}

void
ft_ledger_find(const ft_ledger *ledger, ft_u128 amount, uint32_t *epoch, uint32_t *step)
{
    bool by_step = ledger->keep_steps;
    size_t first = 0, end = by_step ? ledger->step_count : ledger->epoch_count, count = end;
    while (first < end) { /* the first whose total is the amount or more */
        size_t middle = first + (end - first) / 2;
        ft_u128 total = by_step ? ledger->steps->rows[middle].flops_total_cum
                                : ledger->epochs[middle].flops_total_cum;
        if (ft_u128_compare(total, amount) < 0) {
            first = middle + 1;
        }
        else {
            end = middle;
        }
    }
    bool in_current = !by_step && ledger->keep_epochs && first == count &&
                      ft_u128_compare(ledger->total, amount) >= 0;
    *epoch = *step = 0;
    if (first < count) {
        *epoch = by_step ? ledger->steps->rows[first].epoch : ledger->epochs[first].epoch;
        *step = by_step ? ledger->steps->rows[first].step : 0;
    }
    else if (in_current) {
        *epoch = ledger->current.epoch;
    }
}

size_t
ft_ledger_step_from(const ft_ledger *ledger, uint32_t epoch, uint32_t step)
{
    size_t first = 0, end = ledger->step_count;
    while (first < end) {
        size_t middle = first + (end - first) / 2;
        const ft_step *row = &ledger->steps->rows[middle];
        if (row->epoch < epoch || (row->epoch == epoch && row->step < step)) {
            first = middle + 1;
        }
        else {
            end = middle;
        }
    }
    return first;
}

ft_u128
ft_ledger_epoch_cum(const ft_ledger *ledger, size_t index)
{
    const ft_step *row = &ledger->steps->rows[index];
    size_t before = index + 1 - row->step; /* steps of the epochs before */
    return before == 0 ? row->flops_total_cum
                       : ft_u128_subtract(row->flops_total_cum,
                                          ledger->steps->rows[before - 1].flops_total_cum);
}

static bool
steps_consistent(const ft_ledger *ledger)
{
    ft_u128 total = FT_U128_ZERO;
    uint32_t epoch = 0, step = 0;
    for (size_t i = 0; i < ledger->step_count; i++) {
        const ft_step *row = &ledger->steps->rows[i];
        if (row->epoch < epoch || row->epoch > ledger->current.epoch) {
            return false;
        }
        step = row->epoch == epoch ? step + 1 : 1;
        epoch = row->epoch;
        total = ft_u128_add(total, row->flops_batch);
        if (row->step != step || ft_u128_compare(total, row->flops_total_cum) != 0) {
            return false;
        }
    }
    return !ledger->keep_steps || ft_u128_compare(total, ledger->total) == 0;
}

bool
ft_ledger_consistent(const ft_ledger *ledger)
{
    ft_u128 total = FT_U128_ZERO;
    uint32_t last = 0;
    for (size_t i = 0; i < ledger->epoch_count; i++) {
        const ft_epoch *row = &ledger->epochs[i];
        total = ft_u128_add(total, row->flops_epoch);
        last = row->epoch;
        if (row->epoch != i + 1 || ft_u128_compare(total, row->flops_total_cum) != 0) {
            return false;
        }
    }
    if (ledger->current.epoch > last) { /* one is open */
        total = ft_u128_add(total, ledger->current.flops_epoch);
    }
    return steps_consistent(ledger) &&
           (!ledger->keep_epochs || ft_u128_compare(total, ledger->total) == 0);
}
