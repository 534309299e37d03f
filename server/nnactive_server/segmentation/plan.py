"""nnU-Net's plan for a project: made once from images and annotated voxels, then frozen.

The fingerprint (spacings, cropped shapes, foreground intensities) is taken case by case in this
process: nnU-Net's own extractor starts a pool of processes, draws 1e8 samples however small the data
are, and counts ignore voxels as foreground. Planning itself is nnU-Net's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from nnunetv2.configuration import ANISO_THRESHOLD
from nnunetv2.experiment_planning.experiment_planners.default_experiment_planner import ExperimentPlanner
from nnunetv2.experiment_planning.experiment_planners.network_topology import get_pool_and_conv_props
from nnunetv2.preprocessing.resampling.default_resampling import compute_new_shape
from nnunetv2.preprocessing.resampling.resample_torch import resample_torch_fornnunet
from nnunetv2.utilities.json_export import recursive_fix_for_json_export
from nnunetv2.utilities.plans_handling.plans_handler import ConfigurationManager, PlansManager

from nnactive_server.core.errors import SegmentationError
from nnactive_server.core.files import read_json, write_json
from nnactive_server.core.labels import LabelSet
from nnactive_server.core.rng import generator
from nnactive_server.dataset import Volume
from nnactive_server.segmentation.content import content, values_in
from nnactive_server.segmentation.profiles import Profile

CONFIGURATION = "3d_fullres"
SAMPLES_PER_CASE = 10_000


@dataclass(frozen=True)
class Plan:
    """A frozen plan.

    Attributes:
        plans: nnU-Net's plans document.
        dataset_json: the data set description the plan was made for, ignore label included.
    """

    plans: dict[str, Any]
    dataset_json: dict[str, Any]

    @cached_property
    def manager(self) -> PlansManager:
        """nnU-Net's view of the plan."""
        return PlansManager(self.plans)

    @cached_property
    def configuration(self) -> ConfigurationManager:
        """nnU-Net's view of the one configuration we plan, `3d_fullres`."""
        return self.manager.get_configuration(CONFIGURATION)

    @cached_property
    def labels(self) -> LabelSet:
        """The project's labels."""
        return LabelSet.from_json(self.dataset_json["labels"])

    @property
    def is_trilinear(self) -> bool:
        """Whether probabilities are resampled by torch's linear interpolation along all axes, as ours are."""
        settings = self.configuration.resampling_fn_probabilities
        return (
            settings.func is resample_torch_fornnunet and settings.keywords.get("force_separate_z") is False
        )

    @property
    def channels(self) -> int:
        """Number of image channels."""
        return len(self.dataset_json["channel_names"])

    def save(self, folder: Path) -> None:
        """Write `dataset.json` and, last, `plans.json`: a folder with the latter is complete."""
        write_json(folder / "dataset.json", self.dataset_json)
        write_json(folder / "plans.json", self.plans)

    @classmethod
    def load(cls, folder: Path) -> Plan:
        """Read a plan.

        Raises:
            SegmentationError: a file is missing or unreadable.
        """
        return cls(
            read_json(folder / "plans.json", SegmentationError),
            read_json(folder / "dataset.json", SegmentationError),
        )


@dataclass(frozen=True, slots=True)
class CaseFingerprint:
    """What planning needs to know of one case.

    Attributes:
        spacing: mm (z, y, x).
        shape_after_crop: voxels (z, y, x) of the box that holds everything not zero.
        cropped_share: share of the voxels that box keeps.
        intensities: (channels, n) sample of annotated foreground voxels, n may be 0.
    """

    spacing: tuple[float, ...]
    shape_after_crop: tuple[int, ...]
    cropped_share: float
    intensities: np.ndarray


