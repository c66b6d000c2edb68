/* The sorted index of the name maps: what it finds, what it does not, and in which order. */
/* SPDX-License-Identifier: MIT */
#include "ft_test.h"
#include "ft_test_doubles.h"
#include "maps/maps.h"

#define LINEAR "torch.nn.modules.linear.Linear"
#define MULTIHEAD "torch.nn.modules.activation.MultiheadAttention"

static ft_registry registry;

static size_t
count_of(const char *name)
{
    size_t found = 99;
    ft_registry_find(&registry, name, &found);
    return found;
}

static void
test_linear(void)
{
    size_t found = 0;
    const ft_map_row *const *rows = ft_registry_find(&registry, LINEAR, &found);
    if (CHECK_U64(found, 1)) {
        CHECK_TEXT(rows[0]->name, LINEAR);
        CHECK(rows[0]->formula == ft_formula_find("linear"));
        CHECK_TEXT(rows[0]->formula->name, "linear");
        CHECK_U64(rows[0]->flags, FT_ROW_CNN);
        CHECK(rows[0]->sources[0].kind == FT_FROM_OUTPUT);
        CHECK(rows[0]->sources[1].kind == FT_FROM_ATTRIBUTE);
        CHECK_TEXT(rows[0]->sources[1].name, "in_features");
        CHECK(rows[0]->sources[2].kind == FT_FROM_PRESENCE);
        CHECK_TEXT(rows[0]->sources[2].name, "bias");
    }
}

static void
test_two_rows_of_one_name(void)
{
    size_t found = 0;
    const ft_map_row *const *rows = ft_registry_find(&registry, MULTIHEAD, &found);
    if (CHECK_U64(found, 2)) {
        CHECK_TEXT(rows[0]->formula->name, "attention_layer");
        CHECK_TEXT(rows[1]->formula->name, "attention_softmax");
        CHECK((rows[0]->flags & FT_ROW_UNIT) != 0 && (rows[1]->flags & FT_ROW_UNIT) != 0);
    }
}

static void
test_cnn_rows(void)
{
    size_t cnn_rows = 0, found = 0;
    for (size_t i = 0; i < registry.count; i++) {
        cnn_rows += (registry.rows[i]->flags & FT_ROW_CNN) != 0;
    }
    const ft_map_row *const *rows =
        ft_registry_find(&registry, "torch.nn.modules.conv.Conv2d", &found);
    CHECK(found == 1 && (rows[0]->flags & FT_ROW_CNN) != 0);
    CHECK_U64(cnn_rows, 2); /* Linear and Conv2d, "the two layers" of ft_rule.h */
}

static void
test_unknown_names(void)
{
    static const char *const unknown[] = {
        "",
        "\x01",
        "~",
        "Linear",
        "torch",
        "torch.nn.modules.linear",
        "torch.nn.modules.linear.Linea",
        "torch.nn.modules.linear.Linear2",
        "torch.nn.modules.linear.Linear ",
        "torch.nn.modules.linear.linear",
        "torch.nn.modules.activation.MultiheadAttentio",
        "torch.nn.Linear",
        "zzz",
    };
    for (size_t i = 0; i < FT_COUNT_OF(unknown); i++) {
        CHECK_U64(count_of(unknown[i]), 0);
    }
}

static void
test_every_row_is_found(void)
{
    CHECK(registry.count > 50); /* torch.nn has more layers than that */
    for (size_t i = 0; i < registry.count; i++) {
        const char *name = registry.rows[i]->name;
        size_t found = 0, same = 0;
        const ft_map_row *const *rows = ft_registry_find(&registry, name, &found);
        for (size_t j = 0; j < registry.count; j++) {
            same += strcmp(registry.rows[j]->name, name) == 0;
        }
        CHECK_U64(found, same);
        CHECK(found <= FT_MAX_ROWS); /* a third row of a name would not be counted */
        bool seen = false;
        for (size_t j = 0; j < found; j++) {
            CHECK_TEXT(rows[j]->name, name);
            seen = seen || rows[j] == registry.rows[i];
        }
        CHECK(seen);
    }
}

static void
test_sorted(void)
{
    for (size_t i = 1; i < registry.count; i++) {
        const ft_map_row *before = registry.rows[i - 1], *after = registry.rows[i];
        int order = strcmp(before->name, after->name);
        CHECK(order < 0 || (order == 0 && before < after));
        bool layer = strncmp(before->name, "torch.nn.", 9) == 0; /* an operation may do it twice */
        CHECK(order < 0 || !layer || strcmp(before->formula->name, after->formula->name) != 0);
    }
}

static void
test_flops_counter(void)
{
    static const char *const layers[] = {LINEAR, "torch.nn.modules.normalization.LayerNorm",
                                         "torch.nn.modules.sparse.Embedding"};
    static const char *const forward[] = {"linear", "norm_table", "embedding_table"};
    static const char *const backward[] = {"linear_backward_table", "norm_table",
                                           "embedding_table"};
    for (size_t i = 0; i < FT_COUNT_OF(layers); i++) {
        CHECK_TEXT(ft_flops_counter_row("forward", layers[i])->formula->name, forward[i]);
        CHECK_TEXT(ft_flops_counter_row("backward", layers[i])->formula->name, backward[i]);
        CHECK(ft_flops_counter_row("optimizer", layers[i]) == NULL);
    }
    CHECK_U64(ft_flops_counter_row("optimizer", "adamw")->sources[1].index, 15);
    CHECK_U64(ft_flops_counter_row("optimizer", "sgd")->sources[1].index, 2);
    CHECK(ft_flops_counter_row("optimizer", "adam") == NULL);
    CHECK(ft_flops_counter_row("forward", MULTIHEAD) == NULL);
    CHECK(ft_flops_counter_row("", LINEAR) == NULL);
}

static void
test_memory(void)
{
    test_heap heap = {.fail_at = 1};
    ft_registry other;
    CHECK_STATUS(ft_registry_init(&other, test_heap_allocator(&heap)), FT_NO_MEMORY);
    CHECK_U64(other.count, 0);
    ft_registry_clear(&other);
    CHECK_STATUS(ft_registry_init(&other, test_heap_allocator(&heap)), FT_OK);
    CHECK_U64(heap.live, 1);
    CHECK_U64(other.count, registry.count);
    for (size_t i = 0; i < other.count; i++) {
        CHECK(other.rows[i] == registry.rows[i]);
    }
    ft_registry_clear(&other);
    CHECK_U64(heap.live, 0);
    CHECK_U64(other.count, 0);
    ft_registry_clear(&other); /* twice does no harm */
    CHECK_U64(heap.live, 0);
}

static void
open_registry(void)
{
    CHECK_STATUS(ft_registry_init(&registry, ft_allocator_libc()), FT_OK);
}

static void
close_registry(void)
{
    ft_registry_clear(&registry);
    CHECK(registry.rows == NULL);
}

TEST_MAIN(open_registry, test_linear, test_two_rows_of_one_name, test_cnn_rows, test_unknown_names,
          test_every_row_is_found, test_sorted, test_flops_counter, test_memory, close_registry)
