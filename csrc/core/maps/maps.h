/* The name maps: one table per framework and family of operations, each ended by its length. */
/* SPDX-License-Identifier: MIT */
#ifndef FT_MAPS_H
#define FT_MAPS_H

#include "../ft_rule.h"

#define FT_MAP_LIST(X)   \
    X(torch_nn)          \
    X(aten_contractions) \
    X(aten_convolutions) \
    X(aten_attention)    \
    X(aten_linalg)       \
    X(aten_pointwise)    \
    X(aten_activations)  \
    X(aten_reductions)   \
    X(aten_norms)        \
    X(aten_losses)       \
    X(aten_images)       \
    X(aten_indexing)     \
    X(aten_optimizers)   \
    X(aten_data)         \
    X(prims)             \
    X(collectives)       \
    X(flops_profiler)

#define FT_MAP_DECLARE(name)                 \
    extern const ft_map_row ft_map_##name[]; \
    extern const size_t ft_map_##name##_count;
FT_MAP_LIST(FT_MAP_DECLARE)
#undef FT_MAP_DECLARE

/* Whether the layers of the map torch_nn have parameters of this name. */
bool ft_map_torch_nn_parameter(const char *name);

/* The table of compat.flops_counter, which is not in the registry: what a class of layers costs
 * `forward` or `backward`, and a step of the `optimizer` of that name. NULL where it has no row. */
const ft_map_row *ft_flops_counter_row(const char *table, const char *name);

#endif
