"""Tensors give what arrays give, on every device there is."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nnactive_server.core.errors import QueryError
from nnactive_server.query import (
    MEASURES,
    CaseMaps,
    get_strategy,
    patch_scores,
    propose,
    strategy_names,
    uncertainty_maps,
)
from nnactive_server.query.aggregation import AGGREGATIONS, Aggregation

DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
SIZES = st.tuples(*[st.integers(1, 6)] * 3)
NAMES = [name for name in strategy_names() if get_strategy(name).embedding is None]


def members_of(shape, classes=4, count=3, seed=0, dtype=np.float64) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    powers = np.exp(2 * rng.normal(size=(count, classes, *shape)))
    return list((powers / powers.sum(axis=1, keepdims=True)).astype(dtype))


def on(device: str, arrays) -> list[torch.Tensor]:
    return [torch.from_numpy(array).to(device) for array in arrays]


@pytest.mark.parametrize("device", DEVICES)
@settings(deadline=None, max_examples=40)
@given(SIZES, st.integers(2, 5), st.integers(1, 4), st.integers(0, 999))
def test_maps_of_tensors_equal_those_of_arrays(device, shape, classes, count, seed):
    for dtype, tolerance in ((np.float64, 1e-12), (np.float32, 2e-6), (np.float16, 2e-6)):
        arrays = members_of(shape, classes, count, seed, dtype)
        expected = uncertainty_maps(arrays, MEASURES)
        got = uncertainty_maps(on(device, arrays), MEASURES)
        assert list(got) == list(MEASURES)
        for name in MEASURES:
            assert got[name].device.type == device
            assert got[name].cpu().numpy().dtype == expected[name].dtype
            np.testing.assert_allclose(got[name].cpu().numpy(), expected[name], atol=tolerance)


@pytest.mark.parametrize("device", DEVICES)
def test_a_tie_is_predicted_as_the_lowest_class(device):
    even = np.full((4, 3, 5, 7), 0.25)
    even[:, 0] = np.array([0.2, 0.3, 0.2, 0.3]).reshape(4, 1, 1)
    for members in ([even], on(device, [even])):
        prediction = uncertainty_maps(members, ("prediction",))["prediction"]
        assert (prediction[0] == 1).all()
        assert (prediction[1:] == 0).all()


@pytest.mark.parametrize("device", DEVICES)
@settings(deadline=None, max_examples=60)
@given(SIZES, st.tuples(*[st.integers(1, 8)] * 3), st.tuples(*[st.integers(1, 3)] * 3), st.integers(0, 999))
def test_the_same_map_gives_the_same_scores_to_the_last_bit(device, shape, size, stride, seed):
    for dtype in (np.float32, np.float64):
        values = (3 * np.random.default_rng(seed).random(shape)).astype(dtype)
        tensor = torch.from_numpy(values).to(device)
        np.testing.assert_array_equal(patch_scores(tensor, size, stride), patch_scores(values, size, stride))
        for name in AGGREGATIONS:
            for one, two in zip(
                Aggregation(name, 0.3, 0.5).scores(tensor, size, stride)[1].flat,
                Aggregation(name, 0.3, 0.5).scores(values, size, stride)[1].flat,
                strict=True,
            ):
                assert one == two


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("name", NAMES)
def test_the_same_maps_give_the_same_query_to_the_last_bit(device, name):
    rng = np.random.default_rng(1)
    arrays, tensors = [], []
    for i, shape in enumerate([(8, 9, 7), (3, 12, 12)]):
        maps = uncertainty_maps(members_of(shape, seed=i), MEASURES)
        labels = rng.integers(0, 4, shape)
        moved = {key: torch.from_numpy(values).to(device) for key, values in maps.items()}
        arrays.append(CaseMaps(f"c{i}", shape, maps, labels))
        tensors.append(CaseMaps(f"c{i}", shape, moved, labels))
    one, two = (propose(pool, name, 14, 1, 4, {}, 2, patch_size=(2, 3, 3)) for pool in (arrays, tensors))
    assert one == two
    assert len(one) == 14
    assert all(type(q.score) is float and type(q.start[0]) is int for q in two)


@pytest.mark.parametrize("device", DEVICES)
def test_tensors_may_be_views_and_come_one_by_one(device):
    arrays = members_of((5, 6, 7))
    expected = uncertainty_maps(on(device, arrays), MEASURES)
    views = (t.permute(0, 3, 2, 1).contiguous().permute(0, 3, 2, 1) for t in on(device, arrays))
    for name, values in uncertainty_maps(views, MEASURES).items():
        assert torch.equal(values, expected[name])


@pytest.mark.parametrize("device", DEVICES)
def test_tensors_that_track_gradients_leave_no_graph_behind(device):
    arrays = members_of((5, 6, 7))
    expected = uncertainty_maps(on(device, arrays), MEASURES)
    maps = uncertainty_maps([tensor.requires_grad_() for tensor in on(device, arrays)], MEASURES)
    assert not any(values.requires_grad for values in maps.values())
    for name, values in maps.items():
        assert torch.equal(values, expected[name])


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, -0.5, 1.2])
def test_tensors_with_impossible_values_are_refused_like_arrays(device, bad):
    good, broken = members_of((3, 4, 5), count=2)
    broken[1, 2, 3, 4] = bad
    messages = []
    for members in ([good, broken], on(device, [good, broken])):
        with pytest.raises(QueryError, match="case knee: member 1") as refused:
            uncertainty_maps(members, case="knee")
        messages.append(str(refused.value))
    assert messages[0] == messages[1]
    values = torch.zeros((3, 3, 3), device=device)
    values[1, 1, 1] = bad if not np.isfinite(bad) else np.nan
    for name in AGGREGATIONS:
        with pytest.raises(QueryError, match="not finite"):
            Aggregation(name).scores(values, (2, 2, 2))


@pytest.mark.parametrize("tensor_first", [True, False])
def test_members_that_are_partly_tensors_are_refused_by_name(tensor_first):
    arrays = members_of((3, 4, 5))
    mixed = [torch.from_numpy(a) if (i == 0) == tensor_first else a for i, a in enumerate(arrays)]
    with pytest.raises(QueryError, match="case a: member 1"):
        uncertainty_maps(mixed, ("mutual_information",), case="a")


def test_a_process_that_uses_only_arrays_never_loads_torch():
    code = """
import sys
import numpy as np
from nnactive_server.query import MEASURES, CaseMaps, describe, get_strategy, propose, strategy_names
from nnactive_server.query import uncertainty_maps
maps = uncertainty_maps([np.full((3, 6, 6, 6), 1 / 3)] * 2, MEASURES)
case = CaseMaps("a", (6, 6, 6), maps, maps["prediction"])
for name in strategy_names():
    if get_strategy(name).embedding is None:
        found = propose([case], name, 4, 0, 4, {}, 1, patch_size=(2, 2, 2))
        print(len(found), describe(found[0], ["one", "two"]), file=sys.stderr)
print([name for name in sys.modules if name.partition(".")[0] in ("torch", "nnunetv2")])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
