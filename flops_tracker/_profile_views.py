"""What people read of a profile: table, tree, largest classes of modules, Chrome trace."""

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from . import _core, _options, _output, _terminal, _views

# ---- the model as it prints itself; the profiler of compat.flops_profiler prints it so too ----


class Node(NamedTuple):
    """A module in a tree: its path, its class, and what stands in its brackets."""

    path: str
    module_class: str
    line: str
    names: tuple[str, ...] = ()  # other paths of the same module


def model_tree(nodes: Iterable[Node], depth: int | None = None) -> str:
    """Lay out modules as PyTorch prints a model; parents come before their children.

    ``depth`` is how many levels there are below the roots.
    """
    kept = [node for node in nodes if depth is None or node.path.count(".") <= depth]
    lines: dict[str, list[Node]] = {"": []}
    for node in kept:
        around = node.path.rpartition(".")[0]
        while around not in lines:
            around = around.rpartition(".")[0]
        lines[around].append(node)
        lines[node.path] = []
    return "\n".join(line for root in lines[""] for line in _lines_of(root, lines, 0))


def _lines_of(node: Node, inside: Mapping[str, list[Node]], level: int) -> Iterable[str]:
    indent = "  " * level
    own_name = node.path.rpartition(".")[2]
    name = " = ".join([own_name, *node.names])
    start = f"{indent}({name}): {node.module_class}(" if level else f"{node.module_class}("
    own_lines, children = node.line.split("\n"), inside[node.path]
    if not children and len(own_lines) == 1:
        yield f"{start}{node.line})"
        return
    yield start
    yield from (f"{indent}  {line}".rstrip() for line in own_lines)
    for child in children:
        yield from _lines_of(child, inside, level + 1)
    yield f"{indent})"


def largest_classes(
    classes: Mapping[str, str],
    measures: Mapping[str, Callable[[list[str]], float]],
    top: Any,
    depth: Any,
) -> tuple[int, dict[str, dict[str, Any]]]:
    """Find the classes of the modules at a depth that have most of each measure.

    ``classes`` has the class of each path, a measure adds up what some paths have. The depth of
    -1 is that of the innermost modules; it is returned too. ValueError where there is none so deep.
    """
    top = _options.whole("top", top, 1)
    depth = _options.whole("depth", depth, -1)
    deepest = max((path.count(".") for path in classes), default=0)
    if depth > deepest:
        raise ValueError(f"depth must be -1 to {deepest}, the innermost modules, not {depth}")
    depth = deepest if depth == -1 else depth
    paths: dict[str, list[str]] = {}
    for path, kind in classes.items():
        if path.count(".") == depth:
            paths.setdefault(kind, []).append(path)
    found = {}
    for name, measure in measures.items():
        sums = {kind: measure(some) for kind, some in paths.items()}
        found[name] = dict(sorted(sums.items(), key=lambda item: -item[1])[:top])
    return depth, found


# ---- of a Profile ----


def top_modules(profile: Any, top: Any, depth: Any) -> tuple[int, dict[str, dict[str, Any]]]:
    """Give the largest classes of modules of a profile, and their depth."""
    records = {record.module: record for record in profile.modules if record.module}

    def over(field: str) -> list[Any]:
        return [getattr(record, field) for record in records.values()]

    measures: dict[str, Callable[[list[str]], float]] = {
        "flops": lambda paths: _core._add_counts([records[path].flops for path in paths]),
        "params": lambda paths: _core._add_counts([records[path].params for path in paths]),
    }
    if any(seconds is not None for seconds in over("time")):
        measures["time"] = lambda paths: sum(records[path].time for path in paths)
    if any(delta is not None for delta in over("memory_delta")):
        measures["memory"] = lambda paths: sum(records[path].memory_delta or 0 for path in paths)
    classes = {path: record.module_class for path, record in records.items()}
    return largest_classes(classes, measures, top, depth)


