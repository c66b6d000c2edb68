"""The model: embedding, layers of experts and BK-Core, norm, head over the vocabulary."""

from dataclasses import asdict, dataclass, replace

import torch
from torch import Tensor, nn

from .bk_core import bk_core
from .experts import experts


@dataclass(slots=True)  # so that a misspelled option is an error
class ResNetBKConfig:
    """Options of a model; what they cost is what FLOPsCounter says."""

    vocab_size: int = 30_000
    d_model: int = 64
    n_layers: int = 4
    n_seq: int = 128  # the longest sequence, which has a position each
    num_experts: int = 4
    top_k: int = 1  # experts that a token runs through
    moe_every: int = 1  # a layer in so many has experts
    head_rank: int | None = None  # the head as a product of two matrices of this rank


BASELINE_CONFIG = ResNetBKConfig()
# With all that saves work: the head, where nearly all of it is, goes through 16 dimensions, and
# every other layer has no experts.
FULL_CONFIG = replace(BASELINE_CONFIG, head_rank=16, moe_every=2)


class SparseMoE(nn.Module):
    """Experts D -> 2D -> D behind a gate, top_k of them for each token."""

    def __init__(self, d_model: int, num_experts: int, top_k: int) -> None:
        super().__init__()
        self.top_k = top_k
        hidden = 2 * d_model
        self.gate = self._uniform(d_model, num_experts, d_model)
        self.up = self._uniform(d_model, num_experts, hidden, d_model)
        self.up_bias = self._uniform(d_model, num_experts, hidden)
        self.down = self._uniform(hidden, num_experts, d_model, hidden)
        self.down_bias = self._uniform(hidden, num_experts, d_model)

    @staticmethod
    def _uniform(fan_in: int, *shape: int) -> nn.Parameter:
        """As nn.Linear begins."""
        bound = fan_in**-0.5
        return nn.Parameter(torch.empty(shape).uniform_(-bound, bound))

    def forward(self, x: Tensor) -> Tensor:
        """Tokens (B, N, D) to tokens."""
        weights = (self.gate, self.up, self.up_bias, self.down, self.down_bias)
        return experts(x.flatten(0, -2), *weights, self.top_k)[0].view_as(x)


class ResNetBKLayer(nn.Module):
    """x + experts(norm(x)) + what BK-Core makes of the experts' first channel as a potential."""

    def __init__(self, d_model: int, moe: nn.Module) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(d_model)
        self.moe = moe
        self.output = nn.Linear(2, d_model)

    def forward(self, x: Tensor) -> Tensor:
        """Tokens (B, N, D) to tokens."""
        made = self.moe(self.norm(x))
        diagonal, *_ = bk_core(made[..., 0])
        return x + made + self.output(diagonal)


class LanguageModel(nn.Module):
    """Token ids (B, N), N up to n_seq, to scores (B, N, vocab_size); options as of the config."""

    def __init__(
        self,
        vocab_size: int = 30_000,
        d_model: int = 64,
        n_layers: int = 4,
        n_seq: int = 128,
        num_experts: int = 4,
        top_k: int = 1,
        moe_every: int = 1,
        head_rank: int | None = None,
    ) -> None:
        super().__init__()
        if not 1 <= top_k <= num_experts:
            raise ValueError(f"top_k must be 1 to num_experts={num_experts}, not {top_k}")
        self.embedding = nn.Embedding(vocab_size, d_model)
        self.position = nn.Parameter(0.02 * torch.randn(n_seq, d_model))
        self.layers = nn.ModuleList(
            ResNetBKLayer(
                d_model,
                nn.Identity() if i % moe_every else SparseMoE(d_model, num_experts, top_k),
            )
            for i in range(n_layers)
        )
        self.norm = nn.LayerNorm(d_model)
        self.lm_head: nn.Module = nn.Linear(d_model, vocab_size)
        if head_rank is not None:
            narrow = nn.Linear(d_model, head_rank, bias=False)
            self.lm_head = nn.Sequential(narrow, nn.Linear(head_rank, vocab_size))

    def forward(self, tokens: Tensor) -> Tensor:
        """Token ids (B, N) to scores (B, N, vocab_size)."""
        length = tokens.shape[1]
        if length > len(self.position):
            raise ValueError(f"the model is for sequences up to {len(self.position)}, not {length}")
        x = self.embedding(tokens) + self.position[:length]
        for layer in self.layers:
            x = layer(x)
        return self.lm_head(self.norm(x))


class ConfigurableResNetBK(LanguageModel):
    """The same from a config, which may be changed afterwards and is not followed."""

    def __init__(self, config: ResNetBKConfig) -> None:
        super().__init__(**asdict(config))
