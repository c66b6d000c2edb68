/* Rebuilding a ledger by the calls that built it, so that it can't say what they would not. */
/* SPDX-License-Identifier: MIT */
#include "ft_restore.h"

static ft_status
add_saved_sums(ft_ledger *ledger, const ft_epoch *saved)
{
    ft_u128 total = ft_u128_add(ledger->total, saved->flops_epoch);
    if (ft_u128_overflowed(total)) {
        return FT_OVERFLOW;
    }
    if (saved->batches == 0 && (saved->samples > 0 || !ft_u128_is_zero(saved->flops_epoch))) {
        return FT_WRONG_SUMS;
    }
    ledger->total = total;
    ledger->current.batches = saved->batches;
    ledger->current.samples = saved->samples;
    ledger->current.flops_epoch = saved->flops_epoch;
    return FT_OK;
}

static bool
same_sums(const ft_epoch *a, const ft_epoch *b)
{
    return a->batches == b->batches && a->samples == b->samples &&
           ft_u128_compare(a->flops_epoch, b->flops_epoch) == 0;
}

ft_status
ft_restore_epoch(ft_ledger *ledger, const ft_epoch *saved, const ft_step *steps, size_t step_count)
{
    ft_status status = ft_ledger_begin_epoch(ledger);
    for (size_t i = 0; steps != NULL && i < step_count && status == FT_OK; i++) {
        ft_step step;
        status = ft_ledger_add_step(ledger, steps[i].batch_size, steps[i].flops_batch,
                                    steps[i].wall_time_s, &step);
    }
    if (status == FT_OK && saved != NULL) {
        if (steps == NULL) {
            status = add_saved_sums(ledger, saved);
        }
        else if (!same_sums(&ledger->current, saved)) {
            status = FT_WRONG_SUMS;
        }
    }
    if (status == FT_OK) {
        ft_epoch epoch;
        bool known = saved != NULL;
        ledger->current.train_time_s = known ? saved->train_time_s : 0;
        ft_ledger_end_epoch(ledger, known && saved->complete, known ? saved->wall_time_s : 0,
                            known && saved->has_loss ? &saved->loss : NULL, &epoch);
    }
    return status;
}

ft_status
ft_restore_sums(ft_ledger *ledger, uint32_t epochs, uint64_t last_batches, ft_u128 total)
{
    if (ft_u128_overflowed(total)) {
        return FT_OVERFLOW;
    }
    if (epochs == 0 && (last_batches > 0 || !ft_u128_is_zero(total))) {
        return FT_WRONG_SUMS;
    }
    ledger->total = total;
    ledger->current =
        (ft_epoch){.epoch = epochs, .batches = last_batches, .flops_total_cum = total};
    return FT_OK;
}
