/* How costs are read under each convention, and the closed lists of kinds, classes, conventions. */
/* SPDX-License-Identifier: MIT */
#include "ft_test.h"

static const char *const convention_names[] = {"standard", "exact",     "matmul",
                                               "macs",     "layerwise", "flops_profiler"};

enum { CONVENTIONS = 6 };

static ft_u128
read_under(const char *name, const ft_cost *cost, ft_class op_class)
{
    const ft_convention *convention = ft_convention_find(name);
    return CHECK(convention != NULL) ? ft_cost_read(cost, op_class, convention) : FT_U128_ZERO;
}

static ft_cost
cost_of(uint64_t mac, uint64_t dot, uint64_t bias)
{
    ft_cost cost = {{{0, 0}}};
    cost.by_kind[FT_MAC] = ft_u128_of(mac);
    cost.by_kind[FT_DOT] = ft_u128_of(dot);
    cost.by_kind[FT_BIAS] = ft_u128_of(bias);
    return cost;
}

/* Linear(5, 4) on one row: 4 outputs, each a dot product of length 5, so mac = 4*5 = 20, dot = 4,
 * and with a bias 4 additions more.
 *   standard   2*20 + 4 = 44         exact      4*(5 + 4) + 4 = 40 (5 products, 4 additions, bias)
 *   matmul     2*20 = 40             macs       20              layerwise  2*20 = 40
 *   flops_profiler 20 + 4 = 24 (a bias that its rows give counts)
 * Without bias: standard 2*20 = 40, exact 4*(5 + 4) = 36, flops_profiler 20. */
static void
test_linear_layer(void)
{
    static const uint64_t with_bias[CONVENTIONS] = {44, 40, 40, 20, 40, 24};
    static const uint64_t without_bias[CONVENTIONS] = {40, 36, 40, 20, 40, 20};
    ft_cost biased = cost_of(20, 4, 4), plain = cost_of(20, 4, 0);
    for (int i = 0; i < CONVENTIONS; i++) {
        const char *name = convention_names[i];
        CHECK_U128(read_under(name, &biased, FT_CLASS_MATMUL), ft_u128_of(with_bias[i]));
        CHECK_U128(read_under(name, &plain, FT_CLASS_MATMUL), ft_u128_of(without_bias[i]));
    }
}

/* An elementwise operation on the 4 outputs is 4 arith outside of contractions: 44 + 4, 40 + 4, and
 * nothing more under matmul, macs and flops_profiler, which read contractions only; layerwise reads
 * it: 40 + 4. */
static void
test_linear_layer_and_arithmetic(void)
{
    static const uint64_t together[CONVENTIONS] = {48, 44, 40, 20, 44, 24};
    ft_cost linear = cost_of(20, 4, 4), elementwise = cost_of(0, 0, 0);
    elementwise.by_kind[FT_ARITH] = ft_u128_of(4);
    for (int op_class = 0; op_class < FT_CLASS_STATED; op_class++) {
        for (int i = 0; i < CONVENTIONS && !ft_class_is_contraction((ft_class)op_class); i++) {
            const char *name = convention_names[i];
            ft_u128 sum = ft_u128_add(read_under(name, &linear, FT_CLASS_MATMUL),
                                      read_under(name, &elementwise, (ft_class)op_class));
            CHECK_U128(sum, ft_u128_of(together[i]));
        }
    }
}

/* A stated 7 is 7 under every convention; no other kind is read. */
static void
test_stated(void)
{
    ft_cost cost = cost_of(20, 4, 4);
    cost.by_kind[FT_ARITH] = ft_u128_of(7);
    for (int i = 0; i < CONVENTIONS; i++) {
        CHECK_U128(read_under(convention_names[i], &cost, FT_CLASS_STATED), ft_u128_of(7));
    }
}

/* 1000 of one kind in each, with 1000 mac below the dot of exact: 2*1000 - 1000 = 1000. The weights
 * follow from the conventions' texts; comparisons are free under standard and 1 under exact. */
