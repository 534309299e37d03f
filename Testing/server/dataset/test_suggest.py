from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest

from nnactive_server.core.errors import DatasetError
from nnactive_server.core.geometry import Geometry
from nnactive_server.core.labels import LabelSet
from nnactive_server.core.patch import Index3
from nnactive_server.dataset import RawDataset, suggest, write_volume
from nnactive_server.dataset.suggest import largest_box

Build = Callable[..., RawDataset]
LABELS = LabelSet(("liver", "tumour"))


@pytest.fixture
def build(tmp_path: Path) -> Build:
    """Cases with one box of each class; sizes in voxels of (3, 1, 1) mm."""

    def make(
        boxes: list[Mapping[int, Index3]], shape: Index3 = (40, 40, 40), labels: LabelSet = LABELS
    ) -> RawDataset:
        direction = tuple(np.eye(3).ravel().tolist())
        geometry = Geometry(shape, (3.0, 1.0, 1.0), (0.0, 0.0, 0.0), direction)
        for i, case in enumerate(boxes):
            label, corner = np.zeros(shape, np.uint8), 0
            for value, (z, y, x) in case.items():
                label[corner : corner + z, corner : corner + y, corner : corner + x] = value
                corner += max(z, y, x) + 1
            write_volume(tmp_path / "imagesTr" / f"c{i}_0000.nii.gz", label * 1.5, geometry)
            if case:
                write_volume(tmp_path / "labelsTr" / f"c{i}.nii.gz", label, geometry)
        return RawDataset.create(tmp_path, labels, ["CT"])

    return make


def test_the_patch_is_the_median_over_classes_of_median_boxes(build: Build) -> None:
    data = build(
        [{1: (4, 10, 12), 2: (2, 6, 4)}, {1: (6, 12, 14), 2: (2, 6, 4)}, {1: (5, 20, 10), 2: (3, 8, 4)}]
    )
    found = suggest(data)
    assert found.class_sizes == {"liver": (15.0, 12.0, 12.0), "tumour": (6.0, 6.0, 4.0)}
    assert found.patch_size == (4, 9, 8)  # (10.5, 9, 8) mm
    assert found.patch_mm == (12.0, 9.0, 8.0)
    assert found.reasons["patch_size"].startswith(
        "The usual size of the structures: 10.5 x 9 x 8 mm at 3 x 1 x 1 mm"
    )
    assert set(found.reasons) == {"patch_size", "query_size", "cycles"}


def test_only_the_largest_connected_part_counts() -> None:
    mask = np.zeros((9, 9, 9), bool)
    mask[0:2, 0:3, 0:4] = True
    mask[2, 3, 4] = True  # touches by a corner
    mask[6, 6:9, 8] = True
    assert largest_box(mask) == (3, 4, 5)


def test_sizes_that_differ_a_lot_are_named_until_one_class_is_chosen(build: Build) -> None:
    data = build([{1: (8, 16, 16), 2: (2, 5, 4)}] * 3)
    mixed = suggest(data)
    assert any("liver is 24 x 16 x 16 mm, tumour only 6 x 5 x 4 mm" in text for text in mixed.warnings)
    chosen = suggest(data, interest=["tumour"])
    assert chosen.patch_size == (2, 5, 4)
    assert not any("differ" in text for text in chosen.warnings)


def test_fifty_patches_a_class_and_a_hundred_a_variable_one(build: Build) -> None:
    data = build([{1: (2, 3, 3), 2: (2, 3, 3)}] * 3)
    assert suggest(data).query_size == 100
    assert suggest(data, variable=["tumour"]).query_size == 150
    assert suggest(data).cycles == 5
    assert suggest(data).warnings == ()


def test_a_small_pool_shrinks_the_query_and_says_so(build: Build) -> None:
    found = suggest(build([{1: (20, 20, 20), 2: (19, 19, 19)}] * 2))
    assert found.patch_size == (20, 20, 20)
    assert found.query_size == 1  # room for 16, half of it over 5 cycles
    assert any("few images" in text for text in found.warnings)
    assert any("fewer than 14 a class" in text for text in found.warnings)
    assert "room for about 16" in found.reasons["query_size"]


def test_without_labels_rough_boxes_decide(build: Build) -> None:
    data = build([{}, {}], labels=LABELS.as_partial())
    with pytest.raises(DatasetError, match="give rough boxes"):
        suggest(data)
    found = suggest(data, boxes={"tumour": [(9, 5, 5), (12, 7, 7), (30, 6, 9)]})
    assert found.patch_size == (4, 6, 7)
    assert any("No size is known for liver" in text for text in found.warnings)


def test_partly_annotated_cases_tell_no_sizes(build: Build) -> None:
    ignore = LABELS.ignore
    data = build([{1: (4, 4, 4), ignore: (3, 3, 3)}, {1: (6, 6, 6)}], labels=LABELS.as_partial())
    assert suggest(data).class_sizes == {"liver": (18.0, 6.0, 6.0)}


def test_a_patch_is_never_larger_than_the_usual_image(build: Build) -> None:
    found = suggest(build([{}], labels=LABELS.as_partial()), boxes={"liver": [(600, 10, 10)]})
    assert found.patch_size == (40, 10, 10)
    assert "cut to the usual image" in found.reasons["patch_size"]


@pytest.mark.parametrize("size", [(1.0, 2.0), (1.0, 0.0, 2.0), (1.0, float("nan"), 2.0)])
def test_boxes_that_are_no_sizes_are_refused(build: Build, size: tuple[float, ...]) -> None:
    with pytest.raises(DatasetError, match="boxes of 'liver'"):
        suggest(build([{}], labels=LABELS.as_partial()), boxes={"liver": [size]})


def test_an_unknown_class_is_named(build: Build) -> None:
    data = build([{1: (2, 2, 2)}])
    for words in ({"variable": ["lung"]}, {"interest": ["lung"]}, {"boxes": {"lung": [(1, 1, 1)]}}):
        with pytest.raises(DatasetError, match="no class is called lung; there are liver, tumour"):
            suggest(data, **words)


def test_the_hippocampus_gets_about_the_patch_of_the_paper(real: Path) -> None:
    found = suggest(RawDataset.open(real / "Dataset004_Hippocampus"))
    assert all(abs(edge - 20) <= 4 for edge in found.patch_size)
    assert 20 <= found.query_size <= 60
