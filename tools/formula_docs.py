"""Print docs/formulas.md and docs/operations.md from the rules themselves.

--write puts them into the files; --check fails where the files differ, and says how to mend it.
"""

import importlib
import sys
from pathlib import Path

import torch

import flops_tracker
from flops_tracker import formulas

ROOT = Path(__file__).resolve().parent.parent
OF_ESTIMATORS = {"sgd_linear"}


def public_names(name: str) -> list[str]:
    """``torch.nn.modules.conv.Conv2d`` as ``Conv2d``; a private base as its public subclasses."""
    short = name.rsplit(".", 1)[1]
    if ".quantized." in name:
        return [f"quantized {short}"]
    if not short.startswith("_"):
        return [short]
    base = getattr(importlib.import_module(name.rsplit(".", 1)[0]), short)
    public = [(n, c) for n, c in vars(torch.nn).items() if isinstance(c, type)]
    return [n for n, c in public if issubclass(c, base) and not n.startswith("Lazy")]


def layers_of(formula: str) -> str:
    """Names of the layers that follow a formula, in the order of the registry."""
    rows = [r.name for r in flops_tracker.rules("torch.") if r.formula == formula]
    names = dict.fromkeys(public for row in rows for public in public_names(row))
    return ", ".join(f"`{name}`" for name in names)


def convention_table() -> list[str]:
    """One row per convention, its weights for contractions and for everything else."""
    conventions = flops_tracker.conventions()
    kinds = list(conventions[0].contractions)
    lines = [
        "| convention | " + " | ".join(kinds) + " | meaning |",
        "|" + "---|" * (len(kinds) + 2),
    ]
    for convention in conventions:
        weights = []
        for kind in kinds:
            inside, outside = convention.contractions[kind], convention.others[kind]
            weights.append(str(inside) if inside == outside else f"{inside} / {outside}")
        lines.append(f"| `{convention.name}` | {' | '.join(weights)} | {convention.text} |")
    return lines


def formula_table() -> list[str]:
    """One row per formula: the layers that follow it, the equation, its class."""
    lines = ["| layers | cost | class |", "|---|---|---|"]
    for rule in formulas.listing():
        layers = layers_of(rule.name) or f"`{rule.name}`" * (rule.name in OF_ESTIMATORS)
        if not layers:
            continue  # of operations only
        lines.append(f"| {layers} | {rule.equation} | {rule.op_class} |")
    return lines


def closed_forms_of(formula: str) -> list[str]:
    """The functions of numbers that are this formula alone."""
    known = (getattr(formulas, name) for name in dir(formulas))
    forms = [f for f in known if isinstance(f, formulas.Formula) and f.formulas == (formula,)]
    return [f"- `{form!r}`: {form.about}" for form in forms]


def formulas_page() -> str:
    """The whole of docs/formulas.md."""
    lines = [
        "# Formulas",
        "",
        "Printed from the rules in `csrc/core` by `make docs`; do not edit by hand.",
        "",
        "A formula returns a cost by kind of work; a convention turns it into FLOPs. Two numbers",
        "in a cell are the weights in contractions and in all other classes. `formulas.NAME(...)`",
        "is the same from numbers alone ([closed forms](usage.md#closed-forms)).",
        "",
        *convention_table(),
        "",
        "## The layer table",
        "",
        "What the estimators of layers read, under `layerwise`, and multiply by `training_factor`.",
        "Norms, softmax and average pooling count only with their switches on.",
        "",
        *formula_table(),
    ]
    for rule in formulas.listing():
        lines += ["", f"## {rule.name}", "", f"`{rule.equation}`", ""]
        lines += [f"- class: {rule.op_class}", f"- source: {rule.source}"]
        if layers := layers_of(rule.name):
            lines.append(f"- layers: {layers}")
        lines += [f"- example: {example}" for example in rule.examples]
        lines += closed_forms_of(rule.name)
    return "\n".join(lines) + "\n"


def operations_of(formula: str) -> list[str]:
    """Operations that follow a formula, each with its own numbers where it has some."""
    rows = [r for r in flops_tracker.rules() if r.formula == formula]
    by_numbers: dict[str, list[str]] = {}
    for row in rows:
        if not row.name.startswith("torch."):
            numbers = [f"{role} {text}" for role, text in row.operands.items() if text != "0"]
            by_numbers.setdefault(", ".join(numbers), []).append(f"`{row.name}`")
    return [
        f"| {', '.join(names)} | {numbers or 'nothing'} |" for numbers, names in by_numbers.items()
    ]


def operations_page() -> str:
    """The whole of docs/operations.md."""
    lines = [
        "# Operations",
        "",
        "Printed from the rules in `csrc/core/maps` by `make docs`; do not edit by hand.",
        "",
        "A name stands for all overloads of the operation, for the same in place (`add_`) and on",
        "lists (`_foreach_add`). Views count nothing, composite operations what they are made of,",
        "results of integers and booleans 0. What has `flops_profiler/` before it counts so under",
        "that convention.",
    ]
    for rule in formulas.listing():
        if operations := operations_of(rule.name):
            lines += ["", f"## {rule.name} ({rule.op_class})", "", f"`{rule.equation}`", ""]
            lines += ["| operations | where the formula's parts come from |", "|---|---|"]
            lines += operations
    return "\n".join(lines) + "\n"


def main() -> int:
    """Write or check the documents."""
    wanted = {
        ROOT / "docs" / "formulas.md": formulas_page(),
        ROOT / "docs" / "operations.md": operations_page(),
    }
    stale = [p for p, new in wanted.items() if not p.exists() or p.read_text() != new]
    if "--write" in sys.argv:
        for path in stale:
            path.write_text(wanted[path])
    elif stale:
        print(f"out of date: {', '.join(p.name for p in stale)}; run `make docs`")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
