/* ATen's convolutions and recurrent layers, of all its backends. */
/* SPDX-License-Identifier: MIT */
#include "aten_rows.h"

#define CONV(op, input, transposed)                                                           \
    {                                                                                         \
        "aten." op, &ft_convolution, 0,                                                       \
        {                                                                                     \
            TENSOR(input), TENSOR("weight"), OUT, GIVEN("bias"), transposed, VALUE("stride"), \
                VALUE("padding"), VALUE("dilation")                                           \
        }                                                                                     \
    }
#define CONV_BACKWARD(op, input, transposed)                                              \
    {                                                                                     \
        "aten." op, &ft_convolution_backward, 0,                                          \
        {                                                                                 \
            TENSOR("grad_output"), TENSOR(input), TENSOR("weight"), VALUE("output_mask"), \
                transposed, VALUE("stride"), VALUE("padding"), VALUE("dilation")          \
        }                                                                                 \
    }
#define CUDNN_RNN(op, formula, proj_size, ...)                                                   \
    {                                                                                            \
        "aten." op, &formula, 0,                                                                 \
        {                                                                                        \
            TENSOR("input"), TENSOR("hx"), VALUE("hidden_size"), proj_size, VALUE("num_layers"), \
                VALUE("bidirectional"), VALUE("mode"), IS(0), __VA_ARGS__                        \
        }                                                                                        \
    }
/* One layer in one direction. */
#define MKLDNN_RNN(op, formula)                                                          \
    {                                                                                    \
        "aten." op, &formula, 0,                                                         \
        {                                                                                \
            TENSOR("input"), TENSOR("hx_"), VALUE("hidden_size"), NOTHING, IS(1), IS(0), \
                VALUE("mode"), VALUE("has_biases")                                       \
        }                                                                                \
    }
#define LAYERS(op, formula, input, mode)                                        \
    {                                                                           \
        "aten." op, &formula, 0,                                                \
        {                                                                       \
            TENSOR(input), TENSOR("hx"), NOTHING, NOTHING, VALUE("num_layers"), \
                VALUE("bidirectional"), IS(mode), VALUE("has_biases")           \
        }                                                                       \
    }
enum { LSTM = 2, GRU = 3 };

const ft_map_row ft_map_aten_convolutions[] = {
    CONV("convolution", "input", VALUE("transposed")),
    CONV("convolution_overrideable", "input", VALUE("transposed")),
    CONV("_convolution", "input", VALUE("transposed")),
    CONV("mkldnn_convolution", "self", IS(0)),
    CONV("cudnn_convolution", "self", IS(0)),
    CONV("cudnn_convolution_transpose", "self", IS(1)),
    CONV("cudnn_convolution_relu", "self", IS(0)),
    PER(ft_activation, "cudnn_convolution_relu", 0, OUT, 0, 1, 0, IS(0)),
    CONV("cudnn_convolution_add_relu", "self", IS(0)),
    PER(ft_activation, "cudnn_convolution_add_relu", 0, OUT, 1, 1, 0, SCALED("alpha")),
    CONV("miopen_convolution", "self", IS(0)),
    CONV("miopen_depthwise_convolution", "self", IS(0)),
    CONV("miopen_convolution_transpose", "self", IS(1)),
    CONV("miopen_convolution_relu", "self", IS(0)),
    PER(ft_activation, "miopen_convolution_relu", 0, OUT, 0, 1, 0, IS(0)),
    CONV("miopen_convolution_add_relu", "self", IS(0)),
    PER(ft_activation, "miopen_convolution_add_relu", 0, OUT, 1, 1, 0, SCALED("alpha")),
    CONV("_mps_convolution", "self", IS(0)),
    CONV("_mps_convolution_transpose", "self", IS(1)),
    CONV("_nnpack_spatial_convolution", "input", IS(0)),
    CONV("_slow_conv2d_forward", "self", IS(0)),
    CONV("slow_conv3d_forward", "self", IS(0)),
    CONV("slow_conv_dilated2d", "self", IS(0)),
    CONV("slow_conv_dilated3d", "self", IS(0)),
    CONV("slow_conv_transpose2d", "self", IS(1)),
    CONV("slow_conv_transpose3d", "self", IS(1)),
    CONV("conv_depthwise3d", "self", IS(0)),
    CONV("_conv_depthwise2d", "self", IS(0)),
    {"aten.conv_tbc", &ft_conv_tbc, 0, {OUT, TENSOR("weight")}},
    CONV_BACKWARD("convolution_backward", "input", VALUE("transposed")),
    CONV_BACKWARD("convolution_backward_overrideable", "input", VALUE("transposed")),
    CONV_BACKWARD("_slow_conv2d_backward", "self", IS(0)),
    CONV_BACKWARD("mps_convolution_backward", "self", IS(0)),
    CONV_BACKWARD("mps_convolution_transpose_backward", "self", IS(1)),

    CUDNN_RNN("_cudnn_rnn", ft_recurrent, VALUE("proj_size"), VALUE("weight_stride0")),
    CUDNN_RNN("_cudnn_rnn_backward", ft_recurrent_backward, VALUE("proj_size"),
              VALUE("weight_stride0"), VALUE("output_mask")),
    CUDNN_RNN("miopen_rnn", ft_recurrent, NOTHING, VALUE("weight_stride0")),
    CUDNN_RNN("miopen_rnn_backward", ft_recurrent_backward, NOTHING, VALUE("weight_stride0"),
              VALUE("output_mask")),
    MKLDNN_RNN("mkldnn_rnn_layer", ft_recurrent),
    MKLDNN_RNN("mkldnn_rnn_layer_backward", ft_recurrent_backward),
    LAYERS("_lstm_mps", ft_recurrent, "input", LSTM),
    LAYERS("lstm_mps_backward", ft_recurrent_backward, "input", LSTM),
    LAYERS("quantized_lstm.input", ft_recurrent, "input", LSTM),
    LAYERS("quantized_lstm.input_legacy", ft_recurrent, "input", LSTM),
    LAYERS("quantized_lstm.data", ft_recurrent, "data", LSTM),
    LAYERS("quantized_lstm.data_legacy", ft_recurrent, "data", LSTM),
    LAYERS("quantized_gru.input", ft_recurrent, "input", GRU),
    LAYERS("quantized_gru.input_legacy", ft_recurrent, "input", GRU),
    LAYERS("quantized_gru.data", ft_recurrent, "data", GRU),
    LAYERS("quantized_gru.data_legacy", ft_recurrent, "data", GRU),
    {"aten._thnn_fused_lstm_cell",
     &ft_gates,
     0,
     {TENSOR("cx"), IS(LSTM), GIVEN("input_bias"), GIVEN("hidden_bias")}},
    {"aten._thnn_fused_gru_cell",
     &ft_gates,
     0,
     {TENSOR("hx"), IS(GRU), GIVEN("input_bias"), GIVEN("hidden_bias")}},
    {"aten._thnn_fused_lstm_cell_backward_impl",
     &ft_gates_backward,
     0,
     {TENSOR("cx"), IS(LSTM), VALUE("has_bias")}},
    {"aten._thnn_fused_gru_cell_backward",
     &ft_gates_backward,
     0,
     {TENSOR("grad_hy"), IS(GRU), VALUE("has_bias")}},
};

const size_t ft_map_aten_convolutions_count = FT_COUNT_OF(ft_map_aten_convolutions);
