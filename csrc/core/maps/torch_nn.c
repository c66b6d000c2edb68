/* torch.nn: which formula a layer class follows, and which attribute or shape plays which role. */
/* SPDX-License-Identifier: MIT */
#include "../formulas/formulas.h"
#include "maps.h"

#include <string.h>

/* A row holds for the class named and for its subclasses, so that one row of a base class stands
 * for all layers that share it. Where a class has two rows they stand next to each other. */

#define INPUT(position, keyword) {FT_FROM_INPUT, position, keyword}
#define OUTPUT {FT_FROM_OUTPUT, 0, NULL}
#define ATTRIBUTE(attribute) {FT_FROM_ATTRIBUTE, 0, attribute}
#define HAS(attribute) {FT_FROM_PRESENCE, 0, attribute}
#define IS(value) {FT_FROM_CONSTANT, value, NULL}

#define CONV(class_name, formula, rank, flags)                                               \
    {                                                                                        \
        "torch.nn.modules.conv." class_name, formula, flags,                                 \
        {                                                                                    \
            OUTPUT, ATTRIBUTE("kernel_size"), ATTRIBUTE("in_channels"), ATTRIBUTE("groups"), \
                IS(rank), HAS("bias")                                                        \
        }                                                                                    \
    }
#define QUANTIZED_CONV(class_name, rank)                                                     \
    {                                                                                        \
        "torch.ao.nn.quantized.modules.conv." class_name, &ft_conv, 0,                       \
        {                                                                                    \
            OUTPUT, ATTRIBUTE("kernel_size"), ATTRIBUTE("in_channels"), ATTRIBUTE("groups"), \
                IS(rank), IS(0)                                                              \
        }                                                                                    \
    }
#define RECURRENT(class_name, gates)                                                              \
    {                                                                                             \
        "torch.nn.modules.rnn." class_name, &ft_recurrent_layers, 0,                              \
        {                                                                                         \
            INPUT(0, "input"), ATTRIBUTE("input_size"), ATTRIBUTE("hidden_size"),                 \
                ATTRIBUTE("proj_size"), ATTRIBUTE("num_layers"), HAS("bidirectional"), IS(gates), \
                HAS("bias")                                                                       \
        }                                                                                         \
    }
#define RECURRENT_CELL(class_name, gates)                                                       \
    {                                                                                           \
        "torch.nn.modules.rnn." class_name, &ft_recurrent_layers, 0,                            \
        {                                                                                       \
            INPUT(0, "input"), ATTRIBUTE("input_size"), ATTRIBUTE("hidden_size"), IS(0), IS(1), \
                IS(0), IS(gates), HAS("bias")                                                   \
        }                                                                                       \
    }
#define MULTIHEAD(formula)                                                                        \
    {                                                                                             \
        "torch.nn.modules.activation.MultiheadAttention", formula, FT_ROW_UNIT,                   \
        {                                                                                         \
            INPUT(0, "query"), INPUT(1, "key"), INPUT(2, "value"), ATTRIBUTE("embed_dim"),        \
                ATTRIBUTE("num_heads"), ATTRIBUTE("kdim"), ATTRIBUTE("vdim"), HAS("batch_first"), \
                HAS("bias_k"), HAS("add_zero_attn"), HAS("in_proj_bias")                          \
        }                                                                                         \
    }
#define AVG_POOL(class_name, rank)                                     \
    {                                                                  \
        "torch.nn.modules.pooling." class_name, &ft_avg_pool_table, 0, \
        {                                                              \
            OUTPUT, ATTRIBUTE("kernel_size"), IS(rank)                 \
        }                                                              \
    }
#define ADAPTIVE_AVG_POOL(class_name, rank)                                     \
    {                                                                           \
        "torch.nn.modules.pooling." class_name, &ft_adaptive_avg_pool_table, 0, \
        {                                                                       \
            INPUT(0, "input"), OUTPUT, IS(rank)                                 \
        }                                                                       \
    }
#define PER_OUTPUT(class_name, formula)             \
    {                                               \
        "torch.nn.modules." class_name, formula, 0, \
        {                                           \
            OUTPUT                                  \
        }                                           \
    }
#define FREE(class_name, formula)           \
    {                                       \
        "torch.nn." class_name, formula, 0, \
        {{0}}                               \
    }
#define ACTIVATION(class_name) FREE("modules.activation." class_name, &ft_activation_free)

