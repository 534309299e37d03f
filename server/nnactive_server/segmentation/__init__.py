"""nnU-Net as a library: plans, preprocessing, training on partial labels, prediction, export.

The only room that imports nnU-Net and, with `query` for arrays on a GPU, torch.
"""

from nnactive_server.segmentation.engine import Engine
from nnactive_server.segmentation.export import export_model
from nnactive_server.segmentation.hardware import detect
from nnactive_server.segmentation.profiles import (
    Ensemble,
    Optimiser,
    PoolMembers,
    Profile,
    get_profile,
    profile_names,
)
from nnactive_server.segmentation.training import TrainingReport

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
