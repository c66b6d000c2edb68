/* A ledger rebuilt from what was saved of it, which may be anything: sums are computed anew and
 * compared. */
/* SPDX-License-Identifier: MIT */
#ifndef FT_RESTORE_H
#define FT_RESTORE_H

#include "ft_ledger.h"

/* Adds the next epoch, which has ended. Its sums are those of its steps; without these (NULL) they
 * are the ones saved. `saved` is NULL where no epochs were kept, which needs steps. FT_WRONG_SUMS
 * where the two differ; the ledger is good for nothing after a failure. */
ft_status ft_restore_epoch(ft_ledger *ledger, const ft_epoch *saved, const ft_step *steps,
                           size_t step_count);
/* Makes a new ledger one of a run of which nothing but its sums was kept. */
ft_status ft_restore_sums(ft_ledger *ledger, uint32_t epochs, uint64_t last_batches, ft_u128 total);

#endif
