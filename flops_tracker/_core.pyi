"""Types of the C core."""

from collections.abc import Callable, Iterable, Iterator, Sequence, Sized
from contextlib import AbstractContextManager
from os import PathLike
from typing import (
    Any,
    ClassVar,
    Final,
    Literal,
    Self,
    SupportsIndex,
    TypedDict,
    TypeVar,
    Unpack,
    final,
)

import numpy as np
import numpy.typing as npt
from typing_extensions import disjoint_base

from ._counts import FlopCount

__version__: Final[str]
STEP_CSV_HEADER: Final[str]
EPOCH_CSV_HEADER: Final[str]

_T = TypeVar("_T")
_Level = Literal["none", "epoch", "batch", "both"]
_Overwrite = Literal["rename", "append", "replace", "error"]
_Counts = TypeVar("_Counts", bound=OperationCounts)
_BatchDim = int | tuple[_BatchDim, ...] | dict[str, _BatchDim] | None

class _EpochOptions(TypedDict, total=False):
    print_level: _Level
    export: _Level
    export_prefix: str | PathLike[str] | None
    overwrite: _Overwrite
    progress: bool
    on_epoch_end: Callable[[FlopsTracker, int], object] | None
    wandb: bool
    wandb_project: str | None
    wandb_run_name: str | None
    wandb_config: dict[str, Any] | None
    wandb_log: _Level
    wandb_entity: str | None
    wandb_only_rank0: bool

def rules(pattern: str | None = None) -> list[Rule]: ...
def formulas() -> list[Rule]: ...
def conventions() -> list[Convention]: ...
def format_flops(count: SupportsIndex, /) -> str: ...
def _add_counts(counts: Sequence[int], /) -> int: ...
def _subtract_counts(count: int, other: int, /) -> int: ...

class UncountedWarning(UserWarning): ...
class UnknownOperationError(RuntimeError): ...

@final
class Rule(tuple[Any, ...]):
    _fields: ClassVar[tuple[str, ...]]
    name: str
    formula: str
    equation: str
    op_class: str
    source: str
    examples: tuple[str, ...]
    operands: dict[str, str]

@final
class Convention(tuple[Any, ...]):
    _fields: ClassVar[tuple[str, ...]]
    name: str
    text: str
    contractions: dict[str, int]
    others: dict[str, int]

def register_rule(
    target: Any, fn: Callable[..., int | dict[str, int]], *, override: bool = False
) -> None: ...
def _explain_call(
    overload: Any, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any, /
) -> list[tuple[str, str, dict[str, Any]]]: ...

@final
class OperationRow(tuple[Any, ...]):
    _fields: ClassVar[tuple[str, ...]]
    op: str
    module: str
    phase: Literal["forward", "backward", "recompute", "optimizer"]
    dtype: str
    op_class: str
    calls: int
    flops: int
    cost: dict[str, int]

@disjoint_base
class OperationCounts:
    def under(self, convention: str, /) -> Self: ...
    def _state(self) -> tuple[Any, ...]: ...
    @classmethod
    def _from_state(cls, data: tuple[Any, ...], /) -> Self: ...
    def _sums(self, axis: str, /) -> dict[str, int]: ...
    def _op_calls(self) -> dict[str, tuple[str, int]]: ...
    def _calls_sum(self, numbers: Sequence[int], /) -> int: ...
    def _module_sums(self) -> list[tuple[int, int]]: ...
    def _module_op_sums(
        self, name_of: Callable[[str], Any] | None, /
    ) -> dict[int, dict[Any, tuple[int, int, int]]]: ...
    @property
    def _calls(self) -> list[tuple[str, str, str, str, int, float, float]] | None: ...
    @property
    def _modules(
        self,
    ) -> list[tuple[str, str, int, int, tuple[str, ...], bool, bool]]: ...
    @property
    def total(self) -> int: ...
    @property
    def forward(self) -> int: ...
    @property
    def backward(self) -> int: ...
    @property
    def recompute(self) -> int: ...
    @property
    def optimizer(self) -> int: ...
    @property
    def bytes(self) -> int: ...
    @property
    def convention(self) -> str: ...
    @property
    def operations(self) -> int: ...
    @property
    def unknown_operations(self) -> int: ...
    @property
    def unknown(self) -> dict[str, str]: ...
    @property
    def causal(self) -> str: ...
    @property
    def upper_bounds(self) -> dict[str, str]: ...
    @property
    def rows(self) -> list[OperationRow]: ...