def tree(profile: Any, depth: int | None, top: int | None) -> str:
    """Show the model with what each module costs, and the summary below."""
    depth = _options.whole_or_none("depth", depth)
    records = {record.module: record for record in profile.modules}
    whole = profile._time_of(list(range(len(profile._calls or ()))))
    nodes = []
    for path, module in profile.by_module().items():
        if path in records:
            parts = _costs_of(profile, records[path], whole)
        elif profile._ignored_by("", path) is None:
            parts = [*_params_of(profile, path), "not called"]
        else:
            continue
        if path in profile._facts and profile._facts[path].extra_repr:
            parts.append(profile._facts[path].extra_repr)
        nodes.append(Node(path, module.module_class, " · ".join(parts), module.aliases))
    text = [model_tree(nodes, depth)] if nodes else []
    if "" in records:
        text.append("(outside of modules) " + " · ".join(_costs_of(profile, records[""], whole)))
    if top is not None and nodes:
        text += _top_lines(profile, top, -1 if depth is None else depth)
    return _views.Text("\n".join([*text, "", summary(profile)]))


def _params_of(profile: Any, path: str) -> list[str]:
    """Parameters and their share; nothing of a module that a function was found to call."""
    if path not in profile._facts:
        return []
    params = profile._facts[path].params
    return [f"{_views.number_of(params, 'param')}, {_views.share(params, profile.params)}"]


def _costs_of(profile: Any, record: Any, whole: float | None) -> list[str]:
    parts = _params_of(profile, record.module)
    parts.append(f"{_amount(profile, record.flops)}, {_views.share(record.flops, profile.total)}")
    if record.time is not None:
        spread = record.spread
        around = f" ({1000 * spread.lower:.3f} to {1000 * spread.upper:.3f})"
        percent = f", {100 * record.time / whole:.1f} %" if whole else ""
        parts.append(_milliseconds(record.time) + around * (spread.steps > 1) + percent)
    if record.flops_per_second:
        parts.append(f"{_amount(profile, int(record.flops_per_second))}/s")
    if record.backward:
        phases = (
            ("forward", record.forward, record.forward_time),
            ("backward", record.backward, record.backward_time),
        )
        parts.append(
            ", ".join(
                f"{name} {_amount(profile, flops)}"
                + ("" if seconds is None else f" in {_milliseconds(seconds)}")
                for name, flops, seconds in phases
            )
        )
    if record.memory_delta is not None:
        parts.append(f"{record.memory_delta:+,} bytes")
    return parts


def _top_lines(profile: Any, top: Any, depth: int) -> list[str]:
    deepest = max(path.count(".") for path in profile.by_module())
    depth, found = top_modules(profile, top, min(depth, deepest))
    texts: dict[str, Callable[[Any], str]] = {
        "flops": lambda flops: _amount(profile, flops),
        "params": lambda params: f"{params:,}",
        "time": _milliseconds,
        "memory": lambda delta: f"{delta:+,} bytes",
    }
    lines = []
    for measure, sums in found.items():
        largest = ", ".join(f"{kind} {texts[measure](value)}" for kind, value in sums.items())
        lines.append(f"most {measure} at depth {depth}: {largest}")
    return lines


def _amount(profile: Any, count: int) -> str:
    """A count with its prefix and what it counts."""
    text = _core.format_flops(count)
    in_macs = profile.convention in ("macs", "flops_profiler")
    return text.replace("FLOP", "MAC") if in_macs else text


def _milliseconds(seconds: float) -> str:
    return f"{1000 * seconds:.3f} ms"


def summary(profile: Any) -> str:
    """The summary of the counts, and of what was measured."""
    lines = [_views.summary(profile)]
    if profile.time is not None:
        spread, parts = profile.spread, [f"{_milliseconds(profile.time)} a step"]
        if spread.steps > 1:
            parts[0] += (
                f" (median {1000 * spread.median:.3f}, quartiles {1000 * spread.lower:.3f} and "
                f"{1000 * spread.upper:.3f}, {spread.steps} steps)"
            )
        parts.append(f"{_amount(profile, int(profile.flops_per_second or 0))}/s")
        if profile.mfu is not None:
            parts.append(f"{100 * profile.mfu:.1f} % of the peak")
        lines.append(" · ".join(parts))
    if profile.memory is not None:
        lines.append(f"at most {profile.memory:,} bytes in use")
    for entry, calls, flops in profile.ignored:
        operations = _views.number_of(calls, "operation")
        lines.append(f"ignored in the table: {entry} ({operations}, {flops:,} FLOPs)")
    return "\n".join(lines)


