"""get_model_profile and FlopsProfiler as users of flops-profiler type them; see profiler.py."""

from .profiler import (
    FlopsProfiler,
    duration_to_string,
    flops_to_string,
    get_model_profile,
    params_to_string,
)

__all__ = [
    "FlopsProfiler",
    "duration_to_string",
    "flops_to_string",
    "get_model_profile",
    "params_to_string",
]
