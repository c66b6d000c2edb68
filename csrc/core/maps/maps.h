/* The name maps: one table per framework, each ended by its length. */
/* SPDX-License-Identifier: MIT */
#ifndef FT_MAPS_H
#define FT_MAPS_H

#include "../ft_rule.h"

extern const ft_map_row ft_map_torch_nn[];
extern const size_t ft_map_torch_nn_count;

#endif
