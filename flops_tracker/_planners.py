"""FLOPs of whole models before they exist: transformers, convolutional and recurrent networks."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from functools import reduce
from typing import Any, NamedTuple

from . import _core, _options
from ._closed_forms import all_formulas, conv_output


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
        """``six_nd`` over ``training``, a float: how far the rule of thumb is off."""
        return self.six_nd / self.training

    def __str__(self) -> str:
        shown = {field.name: getattr(self, field.name) for field in fields(self)}
        if not isinstance(self.training, int):
            return "\n".join(f"{name:26}{value}" for name, value in shown.items())
        lines = [f"{name:26}{value:>30,}" for name, value in shown.items()]
        return "\n".join([*lines, f"{'six_nd_ratio':26}{self.six_nd_ratio:>30.3f}"])

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        printer.text(str(self))


# ---- what planners share ----


def _number(value: Any) -> Any:
    """Python's integers as they are, lists as arrays."""
    import numpy as np

    return np.asarray(value) if isinstance(value, list | tuple) else value


def _result_dtype(dtype: Any, values: Iterable[Any]) -> Any:
    """Python's integers where all arguments are single numbers, else int64 or what is asked for."""
    import numpy as np

    single = all(np.ndim(value) == 0 for value in values)
    return object if single and dtype is None else dtype


def _times(one: Any, other: Any) -> Any:
    """A product that is refused where it passes int64, and an int of two single numbers."""
    import numpy as np

    product = all_formulas()["pointwise"](one, other)
    return int(product) if np.ndim(product) == 0 else product


