/* Losses: so much per element, then their sum or mean. */
/* SPDX-License-Identifier: MIT */
#include "formulas.h"

enum { NO_REDUCTION, MEAN };

/* at::Reduction: 0 none, 1 mean, 2 sum. */
static void
add_reduction(ft_cost *cost, ft_u128 elements, uint64_t reduction)
{
    if (reduction != NO_REDUCTION) {
        ft_add_kind(cost, FT_ARITH, ft_less(elements, ft_u128_of(1)));
    }
    if (reduction == MEAN) {
        ft_add_kind(cost, FT_ARITH, ft_u128_of(1));
    }
}

enum { REDUCTION = 4, LAST_FLAG = 9 };

static ft_status
loss(const ft_operand *operands, ft_cost *cost)
{
    ft_add_elementwise(operands, REDUCTION + 1, LAST_FLAG, cost);
    add_reduction(cost, ft_numel(&operands[0]), operands[REDUCTION].number);
    return FT_OK;
}

const ft_formula ft_loss = {
    .name = "loss",
    .equation = "arith = n*(a + steps), compare = n*c, special = n*s; n elements, a, c, s of the "
                "loss, steps: its options that are on; reduction 1, the mean: arith n - 1 and 1; "
                "2, the sum: arith n - 1",
    .source = "the elementary steps of the loss's definition",
    .op_class = FT_CLASS_LOSS,
    .evaluate = loss,
    .roles = {{"tensor", FT_TENSOR},
              {"arith", FT_NUMBER},
              {"compare", FT_NUMBER},
              {"special", FT_NUMBER},
              {"reduction", FT_NUMBER},
              {"step1", FT_FLAG},
              {"step2", FT_FLAG},
              {"step3", FT_FLAG},
              {"step4", FT_FLAG},
              {"step5", FT_FLAG}},
    .examples =
        {
            {.text =
                 "squared error with a mean on 6: subtract, square: 12; 5 additions, 1 division",
             .operands = {FT_SHAPE_OF(6), FT_NUMBER_OF(2), FT_NUMBER_OF(0), FT_NUMBER_OF(0),
                          FT_NUMBER_OF(1)},
             .cost = {{[FT_ARITH] = FT_COUNT(18)}}},
        },
};

static ft_status
margin_loss(const ft_operand *operands, ft_cost *cost)
{
    ft_u128 scores = ft_numel(&operands[0]);
    ft_shape shape = operands[0].shape;
    ft_u128 rows = shape.ndim > 1 ? ft_u128_of((uint64_t)shape.dims[0]) : ft_u128_of(1);
    ft_u128 pairs = ft_less(scores, rows); /* each wrong class of a row with the right one */
    uint64_t each = operands[1].number + ft_flag(&operands[3]) + ft_flag(&operands[4]);
    ft_add_kind(cost, FT_ARITH, ft_times(pairs, ft_u128_of(each)));
    ft_add_kind(cost, FT_COMPARE, pairs);
    if (operands[5].present) { /* the loss itself, not its gradient */
        ft_add_kind(cost, FT_ARITH, ft_u128_is_zero(scores) ? FT_U128_ZERO : rows);
        add_reduction(cost, rows, operands[2].number);
    }
    return FT_OK;
}

const ft_formula ft_margin_loss = {
    .name = "margin_loss",
    .equation = "for each wrong class of each row: compare 1, arith a + p other than 1 + weight 1; "
                "per row a division by the number of classes; then the sum or mean over rows",
    .source = "torch.nn.MultiMarginLoss: max(0, margin - x[y] + x[i])^p summed over i, over C; of "
              "several right classes, which only the data tell, one is counted",
    .op_class = FT_CLASS_LOSS,
    .evaluate = margin_loss,
    .roles = {{"scores", FT_TENSOR},
              {"arith", FT_NUMBER},
              {"reduction", FT_NUMBER},
              {"power", FT_FLAG},
              {"weight", FT_FLAG},
              {"forward", FT_FLAG}},
    .examples = {{.text = "2 rows of 4 with a mean: 6 pairs of 3 (and 1 compare), 2 divisions, "
                          "1 addition, 1 division: 22",
                  .operands = {FT_SHAPE_OF(2, 4), FT_NUMBER_OF(3), FT_NUMBER_OF(1), FT_ABSENT,
                               FT_ABSENT, FT_NUMBER_OF(1)},
                  .cost = {{[FT_ARITH] = FT_COUNT(22), [FT_COMPARE] = FT_COUNT(6)}}}},
};

/* Both directions of the recursion at once, as libraries compute loss and gradient together. */
static ft_status
ctc_joined(const ft_operand *operands, ft_cost *cost)
{
    ft_shape shape = operands[0].shape;
    if (shape.ndim != 3) {
        return FT_BAD_SHAPE;
    }
    ft_u128 labels = ft_times(ft_u128_of(2), ft_numel(&operands[1]));
    ft_u128 positions = ft_plus(labels, ft_u128_of((uint64_t)shape.dims[1]));
    ft_u128 cells = ft_times(ft_u128_of((uint64_t)shape.dims[0]), positions);
    ft_add_kind(cost, FT_ARITH, ft_times(cells, ft_u128_of(18)));
    ft_add_kind(cost, FT_COMPARE, ft_times(cells, ft_u128_of(6)));
    ft_add_kind(cost, FT_SPECIAL, ft_times(cells, ft_u128_of(10)));
    ft_add_kind(cost, FT_ARITH, ft_times(ft_numel(&operands[0]), ft_u128_of(4)));
    ft_add_kind(cost, FT_SPECIAL, ft_times(ft_numel(&operands[0]), ft_u128_of(2)));
    return FT_OK;
}

