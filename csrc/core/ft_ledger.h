/* The ledger of a run: its total, one record per step and one per epoch. Totals are sums of
 * records. */
/* SPDX-License-Identifier: MIT */
#ifndef FT_LEDGER_H
#define FT_LEDGER_H

#include "ft_u128.h"

/* Epochs and steps count from 1; the step number starts again with each epoch. */
typedef struct {
    uint32_t epoch, step;
    uint64_t batch_size;
    ft_u128 flops_batch;
    ft_u128 flops_total_cum; /* of the run, this step included */
    double wall_time_s;      /* since the end of the step before, or the start of the epoch */
} ft_step;

typedef struct {
    uint32_t epoch;
    bool complete; /* false where the epoch was broken off */
    bool has_loss;
    uint64_t batches, samples;
    ft_u128 flops_epoch;
    ft_u128 flops_total_cum;
    double wall_time_s;
    double loss;         /* mean over samples; it may be NaN, which says that training went wrong */
    double train_time_s; /* of wall_time_s, what no other phase than training took */
} ft_epoch;

/* Steps lie in one block that others may read without a copy: who holds a reference keeps the rows
 * that were there, since a block that is shared is copied before it grows, never moved. */
typedef struct {
    ft_allocator allocator;
    size_t references, capacity;
    ft_step rows[];
} ft_step_block;

typedef struct {
    ft_allocator allocator;
    bool keep_steps, keep_epochs;
    ft_u128 total;
    ft_epoch current; /* the open epoch; its sums so far */
    ft_step_block *steps;
    size_t step_count;
    ft_epoch *epochs;
    size_t epoch_count, epoch_capacity;
} ft_ledger;

void ft_ledger_init(ft_ledger *ledger, ft_allocator allocator, bool keep_steps, bool keep_epochs);
void ft_ledger_clear(ft_ledger *ledger);

/* Opens the next epoch and makes room for its record, so that closing it can't fail. */
ft_status ft_ledger_begin_epoch(ft_ledger *ledger);
/* All or nothing: on a failure the ledger is as it was. */
ft_status ft_ledger_add_step(ft_ledger *ledger, uint64_t batch_size, ft_u128 flops,
                             double wall_time_s, ft_step *step);
/* The same for sums that are kept elsewhere; *step receives the record. */
ft_status ft_ledger_sum_step(ft_epoch *epoch, ft_u128 *total, uint64_t batch_size, ft_u128 flops,
                             double wall_time_s, ft_step *step);
/* loss is NULL where none is known. */
void ft_ledger_end_epoch(ft_ledger *ledger, bool complete, double wall_time_s, const double *loss,
                         ft_epoch *epoch);

/* Where the total came to that amount: the epoch, and the step where steps are kept; 0 where the
 * records don't say. */
void ft_ledger_find(const ft_ledger *ledger, ft_u128 amount, uint32_t *epoch, uint32_t *step);

/* Index of the first kept step from that one on; step_count where there is none. */
size_t ft_ledger_step_from(const ft_ledger *ledger, uint32_t epoch, uint32_t step);
/* FLOPs of its epoch up to the kept step of that index, which is included. */
ft_u128 ft_ledger_epoch_cum(const ft_ledger *ledger, size_t index);

void ft_step_block_retain(ft_step_block *block);
void ft_step_block_release(ft_step_block *block);

/* Walks all records; false where a sum, an order or a number does not hold. For tests. */
bool ft_ledger_consistent(const ft_ledger *ledger);

#endif