def _steps(steps: Any, tokens: Any, each: Any) -> tuple[Any, Any]:
    """How many steps, as given, or as it takes to see so many tokens; then how many these are."""
    if steps is not None and tokens is not None:
        raise TypeError("give steps or tokens (images), not both")
    if tokens is not None:
        steps = -(-_number(tokens) // each)
    steps = 1 if steps is None else _number(steps)
    return steps, _times(steps, each)


def _call(form: str, values: dict[str, Any], convention: str, dtype: Any) -> Any:
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

    layers, d_model, heads, batch, seq_len = map(_number, (layers, d_model, heads, batch, seq_len))
    if head_dim is None:
        if np.any(np.equal(heads, 0)) or np.any(np.remainder(d_model, heads)):
            raise ValueError(f"heads = {heads} do not divide d_model = {d_model}: give head_dim")
        head_dim = d_model // heads
    steps, tokens = _steps(steps, tokens, _times(batch, seq_len))
    values = {
        "layers": layers,
        "d_model": d_model,
        "heads": heads,
        "vocab_size": vocab_size,
        "seq_len": seq_len,
        "batch": batch,
        "kv_heads": heads if kv_heads is None else kv_heads,
        "head_dim": head_dim,
        "d_ff": _times(4, d_model) if d_ff is None else d_ff,
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
    dtype = _result_dtype(dtype, values.values())
    return Plan(
        forward=_call("transformer_forward", values, "matmul", dtype),
        backward=_call("transformer_backward", values, "matmul", dtype),
        recompute=_call("transformer_recompute", values, "matmul", dtype),
        training=_call("transformer_training", values, "matmul", dtype),
        parameters=_call("transformer_parameters", values, "standard", dtype),
        non_embedding_parameters=_call(
            "transformer_parameters", values | {"embedding": 0}, "standard", dtype
        ),
        steps=steps,
        tokens=tokens,
        six_nd=_call("transformer_six_nd", values, "standard", dtype),
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
    layers, batch, seq_len = map(_number, (layers, batch, seq_len))
    steps, tokens = _steps(steps, tokens, _times(batch, seq_len))
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
    dtype = _result_dtype(dtype, values.values())
    return Plan(
        forward=_call("rnn_forward", values, "matmul", dtype),
        backward=_call("rnn_backward", values, "matmul", dtype),
        recompute=0,
        training=_call("rnn_training", values, "matmul", dtype),
        parameters=_call("rnn_parameters", values, "standard", dtype),
        non_embedding_parameters=_call(
            "rnn_parameters", values | {"vocab_size": 0}, "standard", dtype
        ),
        steps=steps,
        tokens=tokens,
        six_nd=_call("rnn_six_nd", values, "standard", dtype),
    )


# ---- convolutional networks ----


class Conv(NamedTuple):
    """A convolution, square; ``norm``: a batch norm with weight and bias follows."""

    out_channels: Any
    kernel_size: Any
    stride: Any = 1
    padding: Any = 0
    dilation: Any = 1
    groups: Any = 1
    bias: Any = True
    norm: Any = False


class Pool(NamedTuple):
    """A pooling, square; its stride is its kernel's size by default. ``Pool(None)`` is global."""

    kernel_size: Any
    stride: Any = None
    padding: Any = 0


class Linear(NamedTuple):
    """A linear layer on all that comes in, flattened."""

    out_features: Any
    bias: Any = True


class Residual(NamedTuple):
    """Layers whose result is added to their input, or to what ``shortcut`` makes of it."""

    body: Sequence[Any]
    shortcut: Sequence[Any] = ()


class _Image(NamedTuple):
    """What a layer is given; features: once it has been flattened."""

    channels: Any
    height: Any
    width: Any
    first: bool  # it is the network's input, which needs no gradient


def cnn(
    layers: Sequence[Any],
    *,
    channels: Any = 3,
    height: Any = 224,
    width: Any = None,
    batch: Any = 1,
    steps: Any = None,
    images: Any = None,
    dtype: Any = None,
) -> Plan:
    """Plan a convolutional network: a list of ``Conv``, ``Pool``, ``Linear`` and ``Residual``.

    Their fields, and all arguments but ``layers`` and ``dtype``, may be arrays, which broadcast.
    Pooling, norms, activations and residual additions are left out.

    Args:
        layers: in their order; activations are not among them.
        channels: of the image.
        height: of the image.
        width: of the image; as ``height`` by default.
        batch: images of a step.
        steps: of training; or give ``images``.
        images: as ``tokens`` of ``transformer``. 6ND counts an image as a token, which is far too
            little: a weight of a convolution is used at every position.
        dtype: see ``transformer``.

    Raises:
        ValueError: a kernel is larger than its input, ``groups`` do not divide channels, or both
            sides of a ``Residual`` give different shapes.

    """
    import numpy as np

    batch, height = _number(batch), _number(height)
    steps, images = _steps(steps, images, batch)
    start = _Image(channels, height, height if width is None else _number(width), True)
    parts: list[tuple[Any, Any, Any]] = []  # forward, backward, parameters, of each layer
    _walk(layers, start, batch, parts)
    if not parts:
        raise ValueError("layers have no Conv and no Linear")
    forward, backward, parameters = (reduce(_add, counts) for counts in zip(*parts, strict=True))
    step = _add(forward, backward)
    scaled = all_formulas()["pointwise"]
    training = scaled(step, steps, dtype=object)
    six_nd = scaled(parameters, _times(6, images), dtype=object)
    shape = np.broadcast_shapes(*(np.shape(x) for x in (training, six_nd)))
    exact = dtype is object or (shape == () and dtype is None)

    def result(counts: Any) -> Any:
        if exact:
            return counts
        try:
            return np.asarray(counts).astype(np.int64 if dtype is None else dtype)
        except OverflowError:
            raise FloatingPointError(
                "cnn: a count passes 2**63; dtype=object gives Python's integers, dtype=float the "
                "nearest float64"
            ) from None

    return Plan(
        forward=result(forward),
        backward=result(backward),
        recompute=0,
        training=result(training),
        parameters=result(parameters),
        non_embedding_parameters=result(parameters),
        steps=steps,
        tokens=images,
        six_nd=result(six_nd),
    )


def _add(one: Any, other: Any) -> Any:
    """Exact sums, by the core's arithmetic."""
    import numpy as np

    return np.frompyfunc(lambda a, b: _core._add_counts((a, b)), 2, 1)(one, other)


def _walk(
    layers: Sequence[Any], image: _Image, batch: Any, parts: list[tuple[Any, Any, Any]]
) -> _Image:
    """Add what each layer costs; returns what comes out."""
    import numpy as np

    for layer in layers:
        match layer:
            case Conv():
                image = _convolve(layer, image, batch, parts)
            case Linear():
                image = _connect(layer, image, batch, parts)
            case Pool():
                image = _pool(layer, image)
            case Residual():
                out = _walk(layer.body, image, batch, parts)
                beside = _walk(layer.shortcut, image, batch, parts)
                pairs = zip(out[:3], beside[:3], strict=True)
                if any(np.any(np.not_equal(a, b)) for a, b in pairs):
                    raise ValueError(
                        f"Residual: its body gives {out[:3]} (channels, height, width), what it "
                        f"is added to has {beside[:3]}"
                    )
                image = out
            case _:
                raise TypeError(
                    f"layers are Conv, Pool, Linear and Residual of formulas, not {layer!r}"
                )
    return image


def _pool(layer: Pool, image: _Image) -> _Image:
    if layer.kernel_size is None:
        return image._replace(height=1, width=1)
    stride = layer.kernel_size if layer.stride is None else layer.stride
    size = (layer.kernel_size, stride, layer.padding)
    height, width = conv_output(image.height, *size), conv_output(image.width, *size)
    return image._replace(height=height, width=width)


def _convolve(layer: Conv, image: _Image, batch: Any, parts: list[tuple[Any, Any, Any]]) -> _Image:
    size = (layer.kernel_size, layer.stride, layer.padding, layer.dilation)
    out = _Image(
        layer.out_channels, conv_output(image.height, *size), conv_output(image.width, *size), False
    )
    values = {
        **layer._asdict(),
        "batch": batch,
        "in_channels": image.channels,
        "in_height": image.height,
        "in_width": image.width,
        "out_height": out.height,
        "out_width": out.width,
        "kernel_height": layer.kernel_size,
        "kernel_width": layer.kernel_size,
        "input_gradient": not image.first,
    }
    parts.append(
        (
            _call("conv2d", values, "matmul", object),
            _call("convolution_backward", values, "matmul", object),
            _call("conv_parameters", values, "standard", object),
        )
    )
    return out


def _connect(layer: Linear, image: _Image, batch: Any, parts: list[tuple[Any, Any, Any]]) -> _Image:
    values = {
        **layer._asdict(),
        "batch": batch,
        "in_features": _times(image.channels, _times(image.height, image.width)),
        "input_gradient": not image.first,
    }
    parts.append(
        (
            _call("linear", values, "matmul", object),
            _call("linear_backward", values, "matmul", object),
            _call("linear_parameters", values, "standard", object),
        )
    )
    return _Image(layer.out_features, 1, 1, False)
