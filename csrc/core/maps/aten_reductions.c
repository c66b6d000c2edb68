/* ATen's reductions and scans. */
/* SPDX-License-Identifier: MIT */
#include "aten_rows.h"

const ft_map_row ft_map_aten_reductions[] = {
    FOLD("sum", "self", 1, 0, 0, 0, 0, 0, 0),
    FOLD("mean", "self", 1, 0, 0, 0, 0, 1, 0),
};

const size_t ft_map_aten_reductions_count = FT_COUNT_OF(ft_map_aten_reductions);
