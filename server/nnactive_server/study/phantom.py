"""Synthetic volumes that look like anatomy, for the demo and for tests.

A case is a slice of trunk: fat around muscle and soft tissue with spine, aorta and bowel; a large
liver, a kidney that touches it, and a small lesion on the kidney that differs little in brightness
and sits somewhere else in every case. Shape, pose, brightness scale, bias field and noise vary.
Nothing here comes from a patient.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from scipy import ndimage

from nnactive_server.core.geometry import Float3, Geometry
from nnactive_server.core.labels import LabelSet
from nnactive_server.core.patch import Index3
from nnactive_server.core.rng import generator
from nnactive_server.dataset import RawDataset, Volume, write_volume

LABELS = LabelSet(("liver", "kidney", "lesion"))
SHAPE: Index3 = (32, 48, 48)
SPACING: Float3 = (2.0, 1.0, 1.0)

_LIVER, _KIDNEY, _LESION = LABELS.foreground
_TILT_DEGREES = (12.0, -8.0, 15.0)
"""Every volume lies at an angle in the scanner, as oblique acquisitions do."""

Point = Sequence[float] | np.ndarray


def make_phantoms(
    root: Path,
    cases: int = 16,
    seed: int = 12345,
    shape: Index3 = SHAPE,
    spacing: Float3 = SPACING,
) -> RawDataset:
    """Write a densely labelled data set in nnU-Net's raw layout.

    Args:
        root: folder to write to; `dataset.json` is written last.
        cases: how many volumes, `phantom_000` and on; a case does not depend on how many there are.
        seed: another seed gives other patients.
        shape: mean voxels (z, y, x); each axis varies by a few voxels between cases.
        spacing: mm (z, y, x).
    """
    for index in range(cases):
        image, label = make_phantom(seed, index, shape, spacing)
        name = f"phantom_{index:03d}"
        write_volume(root / "imagesTr" / f"{name}_0000.nii.gz", image.array[0], image.geometry)
        write_volume(root / "labelsTr" / f"{name}.nii.gz", label.array, label.geometry)
    return RawDataset.create(root, LABELS, ("MR",), ".nii.gz", "Phantom")


def make_phantom(
    seed: int, index: int, shape: Index3 = SHAPE, spacing: Float3 = SPACING
) -> tuple[Volume, Volume]:
    """One case: image (1, z, y, x) int16 and label map (z, y, x) uint8."""
    rng = generator(seed, "phantom", index)
    geometry = _geometry(rng, shape, spacing)
    place = _patient_coordinates(rng, geometry)
    tissue, label = _anatomy(rng, place)
    image = _acquire(rng, tissue, place)
    return Volume(image[None], geometry), Volume(label, geometry)


def _geometry(rng: np.random.Generator, shape: Index3, spacing: Float3) -> Geometry:
    z, y, x = (int(n + rng.integers(-2, 3)) for n in shape)
    angles = np.radians(np.asarray(_TILT_DEGREES) + rng.uniform(-3, 3, 3))
    origin = rng.uniform(-80, 80, 3)
    return Geometry(
        (z, y, x),
        spacing,
        (float(origin[0]), float(origin[1]), float(origin[2])),
        tuple(float(v) for v in _rotation(angles).ravel()),
    )


def _rotation(angles: np.ndarray) -> np.ndarray:
    """Rotation matrix for angles (radians) about the x, y and z axes, applied in this order."""
    (cx, cy, cz), (sx, sy, sz) = np.cos(angles), np.sin(angles)
    about_x = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    about_z = np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
    product: np.ndarray = about_z @ about_y @ about_x
    return product


def _patient_coordinates(rng: np.random.Generator, geometry: Geometry) -> np.ndarray:
    """Where each voxel lies in the standard body: (3, z, y, x), left, posterior, superior, in mm.

    The patient lies along the scanner table only roughly, is larger or smaller than the standard
    body, and is bent by a smooth displacement.
    """
    steps = [(np.arange(n) - (n - 1) / 2) * s for n, s in zip(geometry.shape, geometry.spacing, strict=True)]
    z, y, x = np.meshgrid(*steps, indexing="ij")
    pose = _rotation(np.radians(rng.uniform(-6, 6, 3)))
    place: np.ndarray = np.einsum("ab,b...->a...", pose, np.stack([x, y, z])) / rng.uniform(0.92, 1.08)
    place += rng.uniform(-1.5, 1.5, 3).reshape(3, 1, 1, 1)
    place += np.stack([_waves(rng, place, 40, 1.3) for _ in range(3)])
    return place


def _waves(rng: np.random.Generator, place: np.ndarray, length: float, height: float) -> np.ndarray:
    """A smooth random field (z, y, x): waves of about `length` mm, standard deviation about `height`."""
    field = np.zeros(place.shape[1:])
    for _ in range(6):
        towards = rng.normal(size=3)
        towards *= 2 * np.pi / (length * rng.uniform(0.7, 1.4) * np.linalg.norm(towards))
        field += np.sin(np.tensordot(towards, place, 1) + rng.uniform(0, 2 * np.pi))
    field *= height / np.sqrt(3)
    return field


def _ellipsoid(place: np.ndarray, centre: Point, radii: Point) -> np.ndarray:
    """Depth below the surface (z, y, x): about mm, positive inside."""
    middle, axes = (np.asarray(v, dtype=float).reshape(3, 1, 1, 1) for v in (centre, radii))
    distance: np.ndarray = np.sqrt((((place - middle) / axes) ** 2).sum(axis=0))
    depth: np.ndarray = (1 - distance) * float(axes.min())
    return depth


def _tube(place: np.ndarray, centre: Point, radius: float) -> np.ndarray:
    """Depth inside a tube along the body axis, in mm."""
    left, posterior = centre
    depth: np.ndarray = radius - np.hypot(place[0] - left, place[1] - posterior)
    return depth


def _anatomy(rng: np.random.Generator, place: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Brightness 0..1 without noise, and class ids, both (z, y, x)."""
    body = _ellipsoid(place, (0, 0, 0), (22.5, 18.5, 400))
    inside = _ellipsoid(place, (0, 0.3, 0), (19.5, 15.5, 400))
    tissue = _surroundings(rng, place, body, inside)
    liver, kidney, lesion = _organs(rng, place)
    cavity = inside > 0.6
    label = np.zeros(body.shape, dtype=np.uint8)
    for value, organ in ((_LIVER, liver), (_KIDNEY, kidney), (_LESION, lesion)):
        label[(organ > 0) & cavity] = value
    vessels = _waves(rng, place, 9, 1.0) > 1.7
    tissue = np.where(label == _LIVER, 0.58 + 0.12 * vessels, tissue)
    cortex = np.clip(1 - kidney / 3.5, 0, 1)
    tissue = np.where(label == _KIDNEY, 0.66 + 0.16 * cortex, tissue)
    mottled = 0.62 + 0.05 * _waves(rng, place, 5, 1.0)
    return np.where(label == _LESION, mottled, tissue), label


