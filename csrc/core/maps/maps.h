/* The name maps: one table per framework, each ended by its length. */
/* SPDX-License-Identifier: MIT */
#ifndef FT_MAPS_H
#define FT_MAPS_H

#include "../ft_rule.h"

extern const ft_map_row ft_map_torch_nn[], ft_map_aten_contractions[], ft_map_aten_convolutions[],
    ft_map_aten_attention[], ft_map_aten_linalg[], ft_map_aten_pointwise[],
    ft_map_aten_reductions[], ft_map_aten_data[];
extern const size_t ft_map_torch_nn_count, ft_map_aten_contractions_count,
    ft_map_aten_convolutions_count, ft_map_aten_attention_count, ft_map_aten_linalg_count,
    ft_map_aten_pointwise_count, ft_map_aten_reductions_count, ft_map_aten_data_count;

#endif
