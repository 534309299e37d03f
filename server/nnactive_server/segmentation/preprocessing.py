"""Preprocessed cases on disk: images normalised and stored once, labels renewed as annotation grows.

nnU-Net's preprocessor normalises an image with a mask taken from the *label*, so that unannotated voxels
outside the body count as inside it during training but not in prediction. Here the image is always
preprocessed without a label, exactly as nnU-Net does at prediction; training and prediction then see
the same image, and a new annotation never changes it.

A folder holds, for each case: `CASE.image.npy` (C, z, y, x; float32), `CASE.json` (how to get back to
the case's own grid) and `CASE.label.npz` (label on the plan's grid and sampled voxel positions).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from acvl_utils.cropping_and_padding.bounding_boxes import bounding_box_to_slice
from nnunetv2.preprocessing.preprocessors.default_preprocessor import DefaultPreprocessor
from nnunetv2.preprocessing.resampling.default_resampling import compute_new_shape
from scipy.ndimage import binary_fill_holes

from nnactive_server.core.errors import SegmentationError
from nnactive_server.core.files import atomic_path, read_json, write_json
from nnactive_server.core.rng import small_seed
from nnactive_server.dataset import Volume
from nnactive_server.segmentation.content import content
from nnactive_server.segmentation.plan import Plan
from nnactive_server.segmentation.resampling import resample_image, resample_labels

ANNOTATED = -1
"""Key of the positions of all annotated voxels, whatever their class."""


@dataclass(frozen=True, slots=True)
class TrainingCase:
    """What the sampler draws crops from.

    Attributes:
        name: case id.
        image: (C, z, y, x) float32 on the plan's grid, memory-mapped.
        label: (z, y, x) uint8 or int16; the ignore id where nobody annotated.
        positions: for each foreground class and `ANNOTATED`, sampled voxel indices (n, 3).
        annotated_voxels: number of annotated voxels in the label.
    """

    name: str
    image: np.ndarray
    label: np.ndarray
    positions: dict[int, np.ndarray]
    annotated_voxels: int

    @property
    def classes(self) -> tuple[int, ...]:
        """Foreground classes annotated in this case."""
        return tuple(c for c, where in self.positions.items() if c != ANNOTATED and len(where))


class CaseStore:
    """Preprocessed cases of one project, in one folder."""

    def __init__(self, folder: Path, plan: Plan) -> None:
        self._folder = folder
        self._plan = plan

    def has_image(self, case: str) -> bool:
        """Whether the image of a case is stored; its properties are written last."""
        return self._properties_path(case).exists()

    def store_image(self, case: str, image: Volume) -> None:
        """Crop, normalise and resample an image (C, z, y, x) as nnU-Net does at prediction."""
        data, properties = preprocess_image(image, self._plan)
        with atomic_path(self._folder / f"{case}.image.npy") as temporary:
            np.save(temporary, data)
        write_json(self._properties_path(case), properties)

    def store_label(self, case: str, label: np.ndarray) -> None:
        """Bring a label map (z, y, x; case's own grid) to the plan's grid and keep it.

        Raises:
            SegmentationError: the image of this case is not stored yet.
        """
        resampled = self._label_on_plan_grid(label, self.properties(case))
        foreground = self._plan.labels.foreground
        annotated = [0, *foreground]
        where = DefaultPreprocessor._sample_foreground_locations(  # the sampling nnU-Net trains with
            resampled[None], [*foreground, annotated], seed=small_seed("positions", case)
        )
        positions = {
            f"p{ANNOTATED if isinstance(key, tuple) else key}": _as_positions(found)
            for key, found in where.items()
        }
        count = int(np.isin(resampled, annotated).sum())
        with atomic_path(self._folder / f"{case}.label.npz") as temporary:
            np.savez(temporary, allow_pickle=False, label=resampled, annotated=count, **positions)

    def image(self, case: str) -> np.ndarray:
        """(C, z, y, x) float32 on the plan's grid, memory-mapped."""
        array: np.ndarray = np.load(self._folder / f"{case}.image.npy", mmap_mode="r")
        return array

    def properties(self, case: str) -> dict[str, Any]:
        """How the stored image relates to the case's own grid (nnU-Net's property names)."""
        if not self.has_image(case):
            raise SegmentationError(f"case {case} is not preprocessed; call prepare with it first")
        properties: dict[str, Any] = read_json(self._properties_path(case), SegmentationError)
        return properties

    def training_case(self, case: str) -> TrainingCase:
        """Image, label and positions of a case whose label was stored."""
        path = self._folder / f"{case}.label.npz"
        if not path.exists():
            raise SegmentationError(f"case {case} has no stored label; call update_labels with it first")
        with np.load(path, allow_pickle=False) as stored:
            positions = {int(key[1:]): stored[key] for key in stored.files if key.startswith("p")}
            return TrainingCase(case, self.image(case), stored["label"], positions, int(stored["annotated"]))

    def _properties_path(self, case: str) -> Path:
        return self._folder / f"{case}.json"

    def _label_on_plan_grid(self, label: np.ndarray, properties: dict[str, Any]) -> np.ndarray:
        manager, configuration = self._plan.manager, self._plan.configuration
        transposed = label.transpose(manager.transpose_forward)
        box = tuple(slice(low, high) for low, high in properties["bbox_used_for_cropping"])
        cropped = np.ascontiguousarray(transposed[box])
        target = properties["shape_on_plan_grid"]
        spacing = [properties["spacing"][i] for i in manager.transpose_forward]
        return resample_labels(
            cropped, target, spacing, configuration.spacing, configuration.resampling_fn_seg
        )


def preprocess_image(image: Volume, plan: Plan) -> tuple[np.ndarray, dict[str, Any]]:
    """An image (C, z, y, x) as the network sees it, and the way back: what nnU-Net makes of it, bit for bit
    on a grid of its own voxels, to rounding on another; see `resampling.py`.

    nnU-Net's own function also fills the holes of the nonzero mask and resamples it, which takes most of its
    time and memory; here only the normalisations that look at the mask have it made.

    Returns:
        (C, z, y, x) float32 on the plan's grid, and nnU-Net's property dictionary with the extra
        key `shape_on_plan_grid`, as plain JSON values.
    """
    manager, configuration = plan.manager, plan.configuration
    # A copy: normalising changes it in place.
    data = image.array.astype(np.float32).transpose([0, *(axis + 1 for axis in manager.transpose_forward)])
    spacing = [float(image.geometry.spacing[axis]) for axis in manager.transpose_forward]
    whole = data.shape[1:]
    nonzero, box = content(data)
    inside = bounding_box_to_slice(box)
    data, nonzero = data[(slice(None), *inside)], nonzero[inside]
    shapes = {"shape_before_cropping": whole, "shape_after_cropping_and_before_resampling": data.shape[1:]}
    target = compute_new_shape(data.shape[1:], spacing, configuration.spacing)
    data = DefaultPreprocessor(verbose=False)._normalize(
        data,
        _outside(nonzero, any(configuration.use_mask_for_norm)),
        configuration,
        manager.foreground_intensity_properties_per_channel,
    )
    data = resample_image(data, target, spacing, configuration.spacing, configuration.resampling_fn_data)
    properties = {
        "spacing": [float(value) for value in image.geometry.spacing],
        "bbox_used_for_cropping": box,
    }
    for key, shape in (shapes | {"shape_on_plan_grid": data.shape[1:]}).items():
        properties[key] = [int(n) for n in shape]
    return data.astype(np.float32, copy=False), properties


def _outside(nonzero: np.ndarray, wanted: bool) -> np.ndarray:
    """nnU-Net's mark of voxels around what the image shows: (1, z, y, x), -1 there, else 0.

    Nothing is marked when no normalisation wants to know, or there is nothing to take the mean of.
    """
    if not (wanted and nonzero.any()):
        return np.broadcast_to(np.int8(0), (1, *nonzero.shape))
    return np.where(binary_fill_holes(nonzero), np.int8(0), np.int8(-1))[None]


def _as_positions(found: Any) -> np.ndarray:
    """Voxel indices (n, 3) from nnU-Net's (n, 4) with a leading channel index."""
    array = np.asarray(found, dtype=np.int32).reshape(-1, 4)
    return array[:, 1:]