_MEASURED = ("time", "FLOP/s", "bytes before", "bytes after", "bytes delta")


def rows_of(
    profile: Any, depth: int | None, top: int | None
) -> tuple[list[str], list[list[str]], int]:
    """Titles and rows of the records, without columns that nothing is in; how many are names."""
    by_op = profile.by == "op"
    titles = ("module", "operation", "phase") if by_op else ("module", "class", "calls", "params")
    records = [r for r in profile.records if depth is None or r.module.count(".") <= depth]
    kept = sorted(range(len(records)), key=lambda at: -records[at].flops)[:top]
    rows = []
    for at in sorted(kept):
        record = records[at]
        rate = record.flops / record.time if record.time and record.flops else None
        if by_op:
            first = [record.op, record.phase]
        else:
            first = [record.module_class, f"{record.calls:,}", f"{record.params:,}"]
        memory = [record.memory_before, record.memory_after, record.memory_delta]
        rows.append(
            [
                record.module or "(outside of modules)",
                *first,
                f"{record.flops:,}",
                f"{100 * record.share:.1f} %",
                "" if record.time is None else _milliseconds(record.time),
                "" if rate is None else f"{_amount(profile, int(rate))}/s",
                *("" if number is None else f"{number:,}" for number in memory),
            ]
        )
    columns = [*titles, "FLOPs", "share", *_MEASURED]
    always = len(titles) + 2
    used = [at for at, _ in enumerate(columns) if at < always or any(row[at] for row in rows)]
    names = 3 if by_op else 2
    return [columns[at] for at in used], [[row[at] for at in used] for row in rows], names


def table(profile: Any, depth: int | None, top: int | None) -> str:
    """The records of a profile, and the summary below."""
    depth, top = _options.whole_or_none("depth", depth), _options.whole_or_none("top", top)
    titles, rows, names = rows_of(profile, depth, top)
    text = _terminal.text_table(titles, rows, titles[names:])
    return _views.Text(f"{text}\n\n{summary(profile)}")


# ---- Chrome trace ----

_TRACKS = ("forward", "backward", "recompute", "optimizer")


def write_trace(profile: Any, path: Any) -> None:
    """Write the operations of the last step as slices; times are microseconds from the first."""
    if profile._starts is None:
        raise ValueError("a trace needs times: profile(..., time=True)")
    calls, lengths = profile._calls or [], profile._seconds[-1]
    zero = min(profile._starts, default=0.0)
    names = [("process_name", 0, f"flops_tracker · {profile.convention}")]
    names += [("thread_name", at, track) for at, track in enumerate(_TRACKS)]
    events: list[dict[str, Any]] = [
        {"name": kind, "ph": "M", "pid": 0, "tid": tid, "args": {"name": name}}
        for kind, tid, name in names
    ]
    for at, (op, module, phase, op_class, flops, _, _) in enumerate(calls):
        start, seconds = 1e6 * (profile._starts[at] - zero), lengths[at]
        arguments = {"module": module, "class": op_class, "flops": flops}
        if seconds > 0:
            arguments["flops_per_second"] = flops / seconds
        common = {"name": op, "cat": phase, "pid": 0, "tid": _TRACKS.index(phase)}
        events.append({**common, "ph": "X", "ts": start, "dur": 1e6 * seconds, "args": arguments})
        if profile._bytes is not None and at in profile._bytes:
            memory = {"name": "memory", "ph": "C", "pid": 0, "ts": start + 1e6 * seconds}
            events.append({**memory, "args": {"bytes": profile._bytes[at][1]}})
    about = {"convention": profile.convention, "total_flops": profile.total}
    text = json.dumps({"traceEvents": events, "displayTimeUnit": "ms", "otherData": about})
    _output.write_text(path, text + "\n")
