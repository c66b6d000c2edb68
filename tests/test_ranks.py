"""Several processes: what all of them counted, whose each number is, and ranks that are missing."""

import json
import os
import pickle
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import torch
from torch import nn
from training_models import toy

from flops_tracker import FlopCount, FlopCounter, FlopsTracker, SklearnSGDEstimator, _core, _ranks

HERE = Path(__file__).parent
dist = pytest.importorskip("torch.distributed")
if not dist.is_available() or not dist.is_gloo_available():
    pytest.skip("this build has no gloo", allow_module_level=True)


def torchrun(size, script, *arguments, folder):
    """Start that many processes; what they printed, and whether all ended well."""
    command = [sys.executable, "-P", "-m", "torch.distributed.run", "--standalone"]
    environment = {k: v for k, v in os.environ.items() if k not in ("RANK", "WORLD_SIZE")}
    return subprocess.run(
        [*command, "--nproc-per-node", str(size), script, *map(str, arguments)],
        env={**environment, "OMP_NUM_THREADS": "1"},
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


def seen_by(rank, folder):
    return json.loads((folder / f"rank{rank}.json").read_text())


class Work:
    """What all ranks of rank_programs.py saw of each scene."""

    def __init__(self, size, folder):
        self.size, self.folder = size, folder
        done = torchrun(size, HERE / "rank_programs.py", "work", folder, folder=folder)
        assert done.returncode == 0, done.stderr
        self.ranks = [seen_by(rank, folder) for rank in range(size)]

    def of_each(self, scene):
        return [seen[scene] for seen in self.ranks]


@pytest.fixture(scope="module", params=[2, 4])
def work(request, tmp_path_factory):
    return Work(request.param, tmp_path_factory.mktemp(f"of{request.param}"))


# A row forward is 2*(16*32 + 32*4) = 1,280 as contractions; backward the gradients of both weights
# and of the second one's input, 2*16*32 + 2*2*32*4 = 1,536.
FORWARD, BACKWARD = 1_280, 1_536


def one_process(rows):
    """The same training by one process; the total that several must come to."""
    model = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 4))
    ft = FlopsTracker(model, convention="matmul")
    for batch in ft.steps(torch.rand(rows, 16).split(8)):
        model(batch).sum().backward()
    assert ft.global_flops == ft.total_flops == rows * (FORWARD + BACKWARD)
    return ft.total_flops


def check_totals(work, scene, rows):
    phases = {"forward": rows * FORWARD, "backward": rows * BACKWARD, "recompute": 0}
    for (total, steps), (of_block, by_phase) in work.of_each(scene):
        assert total == of_block == one_process(rows)
        assert by_phase == {**phases, "optimizer": 0}
        assert 0 < sum(steps) < total
    assert sum(sum(seen[0][1]) for seen in work.of_each(scene)) == one_process(rows)


@pytest.mark.parametrize("scene", ["replicated", "sharded", "tensor_parallel"])
def test_ranks_together_do_what_one_process_does(work, scene):
    check_totals(work, scene, 27)


def test_ranks_that_join_early(work):
    # 12 rows on the first rank, 5 on each other.
    check_totals(work, "joined", 12 + 5 * (work.size - 1))
    assert len(work.of_each("joined")[0][0][1]) == 3
    assert len(work.of_each("joined")[1][0][1]) == 2


def test_pipeline_stages(work):
    # A row in each layer: 2*16*16 forward, twice that backward; the first one's input has no
    # gradient. The trial runs of the first step are left out, so that all steps cost the same.
    each = 2 * 16 * 16
    forward, backward = work.size * each, 2 * work.size * each - each
    for rank, ((total, steps), (of_block, by_phase)) in enumerate(work.of_each("pipeline")):
        assert total == of_block == 24 * (forward + backward)
        assert (by_phase["forward"], by_phase["backward"]) == (24 * forward, 24 * backward)
        assert steps == [8 * (3 - (rank == 0)) * each] * 3


def test_phases_of_all_ranks(work):
    trained, validated = 2 * (FORWARD + BACKWARD), 3 * FORWARD
    for rank, seen in enumerate(work.of_each("phases")):
        assert seen["each"] == {"train": work.size * trained, "validate": validated}
        assert seen["together"] == work.size * trained + validated
        assert seen["own"] == trained + (validated if rank == 0 else 0)
        assert seen["calls"] == work.size
        everywhere = f"all {work.size} ranks"
        assert seen["ranks"] == [f"rank {rank} of {work.size}", everywhere, everywhere]


