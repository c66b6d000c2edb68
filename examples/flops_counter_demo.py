"""Where a language model's training compute goes, by the table of compat.flops_counter.

The model is resnet_bk beside this file: layers that mix tokens in O(N), under a head of 30,000
words. Its rules are its own; a Transformer is counted by the same table next to it.
"""

import sys
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F

sys.path.insert(0, str(Path(__file__).resolve().parent))  # also where Python leaves it out, -P
from resnet_bk import BASELINE_CONFIG, FULL_CONFIG, ConfigurableResNetBK, LanguageModel

from flops_tracker import FlopsTracker
from flops_tracker.compat.flops_counter import FLOPsCounter, compare_models

BATCH = 32
LENGTHS = (128, 256, 512, 1024, 2048)
PUBLISHED = (48.9, 97.8, 202.0, 410.2, 826.6)  # GFLOPs, as the table's authors give them


class TransformerLM(nn.Module):
    """The same embedding and head around Transformer layers."""

    def __init__(self, vocab_size: int = 30_000, d_model: int = 64, n_layers: int = 4) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocab_size, d_model)
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(d_model, 4, 2 * d_model, 0.0, batch_first=True)
            for _ in range(n_layers)
        )
        self.norm = nn.LayerNorm(d_model)
        self.lm_head = nn.Linear(d_model, vocab_size)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Token ids (B, N) to scores (B, N, vocab_size)."""
        x = self.embedding(tokens)
        for layer in self.layers:
            x = layer(x)
        return self.lm_head(self.norm(x))


def of_layers(counter: FLOPsCounter) -> int:
    """FLOPs of a step in the layers alone, without embedding and head."""
    parts = counter.get_breakdown().items()
    return sum(flops["total"] for part, flops in parts if part.startswith("layers."))


def show_baseline() -> None:
    counter = FLOPsCounter(ConfigurableResNetBK(BASELINE_CONFIG), BATCH, 128)
    counter.print_summary()
    counter.save_to_json("flops_count.json")
    adamw, sgd = (counter.count_optimizer_flops(name).optimizer for name in ("adamw", "sgd"))
    print(f"\nAdamW {adamw:,} FLOPs a step, SGD {sgd:,}: {adamw / sgd:.1f} times")


def show_comparison() -> None:
    baseline, full = map(ConfigurableResNetBK, (BASELINE_CONFIG, FULL_CONFIG))
    speedup = compare_models(baseline, full, BATCH, 128)["speedup"]
    print("\nFULL_CONFIG, with a head of rank 16 and experts in every other layer, is cheaper:")
    print(", ".join(f"{phase} {ratio:.2f}×" for phase, ratio in speedup.items()))


def show_scaling() -> None:
    print("\nGFLOPs of a step by sequence length, and what twice the length multiplies layers by:")
    print("     N   ResNet-BK  published    its layers           layers of a Transformer")
    before = None
    for length, published in zip(LENGTHS, PUBLISHED, strict=True):
        model = ConfigurableResNetBK(replace(BASELINE_CONFIG, n_seq=length))
        counters = [FLOPsCounter(m, BATCH, length) for m in (model, TransformerLM())]
        totals = [counter.count_total_flops().total for counter in counters]
        layers = [of_layers(counter) for counter in counters]
        growth = [f"{n / b:.2f}×" for n, b in zip(layers, before or layers, strict=True)]
        before = layers
        print(
            f"{length:6} {totals[0] / 1e9:11.1f} {published:10.1f} {layers[0] / 1e9:13.2f} "
            f"{growth[0]:>6} {layers[1] / 1e9:18.2f} {growth[1]:>6}"
        )
    print("The published rows from 512 on lie above linear growth: 195.5, 390.9, 781.8.")


def train(steps: int = 60) -> None:
    """Fill gaps in sequences of one repeated word: only the neighbours tell which."""
    torch.manual_seed(0)
    words, gap = 8, 8
    model = LanguageModel(vocab_size=words + 1, d_model=32, n_layers=2, n_seq=16)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    ft = FlopsTracker(model)
    losses = []
    for word in ft.steps(torch.randint(words, (steps, 64, 1))):
        wanted = word.expand(64, 16)
        missing = torch.rand(64, 16) < 0.2
        scores = model(wanted.where(~missing, gap))
        targets = wanted.where(missing, -100)  # which cross_entropy ignores
        loss = F.cross_entropy(scores.flatten(0, 1), targets.flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    print(f"\ntrained: loss {losses[0]:.2f} -> {losses[-1]:.2f} in {steps} steps, {ft.counts}")


def main() -> None:
    torch.set_num_threads(1)  # for matrices as small as these more of them are slower
    show_baseline()
    show_comparison()
    show_scaling()
    train()


if __name__ == "__main__":
    main()
