"""Types of the NumPy views and ufuncs."""

import numpy as np
import numpy.typing as npt

def step_records(block: tuple[object, int, int], /) -> npt.NDArray[np.void]: ...
def closed_form(name: str, /) -> np.ufunc: ...
def closed_forms() -> list[
    tuple[str, str, tuple[str, ...], tuple[tuple[str, str, str | None], ...]]
]: ...