const ft_formula ft_ctc_joined = {
    .name = "ctc_joined",
    .equation = "T*(2*labels + N) cells: arith 18, compare 6, special 10; per log probability "
                "arith 4, special 2",
    .source = "Graves et al. 2006: _ctc_loss and _ctc_loss_backward together",
    .op_class = FT_CLASS_LOSS,
    .evaluate = ctc_joined,
    .roles = {{"log_probs", FT_TENSOR}, {"targets", FT_TENSOR}},
    .examples = {{.text = "T 5, N 2, C 3, 4 labels: 5*(8 + 2) = 50 cells, 30 probabilities: 900 + "
                          "120, 300, 500 + 60",
                  .operands = {FT_SHAPE_OF(5, 2, 3), FT_SHAPE_OF(4)},
                  .cost = {{[FT_ARITH] = FT_COUNT(1020),
                            [FT_COMPARE] = FT_COUNT(300),
                            [FT_SPECIAL] = FT_COUNT(560)}}}},
};

static ft_status
logits_of(const ft_operand *operands, ft_u128 *rows, ft_u128 *features, ft_u128 *classes)
{
    ft_shape input = operands[0].shape, weight = operands[1].shape;
    if (input.ndim != 2 || weight.ndim != 2) {
        return FT_BAD_SHAPE;
    }
    *rows = ft_u128_of((uint64_t)input.dims[0]);
    *features = ft_u128_of((uint64_t)input.dims[1]);
    *classes = ft_u128_of((uint64_t)weight.dims[0]);
    return FT_OK;
}

static ft_status
linear_cross_entropy(const ft_operand *operands, ft_cost *cost)
{
    ft_u128 rows, features, classes;
    if (logits_of(operands, &rows, &features, &classes) != FT_OK) {
        return FT_BAD_SHAPE;
    }
    ft_add_dots(cost, ft_times(rows, classes), features);
    if (ft_flag(&operands[2]) && !ft_u128_is_zero(features)) {
        ft_add_kind(cost, FT_BIAS, ft_times(rows, classes));
    }
    if (ft_flag(&operands[3])) {
        ft_add_dots(cost, ft_times(rows, features), classes);
    }
    if (ft_flag(&operands[4])) {
        ft_add_dots(cost, ft_times(classes, features), rows);
    }
    return FT_OK;
}

const ft_formula ft_linear_cross_entropy = {
    .name = "linear_cross_entropy",
    .equation = "mac = N*C*H for the logits, again for the gradient of the input and for that of "
                "the weight, where they are wanted; bias = N*C",
    .source = "cross entropy of a linear layer; it makes its gradients in the forward pass",
    .op_class = FT_CLASS_MATMUL,
    .evaluate = linear_cross_entropy,
    .roles = {{"input", FT_TENSOR},
              {"weight", FT_TENSOR},
              {"bias", FT_FLAG},
              {"input_gradient", FT_FLAG},
              {"weight_gradient", FT_FLAG}},
    .examples =
        {{.text = "N 2, H 3, C 4 with both gradients: 3*24; dots 2*4 + 2*3 + 4*3 = 26",
          .operands = {FT_SHAPE_OF(2, 3), FT_SHAPE_OF(4, 3), FT_NUMBER_OF(1), FT_NUMBER_OF(1),
                       FT_NUMBER_OF(1)},
          .cost = {{[FT_MAC] = FT_COUNT(72), [FT_DOT] = FT_COUNT(26), [FT_BIAS] = FT_COUNT(8)}}}},
};

static ft_status
linear_cross_entropy_softmax(const ft_operand *operands, ft_cost *cost)
{
    ft_u128 rows, features, classes;
    if (logits_of(operands, &rows, &features, &classes) != FT_OK) {
        return FT_BAD_SHAPE;
    }
    ft_u128 logits = ft_times(rows, classes);
    bool gradients = ft_flag(&operands[2]) || ft_flag(&operands[3]) || ft_flag(&operands[4]);
    uint64_t each = 2 + (uint64_t)gradients + (uint64_t)ft_flag(&operands[4]);
    ft_add_kind(cost, FT_ARITH, ft_times(logits, ft_u128_of(each)));
    ft_add_kind(cost, FT_COMPARE, logits);
    ft_add_kind(cost, FT_SPECIAL, logits);
    return FT_OK;
}

const ft_formula ft_linear_cross_entropy_softmax = {
    .name = "linear_cross_entropy_softmax",
    .equation = "per logit: compare 1, special 1 (exp), arith 2 (subtract the maximum, sum), 1 to "
                "scale for gradients, 1 for the bias's; terms per row are left out",
    .source = "definition of the cross entropy",
    .op_class = FT_CLASS_LOSS,
    .evaluate = linear_cross_entropy_softmax,
    .roles = {{"input", FT_TENSOR},
              {"weight", FT_TENSOR},
              {"input_gradient", FT_FLAG},
              {"weight_gradient", FT_FLAG},
              {"bias_gradient", FT_FLAG}},
    .examples = {{.text = "N 2, C 4, no gradients: 8 logits: 16, 8, 8",
                  .operands = {FT_SHAPE_OF(2, 3), FT_SHAPE_OF(4, 3)},
                  .cost = {{[FT_ARITH] = FT_COUNT(16),
                            [FT_COMPARE] = FT_COUNT(8),
                            [FT_SPECIAL] = FT_COUNT(8)}}}},
};
