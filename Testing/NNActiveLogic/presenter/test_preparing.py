"""Before the work on patches: images come in, the boxes get a size, and what is next is known."""

import pytest

from NNActiveLogic.client.values import Batch, Suggestion
from NNActiveLogic.presenter import box_size
from NNActiveLogic.presenter.incoming import case_name, cases_of, files_in
from NNActiveLogic.presenter.steps import ProjectStep, Step, project_step, step
from NNActiveLogic.presenter.uploads import NewCase
from NNActiveLogic.work import WorkError
from testkit.small_case import make_image


@pytest.fixture
def folder(tmp_path):
    for name in ("b_0001.nii.gz", "b_0000.nii.gz", "a_0000.NRRD", "a_0001.mha", "notes.txt"):
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "series.zip").mkdir()
    return tmp_path


def test_only_what_the_server_reads_is_taken_from_a_folder(folder):
    assert [path.name for path in files_in(folder)] == [
        "a_0000.NRRD", "a_0001.mha", "b_0000.nii.gz", "b_0001.nii.gz",
    ]  # fmt: skip


def test_a_folder_without_images_or_none_at_all_is_explained(tmp_path):
    with pytest.raises(WorkError, match="no image in the folder"):
        files_in(tmp_path)
    with pytest.raises(WorkError, match="cannot be read"):
        files_in(tmp_path / "missing")


def test_files_of_several_channels_are_put_together_in_their_order(folder):
    cases = cases_of(files_in(folder), 2, names=True)
    assert [(case.name, [path.name for path in case.files]) for case in cases] == [
        ("a", ["a_0000.NRRD", "a_0001.mha"]), ("b", ["b_0000.nii.gz", "b_0001.nii.gz"]),
    ]  # fmt: skip


def test_names_of_files_stay_here_unless_they_are_wanted(folder):
    assert [case.name for case in cases_of(files_in(folder), 1, names=False)] == [None] * 4


def test_missing_channels_and_foreign_files_are_named(folder, tmp_path):
    with pytest.raises(WorkError, match="'a' has 2 of 3 channels"):
        cases_of(files_in(folder), 3, names=False)
    with pytest.raises(WorkError, match=r"plain\.nii does not say which of the 2 channels"):
        cases_of([tmp_path / "plain.nii"], 2, names=False)
    with pytest.raises(WorkError, match=r"cannot read notes\.txt"):
        cases_of([tmp_path / "notes.txt"], 1, names=False)


@pytest.mark.parametrize(
    ("typed", "sent"),
    [
        ("Müller, Anna (CT 3)", "Muller_Anna_CT_3"),
        ("x" * 99, "x" * 64),
        ("名前", None),
        ("-_-", None),
        ("", None),
    ],
)
def test_names_become_such_as_the_server_takes(typed, sent):
    assert case_name(typed) == sent


def test_what_is_next_follows_the_work(server, clinic, hire):
    clinic.patches.clear()
    clinic.cases.clear()
    someone = hire(server.url)
    presenter = someone.presenter
    assert (step(presenter), project_step(presenter)) == (Step.CONNECT, ProjectStep.CHOOSE)
    someone.connect()
    assert step(presenter) == Step.PROJECT
    someone.open(clinic.project)
    assert (step(presenter), project_step(presenter)) == (Step.START, ProjectStep.IMAGES)
    clinic.add_clinic_case(0)
    presenter.opened.records.refresh()
    someone.settle(lambda: presenter.opened.records.now.cases)
    assert project_step(presenter) == ProjectStep.SIZE
    presenter.opened.sized = True
    assert project_step(presenter) == ProjectStep.FIRST
    clinic.versions.append("cycle-000")
    presenter.opened.records.refresh()
    someone.settle(lambda: presenter.opened.budget().over)
    assert (step(presenter), project_step(presenter)) == (Step.WORK, ProjectStep.READY)


def test_a_lost_connection_does_not_lead_away_from_the_work(ann, clinic):
    clinic.versions.append("cycle-000")
    ann.opened.records.refresh()
    ann.settle(lambda: ann.opened.budget().over)
    ann.presenter.connection.failed(_unreachable())
    assert not ann.presenter.connection.online
    assert step(ann.presenter) == Step.WORK


def test_what_could_not_be_sent_stays_in_sight(ann, tmp_path, clinic):
    clinic.patches.clear()
    ann.opened.records.refresh()
    ann.settle(lambda: not ann.opened.records.now.patches)
    assert project_step(ann.presenter) == ProjectStep.SIZE
    ann.opened.uploads.add([NewCase((tmp_path / "missing.nii",))])
    ann.settle(lambda: ann.opened.uploads.view().failed)
    assert project_step(ann.presenter) == ProjectStep.IMAGES


