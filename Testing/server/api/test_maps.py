"""Predictions and maps through the API, from files as a cycle leaves them."""

import numpy as np
import pytest

from nnactive_server.core.files import write_json
from nnactive_server.core.mapfiles import QUERIES, cycle_path, map_folder, map_path, write_quality
from nnactive_server.core.voxels import save_voxels
from NNActiveLogic.client.answers import Answer, Kind
from NNActiveLogic.client.errors import NotFoundOnServer
from NNActiveLogic.client.values import Box
from testkit.small_case import BOX, crop

SHAPE = (12, 20, 24)


def leave_maps(live, project, case, number):
    """What a cycle leaves of a case; the arrays by name."""
    rng = np.random.default_rng(number)
    probability = rng.dirichlet(np.ones(3), SHAPE).transpose(3, 0, 1, 2).astype(np.float16)
    made = {
        "predictive_entropy": rng.random(SHAPE).astype(np.float16),
        "mutual_information": rng.random(SHAPE).astype(np.float16),
        "mean_probability": probability,
        "prediction": probability.argmax(axis=0).astype(np.uint8),
    }
    root = live.data / "projects" / project.id
    folder = map_folder(root, number, case.name)
    for name, array in made.items():
        save_voxels(map_path(folder, name), array)
    write_quality(folder, 0.9)
    write_json(cycle_path(root, number) / QUERIES, [])
    return made


def test_maps_are_those_of_the_newest_model_and_say_so(live, ann, project, case):
    leave_maps(live, project, case, 0)
    made = leave_maps(live, project, case, 1)
    got = ann.prediction(case.id)
    np.testing.assert_array_equal(got.values, made["prediction"])
    assert (got.info.model, got.info.dtype) == ("cycle-001", "<u1")
    for name in ("predictive_entropy", "mutual_information"):
        got = ann.uncertainty(case.id, name)
        np.testing.assert_array_equal(got.values, made[name])
        assert got.info.spacing == pytest.approx(case.spacing)


def test_a_class_map_is_its_probability_times_the_entropy(live, ann, project, case):
    made = leave_maps(live, project, case, 0)
    got = ann.uncertainty(case.id, "class-2", BOX).values
    wanted = made["mean_probability"][2].astype(np.float32) * made["predictive_entropy"].astype(np.float32)
    np.testing.assert_allclose(got, wanted[BOX.slices], rtol=2e-3)


def test_boxes_of_maps_are_those_parts(live, ann, project, case):
    made = leave_maps(live, project, case, 0)
    box = Box((3, 5, 7), (4, 6, 8))
    np.testing.assert_array_equal(ann.prediction(case.id, box).values, made["prediction"][box.slices])


@pytest.mark.parametrize("name", ["expected", "class-3", "class-", "class--1", "class-1e9", "maps"])
def test_unknown_maps_are_named(live, ann, project, case, name):
    leave_maps(live, project, case, 0)
    with pytest.raises(NotFoundOnServer) as unknown:
        ann.uncertainty(case.id, name)
    assert unknown.value.code == "not-found"


def test_before_a_model_there_is_nothing(ann, case):
    with pytest.raises(NotFoundOnServer) as early:
        ann.prediction(case.id)
    assert early.value.code == "not-predicted"


def test_etags_change_with_the_model(live, ann, project, case):
    leave_maps(live, project, case, 0)
    first = ann.prediction(case.id, BOX).etag
    assert ann.prediction(case.id, BOX).etag == first
    leave_maps(live, project, case, 1)
    assert ann.prediction(case.id, BOX).etag != first


def test_an_answer_keeps_the_prediction_it_started_from(live, ann, project, case, patch):
    made = leave_maps(live, project, case, 0)
    ann.annotate(patch.id, Answer(Kind.LABELLED, crop(), prefilled_model="cycle-000"), 0)
    shown = live.call("GET", f"/v1/patches/{patch.id}/annotation").json()
    import base64
    import zlib

    raw = zlib.decompress(base64.b64decode(shown["prefill"]["data"]))
    assert raw == made["prediction"][BOX.slices].tobytes()
    assert shown["prefilled_model"] == "cycle-000"
    ann.annotate(patch.id, Answer(Kind.LABELLED, crop(), prefilled_model="cycle-007"), 1)
    shown = live.call("GET", f"/v1/patches/{patch.id}/annotation").json()
    assert (shown["prefill"], shown["prefilled_model"]) == (None, "cycle-007")


def test_a_damaged_map_is_an_error_of_the_server_and_nothing_worse(live, ann, project, case):
    leave_maps(live, project, case, 0)
    path = map_path(map_folder(live.data / "projects" / project.id, 0, case.name), "prediction")
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(bytes(content))
    reply = live.call("GET", f"/v1/cases/{case.id}/prediction")
    assert reply.status_code == 500
    assert str(live.data) not in reply.text
    assert ann.health().protocol == 1
