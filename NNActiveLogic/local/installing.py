"""Setting a server up: a Python, an environment of its own, the packages, a check, and last the marker.

Everything lies in one folder:

    environments/N/   a finished or unfinished environment, never changed once it is finished
    server.json       the marker: which environment is the finished one; written last, in one step
    python-*/         a downloaded Python, whole or not there
    downloads/        what is kept for another attempt; emptied in the end
    set-up.log        of the last attempt
"""

from __future__ import annotations

import json
import re
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from NNActiveLogic.local import interpreter
from NNActiveLogic.local.errors import Damaged, LocalError, NoSpace
from NNActiveLogic.local.files import explained, free_bytes, private_folder, remove, write_whole
from NNActiveLogic.local.finding import MARKER, program_of, version_of
from NNActiveLogic.local.machine import NEW_DRIVER, Card, Machine
from NNActiveLogic.local.pip_output import BEGIN, INSTALLED, PipOutput, octets_reporter
from NNActiveLogic.local.processes import ask, run
from NNActiveLogic.local.values import (
    DISTRIBUTION,
    Found,
    Needs,
    Progress,
    Report,
    Sources,
    Stage,
    Wish,
)

ENVIRONMENTS, DOWNLOADS, LOG = "environments", "downloads", "set-up.log"
PIP_FOR_OTHERS = (22, 3)
"""From this version on, pip installs into other environments: it need not be copied into each."""
PIP_TELLS = (24, 1)
"""From this version on, pip tells its progress to programs."""
_PYTHON_DONE = 0.05
_TORCH = "https://download.pytorch.org/whl"
_CPU, _OLD_DRIVER = "cpu", "cu126"
_CPU_BYTES, _CPU_DISK_BYTES = 450_000_000, 2_500_000_000
_CUDA_BYTES, _CUDA_DISK_BYTES = 3_300_000_000, 11_000_000_000
_WHEELS_GROW = 4
_NOT_COPIED = ("build", "*.egg-info", "__pycache__", ".*", "deploy", "examples")
_PINNED_TORCH = re.compile(r"^(torch==[\d.]+)\s*$", re.M)


@dataclass(frozen=True, slots=True)
class Plan:
    """How the server will be set up here.

    Attributes:
        folder: everything is put there.
        environment: variables for the programs that are run.
        sources: where the server comes from.
        machine: kind of computer.
        card: graphics card that training will use; None for none.
        python: that is here; None when one must be downloaded.
    """

    folder: Path
    environment: Mapping[str, str]
    sources: Sources
    machine: Machine
    card: Card | None
    python: Path | None

    def needs(self) -> Needs:
        """What it takes."""
        download, disk = _sizes(self.sources, self.card)
        if self.python is None:
            download += interpreter.DOWNLOAD_BYTES
            disk += interpreter.DISK_BYTES
        return Needs(
            folder=self.folder,
            download_bytes=download,
            disk_bytes=disk,
            free_bytes=free_bytes(self.folder),
            graphics=self.card.name if self.card else "",
            source=str(self.sources.wheels or self.sources.checkout or self.sources.requirement),
        )


def versions(sources: Sources) -> tuple[tuple[int, int], ...]:
    """Versions of Python that will do: those for which a folder of wheels has wheels, if it is particular."""
    if sources.wheels is None:
        return interpreter.VERSIONS
    names = [path.name for path in sources.wheels.glob("*.whl")]
    special = [
        one for one in interpreter.VERSIONS if any(f"-cp{one[0]}{one[1]}-cp" in name for name in names)
    ]
    return tuple(special) or interpreter.VERSIONS


def install(plan: Plan, report: Report, cancelled: Wish) -> Found:
    """Do it; the caller sees to it that nobody else does it at the same time.

    Raises:
        LocalError: see the kinds; nothing is taken for finished then, and the next attempt begins anew with
            what was downloaded.
    """
    needs = plan.needs()
    if not needs.enough:
        raise NoSpace(
            f"About {needs.disk_bytes / 1e9:.1f} GB are needed in {plan.folder}, and only "
            f"{needs.free_bytes / 1e9:.1f} GB are free.",
            "Make room, or choose another folder.",
        )
    with explained(plan.folder), _log(private_folder(plan.folder)) as log:
        return _Attempt(plan, needs, report, cancelled, log).run()


