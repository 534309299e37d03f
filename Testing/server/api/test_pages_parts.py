"""The parts of the pages: words, the learning curve's shapes, the size of the folder."""

import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nnactive_server.api.pages import words
from nnactive_server.api.pages.curve import HEIGHT, MOST_LINES, PALETTE, WIDTH, draw
from nnactive_server.api.pages.machine import FolderSize
from testkit.busy_clinic import result
from testkit.busy_clinic import settings as project_settings


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 seconds"),
        (1, "1 second"),
        (59.4, "59 seconds"),
        (59.6, "1 minute"),
        (89, "1 minute"),
        (119, "2 minutes"),
        (720, "12 minutes"),
        (3600, "1 hour"),
        (4800, "1 hour 20 minutes"),
        (7199, "2 hours"),
        (86400, "1 day"),
        (90000, "1 day 1 hour"),
        (3 * 86400 + 60, "3 days"),
        (-5, "0 seconds"),
    ],
)
def test_durations_read_as_people_say_them(seconds, text):
    assert words.duration(seconds) == text


def test_time_left_is_told_roughly():
    assert words.left(None) == ""
    assert words.left(20) == "less than a minute left"
    assert words.left(725) == "about 12 minutes left"


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 bytes"), (999, "999 bytes"), (1000, "1.0 kB"), (999_999, "1.0 MB"), (12_345_678, "12.3 MB"),
        (271e9, "271 GB"), (3.2e12, "3.2 TB"),
    ],
)  # fmt: skip
def test_sizes_have_a_fitting_unit(count, text):
    assert words.size(count) == text


def test_nouns_have_their_plural():
    assert words.many(1, "patch") == "1 patch"
    assert words.many(1234, "patch") == "1,234 patches"
    assert words.many(0, "case") == "0 cases"
    assert words.many(2, "class") == "2 classes"


def labels(count, colour=None):
    return project_settings([(f"class {i}", colour) for i in range(count)])["labels"]


def trainings(*figures, classes=2):
    names = [f"class {i}" for i in range(classes)]
    return [result(cycle, patches, dice, names) for cycle, (patches, dice) in enumerate(figures)]


def test_without_figures_there_is_no_curve():
    assert draw([], labels(2)) is None
    assert draw(trainings((5, (None, None))), labels(2)) is None


def test_missing_figures_are_left_out_and_the_rest_is_kept():
    curve = draw(trainings((5, (0.5, None)), (9, (None, None)), (12, (0.7, None))), labels(2))
    first, mean = curve.lines
    assert (first.name, len(first.points), len(mean.points)) == ("class 0", 2, 2)
    assert [row.mean for row in curve.rows] == [0.5, None, 0.7]
    assert curve.rows[0].classes == (0.5, None)
    assert curve.words == "Learning curve: mean Dice 0.50 with 5 patches, 0.70 with 12"


def test_a_bar_spans_the_spread_of_the_folds_and_stays_in_the_plot():
    curve = draw(trainings((5, (0.5, 0.01))), labels(2))
    one, low = (line.points[0] for line in curve.lines[:2])
    assert one.low - one.y == pytest.approx(one.y - one.high) == pytest.approx(0.03 * (206 - 12))
    assert low.low == curve.bottom  # 0.01 - 0.06 would be below zero
    no_spread = trainings((5, (0.5, 0.4)))
    no_spread[0]["fold_spread"] = None
    assert draw(no_spread, labels(2)).spread is False


def test_the_note_about_shared_training_follows_the_figures():
    independent = trainings((5, (0.5, 0.4)), (9, (0.6, 0.5)))
    assert draw(independent, labels(2)).optimistic is False
    assert draw([*independent, *trainings((12, (0.7, 0.7)))], labels(2)).optimistic is False
    independent[1]["independent"] = False
    assert draw(independent, labels(2)).optimistic is True


def test_of_many_classes_only_some_are_drawn_and_all_are_in_the_table():
    curve = draw(trainings((5, [0.5] * 30), classes=30), labels(30))
    assert len(curve.lines) == MOST_LINES + 1
    assert (curve.more, len(curve.classes), len(curve.rows[0].classes)) == (30 - MOST_LINES, 30, 30)


@pytest.mark.parametrize("colour", [None, "", "red", "#12345", "url(x)", "#123456;x", "#gggggg"])
def test_what_is_no_colour_is_replaced(colour):
    curve = draw(trainings((5, (0.5, 0.4))), labels(2, colour))
    assert [line.colour for line in curve.lines] == [*PALETTE[:2], None]


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 100_000), st.lists(st.none() | st.floats(0, 1), min_size=3, max_size=3)),
        max_size=6,
    )
)
def test_everything_is_inside_the_picture(figures):
    curve = draw(trainings(*figures, classes=3), labels(3))
    if curve is None:
        return
    for line in curve.lines:
        for point in line.points:
            assert curve.left <= point.x <= curve.right < WIDTH
            assert curve.top <= point.y <= curve.bottom < HEIGHT
    assert 1 <= len(curve.ticks_x) <= 6
    assert all(curve.left <= x <= curve.right for x, _ in curve.ticks_x)


def test_the_folder_is_counted_once_in_a_while_and_links_once(tmp_path):
    (tmp_path / "inside").mkdir()
    (tmp_path / "inside" / "image").write_bytes(b"x" * 300_000)
    os.link(tmp_path / "inside" / "image", tmp_path / "again")
    size = FolderSize(tmp_path)
    first = size.get(wait=60)
    assert 300_000 <= first < 600_000
    (tmp_path / "more").write_bytes(b"x" * 300_000)
    assert size.get(wait=60) == first
    assert FolderSize(tmp_path, cache_seconds=0).get(wait=60) >= 600_000
