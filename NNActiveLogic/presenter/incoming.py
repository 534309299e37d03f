"""Image files on this computer as cases: one for each image, or one for the channels that belong together."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path

from NNActiveLogic.presenter import words
from NNActiveLogic.presenter.uploads import NewCase
from NNActiveLogic.work import WorkError

ENDINGS = (".nii.gz", ".nii", ".nrrd", ".mha", ".zip")
"""What the server reads: one file with everything in it; `.zip` holds one DICOM series."""
_CHANNEL = re.compile(r"(?P<case>.+)_(?P<channel>\d{4})")
"""nnU-Net's way to say which file is which channel: `liver_007_0000.nii.gz`, `liver_007_0001.nii.gz`."""

_FOREIGN = re.compile(r"[^A-Za-z0-9_-]+")
_LONGEST = 64


def files_in(folder: Path) -> tuple[Path, ...]:
    """The image files of a folder, by name. May take long on a network disk: on a thread.

    Raises:
        WorkError: there is none, or the folder cannot be read.
    """
    try:
        found = tuple(sorted(path for path in folder.iterdir() if path.is_file() and _ending(path)))
    except OSError as problem:
        raise WorkError(words.say(words.FOLDER_UNREADABLE, folder=folder, what=problem)) from problem
    if not found:
        raise WorkError(words.say(words.NO_FILES, folder=folder), words.say(words.FILE_KINDS))
    return found


def cases_of(files: Sequence[Path], channels: int, *, names: bool) -> tuple[NewCase, ...]:
    """Files as cases, in the order of their names.

    Args:
        files: images; with several channels their names end in `_0000`, `_0001` and so on.
        channels: of the project.
        names: whether the names of the files become those of the cases; they may say who the patient is.

    Raises:
        WorkError: a file is of a kind the server does not read, or channels are missing.
    """
    for path in files:
        if not _ending(path):
            raise WorkError(words.say(words.FILE_UNKNOWN, file=path.name), words.say(words.FILE_KINDS))
    groups = (
        [(_stem(path), (path,)) for path in sorted(files)] if channels == 1 else _grouped(files, channels)
    )
    return tuple(NewCase(group, case_name(name) if names else None) for name, group in groups)


def case_name(text: str) -> str | None:
    """A name as the server takes it: letters, digits, `-` and `_`; None when nothing of it is left."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode("ascii")
    return _FOREIGN.sub("_", plain).strip("_-")[:_LONGEST] or None


def _grouped(files: Iterable[Path], channels: int) -> list[tuple[str, tuple[Path, ...]]]:
    found: dict[str, dict[int, Path]] = {}
    for path in sorted(files):
        match = _CHANNEL.fullmatch(_stem(path))
        if match is None:
            raise WorkError(words.say(words.FILE_WITHOUT_CHANNEL, file=path.name, n=channels))
        found.setdefault(match["case"], {})[int(match["channel"])] = path
    for name, group in found.items():
        if sorted(group) != [*range(channels)]:
            raise WorkError(words.say(words.CHANNELS_MISSING, name=name, n=channels, found=len(group)))
    return [(name, tuple(group[number] for number in range(channels))) for name, group in found.items()]


def _ending(path: Path) -> str:
    name = path.name.lower()
    return next((ending for ending in ENDINGS if name.endswith(ending)), "")


def _stem(path: Path) -> str:
    return path.name[: len(path.name) - len(_ending(path))]
