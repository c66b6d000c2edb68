"""The layer table of an estimator as text."""

from typing import Any

from ._terminal import text_table
from ._views import Text


def layer_report(estimator: Any) -> str:
    """Rows of the layers that count, then what does not and why; without colours."""
    titles = ("layer", "class", "calls", "forward FLOPs", "formula")
    rows = []
    for layer in estimator.layers:
        if layer.flops:
            rule = f"{layer.rule} ({layer.note})" if layer.note else layer.rule
            name = layer.path or "(model)"
            rows.append((name, layer.module_class, str(layer.calls), f"{layer.flops:,}", rule))
    total = f"{estimator.forward_flops:,}"
    rows.append(("total", "", "", total, f"batch of {estimator.example_batch}"))

    lines = text_table(titles, rows, right=("calls", "forward FLOPs")).splitlines()
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
    return Text("\n".join(lines))


def _classes_with_own_code(estimator: Any) -> list[str]:
    """Classes outside of torch.nn whose forward may compute more than its submodules do."""
    from ._untouched import unwrap

    wanted = {x.path for x in estimator.layers if x.status in ("container", "uncounted")}
    names = {
        type(module).__name__
        for path, module in unwrap(estimator.model).named_modules()
        if path in wanted and not type(module).__module__.startswith("torch.")
    }
    return sorted(names)
