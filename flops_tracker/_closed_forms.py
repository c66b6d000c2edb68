"""Formulas as functions of numbers: NumPy ufuncs with names, defaults and errors for arguments."""

import inspect
from functools import cached_property
from typing import Any

from . import _core, _options

# What a ufunc takes beside its inputs.
UFUNC_OPTIONS = ("out", "where", "dtype", "casting", "order", "subok", "signature")


class Formula:
    """The FLOPs of a layer or an operation from numbers alone: ``formulas.linear(32, 768, 3072)``.

    Arguments are integers or arrays of integers, by position or name, and broadcast; flags are 0
    or 1. The result is int64, or what ``dtype`` says: ``float`` is the nearest float64, ``object``
    Python's integers, exact to 2**128. ``convention`` says how the cost is read; ``out``, ``where``
    and the other options of ufuncs are theirs. The ufunc itself is ``ufunc``: it takes all
    arguments by position, and the convention's place in ``conventions()`` as the last one.

    ``arguments`` are the names, ``defaults`` the values of those that have one (of another
    argument where it is a name), ``formulas`` the names in ``formulas.listing()`` that it adds
    up, and ``about`` says what it is.

    Raises:
        ValueError: an argument is negative, or does not fit the others.
        TypeError: an argument is no integer, or unknown.
        FloatingPointError: a count passes 2**63 - 1.

    """

    def __init__(
        self,
        name: str,
        about: str,
        formulas: tuple[str, ...],
        arguments: tuple[tuple[str, str, str | None], ...],
    ) -> None:
        self.name = self.__name__ = name
        self.about = about
        self.formulas = formulas
        self.arguments = tuple(argument for argument, _, _ in arguments)
        self.defaults: dict[str, int | str] = {
            argument: default if default in self.arguments else int(default)
            for argument, _, default in arguments
            if default is not None
        }
        self._flags = {argument for argument, sign, _ in arguments if sign in ("?", "!")}
        self._limits = {argument for argument, sign, _ in arguments if sign == "~"}
        cost = _tables.equations[formulas[0]] if len(formulas) == 1 else "a sum of formulas"
        general = inspect.cleandoc(Formula.__doc__ or "")
        self.__doc__ = f"{name}({self._arguments_text()}): {about}.\n\nCost: {cost}\n\n{general}"
        self.__signature__ = inspect.Signature(
            [self._parameter(argument) for argument in self.arguments]
            + [inspect.Parameter("convention", inspect.Parameter.KEYWORD_ONLY, default="standard")]
            + [inspect.Parameter("ufunc_options", inspect.Parameter.VAR_KEYWORD)]
        )

    @cached_property
    def ufunc(self) -> Any:
        """The ``numpy.ufunc``; its last input is a convention's place in ``conventions()``."""
        from . import _numpy

        return _numpy.closed_form(self.name)

    def __call__(self, *arguments: Any, convention: str = "standard", **keywords: Any) -> Any:
        """Evaluate it; see the class."""
        import numpy as np

        _options.choice("convention", convention, numbers := _tables.conventions)
        options = {name: keywords.pop(name) for name in UFUNC_OPTIONS if name in keywords}
        values = self._bind(arguments, keywords)
        try:
            with np.errstate(over="raise", invalid="raise"):
                return self.ufunc(*values, numbers[convention], **options)
        except FloatingPointError:
            raise self._explained(values, options) from None
        except (TypeError, OverflowError):
            for name, value in zip(self.arguments, values, strict=True):
                _refuse_type(self.name, name, value)
            raise

    def __repr__(self) -> str:
        return f"formulas.{self.name}({self._arguments_text()})"

    def __reduce__(self) -> tuple[Any, ...]:
        return _formula, (self.name,)

    def _arguments_text(self) -> str:
        return ", ".join(
            f"{name}={self.defaults[name]}" if name in self.defaults else name
            for name in self.arguments
        )

    def _parameter(self, name: str) -> inspect.Parameter:
        kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
        return inspect.Parameter(
            name, kind, default=self.defaults.get(name, inspect.Parameter.empty)
        )

    def _bind(self, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> list[Any]:
        """The values of all arguments, in order."""
        if len(arguments) > len(self.arguments):
            raise TypeError(
                f"{self.name} takes {len(self.arguments)} arguments, not {len(arguments)}: "
                f"{self._arguments_text()}"
            )
        given = dict(zip(self.arguments, arguments, strict=False))
        for name, value in keywords.items():
            if name in given:
                raise TypeError(f"{self.name} has got {name} twice")
            if name not in self.arguments:
                known = [*self.arguments, "convention", *UFUNC_OPTIONS]
                _options.refuse_unknown(self.name, name, known)
            given[name] = value
        for name in self.arguments:
            if name in given:
                continue
            if name not in self.defaults:
                raise TypeError(f"{self.name} needs {name}: {self._arguments_text()}")
            default = self.defaults[name]
            given[name] = given[default] if isinstance(default, str) else default
        return [given[name] for name in self.arguments]

    def _explained(self, values: list[Any], options: dict[str, Any]) -> Exception:
        """Why it can't be said, with the values at the first place where that is so."""
        import numpy as np

        if options.get("out") is not None:  # which may be in the place of an argument
            return FloatingPointError(
                f"{self.name}: an argument is negative or does not fit the others, or a count "
                "passes what out can hold"
            )
        where = options.get("where", True)
        shape = np.broadcast_shapes(np.shape(where), *(np.shape(value) for value in values))
        flops = np.zeros(shape)
        with np.errstate(all="ignore"):
            self.ufunc(*values, 0, out=flops, where=where, dtype=float)
        places = np.argwhere(np.isnan(flops))
        if not len(places):
            limit = "2**128" if options.get("dtype") in (object, float, "O", "d") else "2**63"
            instead = (
                "dtype=object gives Python's integers, exact to 2**128, dtype=float the nearest "
                "float64"
            )
            return FloatingPointError(
                f"{self.name}: a count passes {limit}" + (f"; {instead}" * (limit == "2**63"))
            )
        at = tuple(places[0])
        here = {
            name: int(np.broadcast_to(value, shape)[at])
            for name, value in zip(self.arguments, values, strict=True)
        }
        place = f" at {tuple(map(int, at))}" if at else ""
        for name, number in here.items():
            if number < (-1 if name in self._limits else 0):
                return ValueError(f"{self.name}: {name} must be 0 or more, not {number}{place}")
            if name in self._flags and number > 1:
                return ValueError(f"{self.name}: {name} must be 0 or 1, not {number}{place}")
        text = ", ".join(f"{name}={number}" for name, number in here.items())
        return ValueError(f"{self.name}: these do not fit each other{place}: {text}")


def number(value: Any) -> Any:
    """Python's integers as they are; lists and arrays of integers as int64, which wraps late."""
    import numpy as np

    if isinstance(value, int):
        return value
    array = np.asarray(value)
    return array.astype(np.int64) if np.can_cast(array.dtype, np.int64) else value


def conv_output(
    size: Any, kernel_size: Any, stride: Any = 1, padding: Any = 0, dilation: Any = 1
) -> Any:
    """Size of a convolution's or pooling's output along one dimension, as PyTorch computes it.

    ``(size + 2*padding - dilation*(kernel_size - 1) - 1) // stride + 1``; integers or arrays.

    Raises:
        ValueError: the kernel is larger than the padded input, or ``stride`` below 1.

    """
    import numpy as np

    size, kernel_size, stride, padding, dilation = map(
        number, (size, kernel_size, stride, padding, dilation)
    )
    if np.any(np.less(stride, 1)):
        raise ValueError(f"stride must be 1 or more, not {stride}")
    reach = size + 2 * padding - dilation * (kernel_size - 1) - 1
    if np.any(np.less(reach, 0)):
        raise ValueError(
            f"a kernel of {kernel_size} (dilation {dilation}) is larger than its input of {size} "
            f"(padding {padding})"
        )
    return reach // stride + 1


class _Tables:
    """The core's tables, read once."""

    @cached_property
    def formulas(self) -> dict[str, Formula]:
        from . import _numpy

        return {form[0]: Formula(*form) for form in _numpy.closed_forms()}

    @cached_property
    def equations(self) -> dict[str, str]:
        return {formula.name: formula.equation for formula in _core.formulas()}

    @cached_property
    def conventions(self) -> dict[str, int]:
        return {convention.name: i for i, convention in enumerate(_core.conventions())}


_tables = _Tables()


def all_formulas() -> dict[str, Formula]:
    """Give every closed form, by name."""
    return _tables.formulas


def _formula(name: str) -> Formula:
    return _tables.formulas[name]


def _refuse_type(formula: str, name: str, value: Any) -> None:
    """Say which argument it was that the ufunc could not take."""
    import numpy as np

    dtype = np.asarray(value).dtype
    if np.can_cast(dtype, np.int64):
        return
    if isinstance(value, int):
        raise OverflowError(f"{formula}: {name} must be below 2**63, not {value}")
    raise TypeError(f"{formula}: {name} must be integers that int64 holds, not {dtype}")
