"""Files from the network: gone on with after an interruption, and checked before anybody uses them."""

from __future__ import annotations

import hashlib
import secrets
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import unquote

import requests

from NNActiveLogic.local.errors import Cancelled, Damaged, LocalError, Offline
from NNActiveLogic.local.files import explained, private_folder, remove
from NNActiveLogic.local.values import Archive, Wish

_CHUNK = 256 << 10
_SECONDS = (15.0, 60.0)
"""To connect, and without a byte."""
_PARTIAL, _OK, _RANGE_WRONG = 206, 200, 416


def fetch(archive: Archive, folder: Path, seen: Callable[[int, int], None], cancelled: Wish) -> Path:
    """The file, whole and checked; what an earlier attempt got is not downloaded again.

    Args:
        archive: what.
        folder: to put it.
        seen: called with the bytes that are there and all of them (0 when unknown).
        cancelled: asked after each piece.

    Raises:
        Offline, NoSpace, Damaged, Cancelled: see there; what is there is kept, unless it is damaged.
    """
    target = private_folder(folder) / archive.name
    if target.is_file() and _sum(target) == archive.sha256:
        return target
    part = target.with_suffix(".part")
    with explained(folder), _explained(archive.url):
        _receive(archive.url, part, seen, cancelled)
    if _sum(part) != archive.sha256:
        remove(part)
        raise Damaged(
            f"What came from {archive.url} is not what was expected (another checksum); it was thrown away.",
            "Try again; if it stays so, a proxy may change downloads: ask your IT department.",
        )
    part.replace(target)
    return target


def at_hand(archive: Archive, folder: Path | None) -> Path | None:
    """The same file in a folder of this computer, under its own name; None when it is not there."""
    file = folder / unquote(archive.url.rsplit("/", 1)[-1]) if folder else None
    return file if file is not None and _sum(file) == archive.sha256 else None


def unpack(file: Path, target: Path, cancelled: Wish) -> None:
    """Unpack an archive with one folder in it, which becomes `target`; it is there whole or not at all.

    Raises:
        NoSpace, Damaged, Cancelled: see there.
    """
    temporary = private_folder(target.parent / f".{target.name}.{secrets.token_hex(4)}")
    try:
        with explained(target.parent), _tar(file) as archive:
            archive.extractall(temporary, members=_until(archive, cancelled), filter="data")
            (folder,) = temporary.iterdir()
            folder.replace(target)
    except ValueError as problem:
        raise Damaged(f"{file} does not hold one folder.", "Try again.") from problem
    finally:
        remove(temporary)


@contextmanager
def _tar(file: Path) -> Iterator[tarfile.TarFile]:
    try:
        with tarfile.open(file) as archive:
            yield archive
    except (tarfile.TarError, EOFError) as problem:
        raise Damaged(
            f"{file} cannot be unpacked ({problem}).", "Check the disk, then try again."
        ) from problem


def _until(archive: tarfile.TarFile, cancelled: Wish) -> Iterator[tarfile.TarInfo]:
    for member in archive:
        if cancelled():
            raise Cancelled("Stopped on request.")
        yield member


def _receive(url: str, part: Path, seen: Callable[[int, int], None], cancelled: Wish) -> None:
    there = part.stat().st_size if part.exists() else 0
    headers = {"Range": f"bytes={there}-"} if there else {}
    with requests.get(url, headers=headers, stream=True, timeout=_SECONDS) as answer:
        if answer.status_code == _RANGE_WRONG:
            return  # all of it is there, or too much: the checksum tells
        if answer.status_code not in (_OK, _PARTIAL):
            raise Offline(f"{url} answers with the error {answer.status_code}.", "Try again later.")
        if answer.status_code == _OK:
            there = 0
        total = there + int(answer.headers.get("Content-Length") or 0)
        with part.open("r+b" if there else "wb") as file:
            file.seek(there)
            for chunk in answer.iter_content(_CHUNK):
                if cancelled():
                    raise Cancelled("Stopped on request.")
                file.write(chunk)
                seen(file.tell(), total)


@contextmanager
def _explained(url: str) -> Iterator[None]:
    try:
        yield
    except requests.exceptions.SSLError as problem:
        raise Offline(
            f"The encrypted connection to {url} is not trusted.",
            "A proxy of your institution may stand in between: ask your IT department, or set the server up "
            "from a folder of wheel files.",
        ) from problem
    except requests.exceptions.RequestException as problem:
        raise offline(url) from problem


def offline(where: str) -> LocalError:
    """The sentence for a computer without a way to the network."""
    return Offline(
        f"{where} cannot be reached: this computer seems to be offline, or a proxy is in the way.",
        "Connect it and try again, what was downloaded is kept; or use a folder of wheel files.",
    )


def _sum(path: Path) -> str:
    if not path.is_file():
        return ""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
