"""Seed 004's code blocks as they stand, and what they print.

Repairs, and nothing else: import lines; ``torch.cuda.device(0)`` only with CUDA; AlexNet written
out; ``mod`` -> ``model``; ``model == end_step`` -> ``step == end_step``; ``pring_`` -> ``print_``;
``params = profiler.get_total_params()``. The second block's Model, data_loader and optimizer are
ours. AlexNet's batch of 256 is counted on the meta device, which computes nothing.
"""

import contextlib
import re

import torch
from torch import nn

from flops_tracker.compat.flops_profiler import get_model_profile

# What the seed prints for LeNet5 with batch size 1024; times and the rates made of them are a
# V100's.
OUTPUT = """\
LeNet5(
  61.71 k, 100.00% Params, 439.55 MMACs, 100.00% MACs, 25.62 ms, 100.00% time, 0.034 TFLOPS,
  (feature_extractor): Sequential(
    50.69 k, 82.15% Params, 428.37 MMACs, 97.46% MACs, 18.41 ms, 71.85% time, 0.047 TFLOPS,
    (0): Conv2d(156, 0.25% Params, 125.24 MMACs, 28.49% MACs, 10.56 ms, 41.21% time, 0.024 TFLOPS, 1, 6, kernel_size=(5, 5), stride=(1, 1))
    (1): Tanh(0, 0.00% Params, 0.0 MACs, 0.00% MACs, 2.25 ms, 8.79% time, 0.0 TFLOPS, )
    (2): AvgPool2d(0, 0.00% Params, 4.82 MMACs, 1.10% MACs, 2.47 ms, 9.63% time, 0.0039 TFLOPS, kernel_size=2, stride=2, padding=0)
    (3): Conv2d(2.42 k, 3.92% Params, 247.4 MMACs, 56.28% MACs, 1.08 ms, 4.23% time, 0.46 TFLOPS, 6, 16, kernel_size=(5, 5), stride=(1, 1))
    (4): Tanh(0, 0.00% Params, 0.0 MACs, 0.00% MACs, 497.39 us, 1.94% time, 0.0 TFLOPS, )
    (5): AvgPool2d(0, 0.00% Params, 1.64 MMACs, 0.37% MACs, 758.24 us, 2.96% time, 0.0043 TFLOPS, kernel_size=2, stride=2, padding=0)
    (6): Conv2d(48.12 k, 77.98% Params, 49.27 MMACs, 11.21% MACs, 606.35 us, 2.37% time, 0.16 TFLOPS, 16, 120, kernel_size=(5, 5), stride=(1, 1))
    (7): Tanh(0, 0.00% Params, 0.0 MACs, 0.00% MACs, 68.86 us, 0.27% time, 0.0 TFLOPS, )
  )
  (classifier): Sequential(
    11.01 k, 17.85% Params, 11.18 MMACs, 2.54% MACs, 7.03 ms, 27.43% time, 0.0032 TFLOPS,
    (0): Linear(10.16 k, 16.47% Params, 10.32 MMACs, 2.35% MACs, 2.71 ms, 10.57% time, 0.0076 TFLOPS, in_features=120, out_features=84, bias=True)
    (1): Tanh(0, 0.00% Params, 0.0 MACs, 0.00% MACs, 78.77 us, 0.31% time, 0.0 TFLOPS, )
    (2): Linear(850, 1.38% Params, 860.16 KMACs, 0.20% MACs, 4.17 ms, 16.27% time, 0.00041 TFLOPS, in_features=84, out_features=10, bias=True)
  )
)
Top 3 modules in flops at depth 2 are {'Conv2d': '421.91 MMACs', 'Linear': '11.18 MMACs', 'AvgPool2d': '6.46 MMACs'}
Top 3 modules in params at depth 2 are {'Conv2d': '50.69 k', 'Linear': '11.01 k', 'Tanh': '0'}
Top 3 modules in time at depth 2 are {'Conv2d': '12.25 ms', 'Linear': '6.88 ms', 'AvgPool2d': '3.23 ms'}
Batch size:                     1024
Number of multiply-adds:        439.55 MMACs
Number of parameters:           61.71 k
Number of steps profiled:       10
"""  # noqa: E501

