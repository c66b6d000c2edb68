"""What the command line counts: a factory of a model by name, inputs by shape, errors in a line."""

import contextlib
import importlib
import importlib.util
import re
import sys
import traceback
import types
import warnings
from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from .._core import UnknownOperationError
from .._frameworks import need
from . import _shared_options
from ._shared_options import F, with_options

if TYPE_CHECKING:
    from .._counts import FlopCount

_DTYPES = ("float32", "float64", "float16", "bfloat16", "int64", "int32", "bool", "complex64")
_OWN = str(Path(__file__).resolve().parent.parent)


class Problem(click.ClickException):
    """One line, and the exit code of wrong input."""

    exit_code = 2


class Input(click.ParamType[Any]):
    """``1,3,224,224``, ``1,128:int64``, ``mask=1,128:bool``: a name or None, a shape, a dtype."""

    name = "shape"
    _FORM = re.compile(r"(?:(?P<name>\w+)=)?(?P<shape>[^:=]*)(?::(?P<dtype>\w+))?")

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str | None, tuple[int, ...], str | None]:
        """Read one; a usage error where it is none."""
        if isinstance(value, tuple):
            return value
        found = self._FORM.fullmatch(value)
        sizes = [size.strip() for size in found["shape"].split(",")] if found else []
        if not found or not all(size.isdecimal() and size.isascii() for size in sizes):
            self.fail(f"{value!r} is no shape such as 1,3,224,224 or 1,128:int64", param, ctx)
        return found["name"], tuple(map(int, sizes)), found["dtype"]


def model_options(command: F) -> F:
    """Add the options of what is run, for commands that take factories."""
    return with_options(
        command,
        click.option(
            "--input",
            "inputs",
            multiple=True,
            type=Input(),
            metavar="[NAME=]SHAPE[:DTYPE]",
            help="An input of the model, such as 1,3,224,224 or 1,128:int64; in their order, or "
            "by name.",
        ),
        click.option("--backward", is_flag=True, help="The backward pass as well."),
        click.option("--eval", "in_eval", is_flag=True, help="Call model.eval() before."),
        _shared_options.convention,
    )


def counting_options(command: F) -> F:
    """Add the options of what to count."""
    return with_options(
        command,
        model_options,
        click.option(
            "--optimizer",
            metavar="NAME",
            help="And a step of that optimizer of torch.optim, such as adamw; with --backward.",
        ),
        _shared_options.causal,
        click.option(
            "--on",
            type=click.Choice(["fake", "meta", "real"]),
            default="fake",
            show_default=True,
            help="The tensors to run on; fake and meta ones compute nothing.",
        ),
        click.option("--strict", is_flag=True, help="An operation without a rule is an error."),
    )


class Loaded(NamedTuple):
    """A model, and the arguments to call it with."""

    model: Any
    args: list[Any]
    kwargs: dict[str, Any]


@contextlib.contextmanager
def loaded(target: str, inputs: Sequence[Any], in_eval: bool, doing: str) -> Iterator[Loaded]:
    """Give what a factory makes, to be run inside of the block.

    What it prints goes to stderr, and what it raises is told in a few lines.
    """
    try:
        torch = need("torch", "torch")
    except ModuleNotFoundError as error:
        raise Problem(str(error)) from None
    with contextlib.redirect_stdout(sys.stderr), _warnings_as_lines():
        factory = _attribute(target)
        with _told(f"{target}() raised"):
            made = factory() if not isinstance(factory, torch.nn.Module) else factory
        model, args, kwargs = _parts(made, target, torch)
        if inputs:
            args = [_tensor(item, torch) for item in inputs if item[0] is None]
            named = [item for item in inputs if item[0] is not None]
            kwargs = {item[0]: _tensor(item, torch) for item in named}
            if len(kwargs) < len(named):
                raise click.BadParameter("it has a name twice", param_hint="--input")
        if in_eval:
            model.eval()
        hint = "" if inputs or args or kwargs else "; give its inputs, as --input 1,3,224,224"
        with _told(f"{doing} {type(model).__name__} raised", hint):
            yield Loaded(model, args, kwargs)


def count_target(
    target: str,
    inputs: Sequence[Any],
    in_eval: bool,
    backward: bool,
    optimizer: str | None,
    **options: Any,
) -> "FlopCount":
    """Count what a factory gives, on fake copies."""
    if optimizer is not None and not backward:
        raise click.UsageError(f"--optimizer {optimizer} needs gradients: add --backward")
    with loaded(target, inputs, in_eval, "counting") as (model, args, kwargs):
        from .._count import count
        from .._optimizers import optimizer_for

        with _told("--optimizer:", plain=True):
            own = optimizer_for(model, optimizer)
        return count(model, *args, kwargs=kwargs, backward=backward, optimizer=own, **options)


# ---- the factory ----


