"""Where the compute of a training step goes: FLOPs, time and memory of each module."""

import argparse

import torch
from torch import nn

from flops_tracker import profile
from flops_tracker.compat.flops_profiler import get_model_profile


class LeNet5(nn.Module):
    """The network of LeCun et al. (1998), with average pools and tanh."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 6, 5),
            nn.Tanh(),
            nn.AvgPool2d(2),
            nn.Conv2d(6, 16, 5),
            nn.Tanh(),
            nn.AvgPool2d(2),
            nn.Conv2d(16, 120, 5),
            nn.Tanh(),
        )
        self.classifier = nn.Sequential(nn.Linear(120, 84), nn.Tanh(), nn.Linear(84, 10))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Images (B, 1, 32, 32) to scores (B, 10)."""
        return self.classifier(self.features(images).flatten(1))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--trace", help="write a Chrome trace to this file")
    options = parser.parse_args()
    model, images = LeNet5(), torch.randn(options.batch, 1, 32, 32)

    # On copies: the model, its gradients and its mode stay as they are.
    result = profile(model, images, backward=True, memory=True, warm_up=2, steps=5, top=3)
    print(result.tree())
    if options.trace:
        result.to_trace(options.trace)
        print(f"{options.trace}: open it in chrome://tracing or https://ui.perfetto.dev")

    # The same in the words and by the rules of flops-profiler.
    print()
    macs, params, steps = get_model_profile(
        model, (options.batch, 1, 32, 32), print_profile=False, warm_up=2, num_steps=5
    )
    print(f"{macs}, {params} parameters, a mean over {steps} passes")


if __name__ == "__main__":
    main()
