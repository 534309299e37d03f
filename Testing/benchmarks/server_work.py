"""People who ask a server for things, in processes of their own, and a server that does nothing.

Each person has one connection that is kept open (`http.client`, the lightest client there is, so that the
table shows the server rather than its clients) and does one thing at a time.
"""

from __future__ import annotations

import base64
import http.client
import json
import multiprocessing
import os
import random
import socket
import sqlite3
import statistics
import threading
import time
import uuid
import zlib
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
from scipy import ndimage

PROCESSES = 4
PEOPLE = 20
_CONTEXT = multiprocessing.get_context("spawn")


@dataclass(frozen=True)
class Visit:
    """What everybody does.

    Attributes:
        port: of the server, on this machine.
        tokens: one a person.
        routine: name of a method of `Person`.
        seconds: for how long.
        pause: seconds from the begin of one action to the begin of the next; 0 for no pause.
        about: what the routine needs to know.
    """

    port: int
    tokens: Sequence[str]
    routine: str
    seconds: float
    pause: float
    about: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Sample:
    """One request: what it was, its seconds, and the bytes of its body and of its answer's."""

    what: str
    seconds: float
    sent: int
    received: int


@dataclass(frozen=True)
class Times:
    """The requests of one kind."""

    samples: Sequence[Sample]

    def quantile(self, percent: int) -> float:
        """Seconds."""
        return statistics.quantiles((one.seconds for one in self.samples), n=100)[percent - 1]

    @property
    def sent(self) -> float:
        """Median bytes of a body."""
        return statistics.median(one.sent for one in self.samples)

    def __str__(self) -> str:
        return f"{1000 * self.quantile(50):.1f} / {1000 * self.quantile(95):.1f} ms"


class Person:
    """One of those who ask."""

    def __init__(self, visit: Visit, token: str) -> None:
        self._about, self._token = visit.about, token
        self._random = random.Random(token)
        self._line = http.client.HTTPConnection("127.0.0.1", visit.port, timeout=60)
        self._leased = ""

    def close(self) -> None:
        self._line.close()

    def mixed(self, number: int) -> Sample:
        """Health, the batch, a hundred patches, the next patch, its release; one after the other."""
        project = f"/v1/projects/{self._about['project']}"
        kind = number % 5
        if kind == 4:
            return self._ask("release", "DELETE", f"/v1/patches/{self._leased}/lease")[0]
        if kind < 3:
            paths = ("/v1/health", f"{project}/queries", f"{project}/patches?limit=100")
            return self._ask(("health", "batch", "patches")[kind], "GET", paths[kind])[0]
        sample, reply = self._next()
        self._leased = json.loads(reply)["id"]
        return sample

    def answers(self, number: int) -> Sample:
        """A patch, then an answer to it."""
        if number % 2 == 0:
            sample, reply = self._next()
            self._leased = json.loads(reply)["id"]
            return sample
        body = self._random.choice(self._about["bodies"])
        headers = {"If-Match": '"0"', "Content-Type": "application/json"}
        return self._ask("answer", "PUT", f"/v1/patches/{self._leased}/annotation", body, headers)[0]

    def crops(self, number: int) -> Sample:
        """A box of a map."""
        del number
        size, shape = self._about["size"], self._about["shape"]
        start = [self._random.randrange(n - s + 1) for s, n in zip(size, shape, strict=True)]
        box = "&".join(f"{k}={','.join(map(str, v))}" for k, v in (("start", start), ("size", size)))
        return self._ask("crop", "GET", f"{self._about['path']}?{box}")[0]

    def nothing(self, number: int) -> Sample:
        """So many bytes of the server that does nothing."""
        del number
        body = self._about.get("body", b"")
        return self._ask("nothing", "POST" if body else "GET", f"/{self._about['bytes']}", body)[0]

    def _next(self) -> tuple[Sample, bytes]:
        return self._ask("next", "POST", f"/v1/projects/{self._about['project']}/next")

    def _ask(
        self, what: str, method: str, path: str, body: bytes = b"", more: Mapping[str, str] | None = None
    ) -> tuple[Sample, bytes]:
        headers = {"Authorization": f"Bearer {self._token}", **(more or {})}
        if method != "GET":
            headers["Idempotency-Key"] = str(uuid.uuid4())
        start = time.perf_counter()
        self._line.request(method, path, body or None, headers)
        reply = self._line.getresponse()
        content = reply.read()
        taken = time.perf_counter() - start
        if reply.status != 200:
            raise RuntimeError(f"{method} {path}: {reply.status} {content[:300]!r}")
        return Sample(what, taken, len(body), len(content)), content


