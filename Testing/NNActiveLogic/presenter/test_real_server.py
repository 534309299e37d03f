"""The clinician's path against a real server: project, images, start, answers, training, second batch."""

import numpy as np
import pytest

from NNActiveLogic.client.transport import Limits
from NNActiveLogic.presenter.budget import box_around
from NNActiveLogic.presenter.labels_table import LabelRow
from NNActiveLogic.presenter.uploads import NewCase
from NNActiveLogic.presenter.worklist import Filter
from testkit.live_server import LiveServer
from testkit.numpy_engine import make_source

SIZE = (4, 4, 4)


@pytest.fixture(scope="module")
def live(tmp_path_factory):
    with LiveServer(tmp_path_factory.mktemp("presenter") / "data") as server:
        yield server


@pytest.fixture(scope="module")
def truth(tmp_path_factory):
    return make_source(tmp_path_factory.mktemp("truth"), cases=4)


def answer_all(ann, labels):
    """A clinician who knows the truth."""
    if ann.session.state != "editing":
        assert ann.session.next().ok
    ann.settle(lambda: ann.session.state in ("editing", "done"), 60)
    while ann.session.state == "editing":
        patch = ann.scene.view.patch
        ann.scene.draw(labels[patch.case][patch.box.slices], np.s_[:])
        said = ann.session.accept()
        if not said.ok:
            assert ann.session.empty().ok
        ann.settle(lambda patch=patch: ann.session.state in ("editing", "done") and ann.here != patch.id, 60)
    ann.all_sent()


def test_from_nothing_to_the_second_batch(live, truth, hire):
    ann = hire(live.url, live.tokens["ann"], limits=Limits())
    ann.connect()
    assert "as ann (admin)" in ann.presenter.connection.view().sentence
    made = []
    rows = [LabelRow(name) for name in truth.labels.classes]
    settings = {"patch_size": SIZE, "query_size": 3, "profile": "smoke", "planned_cycles": 3}
    assert not ann.presenter.projects.create("x", [], ["MR"], made.append).ok
    assert ann.presenter.projects.create("clinic", rows, ["MR"], made.append, **settings).ok
    ann.settle(lambda: made)
    ann.open(made[0].id)

    files = [truth.image_paths(case)[0] for case in truth.cases]
    assert ann.opened.uploads.add([NewCase((path,)) for path in files]).ok
    ann.settle(lambda: len(ann.opened.records.now.cases) == 4, 60)
    assert ann.opened.uploads.view().sentence == "4 images were sent."
    projects, cases = ann.presenter.projects, ann.opened.records.now.cases
    by_shape = {case.id: truth.read_label(name).array for case, name in zip(cases, truth.cases, strict=True)}
    assert all(by_shape[case.id].shape == case.shape for case in cases)

    project = ann.opened.project.id
    assert not projects.suggest(project, {"large": []}).ok
    assert projects.suggest(project, {"large": [(9.0, 9.0, 9.0)], "small": [(5.0, 5.0, 5.0)]}).ok
    ann.settle(lambda: projects.suggestion is not None, 60)
    assert projects.suggestion.reasons["patch_size"]

    assert "large needs 2 more boxes" in ann.opened.budget().sentence
    for case in cases:
        middle = [n / 2 for n in case.shape]
        name = "large" if case in cases[:2] else "small"
        projects.place(project, case.id, box_around(middle, case, SIZE), name, lambda _: None)
    ann.settle(lambda: not any(row.missing for row in ann.opened.budget().rows))
    projects.draw_start(project, 2, lambda _: None)
    ann.settle(lambda: len(ann.opened.rows()) == 6, 60)

    answer_all(ann, by_shape)
    ann.settle(lambda: not ann.opened.rows(Filter.OPEN))
    assert {row.state for row in ann.opened.rows()} <= {"answered", "empty"}
    assert ann.opened.training.start().ok
    ann.settle(lambda: ann.opened.training.running or ann.opened.records.now.models)
    ann.settle(lambda: len(ann.opened.rows()) == 9, 180)
    assert ann.opened.records.now.models == ("cycle-000",)
    ann.settle(lambda: ann.here is not None, 60)
    view = ann.scene.view
    assert (view.model, view.stale, view.patch.cycle) == ("cycle-000", False, 1)
    assert view.prefill.shape == view.patch.box.size
    assert view.heat.values.shape == view.case.shape
    assert ann.session.confirm().ok
    ann.settle(lambda: ann.here not in (None, view.patch.id), 60)
    answer_all(ann, by_shape)
    assert live.call("GET", f"/v1/projects/{project}/statistics").json()["cost"]["patches"] >= 8
    assert ann.opened.progress().cases
    ann.close()
    again = hire(live.url, live.tokens["ann"], limits=Limits()).connect().open(project)
    assert not again.opened.sending.entries
    assert again.session.next().ok
    again.settle(lambda: again.session.state == "done")


def test_a_viewer_is_told_that_the_role_is_not_enough(live, hire):
    vic = hire(live.url, live.tokens["vic"])
    vic.presenter.connection.connect(live.url, live.tokens["vic"])
    vic.settle(lambda: vic.presenter.connection.report is not None)
    assert not vic.presenter.connection.online
    assert "needs annotator" in vic.presenter.connection.view().sentence


def test_an_annotator_is_told_who_makes_projects(live, hire):
    ben = hire(live.url, live.tokens["ben"]).connect()
    said = ben.presenter.projects.create("x", [LabelRow("a")], ["CT"], lambda _: None)
    assert "needs the role admin" in said.text


def test_a_wrong_address_is_named_and_nothing_is_open(hire):
    ann = hire("http://127.0.0.1:1", "some-token")
    ann.presenter.connection.connect("http://127.0.0.1:1", "some-token")
    ann.settle(lambda: ann.presenter.connection.report is not None)
    assert ann.presenter.connection.state == "none"
    assert ann.presenter.connection.view().sentence
    assert not ann.presenter.open("p").ok
