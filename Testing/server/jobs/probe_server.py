"""A server that only supervises: runs until its standard input ends, or until it is killed."""

from __future__ import annotations

import sys
from pathlib import Path

from nnactive_server.jobs.slots import Slot
from nnactive_server.jobs.supervisor import Supervisor, Timing
from nnactive_server.store import Store

if __name__ == "__main__":
    data = Path(sys.argv[1])
    worker = (sys.executable, str(Path(__file__).with_name("probe_worker.py")))
    with Store(data) as store:
        supervisor = Supervisor(store, data, [Slot("cpu")], timing=Timing(0.05, 1.0), command=worker)
        supervisor.start()
        print("started", flush=True)
        sys.stdin.read()
        supervisor.stop()
