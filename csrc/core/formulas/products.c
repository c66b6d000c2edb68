/* Products of matrices in less common forms: outer, summed, grouped, trilinear, and gradients. */
/* SPDX-License-Identifier: MIT */
#include "formulas.h"

static ft_status
outer(const ft_operand *operands, ft_cost *cost)
{
    ft_u128 outputs = ft_numel(&operands[0]);
    ft_add_dots(cost, outputs, ft_u128_of(1));
    ft_add_bias(&operands[1], outputs, cost);
    return FT_OK;
}

const ft_formula ft_outer = {
    .name = "outer",
    .equation = "mac = dot = bias = numel(output); arith = numel(output) for each scale",
    .source = "a matrix product whose dot products have the length 1",
    .op_class = FT_CLASS_MATMUL,
    .evaluate = outer,
    .roles = {{"output", FT_TENSOR}, {"bias", FT_FLAG}, {"alpha", FT_FLAG}, {"beta", FT_FLAG}},
    .examples =
        {
            {
                .text = "a (3,4) matrix plus the product of two vectors: 12 products, 12 additions",
                .operands = {FT_SHAPE_OF(3, 4), FT_NUMBER_OF(1)},
                .cost =
                    {{[FT_MAC] = FT_COUNT(12), [FT_DOT] = FT_COUNT(12), [FT_BIAS] = FT_COUNT(12)}},
            },
        },
};

static ft_status
matmul_summed(const ft_operand *operands, ft_cost *cost)
{
    const ft_operand *left = &operands[1];
    ft_u128 outputs = ft_numel(&operands[0]);
    if (left->shape.ndim != 3) {
        return FT_BAD_SHAPE;
    }
    ft_add_dots(cost, outputs, ft_times(ft_dim(left, 0), ft_dim(left, 2)));
    ft_add_bias(&operands[2], outputs, cost);
    return FT_OK;
}

const ft_formula ft_matmul_summed = {
    .name = "matmul_summed",
    .equation = "mac = numel(output)*B*k, dot = bias = numel(output); left is (B, n, k)",
    .source = "a sum of B matrix products is one with dot products of length B*k",
    .op_class = FT_CLASS_MATMUL,
    .evaluate = matmul_summed,
    .roles = {{"output", FT_TENSOR},
              {"left", FT_TENSOR},
              {"bias", FT_FLAG},
              {"alpha", FT_FLAG},
              {"beta", FT_FLAG}},
    .examples =
        {
            {
                .text = "3 products (4,5)(5,6) and a bias: 24 results of 15 products: mac = 360",
                .operands = {FT_SHAPE_OF(4, 6), FT_SHAPE_OF(3, 4, 5), FT_NUMBER_OF(1)},
                .cost =
                    {{[FT_MAC] = FT_COUNT(360), [FT_DOT] = FT_COUNT(24), [FT_BIAS] = FT_COUNT(24)}},
            },
        },
};

static ft_status
matmul_grouped(const ft_operand *operands, ft_cost *cost)
{
    const ft_operand *output = &operands[0], *left = &operands[1], *right = &operands[2];
    if (left->shape.ndim < 2 || right->shape.ndim < 2) {
        return FT_BAD_SHAPE;
    }
    ft_u128 outputs = ft_numel(output), length = ft_dim(left, -1);
    if (left->shape.ndim == 2 && right->shape.ndim == 2) {
        /* Each group has its own part of the contracted dimension and its own result. */
        ft_u128 products = ft_times(ft_times(ft_dim(left, 0), ft_dim(right, 1)), length);
        ft_add_kind(cost, FT_MAC, products);
        ft_add_kind(cost, FT_DOT, ft_least(products, outputs));
    }
    else {
        ft_add_dots(cost, outputs, length);
    }
    if (ft_flag(&operands[3])) {
        ft_add_kind(cost, FT_BIAS, outputs);
    }
    return FT_OK;
}