@dataclass(frozen=True, slots=True)
class _Attempt:
    plan: Plan
    needs: Needs
    report: Report
    cancelled: Wish
    log: IO[bytes]

    def run(self) -> Found:
        folder = self.plan.folder
        place = _next_place(folder)
        try:
            self._packages(self._environment(self._python(), place))
            version = self._check(place)
            marker = {"environment": place.name, "version": version, "source": self.needs.source}
            write_whole(folder / MARKER, json.dumps(marker, indent=2))
        except BaseException:
            remove(place)
            raise
        remove(folder / DOWNLOADS)
        return Found((str(program_of(place)),), version, private=True)

    def _python(self) -> Path:
        self.report(Progress(Stage.PYTHON, "", 0.0))
        if self.plan.python is not None:
            return self.plan.python
        seen = octets_reporter(self.report, Stage.PYTHON, 0.0, _PYTHON_DONE)
        wanted = versions(self.plan.sources)
        if interpreter.VERSIONS[0] not in wanted:
            raise LocalError(
                f"The wheel files are for Python {'.'.join(map(str, wanted[0]))}, which is not here.",
                "Install it, or fill the folder for Python 3.12.",
            )
        return interpreter.get_python(
            self.plan.folder,
            self.plan.folder / DOWNLOADS,
            interpreter.standalone(self.plan.machine),
            self.plan.sources.wheels,
            seen,
            self.cancelled,
        )

    def _environment(self, python: Path, place: Path) -> list[str]:
        """Make it; the beginning of a command of a pip that installs into it."""
        self.report(Progress(Stage.ENVIRONMENT, "", _PYTHON_DONE))
        program, version = str(program_of(place, "python")), self._pip_version(str(python))
        options = ["--without-pip"] if version >= PIP_FOR_OTHERS else []
        self._run([str(python), "-I", "-m", "venv", *options, str(place)], PipOutput(lambda _: None, 0))
        if options:
            pip = [str(python), "-I", "-m", "pip", "--python", program]
        else:
            pip, version = [program, "-I", "-m", "pip"], self._pip_version(program)
        return [*pip, "install", f"--progress-bar={'raw' if version >= PIP_TELLS else 'off'}"]

    def _packages(self, pip: Sequence[str]) -> None:
        self.report(Progress(Stage.DOWNLOAD, "", BEGIN))
        output = PipOutput(self.report, self.needs.download_bytes)
        self._run([*pip, "--disable-pip-version-check", "--no-color", *self._arguments()], output)

    def _pip_version(self, python: str) -> tuple[int, int]:
        """(0, 0) where there is none."""
        answer = ask([python, "-I", "-c", "import pip; print(pip.__version__)"], self.plan.environment)
        found = re.match(r"(\d+)\.(\d+)", answer or "")
        return (int(found[1]), int(found[2])) if found else (0, 0)

    def _arguments(self) -> list[str]:
        sources, downloads = self.plan.sources, private_folder(self.plan.folder / DOWNLOADS)
        if sources.wheels is not None:
            if not sources.wheels.is_dir():
                raise LocalError(
                    f"There is no folder {sources.wheels}.", "Choose the folder of wheel files again."
                )
            # Neither an index nor other folders, whatever pip is told elsewhere on this computer.
            return [
                "--isolated",
                "--no-cache-dir",
                "--no-index",
                f"--find-links={sources.wheels}",
                DISTRIBUTION,
            ]
        options = ["--retries=3", f"--cache-dir={downloads / 'pip'}", *self._torch()]
        if sources.constraints is not None:
            options += ["--constraint", str(self._constraints(sources.constraints))]
        return [
            *options,
            str(_copied(sources.checkout, downloads)) if sources.checkout else sources.requirement,
        ]

    def _torch(self) -> list[str]:
        """On Linux the package index has torch for new graphics cards only, which is large."""
        if self.plan.machine.system != "linux":
            return []
        if self.plan.card is not None and self.plan.card.driver >= NEW_DRIVER:
            return []
        kind = _OLD_DRIVER if self.plan.card else _CPU
        # As pages of links for these two alone: a second index would be asked for every package.
        return [f"--find-links={_TORCH}/{kind}/{name}/" for name in ("torch", "torchvision")]

    def _constraints(self, given: Path) -> Path:
        """Without a graphics card the small torch or none: nobody agreed to gigabytes."""
        text = given.read_text("utf-8")
        if self.plan.machine.system == "linux" and self.plan.card is None:
            text = _PINNED_TORCH.sub(r"\1+cpu", text)
        path = self.plan.folder / DOWNLOADS / "constraints.txt"
        write_whole(path, text)
        return path

    def _check(self, place: Path) -> str:
        self.report(Progress(Stage.CHECK, "", INSTALLED))
        version = version_of((str(program_of(place)),), self.plan.environment)
        if version is None:
            raise Damaged("What was installed is no NNActive server, or does not work.", "The log says more.")
        heard: list[str] = []
        command = [str(program_of(place)), "doctor", "--path", str(self.plan.folder), "--json"]
        if run(command, self.plan.environment, self.log, heard.append, self.cancelled):
            raise LocalError(
                f"The server was installed but does not work: {_failed(heard)}", "The log says more."
            )
        return version

    def _run(self, command: Sequence[str], output: PipOutput) -> None:
        if run(command, self.plan.environment, self.log, output.heard, self.cancelled):
            raise output.problem(self.plan.sources, self.plan.folder)


