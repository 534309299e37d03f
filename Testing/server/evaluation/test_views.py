from itertools import permutations, product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nnactive_server.core.errors import NNActiveError
from nnactive_server.core.geometry import Geometry
from nnactive_server.core.patch import Patch
from nnactive_server.evaluation import QueryView, query_view
from nnactive_server.evaluation.views import LARGEST_SIDE

SHAPE = (9, 11, 13)
SPACING = (3.0, 1.0, 0.5)
AXES = [
    np.array(signs)[None, :] * np.eye(3)[:, list(order)]
    for order in permutations(range(3))
    for signs in product((1, -1), repeat=3)
]
"""Every direction matrix whose columns are +- patient axes, left-handed ones too."""


def tilt(degrees: float) -> np.ndarray:
    """A rotation about an axis that is none of the patient's."""
    angle, axis = np.radians(degrees), np.array([1.0, -2.0, 0.5]) / np.linalg.norm([1.0, -2.0, 0.5])
    cross = np.cross(np.eye(3), axis)
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross


def grid(direction: np.ndarray, shape: tuple[int, int, int] = SHAPE) -> Geometry:
    return Geometry(shape, SPACING, (10.0, -20.0, 30.0), tuple(direction.ravel()))


def marked(geometry: Geometry, towards: tuple[int, int, int]) -> np.ndarray:
    """Zeros, and 1 in the corner voxel that lies furthest towards this world direction (x, y, z)."""
    corners = list(product(*((0, n - 1) for n in geometry.shape)))
    furthest = max(corners, key=lambda c: float(np.dot(geometry.index_to_world(c), towards)))
    volume = np.zeros(geometry.shape, np.uint8)
    volume[furthest] = 1
    return volume


def view_at(volume: np.ndarray, geometry: Geometry) -> QueryView:
    """A view through the marked voxel."""
    start = tuple(int(i) for i in np.argwhere(volume)[0])
    return query_view(volume * 100.0, volume * 0.5, volume, volume, geometry, Patch(start, (1, 1, 1)))


@pytest.mark.parametrize("direction", AXES)
def test_right_anterior_superior_is_top_left_in_axial_and_coronal(direction: np.ndarray) -> None:
    geometry = grid(direction)
    view = view_at(marked(geometry, (-1, -1, 1)), geometry)  # LPS: right, anterior, superior
    for name in ("axial", "coronal", "sagittal"):
        part = view.plane(name)
        assert np.argwhere(part.truth).tolist() == [[0, 0]], f"{name}, {part.edges}"
        assert part.box[:2] == (0, 0)


@pytest.mark.parametrize("direction", AXES)
def test_left_posterior_inferior_is_bottom_right(direction: np.ndarray) -> None:
    geometry = grid(direction)
    view = view_at(marked(geometry, (1, 1, -1)), geometry)
    for part in view.slices:
        last = [n - 1 for n in part.image.shape]
        assert np.argwhere(part.truth).tolist() == [last]
        assert list(part.box[:2]) == last


@settings(deadline=None, max_examples=60)
@given(st.sampled_from(AXES), st.floats(-20, 20))
def test_an_oblique_volume_is_shown_along_its_closest_patient_axes(
    direction: np.ndarray, degrees: float
) -> None:
    straight, oblique = grid(direction), grid(tilt(degrees) @ direction)
    volume = np.arange(np.prod(SHAPE)).reshape(SHAPE)
    patch = Patch((2, 3, 4), (3, 4, 5))
    one, other = (query_view(volume, volume, volume % 3, None, g, patch) for g in (straight, oblique))
    for a, b in zip(one.slices, other.slices, strict=True):
        np.testing.assert_array_equal(a.image, b.image)
        assert a.box == b.box
        assert a.pixel == b.pixel


def test_edge_letters_name_the_patient_directions() -> None:
    geometry = grid(np.eye(3))
    view = view_at(marked(geometry, (0, 0, 1)), geometry)
    # left, right, top, bottom
    assert [view.plane(p).edges for p in ("axial", "coronal", "sagittal")] == ["RLAP", "RLSI", "APSI"]