@disjoint_base
class FlopCounter:
    def __init__(
        self,
        model: Any = None,
        *,
        convention: str = "standard",
        strict: bool = False,
        causal: Literal["full", "exact"] = "full",
    ) -> None: ...
    def __enter__(self) -> Self: ...
    def __exit__(self, *exc_info: object) -> Literal[False]: ...
    def reset(self) -> None: ...
    def _owns(self, mode: Any, /) -> bool: ...
    def _record_calls(self, observer: Any, /) -> None: ...
    def _counts_as(self, counts_type: type[_Counts], /) -> _Counts: ...
    @property
    def _call_count(self) -> int: ...
    def _set_formulas(self, formulas: dict[str, Callable[[Any, Any, Any], int]], /) -> None: ...
    @property
    def counts(self) -> FlopCount: ...
    def __getattr__(self, name: str, /) -> Any: ...  # everything that a FlopCount has

@final
class StepLog(tuple[Any, ...]):
    _fields: ClassVar[tuple[str, ...]]
    epoch: int
    step: int
    batch_size: int
    flops_batch: int
    flops_epoch_cum: int
    flops_total_cum: int
    wall_time_s: float

@final
class EpochLog(tuple[Any, ...]):
    _fields: ClassVar[tuple[str, ...]]
    epoch: int
    flops_epoch: int
    flops_total_cum: int
    batches: int
    samples: int
    loss: float | None
    wall_time_s: float
    complete: bool

@final
class Layer(tuple[Any, ...]):
    _fields: ClassVar[tuple[str, ...]]
    path: str
    module_class: str
    status: Literal["counted", "neglected", "uncounted", "uncalled", "inside", "container"]
    rule: str
    calls: int
    flops: int
    parameters: int
    note: str

@disjoint_base
class FlopsEstimator:
    def flops_for_batch(self, batch_size: int, /) -> int: ...
    @property
    def trust_line(self) -> str: ...

@disjoint_base
class SklearnSGDEstimator(FlopsEstimator):
    def __init__(self, n_features: int, n_classes: int = 1, model: Any = None) -> None: ...
    @classmethod
    def from_estimator(cls, clf: Any, /) -> Self: ...
    @property
    def n_features(self) -> int: ...
    @property
    def n_classes(self) -> int: ...
    @property
    def model(self) -> Any: ...

@disjoint_base
class TorchLayerwiseEstimator(FlopsEstimator):
    def __init__(self, *args: Any, **kwargs: Any) -> None: ...
    def prepare(self) -> Self: ...
    def register(
        self,
        module_class: type,
        fn: Callable[[Any, tuple[Any, ...], dict[str, Any], Any], int],
        *,
        override: bool = False,
    ) -> Self: ...
    def report(self) -> str: ...
    @property
    def layers(self) -> tuple[Layer, ...]: ...
    @property
    def uncounted(self) -> list[Layer]: ...
    @property
    def uncalled(self) -> list[Layer]: ...
    @property
    def forward_flops(self) -> int: ...
    @property
    def example_batch(self) -> int: ...
    @property
    def dry_run(self) -> str: ...
    @property
    def convention(self) -> str: ...
    @property
    def model(self) -> Any: ...
    @property
    def input_example(self) -> Any: ...
    @property
    def batch_dim(self) -> _BatchDim: ...
    @property
    def training_factor(self) -> float: ...

class TorchAutoEstimator(TorchLayerwiseEstimator):
    def __init__(
        self,
        model: Any,
        input_example: Any = None,
        training_factor: float = 3.0,
        include_pooling_cost: bool = False,
        include_norm_cost: bool = False,
        include_softmax_cost: bool = False,
        *,
        input_size: Any = None,
        batch_dim: _BatchDim = 0,
        device: Any = None,
        use_eval_mode: bool = True,
    ) -> None: ...

