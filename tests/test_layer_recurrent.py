"""Recurrent layers and cells: gates, layers, directions, projections, layouts, packed input."""

import pytest
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence
from torch_models import Function, forward_flops

from flops_tracker import TorchAutoEstimator

# Per position and direction: gates·H·(what the layer reads + H); 2 FLOPs each. Input is (T, B, I)
# = (7, 3, 4) unless said, 21 positions; H is 5.
LAYERS = [
    ("rnn: 2·21·5·9", lambda: nn.RNN(4, 5), 1_890),
    ("rnn relu: 2·21·5·9", lambda: nn.RNN(4, 5, nonlinearity="relu"), 1_890),
    ("gru: 2·21·15·9", lambda: nn.GRU(4, 5), 5_670),
    ("lstm: 2·21·20·9", lambda: nn.LSTM(4, 5), 7_560),
    ("lstm without bias: 2·21·20·9", lambda: nn.LSTM(4, 5, bias=False), 7_560),
    # layers 1 and 2 read 5: 9 + 10 + 10
    ("lstm, 3 layers: 2·21·20·29", lambda: nn.LSTM(4, 5, 3), 24_360),
    ("gru, 2 layers, dropout: 2·21·15·19", lambda: nn.GRU(4, 5, 2, dropout=0.5), 11_970),
    ("rnn, both directions: 2·21·2·5·9", lambda: nn.RNN(4, 5, bidirectional=True), 3_780),
    # layer 1 reads 2·5: 9 + 15
    (
        "gru, 2 layers, both directions: 2·42·15·24",
        lambda: nn.GRU(4, 5, 2, bidirectional=True),
        30_240,
    ),
    # a state of 2: 20·(4 + 2), and 2·5 for the projection
    ("lstm, proj_size 2: 2·21·(120 + 10)", lambda: nn.LSTM(4, 5, proj_size=2), 5_460),
    # layer 1 reads 2·2: 20·(4 + 2) again
    (
        "lstm, proj_size 2, 2 layers, both directions: 2·42·(130 + 130)",
        lambda: nn.LSTM(4, 5, 2, proj_size=2, bidirectional=True),
        21_840,
    ),
]


@pytest.mark.parametrize(("build", "flops"), [pytest.param(*row[1:], id=row[0]) for row in LAYERS])
def test_recurrent_layers(build, flops):
    assert forward_flops(build(), (7, 3, 4), batch_dim=1) == flops


@pytest.mark.parametrize(("kind", "flops"), [(nn.RNN, 1_890), (nn.GRU, 5_670), (nn.LSTM, 7_560)])
def test_the_layout_does_not_matter(kind, flops):
    assert forward_flops(kind(4, 5, batch_first=True), (3, 7, 4)) == flops
    assert forward_flops(kind(4, 5), (21, 4), batch_dim=None) == flops
    assert forward_flops(kind(4, 5, batch_first=True), (21, 4), batch_dim=None) == flops


def test_a_state_given_to_the_layer_is_no_input():
    # h and c are (layers, B, H); the sequence alone has positions: 2·21·20·9
    example = ((7, 3, 4), ((1, 3, 5), (1, 3, 5)))
    estimator = TorchAutoEstimator(nn.LSTM(4, 5), example, 1, batch_dim=1)
    assert estimator.forward_flops == 7_560
    assert estimator.flops_for_batch(6) == 15_120


def run_packed(model, x):
    packed = pack_padded_sequence(x, [4, 2, 1], batch_first=True)
    output, _ = model.rnn(packed)
    return model.head(pad_packed_sequence(output, batch_first=True)[0])


@pytest.mark.parametrize(
    ("kind", "gates"), [(nn.RNN, 1), (nn.GRU, 3), (nn.LSTM, 4)], ids=["rnn", "gru", "lstm"]
)
def test_packed_input_counts_the_steps_that_run(kind, gates):
    model = Function(run_packed, rnn=kind(3, 5, batch_first=True), head=nn.Linear(5, 2))
    # 4 + 2 + 1 = 7 steps, not 12: 2·7·gates·5·(3 + 5); the head sees 3·4 padded rows: 2·12·10
    assert forward_flops(model, (3, 4, 3)) == 560 * gates + 240


def test_an_output_taken_apart_goes_on():
    model = Function(
        lambda self, x: self.head(self.rnn(x)[1][0][-1]),
        rnn=nn.LSTM(4, 5, batch_first=True),
        head=nn.Linear(5, 2),
    )
    # 7,560 of the LSTM and 2·3·10 of the head on the last state
    assert forward_flops(model, (3, 7, 4)) == 7_620


# Cells read I = 3 and have H = 5, on 2 rows: 2·2·gates·5·8
CELLS = [(nn.RNNCell, 160), (nn.GRUCell, 480), (nn.LSTMCell, 640)]


@pytest.mark.parametrize(("kind", "flops"), CELLS)
def test_cells(kind, flops):
    assert forward_flops(kind(3, 5), (2, 3)) == flops
    assert forward_flops(kind(3, 5, bias=False), (2, 3)) == flops
    assert forward_flops(kind(3, 5), (3,), batch_dim=None) == flops // 2


@pytest.mark.parametrize(("kind", "flops"), CELLS)
def test_a_cell_in_a_loop_counts_every_step(kind, flops):
    def unroll(model, x):
        state = None
        for step in x.unbind(1):
            state = model.cell(step, state)
        return state

    assert forward_flops(Function(unroll, cell=kind(3, 5)), (2, 6, 3)) == 6 * flops
