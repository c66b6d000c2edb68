/* Which call is allowed when, and how long each step and epoch took. */
/* SPDX-License-Identifier: MIT */
#include "ft_epochs.h"

void
ft_epochs_init(ft_epochs *run, ft_allocator allocator, bool keep_steps, bool keep_epochs)
{
    ft_ledger_init(&run->ledger, allocator, keep_steps, keep_epochs);
    run->open = false;
    run->epoch_started = run->step_ended = 0;
}

void
ft_epochs_clear(ft_epochs *run)
{
    ft_ledger_clear(&run->ledger);
    run->open = false;
}

ft_status
ft_epochs_begin(ft_epochs *run, double now)
{
    if (run->open) {
        return FT_EPOCH_OPEN;
    }
    ft_status status = ft_ledger_begin_epoch(&run->ledger);
    if (status == FT_OK) {
        run->open = true;
        run->epoch_started = run->step_ended = now;
    }
    return status;
}

ft_status
ft_epochs_batch(ft_epochs *run, uint64_t batch_size, ft_u128 flops, double now, ft_step *step)
{
    if (!run->open) {
        return FT_NO_EPOCH;
    }
    ft_status status =
        ft_ledger_add_step(&run->ledger, batch_size, flops, now - run->step_ended, step);
    if (status == FT_OK) {
        run->step_ended = now;
    }
    return status;
}

ft_status
ft_epochs_end(ft_epochs *run, bool complete, const double *loss, double now, ft_epoch *epoch)
{
    if (!run->open) {
        return FT_NO_EPOCH;
    }
    ft_ledger_end_epoch(&run->ledger, complete, now - run->epoch_started, loss, epoch);
    run->open = false;
    return FT_OK;
}