def fingerprint_case(case: str, image: Volume, label: np.ndarray | None, labels: LabelSet) -> CaseFingerprint:
    """Fingerprint of one case; foreground is what somebody annotated as a class, never the ignore id.

    Args:
        case: case id; keys the sampling.
        image: (C, z, y, x).
        label: (z, y, x) or None when nothing is annotated.
        labels: the project's labels.
    """
    _, box = content(image.array)
    cropped = tuple(high - low for low, high in box)
    kept = np.prod(cropped) / np.prod(image.array.shape[1:])
    inside = np.zeros(image.array.shape[1:], bool) if label is None else np.isin(label, labels.foreground)
    voxels = values_in(image.array, inside)
    if voxels.shape[1] > SAMPLES_PER_CASE:
        chosen = generator("fingerprint", case).choice(voxels.shape[1], SAMPLES_PER_CASE, replace=False)
        voxels = voxels[:, chosen]
    return CaseFingerprint(image.geometry.spacing, cropped, float(kept), voxels)


def make_plan(
    fingerprints: Mapping[str, CaseFingerprint],
    dataset_json: dict[str, Any],
    profile: Profile,
    name: str,
    fallback: Callable[[], np.ndarray],
) -> Plan:
    """nnU-Net's plan for these cases, narrowed by the profile.

    Args:
        fingerprints: one per case.
        dataset_json: with `channel_names`, `labels` (ignore included) and `file_ending`.
        profile: bounds on crop, channels and convolutions.
        name: data set name written into the plan.
        fallback: gives (channels, n) intensities when no foreground voxel is annotated yet.
    """
    intensities = np.concatenate([f.intensities for f in fingerprints.values()], axis=1)
    if intensities.shape[1] == 0:
        intensities = fallback()
    document = {
        "spacings": [list(f.spacing) for f in fingerprints.values()],
        "shapes_after_crop": [list(f.shape_after_crop) for f in fingerprints.values()],
        "foreground_intensity_properties_per_channel": {
            str(channel): _intensity_statistics(values) for channel, values in enumerate(intensities)
        },
        "median_relative_size_after_cropping": float(
            np.median([f.cropped_share for f in fingerprints.values()])
        ),
    }
    plans = _Planner(document, dataset_json, profile).plan(name)
    return Plan(plans, dataset_json)


def _intensity_statistics(values: np.ndarray) -> dict[str, float]:
    """The figures nnU-Net normalises CT with."""
    low, median, high = np.percentile(values, (0.5, 50.0, 99.5))
    return {
        "mean": float(values.mean()),
        "median": float(median),
        "std": float(values.std()),
        "min": float(values.min()),
        "max": float(values.max()),
        "percentile_99_5": float(high),
        "percentile_00_5": float(low),
    }


def _dropout(probability: float) -> dict[str, Any]:
    """Architecture arguments with which nnU-Net's networks, stock ones too, get a dropout layer after each
    convolution. It leaves out whole channels: neighbouring voxels are too alike for single ones to matter
    (Tompson et al. 2015, CVPR)."""
    return {"dropout_op": "torch.nn.Dropout3d", "dropout_op_kwargs": {"p": probability}}


