from __future__ import annotations

import dataclasses
import math

import pytest

from nnactive_server.core.errors import Conflict, InvalidInput, NotFound
from nnactive_server.core.geometry import Geometry


def test_a_project_comes_back_as_it_was_made(store):
    made = store.projects.create("Leber α", {"labels": ["liver", "tumour"], "patch": [64, 128, 128]})
    assert store.projects.get(made.id) == made
    assert store.projects.list() == (made,)
    assert made.settings == {"labels": ["liver", "tumour"], "patch": [64, 128, 128]}
    assert made.revision == 1


def test_a_name_is_used_once_whatever_the_case_of_its_letters(store):
    made = store.projects.create("Liver", {})
    with pytest.raises(Conflict) as caught:
        store.projects.create("LIVER", {})
    assert caught.value.current == made


def test_a_change_needs_the_revision_it_was_based_on(store, clock):
    made = store.projects.create("Liver", {"a": 1})
    clock.move(5)
    changed = store.projects.change(made.id, 1, {"a": 2}, name="liver")
    assert (changed.revision, changed.settings, changed.name) == (2, {"a": 2}, "liver")
    assert changed.changed == made.changed + 5
    with pytest.raises(Conflict, match="changed meanwhile") as caught:
        store.projects.change(made.id, 1, {"a": 3})
    assert caught.value.current == changed
    assert store.projects.get(made.id) == changed


def test_settings_that_are_no_json_are_refused(store):
    for settings in ({"a": math.nan}, {"a": object()}, {(1, 2): 3}):
        with pytest.raises(InvalidInput, match="settings"):
            store.projects.create("Liver", settings)
    assert store.projects.list() == ()
    assert store.events.last() == 0


def test_unknown_ids_are_named(store, world):
    for call in (
        lambda: store.projects.get("X"),
        lambda: store.projects.change("X", 1, {}),
        lambda: store.cases.list("X"),
        lambda: store.cases.get("X"),
        lambda: store.cases.by_name(world.project.id, "X"),
        lambda: store.cases.add("X", "name", world.case.geometry, world.case.images),
    ):
        with pytest.raises(NotFound, match="X"):
            call()


def test_a_case_comes_back_with_its_channels_in_order(store, world, grid):
    images = [store.blobs.put(bytes([i])) for i in range(12)][::-1]
    tilted = dataclasses.replace(grid, direction=(0.1, 1 / 3, 0.2, 0.3, -0.4, 0.5, 0.6, 0.7, 1e-17))
    made = store.cases.add(world.project.id, "Case-2_b", tilted, images, {"dtype": "int16"})
    assert made.images == tuple(images)
    assert made.geometry == tilted
    assert made.details == {"dtype": "int16"}
    assert store.cases.get(made.id) == made
    assert store.cases.by_name(world.project.id, "case-2_B") == made
    assert store.cases.list(world.project.id) == (made, world.case)


def test_a_case_name_is_free_in_another_project(store, world):
    other = store.projects.create("Other", {})
    store.cases.add(other.id, world.case.name, world.case.geometry, world.case.images)
    with pytest.raises(Conflict) as caught:
        store.cases.add(other.id, "CASE_1", world.case.geometry, world.case.images)
    assert caught.value.current.name == world.case.name


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", "a/b", "a\\b", "_a", "-rf", "a b", "ä", "a.nii", "a\n", "con", "LPT1", "x" * 65, "a\0"],
)
def test_names_that_are_unsafe_in_file_names_are_refused(store, world, name):
    with pytest.raises(InvalidInput, match="case name"):
        store.cases.add(world.project.id, name, world.case.geometry, world.case.images)


def test_a_case_needs_images_that_are_stored(store, world, grid):
    for images in ([], ["0" * 64], ["../etc/passwd"]):
        with pytest.raises(InvalidInput):
            store.cases.add(world.project.id, "new", grid, images)


def test_a_grid_with_numbers_that_are_not_finite_is_refused(store, world):
    grid = Geometry((4, 4, 4), (1.0, 1.0, math.inf), (0.0, 0.0, 0.0), (1.0, 0, 0, 0, 1, 0, 0, 0, 1))
    with pytest.raises(InvalidInput, match="geometry"):
        store.cases.add(world.project.id, "new", grid, world.case.images)


def test_details_can_be_replaced(store, world):
    changed = store.cases.describe(world.case.id, {"quality": 0.8})
    assert changed == dataclasses.replace(world.case, details={"quality": 0.8})
    assert store.cases.get(world.case.id) == changed
