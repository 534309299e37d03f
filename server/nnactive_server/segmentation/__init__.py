"""nnU-Net as a library: plans, preprocessing, training on partial labels, prediction, export.

The only room that imports nnU-Net and, with `query` for arrays on a GPU, torch. Both are loaded
when something that needs them is first asked for: profiles can be looked up without.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from nnactive_server.segmentation.profiles import (
    Ensemble,
    Optimiser,
    PoolMembers,
    Profile,
    get_profile,
    profile_names,
)

if TYPE_CHECKING:
    from nnactive_server.segmentation.engine import Engine
    from nnactive_server.segmentation.export import export_model
    from nnactive_server.segmentation.hardware import detect
    from nnactive_server.segmentation.training.ensemble import TrainingReport

__all__ = [
    "Engine",
    "Ensemble",
    "Optimiser",
    "PoolMembers",
    "Profile",
    "TrainingReport",
    "detect",
    "export_model",
    "get_profile",
    "profile_names",
]

_LATE = {
    "Engine": "engine",
    "export_model": "export",
    "detect": "hardware",
    "TrainingReport": "training.ensemble",
}


def __getattr__(name: str) -> Any:
    if name not in _LATE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_LATE[name]}"), name)