def _organs(rng: np.random.Generator, place: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Depth fields of liver, kidney and lesion; where they overlap, the later one wins.

    The patient's right is negative, so liver and kidney show on the left of the picture.
    """
    size, shift = rng.uniform(0.88, 1.12, 4), rng.uniform(-1.5, 1.5, (3, 3))
    right_lobe = _ellipsoid(place, np.add((-8.5, -1.5, 6), shift[0]), np.multiply((12, 13, 17), size[0]))
    left_lobe = _ellipsoid(place, np.add((2, -8, 11), shift[1]), np.multiply((11, 6.5, 9), size[1]))
    liver = np.maximum(right_lobe, left_lobe) + _waves(rng, place, 14, 0.5)
    centre = np.add((-8.5, 6, -8), shift[2])
    radii = np.multiply((5.2, 4.8, 11.5), size[2])
    kidney = _ellipsoid(place, centre, radii)
    hilum = _ellipsoid(place, np.add(centre, (5.5, -1.5, 0)), (3, 3, 4))
    kidney = np.minimum(kidney, -hilum) + _waves(rng, place, 12, 0.25)
    lesion = _lesion(rng, place, centre, radii, size[3])
    return liver, kidney, lesion


def _lesion(
    rng: np.random.Generator, place: np.ndarray, centre: np.ndarray, radii: np.ndarray, size: float
) -> np.ndarray:
    """Depth field of a lump on the kidney's surface, where the body wall leaves it room."""
    around, height = rng.uniform(-0.8 * np.pi, 0.25 * np.pi), rng.uniform(-0.75, 0.75)
    ring = np.sqrt(1 - height**2)
    # Angle 0 points to the patient's right, a negative angle to the front.
    towards = np.array([-ring * np.cos(around), ring * np.sin(around), height])
    lump = _ellipsoid(place, centre + 0.95 * radii * towards, size * rng.uniform(3.6, 5.0, 3))
    lump += _waves(rng, place, 8, 0.35)
    return lump


def _surroundings(
    rng: np.random.Generator, place: np.ndarray, body: np.ndarray, inside: np.ndarray
) -> np.ndarray:
    """Brightness of everything that has no label: air, skin, fat, muscle, spine, vessels, bowel."""
    soft = 0.36 + 0.05 * _waves(rng, place, 7, 1.0)
    loops = _waves(rng, place, 11, 1.0)
    bowel = _ellipsoid(place, (9, -3, -6), (9, 9, 30)) > 0
    tissue = np.where(bowel, 0.42 + 0.16 * np.tanh(2 * loops), soft)
    wall = inside < 2.2
    tissue = np.where(wall, 0.3 + 0.03 * loops, tissue)
    discs = np.sin(place[2] * 2 * np.pi / 16) > 0.8
    spine = _tube(place, (0, 11.5), 4.5)
    tissue = np.where(spine > 0, np.where(discs, 0.34, 0.62), tissue)
    tissue = np.where((spine > 0) & (spine < 0.9), 0.2, tissue)
    tissue = np.where(_tube(place, (2.8, 4.6), 2.1) > 0, 0.88, tissue)
    tissue = np.where(_tube(place, (-2.6, 4.2), 2.0) > 0, 0.78, tissue)
    tissue = np.where(inside < 0, 0.9 + 0.03 * loops, tissue)
    tissue = np.where(body < 0.9, 0.4, tissue)
    return np.where(body < 0, 0.02, tissue)


def _acquire(rng: np.random.Generator, tissue: np.ndarray, place: np.ndarray) -> np.ndarray:
    """The scanner: partial volume, uneven coil, Rician noise, a scale of its own; int16."""
    blurred = ndimage.gaussian_filter(tissue, (0.35, 0.6, 0.6))
    shaded = blurred * np.exp(0.12 * _waves(rng, place, 90, 1.0))
    level = rng.uniform(0.035, 0.055)
    real, imaginary = rng.normal(0, level, (2, *tissue.shape))
    image: np.ndarray = np.hypot(shaded + real, imaginary) * rng.uniform(500, 1500)
    return image.round().astype(np.int16)
