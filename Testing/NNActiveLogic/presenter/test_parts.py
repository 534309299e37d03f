"""The small parts: time, memory, tables, words, shortcuts."""

import string
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import NNActiveLogic.presenter
from NNActiveLogic.client.outbox import Entry
from NNActiveLogic.client.statistics import Statistics
from NNActiveLogic.client.values import Box, Case, Label, Lease, Patch, Project
from NNActiveLogic.presenter import words
from NNActiveLogic.presenter.activity import ActiveTime
from NNActiveLogic.presenter.budget import box_around, start_budget
from NNActiveLogic.presenter.cache import ArrayCache
from NNActiveLogic.presenter.labels_table import LabelRow, check_channels, check_labels, next_colour
from NNActiveLogic.presenter.loader import with_context
from NNActiveLogic.presenter.progress import progress
from NNActiveLogic.presenter.session import Session
from NNActiveLogic.presenter.shortcuts import SHORTCUTS, key_of
from NNActiveLogic.presenter.uploads import server_name
from NNActiveLogic.presenter.worklist import Filter, neighbour, rows, shown
from testkit.imports import imported

FILES = sorted(Path(NNActiveLogic.presenter.__file__).parent.glob("*.py"))
FILES.append(Path(NNActiveLogic.presenter.__file__).parents[1] / "work.py")


# Active time


@pytest.fixture
def watch():
    now = [0.0]
    return now, ActiveTime(lambda: now[0], 30.0)


def test_time_counts_from_opening_until_nothing_was_done_for_a_while(watch):
    now, active = watch
    active.open()
    now[0] = 20
    active.input()
    now[0] = 500
    assert active.seconds == 50
    active.input()
    now[0] = 505
    assert active.close() == 55
    now[0] = 600
    assert active.seconds == 55


def test_time_in_the_background_does_not_count(watch):
    now, active = watch
    active.open(before=7)
    now[0] = 10
    active.background(True)
    active.background(True)
    now[0] = 25
    active.input()
    active.background(False)
    now[0] = 30
    assert active.close() == 7 + 15


@given(st.lists(st.tuples(st.floats(0, 100), st.sampled_from(["input", "look", "away", "back"]))))
def test_active_time_is_never_more_than_the_time_nor_than_what_input_allows(steps):
    now, inputs = [0.0], 1
    active = ActiveTime(lambda: now[0], 30.0)
    active.open()
    before = 0.0
    for pause, what in steps:
        now[0] += pause
        inputs += what in ("input", "back", "away")
        {"input": active.input, "look": lambda: None}.get(
            what, lambda what=what: active.background(what == "away")
        )()
        assert before <= active.seconds <= min(now[0], 30.0 * inputs) + 1e-6
        before = active.seconds


# Memory


@given(
    st.lists(st.tuples(st.integers(0, 8), st.integers(0, 60)), max_size=40),
    st.sets(st.integers(0, 8), max_size=2),
)
def test_the_cache_stays_within_its_limit_but_for_what_is_pinned(puts, pinned):
    cache = ArrayCache(100)
    cache.pin((key,) for key in pinned)
    sizes = {}
    for key, nbytes in puts:
        sizes[key] = nbytes
        there = cache.put((key,), key, nbytes)
        assert there == ((key,) in cache)
        assert there or key not in pinned
        kept = sum(size for one, size in sizes.items() if one in pinned)
        assert cache.nbytes <= max(100, kept)


def test_the_least_recently_used_goes_first():
    cache = ArrayCache(100)
    for key in "ab":
        cache.put((key,), key, 50)
    assert cache.get(("a",)) == "a"
    cache.put(("c",), "c", 50)
    assert (("a",) in cache, ("b",) in cache) == (True, False)
    cache.limit = 50
    assert cache.nbytes == 50
    cache.drop(lambda key: key == ("c",))
    assert cache.nbytes == 0


# Start budget and tables


def project(names=("organ", "lesion"), query_size=6):
    return Project("p", "P", tuple(Label(n) for n in names), ("CT",), (4, 5, 6), query_size, "s", "smoke")