def visit(
    port: int, tokens: Sequence[str], routine: str, seconds: float, pause: float, **about: Any
) -> Crowd:
    """Have everybody do something at the same time, spread over the processes."""
    everybody = Visit(port, tokens, routine, seconds, pause, about)
    pipes = []
    for number in range(PROCESSES):
        here, there = _CONTEXT.Pipe()
        _CONTEXT.Process(target=_several, args=(there, everybody, number), daemon=True).start()
        there.close()
        pipes.append(here)
    for pipe in pipes:
        pipe.recv()  # it is ready
    for pipe in pipes:
        pipe.send("go")
    return Crowd([sample for pipe in pipes for sample in pipe.recv()], seconds)


@dataclass(frozen=True)
class Crowd:
    """All requests of a visit."""

    samples: Sequence[Sample]
    seconds: float

    @property
    def by_kind(self) -> dict[str, Times]:
        kinds = defaultdict(list)
        for one in self.samples:
            kinds[one.what].append(one)
        return {what: Times(samples) for what, samples in kinds.items()}

    @property
    def all(self) -> Times:
        return Times(self.samples)

    @property
    def rate(self) -> float:
        """Requests a second."""
        return len(self.samples) / self.seconds


def _several(pipe: Connection, everybody: Visit, process: int) -> None:
    people = [Person(everybody, token) for token in everybody.tokens[process::PROCESSES]]
    found: list[list[Sample]] = [[] for _ in people]
    threads = [
        threading.Thread(target=_one, args=(everybody, person, samples))
        for person, samples in zip(people, found, strict=True)
    ]
    pipe.send("ready")
    pipe.recv()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    pipe.send([sample for samples in found for sample in samples])


def _one(everybody: Visit, person: Person, found: list[Sample]) -> None:
    work = getattr(person, everybody.routine)
    begins = time.monotonic()
    ends, number = begins + everybody.seconds, 0
    due = begins + random.random() * everybody.pause
    while due < ends:
        time.sleep(max(0.0, due - time.monotonic()))
        found.append(work(number))
        number += 1
        due = max(due + everybody.pause, time.monotonic() if not everybody.pause else 0.0)
    person.close()


@contextmanager
def idle_server() -> Iterator[int]:
    """A server under uvicorn that answers with as many bytes as its path says; its port."""
    listener = socket.create_server(("127.0.0.1", 0))
    process = _CONTEXT.Process(target=_serve_nothing, args=(listener,), daemon=True)
    process.start()
    port = listener.getsockname()[1]
    listener.close()
    try:
        _wait_for(port)
        yield port
    finally:
        process.terminate()
        process.join()


def _wait_for(port: int) -> None:
    while True:
        line = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        line.request("GET", "/1")
        if line.getresponse().read():
            line.close()
            return


def _serve_nothing(listener: socket.socket) -> None:
    import uvicorn

    async def application(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        while (await receive()).get("more_body"):
            pass
        body = bytes(int(scope["path"][1:]))
        headers = [(b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    config = uvicorn.Config(application, log_config=None, access_log=False, http="httptools", lifespan="off")
    uvicorn.Server(config).run(sockets=[listener])


def blobs(seed: int, size: Sequence[int], share: float = 0.07) -> np.ndarray:
    """Labels (z, y, x) uint8: a few smooth lumps of two classes, `share` of the voxels in all."""
    noise = np.random.default_rng(seed).normal(size=size)
    smooth = ndimage.gaussian_filter(noise, [n / 8 for n in size])
    lumps, _ = ndimage.label(smooth > np.quantile(smooth, 1 - share))
    return np.where(lumps > 0, 1 + lumps % 2, 0).astype(np.uint8)


def least_answer(bodies: Sequence[bytes], folder: Path) -> Iterator[float]:
    """The least that an answer costs: unpack, count, a file and a row that survive a power cut."""
    connection = sqlite3.connect(folder / "least.sqlite", isolation_level=None)
    connection.executescript("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; CREATE TABLE a (b TEXT)")
    for number in range(100):
        time.sleep(0.05)
        start = time.perf_counter()
        packed = base64.b64decode(json.loads(bodies[number % len(bodies)])["label"]["data"])
        counts = np.bincount(np.frombuffer(zlib.decompress(packed), np.uint8))
        with (folder / f"least-{number}").open("wb") as file:
            file.write(packed)
            file.flush()
            os.fsync(file.fileno())
        directory = os.open(folder, os.O_RDONLY)
        os.fsync(directory)
        os.close(directory)
        connection.execute("INSERT INTO a VALUES (?)", (str(counts),))
        yield time.perf_counter() - start


def answer_body(labels: np.ndarray) -> bytes:
    """An answer as the client sends it."""
    data = base64.b64encode(zlib.compress(labels.tobytes(), 6)).decode()
    label = {"encoding": "zlib", "dtype": "uint8", "shape": list(labels.shape), "data": data}
    said = {"kind": "labelled", "label": label, "seconds": 61.5, "edits": 12, "prefilled_model": None}
    return json.dumps(said).encode()
