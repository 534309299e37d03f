"""Maps and features on disk."""

from __future__ import annotations

import zipfile

import numpy as np
import pytest

from nnactive_server.core.errors import LoopError
from nnactive_server.core.features import Embedding
from nnactive_server.loop import read_maps
from nnactive_server.loop.outputs import OutputFolder, Outputs
from nnactive_server.query import uncertainty_maps

CELL = (3, 4, 5)


@pytest.fixture
def trained(bench):
    cycle = bench.cycle()
    cycle.update_labels()
    cycle.train()
    return cycle.folder


@pytest.fixture
def outputs(trained):
    return Outputs(trained.members, [trained.own])


def test_stored_maps_differ_from_the_computed_ones_by_rounding_only(bench, trained, outputs):
    assert outputs.lacks_maps("case_0")
    outputs.make_maps(bench.engine, "case_0")
    assert not outputs.lacks_maps("case_0")
    names = ("prediction", "predictive_entropy", "mutual_information", "expected_entropy", "mean_probability")
    exact = uncertainty_maps(bench.engine.predict(trained.members, "case_0"), names)
    stored = outputs.maps("case_0", names)
    np.testing.assert_array_equal(stored["prediction"], exact["prediction"])
    for name in ("predictive_entropy", "mutual_information", "mean_probability"):
        np.testing.assert_array_equal(stored[name], exact[name].astype(np.float16))
    np.testing.assert_allclose(stored["expected_entropy"], exact["expected_entropy"], atol=2e-3)
    assert stored["expected_entropy"].min() >= 0


def test_expected_entropy_is_the_difference_never_below_zero(bench, trained, outputs):
    outputs.make_maps(bench.engine, "case_0")
    path = trained.maps("case_0")
    with np.load(path) as stored:
        arrays = dict(stored)
    arrays["mutual_information"] = arrays["predictive_entropy"] + np.float16(0.5)
    arrays["mutual_information"][0] = 0
    np.savez(path, **arrays)
    maps = outputs.maps("case_0", ())
    assert (maps["expected_entropy"][1:] == 0).all()
    np.testing.assert_array_equal(maps["expected_entropy"][0], maps["predictive_entropy"][0])
    assert maps["expected_entropy"][0].max() > 0


def test_probabilities_of_all_classes_are_read_only_when_asked_for(bench, outputs):
    outputs.make_maps(bench.engine, "case_0")
    assert "mean_probability" not in outputs.maps("case_0", ("predictive_entropy",))
    assert outputs.maps("case_0", ("mean_probability",))["mean_probability"].shape[0] == 3


def test_features_come_back_as_they_were(bench, trained, outputs):
    kind = Embedding.GRADIENT
    assert outputs.lacks_features("case_1", kind, CELL)
    outputs.make_features(bench.engine, "case_1", kind, CELL)
    made = bench.engine.embed(trained.members, "case_1", kind, CELL)
    read = outputs.features("case_1", kind, CELL)
    np.testing.assert_array_equal(read.values, made.values)
    assert (read.cell, read.shape) == (made.cell, made.shape)
    assert outputs.lacks_features("case_1", Embedding.BOTTLENECK, CELL)


def test_cells_of_another_size_have_to_be_computed(bench, outputs):
    kind = Embedding.BOTTLENECK
    outputs.make_features(bench.engine, "case_1", kind, CELL)
    assert outputs.lacks_features("case_1", kind, (2, 2, 2))
    with pytest.raises(LoopError, match=r"case_1-bottleneck\.npz.*\(2, 2, 2\)"):
        outputs.features("case_1", kind, (2, 2, 2))
    outputs.make_features(bench.engine, "case_1", kind, (2, 2, 2))
    assert outputs.features("case_1", kind, (2, 2, 2)).cell == (2, 2, 2)


def test_the_first_folder_is_read_first_and_the_last_one_written(bench, trained, tmp_path):
    extra = OutputFolder(tmp_path / "extra")
    both = Outputs(trained.members, [trained.own, extra])
    both.make_maps(bench.engine, "case_0")
    assert extra.maps("case_0").exists()
    assert not trained.maps("case_0").exists()
    Outputs(trained.members, [trained.own]).make_maps(bench.engine, "case_0")
    extra.maps("case_0").write_bytes(b"damaged, and not looked at")
    assert both.maps("case_0", ())


def test_a_damaged_file_is_named(bench, trained, outputs):
    outputs.make_maps(bench.engine, "case_0")
    path = trained.maps("case_0")
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(LoopError, match=r"case_0\.npz: not readable"):
        outputs.maps("case_0", ())
    path.unlink()
    with pytest.raises(LoopError, match=r"case_0\.npz"):
        outputs.maps("case_0", ())
    with pytest.raises(LoopError, match=r"case_0\.npz"):
        read_maps(path)


def test_features_that_are_not_finite_are_refused_by_name(bench, trained, outputs):
    kind = Embedding.BOTTLENECK
    outputs.make_features(bench.engine, "case_1", kind, CELL)
    path = trained.features("case_1", kind)
    with np.load(path) as stored:
        arrays = dict(stored)
    arrays["values"][0, 0, 0, 0] = np.nan
    np.savez(path, **arrays)
    with pytest.raises(LoopError, match=r"case_1-bottleneck\.npz.*not finite"):
        outputs.features("case_1", kind, CELL)


def test_maps_are_stored_small(bench, trained, outputs):
    outputs.make_maps(bench.engine, "case_0")
    with zipfile.ZipFile(trained.maps("case_0")) as archive:
        assert {entry.compress_type for entry in archive.infolist()} == {zipfile.ZIP_DEFLATED}


def test_maps_of_an_older_version_that_lack_a_measure_count_as_missing(bench, trained, outputs):
    outputs.make_maps(bench.engine, "case_0")
    path = trained.maps("case_0")
    with np.load(path) as stored:
        fewer = {name: stored[name] for name in ("prediction", "predictive_entropy")}
    np.savez(path, **fewer)
    assert outputs.lacks_maps("case_0")
    beside = Outputs(trained.members, [trained.own, trained.asked])
    beside.make_maps(bench.engine, "case_0")
    assert set(beside.maps("case_0", ("mean_probability",))) >= {"mutual_information", "mean_probability"}
    assert outputs.lacks_maps("case_0")  # what the cycle itself keeps is left as it is