def patch(name="p1", cycle=0, rank=1, **more):
    about = {
        "project": "p", "case": "c", "box": Box((0, 0, 0), (4, 5, 6)), "group": "", "class_name": None,
        "score": None, "why": None, "sentence": "Why.", "origin": "placed", "state": "open", "revision": 0,
        "lease": None,
    } | more  # fmt: skip
    return Patch(id=name, cycle=cycle, rank=rank, **about)


def case(name="c", quality=None, shape=(20, 30, 40)):
    return Case(name, f"patient {name}", shape, (1, 1, 1), (0, 0, 0), (1,) * 9, 0, 0, quality, None)


def test_a_box_that_was_placed_for_a_structure_says_so_in_the_table():
    table = rows(
        [patch("a", group="organ"), patch("b", group="uniform", origin="start", rank=2)], [case()], []
    )
    assert [row.class_name for row in table] == ["organ", ""]
    assert rows([patch(group="class-2", class_name="lesion")], [case()], [])[0].class_name == "lesion"


def test_the_start_says_what_is_missing():
    first = start_budget(project(), [], {}, trained=False)
    assert first.sentence == "For the start, organ needs 2 more boxes and lesion needs 2 more boxes."
    placed = [patch(f"p{n}", group="organ") for n in range(2)]
    second = start_budget(project(), placed, {"lesion": 1}, trained=False)
    assert second.sentence == "For the start, lesion needs one more box."
    third = start_budget(project(), placed, {"lesion": 2}, trained=False)
    assert third.random == 4
    assert "Add 4 random ones" in third.sentence
    drawn = [*placed, patch("r", origin="start", group="random")]
    assert start_budget(project(), drawn, {"lesion": 2}, trained=False).ready
    assert start_budget(project(), [], {}, trained=True).ready


@given(
    st.tuples(*[st.integers(1, 40)] * 3),
    st.tuples(*[st.integers(1, 40)] * 3),
    st.tuples(*[st.floats(-5, 45)] * 3),
)
def test_a_box_round_a_voxel_lies_in_the_image_and_holds_the_voxel(shape, size, centre):
    box = box_around(centre, case(shape=shape), size)
    for first, extent, whole, wanted, middle in zip(box.start, box.size, shape, size, centre, strict=True):
        assert 0 <= first <= first + extent <= whole
        assert extent == min(wanted, whole)
        inside = min(max(0, round(middle)), whole - 1)
        assert first <= inside < first + extent


def test_the_heat_map_round_a_box_has_context_and_stays_in_the_image():
    found = with_context(Box((0, 10, 10), (4, 5, 6)), (20, 30, 20))
    assert (found.start, found.size) == ((0, 5, 4), (8, 15, 16))


@pytest.mark.parametrize(
    ("table", "wrong"),
    [
        ([], "Name at least one"),
        ([LabelRow(" ")], "Structure 1 has no name"),
        ([LabelRow("a"), LabelRow("A ")], "'A' is there twice"),
        ([LabelRow("Ignore")], "meaning of its own"),
        ([LabelRow("a", "red")], "like #ff8000"),
        ([LabelRow("a", "#ff0000"), LabelRow("b", "#FF0000")], "same colour"),
        ([LabelRow("x" * 201)], "too long"),
        ([LabelRow(str(n)) for n in range(201)], "At most 200"),
    ],
)
def test_a_table_of_structures_that_cannot_be_is_explained(table, wrong):
    assert wrong in check_labels(table)[0].text


def test_a_good_table_has_no_fault_and_new_rows_get_new_colours():
    table = [LabelRow("liver", "#d62728"), LabelRow("tumour", terminology={"code": "1"})]
    assert check_labels(table) == ()
    assert next_colour(table) not in ("#d62728", "")
    assert table[1].label() == Label("tumour", None, {"code": "1"})
    assert check_channels(["CT"]) == ()
    assert [fault.row for fault in check_channels(["CT", "", "CT"])] == [1, 2]
    assert check_channels([])[0].row is None


# Work list and progress


def entry(name, kind="empty", parked=False):
    return Entry(1, "k", name, 1, 0, {"kind": kind, "seconds": 90.0}, 0.0, parked)