class _Planner(ExperimentPlanner):  # type: ignore[misc]
    """nnU-Net's planner on values in memory instead of folders named by environment variables."""

    def __init__(self, fingerprint: dict[str, Any], dataset_json: dict[str, Any], profile: Profile) -> None:
        # The base constructor only resolves folders and sets the constants below (nnU-Net 2.8.1).
        self.dataset_json = dataset_json | {"numTraining": len(fingerprint["spacings"])}
        self.dataset_fingerprint = fingerprint
        self.profile = profile
        self.suppress_transpose = False
        self.overwrite_target_spacing = None
        self.anisotropy_threshold = ANISO_THRESHOLD
        self.plans_identifier = "nnUNetPlans"
        self.preprocessor_name = "DefaultPreprocessor"
        self._set_network_constants(profile)

    def _set_network_constants(self, profile: Profile) -> None:
        from dynamic_network_architectures.architectures.unet import PlainConvUNet

        self.UNet_class = PlainConvUNet
        self.UNet_base_num_features = profile.features or 32
        self.UNet_max_features_3d = profile.max_features or 320
        self.UNet_max_features_2d = 512
        self.UNet_reference_val_3d = 560_000_000
        self.UNet_reference_val_2d = 85_000_000
        self.UNet_reference_com_nfeatures = 32
        self.UNet_reference_val_corresp_GB = 8
        self.UNet_reference_val_corresp_bs_2d = 12
        self.UNet_reference_val_corresp_bs_3d = 2
        self.UNet_featuremap_min_edge_length = 4
        self.UNet_blocks_per_stage_encoder = (profile.encoder_convs,) * 14
        self.UNet_blocks_per_stage_decoder = (profile.decoder_convs,) * 13
        self.UNet_min_batch_size = 2
        self.UNet_vram_target_GB = 8
        self.max_dataset_covered = 0.05

    def determine_segmentation_softmax_export_fn(
        self, *_: Any, **__: Any
    ) -> tuple[Callable[..., Any], dict[str, Any]]:
        """Logits go back to the case's grid by torch: 11.6 times as fast as by skimage, equal to 1e-5.

        Measured for 8 classes from 64x160x160 to 80x240x240 on two cores.
        """
        return resample_torch_fornnunet, {
            "is_seg": False,
            "force_separate_z": False,
            "memefficient_seg_resampling": False,
        }

    def plan(self, name: str) -> dict[str, Any]:
        """A plans document with the one configuration `3d_fullres`."""
        forward, backward = self.determine_transpose()
        spacing = self.determine_fullres_target_spacing()
        shapes = [
            compute_new_shape(shape, old, spacing)
            for old, shape in zip(
                self.dataset_fingerprint["spacings"],
                self.dataset_fingerprint["shapes_after_crop"],
                strict=True,
            )
        ]
        median = np.median(shapes, axis=0)[forward]
        voxels = float(np.prod(median)) * self.dataset_json["numTraining"]
        planned = self.get_plans_for_configuration(
            spacing[forward], self._bounded(median, spacing[forward]), CONFIGURATION, voxels, {}
        )
        planned["batch_dice"] = False
        if self.profile.dropout:
            planned["architecture"]["arch_kwargs"] |= _dropout(self.profile.dropout)
        planned["median_image_size_in_voxels"] = median
        if self.profile.batch_size:
            planned["batch_size"] = self.profile.batch_size
        plans: dict[str, Any] = {
            "dataset_name": name,
            "plans_name": self.plans_identifier,
            "original_median_spacing_after_transp": [
                float(v) for v in np.median(self.dataset_fingerprint["spacings"], axis=0)[forward]
            ],
            "original_median_shape_after_transp": [
                round(float(v))
                for v in np.median(self.dataset_fingerprint["shapes_after_crop"], axis=0)[forward]
            ],
            "image_reader_writer": "SimpleITKIO",
            "transpose_forward": [int(i) for i in forward],
            "transpose_backward": [int(i) for i in backward],
            "configurations": {CONFIGURATION: planned},
            "experiment_planner_used": ExperimentPlanner.__name__,
            "label_manager": "LabelManager",
            "foreground_intensity_properties_per_channel": self.dataset_fingerprint[
                "foreground_intensity_properties_per_channel"
            ],
        }
        recursive_fix_for_json_export(plans)
        return plans

    def _bounded(self, median: np.ndarray, spacing: np.ndarray) -> np.ndarray:
        """The median shape, its longest axis (mm) shortened until a crop fits the profile's volume."""
        bounded = np.round(median).astype(int)
        while self.profile.crop_voxels and self._crop_voxels(bounded, spacing) > self.profile.crop_voxels:
            # Below 8 voxels an axis cannot be pooled any more and would only make the crop a sliver.
            longest = np.argmax(np.where(bounded > 8, bounded * spacing, 0))
            if bounded[longest] <= 8:
                break
            bounded[longest] -= 1
        return bounded

    def _crop_voxels(self, shape: np.ndarray, spacing: np.ndarray) -> int:
        """Voxels of the crop nnU-Net makes of a shape: padded to what the network can pool."""
        patch = get_pool_and_conv_props(spacing, shape, self.UNet_featuremap_min_edge_length, 999999)[3]
        return int(np.prod(patch))
