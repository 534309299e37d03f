from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nnactive_server.core.errors import QueryError
from nnactive_server.query import MEASURES, uncertainty_maps


def softmax(logits):
    e = np.exp(logits - logits.max(axis=0))
    return e / e.sum(axis=0)


def ensemble(seed, members=4, classes=3, shape=(2, 3, 4), sharpness=3.0):
    rng = np.random.default_rng(seed)
    return [softmax(sharpness * rng.normal(size=(classes, *shape))) for _ in range(members)]


def plogp(p):
    return np.where(p > 0, p * np.log(np.where(p > 0, p, 1)), 0)


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10**6), st.integers(1, 6), st.integers(2, 5), st.floats(0.1, 50))
def test_folding_one_member_at_a_time_equals_the_direct_formulas(seed, members, classes, sharpness):
    arrays = ensemble(seed, members, classes, sharpness=sharpness)
    stack = np.stack(arrays)
    mean = stack.mean(axis=0)
    pe = -plogp(mean).sum(axis=0)
    ee = -plogp(stack).sum(axis=1).mean(axis=0)
    maps = uncertainty_maps((a for a in arrays), MEASURES)
    assert list(maps) == list(MEASURES)
    np.testing.assert_allclose(maps["predictive_entropy"], pe, atol=1e-12)
    np.testing.assert_allclose(maps["expected_entropy"], ee, atol=1e-12)
    np.testing.assert_allclose(maps["mutual_information"], np.maximum(pe - ee, 0), atol=1e-12)
    np.testing.assert_allclose(maps["class_signal"], mean[1:] * pe, atol=1e-12)
    np.testing.assert_allclose(maps["mean_probability"], mean, atol=1e-12)
    np.testing.assert_array_equal(maps["prediction"], mean.argmax(axis=0))
    assert maps["prediction"].dtype == np.uint8


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 10**6), st.sampled_from([np.float16, np.float32, np.float64]))
def test_mutual_information_and_entropies_are_never_negative(seed, dtype):
    same = ensemble(seed, members=1, sharpness=20)[0].astype(dtype)
    maps = uncertainty_maps([same, same, same], ("mutual_information", "predictive_entropy"))
    assert maps["mutual_information"].min() >= 0
    assert maps["predictive_entropy"].min() >= 0
    assert maps["mutual_information"].max() < 1e-6


def test_members_that_are_sure_but_disagree_have_mutual_information_of_log_two():
    one = np.zeros((2, 1, 1, 1))
    one[0] = 1
    maps = uncertainty_maps([one, one[::-1]], ("mutual_information", "expected_entropy"))
    assert maps["mutual_information"].item() == pytest.approx(np.log(2))
    assert maps["expected_entropy"].item() == 0


@pytest.mark.parametrize("classes", [2, 3, 16])
def test_entropy_of_a_uniform_softmax_is_log_of_the_classes(classes):
    maps = uncertainty_maps([np.full((classes, 2, 2, 2), 1 / classes)], ("predictive_entropy",))
    np.testing.assert_allclose(maps["predictive_entropy"], np.log(classes), rtol=1e-12)


def test_entropy_of_a_certain_voxel_is_exactly_zero():
    sure = np.zeros((3, 2, 2, 2), dtype=np.float32)
    sure[1] = 1
    maps = uncertainty_maps([sure], MEASURES)
    for name in ("predictive_entropy", "expected_entropy", "mutual_information", "class_signal"):
        assert (maps[name] == 0).all()
    assert (maps["prediction"] == 1).all()


def test_sums_slightly_above_one_do_not_make_entropy_negative():
    sure = np.zeros((2, 1, 1, 1))
    sure[0], sure[1] = 1.008, -0.002
    maps = uncertainty_maps([sure])
    assert all(values.min() >= 0 and np.isfinite(values).all() for values in maps.values())


def test_members_are_neither_changed_nor_kept_together():
    alive = []
    first = ensemble(1, members=1)[0]

    def stream():
        import weakref

        for _ in range(4):
            member = first.copy()
            alive.append(weakref.ref(member))
            yield member
            assert (member == first).all()
            del member
            assert sum(ref() is not None for ref in alive) <= 1

    uncertainty_maps(stream(), MEASURES)
    assert len(alive) == 4


def test_half_precision_members_give_single_precision_maps():
    maps = uncertainty_maps([m.astype(np.float16) for m in ensemble(3)])
    assert {values.dtype for values in maps.values()} == {np.dtype(np.float32)}


def broken(kind):
    good = ensemble(0, members=1)[0]
    bad = good.copy()
    match kind:
        case "nan":
            bad[0, 0, 0, 0] = np.nan
        case "inf":
            bad[1, 0, 0, 0] = np.inf
        case "sum":
            bad[0, 0, 0, 0] += 0.02
        case "negative":
            bad[0, 0, 0, 0] -= 2
            bad[1, 0, 0, 0] += 2
        case "shape":
            bad = bad[:, :1]
        case "axes":
            bad = bad[0]
    return [good, bad]


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("nan", "not finite"),
        ("inf", "not finite"),
        ("sum", r"differ from 1 by up to 0\.02"),
        ("negative", "lowest value -"),
        ("shape", r"\(3, 1, 3, 4\).*\(3, 2, 3, 4\)"),
        ("axes", "shape"),
    ],
)
def test_a_broken_member_is_refused_with_case_member_and_value(kind, message):
    with pytest.raises(QueryError, match=f"case liver_7: member 1 .*{message}"):
        uncertainty_maps(broken(kind), case="liver_7")


def test_no_members_and_unknown_measures_are_refused():
    with pytest.raises(QueryError, match="case a: no ensemble members"):
        uncertainty_maps([], case="a")
    with pytest.raises(QueryError, match=r"'entropy'.*predictive_entropy"):
        uncertainty_maps(ensemble(0), ("entropy",))
