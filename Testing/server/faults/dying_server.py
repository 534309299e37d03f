"""`nnactive` whose web process kills itself (SIGKILL) at a chosen step of a request.

The file `die-at` in the data folder says at which: "TURN STEP". Steps are the commits of the database and
what changes files; they are counted in the threads that work on requests, anew for each turn.
"""

import os
import signal
import sqlite3
import sys
import threading
from pathlib import Path

from nnactive_server.cli import app
from nnactive_server.store import uploads

FILE = Path(sys.argv[sys.argv.index("--data") + 1]) / "die-at"


class Counter:
    def __init__(self):
        self.lock, self.turn, self.count = threading.Lock(), "", 0

    def step(self, what):
        if not threading.current_thread().name.startswith("AnyIO worker") or not FILE.exists():
            return
        turn, last = FILE.read_text().split()
        with self.lock:
            self.count = self.count + 1 if turn == self.turn else 1
            self.turn = turn
            if self.count >= int(last):
                print("died", what, file=sys.stderr, flush=True)
                os.kill(os.getpid(), signal.SIGKILL)


counter = Counter()


def around(function, name, before=True):
    def called(*args, **more):
        if before:
            counter.step(f"before {name}")
        result = function(*args, **more)
        counter.step(f"after {name}")
        return result

    return called


class Connection(sqlite3.Connection):
    writes = False

    def execute(self, sql, *args):
        if sql.startswith("BEGIN"):
            self.writes = sql == "BEGIN IMMEDIATE"
        if sql == "COMMIT" and self.writes:
            return around(super().execute, "a commit")(sql)
        return super().execute(sql, *args)


def connect(*args, _connect=sqlite3.connect, **more):
    return _connect(*args, factory=Connection, **more)


def write_whole(file, offset, chunk, _write=uploads._write_whole):
    half = len(chunk) // 2
    _write(file, offset, chunk[:half])
    counter.step("half a piece")
    _write(file, offset + half, chunk[half:])


sqlite3.connect = connect
Path.replace = around(Path.replace, "a rename")
Path.unlink = around(Path.unlink, "a removal", before=False)
uploads._write_whole = write_whole

if __name__ == "__main__":
    app()