def test_a_whole_folder_is_sent_and_an_empty_one_is_explained(ann, clinic, tmp_path):
    (tmp_path / "empty").mkdir()
    assert ann.opened.add_folder(tmp_path / "empty", names=False).ok
    ann.settle(lambda: ann.opened.uploads.view().failed)
    assert "no image in the folder" in ann.opened.uploads.view().failed[0]
    make_image(tmp_path / "one.nrrd")
    before = len(clinic.cases)
    assert ann.opened.add_folder(tmp_path, names=True).ok
    ann.settle(lambda: ann.opened.uploads.view().running)
    ann.settle(lambda: not ann.opened.uploads.view().running)
    assert len(clinic.cases) == before + 1, ann.opened.uploads.view()
    ann.settle(lambda: not ann.opened.uploads.view().running)
    assert ann.opened.uploads.view().failed == ()


def test_random_boxes_without_room_do_not_hold_up_the_start(ann):
    budget = ann.opened.budget()
    batch = Batch(0, None, (), 3, None)
    assert ann.opened.drawn(batch) == "There is room for 0 of 3 random boxes; more would overlap."
    assert ann.opened.budget().random == 0
    assert budget.rows == ann.opened.budget().rows
    assert ann.opened.drawn(Batch(0, None, (), 0, None)) == ""


def test_a_case_is_loaded_to_look_at_and_only_the_last_one_asked_for(ann, clinic):
    first, second = ann.opened.records.now.cases
    seen = []
    ann.opened.looking.image(first, lambda case, image: seen.append((case.id, image.values.shape)))
    ann.opened.looking.image(second, lambda case, image: seen.append((case.id, image.values.shape)))
    assert ann.opened.looking.busy
    ann.settle(lambda: not ann.opened.looking.busy)
    assert seen == [(second.id, second.shape)]
    asked = len(clinic.seen)
    ann.opened.looking.image(second, lambda *_: seen.append(None))
    ann.settle(lambda: len(seen) == 2)
    assert not [one for one in clinic.seen[asked:] if one.path.endswith("/image")]


def test_a_case_that_is_gone_is_explained(ann, clinic):
    case = ann.opened.records.now.cases[0]
    del clinic.cases[case.id]
    ann.opened.looking.image(case, lambda *_: pytest.fail("it is gone"))
    ann.settle(lambda: ann.opened.looking.notice)
    assert not ann.opened.looking.busy


def test_the_size_of_the_boxes_is_said_in_voxels_and_in_mm_where_that_is_one(ann):
    cases = ann.opened.records.now.cases
    said = box_size.present(ann.opened.project, cases)
    assert said == "Now: boxes of 4 × 5 × 6 voxels (about 12 × 5 × 6 mm), 6 in each round."
    assert "mm" not in box_size.present(ann.opened.project, ())


def test_a_suggestion_says_its_reasons_and_warnings():
    found = Suggestion(
        (8, 16, 16), (24.0, 12.2, 12.2), 20, 8, {}, {"patch_size": "As large as the organ."}, ("Few images.",)
    )
    assert box_size.suggested(found).splitlines() == [
        "Boxes of 8 × 16 × 16 voxels (about 24 × 12 × 12 mm), 20 in each round, 8 rounds.",
        "– As large as the organ.",
        "! Few images.",
    ]


def _unreachable():
    from NNActiveLogic.client.errors import Unreachable

    return Unreachable("The server does not answer.", "Try again.")


def test_consent_is_for_the_server_in_use_whatever_is_typed_meanwhile(ann, server):
    connection = ann.presenter.connection
    connection.agree(False)
    ann.settings.set("consent/http://127.0.0.1:1", "yes")
    report = connection.report
    connection.connect("http://127.0.0.1:1", "some-token")
    ann.settle(lambda: connection.report is not report)
    assert connection.client.transport.address.url == server.url
    assert not connection.consent
    assert server.url in connection.question
    assert (connection.name, connection.view().can_annotate) == ("ann", True)


def test_images_stay_on_this_computer_only_with_a_server_of_the_panels_own(ann, server):
    connection = ann.presenter.connection
    connection.agree(False)
    assert ann.opened.uploads.add([]).ask, "127.0.0.1 may be the near end of a tunnel"
    connection.connect(server.url, ann.token, own=True)
    ann.settle(lambda: connection.online)
    assert connection.consent
    connection.connect(server.url, ann.token)
    ann.settle(lambda: connection.online)
    assert not connection.consent
