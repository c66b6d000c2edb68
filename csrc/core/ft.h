/* The whole core, for those who use it: the only header that tests and the binding include. */
/* SPDX-License-Identifier: MIT */
#ifndef FT_H
#define FT_H

#include "ft_amount.h"
#include "ft_base.h"
#include "ft_closed.h"
#include "ft_cost.h"
#include "ft_csv.h"
#include "ft_epochs.h"
#include "ft_ledger.h"
#include "ft_limbs.h"
#include "ft_peaks.h"
#include "ft_rates.h"
#include "ft_registry.h"
#include "ft_restore.h"
#include "ft_rule.h"
#include "ft_shape.h"
#include "ft_replay.h"
#include "ft_tally.h"
#include "ft_text.h"
#include "ft_u128.h"

#endif
