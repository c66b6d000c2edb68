/* Steps and epochs as CSV lines; every line reaches the sink in one piece. */
/* SPDX-License-Identifier: MIT */
#ifndef FT_CSV_H
#define FT_CSV_H

#include "ft_ledger.h"

/* New columns go to the end: readers rely on the order of those that are there. */
#define FT_CSV_STEP_HEADER \
    "epoch,step,batch_size,flops_batch,flops_epoch_cum,flops_total_cum,wall_time_s\n"
#define FT_CSV_EPOCH_HEADER \
    "epoch,flops_epoch,flops_total_cum,batches,samples,loss,wall_time_s,complete\n"

ft_status ft_csv_step(ft_sink sink, const ft_step *step, ft_u128 flops_epoch_cum);
/* The loss is empty where none is known; complete is 1 or 0. */
ft_status ft_csv_epoch(ft_sink sink, const ft_epoch *epoch);
/* Kept records from that one on. */
ft_status ft_csv_steps_from(ft_sink sink, const ft_ledger *ledger, uint32_t epoch, uint32_t step);
ft_status ft_csv_epochs_from(ft_sink sink, const ft_ledger *ledger, uint32_t epoch);
/* All kept records with their header. */
ft_status ft_csv_all_steps(ft_sink sink, const ft_ledger *ledger);
ft_status ft_csv_all_epochs(ft_sink sink, const ft_ledger *ledger);

#endif
