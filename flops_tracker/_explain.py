"""explain(): the rule of an operation, with the numbers of one call put in."""

import re
from difflib import get_close_matches
from typing import Any

from . import _core
from ._frameworks import need
from ._views import Text


def explain(op: Any, *arguments: Any, **keywords: Any) -> str:
    """Say how an operation is counted: ``print(explain("aten.mm", (4, 5), (5, 6)))``.

    ``op`` is a name (``"aten.mm"``, ``"aten::mm"``, ``"aten.add.Tensor"``) or an overload of
    ``torch.ops``. Arguments come in the order of its schema; a tensor is given by its shape.
    Nothing is computed: the call is made on the meta device.
    """
    need("torch", "torch")
    from ._counting import unseen_by_counters

    overload = _overload_of(op)
    counter = _core.FlopCounter()
    with unseen_by_counters():
        args, kwargs = _arguments_of(overload, arguments, keywords)
        try:
            with counter:
                result = overload(*args, **kwargs)
        except Exception as error:
            error.add_note(
                "shapes stand for tensors of float32: where another dtype is needed, give a tensor"
            )
            raise
    counts = counter.counts
    lines = [f"{overload} · {counts._what_counted.split(' · ')[1]}"]
    called = _core._explain_call(overload, args, kwargs, result)
    sources = _sources_of(str(overload), [formula for formula, _, _ in called])
    for (formula, equation, operands), source in zip(called, sources, strict=True):
        lines.append(f"{formula}: {equation}")
        given = dict.fromkeys(  # one option may be several steps
            _operand_text(role, value, source.get(role, role))
            for role, value in operands.items()
            if value is not None and not (value == 0 and role.startswith("step"))
        )
        lines.append("  with " + ", ".join(given) if given else "  of nothing")
    for row in counts.rows:
        cost = ", ".join(f"{kind} {n:,}" for kind, n in row.cost.items() if n)
        lines.append(f"{row.op} ({row.op_class}): {cost or 'nothing'}")
    lines.append(
        " · ".join(f"{c.name} {counts.under(c.name).total:,}" for c in _core.conventions()[:4])
    )
    if counts.unknown:
        lines.append(f'no rule: add one with register_rule("{overload}", fn)')
    return Text("\n".join(lines))


# What rules() says of an operand that is a question and no number: "alpha other than 1".
_QUESTION = re.compile(r"(with|option|bias in) |.* (other than \d+|without bound|of ('.*'|\d+))$")


def _sources_of(name: str, formulas: list[str]) -> list[dict[str, str]]:
    """Where the operands of each formula of an operation come from, as far as rules() says."""
    packet = name.rpartition(".")[0]
    library, _, operation = packet.rpartition(".")
    plain = operation.removeprefix("_foreach_").rstrip("_")
    for known in (name, packet, f"{library}.{plain}"):
        found = [rule for rule in _core.rules(known) if rule.name == known]
        if found and [rule.formula for rule in found] == formulas:
            return [rule.operands for rule in found]
    return [{}] * len(formulas)


def _operand_text(role: str, value: Any, source: str) -> str:
    if _QUESTION.match(source) and value in (0, 1):
        return f"{source}: {'yes' if value else 'no'}"
    return f"{role} = {value}"


def _overload_of(op: Any) -> Any:
    import torch

    if isinstance(op, torch._ops.OpOverload):
        return op
    if not isinstance(op, str | torch._ops.OpOverloadPacket):
        what = f"the class {op.__name__}" if isinstance(op, type) else repr(op)
        raise TypeError(
            f"op must be an operation of torch.ops or its name, such as 'aten.mm', not {what}; "
            "rules('Linear') has the rules of layers"
        )
    name = str(op).replace("::", ".")
    library, _, rest = name.partition(".")
    operation, _, overload = rest.partition(".")
    try:
        packet = getattr(getattr(torch.ops, library), operation)
    except (AttributeError, RuntimeError):
        raise ValueError(
            f"there is no operation {name!r} in this PyTorch{_suggestion(name)}"
        ) from None
    if not overload:
        overload = "default" if "default" in packet.overloads() else packet.overloads()[0]
    if overload not in packet.overloads():
        raise ValueError(
            f"{library}.{operation} has no overload {overload!r}, but {packet.overloads()}"
        )
    return getattr(packet, overload)


def _suggestion(name: str) -> str:
    """The nearest of torch's own operations, which are what people forget the library of."""
    import torch

    known = {
        overload.removeprefix("aten::").split(".")[0]
        for overload in torch._C._dispatch_get_all_op_names()
        if overload.startswith("aten::")
    }
    operation = name.removeprefix("aten.").removeprefix("torch.").split(".")[0]
    near = [operation] if operation in known else get_close_matches(operation, known, 1)
    return f"; did you mean 'aten.{near[0]}'?" if near else ""


def _arguments_of(
    overload: Any, arguments: tuple[Any, ...], keywords: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Make meta tensors of the shapes that stand where the schema has tensors."""
    schema = overload._schema.arguments
    if len(arguments) > len(schema):
        raise TypeError(f"{overload} takes {len(schema)} arguments, not {len(arguments)}")
    given = dict(zip((a.name for a in schema), arguments, strict=False)) | keywords
    unknown = set(given) - {a.name for a in schema}
    if unknown:
        raise TypeError(f"{overload} has no argument {sorted(unknown)[0]!r}: {overload._schema}")
    args, kwargs = [], {}
    for argument in schema:
        if argument.name not in given:
            if not argument.has_default_value():
                raise TypeError(
                    f"{overload} needs {argument.name!r} ({argument.type}): {overload._schema}"
                )
            value = argument.default_value
        else:
            value = _value_of(given[argument.name], str(argument.type))
        if argument.kwarg_only:
            kwargs[argument.name] = value
        else:
            args.append(value)
    return tuple(args), kwargs


def _value_of(value: Any, kind: str) -> Any:
    import torch

    if value is None or "Tensor" not in kind or isinstance(value, torch.Tensor):
        return value
    if "List" in kind:
        return [_value_of(item, "Tensor") for item in value]
    return torch.empty(tuple(value), device="meta")
