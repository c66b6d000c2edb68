"""Attention layers: MultiheadAttention as one unit and the transformer layers made of it."""

import pytest
import torch
from torch import nn
from torch_models import Function, forward_flops, layers_by_path

from flops_tracker import TorchAutoEstimator, TorchCNNLayerwiseEstimator, UncountedWarning

# E = 8, 2 heads of 4; B = 3, L = 5 queries, S = 6 keys. Multiply-adds:
#   Q and out: 15·64 = 960 each; K and V: 18·64 = 1,152 each; Q Kᵀ and A V: 3·5·6·8 = 720 each
#   sum 5,664, so 11,328 FLOPs. Softmax: 5·(3·2·5·6) = 900.
CROSS = ((3, 5, 8), (3, 6, 8), (3, 6, 8))
CROSS_FLOPS = 11_328


def attention(**options):
    return nn.MultiheadAttention(8, 2, batch_first=True, **options)


@pytest.mark.parametrize(
    ("options", "flops"),
    [
        pytest.param({}, 11_328, id="plain"),
        pytest.param({"bias": False}, 11_328, id="without bias"),
        pytest.param({"dropout": 0.5}, 11_328, id="dropout"),
        # one key more in both products, 3·5·8 = 120 each; its projection is not computed
        pytest.param({"add_bias_kv": True}, 11_328 + 4 * 120, id="bias_k, bias_v"),
        pytest.param({"add_zero_attn": True}, 11_328 + 4 * 120, id="add_zero_attn"),
        pytest.param(
            {"add_bias_kv": True, "add_zero_attn": True}, 11_328 + 8 * 120, id="both keys more"
        ),
    ],
)
def test_attention_options(options, flops):
    assert forward_flops(attention(**options), CROSS) == flops


@pytest.mark.parametrize("need_weights", [True, False])
def test_need_weights_does_not_change_the_count(need_weights):
    example = dict(zip(("query", "key", "value"), CROSS, strict=True))
    model = attention()
    assert forward_flops(model, example | {"need_weights": need_weights}) == CROSS_FLOPS


def test_the_softmax_switch():
    assert forward_flops(attention(), CROSS, include_softmax_cost=True) == CROSS_FLOPS + 900
    # with both keys more: 5·(3·2·5·8) = 1,200
    model = attention(add_bias_kv=True, add_zero_attn=True)
    flops = forward_flops(model, CROSS, include_softmax_cost=True)
    assert flops == CROSS_FLOPS + 8 * 120 + 1_200


def test_sequence_first_layout():
    example = ((5, 3, 8), (6, 3, 8), (6, 3, 8))
    estimator = TorchAutoEstimator(nn.MultiheadAttention(8, 2), example, 1, batch_dim=1)
    assert estimator.forward_flops == CROSS_FLOPS
    assert estimator.flops_for_batch(6) == 2 * CROSS_FLOPS


@pytest.mark.parametrize("batch_first", [True, False])
def test_unbatched_attention_is_a_third_of_three(batch_first):
    model = nn.MultiheadAttention(8, 2, batch_first=batch_first)
    example = ((5, 8), (6, 8), (6, 8))
    assert forward_flops(model, example, batch_dim=None) == CROSS_FLOPS // 3


def test_key_and_value_widths_of_their_own():
    # K: 18·8·3 = 432, V: 18·8·7 = 1,008 instead of 1,152 each: 5,664 - 864
    model = attention(kdim=3, vdim=7)
    assert forward_flops(model, ((3, 5, 8), (3, 6, 3), (3, 6, 7))) == 2 * 4_800


def test_arguments_by_keyword_and_by_position():
    model = Function(lambda self, x, y: self.mha(x, key=y, value=y)[0], mha=attention())
    assert forward_flops(model, ((3, 5, 8), (3, 6, 8))) == CROSS_FLOPS


def test_what_is_inside_attention_is_not_counted_again():
    estimator = TorchAutoEstimator(attention(), CROSS)
    layers = layers_by_path(estimator)
    assert layers[""].status == "counted"
    assert (layers["out_proj"].status, layers["out_proj"].flops) == ("inside", 0)
    assert estimator.uncalled == []


def test_the_cnn_estimator_does_not_take_attention_as_free():
    estimator = TorchCNNLayerwiseEstimator(attention(), CROSS)
    with pytest.warns(UncountedWarning, match="MultiheadAttention"):
        estimator.prepare()
    assert estimator.uncounted[0].module_class == "MultiheadAttention"
    assert estimator.forward_flops == 0


# ---- layers made of it: E = 16, 2 heads, feed-forward 32, on (2, 5, 16) ----
# attention: 4·10·256 = 10,240 and 2·(2·5·5·16) = 1,600; feed-forward: 2·10·16·32 = 10,240
# 22,080 multiply-adds, 44,160 FLOPs


def encoder_layer(**options):
    return nn.TransformerEncoderLayer(16, 2, 32, batch_first=True, **options)


@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
@pytest.mark.parametrize("norm_first", [True, False])
def test_an_encoder_layer_in_either_mode(training, norm_first):
    model = encoder_layer(norm_first=norm_first).train(training)
    assert forward_flops(model, (2, 5, 16)) == 44_160
    assert forward_flops(model, (2, 5, 16), use_eval_mode=False) == 44_160


def test_the_fast_path_hides_no_layer():
    model = encoder_layer().eval().requires_grad_(False)
    estimator = TorchAutoEstimator(model, torch.zeros(2, 5, 16), include_norm_cost=True)
    # two LayerNorms more, 5·160 each
    assert estimator.forward_flops == 44_160 + 1_600
    assert estimator.uncalled == []


def test_an_encoder_layer_with_its_switches():
    # softmax 5·(2·2·5·5) = 500; norms 2·5·160 = 1,600
    flops = forward_flops(
        encoder_layer(), (2, 5, 16), include_norm_cost=True, include_softmax_cost=True
    )
    assert flops == 44_160 + 500 + 1_600


@pytest.mark.filterwarnings("ignore:enable_nested_tensor")
@pytest.mark.parametrize("mask", [True, False])
def test_an_encoder_of_three_layers(mask):
    model = nn.TransformerEncoder(encoder_layer(), 3).eval()
    example = {"src": torch.zeros(2, 5, 16)}
    if mask:
        example["src_key_padding_mask"] = torch.tensor([[False] * 5, [False] * 3 + [True] * 2])
    assert forward_flops(model, example) == 3 * 44_160


def test_a_decoder_layer():
    # 4 targets, 5 memories, B = 2, E = 16. Self: 4·8·256 = 8,192 and 2·(2·4·4·16) = 1,024;
    # cross: Q, out 2·8·256 = 4,096, K, V 2·10·256 = 5,120, 2·(2·4·5·16) = 1,280;
    # feed-forward 2·8·16·32 = 8,192; sum 27,904
    model = nn.TransformerDecoderLayer(16, 2, 32, batch_first=True)
    assert forward_flops(model, ((2, 4, 16), (2, 5, 16))) == 55_808


def test_a_layer_shared_by_two_attentions_calls_counts_twice():
    model = Function(lambda self, x: self.mha(*[self.mha(x, x, x)[0]] * 3)[0], mha=attention())
    # self-attention on (3, 5, 8): 4·15·64 = 3,840 and 2·(3·5·5·8) = 1,200: 10,080 FLOPs a call
    assert forward_flops(model, (3, 5, 8)) == 20_160
