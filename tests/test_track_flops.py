"""@track_flops: what a decorated function gives, counts, prints and writes; what is refused."""

import functools
import inspect
import json
import os
import pickle
import re
import threading

import pytest
import torch
from torch import nn

from flops_tracker import FlopCount, FlopCounter, UnknownOperationError, track_flops

# mm (4,5) times (5,6): 2*4*5*6 FLOPs under `standard` and `matmul`; two `ones` are no work.
MM = 240


def mm():
    return torch.ones(4, 5).mm(torch.ones(5, 6))


@track_flops
def repeat(times: int = 2) -> int:
    """Multiply so often."""
    for _ in range(times):
        mm()
    return times


# ---- what it counts ----


def test_a_training_is_counted_by_phase_module_and_operation():
    """Linear(4, 8), Linear(8, 3) on 5 rows, 3 steps.

    A step's forward is 2·5·(4·8 + 8·3) = 560; backward as much for the weights, and 2·5·8·3 = 240
    for the input of the second layer: 800.
    """
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
    optimizer = torch.optim.SGD(model.parameters())

    @track_flops(convention="matmul", print_level="none")
    def train(steps):
        for _ in range(steps):
            optimizer.zero_grad()
            model(torch.ones(5, 4)).sum().backward()
            optimizer.step()

    train(3)
    counts = train.counts
    assert isinstance(counts, FlopCount)
    assert (counts.forward, counts.backward, counts.total) == (3 * 560, 3 * 800, 3 * 1360)
    # Linear(4, 8): 2·5·32 = 320 forward and for its weights; Linear(8, 3): 240, and 240 backward.
    modules = counts.by_module()
    assert modules["Sequential.0"].own == 3 * 640
    assert modules["Sequential.2"].own == 3 * 720


def test_the_counts_are_those_of_the_last_call():
    assert repeat(3) == 3
    assert repeat.counts.total == 3 * MM
    repeat()
    assert repeat.counts.total == 2 * MM
    mm()
    assert repeat.counts.total == 2 * MM


def test_without_a_call_there_are_no_counts():
    assert track_flops(lambda: None).counts is None


def test_what_ran_before_an_exception_is_kept(capsys):
    @track_flops
    def fail():
        mm()
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        fail()
    assert fail.counts.total == MM
    assert capsys.readouterr().out.endswith(" · ended by KeyError\n")


def test_a_recursive_call_is_a_part_of_the_first(capsys):
    @track_flops
    def factorial(n):
        mm()
        return 1 if n == 0 else n * factorial(n - 1)

    assert factorial(4) == 24
    assert factorial.counts.total == 5 * MM
    assert len(capsys.readouterr().out.splitlines()) == 1


def test_nested_functions_and_counters_each_count():
    @track_flops
    def outer():
        mm()
        return repeat(2)

    with FlopCounter() as c:
        outer()
        mm()
    assert repeat.counts.total == 2 * MM
    assert outer.counts.total == 3 * MM
    assert c.total == 4 * MM


def test_threads_at_once_are_counted_each_alone():
    all_computed = threading.Barrier(3)
    may_end = {1: threading.Event(), 4: threading.Event()}

    @track_flops(print_level="none")
    def train(times):
        for _ in range(times):
            mm()
        all_computed.wait(60)
        may_end[times].wait(60)

    threads = {n: threading.Thread(target=train, args=(n,)) for n in may_end}
    for thread in threads.values():
        thread.start()
    all_computed.wait(60)
    for times in (4, 1):
        may_end[times].set()
        threads[times].join()
        assert train.counts.total == times * MM


def test_a_thread_that_is_started_inside_is_counted():
    @track_flops
    def train():
        thread = threading.Thread(target=mm)
        thread.start()
        thread.join()

    train()
    assert train.counts.total == MM


def test_strict_raises_at_an_operation_without_a_rule():
    @torch.library.custom_op("track_flops_test::unknown", mutates_args=())
    def unknown(x: torch.Tensor) -> torch.Tensor:
        return x.clone()

    @track_flops(strict=True)
    def train():
        mm()
        unknown(torch.ones(2))

    with pytest.raises(UnknownOperationError, match="track_flops_test"):
        train()
    assert train.counts.total == MM


# ---- generators ----


def test_a_generator_is_counted_while_it_runs():
    @track_flops(print_level="none")
    def epochs(n):
        """Yield n times, and take what is sent."""
        got = []
        for epoch in range(n):
            mm()
            got.append((yield epoch))
        return got

    def use():
        return (yield from epochs(2))

    user = use()
    assert next(user) == 0
    repeat(5)  # the caller's work
    assert user.send("a") == 1
    with pytest.raises(StopIteration) as end:
        user.send("b")
    assert end.value.value == ["a", "b"]
    assert epochs.counts.total == 2 * MM
    assert inspect.isgeneratorfunction(epochs)


def test_a_generator_that_is_left_has_its_counts(capsys):
    closed = []

    @track_flops
    def epochs():
        try:
            while True:
                mm()
                yield
        finally:
            mm()
            closed.append(True)

    for number, _ in enumerate(epochs()):
        if number == 2:
            break
    assert closed == [True]
    assert epochs.counts.total == 4 * MM
    assert "ended by" not in capsys.readouterr().out