def test_sums_beyond_64_bits_are_exact_and_overflow_is_an_error(work):
    # 10**25 * (1 + ... + size) + size
    total = 10**25 * (work.size * (work.size + 1) // 2) + work.size
    for seen in work.of_each("large_counts"):
        assert seen["exact"] == str(total)
        assert seen["too large"].startswith("OverflowError")  # 2**127 twice


def test_what_does_not_add_up_is_refused_on_every_rank(work):
    for seen in work.of_each("misuse"):
        assert "RuntimeError: global_flops: what came back is not the sum" in seen["conventions"]
        assert "different conventions" in seen["conventions of counts"]
        assert "ValueError: all_reduce: the work of rank 0 would be in the sum tw" in seen["twice"]
        assert seen["too large"].startswith("OverflowError: all_reduce: the counts of rank 0")
        assert seen["in a block"] == 0


def test_a_group_is_for_its_ranks(work):
    for rank, seen in enumerate(work.of_each("misuse")):
        # Rank 1 alone: its one row, in multiply-accumulates.
        expected = str(FORWARD // 2) if rank == 1 else "ValueError: all_reduce: this rank is not in"
        assert seen["another group"].startswith(expected)


def test_sums_along_the_axes_of_a_mesh(work):
    # Rank r multiplies 1 + r rows by a matrix of 2 by 3: 12 FLOPs a row.
    everywhere = 12 * work.size * (work.size + 1) // 2
    for rank, (pair, ranks, total, every, twice) in enumerate(work.of_each("grid")):
        first = rank - rank % 2
        assert pair == 12 * (1 + first + 2 + first)
        assert ranks == ("all 2 ranks" if work.size == 2 else "2 of 4 ranks")
        assert total == everywhere
        assert every == f"all {work.size} ranks"
        assert f"the work of rank {first} would be in the sum twice" in twice


def test_every_line_says_whose_numbers_it_has(work):
    for rank, (first, every) in enumerate(work.of_each("printed")):
        assert first == every
        place = f"rank {rank} of {work.size}"
        assert f"{2 * (FORWARD + BACKWARD):,} FLOPs" in first[-2]
        assert all(place in line for line in first)
        # A step, an epoch, the end; what was asked for. Below a total its rate.
        assert len(first) == (6 if rank == 0 else 2)


def test_the_first_rank_writes_files_and_others_where_asked_to(work):
    def files(prefix):
        return sorted(path.name for path in work.folder.glob(f"{prefix}*.csv"))

    assert files("first") == ["first_batch.csv", "first_epoch.csv"]
    later = [f"all.rank{rank}_{kind}.csv" for rank in range(1, work.size) for kind in KINDS]
    assert files("all") == sorted(["all_batch.csv", "all_epoch.csv", *later])


KINDS = ("batch", "epoch")


def test_a_rank_that_is_elsewhere_is_an_error_and_no_hang(work):
    *others, late = work.of_each("absent")
    assert late[1] == 7
    for error, total in others:
        assert error.startswith(f"RuntimeError: global_flops: not all {work.size} ranks took part")
        assert "total_flops" in error
        assert total == 7  # and it can still be read
    assert f"rank {work.size - 1} did not come" in others[0][0]


@pytest.mark.parametrize("how", ["killed", "failed"])
def test_rows_stay_where_a_rank_dies_in_the_middle(how, tmp_path):
    done = torchrun(2, HERE / "rank_programs.py", how, tmp_path, folder=tmp_path)
    assert done.returncode != 0
    assert not (tmp_path / "rank1.json").exists()
    seen = seen_by(0, tmp_path)["dying"]
    step = 2 * (FORWARD + BACKWARD)
    assert seen["training"].startswith("RuntimeError")  # gloo's own: the other side is gone
    assert seen["global"].startswith("RuntimeError: global_flops: not all 2 ranks took part")
    assert seen["total"] == 3 * step
    assert seen["epochs"] == [[3, 3 * step, False]]
    for prefix in ("run", "run.rank1"):
        rows = (tmp_path / f"{prefix}_batch.csv").read_text().splitlines()[1:]
        assert [row.split(",")[3] for row in rows] == [str(step)] * 3
    epochs = (tmp_path / "run_epoch.csv").read_text().splitlines()[1:]
    assert [epoch.split(",")[1] for epoch in epochs] == [str(3 * step)]


def test_the_example_comes_to_the_same_total_with_two_ranks(tmp_path):
    done = torchrun(2, HERE.parent / "examples" / "ddp.py", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    # See test_examples.py. Of 1797 rows, the first rank has 899, in 15 batches as the other.
    each = 18_944 + 21_504
    total, own = 3 * 1797 * each, 3 * 899 * each
    assert f"epoch 2: {total:,} FLOPs of 2 ranks, {own:,} of them here" in done.stdout
    assert done.stdout.count("epoch 2") == 1
    assert "all 2 ranks · matmul" in done.stdout


# ---- in one process ----


def trained():
    ft = FlopsTracker(SklearnSGDEstimator(3, 2))
    with ft:
        ft.on_epoch_start()
        ft.update_batch(5)
        ft.on_epoch_end()
    return ft


TRAINED = 4 * 5 * 3 * 2


@pytest.fixture
def alone(monkeypatch):
    monkeypatch.delenv("RANK", raising=False)
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    return monkeypatch


def test_a_process_alone_has_all_there_is(alone):
    ft = trained()
    assert ft.global_flops == ft.total_flops == TRAINED
    model = nn.Linear(4, 3)
    with FlopCounter(model) as counter:
        model(torch.rand(2, 4))
    assert counter.all_reduce().total == counter.total
    assert counter.ranks == ""
    assert "rank" not in f"{counter} {counter.table()} {ft!r}"


@pytest.mark.parametrize(
    ("rank", "size", "label"),
    [
        ("1", "4", "rank 1 of 4"),
        ("0", "4", "rank 0 of 4"),
        ("0", "1", ""),
        ("0", "", ""),
        ("3", "", "rank 3"),
        ("x", "4", "rank 0 of 4"),
        ("-1", "x", ""),
    ],
)
def test_the_place_as_torchrun_says_it(alone, rank, size, label):
    alone.setenv("RANK", rank)
    alone.setenv("WORLD_SIZE", size)
    assert _ranks.label() == label


def test_without_a_process_group_a_rank_is_told_that_it_reads_its_own(alone, capsys):
    alone.setenv("RANK", "1")
    alone.setenv("WORLD_SIZE", "4")
    ft = trained()
    with pytest.warns(UserWarning, match=r"rank 1 of 4's own count.*init_process_group"):
        assert ft.global_flops == TRAINED
    assert repr(ft).endswith(", rank 1 of 4>")
    ft.print_total_flops()
    assert capsys.readouterr().out.startswith(f"total {TRAINED} FLOPs · rank 1 of 4 · ")


def test_the_bar_of_the_first_rank_says_that_it_is_its_own(alone, capsys):
    alone.setenv("RANK", "0")
    alone.setenv("WORLD_SIZE", "2")
    toy().tracker.run(1, progress=True)
    assert "rank 0 of 2 · epoch 1" in capsys.readouterr().err


@pytest.fixture
def pretended(alone):
    """Four ranks of which this is the third; the others are pretended, and add nothing up."""
    from torch.testing._internal.distributed.fake_pg import FakeStore

    dist.init_process_group("fake", store=FakeStore(), rank=2, world_size=4)
    yield
    dist.destroy_process_group()


def test_a_backend_that_adds_nothing_up_is_found_out(pretended):
    with pytest.raises(RuntimeError, match=r"global_flops: .*fake"):
        _ = trained().global_flops


def test_counts_say_whose_they_are_wherever_they_are_read(pretended):
    model = nn.Linear(4, 3)
    with FlopCounter(model) as counter:
        model(torch.rand(2, 4))
    counts = counter.counts
    dist.destroy_process_group()
    try:
        elsewhere = pickle.loads(pickle.dumps(counts))
    finally:
        dist.init_process_group("fake", store=dist.HashStore(), rank=2, world_size=4)
    for one in (counts, elsewhere, counts.under("macs")):
        assert one.ranks == one.to_dict()["ranks"] == "rank 2 of 4"
        for text in (str(one), repr(one), one.table(), one.tree(), one.to_html(), one.trust_line):
            assert "rank 2 of 4" in text


def test_limbs_that_are_no_sum_are_refused():
    limbs = trained()._limbs(7)
    assert _core._join_limbs(limbs, 7, 1) == TRAINED
    assert _core._join_limbs([3 * limb for limb in limbs], 7, 3) == 3 * TRAINED
    for wrong in (limbs[:-1], [], [-1, *limbs[1:]], [*limbs[:-1], 8]):
        with pytest.raises(ValueError, match="sum of all ranks"):
            _core._join_limbs(wrong, 7, 1)
    with pytest.raises(OverflowError):
        _core._join_limbs([2**63, *limbs[1:]], 7, 1)
    with pytest.raises(TypeError):
        _core._join_limbs(["1", *limbs[1:]], 7, 1)


def counted(*sizes):
    """A block in which these layers of one model ran."""
    model = nn.ModuleDict({str(size): nn.Linear(size, 2) for size in (3, 4, 5)})
    with FlopCounter(model) as counter:
        for size in sizes:
            model.zero_grad()  # the second gradient would be added to the first
            model[str(size)](torch.rand(1, size)).sum().backward()
        torch.rand(sum(sizes)).exp()
    return counter.counts


def test_counts_of_several_are_those_of_one_that_did_it_all():
    parts = [counted(3, 4), counted(4, 4), counted(5)]
    everything = FlopCount._from_states([part._state() for part in parts])
    # exp is elementwise: 3+4, 4+4 and 5 of them are the 20 of all layers together.
    expected = counted(3, 4, 4, 4, 5)
    assert everything.by_module() == expected.by_module()
    assert everything.by_op() == expected.by_op()
    assert everything.by_phase() == expected.by_phase()
    assert everything.by_dtype() == expected.by_dtype()
    assert everything.operations == expected.operations + 4  # rand and exp, twice more
    assert everything.bytes == expected.bytes
    assert everything.uncalled == []
    assert parts[2].uncalled == ["ModuleDict.3", "ModuleDict.4"]
    alone = FlopCount._from_states([parts[0]._state()])
    assert sorted(alone.rows) == sorted(parts[0].rows)
    assert pickle.loads(pickle.dumps(everything)).by_module() == expected.by_module()


def test_counts_of_other_models_stay_apart():
    def of(model):
        with FlopCounter(model) as counter:
            model(torch.rand(1, 4))
        return counter.counts

    stages = [of(nn.Sequential(nn.Linear(4, 4))), of(nn.Linear(4, 2))]
    together = FlopCount._from_states([stage._state() for stage in stages])
    # A bias addition for each output: 2*4*4 + 4 and 2*4*2 + 2.
    assert {path: module.own for path, module in together.by_module().items()} == {
        "Sequential": 0,
        "Sequential.0": 36,
        "Linear": 18,
    }


def test_states_that_are_none_are_refused():
    state = counted(3)._state()
    for wrong in ([], (), None, state):
        with pytest.raises(ValueError, match="a list of one or more"):
            FlopCount._from_states(wrong)
    with pytest.raises(ValueError, match="no tuple"):
        FlopCount._from_states([state, None])
    exact = pickle.loads(pickle.dumps(counted(3).under("exact")))
    with pytest.raises(ValueError, match="standard and exact"):
        FlopCount._from_states([state, exact._state()])
    model = nn.Linear(4, 3)
    with FlopCounter(model, causal="exact") as counter:
        model(torch.rand(1, 4))
    with pytest.raises(ValueError, match="causal='full' or 'exact'"):
        FlopCount._from_states([state, counter.counts._state()])


# ---- budgets ----


def ranks_of(monkeypatch, rank, size):
    """A process group of which the other ranks are pretended."""
    from torch.testing._internal.distributed.fake_pg import FakeStore

    monkeypatch.delenv("RANK", raising=False)
    dist.init_process_group("fake", store=FakeStore(), rank=rank, world_size=size)


def trained_to(budget, **options):
    """What was warned of in two loops to that budget, and the file of the line that led there."""
    ft = FlopsTracker(nn.Linear(4, 3), convention="matmul", max_flops=budget, **options)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(2):
            for _ in ft.epochs(2):
                for x in ft.steps([torch.ones(2, 4)] * 2):
                    ft.estimator.model(x)
    return [(w.category, str(w.message), w.filename) for w in caught]


def test_a_budget_of_one_of_several_ranks_is_warned_of_once(monkeypatch):
    ranks_of(monkeypatch, 0, 4)
    try:
        ((category, message, place),) = trained_to(10**9)
    finally:
        dist.destroy_process_group()
    assert (category, place) == (UserWarning, __file__)
    assert message.startswith("max_flops is a budget of each of the 4 ranks: where their batches")
    assert "batches of the same sizes" in message and "ft.global_flops >= budget" in message


@pytest.mark.parametrize(
    ("rank", "size", "budget", "options"),
    [
        (1, 4, 10**9, {}),  # the first one says it
        (0, 1, 10**9, {}),
        (0, 4, None, {}),
        (0, 4, 10**9, {"on_budget": "warn"}),
        (0, 4, 10**9, {"on_budget": lambda tracker: True}),
    ],
)
def test_budgets_that_let_no_rank_wait(rank, size, budget, options, monkeypatch):
    ranks_of(monkeypatch, rank, size)
    try:
        assert trained_to(budget, **options) == []
    finally:
        dist.destroy_process_group()


def test_a_loop_that_trains_by_itself_warns_too(monkeypatch):
    ranks_of(monkeypatch, 0, 2)
    try:
        ft = toy().tracker
        ft.max_flops = 10**9
        with pytest.warns(UserWarning, match="max_flops is a budget of each of the 2 ranks"):
            ft.run(1)
    finally:
        dist.destroy_process_group()
