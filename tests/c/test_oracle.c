/* Formulas against naive loops that do the counting one multiply-accumulate at a time. */
/* SPDX-License-Identifier: MIT */
#include "ft_test.h"

enum { MOST_RANK = 3 };

typedef struct {
    uint64_t mac, dot, bias, arith;
} tally;

static uint64_t state = 4711;

static int64_t
draw(int64_t least, int64_t most)
{
    return least + (int64_t)(test_random(&state) % (uint64_t)(most - least + 1));
}

static ft_operand
number_operand(int64_t number)
{
    return (ft_operand){.present = true, .is_number = true, .number = (uint64_t)number};
}

static ft_operand
shape_operand(const int64_t *dims, int ndim)
{
    return (ft_operand){.present = true, .shape = {dims, ndim}};
}

static bool
check_formula(const char *name, const ft_operand *operands, tally expected)
{
    const ft_formula *formula = ft_formula_find(name);
    ft_cost cost = {{{0, 0}}};
    return CHECK(formula != NULL) &&
           CHECK_STATUS(ft_formula_evaluate(formula, operands, &cost), FT_OK) &&
           CHECK_U128(cost.by_kind[FT_MAC], ft_u128_of(expected.mac)) &&
           CHECK_U128(cost.by_kind[FT_DOT], ft_u128_of(expected.dot)) &&
           CHECK_U128(cost.by_kind[FT_BIAS], ft_u128_of(expected.bias)) &&
           CHECK_U128(cost.by_kind[FT_ARITH], ft_u128_of(expected.arith)) &&
           CHECK_U128(cost.by_kind[FT_COMPARE], FT_U128_ZERO) &&
           CHECK_U128(cost.by_kind[FT_SPECIAL], FT_U128_ZERO);
}

/* One dot product; an empty one saves no addition, so it is none. */
static void
do_dot(tally *count, int64_t length)
{
    for (int64_t i = 0; i < length; i++) {
        count->mac++;
    }
    count->dot += length > 0;
}

/* Steps an odometer; false where it has come round. */
static bool
next_position(int64_t *position, const int64_t *limit, int rank)
{
    for (int i = rank - 1; i >= 0; i--) {
        if (++position[i] < limit[i]) {
            return true;
        }
        position[i] = 0;
    }
    return false;
}

static bool
any_position(const int64_t *limit, int rank)
{
    for (int i = 0; i < rank; i++) {
        if (limit[i] == 0) {
            return false;
        }
    }
    return true;
}

static void
test_linear(void)
{
    for (int i = 0; i < 300; i++) {
        int64_t output[3] = {draw(0, 4), draw(1, 5), draw(0, 6)}, in_features = draw(0, 7);
        int64_t bias = draw(0, 1);
        tally count = {0, 0, 0, 0};
        for (int64_t row = 0; row < output[0] * output[1]; row++) {
            for (int64_t unit = 0; unit < output[2]; unit++) {
                do_dot(&count, in_features);
                count.bias += (uint64_t)bias;
            }
        }
        ft_operand operands[FT_MAX_ROLES] = {shape_operand(output, 3), number_operand(in_features),
                                             number_operand(bias)};
        check_formula("linear", operands, count);
    }
}

static void
test_bilinear(void)
{
    for (int i = 0; i < 100; i++) {
        int64_t output[2] = {draw(0, 4), draw(1, 5)}, left = draw(1, 6), right = draw(1, 6);
        tally count = {0, 0, 0, 0};
        for (int64_t unit = 0; unit < output[0] * output[1]; unit++) {
            for (int64_t column = 0; column < right; column++) {
                do_dot(&count, left); /* x1^T W, one column at a time */
            }
            do_dot(&count, right); /* that times x2 */
            count.bias++;
        }
        ft_operand operands[FT_MAX_ROLES] = {shape_operand(output, 2), number_operand(left),
                                             number_operand(right), number_operand(1)};
        check_formula("bilinear", operands, count);
    }
}

/* A score per row and hyperplane is a dot product; the update w_j += a*x_j is none. */
static void
test_sgd_linear(void)
{
    for (int i = 0; i < 100; i++) {
        int64_t rows = draw(0, 5), features = draw(0, 6), hyperplanes = draw(0, 4);
        tally count = {0, 0, 0, 0};
        for (int64_t score = 0; score < rows * hyperplanes; score++) {
            do_dot(&count, features);
            for (int64_t weight = 0; weight < features; weight++) {
                count.mac++;
            }
        }
        ft_operand operands[FT_MAX_ROLES] = {number_operand(rows), number_operand(features),
                                             number_operand(hyperplanes)};
        check_formula("sgd_linear", operands, count);
    }
}

