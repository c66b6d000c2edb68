/* Fast Fourier transforms along one or several axes. */
/* SPDX-License-Identifier: MIT */
#include "formulas.h"

/* The logarithm to base 2, upwards. */
static uint64_t
stages(int64_t length)
{
    uint64_t count = 0;
    while (count < 62 && ((int64_t)1 << count) < length) {
        count++;
    }
    return count;
}

/* 5 real operations per point and stage for all axes but the last, which is returned. */
static ft_status
complex_axes(const ft_operand *points, const ft_operand *axes, int count, ft_cost *cost)
{
    for (int i = 0; i < count; i++) {
        int64_t axis = axes->shape.dims[i];
        if (axis >= points->shape.ndim) {
            return FT_BAD_SHAPE;
        }
        ft_add_kind(cost, FT_ARITH,
                    ft_times(ft_numel(points), ft_u128_of(5 * stages(points->shape.dims[axis]))));
    }
    return FT_OK;
}

static ft_status
fft(const ft_operand *operands, ft_cost *cost)
{
    const ft_operand *axes = &operands[1];
    return complex_axes(&operands[0], axes, axes->present ? axes->shape.ndim : 0, cost);
}

/* The last axis is real on one side: half the work there, on `real`; the others are complex. */
static ft_status
half_real(const ft_operand *real, const ft_operand *complex, const ft_operand *axes, ft_cost *cost)
{
    uint64_t remainder = 0;
    int last = axes->present ? axes->shape.ndim - 1 : -1;
    if (last < 0 || axes->shape.dims[last] >= real->shape.ndim) {
        return FT_BAD_SHAPE;
    }
    uint64_t per_point = 5 * stages(real->shape.dims[axes->shape.dims[last]]);
    ft_u128 whole = ft_times(ft_numel(real), ft_u128_of(per_point));
    ft_add_kind(cost, FT_ARITH, ft_u128_divide(whole, 2, &remainder));
    return complex_axes(complex, axes, last, cost);
}

static ft_status
fft_real(const ft_operand *operands, ft_cost *cost)
{
    return half_real(&operands[0], &operands[2], &operands[1], cost);
}

#define FFT_SOURCE                                                                         \
    "5 N log2 N real operations for N complex points: Van Loan, Computational Frameworks " \
    "for the FFT; log2 is rounded up where N is no power of two; scaling left out"

const ft_formula ft_fft = {
    .name = "fft",
    .equation = "arith = 5*numel*ceil(log2 N), summed over the axes of length N",
    .source = FFT_SOURCE,
    .op_class = FT_CLASS_FFT,
    .evaluate = fft,
    .roles = {{"input", FT_TENSOR}, {"dim", FT_INTEGERS}},
    .examples =
        {
            {
                .text = "3 transforms of 8 points: 5*24*3 = 360",
                .operands = {FT_SHAPE_OF(3, 8), FT_SHAPE_OF(1)},
                .cost = {{[FT_ARITH] = FT_COUNT(360)}},
            },
            {
                .text = "one of 5 points: 5*5*3 = 75",
                .operands = {FT_SHAPE_OF(5), FT_SHAPE_OF(0)},
                .cost = {{[FT_ARITH] = FT_COUNT(75)}},
            },
        },
};

const ft_formula ft_fft_real = {
    .name = "fft_real",
    .equation = "arith = 5/2*numel(real)*ceil(log2 N) for the last axis, rounded down, and "
                "5*numel(complex)*ceil(log2 N) for each other",
    .source = FFT_SOURCE "; of real points half",
    .op_class = FT_CLASS_FFT,
    .evaluate = fft_real,
    .roles = {{"real", FT_TENSOR}, {"dim", FT_INTEGERS}, {"complex", FT_TENSOR}},
    .examples =
        {
            {
                .text = "(4, 8) to (4, 5): 32*15/2 = 240 for the rows, 20*10 = 200 for the columns",
                .operands = {FT_SHAPE_OF(4, 8), FT_SHAPE_OF(0, 1), FT_SHAPE_OF(4, 5)},
                .cost = {{[FT_ARITH] = FT_COUNT(440)}},
            },
        },
};
