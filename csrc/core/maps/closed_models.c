/* What planners add up: the matrix products of whole transformers and recurrent models, their
 * parameters, and 6ND. */
/* SPDX-License-Identifier: MIT */
#include "closed.h"

#define MODEL(name_, arguments_, about_, ...)                                               \
    {                                                                                       \
        .name = name_, .about = about_, .arguments = arguments_, .terms = (const ft_term[]) \
        {                                                                                   \
            __VA_ARGS__,                                                                    \
            {                                                                               \
                NULL, NULL, NULL                                                            \
            }                                                                               \
        }                                                                                   \
    }

/* `n`: how often, a product. Of parameters, elements that are counted under any convention. */
#define LINEAR(n, in, out) {&ft_linear, "(batch seq_len " out ") " in " -", n}
#define LINEAR_BACKWARD(n, in, out) \
    {&ft_linear_backward, "(batch seq_len " out ") (batch seq_len " in ") (1 1 0)", n}
#define PARAMETERS(n, shape) {&ft_pointwise, "(" shape ") 1 0 0 - - - - - -", n}

/* ---- decoders ---- */

#define DECODER                                                                          \
    "*batch seq_len *layers *d_model *heads *head_dim *d_ff *vocab_size kv_heads=heads " \
    "?gated=0 !causal=0 *experts=1 *active_experts=1 ?routed=0"
#define ATTENTION(formula, n)                                                              \
    {&formula,                                                                             \
     "(batch kv_heads heads/kv_heads seq_len head_dim) (batch kv_heads seq_len head_dim) " \
     "(batch kv_heads seq_len head_dim) causal 1 -",                                       \
     n}

/* Queries; keys and values; what heads give back; the feed-forward layer and its gate, in as many
 * experts as a token goes to; what chooses these; attention. */
#define LAYERS(linear, attention, n)                                \
    linear(n "layers", "d_model", "heads*head_dim"),                \
        linear(n "2*layers", "d_model", "kv_heads*head_dim"),       \
        linear(n "layers", "heads*head_dim", "d_model"),            \
        linear(n "layers*active_experts", "d_model", "d_ff"),       \
        linear(n "layers*active_experts*gated", "d_model", "d_ff"), \
        linear(n "layers*active_experts", "d_ff", "d_model"),       \
        linear(n "layers*routed", "d_model", "experts"), attention(n "layers")
#define SCORES(n) ATTENTION(ft_sdpa, n)
#define SCORES_BACKWARD(n) ATTENTION(ft_sdpa_backward, n)
#define FORWARD(n) LAYERS(LINEAR, SCORES, n), LINEAR(n "1", "d_model", "vocab_size")
#define BACKWARD(n) \
    LAYERS(LINEAR_BACKWARD, SCORES_BACKWARD, n), LINEAR_BACKWARD(n "1", "d_model", "vocab_size")

#define DECODER_PARAMETERS                                                                       \
    "*layers *d_model *heads *head_dim *d_ff *vocab_size *kv_heads=heads *positions=0 ?gated=0 " \
    "?untied=0 ?bias=1 ?qkv_bias=bias ?norm_bias=1 *experts=1 *active_experts=1 ?routed=0 "      \
    "?embedding=1"
/* Of both kinds of vocabulary matrices and of positions; of each layer; of the last norm. */
#define ALL_PARAMETERS(n, experts_)                                                            \
    PARAMETERS(n "embedding", "vocab_size d_model"),                                           \
        PARAMETERS(n "embedding*untied", "vocab_size d_model"),                                \
        PARAMETERS(n "embedding", "positions d_model"),                                        \
        PARAMETERS(n "2*layers", "d_model heads head_dim"),                                    \
        PARAMETERS(n "2*layers", "d_model kv_heads head_dim"),                                 \
        PARAMETERS(n "layers*qkv_bias", "heads head_dim"),                                     \
        PARAMETERS(n "2*layers*qkv_bias", "kv_heads head_dim"),                                \
        PARAMETERS(n "layers*bias", "d_model"),                                                \
        PARAMETERS(n "2*layers*" experts_, "d_model d_ff"),                                    \
        PARAMETERS(n "layers*gated*" experts_, "d_model d_ff"),                                \
        PARAMETERS(n "layers*bias*" experts_, "d_ff"),                                         \
        PARAMETERS(n "layers*bias*gated*" experts_, "d_ff"),                                   \
        PARAMETERS(n "layers*bias*" experts_, "d_model"),                                      \
        PARAMETERS(n "layers*routed", "d_model experts"), PARAMETERS(n "2*layers", "d_model"), \
        PARAMETERS(n "2*layers*norm_bias", "d_model"), PARAMETERS(n "1", "d_model"),           \
        PARAMETERS(n "norm_bias", "d_model")

