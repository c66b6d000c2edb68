/* Resampling whose number of values behind an output element depends on sizes or on a mode. */
/* SPDX-License-Identifier: MIT */
#include "formulas.h"

/* Values behind an output: `support`, or, where the image shrinks, as many as its filter then
 * covers, at most all. */
static uint64_t
filter_length(int64_t from, int64_t to, uint64_t support)
{
    uint64_t length = support;
    if (to > 0 && from > to) {
        uint64_t n = (uint64_t)from, m = (uint64_t)to;
        length = n / m * support + ((n % m) * support + m - 1) / m;
    }
    return length < (uint64_t)from ? length : (uint64_t)from;
}

static ft_status
resample_smoothed(const ft_operand *operands, ft_cost *cost)
{
    ft_shape from = operands[0].shape, to = operands[1].shape;
    if (from.ndim != to.ndim || from.ndim < 2) {
        return FT_BAD_SHAPE;
    }
    bool backward = ft_flag(&operands[3]);
    uint64_t height_from = (uint64_t)from.dims[from.ndim - 2];
    uint64_t height_to = (uint64_t)to.dims[to.ndim - 2], width_to = (uint64_t)to.dims[to.ndim - 1];
    ft_u128 planes = ft_shape_product(to, 0, to.ndim - 2);
    const uint64_t heights[] = {height_from,
                                height_to}; /* first along the width, then the height */
    for (int pass = 0; pass < 2; pass++) {
        int at = to.ndim - 1 - pass;
        uint64_t length = filter_length(from.dims[at], to.dims[at], operands[2].number);
        uint64_t each = 2 * length - (!backward && length > 0 ? 1 : 0);
        ft_u128 elements =
            ft_times(planes, ft_times(ft_u128_of(heights[pass]), ft_u128_of(width_to)));
        ft_add_kind(cost, FT_ARITH, ft_times(elements, ft_u128_of(each)));
    }
    return FT_OK;
}

const ft_formula ft_resample_smoothed = {
    .name = "resample_smoothed",
    .equation = "arith = 2*t - 1 (backward 2*t) per element, along the width, then along the "
                "height; t = support, times n/m rounded up where n shrinks to m, at most n",
    .source = "separable filter, weights taken as given; support 2 linear, 4 cubic, 6 Lanczos",
    .op_class = FT_CLASS_RESAMPLE,
    .evaluate = resample_smoothed,
    .roles = {{"input", FT_TENSOR},
              {"output", FT_TENSOR},
              {"support", FT_NUMBER},
              {"backward", FT_FLAG}},
    .examples = {{.text = "8x8 to 4x4, linear: t 4; 8*4 elements of 7, then 4*4 of 7: 336",
                  .operands = {FT_SHAPE_OF(1, 1, 8, 8), FT_SHAPE_OF(1, 1, 4, 4), FT_NUMBER_OF(2)},
                  .cost = {{[FT_ARITH] = FT_COUNT(336)}}}},
};

enum { LINEAR, NEAREST, CUBIC };

/* Values behind one element of a grid sample in `rank` dimensions. */
static uint64_t
grid_values(uint64_t mode, uint64_t rank)
{
    uint64_t each = mode == NEAREST ? 1 : mode == CUBIC ? 4 : 2, values = 1;
    for (uint64_t i = 0; i < rank && i < 3; i++) {
        values *= each;
    }
    return values;
}

static ft_status
grid_sample(const ft_operand *operands, ft_cost *cost)
{
    uint64_t mode = operands[1].number, values = grid_values(mode, operands[2].number);
    uint64_t each = mode == NEAREST ? 0 : 2 * values - 1;
    ft_add_kind(cost, FT_ARITH, ft_times(ft_numel(&operands[0]), ft_u128_of(each)));
    return FT_OK;
}

const ft_formula ft_grid_sample = {
    .name = "grid_sample",
    .equation = "arith = numel(output)*(2*v - 1); v = 2^rank values, 4^rank if cubic; nearest: 0",
    .source = "the weighted sum behind each output element, weights taken as given",
    .op_class = FT_CLASS_RESAMPLE,
    .evaluate = grid_sample,
    .roles = {{"output", FT_TENSOR}, {"mode", FT_NUMBER}, {"rank", FT_NUMBER}},
    .examples = {{.text = "bilinear to 18: 4 products and 3 additions each: 126",
                  .operands = {FT_SHAPE_OF(1, 2, 3, 3), FT_NUMBER_OF(0), FT_NUMBER_OF(2)},
                  .cost = {{[FT_ARITH] = FT_COUNT(126)}}}},
};

static ft_status
grid_sample_backward(const ft_operand *operands, ft_cost *cost)
{
    const ft_operand *mask = &operands[3];
    uint64_t mode = operands[1].number, rank = operands[2].number;
    uint64_t values = grid_values(mode, rank);
    bool input = mask->is_number || (mask->shape.ndim > 0 && mask->shape.dims[0] != 0);
    bool grid = mask->is_number || (mask->shape.ndim > 1 && mask->shape.dims[1] != 0);
    uint64_t each = input ? (mode == NEAREST ? 1 : 2 * values) : 0;
    if (grid && mode != NEAREST) {
        each += 3 * rank * values;
    }
    ft_add_kind(cost, FT_ARITH, ft_times(ft_numel(&operands[0]), ft_u128_of(each)));
    return FT_OK;
}

const ft_formula ft_grid_sample_backward = {
    .name = "grid_sample_backward",
    .equation = "arith per gradient element: to the input 2*v (nearest 1), to the grid 3*rank*v "
                "(nearest 0): value times slope times gradient, added",
    .source = "derivative of grid_sample, weights and slopes taken as given",
    .op_class = FT_CLASS_RESAMPLE,
    .evaluate = grid_sample_backward,
    .roles = {{"gradient", FT_TENSOR},
              {"mode", FT_NUMBER},
              {"rank", FT_NUMBER},
              {"mask", FT_SIZES}},
    .examples = {{.text = "bilinear, 18 elements, both: 8 + 3*2*4 = 32 each: 576",
                  .operands = {FT_SHAPE_OF(1, 2, 3, 3), FT_NUMBER_OF(0), FT_NUMBER_OF(2),
                               FT_SHAPE_OF(1, 1)},
                  .cost = {{[FT_ARITH] = FT_COUNT(576)}}}},
};
