"""How models are put together: sharing, containers, nested inputs and outputs, wrappers."""

import pytest
import torch
from torch import nn
from torch_models import TOKENS, Function, LeNet5, Repeated, forward_flops, layers_by_path, paths

from flops_tracker import TorchAutoEstimator, TorchCNNLayerwiseEstimator

BOTH = pytest.mark.parametrize("kind", [TorchAutoEstimator, TorchCNNLayerwiseEstimator])

# ---- one module in several places ----


@BOTH
def test_a_module_under_two_names_is_one_layer_with_two_calls(kind):
    layer = nn.Linear(4, 4)
    model = Function(lambda self, x: self.first(self.second(x)), first=layer, second=layer)
    estimator = kind(model, (3, 4))
    # 2 calls of 2·3·16
    assert estimator.forward_flops == 192
    assert paths(estimator.layers) == ["", "first"]
    assert layers_by_path(estimator)["first"].calls == 2
    assert layers_by_path(estimator)["first"].parameters == 20


def test_tied_weights_count_by_call():
    model = nn.Sequential(nn.Embedding(9, 4), nn.Linear(4, 9, bias=False))
    model[1].weight = model[0].weight
    # lookup 0, then 2·(2·5)·4·9
    assert forward_flops(model, ((2, 5), TOKENS)) == 720


def test_a_shared_block_is_counted_wherever_it_runs():
    block = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 4))
    # 3 calls of 2·(24 + 24)
    assert forward_flops(Repeated(block, 3), (1, 4)) == 288
    assert forward_flops(nn.Sequential(block, block, block), (1, 4)) == 288


# ---- containers ----


def in_turn(layers, x):
    for layer in layers:
        x = layer(x)
    return x


def test_a_module_list_is_a_container():
    layers = nn.ModuleList([nn.Linear(4, 4) for _ in range(3)])
    estimator = TorchAutoEstimator(
        Function(lambda self, x: in_turn(self.all, x), all=layers), (1, 4)
    )
    assert estimator.forward_flops == 3 * 32
    assert layers_by_path(estimator)["all"].status == "container"
    assert (estimator.uncounted, estimator.uncalled) == ([], [])


def test_a_module_dict_is_a_container():
    heads = nn.ModuleDict({"a": nn.Linear(4, 2), "b": nn.Linear(4, 3), "spare": nn.Linear(4, 9)})
    model = Function(lambda self, x: (self.heads["a"](x), self.heads["b"](x)), heads=heads)
    estimator = TorchAutoEstimator(model, (1, 4))
    assert estimator.forward_flops == 2 * 4 * (2 + 3)
    assert paths(estimator.uncalled) == ["heads.spare"]


def test_a_container_of_the_users_own():
    class Residual(nn.Sequential):
        def forward(self, x):
            return x + super().forward(x)

    class Group(nn.Module):
        """Holds modules and has no forward of its own."""

        def __init__(self):
            super().__init__()
            self.blocks = nn.ModuleList([Residual(nn.Linear(4, 4)), Residual(nn.Linear(4, 4))])

    model = Function(lambda self, x: in_turn(self.group.blocks, x), group=Group())
    estimator = TorchAutoEstimator(model, (1, 4))
    assert estimator.forward_flops == 64
    statuses = {path: layer.status for path, layer in layers_by_path(estimator).items()}
    assert statuses == {
        "": "container",
        "group": "container",
        "group.blocks": "container",
        "group.blocks.0": "container",
        "group.blocks.0.0": "counted",
        "group.blocks.1": "container",
        "group.blocks.1.0": "counted",
    }


def test_a_module_that_is_none_is_no_layer():
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU())
    model.register_module("downsample", None)
    model.forward = lambda x: model[1](model[0](x))
    assert forward_flops(model, (1, 4)) == 32


# ---- inputs and outputs of any form ----


def test_nested_tuples_in_and_out():
    def forward(self, x, pair):
        a, (b, c) = self.split(x, pair)
        return self.head(a + b), (c,)

    split = Function(
        lambda self, x, pair: (self.one(x), (self.two(pair[0]), pair[1])),
        one=nn.Linear(4, 5),
        two=nn.Linear(3, 5),
    )
    model = Function(forward, split=split, head=nn.Linear(5, 2))
    # 2·2·(4·5 + 3·5 + 5·2)
    assert forward_flops(model, ((2, 4), ((2, 3), (2, 7)))) == 180


@pytest.mark.parametrize(
    "wrap",
    [
        pytest.param(lambda y: {"logits": y}, id="dict"),
        pytest.param(lambda y: {"rest": [None, {"deep": (y,)}]}, id="nested"),
        pytest.param(lambda y: [y, None], id="list"),
        pytest.param(lambda y: (None, y), id="tuple with None first"),
        pytest.param(lambda y: torch.return_types.max((y, y)), id="named tuple"),
    ],
)
def test_the_output_of_a_counted_layer_may_be_wrapped(wrap):
    class Wrapped(nn.Linear):
        def forward(self, x):
            return wrap(super().forward(x))

    # 2·3·4·5
    assert forward_flops(Wrapped(4, 5), (3, 4)) == 120


