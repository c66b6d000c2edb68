/* One step of an optimizer, fused: what its loop over tensors does, per element. */
/* SPDX-License-Identifier: MIT */
#include "formulas.h"

/* Each option is read as the loop's operations read it: a scaled addition x + a*y is a
 * multiplication and an addition, or an addition alone where a is 1. */
static uint64_t
scaled_addition(const ft_operand *is_on, const ft_operand *is_scaled)
{
    return ft_flag(is_on) ? 1 + (uint64_t)ft_flag(is_scaled) : 0;
}

static void
add_arith(ft_cost *cost, const ft_operand *tensor, uint64_t each)
{
    ft_add_kind(cost, FT_ARITH, ft_times(ft_elements(tensor), ft_u128_of(each)));
}

#define COMMON_ROLES                                                                          \
    {"tensor", FT_ELEMENTS}, {"maximize", FT_FLAG}, {"unscale", FT_FLAG}, {"decay", FT_FLAG}, \
    {                                                                                         \
        "decay_scaled", FT_FLAG                                                               \
    }
enum { TENSOR, MAXIMIZE, UNSCALE, DECAY, DECAY_SCALED, FIRST_OWN };

static uint64_t
gradient_steps(const ft_operand *operands)
{
    return (uint64_t)ft_flag(&operands[MAXIMIZE]) + (uint64_t)ft_flag(&operands[UNSCALE]) +
           scaled_addition(&operands[DECAY], &operands[DECAY_SCALED]);
}

enum { MOMENTUM = FIRST_OWN, MOMENTUM_SCALED, DAMPENING, NESTEROV, FIRST_STEP };

static ft_status
sgd_update(const ft_operand *operands, ft_cost *cost)
{
    uint64_t each = 2 + gradient_steps(operands);
    if (ft_flag(&operands[MOMENTUM])) {
        if (!ft_flag(&operands[FIRST_STEP])) { /* the first one copies the gradient */
            each += 2 + (uint64_t)ft_flag(&operands[DAMPENING]);
        }
        each += scaled_addition(&operands[NESTEROV], &operands[MOMENTUM_SCALED]);
    }
    add_arith(cost, &operands[TENSOR], each);
    return FT_OK;
}

const ft_formula ft_sgd_update = {
    .name = "sgd_update",
    .equation = "arith = n*(2 + momentum 2, not in the first step + dampening 1 + nesterov 2 + "
                "decay 2 + maximize 1 + unscale 1); p += -lr*d is 2; a factor of 1 costs nothing",
    .source = "torch.optim.SGD, its loop over tensors",
    .op_class = FT_CLASS_OPTIMIZER,
    .evaluate = sgd_update,
    .roles = {COMMON_ROLES,
              {"momentum", FT_FLAG},
              {"momentum_scaled", FT_FLAG},
              {"dampening", FT_FLAG},
              {"nesterov", FT_FLAG},
              {"first_step", FT_FLAG}},
    .examples =
        {
            {.text = "momentum on 5, second step: b = m*b + g and p += -lr*b are 4 each: 20",
             .operands = {FT_SHAPE_OF(5), FT_ABSENT, FT_ABSENT, FT_ABSENT, FT_ABSENT,
                          FT_NUMBER_OF(1), FT_NUMBER_OF(1)},
             .cost = {{[FT_ARITH] = FT_COUNT(20)}}},
            {.text = "the same with decay and nesterov, first step: g + w*p 2, g + m*b 2, 2: 5*6",
             .operands = {FT_SHAPE_OF(5), FT_ABSENT, FT_ABSENT, FT_NUMBER_OF(1), FT_NUMBER_OF(1),
                          FT_NUMBER_OF(1), FT_NUMBER_OF(1), FT_ABSENT, FT_NUMBER_OF(1),
                          FT_NUMBER_OF(1)},
             .cost = {{[FT_ARITH] = FT_COUNT(30)}}},
        },
};

