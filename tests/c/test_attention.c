/* Multi-head attention against naive loops over batch, queries, keys, heads and widths. */
/* SPDX-License-Identifier: MIT */
#include "ft_test.h"

typedef struct {
    int64_t batch, queries, keys, width, heads, key_width, value_width;
    int64_t batch_first, bias_kv, zero_attn, bias;
    bool batched;
} attention_case;

typedef struct {
    uint64_t mac, dot, bias, softmax;
} tally;

static uint64_t state = 97;

static int64_t
draw(int64_t least, int64_t most)
{
    return least + (int64_t)(test_random(&state) % (uint64_t)(most - least + 1));
}

static void
do_dots(tally *count, int64_t dots, int64_t length)
{
    for (int64_t dot = 0; dot < dots; dot++) {
        for (int64_t i = 0; i < length; i++) {
            count->mac++;
        }
        count->dot += length > 0;
    }
}

/* A projection of one token to the full width. */
static void
do_projection(tally *count, const attention_case *c, int64_t from)
{
    do_dots(count, c->width, from);
    count->bias += c->bias ? (uint64_t)c->width : 0;
}

/* One query of one head: a score per key, their softmax (5 per score), the weighted values. */
static void
do_query(tally *count, const attention_case *c)
{
    int64_t attended = c->keys + c->bias_kv + c->zero_attn, head_width = c->width / c->heads;
    do_dots(count, attended, head_width);
    for (int64_t key = 0; key < attended; key++) {
        count->softmax += 5;
    }
    do_dots(count, head_width, attended);
}

static tally
count_attention(const attention_case *c)
{
    tally count = {0, 0, 0, 0};
    for (int64_t sequence = 0; sequence < c->batch; sequence++) {
        for (int64_t query = 0; query < c->queries; query++) {
            do_projection(&count, c, c->width);
            for (int64_t head = 0; head < c->heads; head++) {
                do_query(&count, c);
            }
            do_projection(&count, c, c->width); /* the output's */
        }
        for (int64_t key = 0; key < c->keys; key++) {
            do_projection(&count, c, c->key_width);
            do_projection(&count, c, c->value_width);
        }
    }
    return count;
}

static attention_case
draw_attention(void)
{
    attention_case c = {.batch = draw(0, 3), .queries = draw(1, 4), .keys = draw(0, 5)};
    c.heads = draw(1, 3);
    c.width = c.heads * draw(1, 3);
    c.key_width = draw(1, 6);
    c.value_width = draw(1, 6);
    c.batch_first = draw(0, 1);
    c.bias_kv = draw(0, 1);
    c.zero_attn = draw(0, 1);
    c.bias = draw(0, 1);
    c.batched = draw(0, 3) > 0;
    c.batch = c.batched ? c.batch : 1;
    return c;
}

/* Writes the dimensions of `length` tokens in the layer's order; returns their number. */
static int
write_dims(const attention_case *c, int64_t length, int64_t width, int64_t *dims)
{
    int ndim = 0;
    if (c->batched && c->batch_first) {
        dims[ndim++] = c->batch;
    }
    dims[ndim++] = length;
    if (c->batched && !c->batch_first) {
        dims[ndim++] = c->batch;
    }
    dims[ndim++] = width;
    return ndim;
}

static void
check_attention(const attention_case *c)
{
    int64_t query[3], key[3], value[3];
    int ndim = write_dims(c, c->queries, c->width, query);
    write_dims(c, c->keys, c->key_width, key);
    write_dims(c, c->keys, c->value_width, value);
    const int64_t numbers[] = {c->width,       c->heads,   c->key_width, c->value_width,
                               c->batch_first, c->bias_kv, c->zero_attn, c->bias};
    ft_operand operands[FT_MAX_ROLES] = {{.present = true, .shape = {query, ndim}},
                                         {.present = true, .shape = {key, ndim}},
                                         {.present = true, .shape = {value, ndim}}};
    for (size_t i = 0; i < FT_COUNT_OF(numbers); i++) {
        operands[3 + i] =
            (ft_operand){.present = true, .is_number = true, .number = (uint64_t)numbers[i]};
    }
    ft_cost layer, softmax;
    tally count = count_attention(c);
    CHECK_STATUS(ft_formula_evaluate(ft_formula_find("attention_layer"), operands, &layer), FT_OK);
    CHECK_U128(layer.by_kind[FT_MAC], ft_u128_of(count.mac));
    CHECK_U128(layer.by_kind[FT_DOT], ft_u128_of(count.dot));
    CHECK_U128(layer.by_kind[FT_BIAS], ft_u128_of(count.bias));
    CHECK_U128(layer.by_kind[FT_ARITH], FT_U128_ZERO); /* the softmax is counted apart */
    CHECK_STATUS(ft_formula_evaluate(ft_formula_find("attention_softmax"), operands, &softmax),
                 FT_OK);
    CHECK_U128(softmax.by_kind[FT_ARITH], ft_u128_of(count.softmax));
    CHECK_U128(softmax.by_kind[FT_MAC], FT_U128_ZERO);
}

static void
test_random_layers(void)
{
    for (int i = 0; i < 500; i++) {
        attention_case c = draw_attention();
        check_attention(&c);
    }
}

TEST_MAIN(test_random_layers)
