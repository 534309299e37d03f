"""`nnactive doctor`: does this machine have what the server needs?"""

from __future__ import annotations

import os
import platform
import re
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.markup import escape

from nnactive_server.cli.session import Json, session

Status = Literal["ok", "warning", "failed"]
_MARKS = {
    "ok": "[green]ok[/]       ",
    "warning": "[yellow]warning[/]  ",
    "failed": "[red]failed[/]   ",
}
_GIB = 2**30
_REINSTALL = "reinstall both in one command with the constraints file of this project"


@dataclass(frozen=True, slots=True)
class Check:
    """One thing looked at.

    Attributes:
        name: what.
        status: "warning" means that it works, but slowly or not everywhere.
        found: what is there.
        advice: what to do; empty when all is well.
    """

    name: str
    status: Status
    found: str
    advice: str = ""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(doctor)


def doctor(
    path: Annotated[Path, typer.Option(help="Where projects will lie: its disk is checked.")] = Path(),
    as_json: Json = False,
) -> None:
    """Check Python, torch, nnU-Net, graphics card, memory and disk, and say what to do.

    Exits with 0 when training can work.

    Example: nnactive doctor --path /data/projects
    """
    with session(as_json) as run:
        checks = list(examine(path))
        failed = any(check.status == "failed" for check in checks)
        document = {"ok": not failed, "checks": [asdict(check) for check in checks]}
        run.result(document, _text(checks, failed), failed=failed)


def examine(path: Path) -> Iterator[Check]:
    """All checks, quick ones first."""
    yield _python()
    yield from (_package(name) for name in ("torch", "torchvision", "nnunetv2", "SimpleITK"))
    yield _torch_pair()
    yield from _hardware()
    yield _memory()
    yield _disk(path)


def _python() -> Check:
    version = platform.python_version()
    if version.startswith(("3.11.", "3.12.")):
        return Check("python", "ok", version)
    return Check("python", "failed", version, "use Python 3.11 or 3.12")


def _package(name: str) -> Check:
    try:
        return Check(name, "ok", metadata.version(name))
    except metadata.PackageNotFoundError:
        return Check(name, "failed", "not installed", "install nnactive-server again")


def _torch_pair() -> Check:
    """torchvision is built for one torch version; another one breaks parts of nnU-Net."""
    try:
        torch = metadata.version("torch").split("+")[0]
        needs = metadata.requires("torchvision") or []
    except metadata.PackageNotFoundError:
        return Check("torch and torchvision", "failed", "not both installed", _REINSTALL)
    pins = [found[1] for entry in needs if (found := re.match(r"torch\s*\(?==\s*([\w.]+)", entry))]
    if not pins or pins[0] == torch:
        return Check("torch and torchvision", "ok", "fit together")
    return Check(
        "torch and torchvision", "warning", f"torch {torch}, torchvision wants {pins[0]}", _REINSTALL
    )


def _hardware() -> Iterator[Check]:
    try:
        from nnactive_server.segmentation import detect
    except ImportError as problem:
        yield Check("engine", "failed", str(problem), "install nnactive-server again")
        return
    found = detect().describe()
    yield Check("engine", "ok", "torch and nnU-Net can be imported")
    cuda = found["device"] == "cuda"
    slow = "training runs on the CPU: use the profile fast-cpu; for paper and deploy use a CUDA card"
    yield Check(
        "processor", "ok" if cuda else "warning", f"{found['device']}, {found['name']}", "" if cuda else slow
    )
    full = found["precision"] == "float32"
    half = "this processor does not compute in bfloat16, with which training is faster" if full else ""
    yield Check("precision", "ok", str(found["precision"]), half)
    yield Check("threads", "ok" if int(found["threads"]) > 1 else "warning", str(found["threads"]))


def _memory() -> Check:
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / _GIB
    if total >= 8:
        return Check("memory", "ok", f"{total:.0f} GiB")
    return Check(
        "memory",
        "warning",
        f"{total:.1f} GiB",
        "may not be enough for large volumes; 8 GiB or more is better",
    )


def _disk(path: Path) -> Check:
    existing = next(p for p in (path.resolve(), *path.resolve().parents) if p.exists())
    free = shutil.disk_usage(existing).free / _GIB
    found = f"{free:.0f} GiB free at {existing}"
    if not os.access(existing, os.W_OK):
        return Check("disk", "failed", f"{existing} cannot be written", "choose another folder with --path")
    if free >= 10:
        return Check("disk", "ok", found)
    return Check("disk", "warning", found, "keep 10 GiB free for preprocessed volumes and models")


def _text(checks: list[Check], failed: bool) -> str:
    lines = []
    for check in checks:
        lines.append(f"{_MARKS[check.status]} {check.name}: {escape(check.found)}")
        if check.advice:
            lines.append(f"          {check.advice}")
    return "\n".join([*lines, "Some checks failed; see above what to do." if failed else "Ready."])