typedef struct {
    int rank;
    int64_t batch, groups, in_channels, out_channels, bias;
    int64_t kernel[MOST_RANK], output[MOST_RANK];
} conv_case;

/* How many places a window finds: one every `stride`, as long as it ends in the padded input. */
static int64_t
places(int64_t size, int64_t kernel, int64_t stride, int64_t padding, int64_t dilation)
{
    int64_t count = 0, reach = dilation * (kernel - 1);
    for (int64_t start = -padding; start + reach < size + padding; start += stride) {
        count++;
    }
    return count;
}

static conv_case
draw_conv(void)
{
    conv_case c = {.rank = (int)draw(1, MOST_RANK), .batch = draw(0, 2), .groups = draw(1, 3)};
    c.in_channels = c.groups * draw(1, 2);
    c.out_channels = c.groups * draw(1, 2);
    c.bias = draw(0, 1);
    for (int i = 0; i < c.rank; i++) {
        c.kernel[i] = draw(1, 3);
        c.output[i] = places(draw(3, 7), c.kernel[i], draw(1, 3), draw(0, 1), draw(1, 2));
    }
    return c;
}

/* One output element: the kernel's positions times those input channels that are of its group. */
static void
count_conv_output(const conv_case *c, int64_t out_channel, tally *count)
{
    int64_t group = out_channel / (c->out_channels / c->groups), length = 0;
    int64_t at[MOST_RANK] = {0, 0, 0};
    do {
        for (int64_t channel = 0; channel < c->in_channels; channel++) {
            length += channel * c->groups / c->in_channels == group;
        }
    } while (next_position(at, c->kernel, c->rank));
    do_dot(count, length);
    count->bias += (uint64_t)c->bias;
}

static tally
count_conv(const conv_case *c)
{
    tally count = {0, 0, 0, 0};
    for (int64_t image = 0; image < c->batch && any_position(c->output, c->rank); image++) {
        for (int64_t channel = 0; channel < c->out_channels; channel++) {
            int64_t at[MOST_RANK] = {0, 0, 0};
            do {
                count_conv_output(c, channel, &count);
            } while (next_position(at, c->output, c->rank));
        }
    }
    return count;
}

static void
test_conv(void)
{
    int empty = 0;
    for (int i = 0; i < 600; i++) {
        conv_case c = draw_conv();
        tally count = count_conv(&c);
        int64_t output[2 + MOST_RANK] = {c.batch, c.out_channels};
        memcpy(output + 2, c.output, sizeof c.output);
        ft_operand operands[FT_MAX_ROLES] = {shape_operand(output, 2 + c.rank),
                                             shape_operand(c.kernel, c.rank),
                                             number_operand(c.in_channels),
                                             number_operand(c.groups),
                                             number_operand(c.rank),
                                             number_operand(c.bias)};
        check_formula("conv", operands, count);
        check_formula("conv_transpose_output", operands, count); /* both over output positions */
        bool cube = c.rank < 2 || c.kernel[0] == c.kernel[1];
        if (cube && (c.rank < 3 || c.kernel[1] == c.kernel[2])) { /* one size stands for all */
            operands[1] = number_operand(c.kernel[0]);
            check_formula("conv", operands, count);
        }
        empty += count.mac == 0;
    }
    CHECK(empty < 300); /* most of the cases count something */
}

static void
test_avg_pool(void)
{
    for (int i = 0; i < 200; i++) {
        int64_t output[4] = {draw(1, 3), draw(1, 4), draw(0, 5), draw(1, 5)};
        int64_t kernel[2] = {draw(1, 4), draw(1, 4)};
        int64_t outputs = output[0] * output[1] * output[2] * output[3];
        tally count = {0, 0, 0, 0};
        for (int64_t element = 0; element < outputs; element++) {
            int64_t at[2] = {0, 0};
            do {
                count.arith++;
            } while (next_position(at, kernel, 2));
        }
        ft_operand operands[FT_MAX_ROLES] = {shape_operand(output, 4), shape_operand(kernel, 2),
                                             number_operand(2)};
        check_formula("avg_pool_table", operands, count);
    }
}

