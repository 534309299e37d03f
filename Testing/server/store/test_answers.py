from __future__ import annotations

import math
import sqlite3

import pytest

from nnactive_server.core.errors import Conflict, InvalidInput, NotFound, StoreError
from nnactive_server.store import Answer, Change, Kind, PatchState, Reason


@pytest.fixture
def patch(world) -> str:
    return world.patches[0].id


def test_an_answer_comes_back_with_everything_that_was_said(store, patch, labelled, clock):
    answer = labelled(
        "anna",
        unsure=store.blobs.put(b"unsure"),
        prefill=store.blobs.put(b"prefill"),
        prefill_model="cycle 1",
        seconds=12.5,
        edits=7,
        class_voxels={0: 500, 1: 12},
        comment="thin vessel — α",
    )
    made = store.answers.record(patch, 0, answer)
    assert (made.revision, made.reading, made.at, made.answer) == (1, 1, clock(), answer)
    assert store.answers.history(patch) == (made,)
    assert store.answers.newest(patch) == {1: made}
    assert store.blobs.read(made.answer.labels) == b"labels"
    found = store.patches.get(patch)
    assert (found.state, found.revision) == (PatchState.ANSWERED, 1)


@pytest.mark.parametrize(
    ("kind", "more", "state"),
    [
        (Kind.LABELLED, {"labels": True}, PatchState.ANSWERED),
        (Kind.CONFIRMED, {"labels": True}, PatchState.CONFIRMED),
        (Kind.EMPTY, {}, PatchState.EMPTY),
        (Kind.SKIPPED, {"reason": Reason.CANNOT_TELL}, PatchState.SKIPPED),
        (Kind.REFERRED, {"referred_to": "ben"}, PatchState.REFERRED),
        (Kind.REFERRED, {"referred_to": "ben", "labels": True}, PatchState.REFERRED),
    ],
)
def test_each_kind_of_answer_moves_the_patch_to_its_state(store, patch, kind, more, state):
    values = {k: store.blobs.put(b"labels") if v is True else v for k, v in more.items()}
    made = store.answers.record(patch, 0, Answer(kind, "anna", **values))
    found = store.patches.get(patch)
    assert found.state == state
    assert found.referred_to == more.get("referred_to")
    assert store.answers.newest(patch)[1] == made


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        (Kind.LABELLED, {}),
        (Kind.CONFIRMED, {}),
        (Kind.SKIPPED, {}),
        (Kind.REFERRED, {}),
        (Kind.EMPTY, {"labels": "0" * 64}),
        (Kind.SKIPPED, {"reason": Reason.BAD_IMAGE, "labels": "0" * 64}),
        (Kind.SKIPPED, {"reason": Reason.BAD_IMAGE, "unsure": "0" * 64}),
        (Kind.EMPTY, {"reason": Reason.BAD_IMAGE}),
        (Kind.EMPTY, {"referred_to": "ben"}),
        (Kind.REOPENED, {"labels": "0" * 64}),
        (Kind.EMPTY, {"seconds": math.nan}),
        (Kind.EMPTY, {"seconds": -1.0}),
        (Kind.EMPTY, {"edits": -1}),
        (Kind.EMPTY, {"comment": "x" * 5000}),
        (Kind.REFERRED, {"referred_to": "a\nb"}),
    ],
)
def test_fields_that_do_not_fit_the_answer_are_refused(kind, values):
    with pytest.raises(InvalidInput, match="answer"):
        Answer(kind, "anna", **values)


def test_an_answer_whose_files_are_not_stored_is_refused(store, patch):
    with pytest.raises(InvalidInput, match="upload it first"):
        store.answers.record(patch, 0, Answer(Kind.LABELLED, "anna", labels="0" * 64))
    assert store.answers.history(patch) == ()
    assert store.patches.get(patch).state == PatchState.OPEN


def test_an_answer_based_on_an_older_revision_conflicts_and_carries_the_newer(store, patch, labelled):
    first = store.answers.record(patch, 0, labelled("anna", b"annas"))
    seq = store.events.last()
    for expected in (0, 2, -1):
        with pytest.raises(Conflict, match="answered meanwhile") as caught:
            store.answers.record(patch, expected, labelled("ben", b"bens"))
        assert caught.value.current == first
    assert store.answers.history(patch) == (first,)
    assert store.events.last() == seq
    assert store.answers.record(patch, 1, labelled("ben", b"bens")).revision == 2


def test_a_conflict_before_any_answer_carries_nothing(store, patch, labelled):
    with pytest.raises(Conflict) as caught:
        store.answers.record(patch, 1, labelled("anna"))
    assert caught.value.current is None


def test_reopening_and_correcting_keeps_the_whole_history(store, patch, labelled):
    said = [
        labelled("anna", b"one"),
        Answer(Kind.REOPENED, "rita", comment="left lobe missing"),
        labelled("anna", b"two"),
        Answer(Kind.EMPTY, "rita"),
    ]
    states = []
    for revision, answer in enumerate(said):
        store.answers.record(patch, revision, answer)
        states.append(store.patches.get(patch).state)
    assert states == ["answered", "open", "answered", "empty"]
    history = store.answers.history(patch)
    assert [record.answer for record in history] == said
    assert [record.revision for record in history] == [1, 2, 3, 4]
    assert store.blobs.read(history[0].answer.labels) == b"one"


def test_an_open_patch_cannot_be_reopened(store, patch, labelled):
    with pytest.raises(Conflict, match="nothing to reopen"):
        store.answers.record(patch, 0, Answer(Kind.REOPENED, "rita"))
    store.answers.record(patch, 0, labelled("anna"))
    store.answers.record(patch, 1, Answer(Kind.REOPENED, "rita"))
    with pytest.raises(Conflict, match="nothing to reopen"):
        store.answers.record(patch, 2, Answer(Kind.REOPENED, "rita"))


