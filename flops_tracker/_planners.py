"""FLOPs of whole models before they exist: transformers and recurrent networks."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import Any

from . import _options
from ._closed_forms import all_formulas, number


@dataclass(frozen=True)
class Plan:
    """What a model costs: integers, or arrays where an argument was one.

    FLOPs are those of matrix products, convolutions and attention at 2 per multiply-accumulate
    (the convention ``matmul``); elementwise work, embeddings and optimizers are left out.
    """

    forward: Any  # of a batch
    backward: Any  # of a batch
    recompute: Any  # of a batch: forward work that the backward pass does again
    training: Any  # forward, backward and recomputation in all steps
    parameters: Any
    non_embedding_parameters: Any  # without those of vocabulary and positions
    steps: Any
    tokens: Any  # of all steps; images of a CNN
    six_nd: Any  # 6 FLOPs for each token and each parameter that it meets

    @property
    def six_nd_ratio(self) -> Any:
        """``six_nd`` over ``training``, a float: how far the rule of thumb is off.

        nan where there is no training.
        """
        return (
            math.nan
            if isinstance(self.training, int) and not self.training
            else self.six_nd / self.training
        )

    def __str__(self) -> str:
        shown = {field.name: getattr(self, field.name) for field in fields(self)}
        if not isinstance(self.training, int):
            return "\n".join(f"{name:26}{value}" for name, value in shown.items())
        lines = [f"{name:26}{value:>30,}" for name, value in shown.items()]
        return "\n".join([*lines, f"{'six_nd_ratio':26}{self.six_nd_ratio:>30.3f}"])

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        printer.text(str(self))

    def _repr_html_(self) -> str:
        return f"<pre>{self}</pre>"


# ---- what planners share ----


def result_dtype(dtype: Any, values: Iterable[Any]) -> Any:
    """Python's integers where all arguments are single numbers, else int64 or what is asked for."""
    import numpy as np

    single = all(np.ndim(value) == 0 for value in values)
    return object if single and dtype is None else dtype


def times(one: Any, other: Any) -> Any:
    """A product that is refused where it passes int64, and an int of two single numbers."""
    import numpy as np

    product = all_formulas()["pointwise"](one, other)
    return int(product) if np.ndim(product) == 0 else product


def _whole(name: str, value: Any) -> Any:
    """Integers; 1e10 is one too. TypeError with the argument's name for others."""
    import numpy as np

    if isinstance(value, float) and value.is_integer():
        return int(value)
    found = number(value)
    if not isinstance(found, int | np.integer | np.ndarray):
        raise TypeError(f"{name} must be an integer or an array of integers, not {value!r}")
    return found


