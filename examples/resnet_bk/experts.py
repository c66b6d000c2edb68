"""A sparse mixture of experts as one operation: each token runs through top_k of them only."""

import torch
from torch import Tensor


@torch.library.custom_op("resnet_bk::experts", mutates_args=())
def experts(
    x: Tensor,
    gate: Tensor,
    up: Tensor,
    up_bias: Tensor,
    down: Tensor,
    down_bias: Tensor,
    top_k: int,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Tokens (T, D) to tokens: the top_k experts of each, weighed by the gate's softmax.

    gate (E, D); up (E, H, D), up_bias (E, H), down (E, D, H), down_bias (E, D), ReLU between them.
    Further results are for backward: probabilities (T, E), chosen (T, K), hidden (T, K, H).
    """
    probabilities = (x @ gate.T).softmax(-1)
    chosen = probabilities.topk(top_k).indices
    hidden = x.new_empty(len(x), top_k, up.shape[1])
    output = torch.zeros_like(x)
    for expert in range(len(gate)):
        token, slot = (chosen == expert).nonzero(as_tuple=True)
        active = torch.relu(x[token] @ up[expert].T + up_bias[expert])
        hidden[token, slot] = active
        made = active @ down[expert].T + down_bias[expert]
        output.index_add_(0, token, probabilities[token, expert, None] * made)
    return output, probabilities, chosen, hidden


@experts.register_fake
def _(
    x: Tensor,
    gate: Tensor,
    up: Tensor,
    up_bias: Tensor,
    down: Tensor,
    down_bias: Tensor,
    top_k: int,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    tokens = len(x)
    return (
        torch.empty_like(x),
        x.new_empty(tokens, len(gate)),
        x.new_empty(tokens, top_k, dtype=torch.int64),
        x.new_empty(tokens, top_k, up.shape[1]),
    )


@torch.library.custom_op("resnet_bk::experts_backward", mutates_args=())
def experts_backward(
    gradient: Tensor,
    x: Tensor,
    gate: Tensor,
    up: Tensor,
    down: Tensor,
    down_bias: Tensor,
    probabilities: Tensor,
    chosen: Tensor,
    hidden: Tensor,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Gradients of x, gate, up, up_bias, down and down_bias: two products for each of forward."""
    of_x, of_up, of_down = map(torch.zeros_like, (x, up, down))
    of_up_bias, of_down_bias = up.new_zeros(up.shape[:2]), torch.zeros_like(down_bias)
    of_probabilities = torch.zeros_like(probabilities)
    for expert in range(len(gate)):
        token, slot = (chosen == expert).nonzero(as_tuple=True)
        weight, active = probabilities[token, expert, None], hidden[token, slot]
        through = gradient[token] @ down[expert]
        of_probabilities[token, expert] = (through * active).sum(-1) + (
            gradient[token] @ down_bias[expert]
        )
        weighed = weight * gradient[token]
        of_down[expert], of_down_bias[expert] = weighed.T @ active, weighed.sum(0)
        of_active = weight * through * (active > 0)
        of_up[expert], of_up_bias[expert] = of_active.T @ x[token], of_active.sum(0)
        of_x.index_add_(0, token, of_active @ up[expert])
    inner = (of_probabilities * probabilities).sum(-1, keepdim=True)
    of_scores = probabilities * (of_probabilities - inner)
    return of_x + of_scores @ gate, of_scores.T @ x, of_up, of_up_bias, of_down, of_down_bias


@experts_backward.register_fake
def _(
    gradient: Tensor,
    x: Tensor,
    gate: Tensor,
    up: Tensor,
    down: Tensor,
    down_bias: Tensor,
    probabilities: Tensor,
    chosen: Tensor,
    hidden: Tensor,
) -> tuple[Tensor, ...]:
    of_up_bias = up.new_empty(up.shape[:2])
    empty = torch.empty_like
    return empty(x), empty(gate), empty(up), of_up_bias, empty(down), empty(down_bias)


def _save(ctx: object, inputs: tuple[Tensor, ...], output: tuple[Tensor, ...]) -> None:
    x, gate, up, _, down, down_bias, _ = inputs
    ctx.save_for_backward(x, gate, up, down, down_bias, *output[1:])
    ctx.mark_non_differentiable(*output[1:])


def _backward(ctx: object, gradient: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
    return *experts_backward(gradient, *ctx.saved_tensors), None


experts.register_autograd(_backward, setup_context=_save)