def test_the_table_counts_unsent_answers_in_and_names_who_works():
    held = patch("b", rank=2, lease=Lease("ben", 1e12, False))
    table = rows(
        [patch("d", cycle=1), patch("c", rank=3), held, patch("a")], [case()], [entry("c")], here="a"
    )
    assert [row.patch for row in table] == ["a", "b", "c", "d"]
    assert [row.mark for row in table] == ["open now", "", "not sent yet", ""]
    assert (table[1].holder, table[2].state, table[2].minutes) == ("ben", "empty", 1.5)
    assert [row.patch for row in shown(table, Filter.OPEN)] == ["a", "b", "d"]
    assert [row.patch for row in shown(table, Filter.DONE)] == ["c"]
    assert [row.patch for row in shown(table, Filter.UNSENT)] == ["c"]
    assert neighbour(table, "a", 1) == "c"
    assert neighbour(table, "a", -1) is None
    assert neighbour(table, "gone", 1) == "a"
    assert rows([patch(state="new")], [], [])[0].state_words == "new"


def test_progress_lists_weak_cases_first_and_covers_classes():
    cases = [case("a", 0.9), case("b"), case("c", 0.2)]
    found = progress(Statistics((), {"organ": 3}, {"patches": 6.0}), cases, ["organ", "lesion"])
    assert [one.case for one in found.cases] == ["c", "a", "b"]
    assert [one.share for one in found.coverage] == [0.5, 0.0]
    assert [one.dice for one in found.curves] == [(), ()]


# Words and shortcuts


def test_templates_have_named_places_only_and_can_be_translated():
    for template in words.templates():
        names = [name for _, name, _, _ in string.Formatter().parse(template) if name is not None]
        assert all(name.isidentifier() for name in names), template
    words.use(lambda text: {"Not connected.": "Nicht verbunden."}.get(text, text))
    try:
        assert words.say(words.NOT_CONNECTED) == "Nicht verbunden."
    finally:
        words.use(str)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(3, "less than a minute"), (61, "about 1 minute"), (250, "about 4 minutes"), (7300, "about 2 hours")],
)
def test_durations_do_not_pretend_to_be_exact(seconds, text):
    assert words.duration(seconds) == text


def test_lists_and_sizes_read_well():
    assert words.listed(["a", "b", "c"]) == "a, b and c"
    assert words.listed(["a"]) == "a"
    assert (words.size(3e6), words.size(2.5e9)) == ("3 MB", "2.5 GB")


def test_every_key_is_there_once_and_answers_are_methods_of_the_session():
    assert len({one.key for one in SHORTCUTS}) == len({one.action for one in SHORTCUTS}) == len(SHORTCUTS)
    assert all(one.sentence for one in SHORTCUTS)
    for action in ("accept", "confirm", "empty", "skip", "refer", "next", "previous"):
        assert callable(getattr(Session, action))
        assert key_of(action).startswith("Ctrl+")


# Imports and sentences


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_the_presenter_needs_neither_qt_nor_mrml(path):
    for name in imported(path):
        rooms = ("presenter", "client", "local", "work")
        ours = name.startswith(tuple(f"NNActiveLogic.{room}" for room in rooms))
        assert ours or name.split(".")[0] in {"numpy", *sys.stdlib_module_names}, (
            f"{path.name} imports {name}"
        )


def test_importing_the_presenter_loads_no_other_room():
    code = (
        "import sys, NNActiveLogic.presenter\n"
        "others = {'torch', 'qt', 'slicer', 'vtk', 'nnactive_server', 'NNActiveLogic.scene'}\n"
        "assert not others & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=FILES[0].parents[2])


def test_every_template_is_used():
    panel = FILES[0].parents[2] / "NNActiveSlicer" / "NNActiveSlicerLib"
    texts = [path.read_text() for path in (*FILES, *panel.glob("*.py")) if path.name != "words.py"]
    names = [name for name in vars(words) if name.isupper() and isinstance(getattr(words, name), str)]
    own = (FILES[0].parent / "words.py").read_text()
    unused = [n for n in names if not any(f"words.{n}" in t for t in texts) and own.count(n) < 2]
    assert unused == []


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        ("2: CT Thorax  ax.", "2_CT_Thorax_ax"),
        ("liver_007-b", "liver_007-b"),
        ("Müller", "Muller"),
        ("_.", None),
        (None, None),
        ("x" * 80, "x" * 64),
    ],
)
def test_names_of_volumes_are_turned_into_names_that_the_server_takes(given, sent):
    assert server_name(given) == sent
