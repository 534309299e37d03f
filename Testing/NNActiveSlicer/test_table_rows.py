"""Tables are changed where something has changed, and nowhere else, whatever the order of changes."""

from __future__ import annotations

import random

import pytest


@pytest.fixture
def made(slicer_application):
    """A table and what fills it."""
    import qt
    from NNActiveSlicerLib.table_rows import TableRows

    table = qt.QTableWidget(0, 2)
    return table, TableRows(table, 1)


@pytest.fixture(autouse=True)
def importable(module_file, monkeypatch):
    monkeypatch.syspath_prepend(str(module_file.parent))


def drawn(table):
    items = [[table.item(row, column) for column in range(2)] for row in range(table.rowCount)]
    return [tuple("" if item is None else item.text() for item in row) for row in items]


def row(number, text="x"):
    return f"p{number}", (str(number), text)


def test_any_sequence_of_lists_is_drawn(made):
    table, rows = made
    chance = random.Random(0)
    for _ in range(300):
        numbers = sorted(chance.sample(range(12), chance.randint(0, 12)))
        wanted = [row(number, chance.choice(["", "a", "b"])) for number in numbers]
        rows.fill(wanted)
        assert drawn(table) == [cells for _, cells in wanted]


def test_only_changed_cells_are_written(made):
    _, rows = made
    assert rows.fill([row(number) for number in range(10)]) == 20
    assert rows.fill([row(number) for number in range(10)]) == 0
    assert rows.fill([row(number, "y" if number == 4 else "x") for number in range(10)]) == 1
    assert rows.fill([row(number, "y" if number == 4 else "x") for number in range(1, 10)]) == 0
    assert rows.fill([row(number, "y" if number == 4 else "x") for number in range(10)]) == 2


def test_the_choice_follows_its_row_and_ends_with_it(made):
    table, rows = made
    rows.fill([row(number) for number in range(10)])
    table.setCurrentCell(5, 0)
    rows.fill([row(number) for number in range(2, 10)])
    assert (rows.current, table.currentRow()) == ("p5", 3)
    rows.fill([row(number) for number in range(10) if number != 5])
    assert rows.current == ""
