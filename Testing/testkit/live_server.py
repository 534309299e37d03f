"""A real server: `nnactive serve` in a process of its own, on loopback, with tokens for four people."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import requests

from nnactive_server.store import Role, Store

PEOPLE = {"ann": Role.ADMIN, "rev": Role.REVIEWER, "ben": Role.ANNOTATOR, "vic": Role.VIEWER}
START_SECONDS = 60.0


class LiveServer:
    """Starts, stops and kills a server on one data folder.

    Args:
        data: the folder; made when missing.
        options: further ones of `nnactive serve`.
        environment: further variables.
        people: make their tokens; otherwise the server makes one itself.
        program: arguments of Python that stand for `nnactive`.
    """

    def __init__(
        self,
        data: Path,
        options: Sequence[str] = (),
        environment: dict[str, str] | None = None,
        people: bool = True,
        program: Sequence[str] = ("-m", "nnactive_server.cli"),
    ) -> None:
        self.data, self.options, self.program = data, tuple(options), tuple(program)
        self.environment = environment or {}
        self.process: subprocess.Popen[bytes] | None = None
        self.url = ""
        self.tokens: dict[str, str] = {}
        data.mkdir(parents=True, exist_ok=True)
        if not people:
            return
        with Store(data) as store:
            self.tokens = {name: store.tokens.create(name, role)[1] for name, role in PEOPLE.items()}

    def start(self) -> LiveServer:
        """Start it, and wait until it answers."""
        about = self.data / "server.json"
        about.unlink(missing_ok=True)
        command = [
            sys.executable,
            *self.program,
            "serve",
            "--data",
            str(self.data),
            "--port",
            "0",
        ]
        with (self.data / "server.log").open("ab") as log:
            self.process = subprocess.Popen(
                [*command, *self.options],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                env={**os.environ, **self.environment},
            )
        self._wait(about)
        return self

    def stop(self) -> int:
        """End it as its operator would (SIGTERM); the exit code."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(60)
        self.process = None
        return code

    def kill(self) -> None:
        """Kill the web process without a word (SIGKILL)."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()
        self.process = None

    def log(self) -> str:
        """What it wrote."""
        return (self.data / "server.log").read_text("utf-8", "replace")

    def call(self, method: str, path: str, who: str = "ann", **options: object) -> requests.Response:
        """A plain request as one of the people; nobody when `who` is empty."""
        headers = dict(options.pop("headers", {}) or {})  # type: ignore[call-overload]
        if who in self.tokens:
            headers.setdefault("Authorization", f"Bearer {self.tokens[who]}")
        options.setdefault("timeout", 30)
        return requests.request(method, self.url + path, headers=headers, **options)  # type: ignore[arg-type]

    def __enter__(self) -> LiveServer:
        return self.start()

    def __exit__(self, *_: object) -> None:
        if self.process is not None:
            self.stop()

    def _wait(self, about: Path) -> None:
        ends = time.monotonic() + START_SECONDS
        while time.monotonic() < ends:
            assert self.process is not None
            if self.process.poll() is not None:
                raise AssertionError(f"the server ended with {self.process.returncode}:\n{self.log()}")
            if about.exists():
                self.url = json.loads(about.read_text())["url"]
                if self._answers():
                    return
            time.sleep(0.02)
        raise AssertionError(f"the server did not start:\n{self.log()}")

    def _answers(self) -> bool:
        try:
            return bool(self.call("GET", "/v1/health", timeout=5).status_code)
        except requests.ConnectionError:
            return False
