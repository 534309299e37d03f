"""Telling torch tensors from numpy arrays without importing torch."""

from __future__ import annotations

from typing import Any

import numpy as np


def is_tensor(values: object) -> bool:
    """Whether this is a torch tensor."""
    return type(values).__module__.partition(".")[0] == "torch"


def to_numpy(values: Any) -> np.ndarray:
    """An array or tensor as numpy array, in main memory."""
    return np.asarray(values.detach().cpu() if is_tensor(values) else values)
