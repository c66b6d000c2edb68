"""A language model whose layers mix tokens in O(N), and the rules by which its work is counted."""

from .model import (
    BASELINE_CONFIG,
    FULL_CONFIG,
    ConfigurableResNetBK,
    LanguageModel,
    ResNetBKConfig,
)
from .rules import register

register()

__all__ = [
    "BASELINE_CONFIG",
    "FULL_CONFIG",
    "ConfigurableResNetBK",
    "LanguageModel",
    "ResNetBKConfig",
]
