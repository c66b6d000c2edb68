"""The example model: BK-Core and experts compute what they say, and the model learns."""

import pytest
import torch
from resnet_bk import FULL_CONFIG, ConfigurableResNetBK, LanguageModel, ResNetBKConfig
from resnet_bk.bk_core import bk_core
from resnet_bk.experts import experts
from torch import nn
from torch.nn import functional as F

from flops_tracker import FlopsTracker, count


@pytest.fixture
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # for matrices as small as these more of them are slower
    yield
    torch.set_num_threads(threads)


def dense_diagonal(potential):
    """G_ii of the whole matrix: the definition, in O(N³)."""
    length = potential.shape[1]
    beside = torch.ones(length - 1, dtype=torch.complex128)
    matrix = torch.diag(beside, 1) + torch.diag(beside, -1) + torch.diag_embed(potential)
    resolvent = torch.linalg.inv(matrix - 1j * torch.eye(length))
    return torch.view_as_real(resolvent.diagonal(dim1=-2, dim2=-1).contiguous())


@pytest.mark.parametrize("length", [1, 2, 9])
def test_bk_core_is_the_diagonal_of_the_resolvent(length):
    torch.manual_seed(0)
    potential = 3 * torch.randn(2, length, dtype=torch.float64, requires_grad=True)
    found, expected = bk_core(potential)[0], dense_diagonal(potential)
    torch.testing.assert_close(found, expected)
    weights = torch.randn_like(found)
    gradients = [torch.autograd.grad((g * weights).sum(), potential)[0] for g in (found, expected)]
    torch.testing.assert_close(*gradients)


def test_bk_core_of_long_sequences_stays_in_bounds():
    # |G_ii| is at most 1 for z = i, whatever the potential.
    torch.manual_seed(0)
    for potential in (torch.zeros(1, 1000), 1e3 * torch.randn(1, 1000)):
        assert bk_core(potential)[0].norm(dim=-1).max() <= 1.0001


def plain_experts(x, gate, up, up_bias, down, down_bias, top_k):
    """All experts on all tokens, of which those not chosen weigh nothing."""
    probabilities = (x @ gate.T).softmax(-1)
    chosen = F.one_hot(probabilities.topk(top_k).indices, len(gate)).sum(1)
    hidden = (torch.einsum("td,khd->tkh", x, up) + up_bias).relu()
    made = torch.einsum("tkh,kdh->tkd", hidden, down) + down_bias
    return ((probabilities * chosen)[..., None] * made).sum(1)


@pytest.mark.parametrize("top_k", [1, 2, 3])
def test_experts_and_their_gradients(top_k):
    torch.manual_seed(0)
    shapes = ((7, 4), (3, 4), (3, 8, 4), (3, 8), (3, 4, 8), (3, 4))
    weights = [torch.randn(s, dtype=torch.float64, requires_grad=True) for s in shapes]
    found, expected = experts(*weights, top_k)[0], plain_experts(*weights, top_k)
    torch.testing.assert_close(found, expected)
    direction = torch.randn_like(found)
    for got, wanted in zip(
        torch.autograd.grad((found * direction).sum(), weights),
        torch.autograd.grad((expected * direction).sum(), weights),
        strict=True,
    ):
        torch.testing.assert_close(got, wanted)


def test_the_operations_keep_what_torch_asks_of_them():
    torch.manual_seed(0)
    shapes = ((5, 4), (3, 4), (3, 8, 4), (3, 8), (3, 4, 8), (3, 4))
    weights = [torch.randn(s, requires_grad=True) for s in shapes]
    torch.library.opcheck(torch.ops.resnet_bk.experts.default, (*weights, 2))
    potential = torch.randn(2, 5, requires_grad=True)
    torch.library.opcheck(torch.ops.resnet_bk.bk_core.default, (potential,))


@pytest.mark.parametrize("full", [False, True])
def test_it_learns_what_only_other_positions_tell(full, one_thread):
    # A word of eight, all along the sequence; where it is missing, the best guess without the
    # neighbours has a loss of log 8 = 2.08.
    torch.manual_seed(0)
    options = {"head_rank": 16, "moe_every": 2} if full else {}
    model = LanguageModel(vocab_size=9, d_model=32, n_layers=2, n_seq=16, **options)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    ft, losses = FlopsTracker(model), []
    for words in ft.steps(torch.randint(8, (80, 64, 1))):
        wanted = words.expand(64, 16)
        missing = torch.rand(64, 16) < 0.2
        scores = model(wanted.where(~missing, 8))
        targets = wanted.where(missing, -100)
        loss = F.cross_entropy(scores.flatten(0, 1), targets.flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[0] > 2.0
    assert sum(losses[-10:]) / 10 < 1.6
    # Steps of one kind, whatever experts the tokens go to: some are counted, most are not.
    assert ft.replayed_steps > ft.traced_steps
    assert ft.counts.uncounted == {}


def test_every_parameter_of_a_layer_learns():
    torch.manual_seed(0)
    model = ConfigurableResNetBK(ResNetBKConfig(vocab_size=50, d_model=8, n_seq=64, top_k=2))
    model(torch.randint(50, (4, 64))).square().mean().backward()
    assert all(p.grad.abs().max() > 0 for p in model.parameters())


def test_work_is_in_proportion_to_the_length():
    model = LanguageModel(vocab_size=5, d_model=4, n_layers=1, n_seq=512)
    flops = [
        count(model.layers[0], torch.zeros(1, n, 4), backward=True).under("standard").forward
        for n in (64, 128, 256)
    ]
    # What is not in proportion is the last addition of a sum: the loss is one number.
    assert 2 * flops[0] - flops[1] == 2 * flops[1] - flops[2] == -1


def test_options():
    with pytest.raises(ValueError, match="top_k must be 1 to num_experts=4, not 5"):
        LanguageModel(top_k=5)
    with pytest.raises(AttributeError, match="d_modle"):
        ResNetBKConfig().d_modle = 3
    model = ConfigurableResNetBK(ResNetBKConfig(vocab_size=5, n_seq=8))
    with pytest.raises(ValueError, match="sequences up to 8, not 9"):
        model(torch.zeros(1, 9, dtype=torch.int64))
    full = ConfigurableResNetBK(FULL_CONFIG)
    assert isinstance(full.lm_head, nn.Sequential)
    assert [type(layer.moe).__name__ for layer in full.layers] == ["SparseMoE", "Identity"] * 2
