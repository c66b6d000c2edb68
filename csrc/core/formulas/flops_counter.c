/* What compat.flops_counter's table has beside the layer table: backward of a linear layer, looking
 * up embeddings, and optimizers by parameter. */
/* SPDX-License-Identifier: MIT */
#include "formulas.h"

#define TABLE_SOURCE "table of compat.flops_counter"

static ft_status
linear_backward(const ft_operand *operands, ft_cost *cost)
{
    for (int gradient = 0; gradient < 2; gradient++) {
        ft_add_dots(cost, ft_numel(&operands[0]), ft_number(&operands[1]));
    }
    return FT_OK;
}

static ft_status
embedding(const ft_operand *operands, ft_cost *cost)
{
    ft_add_kind(cost, FT_ARITH, ft_numel(&operands[0]));
    return FT_OK;
}

static ft_status
update(const ft_operand *operands, ft_cost *cost)
{
    ft_add_kind(cost, FT_ARITH, ft_times(ft_number(&operands[0]), ft_number(&operands[1])));
    return FT_OK;
}

const ft_formula ft_linear_backward_table = {
    .name = "linear_backward_table",
    .equation = "mac = 2*P*in*out, dot = 2*P*out; P positions, P*out = numel(output)",
    .source = TABLE_SOURCE ": twice the forward pass, for the gradients of input and weight",
    .op_class = FT_CLASS_MATMUL,
    .evaluate = linear_backward,
    .roles = {{"output", FT_TENSOR}, {"in_features", FT_NUMBER}},
    .examples = {{.text = "Linear(64, 64) on (2, 10, 64): 2*20*64*64 = 163840, dot = 2*1280",
                  .operands = {FT_SHAPE_OF(2, 10, 64), FT_NUMBER_OF(64)},
                  .cost = {{[FT_MAC] = FT_COUNT(163840), [FT_DOT] = FT_COUNT(2560)}}}},
};

const ft_formula ft_embedding_table = {
    .name = "embedding_table",
    .equation = "arith = numel(output)",
    .source = TABLE_SOURCE ": one per element that is looked up, B*N*D",
    .op_class = FT_CLASS_EMBEDDING,
    .evaluate = embedding,
    .roles = {{"output", FT_TENSOR}},
    .examples = {{.text = "32 sequences of 128 ids, 64 wide: 32*128*64 = 262144",
                  .operands = {FT_SHAPE_OF(32, 128, 64)},
                  .cost = {{[FT_ARITH] = FT_COUNT(262144)}}}},
};

const ft_formula ft_update_table = {
    .name = "update_table",
    .equation = "arith = times*parameters",
    .source = TABLE_SOURCE ": 15 per parameter of AdamW, 2 of SGD",
    .op_class = FT_CLASS_OPTIMIZER,
    .evaluate = update,
    .roles = {{"parameters", FT_NUMBER}, {"times", FT_NUMBER}},
    .examples = {{.text = "AdamW of 100 parameters: 15*100 = 1500",
                  .operands = {FT_NUMBER_OF(100), FT_NUMBER_OF(15)},
                  .cost = {{[FT_ARITH] = FT_COUNT(1500)}}},
                 {.text = "SGD of 100 parameters: 2*100 = 200",
                  .operands = {FT_NUMBER_OF(100), FT_NUMBER_OF(2)},
                  .cost = {{[FT_ARITH] = FT_COUNT(200)}}}},
};