static void
test_each_kind(void)
{
    static const struct {
        const char *name;
        uint64_t contractions[FT_KIND_COUNT], others[FT_KIND_COUNT];
    } expected[CONVENTIONS] = {
        {"standard", {2000, 2000, 1000, 1000, 0, 1000}, {2000, 2000, 1000, 1000, 0, 1000}},
        {"exact", {2000, 1000, 1000, 1000, 1000, 1000}, {2000, 1000, 1000, 1000, 1000, 1000}},
        {"matmul", {2000, 2000, 0, 0, 0, 0}, {0, 0, 0, 0, 0, 0}},
        {"macs", {1000, 1000, 0, 0, 0, 0}, {0, 0, 0, 0, 0, 0}},
        {"layerwise", {2000, 2000, 0, 0, 0, 0}, {0, 0, 0, 1000, 0, 0}},
        {"flops_profiler", {1000, 1000, 1000, 0, 0, 0}, {0, 0, 0, 0, 0, 0}},
    };
    for (int i = 0; i < CONVENTIONS; i++) {
        for (int kind = 0; kind < FT_KIND_COUNT; kind++) {
            ft_cost cost = cost_of(kind == FT_DOT ? 1000 : 0, 0, 0);
            cost.by_kind[kind] = ft_u128_of(1000);
            CHECK_U128(read_under(expected[i].name, &cost, FT_CLASS_CONV),
                       ft_u128_of(expected[i].contractions[kind]));
            CHECK_U128(read_under(expected[i].name, &cost, FT_CLASS_DATA),
                       ft_u128_of(expected[i].others[kind]));
        }
    }
}

static void
test_overflow(void)
{
    const ft_u128 half = {0, (uint64_t)1 << 63}; /* 2^127 */
    ft_cost cost = cost_of(0, 0, 0);
    cost.by_kind[FT_MAC] = half;
    CHECK_U128(read_under("standard", &cost, FT_CLASS_MATMUL), FT_U128_OVERFLOW); /* 2^128 */
    CHECK_U128(read_under("macs", &cost, FT_CLASS_MATMUL), half);
    CHECK_U128(read_under("matmul", &cost, FT_CLASS_NORM), FT_U128_ZERO);
    cost.by_kind[FT_DOT] = half; /* 2 * 2^127 overflows before 2^127 is taken off, and stays so */
    CHECK_U128(read_under("exact", &cost, FT_CLASS_MATMUL), FT_U128_OVERFLOW);
    /* More dots than macs is no real cost: 2*1 - 2 = 0 can still be read, 2*1 - 3 can't. */
    cost = cost_of(1, 2, 0);
    CHECK_U128(read_under("exact", &cost, FT_CLASS_MATMUL), FT_U128_ZERO);
    cost = cost_of(1, 3, 0);
    CHECK_U128(read_under("exact", &cost, FT_CLASS_MATMUL), FT_U128_OVERFLOW);
}

static void
test_add(void)
{
    ft_cost sum = cost_of(1, 2, 3), cost = cost_of(10, 20, 30);
    sum.by_kind[FT_ARITH] = ft_u128_of(UINT64_MAX);
    cost.by_kind[FT_ARITH] = ft_u128_of(1);
    cost.by_kind[FT_COMPARE] = ft_u128_of(5);
    sum.by_kind[FT_SPECIAL] = FT_U128_OVERFLOW;
    ft_cost_add(&sum, &cost);
    CHECK_U128(sum.by_kind[FT_MAC], ft_u128_of(11));
    CHECK_U128(sum.by_kind[FT_DOT], ft_u128_of(22));
    CHECK_U128(sum.by_kind[FT_BIAS], ft_u128_of(33));
    CHECK_U128(sum.by_kind[FT_ARITH], ((ft_u128){0, 1})); /* 2^64 - 1 + 1 */
    CHECK_U128(sum.by_kind[FT_COMPARE], ft_u128_of(5));
    CHECK_U128(sum.by_kind[FT_SPECIAL], FT_U128_OVERFLOW);
}

