"""Patches proposed while a training goes on, and what becomes of them when it ends."""

from __future__ import annotations

import sqlite3
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnactive_server.core.errors import Conflict
from nnactive_server.core.patch import Patch
from nnactive_server.store import Answer, Database, Kind, NewPatch, Store
from nnactive_server.store.schema import MIGRATIONS


def boxes(world, *starts):
    return [NewPatch(world.case.id, Patch((start, 0, 0), (4, 8, 8)), 1.0 - start / 100) for start in starts]


@pytest.fixture
def early(store, world):
    """Four patches of cycle 2, proposed early."""
    return store.patches.propose(world.project.id, 2, boxes(world, 0, 8, 16, 24), early=True)


@pytest.fixture
def finish(store, world):
    """Proposes the final batch of cycle 2; the starts of the patches there are then."""

    def propose(*starts):
        made = store.patches.propose(world.project.id, 2, boxes(world, *starts))
        assert made == store.patches.list(world.project.id, cycle=2)
        return [patch.box.start[0] for patch in made]

    return propose


def test_early_patches_are_the_batch_until_the_final_ones_come(store, world, early, finish):
    assert store.patches.list(world.project.id, cycle=2) == early
    assert all(patch.early and not patch.withdrawn for patch in early)
    assert store.patches.newest_cycle(world.project.id) == 2
    assert finish(32, 40, 48, 56) == [32, 40, 48, 56]
    assert store.patches.counts(world.project.id)[2] == {"open": 4}
    assert store.patches.counts_by_case(world.project.id)[world.case.id] == {"open": 8}
    assert [patch.early for patch in store.patches.list(world.project.id, cycle=2)] == [False] * 4


def test_what_somebody_has_touched_stays_and_counts(store, early, finish, labelled):
    store.answers.record(early[0].id, 0, labelled("anna"))
    store.leases.take(early[2].id, "ben", 60)
    assert finish(32, 40, 48, 56) == [0, 16, 32, 40]


def test_a_final_patch_that_would_touch_one_that_stays_is_left_out(store, early, finish, labelled):
    store.answers.record(early[0].id, 0, labelled("anna"))
    assert finish(2, 40, 48, 56) == [0, 40, 48, 56]


def test_a_patch_that_is_proposed_again_stays_the_same(store, world, early, finish):
    assert finish(24, 40, 48, 56) == [24, 40, 48, 56]
    assert store.patches.list(world.project.id, cycle=2)[0].id == early[3].id


def test_nothing_new_comes_when_all_early_patches_are_answered(store, early, finish, labelled):
    for patch in early:
        store.answers.record(patch.id, 0, labelled("anna"))
    assert finish(32, 40, 48, 56) == [0, 8, 16, 24]


@pytest.mark.parametrize("answered", [0, 1, 2])
def test_proposing_again_changes_nothing_even_after_answers(store, world, early, finish, labelled, answered):
    for patch in early[:answered]:
        store.answers.record(patch.id, 0, labelled("anna"))
    first = finish(32, 40, 48, 56)
    patches, seq = store.patches.list(world.project.id, cycle=2), store.events.last()
    assert finish(32, 40, 48, 56) == first
    assert (store.patches.list(world.project.id, cycle=2), store.events.last()) == (patches, seq)
    with pytest.raises(Conflict, match="another batch"):
        finish(33, 41, 49, 57)


def test_early_patches_may_be_proposed_again_and_differently(store, world, early):
    seq = store.events.last()
    assert store.patches.propose(world.project.id, 2, boxes(world, 0, 8, 16, 24), early=True) == early
    assert store.events.last() == seq
    other = store.patches.propose(world.project.id, 2, boxes(world, 0, 32), early=True)
    assert [patch.box.start[0] for patch in other] == [0, 32]


def test_withdrawn_patches_are_offered_to_nobody(store, world, early, finish):
    finish(32, 40, 48, 56)
    offered = set()
    while (found := store.leases.next_open(world.project.id, "anna", 60, besides=offered)) is not None:
        offered.add(found.id)
    assert not offered & {patch.id for patch in early}
    gone = store.patches.get(early[0].id)
    assert (gone.withdrawn, gone.untouched) == (True, True)


def test_an_answer_to_a_withdrawn_patch_is_not_lost(store, world, early, finish, labelled):
    finish(32, 40, 48, 56)
    store.answers.record(early[1].id, 0, labelled("anna"))
    found = {patch.id: patch for patch in store.patches.list(world.project.id, cycle=2)}
    assert found[early[1].id].state == "answered"
    assert len(found) == 5
    assert finish(32, 40, 48, 56) == [8, 32, 40, 48, 56]


def test_whoever_takes_a_withdrawn_patch_has_it_again(store, world, early, finish):
    finish(32, 40, 48, 56)
    store.leases.take(early[3].id, "anna", 60)
    assert early[3].id in {patch.id for patch in store.patches.list(world.project.id)}


def test_placed_patches_are_never_withdrawn(store, world):
    placed = store.patches.place(world.project.id, 2, boxes(world, 60)[0], "anna")
    store.patches.propose(world.project.id, 2, boxes(world, 0, 8), early=True)
    store.patches.propose(world.project.id, 2, boxes(world, 32, 40, 48, 56))
    assert placed.id in {patch.id for patch in store.patches.list(world.project.id, cycle=2)}


def test_a_store_of_the_version_before_keeps_its_patches(tmp_path):
    with Store(tmp_path / "new") as store:
        name = store.database.path.name
    path = tmp_path / "store" / name
    path.parent.mkdir()
    Database(path, MIGRATIONS[:1]).close()
    connection = sqlite3.connect(path, isolation_level=None)
    connection.executescript(
        "INSERT INTO projects (id, name, settings, revision, created, changed)"
        " VALUES ('p', 'P', '{}', 1, 1, 1);"
        "INSERT INTO cases (id, project, name, geometry, details, created)"
        " VALUES ('c', 'p', 'C', '{}', '{}', 1);"
        "INSERT INTO patches (id, project, case_id, cycle, rank, start_z, start_y, start_x, size_z, size_y,"
        " size_x, origin, class_group, explanation, created)"
        " VALUES ('x', 'p', 'c', 0, 1, 0, 0, 0, 4, 4, 4, 'start', '', '{}', 1);"
    )
    connection.close()
    with Store(tmp_path / "store") as store:
        (found,) = store.patches.list("p")
        assert (found.id, found.early, found.withdrawn) == ("x", False, False)


@given(touched=st.sets(st.integers(0, 3)), final=st.lists(st.integers(0, 14), unique=True, max_size=6))
def test_a_batch_is_never_larger_than_asked_and_keeps_what_was_touched(make_world, touched, final):
    with tempfile.TemporaryDirectory() as folder, Store(Path(folder)) as store:
        world = make_world(store)
        first = store.patches.propose(world.project.id, 2, boxes(world, 0, 8, 16, 24), early=True)
        for number in touched:
            store.answers.record(first[number].id, 0, Answer(Kind.EMPTY, "anna"))
        batch = boxes(world, *[4 * start for start in final])
        made = store.patches.propose(world.project.id, 2, batch)
    kept = {first[number].id for number in touched}
    asked = {patch.box for patch in batch}
    assert kept <= {patch.id for patch in made}
    assert len(made) <= max(len(kept), len(batch))
    assert all(patch.id in kept or patch.box in asked for patch in made)
    new = [patch for patch in made if not patch.early]
    assert not any(one.box.overlap(two.box) for one in new for two in made if one is not two)