const ft_map_row ft_map_torch_nn[] = {
    {"torch.nn.modules.linear.Linear",
     &ft_linear,
     FT_ROW_CNN,
     {OUTPUT, ATTRIBUTE("in_features"), HAS("bias")}},
    {"torch.nn.modules.linear.Bilinear",
     &ft_bilinear,
     0,
     {OUTPUT, ATTRIBUTE("in1_features"), ATTRIBUTE("in2_features"), HAS("bias")}},
    {"torch.ao.nn.quantized.modules.linear.Linear",
     &ft_linear,
     0,
     {OUTPUT, ATTRIBUTE("in_features"), IS(0)}},

    CONV("Conv1d", &ft_conv, 1, 0),
    CONV("Conv2d", &ft_conv, 2, FT_ROW_CNN),
    CONV("Conv3d", &ft_conv, 3, 0),
    CONV("ConvTranspose1d", &ft_conv_transpose_output, 1, 0),
    CONV("ConvTranspose2d", &ft_conv_transpose_output, 2, 0),
    CONV("ConvTranspose3d", &ft_conv_transpose_output, 3, 0),
    QUANTIZED_CONV("Conv1d", 1),
    QUANTIZED_CONV("Conv2d", 2),
    QUANTIZED_CONV("Conv3d", 3),

    RECURRENT("RNN", 1),
    RECURRENT("GRU", 3),
    RECURRENT("LSTM", 4),
    RECURRENT_CELL("RNNCell", 1),
    RECURRENT_CELL("GRUCell", 3),
    RECURRENT_CELL("LSTMCell", 4),

    MULTIHEAD(&ft_attention_layer),
    MULTIHEAD(&ft_attention_softmax),

    PER_OUTPUT("batchnorm._NormBase", &ft_norm_table), /* BatchNorm, SyncBatchNorm, InstanceNorm */
    PER_OUTPUT("normalization.LayerNorm", &ft_norm_table),
    PER_OUTPUT("normalization.GroupNorm", &ft_norm_table),
    PER_OUTPUT("normalization.RMSNorm", &ft_norm_table),
    PER_OUTPUT("normalization.LocalResponseNorm", &ft_norm_table),
    PER_OUTPUT("normalization.CrossMapLRN2d", &ft_norm_table),

    PER_OUTPUT("activation.Softmax", &ft_softmax_table),
    PER_OUTPUT("activation.Softmax2d", &ft_softmax_table),
    PER_OUTPUT("activation.LogSoftmax", &ft_softmax_table),
    PER_OUTPUT("activation.Softmin", &ft_softmax_table),

    AVG_POOL("AvgPool1d", 1),
    AVG_POOL("AvgPool2d", 2),
    AVG_POOL("AvgPool3d", 3),
    AVG_POOL("LPPool1d", 1),
    AVG_POOL("LPPool2d", 2),
    AVG_POOL("LPPool3d", 3),
    ADAPTIVE_AVG_POOL("AdaptiveAvgPool1d", 1),
    ADAPTIVE_AVG_POOL("AdaptiveAvgPool2d", 2),
    ADAPTIVE_AVG_POOL("AdaptiveAvgPool3d", 3),
    FREE("modules.pooling._MaxPoolNd", &ft_max_pool_free),
    FREE("modules.pooling._AdaptiveMaxPoolNd", &ft_max_pool_free),
    FREE("modules.pooling.FractionalMaxPool2d", &ft_max_pool_free),
    FREE("modules.pooling.FractionalMaxPool3d", &ft_max_pool_free),
    FREE("modules.pooling._MaxUnpoolNd", &ft_max_pool_free),

    PER_OUTPUT("upsampling.Upsample", &ft_resample_table),

    ACTIVATION("CELU"),
    ACTIVATION("ELU"),
    ACTIVATION("GELU"),
    ACTIVATION("GLU"),
    ACTIVATION("Hardshrink"),
    ACTIVATION("Hardsigmoid"),
    ACTIVATION("Hardswish"),
    ACTIVATION("Hardtanh"),
    ACTIVATION("LeakyReLU"),
    ACTIVATION("LogSigmoid"),
    ACTIVATION("Mish"),
    ACTIVATION("PReLU"),
    ACTIVATION("RReLU"),
    ACTIVATION("ReLU"),
    ACTIVATION("SELU"),
    ACTIVATION("Sigmoid"),
    ACTIVATION("SiLU"),
    ACTIVATION("Softplus"),
    ACTIVATION("Softshrink"),
    ACTIVATION("Softsign"),
    ACTIVATION("Tanh"),
    ACTIVATION("Tanhshrink"),
    ACTIVATION("Threshold"),

    FREE("modules.sparse.Embedding", &ft_embedding_free),
    FREE("modules.sparse.EmbeddingBag", &ft_embedding_free),

    FREE("modules.linear.Identity", &ft_data_free),
    FREE("modules.dropout._DropoutNd", &ft_data_free),
    FREE("modules.padding._ConstantPadNd", &ft_data_free),
    FREE("modules.padding._ReflectionPadNd", &ft_data_free),
    FREE("modules.padding._ReplicationPadNd", &ft_data_free),
    FREE("modules.padding._CircularPadNd", &ft_data_free),
    FREE("modules.flatten.Flatten", &ft_data_free),
    FREE("modules.flatten.Unflatten", &ft_data_free),
    FREE("modules.fold.Fold", &ft_data_free),
    FREE("modules.fold.Unfold", &ft_data_free),
    FREE("modules.pixelshuffle.PixelShuffle", &ft_data_free),
    FREE("modules.pixelshuffle.PixelUnshuffle", &ft_data_free),
    FREE("modules.channelshuffle.ChannelShuffle", &ft_data_free),
    FREE("utils.parametrize.ParametrizationList", &ft_data_free),
};

const size_t ft_map_torch_nn_count = FT_COUNT_OF(ft_map_torch_nn);

bool
ft_map_torch_nn_parameter(const char *name)
{
    /* ..._g, ..._v and ..._orig: as torch.nn.utils has them under weight and spectral norm. */
    static const char *const names[] = {
        "weight",        "bias",         "weight_g",       "weight_v",      "weight_orig",
        "bias_orig",     "in_proj_bias", "in_proj_weight", "q_proj_weight", "k_proj_weight",
        "v_proj_weight", "bias_k",       "bias_v",
    };
    static const char *const beginnings[] = {"weight_ih", "weight_hh", "weight_hr", "bias_ih",
                                             "bias_hh"};
    for (size_t i = 0; i < FT_COUNT_OF(names); i++) {
        if (strcmp(name, names[i]) == 0) {
            return true;
        }
    }
    for (size_t i = 0; i < FT_COUNT_OF(beginnings); i++) {
        if (strncmp(name, beginnings[i], strlen(beginnings[i])) == 0) {
            return true;
        }
    }
    return false;
}
