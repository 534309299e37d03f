"""Looking through a folder of the server for cases that can be taken in."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nnactive_server.core.errors import DatasetError, InvalidInput
from nnactive_server.dataset.importers import scan_source
from nnactive_server.dataset.importers.dicom import SeriesSource
from nnactive_server.dataset.importers.sources import FileSource, Source, SourceCase
from nnactive_server.jobs.handlers_cases import allowed, resolved
from nnactive_server.store import check_case_name

_DETACHED = (".nhdr", ".mhd")
_LONGEST_NAME = 64


def scan_folder(params: Mapping[str, Any]) -> dict[str, Any]:
    """List the cases in a folder of the server, or the one in a file; nothing but headers is read.

    Args:
        params: `path`, the folder or file; `roots`, folders that it must lie in.

    Returns:
        `kind` (`nnunet`, `msd`, `folder`, `dicom` or `file`); `cases`, each with a `name` and `channels` as
        `intake` takes them; names of the `channels` or null; `problems` of what is not among the cases;
        `warnings`.

    Raises:
        DatasetError: outside the allowed folders, missing, or not readable.
    """
    roots = resolved(params["roots"])
    path = allowed(params["path"], roots)
    if path.is_file():
        case = SourceCase(path.name.partition(".")[0], (FileSource(path),))
        return _listing("file", [case], None, [], [], roots)
    scan = scan_source(path)
    warnings = list(scan.warnings)
    labelled = sum(case.label is not None for case in scan.cases)
    if labelled:
        warnings.append(f"label maps of {labelled} cases are not taken over")
    return _listing(scan.kind, scan.cases, scan.channels, scan.problems, warnings, roots)


def _listing(
    kind: str,
    cases: Sequence[SourceCase],
    channels: Sequence[str] | None,
    problems: Sequence[str],
    warnings: Sequence[str],
    roots: Sequence[Path],
) -> dict[str, Any]:
    """What `scan_folder` returns; cases that cannot be taken in become problems."""
    found, known, wrong = [], set[str](), list(problems)
    for number, case in enumerate(cases, start=1):
        try:
            sources = [_paths(source, roots) for source in case.image]
        except DatasetError as problem:
            wrong.append(f"{case.image[0].path}: {problem}")
            continue
        name = _free_name(case.name, number, known)
        known.add(name.lower())
        found.append({"name": name, "channels": sources})
    return {
        "kind": kind,
        "cases": found,
        "channels": list(channels) if channels else None,
        "problems": wrong,
        "warnings": list(warnings),
    }


def _paths(source: Source, roots: Sequence[Path]) -> str | list[str]:
    if isinstance(source, SeriesSource):
        return [str(allowed(str(path), roots)) for path in sorted({each.path for each in source.slices})]
    if source.channels != 1:
        raise DatasetError(
            f"holds {source.channels} channels on a fourth axis; save each as a file of its own"
        )
    if source.path.name.endswith(_DETACHED):
        raise DatasetError("its voxels lie in another file; save header and voxels as one file")
    return str(allowed(str(source.path), roots))


def _free_name(name: str, number: int, known: set[str]) -> str:
    """A name that the store takes and that no case here has yet, whatever the case of its letters."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    stem = re.sub(r"[^A-Za-z0-9_-]+", "_", plain).lstrip("_-")
    for candidate in (stem[:_LONGEST_NAME], f"{stem[: _LONGEST_NAME - 6]}_{number}", f"case_{number:03d}"):
        try:
            check_case_name(candidate)
        except InvalidInput:
            continue
        if candidate.lower() not in known:
            return candidate
    return _free_name("case", number + len(known) + 1, known)
