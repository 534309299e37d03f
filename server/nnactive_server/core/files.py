"""Writes that are whole or absent: temporary file, fsync, rename."""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from nnactive_server.core.errors import NNActiveError

_TEMPORARY = re.compile(r"\.[0-9a-f]{8}\..+")


@contextmanager
def atomic_path(target: Path) -> Iterator[Path]:
    """A path to write to; renamed to `target` when the block ends well, removed otherwise.

    The temporary name keeps the target's ending, because writers such as SimpleITK choose
    the format by it, and starts with a dot, so that no reader lists it as a case.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{secrets.token_hex(4)}.{target.name}")
    try:
        yield temporary
        sync(temporary)
        temporary.replace(target)
        sync(target.parent)
    finally:
        temporary.unlink(missing_ok=True)


def link_or_copy(source: Path, target: Path) -> None:
    """A second name of a file, or a copy where the file system has no links; replaces `target` whole."""
    with atomic_path(target) as temporary:
        try:
            os.link(source, temporary)
        except OSError:
            shutil.copyfile(source, temporary)


def remove_leftovers(folder: Path) -> None:
    """Remove what killed processes left of `atomic_path` below a folder in which nobody else writes now."""
    for path in folder.rglob(".*"):
        if _TEMPORARY.fullmatch(path.name):
            path.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """Make the bytes of a file, or the names in a folder, survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_json(target: Path, document: Any) -> None:
    """Write JSON atomically; NaN is refused, because other readers do not understand it."""
    text = json.dumps(document, indent=2, allow_nan=False, default=_plain) + "\n"
    with atomic_path(target) as temporary:
        temporary.write_text(text, encoding="utf-8")


def read_json(path: Path, error: Callable[[str], NNActiveError] = NNActiveError) -> Any:
    """Read JSON.

    Raises:
        NNActiveError: (or the type given as `error`) missing or not JSON, naming the file.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise error(f"{path}: no such file") from None
    except (UnicodeDecodeError, json.JSONDecodeError) as problem:
        raise error(f"{path}: not a JSON document ({problem})") from problem


def _plain(value: Any) -> Any:
    """numpy scalars and paths as plain JSON values."""
    if isinstance(value, Path):
        return str(value)
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} cannot be written as JSON")
