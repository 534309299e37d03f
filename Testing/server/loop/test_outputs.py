"""Maps and features on disk."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nnactive_server.core.errors import Cancelled, LoopError, QueryError
from nnactive_server.core.features import Embedding
from nnactive_server.core.mapfiles import MAPS, holds_maps, map_path, read_quality
from nnactive_server.core.voxels import open_voxels, save_voxels
from nnactive_server.evaluation import pairwise_dice
from nnactive_server.loop import read_maps
from nnactive_server.loop.outputs import OutputFolder, Outputs
from nnactive_server.loop.votes import Votes
from nnactive_server.query import CaseMaps, Request, case_candidates, uncertainty_maps
from testkit.numpy_engine import LABELS

CELL = (3, 4, 5)


@pytest.fixture
def trained(bench):
    cycle = bench.cycle()
    cycle.update_labels()
    cycle.train()
    return cycle.folder


@pytest.fixture
def outputs(trained):
    return Outputs(trained.members, [trained.own], LABELS)


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
    entropy = open_voxels(map_path(trained.maps("case_0"), "predictive_entropy")).array()
    information = entropy + np.float16(0.5)
    information[0] = 0
    save_voxels(map_path(trained.maps("case_0"), "mutual_information"), information)
    maps = outputs.maps("case_0", ())
    assert (maps["expected_entropy"][1:] == 0).all()
    np.testing.assert_array_equal(maps["expected_entropy"][0], maps["predictive_entropy"][0])
    assert maps["expected_entropy"][0].max() > 0


def test_probabilities_of_all_classes_are_read_only_when_asked_for(bench, outputs):
    outputs.make_maps(bench.engine, "case_0")
    assert "mean_probability" not in outputs.maps("case_0", ("predictive_entropy",))
    by_class = outputs.maps("case_0", ("mean_probability",))["mean_probability"]
    assert len(by_class) == by_class.shape[0] == 3
    whole = np.stack(list(by_class))
    assert whole.shape == by_class.shape
    np.testing.assert_array_equal(by_class[-1], whole[2])
    assert (by_class.min(), by_class.max()) == (whole.min(), whole.max())
    with pytest.raises(IndexError):
        by_class[3]


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -1])
def test_stored_probabilities_that_are_none_are_refused_by_name(bench, trained, outputs, wrong):
    outputs.make_maps(bench.engine, "case_0")
    path = map_path(trained.maps("case_0"), "mean_probability")
    values = open_voxels(path).array()
    values[1, 2, 3, 4] = wrong
    save_voxels(path, values)
    maps = outputs.maps("case_0", ("mean_probability",))
    case = CaseMaps("case_0", values.shape[1:], maps)
    with pytest.raises(QueryError, match="case_0: map mean_probability ranges from"):
        case_candidates(case, "clasp-pe", Request(3, (4, 5, 4), 0, 2, 5))


def test_a_damaged_class_is_named_when_it_is_read(bench, trained, outputs):
    outputs.make_maps(bench.engine, "case_0")
    by_class = outputs.maps("case_0", ("mean_probability",))["mean_probability"]
    path = map_path(trained.maps("case_0"), "mean_probability")
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 1
    path.write_bytes(content)
    with pytest.raises(LoopError, match=r"case_0/mean_probability\.b2nd: not readable.*ask again"):
        list(by_class)


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
    both = Outputs(trained.members, [trained.own, extra], LABELS)
    both.make_maps(bench.engine, "case_0")
    assert holds_maps(extra.maps("case_0"))
    assert not trained.maps("case_0").exists()
    Outputs(trained.members, [trained.own], LABELS).make_maps(bench.engine, "case_0")
    map_path(extra.maps("case_0"), "prediction").write_bytes(b"damaged, and not looked at")
    assert both.maps("case_0", ())


def test_a_damaged_file_is_named(bench, trained, outputs):
    outputs.make_maps(bench.engine, "case_0")
    path = map_path(trained.maps("case_0"), "predictive_entropy")
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(LoopError, match=r"case_0/predictive_entropy\.b2nd: not readable.*ask again"):
        outputs.maps("case_0", ())
    with pytest.raises(LoopError, match=r"case_0/predictive_entropy\.b2nd"):
        read_maps(trained.maps("case_0"))
    path.unlink()
    with pytest.raises(LoopError, match=r"case_0.*removed meanwhile"):
        outputs.maps("case_0", ())
    with pytest.raises(LoopError, match=r"case_0.*removed meanwhile"):
        read_maps(trained.maps("case_0"))


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


@pytest.mark.parametrize("name", [*(f"{name}.b2nd" for name in MAPS), "quality.json"])
def test_maps_count_as_missing_until_all_files_are_there(bench, trained, outputs, name):
    outputs.make_maps(bench.engine, "case_0")
    before = outputs.maps("case_0", MAPS)
    (trained.maps("case_0") / name).unlink()
    assert outputs.lacks_maps("case_0")
    beside = Outputs(trained.members, [trained.own, trained.asked], LABELS)
    beside.make_maps(bench.engine, "case_0")
    assert beside.maps("case_0", MAPS).keys() == before.keys()
    assert outputs.lacks_maps("case_0")  # what the cycle itself keeps is left as it is
    outputs.make_maps(bench.engine, "case_0")
    for key, voxels in outputs.maps("case_0", MAPS).items():
        np.testing.assert_array_equal(voxels, before[key])


def test_the_predicted_quality_is_the_members_agreement(bench, trained, outputs):
    outputs.make_maps(bench.engine, "case_0")
    votes = [member.argmax(axis=0) for member in bench.engine.predict(trained.members, "case_0")]
    expected = pairwise_dice(votes, LABELS)
    assert 0 < expected < 1
    assert outputs.quality("case_0") == expected == read_quality(trained.maps("case_0"))


@pytest.mark.parametrize(("axis", "planes"), [(0, 3), (1, 4), (2, 1), (0, 10)])
def test_maps_written_in_slabs_are_those_written_whole(bench, trained, outputs, axis, planes):
    outputs.make_maps(bench.engine, "case_0")
    whole = {name: open_voxels(map_path(trained.maps("case_0"), name)).array() for name in MAPS}
    quality = outputs.quality("case_0")
    bench.engine.slab_axis, bench.engine.slab_planes = axis, planes
    asked = Outputs(trained.members, [trained.asked], LABELS)
    asked.make_maps(bench.engine, "case_0")
    for name, voxels in whole.items():
        stored = open_voxels(map_path(trained.asked.maps("case_0"), name)).array()
        assert stored.dtype == voxels.dtype
        np.testing.assert_array_equal(stored, voxels)
    assert asked.quality("case_0") == quality


def test_stopping_between_slabs_leaves_no_maps_and_no_half_written_file(bench, trained, outputs, recorder):
    bench.engine.slab_planes = 2

    class Stopping(recorder):
        def check(self) -> None:
            super().check()
            self.cancel()

    bench.engine.monitor = Stopping()
    with pytest.raises(Cancelled):
        outputs.make_maps(bench.engine, "case_0")
    assert bench.engine.predicted.count("case_0") == 1
    assert outputs.lacks_maps("case_0")
    assert not list(trained.maps("case_0").iterdir())
    bench.engine.monitor = recorder()
    outputs.make_maps(bench.engine, "case_0")
    assert not outputs.lacks_maps("case_0")


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 999), members=st.integers(2, 4), cut=st.integers(1, 6))
def test_agreement_counted_in_parts_is_the_pairwise_dice_of_whole_votes(seed, members, cut):
    softmax = np.random.default_rng(seed).dirichlet((2, 1, 0.3), (members, 7, 3, 4)).transpose(0, 4, 1, 2, 3)
    votes = Votes()
    for part in (softmax[:, :, :cut], softmax[:, :, cut:]):
        assert len(list(votes.watch(part))) == members
    assert votes.agreement(LABELS) == pairwise_dice([member.argmax(0) for member in softmax], LABELS)


def test_a_single_member_and_pure_background_have_no_quality():
    empty, one = np.zeros((2, 3, 4, 4, 4))
    empty[0], one[1] = 1, 1
    for members, expected in (([one], None), ([empty, empty], None), ([one, one], 1), ([one, empty], 0)):
        votes = Votes()
        for seen, member in zip(votes.watch(members), members, strict=True):
            assert seen is member
        agreement = votes.agreement(LABELS)
        assert np.isnan(agreement) if expected is None else agreement == expected


def test_quality_without_maps_or_damaged_is_named(bench, trained, outputs):
    with pytest.raises(LoopError, match=r"case_0.*removed meanwhile"):
        outputs.quality("case_0")
    outputs.make_maps(bench.engine, "case_0")
    (trained.maps("case_0") / "quality.json").write_text('{"pairwise_dice": "high"}')
    with pytest.raises(LoopError, match=r"quality\.json.*pairwise_dice"):
        outputs.quality("case_0")
