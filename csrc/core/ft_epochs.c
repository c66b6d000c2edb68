/* Which call is allowed when, and how long each step and epoch took. */
/* SPDX-License-Identifier: MIT */
#include "ft_epochs.h"

void
ft_epochs_init(ft_epochs *run, ft_allocator allocator, bool keep_steps, bool keep_epochs)
{
    ft_ledger_init(&run->ledger, allocator, keep_steps, keep_epochs);
    run->open = false;
    run->epoch_started = run->step_ended = 0;
    run->pauses = 0;
    run->paused_at = run->paused = run->train_time_s = 0;
    run->max_flops = FT_U128_ZERO;
}

void
ft_epochs_clear(ft_epochs *run)
{
    ft_ledger_clear(&run->ledger);
    run->open = false;
    run->train_time_s = 0;
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
        run->epoch_started = run->step_ended = run->paused_at = now;
        run->paused = 0;
    }
    return status;
}

/* Moves the step's start by what has been paused since the last call. */
static void
take_pause(ft_epochs *run, double now)
{
    if (run->pauses > 0) {
        run->step_ended += now - run->paused_at;
        run->paused += now - run->paused_at;
        run->paused_at = now;
    }
}

void
ft_epochs_pause(ft_epochs *run, double now)
{
    if (run->pauses++ == 0) {
        run->paused_at = now;
    }
}

void
ft_epochs_resume(ft_epochs *run, double now)
{
    take_pause(run, now);
    run->pauses--;
}

double
ft_epochs_paused(const ft_epochs *run, double now)
{
    return run->paused + (run->pauses > 0 ? now - run->paused_at : 0);
}

double
ft_epochs_train_time(const ft_epochs *run)
{
    double open = run->open ? run->step_ended - run->epoch_started - run->paused : 0;
    return run->train_time_s + open;
}

bool
ft_epochs_over_budget(const ft_epochs *run)
{
    return !ft_u128_is_zero(run->max_flops) &&
           ft_u128_compare(run->ledger.total, run->max_flops) >= 0;
}

ft_status
ft_epochs_batch(ft_epochs *run, uint64_t batch_size, ft_u128 flops, double now, ft_step *step)
{
    if (!run->open) {
        return FT_NO_EPOCH;
    }
    take_pause(run, now);
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
    take_pause(run, now);
    run->ledger.current.train_time_s = now - run->epoch_started - run->paused;
    run->train_time_s += run->ledger.current.train_time_s;
    ft_ledger_end_epoch(&run->ledger, complete, now - run->epoch_started, loss, epoch);
    run->open = false;
    return FT_OK;
}
