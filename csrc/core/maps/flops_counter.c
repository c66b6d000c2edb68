/* compat.flops_counter: which formula counts a layer forward, backward, and an optimizer's step. */
/* SPDX-License-Identifier: MIT */
#include "../formulas/formulas.h"
#include "maps.h"

#include <string.h>

/* Not in the registry: a layer has other rules there, by which all else is counted. */

#define OUTPUT {FT_FROM_OUTPUT, 0, NULL}
#define ATTRIBUTE(attribute) {FT_FROM_ATTRIBUTE, 0, attribute}
#define VALUE(argument) {FT_FROM_VALUE, 0, argument}
#define IS(value) {FT_FROM_CONSTANT, value, NULL}
#define LINEAR "torch.nn.modules.linear.Linear"
#define LAYER_NORM "torch.nn.modules.normalization.LayerNorm"
#define EMBEDDING "torch.nn.modules.sparse.Embedding"

static const struct {
    const char *table;
    ft_map_row row;
} rows[] = {
    {"forward", {LINEAR, &ft_linear, 0, {OUTPUT, ATTRIBUTE("in_features"), IS(0)}}},
    {"forward", {LAYER_NORM, &ft_norm_table, 0, {OUTPUT}}},
    {"forward", {EMBEDDING, &ft_embedding_table, 0, {OUTPUT}}},

    {"backward", {LINEAR, &ft_linear_backward_table, 0, {OUTPUT, ATTRIBUTE("in_features")}}},
    {"backward", {LAYER_NORM, &ft_norm_table, 0, {OUTPUT}}},
    {"backward", {EMBEDDING, &ft_embedding_table, 0, {OUTPUT}}},

    {"optimizer", {"adamw", &ft_update_table, 0, {VALUE("parameters"), IS(15)}}},
    {"optimizer", {"sgd", &ft_update_table, 0, {VALUE("parameters"), IS(2)}}},
};

const ft_map_row *
ft_flops_counter_row(const char *table, const char *name)
{
    for (size_t i = 0; i < FT_COUNT_OF(rows); i++) {
        if (strcmp(rows[i].table, table) == 0 && strcmp(rows[i].row.name, name) == 0) {
            return &rows[i].row;
        }
    }
    return NULL;
}