const ft_formula ft_matmul_grouped = {
    .name = "matmul_grouped",
    .equation = "mac = numel(output)*k, dot = numel(output); of two matrices, (m, k) and (k, n): "
                "mac = m*n*k over all groups, dot = min(mac, groups*m*n)",
    .source = "definition: groups of rows, of columns or of the contracted dimension",
    .op_class = FT_CLASS_MATMUL,
    .evaluate = matmul_grouped,
    .roles = {{"output", FT_TENSOR}, {"left", FT_TENSOR}, {"right", FT_TENSOR}, {"bias", FT_FLAG}},
    .examples =
        {
            {
                .text = "8 rows of 16 in 2 groups, (2,16,4): 32 results of 16 products",
                .operands = {FT_SHAPE_OF(8, 4), FT_SHAPE_OF(8, 16), FT_SHAPE_OF(2, 16, 4)},
                .cost = {{[FT_MAC] = FT_COUNT(512), [FT_DOT] = FT_COUNT(32)}},
            },
            {
                .text = "(8,16)(16,4), the 16 in 2 groups: 8*4*16 products for 2*8*4 results",
                .operands = {FT_SHAPE_OF(2, 8, 4), FT_SHAPE_OF(8, 16), FT_SHAPE_OF(16, 4)},
                .cost = {{[FT_MAC] = FT_COUNT(512), [FT_DOT] = FT_COUNT(64)}},
            },
        },
};

static bool
linear_pair(const ft_operand *grad, const ft_operand *input)
{
    return grad->shape.ndim > 0 && input->shape.ndim == grad->shape.ndim;
}

static void
add_weight_gradient(const ft_operand *grad, const ft_operand *input, bool weight, bool bias,
                    ft_cost *cost)
{
    ft_u128 out = ft_dim(grad, -1),
            positions = ft_shape_product(grad->shape, 0, grad->shape.ndim - 1);
    if (weight) {
        ft_add_dots(cost, ft_times(out, ft_dim(input, -1)), positions);
    }
    if (bias && !ft_u128_is_zero(positions)) {
        ft_add_kind(cost, FT_ARITH, ft_times(out, ft_u128_subtract(positions, ft_u128_of(1))));
    }
}

static ft_status
linear_backward(const ft_operand *operands, ft_cost *cost)
{
    const ft_operand *grad = &operands[0], *input = &operands[1], *mask = &operands[2];
    if (!linear_pair(grad, input)) {
        return FT_BAD_SHAPE;
    }
    if (ft_masked(mask, 0)) {
        ft_add_dots(cost, ft_numel(input), ft_dim(grad, -1));
    }
    add_weight_gradient(grad, input, ft_masked(mask, 1), ft_masked(mask, 2), cost);
    return FT_OK;
}

static ft_status
linear_weights_backward(const ft_operand *operands, ft_cost *cost)
{
    if (!linear_pair(&operands[0], &operands[1])) {
        return FT_BAD_SHAPE;
    }
    add_weight_gradient(&operands[0], &operands[1], true, ft_flag(&operands[2]), cost);
    return FT_OK;
}

const ft_formula ft_linear_weights_backward = {
    .name = "linear_weights_backward",
    .equation = "mac = P*in*out, dot = in*out; bias: arith = (P - 1)*out",
    .source = "gradients of y = x W^T + b with respect to W and b",
    .op_class = FT_CLASS_MATMUL,
    .evaluate = linear_weights_backward,
    .roles = {{"grad_output", FT_TENSOR}, {"input", FT_TENSOR}, {"bias", FT_FLAG}},
    .examples =
        {
            {
                .text = "Linear(5, 4) on 3 rows: 60 products, 20 dots, bias 2*4 additions",
                .operands = {FT_SHAPE_OF(3, 4), FT_SHAPE_OF(3, 5), FT_NUMBER_OF(1)},
                .cost =
                    {{[FT_MAC] = FT_COUNT(60), [FT_DOT] = FT_COUNT(20), [FT_ARITH] = FT_COUNT(8)}},
            },
        },
};

const ft_formula ft_linear_backward = {
    .name = "linear_backward",
    .equation = "grad_input and grad_weight: mac = P*in*out each, dot = P*in and out*in; "
                "grad_bias: arith = (P - 1)*out",
    .source = "gradients of y = x W^T + b",
    .op_class = FT_CLASS_MATMUL,
    .evaluate = linear_backward,
    .roles = {{"grad_output", FT_TENSOR}, {"input", FT_TENSOR}, {"output_mask", FT_INTEGERS}},
    .examples =
        {
            {
                .text = "Linear(5, 4) on 3 rows: 2*60 products, dots 15 + 20, bias 2*4 additions",
                .operands = {FT_SHAPE_OF(3, 4), FT_SHAPE_OF(3, 5)},
                .cost =
                    {{[FT_MAC] = FT_COUNT(120), [FT_DOT] = FT_COUNT(35), [FT_ARITH] = FT_COUNT(8)}},
            },
        },
};

enum { I1, I2, I3, EXPAND1, EXPAND2, EXPAND3, SUMMED };

static bool
has(const ft_operand *axes, int axis)
{
    for (int i = 0; axes->present && i < axes->shape.ndim; i++) {
        if (axes->shape.dims[i] == axis) {
            return true;
        }
    }
    return false;
}