HIGH_LEVEL = """\
import torch
from flops_tracker.compat.flops_profiler import get_model_profile

with cuda_device(0):
    model = AlexNet()
    batch_size = 256
    macs, params, steps = get_model_profile(model, # the PyTorch model to be profiled
                                     input_res=(batch_size, 3, 224, 224), # input shape or input to the input_constructor
                                     input_constructor=None, # If specified, the constructor is applied to input_res and the constructor output is used as the input to the model
                                     print_profile=True, # whether to print the model graph with the profile annotated. Defaults to True
                                     print_aggregated_profile=True, # whether to print the aggregated profile for top modules. Defaults to True
                                     module_depth=-1, # the depth into the nested modules. Defaults to -1 (the inner most modules)
                                     top_modules=3, # the number of top modules to print aggregated profile
                                     warm_up=10, # the number of warm-up steps before measuring the time of each module. Defaults to 5
                                     num_steps=10, # the number of steps to profile. Defaults to 10
                                     as_strings=True, # whether to print the output as strings (e.g. 1k). Defaults to True
                                     ignore_modules=None) # the list of modules to ignore during profiling. Defaults to None

    print("{:<30}  {:<8}".format("Batch size: ", batch_size))
    print('{:<30}  {:<8}'.format('Number of multiply-adds: ', macs))
    print('{:<30}  {:<8}'.format('Number of parameters: ', params))
    print("{:<30}  {:<8}".format("Number of steps profiled: ", steps))
"""  # noqa: E501

LOW_LEVEL = """\
from flops_tracker.compat.flops_profiler.profiler import FlopsProfiler

model = Model()
profiler = FlopsProfiler(model)

start_step = 5
end_step = 10
assert (end_step > start_step), "should end profiling after start profiling"
print_profile = True
print_aggregated_profile = True

for step, batch in enumerate(data_loader):
  # start profiling at training step "profile_step"
  if step == start_step:
    profiler.start_profile()

  # end profiling and print output at training step "profile_step"
  if step == end_step: # if using multi nodes, check global_rank == 0 as well
    flops = profiler.get_total_flops()
    params = profiler.get_total_params()
    duration = profiler.get_total_duration()
    steps = profiler.get_total_steps()
    if print_profile:
        profiler.print_model_profile()
    if print_aggregated_profile:
        profiler.print_model_aggregated_profile(module_depth=-1, top_modules=3)
    profiler.end_profile()
    print(flops, params, duration, step)

  # forward() method
  loss = model(batch)

  # runs backpropagation
  loss.backward()

  # weight update
  optimizer.step()
"""