enum { BETA2 = FIRST_OWN, AMSGRAD, DECOUPLED };

static ft_status
adam_update(const ft_operand *operands, ft_cost *cost)
{
    ft_u128 elements = ft_elements(&operands[TENSOR]);
    /* lerp 3; v*b 1, + (1-b)*g*g 3; / 1; + eps 1; p + -s*m/d 3 */
    uint64_t each = 11 + (uint64_t)ft_flag(&operands[BETA2]);
    if (ft_flag(&operands[DECOUPLED])) {
        each += (uint64_t)ft_flag(&operands[MAXIMIZE]) + (uint64_t)ft_flag(&operands[UNSCALE]) +
                (uint64_t)ft_flag(&operands[DECAY]);
    }
    else {
        each += gradient_steps(operands);
    }
    add_arith(cost, &operands[TENSOR], each);
    ft_add_kind(cost, FT_SPECIAL, elements);
    if (ft_flag(&operands[AMSGRAD])) {
        ft_add_kind(cost, FT_COMPARE, elements);
    }
    return FT_OK;
}

const ft_formula ft_adam_update = {
    .name = "adam_update",
    .equation = "arith = n*(12 + decay 2, 1 if decoupled + maximize 1 + unscale 1), special = n "
                "(square root), compare = n with amsgrad; a factor of 1 costs nothing",
    .source = "torch.optim.Adam and AdamW, their loop over tensors",
    .op_class = FT_CLASS_OPTIMIZER,
    .evaluate = adam_update,
    .roles = {COMMON_ROLES, {"beta2", FT_FLAG}, {"amsgrad", FT_FLAG}, {"decoupled", FT_FLAG}},
    .examples =
        {
            {.text = "Adam on 5: m 3, v 4, root 1, / 1, + 1, p 3: 13 each, one of them special",
             .operands = {FT_SHAPE_OF(5), FT_ABSENT, FT_ABSENT, FT_ABSENT, FT_ABSENT,
                          FT_NUMBER_OF(1)},
             .cost = {{[FT_ARITH] = FT_COUNT(60), [FT_SPECIAL] = FT_COUNT(5)}}},
            {.text = "AdamW with amsgrad on 5: p*(1 - lr*w) is one more, the maximum 1",
             .operands = {FT_SHAPE_OF(5), FT_ABSENT, FT_ABSENT, FT_NUMBER_OF(1), FT_NUMBER_OF(1),
                          FT_NUMBER_OF(1), FT_NUMBER_OF(1), FT_NUMBER_OF(1)},
             .cost = {{[FT_ARITH] = FT_COUNT(65),
                       [FT_COMPARE] = FT_COUNT(5),
                       [FT_SPECIAL] = FT_COUNT(5)}}},
        },
};

static ft_status
adagrad_update(const ft_operand *operands, ft_cost *cost)
{
    /* s + g*g 2, + eps 1, p + -lr*g/d 3 */
    add_arith(cost, &operands[TENSOR], 6 + gradient_steps(operands));
    ft_add_kind(cost, FT_SPECIAL, ft_elements(&operands[TENSOR]));
    return FT_OK;
}

const ft_formula ft_adagrad_update = {
    .name = "adagrad_update",
    .equation = "arith = n*(6 + decay 2 + maximize 1 + unscale 1), special = n (square root)",
    .source = "torch.optim.Adagrad, its loop over tensors",
    .op_class = FT_CLASS_OPTIMIZER,
    .evaluate = adagrad_update,
    .roles = {COMMON_ROLES},
    .examples = {{.text = "on 5: s + g*g 2, root 1, + eps 1, p + -lr*g/d 3: 7 each",
                  .operands = {FT_SHAPE_OF(5)},
                  .cost = {{[FT_ARITH] = FT_COUNT(30), [FT_SPECIAL] = FT_COUNT(5)}}}},
};
