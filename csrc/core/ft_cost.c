/* The table of conventions, and how a cost is read under one of them. */
/* SPDX-License-Identifier: MIT */
#include "ft_cost.h"

#include <string.h>

/* Weights in the order of FT_KIND_LIST: mac dot bias arith compare special; bytes weigh 0. */
static const ft_convention conventions[] = {
    {"standard",
     "a multiply-accumulate is 2; additions, special functions and biases are 1",
     {2, 0, 1, 1, 0, 1},
     {2, 0, 1, 1, 0, 1},
     NULL},
    {"exact",
     "k multiplications and k-1 additions per dot product; comparisons are 1",
     {2, -1, 1, 1, 1, 1},
     {2, -1, 1, 1, 1, 1},
     NULL},
    {"matmul",
     "contractions only, 2 per multiply-accumulate: PyTorch's FlopCounterMode, MFU",
     {2, 0, 0, 0, 0, 0},
     {0, 0, 0, 0, 0, 0},
     NULL},
    {"macs",
     "contractions only, 1 per multiply-accumulate: fvcore, thop",
     {1, 0, 0, 0, 0, 0},
     {0, 0, 0, 0, 0, 0},
     NULL},
    {"layerwise",
     "the layer table: contractions 2 per multiply-accumulate, the other rows as tabled",
     {2, 0, 0, 0, 0, 0},
     {0, 0, 0, 1, 0, 0},
     NULL},
    {"flops_profiler",
     "that tool's MACs: multiply-accumulates, biases of convolutions, and what its table states",
     {1, 0, 1, 0, 0, 0},
     {0, 0, 0, 0, 0, 0},
     "flops_profiler/"},
};

static const char *const kind_names[] = {
#define FT_KIND_NAME(upper, lower, text) #lower,
    FT_KIND_LIST(FT_KIND_NAME)
#undef FT_KIND_NAME
};

static const char *const kind_texts[] = {
#define FT_KIND_TEXT(upper, lower, text) text,
    FT_KIND_LIST(FT_KIND_TEXT)
#undef FT_KIND_TEXT
};

static const struct {
    const char *name;
    bool contraction;
} classes[] = {
#define FT_CLASS_ROW(upper, lower, contraction) {#lower, contraction},
    FT_CLASS_LIST(FT_CLASS_ROW)
#undef FT_CLASS_ROW
};

const char *
ft_kind_name(ft_kind kind)
{
    return kind_names[kind];
}

const char *
ft_kind_text(ft_kind kind)
{
    return kind_texts[kind];
}

const char *
ft_class_name(ft_class op_class)
{
    return classes[op_class].name;
}

bool
ft_class_is_contraction(ft_class op_class)
{
    return classes[op_class].contraction;
}

const ft_convention *
ft_conventions(size_t *count)
{
    *count = FT_COUNT_OF(conventions);
    return conventions;
}

const ft_convention *
ft_convention_find(const char *name)
{
    for (size_t i = 0; i < FT_COUNT_OF(conventions); i++) {
        if (strcmp(conventions[i].name, name) == 0) {
            return &conventions[i];
        }
    }
    return NULL;
}

void
ft_cost_add(ft_cost *sum, const ft_cost *cost)
{
    for (int kind = 0; kind < FT_KIND_COUNT; kind++) {
        sum->by_kind[kind] = ft_u128_add(sum->by_kind[kind], cost->by_kind[kind]);
    }
}

void
ft_cost_complex(ft_cost *cost, bool products)
{
    const uint64_t times[FT_KIND_COUNT] = {
        [FT_MAC] = 4,     [FT_DOT] = 2,     [FT_BIAS] = 2, [FT_ARITH] = products ? 6 : 2,
        [FT_COMPARE] = 1, [FT_SPECIAL] = 1, [FT_BYTES] = 1};
    for (int kind = 0; kind < FT_KIND_COUNT; kind++) {
        cost->by_kind[kind] = ft_u128_multiply(cost->by_kind[kind], ft_u128_of(times[kind]));
    }
}

ft_u128
ft_cost_read(const ft_cost *cost, ft_class op_class, const ft_convention *convention)
{
    if (op_class == FT_CLASS_STATED) {
        return cost->by_kind[FT_ARITH];
    }
    const int8_t *weights =
        ft_class_is_contraction(op_class) ? convention->contractions : convention->others;
    ft_u128 plus = FT_U128_ZERO, minus = FT_U128_ZERO;
    for (int kind = 0; kind < FT_KIND_COUNT; kind++) {
        int weight = weights[kind];
        ft_u128 *sum = weight < 0 ? &minus : &plus;
        uint64_t times = (uint64_t)(weight < 0 ? -weight : weight);
        if (times != 0 && !ft_u128_is_zero(cost->by_kind[kind])) {
            *sum = ft_u128_add(*sum, ft_u128_multiply(cost->by_kind[kind], ft_u128_of(times)));
        }
    }
    return ft_u128_subtract(plus, minus);
}
