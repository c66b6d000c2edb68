"""Models that the benches and the tests of accuracy share; transformers is imported when needed."""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn import functional


class Block(nn.Module):
    """The basic block of a ResNet."""

    def __init__(self, inside: int, outside: int, stride: int) -> None:
        super().__init__()
        self.one = nn.Conv2d(inside, outside, 3, stride, 1, bias=False)
        self.two = nn.Conv2d(outside, outside, 3, 1, 1, bias=False)
        self.norm_one, self.norm_two = nn.BatchNorm2d(outside), nn.BatchNorm2d(outside)
        self.shortcut = nn.Sequential()
        if stride != 1 or inside != outside:
            self.shortcut = nn.Sequential(
                nn.Conv2d(inside, outside, 1, stride, bias=False), nn.BatchNorm2d(outside)
            )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Two convolutions and a way around them."""
        y = torch.relu(self.norm_one(self.one(x)))
        return torch.relu(self.norm_two(self.two(y)) + self.shortcut(x))


def resnet18() -> nn.Module:
    """ResNet-18, of 1000 classes."""
    widths = [(64, 64, 1), (64, 128, 2), (128, 256, 2), (256, 512, 2)]
    blocks = [b for i, o, s in widths for b in (Block(i, o, s), Block(o, o, 1))]
    stem = nn.Sequential(nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU())
    rest = [nn.MaxPool2d(3, 2, 1), *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return nn.Sequential(stem, *rest, nn.Linear(512, 1000))


def resnet50() -> nn.Module:
    """ResNet-50 of transformers, in eval mode."""
    from transformers import ResNetConfig, ResNetForImageClassification

    return ResNetForImageClassification(ResNetConfig(num_labels=1000)).eval()


def vit_b16() -> nn.Module:
    """ViT-B/16 of transformers, its attention written out, in eval mode."""
    from transformers import ViTConfig, ViTForImageClassification

    config = ViTConfig(num_labels=1000, attn_implementation="eager")
    return ViTForImageClassification(config).eval()


def gpt2_124m() -> nn.Module:
    """GPT-2 of transformers as it is, 124M parameters, in eval mode."""
    from transformers import GPT2Config, GPT2LMHeadModel

    return GPT2LMHeadModel(GPT2Config()).eval()


# ---- the twelve cases ----


class AddOne(nn.Module):
    """A layer, and an addition in place that no layer does."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(5, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Add one to the layer's output."""
        x = self.linear(x)
        x += 1.0
        return x


class Reused(nn.Module):
    """One layer, called three times."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(64, 64)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Call it."""
        return self.linear(self.linear(self.linear(x)))


class Functional(nn.Module):
    """Three products by one matrix, none of them by a layer."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("weight", torch.randn(64, 64))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """F.linear, @ and einsum."""
        x = functional.linear(x, self.weight) @ self.weight
        return torch.einsum("btc,cd->btd", x, self.weight)


class CrossAttention(nn.Module):
    """Attention of 10 queries over 20 keys and values of other widths."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(64, 4, kdim=32, vdim=48, batch_first=True)

    def forward(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        """The attention alone."""
        return self.attention(q, k, v)[0]


class FusedAttention(nn.Module):
    """A projection to queries, keys and values, and fused attention over 4 heads of 16."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv = nn.Linear(64, 192)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """scaled_dot_product_attention."""
        q, k, v = self.qkv(x).view(2, 64, 3, 4, 16).permute(2, 0, 3, 1, 4)
        return functional.scaled_dot_product_attention(q, k, v)


def lenet5() -> nn.Module:
    """The classic, of 32x32 grey images."""
    return nn.Sequential(
        *(nn.Conv2d(1, 6, 5), nn.Tanh(), nn.AvgPool2d(2)),
        *(nn.Conv2d(6, 16, 5), nn.Tanh(), nn.AvgPool2d(2)),
        *(nn.Conv2d(16, 120, 5), nn.Tanh(), nn.Flatten()),
        *(nn.Linear(120, 84), nn.Tanh(), nn.Linear(84, 10)),
    )


def small_gpt2() -> nn.Module:
    """2 layers of width 128, 1000 tokens."""
    from transformers import GPT2Config, GPT2LMHeadModel

    ends = {"bos_token_id": 0, "eos_token_id": 0}
    sizes = {"vocab_size": 1000, "n_positions": 64, "n_embd": 128, "n_layer": 2, "n_head": 4}
    return GPT2LMHeadModel(GPT2Config(**sizes, **ends)).eval()


_SMALL = {
    "vocab_size": 1000,
    "hidden_size": 128,
    "intermediate_size": 256,
    "num_hidden_layers": 2,
    "num_attention_heads": 8,
    "num_key_value_heads": 2,
}


def small_llama() -> nn.Module:
    """2 layers of width 128, 8 heads of which 2 have keys and values."""
    from transformers import LlamaConfig, LlamaForCausalLM

    return LlamaForCausalLM(LlamaConfig(**_SMALL)).eval()


def small_mixtral() -> nn.Module:
    """The same with 4 experts, 2 for each token, by grouped_mm."""
    from transformers import MixtralConfig, MixtralForCausalLM

    config = MixtralConfig(**_SMALL, num_local_experts=4, experts_implementation="grouped_mm")
    return MixtralForCausalLM(config).eval()


def _floats(*shapes: tuple[int, ...]) -> tuple[torch.Tensor, ...]:
    return tuple(torch.randn(shape) for shape in shapes)


def _tokens(batch: int, length: int) -> tuple[torch.Tensor, ...]:
    return (torch.zeros(batch, length, dtype=torch.int64),)


TWELVE: dict[str, Callable[[], tuple[nn.Module, tuple[Any, ...]]]] = {
    "addone": lambda: (AddOne(), _floats((1, 5))),
    "linear_3d": lambda: (nn.Linear(64, 64), _floats((2, 10, 64))),
    "reused": lambda: (Reused(), _floats((2, 64))),
    "functional": lambda: (Functional(), _floats((2, 10, 64))),
    "lenet5_b1024": lambda: (lenet5(), _floats((1024, 1, 32, 32))),
    "convtransposed_g4": lambda: (
        nn.ConvTranspose2d(16, 32, 3, stride=2, padding=1, groups=4),
        _floats((2, 16, 8, 8)),
    ),
    "lstm_2l_bi": lambda: (
        nn.LSTM(32, 64, 2, bidirectional=True, batch_first=True),
        _floats((2, 10, 32)),
    ),
    "crossattn": lambda: (CrossAttention(), _floats((2, 10, 64), (2, 20, 32), (2, 20, 48))),
    "sdpa": lambda: (FusedAttention(), _floats((2, 64, 64))),
    "gpt2": lambda: (small_gpt2(), _tokens(2, 64)),
    "llama_gqa": lambda: (small_llama(), _tokens(2, 64)),
    "mixtral_moe": lambda: (small_mixtral(), _tokens(2, 64)),
}
