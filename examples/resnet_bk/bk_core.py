"""BK-Core: the diagonal of a tridiagonal matrix's resolvent, in O(N) forward and backward.

H has a potential v_i on its diagonal and ones beside it. Two recursions, from the left and from the
right, eliminate all of (H - z)^-1 but its diagonal G_ii, here at z = i:

    d_1 = v_1 - z     d_i = v_i - z - 1/d_{i-1}
    e_N = v_N - z     e_i = v_i - z - 1/e_{i+1}     G_ii = 1/(d_i - 1/e_{i+1})

No imaginary part of d and e is above -1, so nothing is divided by less than 1. Real operations a
position, a complex division being 11 and a reciprocal 5: shift 1, recursions 2 x (11 + 2), diagonal
2 + 5, together the 34 of rules.py. As a chain of sites, a position sees those on both sides of it:
the model fills gaps, as BERT does, and does not continue texts.
"""

import torch
from torch import Tensor

_SHIFT = 1j


def _complex(dtype: torch.dtype) -> torch.dtype:
    return torch.complex128 if dtype == torch.float64 else torch.complex64


def _eliminate(shifted: Tensor) -> Tensor:
    """d_i = s_i - 1/d_{i-1} along the last dimension, from its first element on."""
    pivots = [shifted[:, 0]]
    for i in range(1, shifted.shape[1]):
        pivots.append(shifted[:, i] - pivots[-1].reciprocal())
    return torch.stack(pivots, dim=1)


def _accumulate(source: Tensor, factors: Tensor) -> Tensor:
    """a_i = source_i + factors_i * a_{i+1} along the last dimension, from its last element on."""
    sums = [source[:, -1]]
    for i in range(source.shape[1] - 2, -1, -1):
        sums.append(source[:, i] + factors[:, i] * sums[-1])
    return torch.stack(sums[::-1], dim=1)


@torch.library.custom_op("resnet_bk::bk_core", mutates_args=())
def bk_core(potential: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Real and imaginary part of G_ii for potentials (B, N), as (B, N, 2); then d and e."""
    shifted = potential.to(_complex(potential.dtype)) - _SHIFT
    left = _eliminate(shifted)
    right = _eliminate(shifted.flip(1)).flip(1)
    pivots = left.clone()
    pivots[:, :-1] -= right[:, 1:].reciprocal()
    diagonal = torch.view_as_real(pivots.reciprocal())
    return diagonal.to(potential.dtype), left, right


@bk_core.register_fake
def _(potential: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    pivots = [torch.empty_like(potential, dtype=_complex(potential.dtype)) for _ in range(2)]
    return potential.new_empty(*potential.shape, 2), *pivots


@torch.library.custom_op("resnet_bk::bk_core_backward", mutates_args=())
def bk_core_backward(gradient: Tensor, diagonal: Tensor, left: Tensor, right: Tensor) -> Tensor:
    """The gradient (B, N) of the potential, of that of the diagonal (B, N, 2).

    The recursions run back: with a_i = -g_i G_ii^2, where g is the conjugate of the gradient,
    d~_i = a_i + d~_{i+1}/d_i^2 and e~_i = a_i + e~_{i-1}/e_i^2; of v it is Re(d~ + e~ - a). A
    position: g G^2 is 6, each recursion 6 + 2, the sum 4, together 26, the squares being given.
    """
    cotangent = torch.view_as_complex(gradient.to(left.real.dtype).contiguous()).conj()
    resolvent = torch.view_as_complex(diagonal.to(left.real.dtype).contiguous())
    source = -cotangent * resolvent.square()
    of_left = _accumulate(source, left.square().reciprocal())
    of_right = _accumulate(source.flip(1), right.square().reciprocal().flip(1)).flip(1)
    return (of_left + of_right - source).real.to(gradient.dtype)


@bk_core_backward.register_fake
def _(gradient: Tensor, diagonal: Tensor, left: Tensor, right: Tensor) -> Tensor:
    return gradient.new_empty(left.shape)


def _save(ctx: object, inputs: tuple[Tensor], output: tuple[Tensor, Tensor, Tensor]) -> None:
    ctx.save_for_backward(*output)
    ctx.mark_non_differentiable(*output[1:])


def _backward(ctx: object, gradient: Tensor, *_: Tensor) -> Tensor:
    return bk_core_backward(gradient, *ctx.saved_tensors)


bk_core.register_autograd(_backward, setup_context=_save)
