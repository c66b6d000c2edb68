/* Which numbers stand for the operands of matrix products, convolutions, attention and recurrent
 * layers, so that their cost can be had without tensors. */
/* SPDX-License-Identifier: MIT */
#include "closed.h"

/* Families of formulas that take the same. */
#define SDPA(name, formula, example, about)                                                  \
    FT_FORM(name, formula,                                                                   \
            "*batch *heads *queries *width *keys=queries *value_width=width kv_heads=heads " \
            "!causal=0 ?mask=0",                                                             \
            "(batch kv_heads heads/kv_heads queries width) (batch kv_heads keys width) "     \
            "(batch kv_heads keys value_width) causal 1 mask",                               \
            example, about "; causal 1 counts the pairs that the mask leaves")
#define VARLEN(name, formula, about)                                                             \
    FT_FORM(name, formula,                                                                       \
            "batch heads queries width keys=queries value_width=width kv_heads=heads ?causal=0 " \
            "~window_left=-1 ~window_right=-1 ?bottom_right=0 ?mask=0",                          \
            "(batch queries heads width) (batch keys kv_heads width) "                           \
            "(batch keys kv_heads value_width) causal 1 bottom_right - - - - - mask "            \
            "(window_left window_right) -",                                                      \
            NULL, about " of sequences of one length; window -1 is no limit")
#define HEADS(name, formula, arguments, rest, example, about)                     \
    FT_FORM(name, formula, "*batch *queries width heads *keys=queries" arguments, \
            "(batch queries width) (batch keys width) width heads - - " rest, example, about)
#define ATTENTION_LAYER(name, formula, example, about)                                           \
    FT_FORM(name, formula,                                                                       \
            "*batch *queries embed_dim num_heads *keys=queries *kdim=embed_dim *vdim=embed_dim " \
            "?bias=1 ?bias_kv=0 ?add_zero_attn=0",                                               \
            "(batch queries embed_dim) (batch keys kdim) (batch keys vdim) embed_dim num_heads " \
            "kdim vdim 1 bias_kv add_zero_attn bias",                                            \
            example, about)
#define RECURRENT(name, mode_argument, mode, example, about)                             \
    FT_FORM(name, ft_recurrent,                                                          \
            "*batch *seq_len *input_size hidden_size" mode_argument                      \
            " *num_layers=1 ?bidirectional=0 ?bias=1 proj_size=0",                       \
            "(batch seq_len input_size) (hidden_size) hidden_size proj_size num_layers " \
            "bidirectional " mode " bias -",                                             \
            example, about)
#define CONVOLUTION                                                                         \
    "batch in_channels out_channels in_height in_width out_height out_width kernel_height " \
    "kernel_width=kernel_height stride=1 padding=0 dilation=1 groups=1"
#define SCALES " ?bias=0 ?alpha=0 ?beta=0"