def _attribute(target: str) -> Any:
    """What stands behind MODULE:NAME or FILE.py:NAME."""
    source, colon, path = target.rpartition(":")
    if not colon or not source or not path:
        raise Problem(f"{target!r} must be MODULE:FACTORY or FILE.py:FACTORY, as nets:resnet50")
    module = _file(source) if source.endswith(".py") else _module(source)
    found: Any = module
    for name in path.split("."):
        try:
            found = getattr(found, name)
        except AttributeError:
            raise Problem(f"{source} has no {path!r}{_meant(found, name)}") from None
    if not callable(found):
        raise Problem(f"{target} is {found!r}, and no class, function or module")
    return found


def _meant(owner: Any, name: str) -> str:
    near = get_close_matches(name, dir(owner), 1)
    if near:
        return f"; did you mean {near[0]!r}?"
    own = [
        key
        for key, value in vars(owner).items()
        if not key.startswith("_")
        and isinstance(value, type | types.FunctionType)
        and value.__module__ == getattr(owner, "__name__", "")
    ]
    return f"; it has {', '.join(own[:10])}" if own else ""


def _module(name: str) -> Any:
    if "" not in sys.path:
        sys.path.insert(0, "")  # as `python -m` has it
    with _told(f"importing {name} raised"):
        try:
            return importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name is None or not f"{name}.".startswith(f"{error.name}."):
                raise
    if Path(f"{name}.py").is_file() or "/" in name:
        raise Problem(f"there is no module {name!r}; for a file write {name}.py:FACTORY")
    here = [path.stem for path in Path().glob("*.py")]
    near = get_close_matches(name, here, 1)
    hint = f"; did you mean {near[0]!r}?" if near else f" on the path, nor in {str(Path.cwd())!r}"
    raise Problem(f"there is no module {name!r}{hint}")


def _file(source: str) -> Any:
    path = Path(source)
    if not path.is_file():
        near = get_close_matches(path.name, [p.name for p in path.parent.glob("*.py")], 1)
        hint = f"; did you mean {str(path.with_name(near[0]))!r}?" if near else ""
        raise Problem(f"there is no file {source!r}{hint}")
    name = source if path.stem in sys.modules else path.stem
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(path.parent.resolve()))
    sys.modules[name] = module
    with _told(f"{source} raised"):
        spec.loader.exec_module(module)
    return module


def _parts(made: Any, target: str, torch: Any) -> tuple[Any, list[Any], dict[str, Any]]:
    """A model, and its arguments where the factory gives them: (model, x, y), (model, dict)."""
    model, *rest = made if isinstance(made, tuple | list) and made else (made,)
    if not isinstance(model, torch.nn.Module):
        raise Problem(
            f"{target} must give a torch.nn.Module, or one and its inputs, and gave "
            f"{type(model).__name__}"
        )
    if len(rest) == 1 and isinstance(rest[0], dict):
        return model, [], rest[0]
    if len(rest) == 1 and isinstance(rest[0], tuple | list):
        return model, list(rest[0]), {}
    return model, rest, {}


def _tensor(item: tuple[str | None, tuple[int, ...], str | None], torch: Any) -> Any:
    _, shape, name = item
    dtype = getattr(torch, name or "float32", None)
    if not isinstance(dtype, torch.dtype):
        near = get_close_matches(str(name), _DTYPES, 1)
        hint = f"; did you mean {near[0]!r}?" if near else f": {', '.join(_DTYPES)}, ..."
        raise click.BadParameter(f"there is no dtype {name!r}{hint}", param_hint="--input")
    with _told(f"an input of {shape} raised"):
        return torch.zeros(shape, dtype=dtype)


# ---- what goes wrong ----


@contextlib.contextmanager
def _told(what: str, hint: str = "", plain: bool = False) -> Iterator[None]:
    """Say an error of the user's code in a few lines, with the place in it that raised."""
    try:
        yield
    except click.ClickException:
        raise
    except SystemExit as error:
        raise Problem(f"{what} SystemExit({error.code!r})") from None
    except Exception as error:
        if plain or isinstance(error, UnknownOperationError):
            raise Problem(f"{what} {error}") from None
        first = (str(error).strip().splitlines() or [""])[0]
        lines = [f"{what} {type(error).__name__}: {first}{hint}{_place(error)}"]
        lines += [f"  {note}" for note in getattr(error, "__notes__", [])]
        raise Problem("\n".join(lines)) from None


def _place(error: Exception) -> str:
    """The innermost line of the user's own files."""
    libraries = (_OWN, "<frozen", str(Path(importlib.__file__).parent))
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if not frame.filename.startswith(libraries) and "site-packages" not in frame.filename:
            return f" ({Path(frame.filename).name}, line {frame.lineno})"
    return ""


@contextlib.contextmanager
def _warnings_as_lines() -> Iterator[None]:
    """Each warning as a line on stderr, without a line of source."""
    with warnings.catch_warnings():
        warnings.showwarning = lambda message, *_, **__: click.echo(f"warning: {message}", err=True)
        yield