static void
test_convention_names(void)
{
    size_t count = 0;
    const ft_convention *conventions = ft_conventions(&count);
    CHECK_U64(count, CONVENTIONS);
    for (size_t i = 0; i < count; i++) {
        CHECK(ft_convention_find(conventions[i].name) == &conventions[i]);
        CHECK(conventions[i].text[0] != '\0');
    }
    for (int i = 0; i < CONVENTIONS; i++) {
        const ft_convention *found = ft_convention_find(convention_names[i]);
        CHECK(found != NULL && strcmp(found->name, convention_names[i]) == 0);
    }
    static const char *const unknown[] = {"", "Standard", "stand", "standard ", "flops"};
    for (size_t i = 0; i < FT_COUNT_OF(unknown); i++) {
        CHECK(ft_convention_find(unknown[i]) == NULL);
    }
}

/* (a + bi)(c + di) is 4 products and 2 sums; of k such products, 4k products go into two sums. */
static void
test_complex_numbers(void)
{
    ft_cost cost = cost_of(10, 5, 3);
    cost.by_kind[FT_ARITH] = ft_u128_of(7);
    cost.by_kind[FT_SPECIAL] = ft_u128_of(9);
    cost.by_kind[FT_BYTES] = ft_u128_of(11);
    ft_cost product = cost;
    ft_cost_complex(&cost, false);
    CHECK_U128(cost.by_kind[FT_MAC], ft_u128_of(40));
    CHECK_U128(cost.by_kind[FT_DOT], ft_u128_of(10));
    CHECK_U128(cost.by_kind[FT_BIAS], ft_u128_of(6));
    CHECK_U128(cost.by_kind[FT_ARITH], ft_u128_of(14));
    CHECK_U128(cost.by_kind[FT_SPECIAL], ft_u128_of(9));
    CHECK_U128(cost.by_kind[FT_BYTES], ft_u128_of(11));
    ft_cost_complex(&product, true);
    CHECK_U128(product.by_kind[FT_ARITH], ft_u128_of(42));
}

static void
test_classes_and_kinds(void)
{
    static const char *const classes[] = {
        "matmul",     "conv",      "attention", "recurrent", "norm",     "softmax", "pool",
        "activation", "pointwise", "reduction", "embedding", "resample", "loss",    "optimizer",
        "fft",        "linalg",    "sparse",    "data",      "unknown",  "stated"};
    static const char *const kinds[] = {"mac",     "dot",     "bias", "arith",
                                        "compare", "special", "bytes"};
    CHECK_U64(FT_CLASS_COUNT, FT_COUNT_OF(classes));
    CHECK_U64(FT_KIND_COUNT, FT_COUNT_OF(kinds));
    for (size_t i = 0; i < FT_COUNT_OF(classes); i++) {
        CHECK_TEXT(ft_class_name((ft_class)i), classes[i]);
        CHECK(ft_class_is_contraction((ft_class)i) == (i < 4)); /* those made of dot products */
    }
    for (size_t i = 0; i < FT_COUNT_OF(kinds); i++) {
        CHECK_TEXT(ft_kind_name((ft_kind)i), kinds[i]);
        CHECK(ft_kind_text((ft_kind)i)[0] != '\0');
    }
}

static void
test_status_texts(void)
{
    for (int status = FT_OK; status <= FT_SINK_FAILED; status++) {
        for (int other = FT_OK; other < status; other++) {
            CHECK(strcmp(ft_status_text((ft_status)status), ft_status_text((ft_status)other)) != 0);
        }
    }
    CHECK_TEXT(ft_status_text(FT_OK), "ok");
    CHECK_TEXT(ft_status_text((ft_status)(FT_WRONG_SUMS + 1)), "unknown status");
}

TEST_MAIN(test_linear_layer, test_linear_layer_and_arithmetic, test_stated, test_each_kind,
          test_overflow, test_add, test_convention_names, test_complex_numbers,
          test_classes_and_kinds, test_status_texts)