const ft_closed_form ft_closed_contractions[] = {
    /* matrix products */
    FT_FORM("linear", ft_linear, "*batch *in_features *out_features ?bias=0",
            "(batch out_features) in_features bias", "20 64 64 1", "Linear on `batch` rows"),
    FT_FORM("linear_backward", ft_linear_backward,
            "*batch *in_features *out_features ?bias=0 ?input_gradient=1 ?weight_gradient=1",
            "(batch out_features) (batch in_features) (input_gradient weight_gradient bias)",
            "3 5 4 1 1 1", "gradients of a Linear"),
    FT_FORM("linear_weights_backward", ft_linear_weights_backward,
            "*batch *in_features *out_features ?bias=0",
            "(batch out_features) (batch in_features) bias", "3 5 4 1",
            "gradients of a Linear's weight and bias"),
    FT_FORM("matmul", ft_matmul, "*m *k *n *batch=1" SCALES,
            "(batch m n) (batch m k) bias alpha beta - -", "4 5 6 1 0 0 0",
            "(m, k) @ (k, n), `batch` times; alpha, beta: whether product and bias are scaled"),
    FT_FORM("sparse_matmul", ft_matmul, "entries m k n" SCALES,
            "(m n) (m k) bias alpha beta entries -", "3 4 5 6 0 0 0",
            "a sparse (m, k) of so many entries @ (k, n)"),
    FT_FORM("matmul_summed", ft_matmul_summed, "*m *k *n *batch" SCALES,
            "(m n) (batch m k) bias alpha beta", "4 5 6 3 1 0 0", "the sum of `batch` products"),
    FT_FORM("matmul_grouped", ft_matmul_grouped, "*m *k *n groups ?bias=0",
            "(m n) (m k) (groups k n) bias", "8 16 4 2 0", "m rows in groups, each @ its (k, n)"),
    FT_FORM("outer", ft_outer, "*m *n" SCALES, "(m n) bias alpha beta", "3 4 1 0 0",
            "the product of two vectors"),
    FT_FORM("bilinear", ft_bilinear, "*batch *in1_features *in2_features *out_features ?bias=0",
            "(batch out_features) in1_features in2_features bias", "2 3 4 5 1",
            "Bilinear on `batch` rows"),
    FT_FORM("trilinear", ft_trilinear, "*batch *in1_features *in2_features *out_features",
            "(batch in1_features) (out_features in1_features in2_features) (batch in2_features) "
            "(1 3) (0) (1 2) (2 3)",
            "2 3 4 5", "the contraction inside a Bilinear"),
    FT_FORM("sgd_linear", ft_sgd_linear, "*rows *features *hyperplanes",
            "rows features hyperplanes", "128 64 10", "a pass of plain SGD over a linear model"),
    FT_FORM("sampled_matmul", ft_sampled_matmul, "*entries *k" SCALES,
            "entries (1 k) bias alpha beta", "7 5 1 0 0",
            "a product, only where a sparse matrix has an entry"),
    FT_FORM("sparse_reduce", ft_sparse_reduce, "entries rows columns",
            "entries (1 columns) (rows columns)", "7 3 2",
            "a sparse matrix @ a dense one, to (rows, columns)"),
    FT_FORM("sparse_reduce_backward", ft_sparse_reduce_backward,
            "entries rows columns ?sparse_gradient=1 ?dense_gradient=1",
            "entries (rows columns) (sparse_gradient dense_gradient)", "7 5 2 1 1",
            "gradients of sparse_reduce, the dense matrix being (rows, columns)"),
    /* convolutions */
    FT_FORM("conv", ft_conv,
            "*batch *in_channels *out_channels *positions *kernel groups=1 ?bias=0",
            "(batch out_channels positions) (kernel) in_channels groups 1 bias", "2 3 6 25 16 1 0",
            "of any rank: positions and kernel are products of output sizes and of kernel sizes"),
    FT_FORM("conv1d", ft_conv,
            "*batch *in_channels *out_channels *out_length *kernel groups=1 ?bias=0",
            "(batch out_channels out_length) (kernel) in_channels groups 1 bias", "2 3 6 25 16 1 0",
            "Conv1d, by the length of its output"),
    FT_FORM("conv2d", ft_conv,
            "*batch *in_channels *out_channels *out_height *out_width *kernel_height "
            "*kernel_width=kernel_height groups=1 ?bias=0",
            "(batch out_channels out_height out_width) (kernel_height kernel_width) in_channels "
            "groups 2 bias",
            "2 3 6 5 5 4 4 1 0", "Conv2d, by the size of its output: see conv_output"),
    FT_FORM("conv3d", ft_conv,
            "*batch *in_channels *out_channels *out_depth *out_height *out_width *kernel_depth "
            "*kernel_height=kernel_depth *kernel_width=kernel_depth groups=1 ?bias=0",
            "(batch out_channels out_depth out_height out_width) "
            "(kernel_depth kernel_height kernel_width) in_channels groups 3 bias",
            "2 3 6 1 5 5 1 4 4 1 0", "Conv3d, by the size of its output"),
    FT_FORM("conv_transpose_output", ft_conv_transpose_output,
            "*batch *in_channels *out_channels *positions *kernel groups=1 ?bias=0",
            "(batch out_channels positions) (kernel) in_channels groups 1 bias", "1 4 8 240 4 1 0",
            "a transposed convolution as the layer table has it, by output positions"),
    FT_FORM("convolution", ft_convolution,
            "batch in_channels out_channels positions kernel groups=1 ?bias=0",
            "(batch in_channels positions) (out_channels in_channels/groups kernel) "
            "(batch out_channels positions) bias - - - -",
            "2 3 6 25 16 1 0", "conv, as the operation sees it"),
    FT_FORM("convolution_transposed", ft_convolution, CONVOLUTION " ?bias=0",
            "(batch in_channels in_height in_width) "
            "(in_channels out_channels/groups kernel_height kernel_width) "
            "(batch out_channels out_height out_width) bias 1 (stride) (padding) (dilation)",
            "1 4 8 30 2 60 4 2 2 2 0 1 1 0", "a transposed convolution in two dimensions"),
    FT_FORM("convolution_backward", ft_convolution_backward,
            CONVOLUTION " ?bias=0 ?input_gradient=1 ?weight_gradient=1",
            "(batch out_channels out_height out_width) (batch in_channels in_height in_width) "
            "(out_channels in_channels/groups kernel_height kernel_width) "
            "(input_gradient weight_gradient bias) - (stride) (padding) (dilation)",
            "2 8 8 16 16 16 16 3 3 1 1 1 8 1 1 1", "gradients of a convolution in two dimensions"),
    FT_FORM("conv_tbc", ft_conv_tbc, "*time *batch *in_channels *out_channels *kernel",
            "(time batch out_channels) (kernel in_channels out_channels)", "4 2 6 5 3",
            "a convolution of (time, batch, channel) with a bias, by its output's time"),
    /* attention */
    SDPA("sdpa", ft_sdpa, "2 3 4 8 5 6 3 0 0", "scaled dot-product attention"),
    SDPA("sdpa_softmax", ft_sdpa_softmax, "2 3 4 8 5 6 3 0 1", "the softmax of sdpa"),
    SDPA("sdpa_backward", ft_sdpa_backward, "2 3 4 8 5 6 3 0 0",
         "the four products of the gradients of sdpa"),
    SDPA("sdpa_recompute", ft_sdpa_recompute, "2 3 4 8 5 6 3 0 0",
         "the scores of sdpa, which fused kernels make again for the gradients"),
    SDPA("sdpa_softmax_recompute", ft_sdpa_softmax_recompute, "2 3 4 8 5 6 3 0 0",
         "the softmax of sdpa, made again"),
    SDPA("sdpa_softmax_backward", ft_sdpa_softmax_backward, "2 3 4 8 5 6 3 0 0",
         "the gradient of the softmax of sdpa"),
    VARLEN("varlen", ft_varlen, "attention with windows,"),
    VARLEN("varlen_softmax", ft_varlen_softmax, "the softmax of varlen,"),
    VARLEN("varlen_backward", ft_varlen_backward, "the four products of the gradients of varlen,"),
    VARLEN("varlen_recompute", ft_varlen_recompute, "the scores of varlen, made again,"),
    VARLEN("varlen_softmax_recompute", ft_varlen_softmax_recompute,
           "the softmax of varlen, made again,"),
    VARLEN("varlen_softmax_backward", ft_varlen_softmax_backward,
           "the gradient of the softmax of varlen,"),
    ATTENTION_LAYER("attention_layer", ft_attention_layer, "2 10 64 4 20 32 48 1 0 0",
                    "MultiheadAttention without its softmax"),
    ATTENTION_LAYER("attention_softmax", ft_attention_softmax, "2 10 64 4 20 32 48 1 0 0",
                    "the softmax of MultiheadAttention, as the layer table has it"),
    HEADS("heads", ft_heads, "", "- - -", "2 5 16 4 5", "fused self or cross attention"),
    HEADS("heads_softmax", ft_heads_softmax, " ?mask=0 ?weights=0 ?averaged=0",
          "mask weights averaged", "2 5 16 4 5 0 0 0", "the softmax of heads"),
    FT_FORM("encoder_feed_forward", ft_encoder_feed_forward, "*positions *width *hidden",
            "(positions width) (hidden width)", "10 16 32",
            "both linear layers of an encoder layer"),
    FT_FORM("encoder_elementwise", ft_encoder_elementwise, "*positions *width *hidden ?gelu=0",
            "(positions width) (hidden width) gelu", "10 16 32 0",
            "norms, residuals and activation of an encoder layer"),
    /* recurrent layers */
    FT_FORM("recurrent_layers", ft_recurrent_layers,
            "*batch *seq_len *input_size hidden_size *gates *num_layers=1 ?bidirectional=0 ?bias=1 "
            "proj_size=0",
            "(batch seq_len input_size) input_size hidden_size proj_size num_layers bidirectional "
            "gates bias",
            "2 10 32 64 4 2 1 1 0", "products and biases alone: 4 gates LSTM, 3 GRU, 1 RNN"),
    RECURRENT("lstm", "", "2", "3 7 4 5 1 0 1 0", "LSTM"),
    RECURRENT("gru", "", "3", NULL, "GRU"),
    RECURRENT("vanilla_rnn", " ?tanh=1", "tanh", NULL, "RNN, with tanh or ReLU"),
    RECURRENT("recurrent", " mode", "mode", "3 7 4 5 2 1 0 1 0",
              "mode 0 RNN with ReLU, 1 RNN with tanh, 2 LSTM, 3 GRU"),
    FT_FORM("recurrent_backward", ft_recurrent_backward,
            "batch seq_len input_size hidden_size mode num_layers=1 ?bidirectional=0 ?bias=1 "
            "proj_size=0 ?weight_gradient=1",
            "(batch seq_len input_size) (hidden_size) hidden_size proj_size num_layers "
            "bidirectional mode bias - (1 1 1 weight_gradient)",
            "3 7 4 5 2 1 0 1 0 1", "gradients of recurrent, with its modes"),
    FT_FORM("gates", ft_gates, "*units mode ?input_bias=1 ?hidden_bias=1",
            "(units) mode input_bias hidden_bias", "15 2 1 1",
            "elementwise work of a cell; mode as of recurrent"),
    FT_FORM("gates_backward", ft_gates_backward, "batch units mode ?bias=1",
            "(batch units) mode bias", "3 5 2 1", "gradients of gates"),
};

const size_t ft_closed_contractions_count = FT_COUNT_OF(ft_closed_contractions);