def test_an_exception_is_thrown_into_a_generator():
    @track_flops(print_level="none")
    def epochs():
        try:
            yield 1
        except ValueError:
            mm()
            yield 2

    generator = epochs()
    assert next(generator) == 1
    assert generator.throw(ValueError()) == 2
    with pytest.raises(KeyError):
        generator.throw(KeyError())
    assert epochs.counts.total == MM


# ---- as a function ----


def test_it_looks_like_the_function():
    assert (repeat.__name__, repeat.__doc__) == ("repeat", "Multiply so often.")
    assert str(inspect.signature(repeat)) == "(times: int = 2) -> int"
    assert pickle.loads(pickle.dumps(repeat)) is repeat


class Trainer:
    @track_flops
    def method(self, times):
        for _ in range(times):
            mm()
        return self

    @track_flops
    @classmethod
    def of_class(cls):
        mm()
        return cls

    @staticmethod
    @track_flops(print_level="none")
    def static():
        mm()


def test_methods_of_all_kinds():
    trainer = Trainer()
    assert trainer.method(2) is trainer
    assert trainer.method.counts.total == Trainer.method.counts.total == 2 * MM
    assert Trainer.of_class() is Trainer
    assert Trainer.of_class.counts.total == MM
    Trainer.static()
    assert trainer.static.counts.total == MM


def test_a_partial_can_be_tracked(capsys):
    three = track_flops(functools.partial(repeat.__wrapped__, 3))
    assert three() == 3
    assert three.counts.total == 3 * MM
    assert capsys.readouterr().out.startswith("repeat · 720 FLOPs")


# ---- what it prints and writes ----


def test_a_line_with_total_and_trust_is_printed(capsys):
    repeat(2)
    line = capsys.readouterr().out
    # Each turn makes two `ones` and multiplies them.
    expected = (
        r"repeat · 480 FLOPs · standard · 6 operations, 100\.0 % counted, 0 unknown · [\d.]+ s\n"
    )
    assert re.fullmatch(expected, line)


def test_print_level(capsys):
    track_flops(mm)()
    track_flops(print_level="none")(mm)()
    track_flops(print_level="table")(mm)()
    first, *table, last = capsys.readouterr().out.splitlines()
    assert first.startswith("mm · 240 FLOPs")
    assert table[0].split() == ["operation", "class", "calls", "FLOPs", "share"]
    assert last.startswith("mm · 240 FLOPs")


def test_ranks_above_0_print_nothing_and_write_their_own_file(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("RANK", "2")
    track_flops(output=tmp_path / "flops.json")(mm)()
    assert capsys.readouterr().out == ""
    assert [path.name for path in tmp_path.iterdir()] == ["flops.rank2.json"]


def test_output_is_written_after_each_call(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    tracked = track_flops(output="flops.json", print_level="none")(repeat.__wrapped__)
    (tmp_path / "other").mkdir()
    os.chdir("other")
    for times in (1, 4):
        tracked(times)
        assert json.loads((tmp_path / "flops.json").read_text())["total"] == times * MM


def test_a_result_is_not_lost_where_the_file_cannot_be_written(tmp_path):
    folder = tmp_path / "gone"
    folder.mkdir()
    tracked = track_flops(output=folder / "flops.csv", print_level="none")(repeat.__wrapped__)
    folder.rmdir()
    with pytest.warns(RuntimeWarning, match="FLOPs were not written"):
        assert tracked(3) == 3
    assert tracked.counts.total == 3 * MM


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_child_process_prints_and_writes_nothing(tmp_path, capfd):
    @track_flops(output=tmp_path / "flops.json")
    def fork():
        return os.fork()

    child = fork()
    if child == 0:
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert len(capfd.readouterr().out.splitlines()) == 1


# ---- what is refused ----


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"conventoin": "macs"}, TypeError, "no option 'conventoin'; did you mean 'convention'"),
        ({"zzz": 1}, TypeError, "'zzz'; it has convention, strict, causal, print_level, output"),
        ({"convention": "flops"}, ValueError, "convention must be 'standard', .* not 'flops'"),
        ({"strict": "yes"}, TypeError, "strict must be True or False, not 'yes'"),
        ({"causal": "half"}, ValueError, "causal must be 'full' or 'exact', not 'half'"),
        ({"print_level": "epoch"}, ValueError, "'none', 'total' or 'table', not 'epoch'"),
        ({"output": "flops.txt"}, ValueError, "must end in .json, .csv, .html or .md"),
        ({"output": 3}, TypeError, "output must be the path of a file, not 3"),
        ({"output": "/no/such/flops.json"}, FileNotFoundError, "no folder '/no/such'"),
    ],
)
def test_options_are_checked_when_it_decorates(options, error, message):
    with pytest.raises(error, match=message):
        track_flops(**options)


async def asynchronous():
    pass


async def asynchronous_steps():
    yield


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("matmul", r'options go by name: track_flops\(convention="matmul"\)'),
        (Trainer, "not the class Trainer: decorate its method"),
        (asynchronous, "the async function asynchronous: other tasks"),
        (asynchronous_steps, "the async function asynchronous_steps"),
        (functools.partial(asynchronous), "the async function asynchronous"),
    ],
)
def test_what_is_no_function_to_track_is_refused(target, message):
    with pytest.raises(TypeError, match=message):
        track_flops(target)