class TorchCNNLayerwiseEstimator(TorchLayerwiseEstimator):
    def __init__(
        self,
        model: Any,
        input_example: Any = None,
        training_factor: float = 3.0,
        device: Any = None,
        use_eval_mode: bool = True,
        *,
        input_size: Any = None,
        batch_dim: _BatchDim = 0,
    ) -> None: ...

@final
class EpochIterator(Iterator[Any]):
    def __iter__(self) -> Self: ...
    def __next__(self) -> Any: ...

@final
class LayerWalk:
    def __init__(
        self, model: Any, rules: dict[type, Any], classes: int, cnn_only: bool
    ) -> None: ...
    def attach(self) -> None: ...
    def detach(self) -> None: ...
    def begin_pass(self, number: int, /) -> None: ...
    def check(self) -> None: ...

@disjoint_base
class FlopsTracker:
    def __init__(
        self,
        estimator: Any,
        run_name: str = "run",
        log_wall_time: bool = True,
        keep_batch_logs: bool = True,
        keep_epoch_logs: bool = True,
        *,
        convention: str = ...,
        project: str | None = None,
        runs_csv: str | PathLike[str] | None = None,
    ) -> None: ...
    def torch_bind(
        self,
        model: Any,
        optimizer: Any,
        loss_fn: Callable[..., Any] | None = None,
        train_loader: Iterable[Any] | None = None,
        device: Any = None,
        *,
        step_fn: Callable[..., Any] | None = None,
        zero_grad_kwargs: dict[str, Any] | None = None,
    ) -> Self: ...
    def sklearn_bind(self, clf: Any, X: Any, y: Any, *, batch_size: int) -> Self: ...
    def __call__(
        self, epochs: int | Iterable[Any], **options: Unpack[_EpochOptions]
    ) -> EpochIterator: ...
    def run(self, epochs: int | Iterable[Any], **options: Unpack[_EpochOptions]) -> int: ...
    def estimate(self, epochs: int | Sized) -> int: ...
    def on_epoch_start(self) -> None: ...
    def update_batch(self, batch_size: int) -> None: ...
    def on_epoch_end(self) -> None: ...
    def epochs(self, epochs: int | Iterable[_T]) -> Iterator[_T]: ...
    def steps(self, loader: Iterable[_T]) -> Iterable[_T]: ...
    def step(
        self, batch: Any = None, *, batch_size: int | None = None
    ) -> AbstractContextManager[None]: ...
    def phase(self, name: str) -> AbstractContextManager[None]: ...
    @property
    def counts(self) -> FlopCount: ...
    @property
    def phase_counts(self) -> dict[str, FlopCount]: ...
    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state_dict: dict[str, Any]) -> None: ...
    def close(self) -> None: ...
    @property
    def run_id(self) -> str: ...
    def print_total_flops(self) -> None: ...
    def save_batch_csv(self, path: str | PathLike[str]) -> None: ...
    def save_epoch_csv(self, path: str | PathLike[str]) -> None: ...
    def __enter__(self) -> Self: ...
    def __exit__(self, *exc_info: object) -> Literal[False]: ...
    @property
    def total_flops(self) -> int: ...
    @property
    def step_logs(self) -> list[StepLog]: ...
    @property
    def epoch_logs(self) -> list[EpochLog]: ...
    @property
    def history(self) -> npt.NDArray[np.void]: ...
    @property
    def estimator(self) -> FlopsEstimator: ...
    @property
    def run_name(self) -> str: ...

@final
class PhaseTally:
    def __new__(cls, counter: FlopCounter, /) -> Self: ...
    def settle(self) -> int: ...
    def push(self) -> None: ...
    def pop(self) -> None: ...
    def counts(self, type: type, others: list[PhaseTally], /) -> Any: ...
    def so_far(self, type: type, running: bool, /) -> Any: ...
    def open_flops(self, running: bool, /) -> list[int]: ...