def test_a_reopened_patch_is_handed_out_again(store, world, patch, labelled):
    store.answers.record(patch, 0, labelled("anna"))
    store.answers.record(patch, 1, Answer(Kind.REOPENED, "rita"))
    assert store.leases.next_open(world.project.id, "ben", 60).id == patch


def test_a_second_reading_stands_beside_the_first(store, patch, labelled):
    first = store.answers.record(patch, 0, labelled("anna", b"annas"))
    second = store.answers.record(patch, 0, labelled("ben", b"bens"), reading=2)
    assert store.answers.newest(patch) == {1: first, 2: second}
    assert store.patches.get(patch).revision == 1
    better = store.answers.record(patch, 1, labelled("ben", b"better"), reading=2)
    third = store.answers.record(patch, 0, Answer(Kind.EMPTY, "carl"), reading=3)
    assert store.answers.newest(patch) == {1: first, 2: better, 3: third}
    assert store.answers.history(patch) == (first, second, better, third)
    assert store.patches.get(patch).state == PatchState.ANSWERED


def test_a_second_reading_needs_a_first_one_that_says_what_the_voxels_are(store, patch, labelled):
    with pytest.raises(Conflict, match="reading 1 first"):
        store.answers.record(patch, 0, labelled("ben"), reading=2)
    store.answers.record(patch, 0, Answer(Kind.SKIPPED, "anna", reason=Reason.BAD_IMAGE))
    with pytest.raises(Conflict, match="reading 1 first"):
        store.answers.record(patch, 0, labelled("ben"), reading=2)


def test_nobody_reads_a_patch_twice(store, patch, labelled):
    store.answers.record(patch, 0, labelled("anna"))
    with pytest.raises(Conflict, match="anna did reading 1"):
        store.answers.record(patch, 0, labelled("anna"), reading=2)
    bens = store.answers.record(patch, 0, labelled("ben"), reading=2)
    with pytest.raises(Conflict, match="belongs to ben") as caught:
        store.answers.record(patch, 1, labelled("carl"), reading=2)
    assert caught.value.current == bens


def test_patches_read_twice_can_be_listed(store, world, labelled):
    for patch in world.patches[1:3]:
        store.answers.record(patch.id, 0, labelled("anna"))
        store.answers.record(patch.id, 0, labelled("ben"), reading=2)
    assert store.answers.read_twice(world.project.id) == tuple(p.id for p in world.patches[1:3])


def test_changes_since_an_event_name_each_patch_once_with_its_present_state(store, world, labelled):
    one, two, three, _ = (p.id for p in world.patches)
    project, case = world.project.id, world.case.id
    store.answers.record(one, 0, labelled("anna"))
    start = store.answers.record(two, 0, labelled("anna")).seq
    assert store.answers.changed_since(project, start) == ()
    store.answers.record(three, 0, Answer(Kind.EMPTY, "anna"))
    reopened = store.answers.record(one, 1, Answer(Kind.REOPENED, "rita"))
    again = store.answers.record(three, 1, labelled("anna"))
    store.answers.record(three, 0, labelled("ben"), reading=2)
    assert store.answers.changed_since(project, start) == (
        Change(one, case, PatchState.OPEN, reopened.seq),
        Change(three, case, PatchState.ANSWERED, again.seq),
    )
    assert store.answers.changed_since(project, again.seq) == ()
    assert [c.patch for c in store.answers.changed_since(project, 0)] == [two, one, three]


def test_changes_of_other_projects_are_not_told(store, world, make_world, labelled):
    other = make_world(store, name="Other")
    store.answers.record(other.patches[0].id, 0, labelled("anna"))
    assert store.answers.changed_since(world.project.id, 0) == ()
    assert store.answers.current(world.project.id) == ()


def test_current_answers_are_the_newest_first_readings(store, world, labelled):
    one, two, *_ = (p.id for p in world.patches)
    store.answers.record(two, 0, labelled("anna", b"old"))
    store.answers.record(two, 0, labelled("ben", b"bens"), reading=2)
    newest = store.answers.record(two, 1, labelled("anna", b"new"))
    first = store.answers.record(one, 0, Answer(Kind.EMPTY, "anna"))
    assert store.answers.current(world.project.id) == (first, newest)
    assert store.answers.current(world.project.id, cycle=1) == (first, newest)
    assert store.answers.current(world.project.id, cycle=2) == ()


def test_each_answer_has_the_event_that_tells_of_it(store, world, patch, labelled):
    made = store.answers.record(patch, 0, labelled("anna"))
    (event,) = store.events.after(made.seq - 1, limit=1)
    assert (event.seq, event.kind, event.subject) == (made.seq, "answer.recorded", patch)
    assert event.project == world.project.id
    assert event.payload["revision"] == 1
    assert event.payload["annotator"] == "anna"


@pytest.mark.parametrize("sql", ["UPDATE answers SET comment = 'x'", "DELETE FROM answers"])
def test_stored_answers_cannot_be_changed_or_removed_even_by_sql(store, patch, labelled, sql):
    made = store.answers.record(patch, 0, labelled("anna"))
    with pytest.raises(StoreError, match="only ever added"), store.database.write() as connection:
        connection.execute(sql)
    assert store.answers.history(patch) == (made,)
    other = sqlite3.connect(store.database.path)
    with pytest.raises(sqlite3.IntegrityError):
        other.execute(sql)
    other.close()


def test_unknown_patches_are_named(store, labelled):
    for call in (
        lambda: store.answers.record("X", 0, labelled("anna")),
        lambda: store.answers.history("X"),
        lambda: store.answers.newest("X"),
    ):
        with pytest.raises(NotFound, match="X"):
            call()
