/* Sorting and searching the name maps. */
/* SPDX-License-Identifier: MIT */
#include "ft_registry.h"

#include "maps/maps.h"

#include <stdlib.h>
#include <string.h>

static int
compare_rows(const void *left, const void *right)
{
    const ft_map_row *a = *(const ft_map_row *const *)left;
    const ft_map_row *b = *(const ft_map_row *const *)right;
    int order = strcmp(a->name, b->name);
    if (order != 0) {
        return order;
    }
    return (a > b) - (a < b); /* rows of one name stand in one table: keep its order */
}

/* All tables; the names of one table occur in no other. */
static const struct {
    const ft_map_row *rows;
    const size_t *count;
} tables[] = {
#define FT_MAP_ENTRY(name) {ft_map_##name, &ft_map_##name##_count},
    FT_MAP_LIST(FT_MAP_ENTRY)
#undef FT_MAP_ENTRY
};

ft_status
ft_registry_init(ft_registry *registry, ft_allocator allocator)
{
    registry->allocator = allocator;
    registry->count = 0;
    for (size_t i = 0; i < FT_COUNT_OF(tables); i++) {
        registry->count += *tables[i].count;
    }
    registry->rows =
        allocator.resize(allocator.context, NULL, registry->count * sizeof *registry->rows);
    if (registry->rows == NULL) {
        registry->count = 0;
        return FT_NO_MEMORY;
    }
    const ft_map_row **next = registry->rows;
    for (size_t i = 0; i < FT_COUNT_OF(tables); i++) {
        for (size_t row = 0; row < *tables[i].count; row++) {
            *next++ = &tables[i].rows[row];
        }
    }
    qsort(registry->rows, registry->count, sizeof *registry->rows, compare_rows);
    return FT_OK;
}

void
ft_registry_clear(ft_registry *registry)
{
    ft_free(registry->allocator, registry->rows);
    registry->rows = NULL;
    registry->count = 0;
}

const ft_map_row *const *
ft_registry_find(const ft_registry *registry, const char *name, size_t *found)
{
    size_t low = 0, high = registry->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (strcmp(registry->rows[middle]->name, name) < 0) {
            low = middle + 1;
        }
        else {
            high = middle;
        }
    }
    *found = 0;
    while (low + *found < registry->count &&
           strcmp(registry->rows[low + *found]->name, name) == 0) {
        (*found)++;
    }
    return registry->rows + low;
}
