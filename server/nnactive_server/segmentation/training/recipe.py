"""nnU-Net's training recipe for a plan: network, augmentation, loss, deep supervision.

nnU-Net keeps these in methods of its trainer. The class here takes them over without the trainer's
folders, process pools, log files and lookup by name; what it inherits is a pure function of the plan.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

import torch
from batchgeneratorsv2.transforms.noise.gaussian_blur import GaussianBlurTransform
from batchgeneratorsv2.transforms.spatial.low_resolution import SimulateLowResolutionTransform
from batchgeneratorsv2.transforms.spatial.spatial import SpatialTransform
from batchgeneratorsv2.transforms.utils.compose import ComposeTransforms
from batchgeneratorsv2.transforms.utils.pseudo2d import Convert2DTo3DTransform, Convert3DTo2DTransform
from batchgeneratorsv2.transforms.utils.random import RandomTransform
from batchgeneratorsv2.transforms.utils.remove_label import RemoveLabelTransform
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from torch import nn
from torch.nn import functional

from nnactive_server.core.patch import Index3, index3
from nnactive_server.segmentation.plan import Plan
from nnactive_server.segmentation.training.augmentation import Rules

_RESAMPLING = (
    SpatialTransform,
    GaussianBlurTransform,
    SimulateLowResolutionTransform,
    Convert3DTo2DTransform,
    Convert2DTo3DTransform,
)


class Recipe(nnUNetTrainer):  # type: ignore[misc]
    """Network, augmentation and loss for one plan.

    Args:
        plan: the frozen plan.
        augmentation: "full" (nnU-Net's) or "light" (without transforms that resample).
    """

    def __init__(self, plan: Plan, augmentation: str = "full") -> None:
        # The base constructor opens folders and prints; these are the only fields its methods read.
        self.plan = plan
        self.augmentation = augmentation
        self.plans_manager = plan.manager
        self.configuration_manager = plan.configuration
        self.label_manager = plan.manager.get_label_manager(plan.dataset_json)
        self.enable_deep_supervision = True
        self.is_ddp = False

    def print_to_log_file(self, *_: Any, **__: Any) -> None:
        """Stay silent: progress is reported through the monitor."""

    def _do_i_compile(self) -> bool:
        return False

    @cached_property
    def crop(self) -> Index3:
        """Voxels (z, y, x) of a training crop; nnU-Net calls it the patch size."""
        return index3(self.configuration_manager.patch_size)

    @cached_property
    def geometry(self) -> tuple[Any, bool, Index3, tuple[int, ...]]:
        """Rotation range, whether to augment slices, the crop before augmentation, axes that may flip."""
        rotation, in_slices, outer, mirror = self.configure_rotation_dummyDA_mirroring_and_inital_patch_size()
        return rotation, in_slices, index3(outer) if self.augmentation == "full" else self.crop, mirror

    @property
    def mirror_axes(self) -> tuple[int, ...]:
        """Spatial axes along which training flips crops."""
        return self.geometry[3]

    @property
    def batch(self) -> int:
        """Crops of a training step."""
        return int(self.configuration_manager.batch_size)

    @property
    def rules(self) -> Rules:
        """What augmentation on the device may do; the same as `transforms`."""
        rotation, in_slices, _, mirror = self.geometry
        return Rules(float(max(rotation)), in_slices, mirror, self.augmentation == "full")

    def levels(self, labels: torch.Tensor) -> list[torch.Tensor]:
        """Labels (B, 1, z, y, x) at each resolution that the network answers in, the full one first."""
        found = []
        for scale in self._get_deep_supervision_scales():
            shape = [round(n * share) for n, share in zip(labels.shape[2:], scale, strict=True)]
            whole = list(labels.shape[2:]) == shape
            level = labels if whole else functional.interpolate(labels.float(), shape, mode="nearest-exact")
            found.append(level.to(labels.dtype))
        return found

    def network(self) -> nn.Module:
        """A new network with nnU-Net's random weights, deep supervision on."""
        network: nn.Module = self.build_network_architecture(
            self.plans_manager,
            self.configuration_manager,
            self.plan.channels,
            self.label_manager.num_segmentation_heads,
            enable_deep_supervision=True,
        )
        return network

    def loss(self) -> nn.Module:
        """Dice + cross-entropy over annotated voxels at each resolution.

        Dice without smoothing, background left out (the papers' setting): a class that a crop does not
        hold then has no Dice gradient of its own.
        """
        loss = self._build_loss()
        loss.loss.dc.smooth = 0.0
        wrapped: nn.Module = loss
        return wrapped

    def transforms(self) -> ComposeTransforms:
        """nnU-Net's augmentation, with everything beyond the image as ignore instead of background."""
        rotation, in_slices, _, mirror = self.geometry
        composed = self.get_training_transforms(
            self.crop,
            rotation,
            self._get_deep_supervision_scales(),
            mirror,
            in_slices,
            ignore_label=self.label_manager.ignore_label,
            foreground_labels=self.label_manager.foreground_labels,
        )
        kept = [t for t in composed.transforms if not isinstance(t, RemoveLabelTransform)]
        if self.augmentation == "light":
            kept = [t for t in kept if not isinstance(_inner(t), _RESAMPLING)]
        for transform in kept:
            if isinstance(transform, SpatialTransform):
                transform.padding_value_seg = self.label_manager.ignore_label
        return ComposeTransforms(kept)


def _inner(transform: Any) -> Any:
    """The transform a random wrapper applies."""
    return transform.transform if isinstance(transform, RandomTransform) else transform


def deep_supervision(network: nn.Module, on: bool) -> None:
    """Switch between outputs at all resolutions (training) and the full one alone (prediction)."""
    network.decoder.deep_supervision = on  # type: ignore[union-attr]
