/* The name maps: one table per framework, each ended by its length. */
/* SPDX-License-Identifier: MIT */
#ifndef FT_MAPS_H
#define FT_MAPS_H

#include "../ft_rule.h"

extern const ft_map_row ft_map_torch_nn[];
extern const size_t ft_map_torch_nn_count;
/* Whether the layers of that map have parameters of this name. */
bool ft_map_torch_nn_parameter(const char *name);

#endif
