/* ATen's attention, of all its backends, and the fused layers of inference. */
/* SPDX-License-Identifier: MIT */
#include "aten_rows.h"

#define QKV TENSOR("query"), TENSOR("key"), TENSOR("value")

/* Causal masks begin at the top left: query i sees the keys 0..i. */
#define BATCHES(...) {QKV, VALUE("is_causal"), OPTION("causal"), __VA_ARGS__}
#define SDPA(op, ...)                                         \
    {"aten." op, &ft_sdpa, 0, BATCHES(__VA_ARGS__)},          \
    {                                                         \
        "aten." op, &ft_sdpa_softmax, 0, BATCHES(__VA_ARGS__) \
    }
#define SDPA_BACKWARD(op, ...)                                                             \
    {"aten." op, &ft_sdpa_backward, 0, BATCHES(__VA_ARGS__)},                              \
        {"aten." op, &ft_sdpa_recompute, FT_ROW_RECOMPUTED, BATCHES(__VA_ARGS__)},         \
        {"aten." op, &ft_sdpa_softmax_recompute, FT_ROW_RECOMPUTED, BATCHES(__VA_ARGS__)}, \
    {                                                                                      \
        "aten." op, &ft_sdpa_softmax_backward, 0, BATCHES(__VA_ARGS__)                     \
    }

#define VARLEN(op, sources)                \
    {op, &ft_varlen, 0, sources},          \
    {                                      \
        op, &ft_varlen_softmax, 0, sources \
    }
#define VARLEN_BACKWARD(op, sources)                                                               \
    {op, &ft_varlen_backward, 0, sources}, {op, &ft_varlen_recompute, FT_ROW_RECOMPUTED, sources}, \
        {op, &ft_varlen_softmax_recompute, FT_ROW_RECOMPUTED, sources},                            \
    {                                                                                              \
        op, &ft_varlen_softmax_backward, 0, sources                                                \
    }
#define SEQUENCES(form, ...) \
    {QKV,                    \
     VALUE("is_causal"),     \
     OPTION("causal"),       \
     IS(form),               \
     LENGTHS("cum_seq_q"),   \
     LENGTHS("cum_seq_k"),   \
     TENSOR("cum_seq_q"),    \
     VALUE("max_q"),         \
     VALUE("max_k"),         \
     __VA_ARGS__}
enum { BOTTOM_RIGHT = 1, HEADS_FIRST = 2 };
#define FLASH SEQUENCES(BOTTOM_RIGHT, IS(0), VALUE("window_size_left"), VALUE("window_size_right"))
#define CUDNN SEQUENCES(HEADS_FIRST, GIVEN("attn_bias"))
/* The type of mask: 0 none, 1 causal from the top left, 2 from the bottom right. */
#define EFFICIENT               \
    {QKV,                       \
     VALUE("custom_mask_type"), \
     OPTION("causal"),          \
     IS(0),                     \
     LENGTHS("cu_seqlens_q"),   \
     LENGTHS("cu_seqlens_k"),   \
     TENSOR("cu_seqlens_q"),    \
     VALUE("max_seqlen_q"),     \
     VALUE("max_seqlen_k"),     \
     GIVEN("bias")}

#define FLEX(op, formula, flags)            \
    {                                       \
        "higher_order." op, formula, flags, \
        {                                   \
            QKV, BLOCKS("block_mask")       \
        }                                   \
    }

/* torch.nn.attention.varlen */
#define JOINED            \
    {QKV,                 \
     VALUE("is_causal"),  \
     OPTION("causal"),    \
     IS(BOTTOM_RIGHT),    \
     LENGTHS("cu_seq_q"), \
     LENGTHS("cu_seq_k"), \
     TENSOR("cu_seq_q"),  \
     VALUE("max_q"),      \
     VALUE("max_k"),      \
     IS(0),               \
     VALUE("window_size")}

#define HEAD_SOURCES(query, key, count, ...)                       \
    {TENSOR(query), TENSOR(key), VALUE("embed_dim"), VALUE(count), \
     NESTED(query), NESTED(key), GIVEN("mask"),      __VA_ARGS__}
