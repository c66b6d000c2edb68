/* Rows looked up by index and folded: bags of embeddings. */
/* SPDX-License-Identifier: MIT */
#include "formulas.h"

enum { SUM, MEAN, MAX };

/* Elements of the rows that `indices` pick out of `table`. */
static ft_u128
gathered(const ft_operand *table, const ft_operand *indices)
{
    ft_shape shape = table->shape;
    return ft_times(ft_numel(indices), ft_shape_product(shape, shape.ndim > 0, shape.ndim));
}

static ft_status
embedding_bag(const ft_operand *operands, ft_cost *cost)
{
    ft_u128 elements = gathered(&operands[0], &operands[1]), outputs = ft_numel(&operands[2]);
    uint64_t mode = operands[3].number;
    if (ft_flag(&operands[4])) {
        ft_add_kind(cost, FT_ARITH, elements);
    }
    ft_add_kind(cost, mode == MAX ? FT_COMPARE : FT_ARITH, ft_less(elements, outputs));
    if (mode == MEAN) {
        ft_add_kind(cost, FT_ARITH, outputs);
    }
    return FT_OK;
}

const ft_formula ft_embedding_bag = {
    .name = "embedding_bag",
    .equation =
        "(e - m) folds of e = indices*row elements into m outputs: arith, or compare for the "
        "maximum; weights e, mean m more; bags are taken as not empty",
    .source = "torch.nn.EmbeddingBag; modes 0 sum, 1 mean, 2 max",
    .op_class = FT_CLASS_EMBEDDING,
    .evaluate = embedding_bag,
    .roles = {{"table", FT_TENSOR},
              {"indices", FT_TENSOR},
              {"output", FT_TENSOR},
              {"mode", FT_NUMBER},
              {"weighted", FT_FLAG}},
    .examples = {{.text = "6 rows of 3 into 2 bags, mean: 18 - 6 additions, 6 divisions",
                  .operands = {FT_SHAPE_OF(10, 3), FT_SHAPE_OF(6), FT_SHAPE_OF(2, 3),
                               FT_NUMBER_OF(1)},
                  .cost = {{[FT_ARITH] = FT_COUNT(18)}}}},
};

static ft_status
embedding_bag_backward(const ft_operand *operands, ft_cost *cost)
{
    bool max = operands[2].number == MAX;
    ft_u128 elements = max ? ft_numel(&operands[0]) : gathered(&operands[0], &operands[1]);
    ft_add_kind(cost, FT_ARITH, elements);
    if (ft_flag(&operands[3])) {
        ft_add_kind(cost, FT_ARITH, elements);
    }
    if (operands[2].number == MEAN) {
        ft_add_kind(cost, FT_ARITH, ft_numel(&operands[0]));
    }
    return FT_OK;
}

const ft_formula ft_embedding_bag_backward = {
    .name = "embedding_bag_backward",
    .equation = "arith = indices*row additions, weights as many, mean numel(gradient) divisions; "
                "the maximum: numel(gradient) additions",
    .source = "derivative of embedding_bag",
    .op_class = FT_CLASS_EMBEDDING,
    .evaluate = embedding_bag_backward,
    .roles = {{"gradient", FT_TENSOR},
              {"indices", FT_TENSOR},
              {"mode", FT_NUMBER},
              {"weighted", FT_FLAG}},
    .examples = {{.text = "6 indices, gradient (2, 3), mean: 18 additions, 6 divisions",
                  .operands = {FT_SHAPE_OF(2, 3), FT_SHAPE_OF(6), FT_NUMBER_OF(1)},
                  .cost = {{[FT_ARITH] = FT_COUNT(24)}}}},
};

static ft_status
gathered_rows(const ft_operand *operands, ft_cost *cost)
{
    ft_u128 elements = gathered(&operands[0], &operands[1]);
    ft_add_kind(cost, FT_ARITH, ft_times(elements, ft_number(&operands[2])));
    ft_add_kind(cost, FT_SPECIAL, ft_times(elements, ft_number(&operands[3])));
    return FT_OK;
}

const ft_formula ft_gathered_rows = {
    .name = "gathered_rows",
    .equation = "arith and special of each of indices*row elements",
    .source = "the operation's documented formula for each row looked up",
    .op_class = FT_CLASS_EMBEDDING,
    .evaluate = gathered_rows,
    .roles = {{"table", FT_TENSOR},
              {"indices", FT_TENSOR},
              {"arith", FT_NUMBER},
              {"special", FT_NUMBER}},
    .examples = {{.text = "products of 6 rows of 3 with their gradients, summed: 18*2",
                  .operands = {FT_SHAPE_OF(2, 3), FT_SHAPE_OF(6), FT_NUMBER_OF(2), FT_NUMBER_OF(0)},
                  .cost = {{[FT_ARITH] = FT_COUNT(36)}}}},
};