def steps_of(steps: Any, tokens: Any, each: Any) -> tuple[Any, Any]:
    """How many steps, as given, or as it takes to see so many tokens; then how many these are."""
    import numpy as np

    if steps is not None and tokens is not None:
        raise TypeError("give steps or tokens (images), not both")
    if tokens is not None:
        tokens = _whole("tokens (images)", tokens)
        if np.any(np.less(tokens, 0)):
            raise ValueError(f"tokens (images) must be 0 or more, not {tokens}")
        if np.any(np.equal(each, 0)):
            raise ValueError("no number of steps has these tokens (images): a step has 0 of them")
        steps = -(-tokens // each)
    steps = 1 if steps is None else _whole("steps", steps)
    return steps, times(steps, each)


def call(form: str, values: dict[str, Any], convention: str, dtype: Any) -> Any:
    formula = all_formulas()[form]
    known = {name: value for name, value in values.items() if name in formula.arguments}
    return formula(**known, convention=convention, dtype=dtype)


# ---- transformers ----


def transformer(
    *,
    layers: Any,
    d_model: Any,
    heads: Any,
    vocab_size: Any,
    seq_len: Any,
    batch: Any = 1,
    kv_heads: Any = None,
    head_dim: Any = None,
    d_ff: Any = None,
    gated: Any = False,
    experts: Any = 1,
    experts_per_token: Any = 1,
    causal: Any = False,
    recompute: Any = False,
    steps: Any = None,
    tokens: Any = None,
    tied: Any = True,
    positions: Any = 0,
    bias: Any = True,
    qkv_bias: Any = None,
    norm_bias: Any = True,
    dtype: Any = None,
) -> Plan:
    """Plan a decoder-only language model (GPT, Llama, Mixtral and the like).

    All arguments but ``dtype`` may be arrays, which broadcast.

    Args:
        layers: how many blocks of attention and feed-forward layer.
        d_model: the width of the residual stream.
        heads: of queries; ``kv_heads``, of keys and values, are as many by default.
        vocab_size: rows of the embedding, and columns of the output.
        seq_len: tokens of a sequence.
        batch: sequences of a step.
        kv_heads: fewer than ``heads`` for grouped-query attention.
        head_dim: width of a head; ``d_model / heads`` by default.
        d_ff: width of the feed-forward layer (of an expert); ``4 * d_model`` by default.
        gated: the feed-forward layer has a gate, as SwiGLU: three matrices and not two.
        experts: feed-forward layers to choose from; more than 1 have a router.
        experts_per_token: of them, how many a token goes to.
        causal: count the pairs of positions that the causal mask leaves. ``False`` counts all of
            them, as most counters and papers do.
        recompute: the layers are run again in the backward pass (activation checkpointing).
        steps: of training; or give ``tokens``, from which as many whole steps are made as it takes.
        tokens: see ``steps``.
        tied: the output has the embedding's matrix.
        positions: rows of a learned position embedding; 0: none, as with rotary ones.
        bias: linear layers have one (not the output's).
        qkv_bias: the same for queries, keys and values alone; as ``bias`` by default.
        norm_bias: norms have a bias, as LayerNorm; RMSNorm has none.
        dtype: of the results. Where all arguments are single numbers, these are Python's integers.
            Arrays are int64 by default; ``object`` is exact past it, ``float`` the nearest float64.

    Raises:
        ValueError: ``d_model`` is no multiple of ``heads`` and ``head_dim`` is not given; or an
            argument is negative.
        FloatingPointError: a count passes 2**63 - 1, in arrays without a ``dtype``.

    """
    import numpy as np

    layers, d_model, heads, batch, seq_len = map(number, (layers, d_model, heads, batch, seq_len))
    if head_dim is None:
        if np.any(np.equal(heads, 0)) or np.any(np.remainder(d_model, heads)):
            raise ValueError(f"heads = {heads} do not divide d_model = {d_model}: give head_dim")
        head_dim = d_model // heads
    steps, tokens = steps_of(steps, tokens, times(batch, seq_len))
    values = {
        "layers": layers,
        "d_model": d_model,
        "heads": heads,
        "vocab_size": vocab_size,
        "seq_len": seq_len,
        "batch": batch,
        "kv_heads": heads if kv_heads is None else kv_heads,
        "head_dim": head_dim,
        "d_ff": times(4, d_model) if d_ff is None else d_ff,
        "gated": gated,
        "experts": experts,
        "active_experts": experts_per_token,
        "routed": np.greater(experts, 1),
        "causal": causal,
        "recompute": recompute,
        "steps": steps,
        "tokens": tokens,
        "untied": np.logical_not(tied),
        "positions": positions,
        "bias": bias,
        "qkv_bias": bias if qkv_bias is None else qkv_bias,
        "norm_bias": norm_bias,
    }
    if np.any(np.greater(experts_per_token, experts)):
        raise ValueError(f"experts_per_token = {experts_per_token} of experts = {experts}")
    dtype = result_dtype(dtype, values.values())
    return Plan(
        forward=call("transformer_forward", values, "matmul", dtype),
        backward=call("transformer_backward", values, "matmul", dtype),
        recompute=call("transformer_recompute", values, "matmul", dtype),
        training=call("transformer_training", values, "matmul", dtype),
        parameters=call("transformer_parameters", values, "standard", dtype),
        non_embedding_parameters=call(
            "transformer_parameters", values | {"embedding": 0}, "standard", dtype
        ),
        steps=steps,
        tokens=tokens,
        six_nd=call("transformer_six_nd", values, "standard", dtype),
    )


# ---- recurrent networks ----

GATES = {"lstm": 4, "gru": 3, "rnn": 1}


def rnn(
    *,
    input_size: Any,
    hidden_size: Any,
    output_size: Any,
    seq_len: Any,
    batch: Any = 1,
    layers: Any = 1,
    cell: str = "lstm",
    bidirectional: Any = False,
    vocab_size: Any = 0,
    outputs: str = "all",
    bias: Any = True,
    steps: Any = None,
    tokens: Any = None,
    dtype: Any = None,
) -> Plan:
    """Plan a recurrent network: an embedding, if any, ``layers`` of cells, a linear output.

    All arguments but ``cell``, ``outputs`` and ``dtype`` may be arrays, which broadcast. The gates'
    elementwise work is left out, and PyTorch's two biases per gate are among the parameters.
    ``backward`` has a gradient for the state before every step. Kernels differ: those that run
    step by step leave out that of the first one, fused ones compute the input's in any case.

    Args:
        input_size: width of the input, or of the embedding.
        hidden_size: of a cell.
        output_size: of the linear layer at the end.
        seq_len: steps of a sequence.
        batch: sequences of a training step.
        layers: one above the other.
        cell: ``"lstm"``, ``"gru"`` or ``"rnn"``.
        bidirectional: each layer runs both ways, and gives twice the width.
        vocab_size: rows of the embedding; 0: none, then the input needs no gradient.
        outputs: ``"all"`` positions have an output, or the ``"last"`` one alone.
        bias: cells and output have one.
        steps: see ``transformer``.
        tokens: see ``transformer``.
        dtype: see ``transformer``.

    """
    import numpy as np

    _options.choice("cell", cell, GATES)
    _options.choice("outputs", outputs, ("all", "last"))
    layers, batch, seq_len = map(number, (layers, batch, seq_len))
    steps, tokens = steps_of(steps, tokens, times(batch, seq_len))
    values = {
        "input_size": input_size,
        "hidden_size": hidden_size,
        "output_size": output_size,
        "seq_len": seq_len,
        "batch": batch,
        "layers": layers,
        "deeper": layers - 1,
        "gates": GATES[cell],
        "bidirectional": bidirectional,
        "directions": np.add(1, bidirectional),
        "outputs": seq_len if outputs == "all" else 1,
        "input_gradient": np.greater(vocab_size, 0),
        "vocab_size": vocab_size,
        "bias": bias,
        "steps": steps,
        "tokens": tokens,
    }
    dtype = result_dtype(dtype, values.values())
    return Plan(
        forward=call("rnn_forward", values, "matmul", dtype),
        backward=call("rnn_backward", values, "matmul", dtype),
        recompute=0,
        training=call("rnn_training", values, "matmul", dtype),
        parameters=call("rnn_parameters", values, "standard", dtype),
        non_embedding_parameters=call(
            "rnn_parameters", values | {"vocab_size": 0}, "standard", dtype
        ),
        steps=steps,
        tokens=tokens,
        six_nd=call("rnn_six_nd", values, "standard", dtype),
    )
