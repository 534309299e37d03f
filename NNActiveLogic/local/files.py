"""Files that are whole or not there, locks that the system lifts when a program dies, and ends of logs."""

from __future__ import annotations

import errno
import os
import secrets
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from NNActiveLogic.local.errors import LocalError, NoSpace

_TAIL_BYTES = 64 << 10
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


def write_whole(path: Path, text: str) -> None:
    """Write a file that only this user can read; after a crash it is there as it was, or as it is now."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def private_folder(path: Path) -> Path:
    """Make a folder that only this user can look into."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    return path


def remove(path: Path) -> None:
    """Remove a file or a folder with everything in it, as far as that goes; what is left does no harm."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink(missing_ok=True)


def free_bytes(folder: Path) -> int:
    """Room on the disk of a folder that may not be there yet."""
    there = next(one for one in (folder, *folder.parents) if one.exists())
    return shutil.disk_usage(there).free


@contextmanager
def explained(folder: Path) -> Iterator[None]:
    """Turn errors of the system into sentences.

    Raises:
        NoSpace: the disk is full.
        LocalError: anything else that the system refuses.
    """
    try:
        yield
    except OSError as problem:
        if problem.errno in _FULL:
            raise full(folder) from problem
        raise LocalError(
            f"The folder {folder} cannot be used: {problem.strerror or problem}.",
            "Choose another folder for the server, or ask for the right to write there.",
        ) from problem


def full(folder: Path) -> NoSpace:
    """The sentence for a full disk."""
    return NoSpace(f"The disk with {folder} is full.", "Make room, then try again; it goes on from there.")


def tail(path: Path | None, lines: int) -> tuple[str, ...]:
    """Last lines of a text file; none when there is no file."""
    if path is None:
        return ()
    try:
        with path.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL_BYTES))
            text = file.read().decode("utf-8", "replace")
    except OSError:
        return ()
    return tuple(text.splitlines()[-lines:])


class FileLock:
    """A lock on a file, lifted by the system when this process ends in whatever way."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = -1

    @property
    def taken(self) -> bool:
        """Whether we have it."""
        return self._file >= 0

    def take(self, *, wait: bool = False) -> bool:
        """Whether we have it now; with `wait`, when whoever has it gives it back."""
        if self.taken:
            return True
        file = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600)
        if not _lock(file, exclusive=True, wait=wait):
            os.close(file)
            return False
        self._file = file
        return True

    def give_back(self) -> None:
        """Have it no longer."""
        if self.taken:
            os.close(self._file)
            self._file = -1


def held(path: Path) -> bool:
    """Whether some program has a lock on this file."""
    try:
        file = os.open(path, os.O_RDWR)
    except OSError:
        return False
    try:
        # Shared, so that two that look at the same moment do not take each other for the owner.
        return not _lock(file, exclusive=False, wait=False)
    finally:
        os.close(file)


class Users:
    """Who uses the server: each Slicer locks a file of its own in a folder that the server watches."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._own: FileLock | None = None

    def enter(self) -> None:
        """From now on we use it, until `leave` or our death."""
        while self._own is None:
            lock = FileLock(private_folder(self.folder) / f"{os.getpid()}-{secrets.token_hex(4)}")
            lock.take(wait=True)
            # Somebody may have tidied the file away before we had the lock.
            if lock.path.exists():
                self._own = lock
            else:
                lock.give_back()

    def leave(self) -> None:
        """We use it no more."""
        if self._own is not None:
            remove(self._own.path)
            self._own.give_back()
            self._own = None

    def others(self) -> int:
        """How many others use it; files of the dead are tidied away."""
        count = 0
        for path in self.folder.glob("*-*") if self.folder.is_dir() else ():
            if self._own is not None and path == self._own.path:
                continue
            if held(path):
                count += 1
            else:
                remove(path)
        return count


if sys.platform == "win32":
    import msvcrt

    def _lock(file: int, *, exclusive: bool, wait: bool) -> bool:
        del exclusive  # Windows has no other kind here
        try:
            msvcrt.locking(file, msvcrt.LK_LOCK if wait else msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True
else:
    import fcntl

    def _lock(file: int, *, exclusive: bool, wait: bool) -> bool:
        kind = fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH
        try:
            fcntl.flock(file, kind if wait else kind | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True
