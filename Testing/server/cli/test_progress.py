"""Progress lines and bars."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from nnactive_server.cli.progress import LineMonitor, TerminalMonitor, clock


def lines_of(reports):
    text = io.StringIO()
    with LineMonitor(Console(file=text, soft_wrap=True)) as monitor:
        for report in reports:
            monitor.report(*report)
    return text.getvalue().splitlines()


def test_a_thousand_iterations_are_two_lines():
    lines = lines_of([("train", i, 1000, f"loss {i}") for i in range(1, 1001)])
    assert len(lines) == 2
    assert lines[0].startswith("train: 1 of 1000")
    assert lines[1] == "train: 1000 of 1000, loss 1000"


def test_every_stage_says_that_it_began():
    lines = lines_of([("plan", 1, 9), ("plan", 2, 9), ("train", 1, 9), ("predict", 1, 9)])
    assert [line.split(":")[0] for line in lines] == ["plan", "train", "predict"]


def test_square_brackets_in_names_are_no_markup():
    assert lines_of([("train", 1, 1, "case [red]")]) == ["train: 1 of 1, case [red]"]


def test_a_terminal_shows_a_bar_and_keeps_a_line_for_each_finished_stage():
    text = io.StringIO()
    console = Console(file=text, force_terminal=True, width=100)
    with TerminalMonitor(console) as monitor:
        monitor.report("train [x]", 1, 2, "loss [y]")
        monitor.report("train [x]", 2, 2, "loss [y]")
        monitor.report("predict", 1, 2, "case_1")
    shown = text.getvalue()
    assert "✓" in shown
    assert "train [x]" in shown
    assert "loss [y]" in shown


def test_a_stage_that_was_interrupted_is_not_ticked():
    text = io.StringIO()

    def interrupted():
        with TerminalMonitor(Console(file=text, force_terminal=True, width=100)) as monitor:
            monitor.report("train", 1, 2)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert "✓" not in text.getvalue()


@pytest.mark.parametrize(
    ("seconds", "shown"), [(0, "0:00"), (59.6, "1:00"), (3599, "59:59"), (3661, "1:01:01")]
)
def test_durations_read_like_a_clock(seconds, shown):
    assert clock(seconds) == shown
