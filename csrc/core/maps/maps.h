/* The name maps: one table per framework or family, each ended by its length. */
/* SPDX-License-Identifier: MIT */
#ifndef FT_MAPS_H
#define FT_MAPS_H

#include "../ft_rule.h"

extern const ft_map_row ft_map_torch_nn[], ft_map_aten_contractions[], ft_map_aten_pointwise[],
    ft_map_aten_activations[], ft_map_aten_reductions[], ft_map_aten_norms[], ft_map_aten_losses[],
    ft_map_aten_images[], ft_map_aten_indexing[], ft_map_aten_optimizers[], ft_map_aten_data[];
extern const size_t ft_map_torch_nn_count, ft_map_aten_contractions_count,
    ft_map_aten_pointwise_count, ft_map_aten_activations_count, ft_map_aten_reductions_count,
    ft_map_aten_norms_count, ft_map_aten_losses_count, ft_map_aten_images_count,
    ft_map_aten_indexing_count, ft_map_aten_optimizers_count, ft_map_aten_data_count;
/* Whether the layers of that map have parameters of this name. */
bool ft_map_torch_nn_parameter(const char *name);

#endif
