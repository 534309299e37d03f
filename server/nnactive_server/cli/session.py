"""What all commands share: progress, one result on standard output, errors and exit codes.

Standard output carries the result alone, as text for people or as one JSON document; progress,
warnings and whatever libraries print go to standard error. Exit codes: 0 success, 1 an error this
package explains, 2 wrong usage, 130 stopped by Ctrl-C.
"""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from types import FrameType
from typing import Annotated, Any

import typer
from rich.console import Console, RenderableType

from nnactive_server.cli.progress import LineMonitor, ShownMonitor, TerminalMonitor
from nnactive_server.core.errors import Cancelled, NNActiveError

With = Annotated[
    list[str] | None,
    typer.Option("--with", metavar="NAME=VALUE", help="Change a parameter of the strategy; repeat."),
]
Json = Annotated[bool, typer.Option("--json", help="Print the result as one JSON document.")]

INTERRUPTED = 130
PIPE_WIDTH = 200


class Session:
    """One command while it runs.

    Attributes:
        monitor: give it to whatever takes long.
    """

    def __init__(self, monitor: ShownMonitor) -> None:
        self.monitor = monitor
        self.document: Mapping[str, Any] | None = None
        self.text: RenderableType = ""
        self.failed = False

    def result(self, document: Mapping[str, Any], text: RenderableType, *, failed: bool = False) -> None:
        """What the command found out, for programs and for people; `failed` makes it exit with 1."""
        self.document, self.text, self.failed = document, text, failed


@contextmanager
def session(as_json: bool) -> Iterator[Session]:
    """Run a command's work in the block; its result is printed when the block ends well."""
    errors = Console(stderr=True, highlight=False, soft_wrap=True)
    running = Session(TerminalMonitor(errors) if errors.is_terminal else LineMonitor(errors))
    try:
        # The monitor first: while a bar is shown it stands in for standard error.
        with running.monitor, redirect_stdout(sys.stderr), _interrupts(running.monitor, errors):
            yield running
    except (Cancelled, KeyboardInterrupt) as stop:
        reason = str(stop) or "what was finished is kept; run the same command again to continue"
        _fail(errors, as_json, f"Stopped: {reason}", INTERRUPTED)
    except NNActiveError as problem:
        _fail(errors, as_json, f"Error: {problem}", 1)
    _print(running, as_json)
    if running.failed:
        raise typer.Exit(1)


@contextmanager
def _interrupts(monitor: ShownMonitor, errors: Console) -> Iterator[None]:
    """The first Ctrl-C asks the work to stop where that is safe, the second stops it at once."""

    def stop(_signal: int, _frame: FrameType | None) -> None:
        if monitor.cancelled:
            raise KeyboardInterrupt
        monitor.cancel()
        errors.print("Stopping where it is safe; press Ctrl-C again to stop at once.")

    before = signal.signal(signal.SIGINT, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _fail(errors: Console, as_json: bool, message: str, code: int) -> None:
    if as_json:
        _write_json({"error": message})
    errors.print(message, markup=False)
    raise typer.Exit(code)


def _print(running: Session, as_json: bool) -> None:
    if as_json:
        _write_json(running.document or {})
    else:
        # A pipe or a file has no width of its own, and cells cut into pieces cannot be searched.
        width = None if sys.stdout.isatty() else PIPE_WIDTH
        Console(highlight=False, soft_wrap=True, width=width).print(running.text)


def _write_json(document: Mapping[str, Any]) -> None:
    sys.stdout.write(json.dumps(document, indent=2, allow_nan=False, default=str) + "\n")


def pairs(words: Sequence[str], option: str) -> list[tuple[str, str]]:
    """`NAME=VALUE` words, taken apart."""
    for word in words:
        if "=" not in word:
            raise typer.BadParameter(f"{word!r} needs a name, '=' and a value", param_hint=option)
    return [(name, value) for name, _, value in (word.partition("=") for word in words)]


def settings(words: Sequence[str] | None, option: str) -> dict[str, Any]:
    """`NAME=VALUE` words by name; a number, true, false or null as such, anything else as a word."""
    return {name: _value(text) for name, text in pairs(words or [], option)}


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text
