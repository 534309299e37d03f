"""Where tests write, and in which order their files are dealt to the processes."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import pytest

MEMORY = Path("/dev/shm")
ROOM = 6 * 2**30
"""Bytes that must be free there: the tests write less than a fifth of it, and with less some warn."""

LONG = (
    "server/study",
    "server/faults",
    "NNActiveSlicer",
    "benchmarks",
    "server/segmentation",
    "server/api",
    "server/jobs",
    "server/loop",
    "server/cli",
    "NNActiveLogic/local",
    "NNActiveLogic/client",
    "server/store",
)
"""Folders whose tests start servers, train or draw; a file may take half a minute."""


def pytest_configure(config: pytest.Config) -> None:
    """Write to memory: everything here is written to survive a power cut, and that makes a disk wait.

    No test can cut the power. Who names a folder (TMPDIR or --basetemp) gets that one.
    """
    if config.option.basetemp is None and "TMPDIR" not in os.environ and _has_room(MEMORY):
        os.environ["TMPDIR"] = tempfile.tempdir = str(MEMORY)


def _has_room(folder: Path) -> bool:
    """Whether files fit there, and programs may run there: some tests install one."""
    if not (folder.is_dir() and os.access(folder, os.W_OK)):
        return False
    return not os.statvfs(folder).f_flag & os.ST_NOEXEC and shutil.disk_usage(folder).free >= ROOM


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long files first: a process that gets one last works while the others have nothing left."""
    items.sort(key=lambda item: _place(item.path.relative_to(Path(__file__).parent)))


def _place(path: Path) -> int:
    """Of a test's folder among the long ones; behind them all when it is none."""
    return next((place for place, folder in enumerate(LONG) if path.is_relative_to(folder)), len(LONG))
