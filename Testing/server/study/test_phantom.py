from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from nnactive_server.dataset import RawDataset, read_image, read_label
from nnactive_server.study.phantom import LABELS, SHAPE, SPACING, make_phantom, make_phantoms

CASES = 12
LIVER, KIDNEY, LESION = LABELS.foreground


@pytest.fixture(scope="module")
def phantoms() -> list:
    return [make_phantom(12345, i) for i in range(CASES)]


def touching(a: np.ndarray, b: np.ndarray) -> bool:
    return bool((ndimage.binary_dilation(a) & b).any())


def test_a_written_data_set_opens_and_is_complete(tmp_path: Path) -> None:
    made = make_phantoms(tmp_path / "data", cases=3, seed=7)
    opened = RawDataset.open(tmp_path / "data")
    assert opened == made
    assert opened.cases == ("phantom_000", "phantom_001", "phantom_002")
    for index, case in enumerate(opened.cases):
        image, label = make_phantom(7, index)
        stored, truth = read_image(opened.image_paths(case)), read_label(opened.label_path(case))
        np.testing.assert_array_equal(stored.array, image.array)
        np.testing.assert_array_equal(opened.read_label(case).array, label.array)
        assert not stored.geometry.differences(image.geometry)
        assert not truth.geometry.differences(image.geometry)


def test_a_case_does_not_depend_on_how_many_there_are(tmp_path: Path) -> None:
    few, many = make_phantoms(tmp_path / "few", 1), make_phantoms(tmp_path / "many", 2)
    np.testing.assert_array_equal(few.read_image("phantom_000").array, many.read_image("phantom_000").array)
    np.testing.assert_array_equal(few.read_label("phantom_000").array, many.read_label("phantom_000").array)


def test_seeds_and_cases_differ() -> None:
    (first, _), (second, _), (other_seed, _) = (make_phantom(*k) for k in ((1, 0), (1, 1), (2, 0)))
    for other in (second, other_seed):
        assert first.geometry != other.geometry
        assert first.array.mean() != other.array.mean()


def test_volumes_are_anisotropic_oblique_and_of_about_the_size_asked_for(phantoms: list) -> None:
    for image, _ in phantoms:
        assert image.geometry.spacing == SPACING
        assert all(abs(n - m) <= 2 for n, m in zip(image.geometry.shape, SHAPE, strict=True))
        direction = np.reshape(image.geometry.direction, (3, 3))
        np.testing.assert_allclose(direction @ direction.T, np.eye(3), atol=1e-9)
        assert np.linalg.det(direction) == pytest.approx(1)
        assert np.abs(direction).max() < 0.999


def test_every_case_shows_every_structure_and_the_lesion_is_small(phantoms: list) -> None:
    for _, label in phantoms:
        background, liver, kidney, lesion = np.bincount(label.array.ravel(), minlength=4)
        assert 30 <= lesion < kidney / 1.2 < liver < background


def test_liver_kidney_and_lesion_touch(phantoms: list) -> None:
    for _, label in phantoms:
        liver, kidney, lesion = (label.array == v for v in (LIVER, KIDNEY, LESION))
        assert touching(lesion, kidney)
        assert touching(liver, kidney)


def test_the_liver_lies_on_the_patients_right_and_above_the_kidney(phantoms: list) -> None:
    for _, label in phantoms:
        centre = label.geometry.index_to_world([(n - 1) / 2 for n in label.array.shape])
        liver, kidney = (
            np.subtract(label.geometry.index_to_world(np.argwhere(label.array == v).mean(axis=0)), centre)
            for v in (LIVER, KIDNEY)
        )
        assert liver[0] < 0, "LPS: right is negative"
        assert kidney[0] < 0
        assert liver[2] > kidney[2]
        assert liver[1] < kidney[1], "the liver lies in front"


def test_the_lesion_is_harder_to_tell_from_its_neighbours_than_the_kidney_from_soft_tissue(
    phantoms: list,
) -> None:
    def contrast(image: np.ndarray, a: np.ndarray, b: np.ndarray) -> float:
        """Distance of the means in standard deviations."""
        spread = np.sqrt((image[a].var() + image[b].var()) / 2)
        return float(abs(image[a].mean() - image[b].mean()) / spread)

    hard, easy = [], []
    for image, label in phantoms:
        voxels, kidney, lesion = image.array[0].astype(float), label.array == KIDNEY, label.array == LESION
        around = ndimage.binary_dilation(kidney, iterations=3) & (label.array == 0)
        hard.append(contrast(voxels, lesion, (label.array == LIVER) | kidney))
        easy.append(contrast(voxels, kidney, around))
    assert np.median(hard) < 0.6 * np.median(easy)


def test_lesions_lie_at_different_places_and_brightness_scales_differ(phantoms: list) -> None:
    places = [
        np.subtract(*(np.argwhere(label.array == v).mean(axis=0) for v in (LESION, KIDNEY)))
        for _, label in phantoms
    ]
    assert np.ptp(places, axis=0).min() > 3
    brightness = [np.percentile(image.array, 99) for image, _ in phantoms]
    assert max(brightness) > 1.5 * min(brightness)