def test_a_model_that_returns_nothing():
    def forward(self, x):
        self.linear(x)

    assert forward_flops(Function(forward, linear=nn.Linear(4, 5)), (3, 4)) == 120


def test_a_model_of_keyword_only_arguments():
    class Keywords(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(4, 5)

        def forward(self, *, x, scale=None, twice=False):
            y = self.linear(input=x if scale is None else x * scale)
            return self.linear(y[..., :4]) if twice else y

    assert forward_flops(Keywords(), {"x": (3, 4)}) == 120
    assert forward_flops(Keywords(), {"x": (3, 4), "scale": (3, 1)}) == 120
    assert forward_flops(Keywords(), {"x": torch.zeros(3, 4), "twice": True}) == 240


def test_a_layer_called_by_keyword():
    model = Function(lambda self, x: self.lstm(input=x)[0], lstm=nn.LSTM(4, 5, batch_first=True))
    # 2·21·20·9
    assert forward_flops(model, (3, 7, 4)) == 7_560


def test_float_and_bool_arguments_pass_through():
    model = Function(
        lambda self, x, factor, on: self.linear(x * factor) if on else x, linear=nn.Linear(4, 5)
    )
    assert forward_flops(model, ((3, 4), 0.5, True)) == 120
    assert forward_flops(model, ((3, 4), 0.5, False)) == 0


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_a_shape_takes_the_dtype_of_the_model(dtype):
    assert forward_flops(nn.Linear(4, 5).to(dtype), (3, 4)) == 120


def test_a_model_on_the_meta_device():
    assert forward_flops(nn.Linear(4, 5, device="meta"), (3, 4)) == 120


# ---- wrappers ----


@BOTH
@pytest.mark.parametrize(
    "wrap",
    [
        pytest.param(nn.DataParallel, id="DataParallel"),
        pytest.param(torch.compile, id="torch.compile"),
        pytest.param(lambda model: torch.compile(nn.DataParallel(model)), id="both"),
        pytest.param(lambda model: nn.DataParallel(torch.compile(model)), id="both, other way"),
    ],
)
def test_a_wrapper_around_the_model_is_taken_off(kind, wrap):
    estimator = kind(wrap(LeNet5()), (1, 1, 32, 32))
    assert estimator.forward_flops == 833_040  # 2·416,520, see test_layer_table
    assert paths(estimator.layers)[1:3] == ["0", "1"]


@pytest.fixture
def process_group():
    torch.distributed.init_process_group(
        "gloo", store=torch.distributed.HashStore(), rank=0, world_size=1
    )
    yield
    torch.distributed.destroy_process_group()


@BOTH
@pytest.mark.usefixtures("process_group")
def test_a_distributed_wrapper_is_taken_off(kind):
    model = nn.parallel.DistributedDataParallel(LeNet5())
    assert kind(model, (1, 1, 32, 32)).forward_flops == 833_040


@pytest.mark.parametrize("wrap", [nn.DataParallel, torch.compile])
def test_a_wrapper_inside_the_model_hides_nothing(wrap):
    model = nn.Sequential(wrap(nn.Linear(4, 6)), nn.Linear(6, 2))
    assert forward_flops(model, (1, 4)) == 2 * (24 + 12)


def test_a_model_compiled_in_place():
    model = nn.Sequential(nn.Linear(4, 6), nn.Linear(6, 2))
    model.compile()
    model[0].compile()
    assert forward_flops(model, (1, 4)) == 2 * (24 + 12)


# ---- weights that are computed ----


@pytest.mark.filterwarnings("ignore:.*weight_norm.*is deprecated:FutureWarning")
@pytest.mark.parametrize(
    "reparametrize",
    [
        nn.utils.parametrizations.weight_norm,
        nn.utils.parametrizations.spectral_norm,
        nn.utils.parametrizations.orthogonal,
        nn.utils.weight_norm,
        nn.utils.spectral_norm,
    ],
    ids=lambda function: f"{function.__module__.rpartition('.')[2]}.{function.__name__}",
)
@BOTH
def test_a_reparametrized_layer_counts_as_itself(kind, reparametrize):
    model = nn.Sequential(
        reparametrize(nn.Conv2d(3, 6, 3)), nn.Flatten(), reparametrize(nn.Linear(96, 5))
    )
    estimator = kind(model, (2, 3, 6, 6))
    # conv 2·2·16·6·27 = 10,368; linear 2·2·96·5 = 1,920
    assert estimator.forward_flops == 12_288
    assert estimator.uncounted == []


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
def test_a_dynamically_quantized_model_is_still_counted():
    model = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 2)).eval()
    quantized = torch.ao.quantization.quantize_dynamic(model, {nn.Linear}, dtype=torch.qint8)
    estimator = TorchAutoEstimator(quantized, (3, 4))
    # 2·3·(24 + 12)
    assert estimator.forward_flops == 216
    assert estimator.uncounted == []
