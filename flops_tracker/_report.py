"""The layer table of an estimator as text."""

import io
from typing import Any


def layer_report(estimator: Any) -> str:
    """Rows of the layers that count, then what does not and why; a str without colours."""
    from ._dry_run import random_as_before

    with random_as_before():  # importing rich draws a random number
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

    table = Table(box=None, pad_edge=False)
    for title in ("layer", "class", "calls", "forward FLOPs", "formula"):
        table.add_column(title, justify="right" if title in ("calls", "forward FLOPs") else "left")
    for layer in estimator.layers:
        if layer.flops:
            name = layer.path or "(model)"
            rule = f"{layer.rule} ({layer.note})" if layer.note else layer.rule
            cells = (name, layer.module_class, str(layer.calls), f"{layer.flops:,}", rule)
            table.add_row(*(Text(cell) for cell in cells))  # a name may look like markup
    total = f"{estimator.forward_flops:,}"
    table.add_row("total", "", "", total, f"batch of {estimator.example_batch}")

    text = io.StringIO()
    console = Console(
        file=text, width=160, no_color=True, force_terminal=False, force_jupyter=False
    )
    console.print(table)
    lines = [line.rstrip() for line in text.getvalue().splitlines()]
    lines.append("")
    lines.append(f"convention: {estimator.convention}; dry run: {estimator.dry_run}")
    for title, layers in (
        ("not counted (parameters, but no rule)", estimator.uncounted),
        ("never called by forward", estimator.uncalled),
    ):
        if layers:
            names = ", ".join(
                f"{x.path or '(model)'}: {x.module_class}" + (f" ({x.note})" if x.note else "")
                for x in layers
            )
            lines.append(f"{title}: {names}")
    neglected = sorted({x.module_class for x in estimator.layers if x.status == "neglected"})
    if neglected:
        lines.append(f"taken as 0 by the table or its switches: {', '.join(neglected)}")
    own_code = _classes_with_own_code(estimator)
    lines.append(
        "not seen: operations outside modules (F.linear, @, scaled_dot_product_attention, ...)"
        + (f"; forward code that may hold some: {', '.join(own_code)}" if own_code else "")
    )
    return "\n".join(lines)


def _classes_with_own_code(estimator: Any) -> list[str]:
    """Classes outside of torch.nn whose forward may compute more than its submodules do."""
    from ._dry_run import unwrap

    wanted = {x.path for x in estimator.layers if x.status in ("container", "uncounted")}
    names = {
        type(module).__name__
        for path, module in unwrap(estimator.model).named_modules()
        if path in wanted and not type(module).__module__.startswith("torch.")
    }
    return sorted(names)
