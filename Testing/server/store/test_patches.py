from __future__ import annotations

import pytest

from nnactive_server.core.errors import Conflict, InvalidInput, NotFound
from nnactive_server.core.patch import Patch
from nnactive_server.store import NewPatch, Origin, PatchState

BOX = Patch((1, 2, 3), (8, 8, 8))


def test_a_batch_comes_back_in_the_order_of_its_ranks(store, world):
    batch = [
        NewPatch(world.case.id, Patch((i, 0, 0), (4, 5, 6)), 0.5 - i, "tumour", {"mean": i / 3})
        for i in range(3)
    ]
    made = store.patches.propose(world.project.id, 2, batch)
    assert [(p.rank, p.box, p.score, p.explanation) for p in made] == [
        (i + 1, batch[i].box, 0.5 - i, {"mean": i / 3}) for i in range(3)
    ]
    assert all((p.state, p.revision, p.origin, p.lease) == ("open", 0, "query", None) for p in made)
    assert store.patches.list(world.project.id, cycle=2) == made
    assert store.patches.list(world.project.id) == world.patches + made
    assert store.patches.get(made[1].id) == made[1]
    assert store.patches.newest_cycle(world.project.id) == 2


def test_proposing_the_same_batch_again_changes_nothing(store, world):
    batch = [NewPatch(p.case, p.box) for p in world.patches]
    seq = store.events.last()
    assert store.patches.propose(world.project.id, 1, batch) == world.patches
    assert store.events.last() == seq


def test_another_batch_for_the_same_cycle_is_refused(store, world):
    with pytest.raises(Conflict, match="another batch") as caught:
        store.patches.propose(world.project.id, 1, [NewPatch(world.case.id, BOX)])
    assert caught.value.current == world.patches
    assert store.patches.list(world.project.id) == world.patches


def test_a_placed_patch_comes_last_and_does_not_count_as_the_batch(store, world):
    placed = store.patches.place(world.project.id, 2, NewPatch(world.case.id, BOX), "anna")
    assert (placed.rank, placed.origin, placed.placed_by) == (1, Origin.PLACED, "anna")
    batch = store.patches.propose(world.project.id, 2, [NewPatch(world.case.id, BOX)])
    assert [p.rank for p in batch] == [2]
    assert store.patches.propose(world.project.id, 2, [NewPatch(world.case.id, BOX)]) == batch
    again = store.patches.place(world.project.id, 2, NewPatch(world.case.id, BOX), "anna")
    assert again.rank == 3


def test_a_batch_with_one_impossible_box_stores_none_of_it(store, world):
    seq = store.events.last()
    batch = [NewPatch(world.case.id, BOX), NewPatch(world.case.id, Patch((60, 0, 0), (8, 8, 8)))]
    with pytest.raises(InvalidInput, match="outside"):
        store.patches.propose(world.project.id, 2, batch)
    assert store.patches.list(world.project.id, cycle=2) == ()
    assert store.events.last() == seq


def test_a_case_of_another_project_is_refused(store, world):
    other = store.projects.create("Other", {})
    with pytest.raises(InvalidInput, match="another project"):
        store.patches.propose(other.id, 1, [NewPatch(world.case.id, BOX)])


def test_patches_can_be_listed_by_state_and_case(store, world, labelled, grid):
    other = store.cases.add(world.project.id, "other", grid, world.case.images)
    store.answers.record(world.patches[1].id, 0, labelled("anna"))
    placed = store.patches.place(world.project.id, 1, NewPatch(other.id, BOX), "anna")
    ids = {p.id for p in store.patches.list(world.project.id, state=PatchState.ANSWERED)}
    assert ids == {world.patches[1].id}
    assert store.patches.list(world.project.id, case=other.id) == (placed,)
    assert store.patches.counts(world.project.id) == {1: {PatchState.OPEN: 4, PatchState.ANSWERED: 1}}


def test_a_list_can_be_read_in_pages(store, world):
    pages = [store.patches.list(world.project.id, limit=3, offset=i) for i in (0, 3, 6)]
    assert pages == [world.patches[:3], world.patches[3:], ()]


def test_unknown_ids_are_named(store, world):
    for call in (
        lambda: store.patches.get("X"),
        lambda: store.patches.list("X"),
        lambda: store.patches.propose("X", 1, []),
        lambda: store.patches.propose(world.project.id, 5, [NewPatch("X", BOX)]),
    ):
        with pytest.raises(NotFound, match="X"):
            call()


def test_a_project_without_patches_has_no_newest_cycle(store):
    assert store.patches.newest_cycle(store.projects.create("Empty", {}).id) is None