def leftovers(folder: Path) -> list[Path]:
    """Environments that are not the finished one, and whatever else was left by attempts that were killed."""
    finished = _marked(folder)
    found = [one for one in (folder / ENVIRONMENTS).glob("*") if one.name != finished]
    return [*found, *folder.glob(".python-*"), *folder.glob(f".{MARKER}.*")]


def _marked(folder: Path) -> str:
    try:
        return str(json.loads((folder / MARKER).read_text("utf-8"))["environment"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def _next_place(folder: Path) -> Path:
    """A folder nobody ever used: a program of a killed attempt may still write into the last one."""
    place = folder / ENVIRONMENTS / time.strftime("%Y%m%d-%H%M%S")
    while place.exists():
        place = place.with_name(place.name + "x")
    private_folder(place.parent)
    return place


def _log(folder: Path) -> IO[bytes]:
    log = folder / LOG
    if log.exists():
        log.replace(log.with_suffix(".before.log"))
    file = log.open("wb")
    file.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')}, {sys.platform}\n".encode())
    return file


def _sizes(sources: Sources, card: Card | None) -> tuple[int, int]:
    if sources.wheels is not None:
        return 0, _WHEELS_GROW * sum(path.stat().st_size for path in sources.wheels.glob("*.whl"))
    return (_CUDA_BYTES, _CUDA_DISK_BYTES) if card else (_CPU_BYTES, _CPU_DISK_BYTES)


def _copied(checkout: Path, downloads: Path) -> Path:
    """A copy of the source, because a build leaves files where it works."""
    copy = downloads / "source"
    remove(copy)
    shutil.copytree(checkout, copy, ignore=shutil.ignore_patterns(*_NOT_COPIED))
    return copy


def _failed(lines: Sequence[str]) -> str:
    text = "\n".join(lines)
    try:
        checks = json.loads(text[text.index("{") : text.rindex("}") + 1])["checks"]
        return "; ".join(f"{one['name']}: {one['found']}" for one in checks if one["status"] == "failed")
    except (ValueError, KeyError, TypeError):
        return next((line for line in reversed(lines) if line.strip()), "no answer")