/* Elements that the m windows over n read: window i goes from floor(i*n/m) to ceil((i+1)*n/m). */
static uint64_t
adaptive_reads(int64_t n, int64_t m)
{
    uint64_t reads = 0;
    for (int64_t i = 0; i < m; i++) {
        for (int64_t at = i * n / m; at < ((i + 1) * n + m - 1) / m; at++) {
            reads++;
        }
    }
    return reads;
}

static void
test_adaptive_avg_pool(void)
{
    for (int64_t n = 0; n <= 40; n++) {
        for (int64_t m = 0; m <= 40; m++) {
            int64_t input[2] = {3, n}, output[2] = {3, m};
            ft_operand operands[FT_MAX_ROLES] = {shape_operand(input, 2), shape_operand(output, 2),
                                                 number_operand(1)};
            check_formula("adaptive_avg_pool_table", operands,
                          (tally){.arith = 3 * adaptive_reads(n, m)});
        }
    }
    for (int i = 0; i < 200; i++) { /* in two dimensions each window is the product of two */
        int64_t input[4] = {draw(0, 2), draw(1, 3), draw(1, 9), draw(1, 9)};
        int64_t output[4] = {input[0], input[1], draw(1, 9), draw(1, 9)};
        uint64_t rows = adaptive_reads(input[2], output[2]), arith = 0;
        for (int64_t channel = 0; channel < input[0] * input[1]; channel++) {
            for (uint64_t row = 0; row < rows; row++) {
                arith += adaptive_reads(input[3], output[3]);
            }
        }
        ft_operand operands[FT_MAX_ROLES] = {shape_operand(input, 4), shape_operand(output, 4),
                                             number_operand(2)};
        check_formula("adaptive_avg_pool_table", operands, (tally){.arith = arith});
    }
}

typedef struct {
    int64_t time, batch, input_size, hidden, projected, layers, directions, gates, bias;
} recurrent_case;

/* One cell at one step: each gate of each unit is x . W_ih + b_ih + h . W_hh + b_hh. */
static void
count_cell(const recurrent_case *c, int64_t width, int64_t state_size, tally *count)
{
    for (int64_t gate = 0; gate < c->gates; gate++) {
        for (int64_t unit = 0; unit < c->hidden; unit++) {
            do_dot(count, width);
            do_dot(count, state_size);
            count->bias += c->bias ? 2 : 0;
        }
    }
    for (int64_t unit = 0; unit < c->projected; unit++) {
        do_dot(count, c->hidden); /* the projection has no bias */
    }
}

static tally
count_recurrent(const recurrent_case *c)
{
    tally count = {0, 0, 0, 0};
    int64_t width = c->input_size, state_size = c->projected ? c->projected : c->hidden;
    for (int64_t layer = 0; layer < c->layers; layer++) {
        int64_t next_width = 0;
        for (int64_t direction = 0; direction < c->directions; direction++) {
            for (int64_t step = 0; step < c->time * c->batch; step++) {
                count_cell(c, width, state_size, &count);
            }
            next_width += state_size; /* the directions' outputs side by side */
        }
        width = next_width;
    }
    return count;
}

static void
test_recurrent(void)
{
    static const int64_t gates[] = {1, 3, 4}; /* RNN, GRU, LSTM */
    for (int i = 0; i < 300; i++) {
        recurrent_case c = {draw(1, 4), draw(0, 3), draw(1, 5),        draw(2, 6), 0,
                            draw(1, 3), draw(1, 2), gates[draw(0, 2)], draw(0, 1)};
        c.projected = draw(0, 1) ? draw(1, c.hidden - 1) : 0;
        int64_t input[3] = {c.time, c.batch, c.input_size};
        ft_operand operands[FT_MAX_ROLES] = {
            shape_operand(input, 3),  number_operand(c.input_size),
            number_operand(c.hidden), number_operand(c.projected),
            number_operand(c.layers), number_operand(c.directions - 1),
            number_operand(c.gates),  number_operand(c.bias)};
        check_formula("recurrent_layers", operands, count_recurrent(&c));
    }
}

TEST_MAIN(test_linear, test_bilinear, test_sgd_linear, test_conv, test_avg_pool,
          test_adaptive_avg_pool, test_recurrent)
