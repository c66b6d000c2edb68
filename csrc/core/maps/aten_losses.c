/* ATen's losses and their gradients. */
/* SPDX-License-Identifier: MIT */
#include "aten_rows.h"

#define LOSS(op, tensor, ...) LOSS_(op, tensor, __VA_ARGS__, IS(0))
#define LOSS_(op, tensor, arith, compare, special, ...)                                          \
    {                                                                                            \
        "aten." op, &ft_loss, 0,                                                                 \
        {                                                                                        \
            TENSOR(tensor), IS(arith), IS(compare), IS(special), VALUE("reduction"), __VA_ARGS__ \
        }                                                                                        \
    }
#define GRADIENT(op, arith, compare, special) \
    PER(ft_loss, op, 0, OUT, arith, compare, special, IS(0))
#define CHUNKED(op)                                                              \
    {                                                                            \
        "torch_nn." op, &ft_linear_cross_entropy, 0,                             \
        {                                                                        \
            TENSOR("input"), TENSOR("linear_weight"), GIVEN("linear_bias"),      \
                GIVEN("compute_input_grad"), GIVEN("compute_linear_weight_grad") \
        }                                                                        \
    }
#define CHUNKED_SOFTMAX(op)                                                            \
    {                                                                                  \
        "torch_nn." op, &ft_linear_cross_entropy_softmax, 0,                           \
        {                                                                              \
            TENSOR("input"), TENSOR("linear_weight"), GIVEN("compute_input_grad"),     \
                GIVEN("compute_linear_weight_grad"), GIVEN("compute_linear_bias_grad") \
        }                                                                              \
    }

const ft_map_row ft_map_aten_losses[] = {
    /* (x - t)^2; 2*(x - t)*g */
    LOSS("mse_loss", "self", 2, 0, 0),
    GRADIENT("mse_loss_backward", 3, 0, 0),
    /* |x - t| against beta; d*d/2/beta, or |d| - beta/2; g*d/beta */
    LOSS("smooth_l1_loss", "self", 4, 2, 0),
    GRADIENT("smooth_l1_loss_backward", 3, 2, 0),
    LOSS("huber_loss", "self", 3, 2, 0),
    GRADIENT("huber_loss_backward", 2, 2, 0),
    /* -(t*log(x) + (1 - t)*log(1 - x)), both logarithms at least -100; g*(x - t)/(x*(1 - x)) */
    LOSS("binary_cross_entropy", "self", 6, 2, 2, GIVEN("weight")),
    PER(ft_loss, "binary_cross_entropy_backward", 0, OUT, 5, 1, 0, IS(0), GIVEN("weight")),
    /* (1 - t)*x + max(-x, 0) + log1p(exp(-|x|)), the last two times 1 + (p - 1)*t */
    LOSS("binary_cross_entropy_with_logits", "self", 6, 2, 2, GIVEN("weight"), GIVEN("pos_weight"),
         GIVEN("pos_weight"), GIVEN("pos_weight")),
    /* log1p(exp(-t*x)); -t*z/(1 + z)*g */
    LOSS("soft_margin_loss", "self", 2, 0, 2),
    GRADIENT("soft_margin_loss_backward", 6, 0, 1),
    /* -w*x of the right class, and the sum of w */
    LOSS("nll_loss_forward", "target", 1, 0, 0, GIVEN("weight"), GIVEN("weight")),
    LOSS("nll_loss2d_forward", "target", 1, 0, 0, GIVEN("weight"), GIVEN("weight")),
    PER(ft_loss, "nll_loss_backward", 0, TENSOR("target"), 1, 0, 0, IS(0), GIVEN("weight")),
    PER(ft_loss, "nll_loss2d_backward", 0, TENSOR("target"), 1, 0, 0, IS(0), GIVEN("weight")),
    /* margin - x[y] + x[i], p-th power, sum; the gradient adds to both */
    {"aten.multi_margin_loss",
     &ft_margin_loss,
     0,
     {TENSOR("self"), IS(3), VALUE("reduction"), SCALED("p"), GIVEN("weight"), IS(1)}},
    {"aten.multi_margin_loss_backward",
     &ft_margin_loss,
     0,
     {TENSOR("self"), IS(4), IS(0), SCALED("p"), GIVEN("weight")}},
    {"aten.multilabel_margin_loss_forward",
     &ft_margin_loss,
     0,
     {TENSOR("self"), IS(3), VALUE("reduction"), IS(0), IS(0), IS(1)}},
    {"aten.multilabel_margin_loss_backward",
     &ft_margin_loss,
     0,
     {TENSOR("self"), IS(4), IS(0), IS(0), IS(0)}},
    /* Per cell of the recursion: log of three exponentials' sum, maximum out and back, and a log
     * probability added. */
    PER(ft_loss, "_ctc_loss", 0, OUT_NUMBER(1), 7, 2, 4, IS(0)),
    /* The recursion from the end, alpha + beta, and its logaddexp into the gradient; then per log
     * probability exp(l) - exp(r + nll - l), times g. */
    PER(ft_loss, "_ctc_loss_backward", 0, TENSOR("log_alpha"), 11, 4, 6, IS(0)),
    PER(ft_loss, "_ctc_loss_backward", 0, OUT, 4, 0, 2, IS(0)),
    {"aten._cudnn_ctc_loss", &ft_ctc_joined, 0, {TENSOR("log_probs"), TENSOR("targets")}},
    {"aten.miopen_ctc_loss", &ft_ctc_joined, 0, {TENSOR("log_probs"), TENSOR("targets")}},

    CHUNKED("_linear_cross_entropy_batch_chunked"),
    CHUNKED_SOFTMAX("_linear_cross_entropy_batch_chunked"),
    CHUNKED("_linear_cross_entropy_batch_chunked_no_reduction"),
    CHUNKED_SOFTMAX("_linear_cross_entropy_batch_chunked_no_reduction"),
};

const size_t ft_map_aten_losses_count = FT_COUNT_OF(ft_map_aten_losses);
