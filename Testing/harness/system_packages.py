"""Installs the few system packages that the tests of windows, views and pages need, or names them.

    make system

On Debian and Ubuntu as root they are installed; elsewhere, or when apt cannot reach its archive, they are
named. It always ends well: tests that lack something are skipped and say why.
"""

from __future__ import annotations

import ctypes
import os
import platform
import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from testkit.browser import chromium

LIBRARY_FOLDERS = (Path("/usr/lib"), Path("/usr/lib64"), Path("/usr/local/lib"))
FONT_FOLDERS = (Path("/usr/share/fonts"), Path("/usr/local/share/fonts"), Path.home() / ".fonts")
DRIVERS = ("dri/swrast_dri.so", "libgallium-*.so", "libEGL_nvidia.so.*", "libOSMesa.so.*")
"""Any of them draws; the first two are Mesa's before and since 2024."""
_PATIENCE = ("-o", "DPkg::Lock::Timeout=60", "-o", "Acquire::Retries=1", "-o", "Acquire::http::Timeout=15")
INSTALL = ("apt-get", "install", "--yes", "--no-install-recommends", *_PATIENCE)
UPDATE = ("apt-get", "update", *_PATIENCE)
SECONDS = 600
"""For one run of apt-get; Chromium is the largest with about 120 MB."""


@dataclass(frozen=True)
class Need:
    """A package of Debian, what it is for, and how to see that its content is there, from wherever."""

    package: str
    purpose: str
    present: Callable[[], bool]


@dataclass(frozen=True)
class Plan:
    """What to install, in groups of which one may fail without the others, and what to name only."""

    install: tuple[tuple[str, ...], ...] = ()
    named: tuple[str, ...] = ()
    because: str = ""


@dataclass(frozen=True)
class Machine:
    """What decides whether packages can be installed."""

    distribution: str = ""
    root: bool = False
    apt: bool = False
    families: frozenset[str] = field(default_factory=frozenset)

    @property
    def debian_like(self) -> bool:
        """Whether the packages have these names here."""
        return bool({"debian", "ubuntu"} & {self.distribution, *self.families})


def _library(name: str) -> bool:
    try:
        ctypes.CDLL(name)
    except OSError:
        return False
    return True


def _driver() -> bool:
    folders = [folder for root in LIBRARY_FOLDERS for folder in (root, *root.glob("*-linux-gnu*"))]
    return any(next(folder.glob(pattern), None) for folder in folders for pattern in DRIVERS)


def _font() -> bool:
    return any(next(folder.rglob("*.[to]tf"), None) for folder in FONT_FOLDERS)


NEEDS = (
    Need("libegl1", "Qt and the views", partial(_library, "libEGL.so.1")),
    Need("libgl1", "Qt and the views", partial(_library, "libGL.so.1")),
    Need("libgl1-mesa-dri", "drawing without a graphics card", _driver),
    Need("libglib2.0-0", "Qt and the views", partial(_library, "libgthread-2.0.so.0")),
    Need("libxkbcommon0", "Qt and the views", partial(_library, "libxkbcommon.so.0")),
    Need("libdbus-1-3", "Qt and the views", partial(_library, "libdbus-1.so.3")),
    Need("libfontconfig1", "Qt and the views", partial(_library, "libfontconfig.so.1")),
    Need("fonts-dejavu-core", "texts in pictures", _font),
    Need("chromium", "pictures of the server's page", lambda: chromium() is not None),
)


def missing(needs: Sequence[Need] = NEEDS) -> list[Need]:
    """What is not there."""
    return [need for need in needs if not need.present()]


def this_machine() -> Machine:
    """Distribution and rights."""
    try:
        release = platform.freedesktop_os_release()
    except OSError:
        release = {}
    root = hasattr(os, "geteuid") and os.geteuid() == 0
    families = frozenset(release.get("ID_LIKE", "").split())
    return Machine(release.get("ID", ""), root, shutil.which("apt-get") is not None, families)


def plan(lacking: Sequence[Need], machine: Machine) -> Plan:
    """What to do about packages that are not there.

    Ubuntu's chromium is a snap, which containers cannot have: there it is only named.
    """
    names = tuple(need.package for need in lacking)
    if not names:
        return Plan()
    if not machine.debian_like or not machine.apt:
        return Plan(named=names, because="only Debian and Ubuntu are set up by themselves")
    if not machine.root:
        return Plan(named=names, because="only root may install them")
    small = tuple(name for name in names if name != "chromium")
    browser = tuple(name for name in names if name == "chromium")
    if browser and machine.distribution != "debian":
        return Plan((small,) if small else (), browser, "here the browser is a snap")
    return Plan(tuple(group for group in (small, browser) if group))


def carry_out(wanted: Plan, run: Callable[[Sequence[str]], bool]) -> list[str]:
    """Install what the plan says; returns the packages that are still missing.

    Args:
        wanted: what to do.
        run: runs a command and says whether it ended well.
    """
    left = list(wanted.named)
    for group in wanted.install:
        command = (*INSTALL, *group)
        if not run(command) and not (run(UPDATE) and run(command)):
            left += group
    return left


def _run(command: Sequence[str]) -> bool:
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    try:
        done = subprocess.run(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


def report(left: Sequence[str], because: str, needs: Sequence[Need] = NEEDS) -> str:
    """The sentence for packages that are not there."""
    purposes = ", ".join(dict.fromkeys(need.purpose for need in needs if need.package in left))
    reason = f" ({because})" if because else " (apt-get could not install them)"
    return (
        f"Not installed{reason}: {' '.join(left)}. They are needed for {purposes}; tests that need them are "
        f"skipped. On Debian or Ubuntu: apt-get install {' '.join(left)}"
    )


def main() -> None:
    lacking = missing()
    if not lacking:
        return
    wanted = plan(lacking, this_machine())
    if wanted.install:
        print("Installing", *(name for group in wanted.install for name in group), flush=True)
    left = carry_out(wanted, _run)
    if left:
        print(report(left, wanted.because))


if __name__ == "__main__":
    main()
