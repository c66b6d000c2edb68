"""Runs a torch.fx graph node by node, and says which recorded calls were whose."""

from typing import Any, NamedTuple

import torch


class NodeRun(NamedTuple):
    """A node with the numbers of its calls, from ``first`` to before ``last``, and bytes in use."""

    node: Any
    first: int
    last: int
    before: int
    after: int


class Nodes(torch.nn.Module):  # type: ignore[misc]
    """A module whose forward runs the graph of ``graph_model``; ``runs`` is its last run."""

    def __init__(self, graph_model: Any, counter: Any, peak: bool) -> None:
        super().__init__()
        self.graph_model = graph_model
        self.counter, self.peak = counter, peak
        self.live: Any = None
        self.runs: list[NodeRun] = []

    def forward(self, *inputs: Any) -> Any:
        """Run every node."""
        self.runs.clear()
        return _Interpreter(self).run(*inputs)

    def bytes_in_use(self) -> int:
        """Bytes now, or the most so far; 0 while nothing is watched."""
        if self.live is None:
            return 0
        now = int(self.live.allocated())
        return int(self.live.peak) if self.peak else now


class _Interpreter(torch.fx.Interpreter):  # type: ignore[misc]
    def __init__(self, nodes: Nodes) -> None:
        super().__init__(nodes.graph_model)
        self.extra_traceback = False
        self._nodes = nodes

    def run_node(self, node: Any) -> Any:
        nodes = self._nodes
        first, before = nodes.counter._call_count, nodes.bytes_in_use()
        result = super().run_node(node)
        last = nodes.counter._call_count
        nodes.runs.append(NodeRun(node, first, last, before, nodes.bytes_in_use()))
        return result
