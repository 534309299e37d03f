from __future__ import annotations

import math

import pytest

from nnactive_server.core.errors import Conflict, InvalidInput, NotFound
from nnactive_server.store import Answer, Kind, NewPatch, PatchState, Reason


def test_a_lease_shuts_others_out_until_it_ends(store, world, clock):
    patch = world.patches[0].id
    lease = store.leases.take(patch, "anna", 60)
    assert lease.expires == clock() + 60
    assert store.patches.get(patch).lease == lease
    with pytest.raises(Conflict, match="anna works on it") as caught:
        store.leases.take(patch, "ben", 60)
    assert caught.value.current == lease
    clock.move(59.9)
    with pytest.raises(Conflict):
        store.leases.take(patch, "ben", 60)
    clock.move(0.1)
    assert store.patches.get(patch).lease is None
    assert store.leases.take(patch, "ben", 60).holder == "ben"


def test_a_heartbeat_prolongs_a_lease_and_keeps_its_beginning(store, world, clock):
    lease = store.leases.take(world.patches[0].id, "anna", 60)
    clock.move(50)
    renewed = store.leases.renew(lease.patch, "anna", 60)
    assert (renewed.granted, renewed.expires) == (lease.granted, clock() + 60)
    clock.move(50)
    with pytest.raises(Conflict):
        store.leases.take(lease.patch, "ben", 60)


def test_a_heartbeat_after_the_end_says_so(store, world, clock):
    lease = store.leases.take(world.patches[0].id, "anna", 60)
    clock.move(60)
    with pytest.raises(Conflict, match="has ended") as caught:
        store.leases.renew(lease.patch, "anna", 60)
    assert caught.value.current is None
    bens = store.leases.take(lease.patch, "ben", 60)
    with pytest.raises(Conflict) as caught:
        store.leases.renew(lease.patch, "anna", 60)
    assert caught.value.current == bens


def test_only_the_holder_gives_a_lease_back(store, world):
    lease = store.leases.take(world.patches[0].id, "anna", 60)
    store.leases.release(lease.patch, "ben")
    assert store.leases.held(world.project.id) == (lease,)
    store.leases.release(lease.patch, "anna")
    store.leases.release(lease.patch, "anna")
    assert store.leases.held(world.project.id) == ()
    assert store.leases.take(lease.patch, "ben", 60).holder == "ben"


def test_the_next_patch_is_the_first_by_rank_that_nobody_else_holds(store, world):
    first, second, third, _ = (p.id for p in world.patches)
    assert store.leases.next_open(world.project.id, "anna", 60).id == first
    assert store.leases.next_open(world.project.id, "ben", 60).id == second
    found = store.leases.next_open(world.project.id, "anna", 60)
    assert found.id == first, "one's own comes again"
    assert found.lease.holder == "anna"
    assert store.leases.next_open(world.project.id, "anna", 60, besides=[first]).id == third
    store.leases.release(second, "ben")
    assert store.leases.next_open(world.project.id, "carl", 60).id == second


def test_answered_patches_are_not_handed_out(store, world, labelled):
    store.answers.record(world.patches[0].id, 0, labelled("anna"))
    skipped = Answer(Kind.SKIPPED, "anna", reason=Reason.BAD_IMAGE)
    store.answers.record(world.patches[1].id, 0, skipped)
    assert store.leases.next_open(world.project.id, "ben", 60).id == world.patches[2].id


def test_nothing_is_left_when_all_are_held_or_answered(store, world):
    for _ in world.patches:
        store.leases.next_open(world.project.id, "anna", 60, besides=[p.patch for p in held(store, world)])
    assert store.leases.next_open(world.project.id, "ben", 60) is None


def held(store, world):
    return store.leases.held(world.project.id)


def test_patches_of_one_cycle_can_be_asked_for(store, world):
    box = world.patches[0].box
    newer = store.patches.propose(world.project.id, 2, [NewPatch(world.case.id, box)])
    assert store.leases.next_open(world.project.id, "anna", 60, cycle=2).id == newer[0].id
    assert store.leases.next_open(world.project.id, "ben", 60, cycle=2) is None
    assert store.leases.next_open(world.project.id, "ben", 60).id == world.patches[0].id


def test_a_referred_patch_goes_to_the_colleague_alone(store, world):
    first, second = world.patches[0].id, world.patches[1].id
    store.answers.record(first, 0, Answer(Kind.REFERRED, "anna", referred_to="ben"))
    assert store.patches.get(first).state == PatchState.REFERRED
    assert store.leases.next_open(world.project.id, "anna", 60).id == second
    assert store.leases.next_open(world.project.id, "ben", 60).id == first


def test_a_second_reading_is_offered_to_others_only_and_once(store, world, labelled):
    first, second = world.patches[0].id, world.patches[1].id
    store.answers.record(second, 0, labelled("anna"))
    assert store.leases.next_second_reading(world.project.id, "anna", 60) is None
    assert store.leases.next_second_reading(world.project.id, "ben", 60).id == second
    assert store.leases.next_second_reading(world.project.id, "carl", 60) is None, "ben holds it"
    store.answers.record(second, 0, labelled("ben"), reading=2)
    assert store.leases.next_second_reading(world.project.id, "carl", 60) is None
    assert store.leases.next_open(world.project.id, "carl", 60).id == first


def test_an_answer_ends_the_annotators_lease_and_nobody_elses(store, world, labelled):
    first, second = world.patches[0].id, world.patches[1].id
    for patch in (first, second):
        store.leases.take(patch, "anna", 60)
    store.answers.record(first, 0, labelled("anna"))
    store.answers.record(second, 0, labelled("ben"))
    assert [lease.patch for lease in held(store, world)] == [second]


@pytest.mark.parametrize("seconds", [0, -1, math.nan, math.inf, 1e9])
def test_impossible_times_are_refused(store, world, seconds):
    with pytest.raises(InvalidInput, match="seconds"):
        store.leases.take(world.patches[0].id, "anna", seconds)


def test_unknown_ids_are_named(store):
    with pytest.raises(NotFound):
        store.leases.take("X", "anna", 60)
    with pytest.raises(NotFound):
        store.leases.next_open("X", "anna", 60)


def test_events_tell_who_began_and_stopped_but_not_each_heartbeat(store, world):
    seq = store.events.last()
    patch = world.patches[0].id
    store.leases.take(patch, "anna", 60)
    store.leases.renew(patch, "anna", 60)
    store.leases.take(patch, "anna", 60)
    store.leases.release(patch, "anna")
    assert [(e.kind, e.subject) for e in store.events.after(seq)] == [
        ("lease.taken", patch),
        ("lease.released", patch),
    ]
