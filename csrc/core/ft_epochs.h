/* The state machine of a run: idle or in an epoch. Time is handed in and never read. */
/* SPDX-License-Identifier: MIT */
#ifndef FT_EPOCHS_H
#define FT_EPOCHS_H

#include "ft_ledger.h"

typedef struct {
    ft_ledger ledger;
    bool open;
    double epoch_started, step_ended; /* seconds on the caller's clock */
    int pauses;                       /* that are open, in each other */
    double paused_at, paused;         /* since when; seconds of this epoch that were no training */
    double train_time_s;              /* of all epochs that have ended */
    ft_u128 max_flops;                /* the budget; 0: none */
} ft_epochs;

void ft_epochs_init(ft_epochs *run, ft_allocator allocator, bool keep_steps, bool keep_epochs);
void ft_epochs_clear(ft_epochs *run);

/* FT_EPOCH_OPEN where one is open already. */
ft_status ft_epochs_begin(ft_epochs *run, double now);
/* FT_NO_EPOCH outside of an epoch; *step receives the record. */
ft_status ft_epochs_batch(ft_epochs *run, uint64_t batch_size, ft_u128 flops, double now,
                          ft_step *step);
/* Closes the epoch; complete is false where it was broken off, loss is NULL where none is known.
 * *epoch receives the record. */
ft_status ft_epochs_end(ft_epochs *run, bool complete, const double *loss, double now,
                        ft_epoch *epoch);

/* Time from here to the matching resume is no training: neither the step's nor the epoch's
 * train_time_s has it. */
void ft_epochs_pause(ft_epochs *run, double now);
void ft_epochs_resume(ft_epochs *run, double now);
/* Seconds of the open epoch that were no training. */
double ft_epochs_paused(const ft_epochs *run, double now);
/* Seconds of training so far, up to the end of the last step where an epoch is open. */
double ft_epochs_train_time(const ft_epochs *run);

/* Whether the total has come to the budget. */
bool ft_epochs_over_budget(const ft_epochs *run);

#endif
