"""Types of the NumPy views."""

import numpy as np
import numpy.typing as npt

def step_records(block: tuple[object, int, int], /) -> npt.NDArray[np.void]: ...
