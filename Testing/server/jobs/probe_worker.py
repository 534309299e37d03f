"""A worker whose jobs do what a test asks for; the test and the job talk through files in the data folder."""

from __future__ import annotations

import errno
import logging
import multiprocessing
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from nnactive_server.core.errors import Cancelled, LoopError
from nnactive_server.jobs import reporting, worker
from nnactive_server.jobs.reporting import JobContext
from nnactive_server.store import database

reporting.BEAT_SECONDS = 0.05
worker.RETRY_SECONDS = 0.05
database.BUSY_SECONDS = 0.2
logger = logging.getLogger("nnactive_server.probe")


class OutOfMemoryError(RuntimeError):
    """Like torch's."""


def probe(context: JobContext) -> dict[str, Any]:
    (context.data / f"attempt-{context.job.attempt}").touch()
    what = str(context.job.params["do"]).replace("-", "_")
    result: dict[str, Any] = globals()[f"do_{what}"](context)
    return result


def do_report(context: JobContext) -> dict[str, Any]:
    for step in range(1, 2001):
        context.monitor.report("train", step, 2000, f"loss {1 / step:.2f}")
    logger.info("all trained")
    context.monitor.report("predict", 1, 4, "liver_1")
    return {"answer": 42}


def do_wait(context: JobContext) -> dict[str, Any]:
    context.monitor.report("wait", 1, 10)
    while not (context.data / "go").exists():
        context.monitor.check()
        time.sleep(0.01)
    return {"attempt": context.job.attempt}


def do_silence(context: JobContext) -> dict[str, Any]:
    """Like one long import: no reports, no checks."""
    while not (context.data / "go").exists():
        time.sleep(0.01)
    return {"attempt": context.job.attempt}


def do_stubborn(context: JobContext) -> dict[str, Any]:
    """In its first attempt it and its child never stop."""
    if context.job.attempt == 1:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)", str(context.data)])
        (context.data / "child").write_text(str(child.pid))
        child.wait()
    return {"attempt": context.job.attempt}


def do_killed(context: JobContext) -> dict[str, Any]:
    if context.job.attempt <= context.job.params["times"]:
        os.kill(os.getpid(), context.job.params.get("signal", signal.SIGKILL))
        time.sleep(600)
    return {"attempt": context.job.attempt}


def do_orphan_child(context: JobContext) -> dict[str, Any]:
    """A child is left when the job ends."""
    command = [sys.executable, "-c", "import time; time.sleep(600)", str(context.data)]
    child = subprocess.Popen(command)
    child.returncode = 0  # this process will not wait for it
    return {"child": child.pid}


def do_fork(_context: JobContext) -> dict[str, Any]:
    """Most signals reach the child while it is not ready yet."""
    children = [
        multiprocessing.get_context("fork").Process(target=time.sleep, args=(600,)) for _ in range(10)
    ]
    for child in children:
        child.start()
        child.terminate()
    for child in children:
        child.join()
    return {"exitcodes": [child.exitcode for child in children]}


def do_crash(_context: JobContext) -> dict[str, Any]:
    raise ValueError("the sky fell down")


def do_leave(_context: JobContext) -> dict[str, Any]:
    os._exit(0)


def do_explain(_context: JobContext) -> dict[str, Any]:
    raise LoopError("loop_003.json: is missing; write it")


def do_memory(_context: JobContext) -> dict[str, Any]:
    raise MemoryError


def do_gpu_memory(_context: JobContext) -> dict[str, Any]:
    try:
        raise OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")
    except OutOfMemoryError as problem:
        raise LoopError("the training failed") from problem


def do_disk_full(_context: JobContext) -> dict[str, Any]:
    raise OSError(errno.ENOSPC, "No space left on device", "members/fold_0.pt")


def do_give_up(_context: JobContext) -> dict[str, Any]:
    raise Cancelled("stopped")


def do_unkeepable(_context: JobContext) -> dict[str, Any]:
    return {"dice": float("nan")}


def do_environment(_context: JobContext) -> dict[str, Any]:
    return {
        "environment": dict(os.environ),
        "folder": str(Path.cwd()),
        "leader": os.getsid(0) == os.getpid() == os.getpgrp(),
        "nice": os.nice(0),
        "core": resource.getrlimit(resource.RLIMIT_CORE)[0],
        "path": sys.path,
    }


def do_full_store(context: JobContext) -> dict[str, Any]:
    """For half a second no file can grow beyond what a log needs; it ends when that has begun to hurt."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8192, before[1]))
    threading.Timer(0.5, resource.setrlimit, (resource.RLIMIT_FSIZE, before)).start()
    context.monitor.report("write", 1, 2)
    time.sleep(0.2)
    return {"answer": 42}


if __name__ == "__main__":
    sys.exit(worker.main(sys.argv[1:], {"probe": "__main__:probe"}))