@pytest.mark.parametrize("direction", AXES)
def test_the_box_covers_the_voxels_of_the_patch_and_pixels_have_their_size(direction: np.ndarray) -> None:
    geometry, patch = grid(direction), Patch((1, 2, 3), (3, 4, 6))
    inside = np.zeros(SHAPE, np.uint8)
    inside[patch.slices] = 1
    millimetres = sorted(n * s for n, s in zip(SHAPE, SPACING, strict=True))
    for part in query_view(inside, inside, inside, inside, geometry, patch).slices:
        top, left, height, width = (int(v) for v in part.box)
        expected = np.zeros(part.image.shape, np.uint8)
        expected[top : top + height, left : left + width] = 1
        np.testing.assert_array_equal(part.prediction, expected)
        for pixels, size in zip(part.image.shape, part.pixel, strict=True):
            assert pixels * size in millimetres


def test_grey_window_and_heat_scale() -> None:
    geometry = grid(np.eye(3))
    rng = np.random.default_rng(1)
    image, heat = rng.normal(size=SHAPE), rng.uniform(0, 0.7, SHAPE)
    image[0, 0, 0] = 1e6  # one hot voxel must not turn the rest black
    heat[4, 5, 6] = 0.7
    view = query_view(image, heat, image > 9, None, geometry, Patch((4, 5, 6), (1, 1, 1)))
    assert view.heat_top == pytest.approx(0.7)
    axial = view.plane("axial")
    np.testing.assert_allclose(axial.heat / 255 * view.heat_top, heat[4], atol=0.7 / 255)
    assert axial.image.std() > 30
    assert axial.truth is None


def test_long_slices_are_thinned_and_keep_their_extent() -> None:
    shape = (4, 10, 3 * LARGEST_SIDE)
    volume = np.zeros(shape, np.uint8)
    view = query_view(volume, volume, volume, None, grid(np.eye(3), shape), Patch((1, 2, 30), (2, 4, 60)))
    axial = view.plane("axial")
    assert axial.image.shape == (10, LARGEST_SIDE)
    assert axial.pixel == (1.0, 1.5)
    assert axial.box == (2, 10, 4, 20)


@pytest.mark.parametrize("known", [True, False])
def test_a_view_survives_its_file(tmp_path: Path, known: bool) -> None:
    rng = np.random.default_rng(2)
    labels = rng.integers(0, 3, SHAPE)
    truth = np.roll(labels, 1) if known else None
    view = query_view(
        rng.normal(size=SHAPE), rng.random(SHAPE), labels, truth, grid(AXES[7]), Patch((1, 2, 3), (2, 3, 4))
    )
    path = tmp_path / "views" / "query_001.npz"
    view.save(path)
    again = QueryView.load(path)
    assert again.heat_top == view.heat_top
    for a, b in zip(view.slices, again.slices, strict=True):
        assert (a.plane, a.box, a.pixel) == (b.plane, b.box, b.pixel)
        for name in ("image", "heat", "prediction", "truth"):
            np.testing.assert_array_equal(getattr(a, name), getattr(b, name))
    assert [p.name for p in path.parent.iterdir()] == ["query_001.npz"]


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "query_001.npz"
    for content in (b"", b"not a zip", b"PK\x03\x04 cut off"):
        path.write_bytes(content)
        with pytest.raises(NNActiveError, match="query_001"):
            QueryView.load(path)
    with pytest.raises(NNActiveError, match="query_002"):
        QueryView.load(tmp_path / "query_002.npz")


def test_a_wrong_grid_or_patch_is_refused() -> None:
    geometry, zeros = grid(np.eye(3)), np.zeros(SHAPE)
    with pytest.raises(NNActiveError, match="heat"):
        query_view(zeros, zeros[1:], zeros, None, geometry, Patch((0, 0, 0), (1, 1, 1)))
    with pytest.raises(NNActiveError, match="patch"):
        query_view(zeros, zeros, zeros, None, geometry, Patch((8, 0, 0), (2, 1, 1)))