/* The size along `axis` of the space in which all three tensors lie. */
static ft_u128
size_along(const ft_operand *operands, int axis)
{
    ft_u128 size = ft_u128_of(1);
    for (int tensor = I1; tensor <= I3; tensor++) {
        int own = 0;
        for (int before = 0; before < axis; before++) {
            own += !has(&operands[EXPAND1 + tensor], before);
        }
        if (!has(&operands[EXPAND1 + tensor], axis) && own < operands[tensor].shape.ndim) {
            ft_u128 here = ft_dim(&operands[tensor], own);
            size = here.lo == 1 && here.hi == 0 ? size : here;
        }
    }
    return size;
}

static ft_status
trilinear(const ft_operand *operands, ft_cost *cost)
{
    int expanded = operands[EXPAND1].present ? operands[EXPAND1].shape.ndim : 0;
    int axes = operands[I1].shape.ndim + expanded;
    ft_u128 first = ft_u128_of(1), first_length = first, second = first, second_length = first;
    if (axes > FT_MAX_DIMS) {
        return FT_BAD_SHAPE;
    }
    for (int axis = 0; axis < axes; axis++) {
        ft_u128 size = size_along(operands, axis);
        bool summed = has(&operands[SUMMED], axis), in_third = !has(&operands[EXPAND3], axis);
        bool in_pair = !has(&operands[EXPAND1], axis) || !has(&operands[EXPAND2], axis);
        if (summed && !in_third) {
            first_length = ft_times(first_length, size);
            continue;
        }
        if (in_pair) {
            first = ft_times(first, size);
        }
        if (summed) {
            second_length = ft_times(second_length, size);
        }
        else {
            second = ft_times(second, size);
        }
    }
    ft_add_dots(cost, first, first_length);
    ft_add_dots(cost, second, second_length);
    return FT_OK;
}

const ft_formula ft_trilinear = {
    .name = "trilinear",
    .equation = "the first two tensors are contracted over what the third lacks, then with the "
                "third: mac = dots*length of both products",
    .source = "ATen's order of work; for nn.Bilinear P*out*(in1*in2 + in2), as the layer formula",
    .op_class = FT_CLASS_MATMUL,
    .evaluate = trilinear,
    .roles = {{"i1", FT_TENSOR},
              {"i2", FT_TENSOR},
              {"i3", FT_TENSOR},
              {"expand1", FT_INTEGERS},
              {"expand2", FT_INTEGERS},
              {"expand3", FT_INTEGERS},
              {"sumdim", FT_INTEGERS}},
    .examples =
        {
            {
                .text = "Bilinear(3, 4, 5) on 2 rows: 2*5*4 dots of 3, then 10 dots of 4: mac 160",
                .operands = {FT_SHAPE_OF(2, 3), FT_SHAPE_OF(5, 3, 4), FT_SHAPE_OF(2, 4),
                             FT_SHAPE_OF(1, 3), FT_SHAPE_OF(0), FT_SHAPE_OF(1, 2),
                             FT_SHAPE_OF(2, 3)},
                .cost = {{[FT_MAC] = FT_COUNT(160), [FT_DOT] = FT_COUNT(50)}},
            },
        },
};

static ft_status
relu_or_gelu(const ft_operand *operands, ft_cost *cost)
{
    ft_u128 elements = ft_numel(&operands[0]);
    if (ft_flag(&operands[1])) {
        ft_add_kind(cost, FT_ARITH, ft_times(elements, ft_u128_of(4)));
        ft_add_kind(cost, FT_SPECIAL, elements);
    }
    else {
        ft_add_kind(cost, FT_COMPARE, elements);
    }
    return FT_OK;
}

const ft_formula ft_relu_or_gelu = {
    .name = "relu_or_gelu",
    .equation = "per element 1 compare, or 4 arith and 1 special",
    .source = "max(x, 0), or x/2 * (1 + erf(x/sqrt(2)))",
    .op_class = FT_CLASS_ACTIVATION,
    .evaluate = relu_or_gelu,
    .roles = {{"output", FT_TENSOR}, {"gelu", FT_FLAG}},
    .examples =
        {
            {
                .text = "GELU of 6 elements: 24 steps, 6 error functions",
                .operands = {FT_SHAPE_OF(2, 3), FT_NUMBER_OF(1)},
                .cost = {{[FT_ARITH] = FT_COUNT(24), [FT_SPECIAL] = FT_COUNT(6)}},
            },
        },
};
