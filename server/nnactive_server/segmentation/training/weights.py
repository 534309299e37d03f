"""Where the weights of an ensemble lie, and how they are read and written."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from nnactive_server.core.errors import SegmentationError
from nnactive_server.core.files import atomic_path


def member_path(folder: Path, member: int) -> Path:
    """Weights of a finished member."""
    return folder / f"member_{member}.pt"


def checkpoint_path(folder: Path, member: int) -> Path:
    """State of a member that is not finished."""
    return folder / f"checkpoint_{member}.pt"


def steps_path(folder: Path, member: int) -> Path:
    """How many steps a finished member was trained, as JSON `{"steps"}`."""
    return folder / f"member_{member}.json"


def save_weights(path: Path, weights: Mapping[str, torch.Tensor]) -> None:
    """Write a member's weights, wherever they are, for any device."""
    with atomic_path(path) as temporary:
        torch.save({name: value.cpu() for name, value in weights.items()}, temporary)


def load_weights(path: Path, device: torch.device) -> dict[str, torch.Tensor]:
    """A member's weights.

    Raises:
        SegmentationError: missing or not a weights file.
    """
    weights: dict[str, torch.Tensor] = load_state(path, device)
    return weights


def load_state(path: Path, device: torch.device) -> dict[str, Any]:
    """What is in a file of weights or in a checkpoint.

    Raises:
        SegmentationError: missing or not such a file.
    """
    try:
        state: dict[str, Any] = torch.load(path, map_location=device, weights_only=True)
    except FileNotFoundError:
        raise SegmentationError(f"{path}: no such model; train this cycle first") from None
    except (RuntimeError, EOFError, ValueError, pickle.UnpicklingError) as problem:
        reason = str(problem).splitlines()[0]
        raise SegmentationError(f"{path}: not a readable model ({reason})") from problem
    return state
