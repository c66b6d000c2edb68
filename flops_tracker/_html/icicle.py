"""The modules of a count as an icicle in SVG and as a tree of <details>, row by row the same.

The n-th row of the tree that has FLOPs belongs to the n-th cell of the icicle: page.js relies on
that, and on nothing else. A cell's width is the module's share with all that is inside it; where
it has work of its own, that is the gap to the right of the modules below it.
"""

from typing import Any, NamedTuple

from .. import _core, _views
from .markup import escape, length, percent

_ROW = 22  # pixels from one level to the next
_COLOURS = 8
_NAMED = 0.05  # per cent of all FLOPs from which a class has a colour of its own
_LABELLED = 1.5  # per cent of the width from which a cell has its name without a script
_OPEN_ROWS = 30  # of the tree, at first


class Node(NamedTuple):
    """A module: place and width in per cent of the whole, and the numbers of its children."""

    name: str  # without that of the module around it
    kind: str
    aliases: tuple[str, ...]
    calls: int
    own: int
    inclusive: int
    depth: int
    left: float
    width: float
    children: list[int]


def nodes(counts: Any) -> list[Node]:
    """List the whole, then its modules, each before those inside it, in the model's order."""
    modules, sums = counts._modules, counts._module_sums()
    below: dict[int, list[int]] = {}
    for number, (_, _, parent, *_) in enumerate(modules):
        if number:
            below.setdefault(parent, []).append(number)
    listed = [Node("all", "", (), 0, 0, counts.total, 0, 0.0, 100.0, [])]
    # Deep models are no reason for deep recursion: the module, where it stands, who is above.
    waiting = [(number, 0) for number in reversed(below.get(0, []))]
    used = {0: 0.0}  # per cent of each that its children have taken
    while waiting:
        number, above = waiting.pop()
        name, kind, parent, calls, aliases, *_ = modules[number]
        own, inclusive = sums[number]
        around, width = listed[above], percent(inclusive, counts.total)
        name = name.removeprefix(f"{modules[parent][0]}.")
        left, depth = around.left + used[above], around.depth + 1
        used[above] += width
        here = len(listed)
        used[here] = 0.0
        around.children.append(here)
        place = (depth, left, width)
        listed.append(Node(name, kind, aliases, calls, own, inclusive, *place, []))
        waiting += [(child, here) for child in reversed(below.get(number, []))]
    if counts.outside:
        width = percent(counts.outside, counts.total)
        listed[0].children.append(len(listed))
        place = (1, used[0], width)
        listed.append(
            Node("(outside of modules)", "", (), 0, counts.outside, counts.outside, *place, [])
        )
    return listed


def _colours(listed: list[Node]) -> dict[str, tuple[int, int]]:
    """Number and own FLOPs of the classes that compute most; what is left has the last number."""
    own: dict[str, list[int]] = {}
    for node in listed[1:]:
        if node.own:
            own.setdefault(node.kind or "outside of modules", []).append(node.own)
    sums = {kind: _core._add_counts(counts) for kind, counts in own.items()}
    ordered = sorted(sums.items(), key=lambda item: -item[1])
    total = listed[0].inclusive
    return {
        kind: (at + 1 if at + 1 < _COLOURS and percent(flops, total) > _NAMED else _COLOURS, flops)
        for at, (kind, flops) in enumerate(ordered)
    }


def _colour(node: Node, colours: dict[str, tuple[int, int]]) -> int:
    """The colour of its class, where it is more than what is inside it; grey elsewhere."""
    if node.children and 2 * node.own < node.inclusive:
        return 0
    return colours.get(node.kind or "outside of modules", (0, 0))[0]


def icicle(listed: list[Node]) -> str:
    """Draw the modules, with a legend of their classes; a sentence where nothing was counted."""
    total = listed[0].inclusive
    if not total:
        return '<p class="none">No FLOPs were counted, so there is nothing to draw.</p>'
    colours = _colours(listed)
    shown = [node for node in listed if node.inclusive]
    height = _ROW * (1 + max(node.depth for node in shown))
    cells = []
    for node in shown:
        label = f"<text x=4 y=15>{escape(node.name)}</text>" if node.width > _LABELLED else ""
        cells.append(
            f'<svg class="c k{_colour(node, colours)}" x={length(node.left)} '
            f"y={_ROW * node.depth} width={length(node.width)} height={_ROW - 1}>"
            f"<rect/>{label}</svg>"
        )
    return (
        f'<div class="chart"><svg class="icicle" width="100%" height="{height}" role="tree" '
        f'aria-label="modules by FLOPs">{"".join(cells)}</svg></div>{_legend(colours, total)}'
    )


def _legend(colours: dict[str, tuple[int, int]], total: int) -> str:
    named = [(kind, *row) for kind, row in colours.items() if row[0] < _COLOURS]
    others = [flops for number, flops in colours.values() if number == _COLOURS]
    if others:
        rest = _core._add_counts(others)
        named.append((f"{len(others)} more", _COLOURS, rest))
    items = "".join(
        f'<li><i class="k{number}"></i>{escape(kind)} {_views.share(flops, total)}</li>'
        for kind, number, flops in named
    )
    return f'<ul class="legend">{items}</ul>'


def tree(listed: list[Node]) -> str:
    """Give the same as a tree that opens; the first levels are open."""
    opened = _first_open(listed)
    total = listed[0].inclusive
    parts = []
    waiting: list[int | str] = [0]
    while waiting:
        item = waiting.pop()
        if isinstance(item, str):
            parts.append(item)
            continue
        node = listed[item]
        if node.children:
            state = " open" if item in opened else ""
            parts.append(f"<details style=--d:{node.depth}{state}>{_row('summary', node, total)}")
            waiting += ["</details>", *reversed(node.children)]
        else:
            parts.append(_row("p", node, total))
    return f'<div class="tree">{_TITLES}{"".join(parts)}</div>'


_TITLES = (
    '<p class="titles"><b>module</b><i></i><span>calls</span><span>own FLOPs</span>'
    "<span>with inside</span><span>share</span></p>"
)


def _row(tag: str, node: Node, total: int) -> str:
    kind = " = ".join([node.kind, *node.aliases])
    numbers = (node.calls or "", node.own, node.inclusive, _views.share(node.inclusive, total))
    cells = "".join(
        f"<span>{n:,}</span>" if isinstance(n, int) else f"<span>{n}</span>" for n in numbers
    )
    bar = (
        f" style=--w:{length(round(node.width, 1))}" if node.inclusive and node.width > 0.1 else ""
    )
    return (
        f'<{tag} class="{"m" if node.inclusive else "m z"}"{bar}>'
        f"<b>{escape(node.name)}</b><i>{escape(kind)}</i>{cells}</{tag}>"
    )


def _first_open(listed: list[Node]) -> set[int]:
    """Open level by level, the largest first, while the tree stays short."""
    opened, rows = set(), 1
    level = [0]
    while level:
        level.sort(key=lambda number: -listed[number].inclusive)
        for number in level:
            if rows + len(listed[number].children) <= _OPEN_ROWS or number == 0:
                rows += len(listed[number].children)
                opened.add(number)
        level = [child for number in level if number in opened for child in listed[number].children]
    return opened
