/* Work that is so much per element of one tensor: arithmetic, norms, softmax, updates, sums by
 * index. */
/* SPDX-License-Identifier: MIT */
#include "formulas.h"

enum { ARITH = 1, COMPARE, SPECIAL, LAST_FLAG = 9 };

void
ft_add_elementwise(const ft_operand *operands, int first_flag, int last_flag, ft_cost *cost)
{
    ft_u128 elements = ft_elements(&operands[0]), arith = ft_number(&operands[ARITH]);
    for (int flag = first_flag; flag <= last_flag; flag++) {
        arith = ft_plus(arith, ft_u128_of(ft_flag(&operands[flag])));
    }
    ft_add_kind(cost, FT_ARITH, ft_times(elements, arith));
    ft_add_kind(cost, FT_COMPARE, ft_times(elements, ft_number(&operands[COMPARE])));
    ft_add_kind(cost, FT_SPECIAL, ft_times(elements, ft_number(&operands[SPECIAL])));
}

static ft_status
elementwise(const ft_operand *operands, ft_cost *cost)
{
    ft_add_elementwise(operands, SPECIAL + 1, LAST_FLAG, cost);
    return FT_OK;
}

#define ELEMENTWISE_ROLES                                                      \
    {                                                                          \
        {"tensor", FT_ELEMENTS}, {"arith", FT_NUMBER}, {"compare", FT_NUMBER}, \
        {"special", FT_NUMBER},  {"step1", FT_FLAG},   {"step2", FT_FLAG},     \
        {"step3", FT_FLAG},      {"step4", FT_FLAG},   {"step5", FT_FLAG},     \
        {"step6", FT_FLAG},                                                    \
    }

#define ELEMENTWISE_EQUATION                                                                      \
    "arith = n*(a + steps), compare = n*c, special = n*s; n elements, a, c, s of the operation, " \
    "steps: its options that are on"

const ft_formula ft_pointwise = {
    .name = "pointwise",
    .equation = ELEMENTWISE_EQUATION,
    .source = "the elementary steps of the operation's documented formula",
    .op_class = FT_CLASS_POINTWISE,
    .evaluate = elementwise,
    .roles = ELEMENTWISE_ROLES,
    .examples =
        {
            {
                .text = "add with alpha 2 on (3, 4): 12*(1 + 1) = 24",
                .operands = {FT_SHAPE_OF(3, 4), FT_NUMBER_OF(1), FT_NUMBER_OF(0), FT_NUMBER_OF(0),
                             FT_NUMBER_OF(1)},
                .cost = {{[FT_ARITH] = FT_COUNT(24)}},
            },
        },
};

const ft_formula ft_activation = {
    .name = "activation",
    .equation = ELEMENTWISE_EQUATION,
    .source = "the elementary steps of the function's definition",
    .op_class = FT_CLASS_ACTIVATION,
    .evaluate = elementwise,
    .roles = ELEMENTWISE_ROLES,
    .examples =
        {
            {
                .text = "SiLU, x * sigmoid(x), on 10: 10 special and 10 arith",
                .operands = {FT_SHAPE_OF(10), FT_NUMBER_OF(1), FT_NUMBER_OF(0), FT_NUMBER_OF(1)},
                .cost = {{[FT_ARITH] = FT_COUNT(10), [FT_SPECIAL] = FT_COUNT(10)}},
            },
        },
};

const ft_formula ft_norm = {
    .name = "norm",
    .equation = ELEMENTWISE_EQUATION,
    .source = "per element: mean 1, variance 2, subtract, divide, weight 1, bias 1; terms per row "
              "are left out",
    .op_class = FT_CLASS_NORM,
    .evaluate = elementwise,
    .roles = ELEMENTWISE_ROLES,
    .examples =
        {
            {
                .text = "layer norm with weight and bias on (2, 8): 16*(5 + 2) = 112",
                .operands = {FT_SHAPE_OF(2, 8), FT_NUMBER_OF(5), FT_NUMBER_OF(0), FT_NUMBER_OF(0),
                             FT_NUMBER_OF(1), FT_NUMBER_OF(1)},
                .cost = {{[FT_ARITH] = FT_COUNT(112)}},
            },
        },
};

const ft_formula ft_softmax = {
    .name = "softmax",
    .equation = ELEMENTWISE_EQUATION,
    .source = "per element: maximum, subtract it, exp, sum, divide",
    .op_class = FT_CLASS_SOFTMAX,
    .evaluate = elementwise,
    .roles = ELEMENTWISE_ROLES,
    .examples =
        {
            {
                .text = "softmax on (2, 5): 10 compare, 10 special, 30 arith",
                .operands = {FT_SHAPE_OF(2, 5), FT_NUMBER_OF(3), FT_NUMBER_OF(1), FT_NUMBER_OF(1)},
                .cost = {{[FT_ARITH] = FT_COUNT(30),
                          [FT_COMPARE] = FT_COUNT(10),
                          [FT_SPECIAL] = FT_COUNT(10)}},
            },
        },
};

const ft_formula ft_resample = {
    .name = "resample",
    .equation = ELEMENTWISE_EQUATION,
    .source = "the weighted sum behind each output element, weights taken as given",
    .op_class = FT_CLASS_RESAMPLE,
    .evaluate = elementwise,
    .roles = ELEMENTWISE_ROLES,
    .examples =
        {
            {
                .text = "bilinear, four values times a weight, added up: 4 + 3 = 7 each; 7*8 = 56",
                .operands = {FT_SHAPE_OF(1, 2, 2, 2), FT_NUMBER_OF(7), FT_NUMBER_OF(0),
                             FT_NUMBER_OF(0)},
                .cost = {{[FT_ARITH] = FT_COUNT(56)}},
            },
        },
};

const ft_formula ft_update = {
    .name = "update",
    .equation = ELEMENTWISE_EQUATION,
    .source = "the steps of the optimizer's loop over one tensor, in torch.optim",
    .op_class = FT_CLASS_OPTIMIZER,
    .evaluate = elementwise,
    .roles = ELEMENTWISE_ROLES,
    .examples =
        {
            {
                .text = "SGD on 5 parameters, p += -lr*g: a multiplication and an addition each",
                .operands = {FT_SHAPE_OF(5), FT_NUMBER_OF(2), FT_NUMBER_OF(0), FT_NUMBER_OF(0)},
                .cost = {{[FT_ARITH] = FT_COUNT(10)}},
            },
        },
};

const ft_formula ft_scatter = {
    .name = "scatter",
    .equation = ELEMENTWISE_EQUATION,
    .source = "each source element is added to, or folded into, the place that its index says",
    .op_class = FT_CLASS_REDUCTION,
    .evaluate = elementwise,
    .roles = ELEMENTWISE_ROLES,
    .examples =
        {
            {
                .text = "6 source elements with alpha 2: multiplied and added: 12",
                .operands = {FT_SHAPE_OF(6), FT_NUMBER_OF(1), FT_NUMBER_OF(0), FT_NUMBER_OF(0),
                             FT_NUMBER_OF(1)},
                .cost = {{[FT_ARITH] = FT_COUNT(12)}},
            },
        },
};