#define HEADS(op, query, key, count, ...)                                              \
    {"aten." op, &ft_heads, 0, HEAD_SOURCES(query, key, count, __VA_ARGS__)},          \
    {                                                                                  \
        "aten." op, &ft_heads_softmax, 0, HEAD_SOURCES(query, key, count, __VA_ARGS__) \
    }

const ft_map_row ft_map_aten_attention[] = {
    SDPA("_scaled_dot_product_flash_attention", IS(0)),
    SDPA("_scaled_dot_product_flash_attention_for_cpu", GIVEN("attn_mask")),
    SDPA("_scaled_dot_product_efficient_attention", GIVEN("attn_bias")),
    SDPA("_scaled_dot_product_cudnn_attention", GIVEN("attn_bias")),
    SDPA("_scaled_dot_product_fused_attention_overrideable", GIVEN("attn_bias")),
    SDPA("_scaled_dot_product_attention_math_for_mps", GIVEN("attn_mask")),
    {"aten._triton_scaled_dot_attention", &ft_sdpa, 0, {TENSOR("q"), TENSOR("k"), TENSOR("v")}},
    {"aten._triton_scaled_dot_attention",
     &ft_sdpa_softmax,
     0,
     {TENSOR("q"), TENSOR("k"), TENSOR("v")}},
    SDPA_BACKWARD("_scaled_dot_product_flash_attention_backward", IS(0)),
    SDPA_BACKWARD("_scaled_dot_product_flash_attention_for_cpu_backward", GIVEN("attn_mask")),
    SDPA_BACKWARD("_scaled_dot_product_efficient_attention_backward", GIVEN("attn_bias")),
    SDPA_BACKWARD("_scaled_dot_product_cudnn_attention_backward", GIVEN("attn_bias")),
    SDPA_BACKWARD("_scaled_dot_product_fused_attention_overrideable_backward", GIVEN("attn_bias")),
    VARLEN("aten._flash_attention_forward", FLASH),
    VARLEN("aten._flash_attention_forward_no_dropout_inplace", FLASH),
    VARLEN("aten._efficient_attention_forward", EFFICIENT),
    VARLEN("aten._cudnn_attention_forward", CUDNN),
    VARLEN("aten._cudnn_attention_forward_no_dropout_inplace", CUDNN),
    VARLEN("torch_attn._varlen_attn", JOINED),
    VARLEN("torch_attn._varlen_attn_out", JOINED),
    VARLEN_BACKWARD("aten._flash_attention_backward", FLASH),
    VARLEN_BACKWARD("aten._efficient_attention_backward", EFFICIENT),
    VARLEN_BACKWARD("aten._cudnn_attention_backward", CUDNN),
    VARLEN_BACKWARD("torch_attn._varlen_attn_backward", JOINED),

    FLEX("flex_attention", &ft_flex, 0),
    FLEX("flex_attention", &ft_flex_softmax, 0),
    FLEX("flex_attention_backward", &ft_flex_backward, 0),
    FLEX("flex_attention_backward", &ft_flex_recompute, FT_ROW_RECOMPUTED),
    FLEX("flex_attention_backward", &ft_flex_softmax_recompute, FT_ROW_RECOMPUTED),
    FLEX("flex_attention_backward", &ft_flex_softmax_backward, 0),

    HEADS("_native_multi_head_attention", "query", "key", "num_head", GIVEN("need_weights"),
          GIVEN("average_attn_weights")),
    HEADS("_triton_multi_head_attention", "query", "key", "num_head", IS(0)),
    HEADS("_transformer_encoder_layer_fwd", "src", "src", "num_heads", IS(0)),
    {"aten._transformer_encoder_layer_fwd",
     &ft_encoder_feed_forward,
     0,
     {TENSOR("src"), TENSOR("ffn_weight_1")}},
    {"aten._transformer_encoder_layer_fwd",
     &ft_encoder_elementwise,
     0,
     {TENSOR("src"), TENSOR("ffn_weight_1"), VALUE("use_gelu")}},
    PER(ft_pointwise, "_transform_bias_rescale_qkv", 0, TENSOR("qkv"), 1, 0, 0, IS(0)),
};

const size_t ft_map_aten_attention_count = FT_COUNT_OF(ft_map_aten_attention);
