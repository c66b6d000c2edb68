/* The name maps as one sorted index: made once, read only, so it needs no lock. */
/* SPDX-License-Identifier: MIT */
#ifndef FT_REGISTRY_H
#define FT_REGISTRY_H

#include "ft_rule.h"

typedef struct {
    ft_allocator allocator;
    const ft_map_row **rows; /* by name; rows of one name in the order of their table */
    size_t count;
} ft_registry;

ft_status ft_registry_init(ft_registry *registry, ft_allocator allocator);
void ft_registry_clear(ft_registry *registry);
/* The rows of that name; *found receives their number, 0 where the name is not known. */
const ft_map_row *const *ft_registry_find(const ft_registry *registry, const char *name,
                                          size_t *found);

#endif