class LeNet5(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.feature_extractor = nn.Sequential(
            nn.Conv2d(1, 6, 5),
            nn.Tanh(),
            nn.AvgPool2d(2),
            nn.Conv2d(6, 16, 5),
            nn.Tanh(),
            nn.AvgPool2d(2),
            nn.Conv2d(16, 120, 5),
            nn.Tanh(),
        )
        self.classifier = nn.Sequential(nn.Linear(120, 84), nn.Tanh(), nn.Linear(84, 10))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.classifier(self.feature_extractor(images).flatten(1))


class AlexNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 64, 11, stride=4, padding=2),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(3, 2),
            nn.Conv2d(64, 192, 5, padding=2),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(3, 2),
            nn.Conv2d(192, 384, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(384, 256, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(256, 256, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(3, 2),
        )
        self.avgpool = nn.AdaptiveAvgPool2d((6, 6))
        self.classifier = nn.Sequential(
            nn.Dropout(),
            nn.Linear(256 * 6 * 6, 4096),
            nn.ReLU(inplace=True),
            nn.Dropout(),
            nn.Linear(4096, 4096),
            nn.ReLU(inplace=True),
            nn.Linear(4096, 1000),
        )

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.classifier(self.avgpool(self.features(images)).flatten(1))


# A time with its unit, a share of the time, a rate: whatever this machine takes.
TIMES = re.compile(r"[\d.e+-]+ (?:s|ms|us)\b|[\d.]+% time|[\d.e+-]+ TFLOPS")


def without_times(text: str) -> list[str]:
    """Lines with the unit alone of what was measured, and s for any of seconds."""
    lines = [TIMES.sub(lambda m: m[0].split()[-1], line) for line in text.splitlines()]
    lines = [line for line in lines if not line.startswith("Top 3 modules in time")]
    return [re.sub(r"\b[mu]s\b", "s", line) for line in lines]


def test_lenet5_prints_what_the_seed_prints(capsys):
    batch_size = 1024
    macs, params, steps = get_model_profile(LeNet5(), (batch_size, 1, 32, 32), warm_up=1)
    print("{:<30}  {:<8}".format("Batch size: ", batch_size))  # the seed's four lines
    print("{:<30}  {:<8}".format("Number of multiply-adds: ", macs))
    print("{:<30}  {:<8}".format("Number of parameters: ", params))
    print("{:<30}  {:<8}".format("Number of steps profiled: ", steps))
    printed = capsys.readouterr().out
    assert [line.rstrip() for line in without_times(printed)] == without_times(OUTPUT)
    (slowest,) = re.findall("Top 3 modules in time at depth 2 are ({.*})", printed)
    assert all(time.endswith("s'") for time in slowest[1:-1].split(", "))


def test_lenet5_to_the_last_digit():
    # Per image: convolutions with their biases, pools by their inputs, Linear without the bias.
    # 28·28·6·(25 + 1), 10·10·16·(150 + 1), 1·1·120·(400 + 1); 28·28·6, 10·10·16; 120·84, 84·10.
    convolutions, pools, linear = 122_304 + 241_600 + 48_120, 4_704 + 1_600, 10_080 + 840
    assert 1024 * convolutions == 421_912_576 and 1024 * pools == 6_455_296
    # Parameters: 6·26, 16·151, 120·401, 84·121, 10·85.
    parameters = 156 + 2_416 + 48_120 + 10_164 + 850
    options = {"print_profile": False, "print_aggregated_profile": False, "as_strings": False}
    profiled = get_model_profile(LeNet5(), (8, 1, 32, 32), warm_up=0, num_steps=2, **options)
    assert profiled == (8 * (convolutions + pools + linear), parameters, 2)
    assert 1024 * (convolutions + pools + linear) == 439_549_952 and parameters == 61_706


def test_the_high_level_block(capsys):
    cuda = torch.cuda.is_available()
    names = {
        "AlexNet": AlexNet,
        "cuda_device": torch.cuda.device if cuda else lambda _: contextlib.nullcontext(),
    }
    with torch.device("meta"):
        exec(compile(HIGH_LEVEL, "seed 004", "exec"), names)
    # Weights: 55·55·64·363, 27·27·192·1600, 13·13·384·1728, 13·13·256·3456, 13·13·256·2304;
    # 9216·4096, 4096·4096, 4096·1000. Biases of convolutions are as many as their outputs, and so
    # are the ReLUs behind them; two more have 4096. The pools read the outputs of the first, second
    # and last convolution and 256·6·6.
    convolutions = 70_276_800 + 223_948_800 + 112_140_288 + 149_520_384 + 99_680_256
    linear = 37_748_736 + 16_777_216 + 4_096_000
    outputs = 193_600 + 139_968 + 64_896 + 43_264 + 43_264
    pools = 193_600 + 139_968 + 43_264 + 9_216
    macs = 256 * (convolutions + outputs + linear + outputs + 2 * 4096 + pools)
    assert macs == 183_181_492_224
    weights = 23_232 + 307_200 + 663_552 + 884_736 + 589_824 + linear
    biases = 64 + 192 + 384 + 256 + 256 + 4096 + 4096 + 1000
    assert weights + biases == 61_100_840
    printed = capsys.readouterr().out.splitlines()
    assert printed[0] == "AlexNet("
    assert printed[1].startswith("  61.1 M, 100.00% Params, 183.18 GMACs, 100.00% MACs, ")
    # Convolutions 256·(655,566,528 + 484,992), ReLUs 256·493,184.
    assert printed[-7] == (
        "Top 3 modules in flops at depth 2 are {'Conv2d': '167.95 GMACs', 'Linear': '15.01 GMACs', "
        "'ReLU': '126.26 MMACs'}"
    )
    assert printed[-4:] == [
        "Batch size:                     256     ",
        "Number of multiply-adds:        183.18 GMACs",
        "Number of parameters:           61.1 M  ",
        "Number of steps profiled:       10      ",
    ]


class Model(nn.Module):
    """Gives its own loss, as the block's model does."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(8, 4)
        built.append(self)

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        return self.linear(batch).square().mean()


built: list[Model] = []


class Optimizer:
    """SGD of the model that the block makes."""

    def step(self) -> None:
        sgd = torch.optim.SGD(built[-1].parameters(), lr=0.1)
        sgd.step()
        sgd.zero_grad()


def test_the_low_level_block(capsys):
    batches = [torch.randn(16, 8) for _ in range(12)]
    names = {"Model": Model, "data_loader": batches, "optimizer": Optimizer()}
    exec(compile(LOW_LEVEL, "seed 004", "exec"), names)
    # 16 rows of 8·4, and 8·4 + 4 parameters; the passes of steps 5 to 9.
    assert (names["flops"], names["params"], names["steps"]) == (512, 36, 5)
    printed = capsys.readouterr().out.splitlines()
    assert without_times("\n".join(printed[:4])) == [
        "Model(",
        "  36, 100.00% Params, 512.0 MACs, 100.00% MACs, s, time, TFLOPS,",
        "  (linear): Linear(36, 100.00% Params, 512.0 MACs, 100.00% MACs, s, time, TFLOPS, "
        "in_features=8, out_features=4, bias=True)",
        ")",
    ]
    assert printed[4:6] == [
        "Top 1 modules in flops at depth 1 are {'Linear': '512.0 MACs'}",
        "Top 1 modules in params at depth 1 are {'Linear': '36'}",
    ]
    flops, params, duration, step = printed[-1].split()
    assert (flops, params, step) == ("512", "36", "10") and float(duration) > 0
    # After end_profile, which the block calls, it prints the same once more.
    names["profiler"].print_model_profile()
    names["profiler"].print_model_aggregated_profile(module_depth=-1, top_modules=3)
    assert capsys.readouterr().out.splitlines() == printed[:-1]
