"""The process of tasks that do what a test asks for."""

from __future__ import annotations

import ctypes
import errno
import os
import resource
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nnactive_server.core import errors
from nnactive_server.jobs import task_runner

PROBE = {"probe": "__main__:probe"}


def probe(params: Mapping[str, Any]) -> dict[str, Any]:
    result: dict[str, Any] = globals()[f"do_{params['do']}"](params)
    return result


def do_echo(params: Mapping[str, Any]) -> dict[str, Any]:
    print("a library that talks")
    os.write(1, b"and one that does so below Python\n")
    return {"params": dict(params), "folder": str(Path.cwd())}


def do_raise(params: Mapping[str, Any]) -> dict[str, Any]:
    raise getattr(errors, params["error"])("case_1.nii: has no voxels; choose another file")


def do_crash(_params: Mapping[str, Any]) -> dict[str, Any]:
    raise ValueError("the sky fell down")


def do_fault(_params: Mapping[str, Any]) -> dict[str, Any]:
    return {"never": ctypes.string_at(0)}


def do_exit(params: Mapping[str, Any]) -> dict[str, Any]:
    os.write(2, b"gone fishing\n")
    os._exit(params["code"])


def do_kill(params: Mapping[str, Any]) -> dict[str, Any]:
    os.kill(os.getpid(), params["signal"])
    return {}


def do_hang(params: Mapping[str, Any]) -> dict[str, Any]:
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    Path(params["file"]).write_text(str(child.pid))
    time.sleep(600)
    return {}


def do_bomb(_params: Mapping[str, Any]) -> dict[str, Any]:
    return {"size": len(bytearray(2**33))}


def do_disk(_params: Mapping[str, Any]) -> dict[str, Any]:
    raise OSError(errno.ENOSPC, "No space left on device")


def do_count(params: Mapping[str, Any]) -> dict[str, Any]:
    """How many of these run at the same time."""
    folder = Path(params["folder"])
    mark = folder / str(os.getpid())
    mark.touch()
    time.sleep(0.3)
    together = len(list(folder.iterdir()))
    mark.unlink()
    return {"together": together}


def do_limits(_params: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "core": resource.getrlimit(resource.RLIMIT_CORE)[0],
        "memory": resource.getrlimit(resource.RLIMIT_AS)[0],
        "environment": dict(os.environ),
    }


def do_list(_params: Mapping[str, Any]) -> Any:
    return ["no", "object"]


def do_nan(_params: Mapping[str, Any]) -> dict[str, Any]:
    return {"dice": float("nan")}


if __name__ == "__main__":
    sys.exit(task_runner.main(sys.argv[1:], PROBE))
