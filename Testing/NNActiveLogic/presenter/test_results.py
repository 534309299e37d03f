"""What was learned, taken home or looked at: exports, predictions, the table of boxes."""

import zipfile

import pytest

from NNActiveLogic.presenter import exports
from NNActiveLogic.presenter.worklist import Filter
from standin import Problem


@pytest.fixture
def trained(clinic, ann):
    clinic.versions.append("cycle-000")
    clinic.model = "cycle-000"
    for case in clinic.cases.values():
        case["model"] = "cycle-000"
    ann.opened.records.refresh()
    ann.settle(lambda: ann.opened.records.now.models and ann.opened.records.now.cases[0].model)
    ann.opened.exports._ask_seconds = 0.01
    return ann


def ended(clinician):
    clinician.settle(lambda: not clinician.opened.exports.view().running)
    return clinician.opened.exports.view().sentence


def test_there_is_nothing_to_export_before_a_model(ann, tmp_path):
    said = ann.opened.exports.start(tmp_path)
    assert (said.ok, said.text) == (False, "There is no model yet; train first.")


def test_an_export_becomes_a_folder_and_nothing_else(trained, tmp_path):
    assert trained.opened.exports.start(tmp_path).ok
    target = tmp_path / "clinic_cycle-000"
    assert ended(trained) == f"The model and the labels are in {target}."
    assert (target / "model" / "plans.json").read_text() == "{}"
    assert [one for one in tmp_path.iterdir() if one.name.startswith("clinic")] == [target]


def test_it_waits_for_the_server_and_can_be_stopped(trained, clinic, tmp_path):
    clinic.export_state = "running"
    assert trained.opened.exports.start(tmp_path).ok
    trained.settle(lambda: clinic.jobs)
    view = trained.opened.exports.view()
    assert (view.running, view.fraction) == (True, None)
    assert trained.opened.exports.start(tmp_path).ok
    assert len(clinic.jobs) == 1
    trained.opened.exports.cancel()
    assert ended(trained) == "Saving was stopped."
    next(iter(clinic.jobs.values()))["state"] = "succeeded"
    clinic.export_state = "succeeded"
    assert trained.opened.exports.start(tmp_path).ok
    assert "are in" in ended(trained)


@pytest.mark.parametrize("state", ["failed", "cancelled"])
def test_what_the_server_could_not_gather_is_said(trained, clinic, tmp_path, state):
    clinic.export_state = state
    assert trained.opened.exports.start(tmp_path).ok
    assert ended(trained).startswith("The model and the labels could not be saved")
    assert not list(tmp_path.glob("clinic*"))


def test_a_folder_that_is_there_is_left_alone(trained, tmp_path):
    kept = tmp_path / "clinic_cycle-000" / "mine.txt"
    kept.parent.mkdir()
    kept.write_text("mine")
    assert trained.opened.exports.start(tmp_path).ok
    assert "exists already" in ended(trained)
    assert kept.read_text() == "mine"


def test_a_disk_that_refuses_is_said(trained, tmp_path):
    (tmp_path / "file").write_text("no folder")
    assert trained.opened.exports.start(tmp_path / "file").ok
    assert "could not be saved" in ended(trained)


def test_a_file_cannot_be_unpacked_outside_of_its_folder(tmp_path):
    packed = tmp_path / "evil.zip"
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("../../outside.txt", "evil")
        archive.writestr("/absolute.txt", "evil")
    exports._unpack(packed, tmp_path / "in" / "here")
    assert {one.name for one in tmp_path.iterdir()} >= {"evil.zip", "in"}
    assert not (tmp_path / "outside.txt").exists()
    assert sorted(one.name for one in (tmp_path / "in" / "here").iterdir()) == ["absolute.txt", "outside.txt"]


def test_a_prediction_comes_with_its_case_and_image(trained):
    found = []
    case = trained.opened.records.now.cases[0]
    assert trained.opened.looking.prediction(case, lambda *parts: found.append(parts)).ok
    trained.settle(lambda: found)
    known, labels, image = found[0]
    assert (known, labels.values.shape, image.values.shape) == (case, case.shape, case.shape)
    assert labels.info.model == "cycle-000"


def test_a_case_without_prediction_says_so(ann):
    said = ann.opened.looking.prediction(ann.opened.records.now.cases[0], print)
    assert (said.ok, "no prediction of patient 0" in said.text) == (False, True)


def test_a_prediction_that_does_not_come_is_said(trained, clinic):
    refuse = Problem(404, "not-predicted", "There is no model yet.").reply
    clinic.before = lambda request: refuse if request.path.endswith("/prediction") else None
    trained.opened.looking.prediction(trained.opened.records.now.cases[0], print)
    trained.settle(lambda: trained.opened.looking.notice)
    assert not trained.opened.looking.busy


def test_the_table_is_made_anew_only_when_something_changed(ann):
    before = ann.opened.rows()
    assert all(new is old for new, old in zip(ann.opened.rows(), before, strict=True))
    assert ann.opened.rows(Filter.DONE) == ()
    ann.next()
    assert [row.here for row in ann.opened.rows()].count(True) == 1
    here = ann.draw_and_accept()
    ann.all_sent()
    ann.settle(lambda: not ann.opened.records._old and not ann.opened.records._reading)
    (done,) = ann.opened.rows(Filter.DONE)
    assert done.patch == here
    assert done.minutes is not None
