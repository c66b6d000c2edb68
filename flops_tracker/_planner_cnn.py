"""FLOPs of convolutional networks before they exist, from a list of their layers."""

from collections.abc import Sequence
from functools import reduce
from typing import Any, NamedTuple

from . import _core
from ._closed_forms import all_formulas, conv_output, number
from ._planners import Plan, call, steps_of, times


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

    batch, height = number(batch), number(height)
    steps, images = steps_of(steps, images, batch)
    start = _Image(channels, height, height if width is None else number(width), True)
    forward, backward, parameters = _sums(layers, start, batch)
    training = _add(*_sums(layers, start, images)[:2])
    scaled = all_formulas()["pointwise"]
    six_nd = scaled(_narrow(parameters, np.int64), times(6, images), dtype=object)
    exact = dtype is object or (dtype is None and np.ndim(training) == np.ndim(six_nd) == 0)

    def result(counts: Any) -> Any:
        return counts if exact else _narrow(counts, np.int64 if dtype is None else dtype)

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


def _narrow(counts: Any, dtype: Any) -> Any:
    """Python's integers in an array of another dtype."""
    import numpy as np

    try:
        return np.asarray(counts).astype(dtype)
    except OverflowError:
        raise FloatingPointError(
            "cnn: a count passes 2**63; dtype=object gives Python's integers, dtype=float the "
            "nearest float64"
        ) from None


def _add(one: Any, other: Any) -> Any:
    """Exact sums, by the core's arithmetic."""
    import numpy as np

    return np.frompyfunc(lambda a, b: _core._add_counts((a, b)), 2, 1)(one, other)


def _sums(layers: Sequence[Any], start: _Image, batch: Any) -> list[Any]:
    """Forward, backward and parameters of all layers."""
    parts: list[tuple[Any, Any, Any]] = []
    _walk(layers, start, batch, parts)
    if not parts:
        raise ValueError("layers have no Conv and no Linear")
    return [reduce(_add, counts) for counts in zip(*parts, strict=True)]


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
            call("conv2d", values, "matmul", object),
            call("convolution_backward", values, "matmul", object),
            call("conv_parameters", values, "standard", object),
        )
    )
    return out


def _connect(layer: Linear, image: _Image, batch: Any, parts: list[tuple[Any, Any, Any]]) -> _Image:
    values = {
        **layer._asdict(),
        "batch": batch,
        "in_features": times(image.channels, times(image.height, image.width)),
        "input_gradient": not image.first,
    }
    parts.append(
        (
            call("linear", values, "matmul", object),
            call("linear_backward", values, "matmul", object),
            call("linear_parameters", values, "standard", object),
        )
    )
    return _Image(layer.out_features, 1, 1, False)