/* ---- recurrent models ---- */

#define RECURRENT                                                                               \
    "*batch *seq_len *input_size hidden_size *layers *deeper *output_size *gates directions=1 " \
    "?bidirectional=0 *outputs=seq_len ?input_gradient=1"
#define RECURRENT_FORWARD(n)                                                                     \
    {&ft_recurrent_layers,                                                                       \
     "(batch seq_len input_size) input_size hidden_size 0 layers bidirectional gates -", n "1"}, \
        {&ft_linear, "(batch outputs output_size) directions*hidden_size -", n "1"}
/* The first layer's input, that of deeper ones, states of all, and the output. */
#define RECURRENT_BACKWARD(n)                                                                  \
    {&ft_linear_backward,                                                                      \
     "(batch seq_len directions*gates*hidden_size) (batch seq_len input_size) "                \
     "(input_gradient 1 0)",                                                                   \
     n "1"},                                                                                   \
        LINEAR_BACKWARD(n "deeper", "directions*hidden_size", "directions*gates*hidden_size"), \
        LINEAR_BACKWARD(n "layers*directions", "hidden_size", "gates*hidden_size"),            \
        {&ft_linear_backward,                                                                  \
         "(batch outputs output_size) (batch outputs directions*hidden_size) (1 1 0)", n "1"}
#define RECURRENT_PARAMETERS                                                                  \
    "*input_size hidden_size *layers *deeper *output_size *gates directions=1 *vocab_size=0 " \
    "?bias=1"
#define ALL_RECURRENT_PARAMETERS(n)                                                    \
    PARAMETERS(n "1", "vocab_size input_size"),                                        \
        PARAMETERS(n "directions*gates", "hidden_size input_size"),                    \
        PARAMETERS(n "deeper*directions*directions*gates", "hidden_size hidden_size"), \
        PARAMETERS(n "layers*directions*gates", "hidden_size hidden_size"),            \
        PARAMETERS(n "2*layers*directions*gates*bias", "hidden_size"),                 \
        PARAMETERS(n "directions", "hidden_size output_size"), PARAMETERS(n "bias", "output_size")

const ft_closed_form ft_closed_models[] = {
    MODEL("transformer_forward", DECODER, "products of a decoder's forward pass", FORWARD("")),
    MODEL("transformer_backward", DECODER, "products of its backward pass", BACKWARD("")),
    MODEL("transformer_recompute", DECODER " ?recompute=1",
          "products of its layers, done again where only their inputs were kept",
          LAYERS(LINEAR, SCORES, "recompute*")),
    MODEL("transformer_training", "*steps " DECODER " ?recompute=0",
          "all of them, in `steps` steps", FORWARD("steps*"), BACKWARD("steps*"),
          LAYERS(LINEAR, SCORES, "steps*recompute*")),
    MODEL("transformer_parameters", DECODER_PARAMETERS,
          "its parameters (convention standard); embedding 0: without vocabulary and positions",
          ALL_PARAMETERS("", "experts")),
    MODEL("transformer_six_nd", "*tokens " DECODER_PARAMETERS,
          "6 for each token and each parameter that it meets (convention standard)",
          ALL_PARAMETERS("6*tokens*", "active_experts")),
    MODEL("rnn_forward", RECURRENT, "products of a recurrent model's forward pass",
          RECURRENT_FORWARD("")),
    MODEL("rnn_backward", RECURRENT, "products of its backward pass", RECURRENT_BACKWARD("")),
    MODEL("rnn_training", "*steps " RECURRENT, "both, in `steps` steps",
          RECURRENT_FORWARD("steps*"), RECURRENT_BACKWARD("steps*")),
    MODEL("rnn_parameters", RECURRENT_PARAMETERS, "its parameters (convention standard)",
          ALL_RECURRENT_PARAMETERS("")),
    MODEL("rnn_six_nd", "*tokens " RECURRENT_PARAMETERS,
          "6 for each token and parameter (convention standard)",
          ALL_RECURRENT_PARAMETERS("6*tokens*")),
    MODEL("conv_parameters",
          "*in_channels *out_channels *kernel_height *kernel_width groups=1 ?bias=1 ?norm=0",
          "parameters of a Conv2d, and of a batch norm behind it (convention standard)",
          PARAMETERS("1", "out_channels in_channels/groups kernel_height kernel_width"),
          PARAMETERS("bias", "out_channels"), PARAMETERS("2*norm", "out_channels")),
    MODEL("linear_parameters", "*in_features *out_features ?bias=1",
          "parameters of a Linear (convention standard)",
          PARAMETERS("1", "out_features in_features"), PARAMETERS("bias", "out_features")),
};
const size_t ft_closed_models_count = FT_COUNT_OF(ft_closed_models);
