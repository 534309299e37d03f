"""All durable state of a server, in one folder."""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from nnactive_server.store.answers import Answers
from nnactive_server.store.blobs import Blobs, Limits
from nnactive_server.store.cases import Cases
from nnactive_server.store.database import Clock, Database
from nnactive_server.store.events import Events, Watcher
from nnactive_server.store.idempotency import Idempotency
from nnactive_server.store.ids import go_on_after
from nnactive_server.store.jobs import Jobs
from nnactive_server.store.leases import Leases
from nnactive_server.store.patches import Patches
from nnactive_server.store.projects import Projects
from nnactive_server.store.tokens import Tokens
from nnactive_server.store.uploads import Uploads

DATABASE = "state.sqlite"
FILES = "files"
_WITH_IDS = ("tokens", "projects", "cases", "patches", "jobs")
_SOURCES = ("case_images.blob", "answers.labels", "answers.unsure", "answers.prefill")


class Store:
    """The database and the stored files under `root`; several processes may open one at the same time.

    Args:
        root: folder on a disk of this machine; made, for its owner alone, when it is missing.
        limits: sizes of stored files.
        clock: seconds since 1970; another one in tests of what expires.

    Raises:
        StoreError: the database belongs to a newer version or another program, or is damaged.
    """

    def __init__(self, root: Path, limits: Limits | None = None, clock: Clock = time.time) -> None:
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        with suppress(OSError):  # SQLite says it better
            # Its owner's alone whatever the folder's permissions; SQLite gives its other files the same.
            (root / DATABASE).touch(mode=0o600)
        self.database = Database(root / DATABASE, clock=clock)
        self.blobs = Blobs(root / FILES, limits)
        self.uploads = Uploads(self.blobs)
        self._watcher = Watcher(self.database)
        self.events = Events(self.database, self._watcher)
        self.tokens = Tokens(self.database)
        self.projects = Projects(self.database)
        self.cases = Cases(self.database, self.blobs)
        self.patches = Patches(self.database)
        self.leases = Leases(self.database)
        self.answers = Answers(self.database, self.blobs)
        self.jobs = Jobs(self.database)
        self.idempotency = Idempotency(self.database)
        # Ids tell the order in which things were made, also when the clock was set back since.
        go_on_after(self._newest_id())

    def used_files(self) -> frozenset[str]:
        """SHA-256 of every stored file that a case or an answer names."""
        union = " UNION ".join(
            f"SELECT {column} FROM {table} WHERE {column} IS NOT NULL"
            for table, column in (source.split(".") for source in _SOURCES)
        )
        with self.database.read() as connection:
            return frozenset(row[0] for row in connection.execute(union))

    def discard(self, sha256: str) -> None:
        """Remove a stored file that no case and no answer names; one that is named stays."""
        with self.database.write():
            if sha256 not in self.used_files():
                self.blobs.remove(sha256)

    def sweep(self, age_seconds: float, replies_seconds: float | None = None) -> int:
        """Remove what is of no more use.

        Args:
            age_seconds: stored files that nothing names and broken-off uploads older than this.
            replies_seconds: kept replies older than this; `age_seconds` unless given.

        Returns:
            Bytes freed on the disk.
        """
        self.idempotency.sweep(age_seconds if replies_seconds is None else replies_seconds)
        return self.blobs.sweep(self.used_files(), age_seconds)

    def check(self) -> list[str]:
        """What is wrong with the database and the stored files; empty when all is sound. Reads everything."""
        found = self.database.check()
        for sha256 in sorted(self.used_files()):
            if not self.blobs.exists(sha256):
                found.append(f"file {sha256}: named by the database and missing")
            elif not self.blobs.verify(sha256):
                found.append(f"file {sha256}: damaged")
        return found

    def close(self) -> None:
        """Let go of the files; what was acknowledged is on the disk already."""
        self._watcher.close()
        self.database.close()

    def _newest_id(self) -> str:
        """The largest id of all; empty before the first."""
        each = " UNION ALL ".join(f"SELECT max(id) AS id FROM {table}" for table in _WITH_IDS)
        with self.database.read() as connection:
            return str(connection.execute(f"SELECT coalesce(max(id), '') FROM ({each})").fetchone()[0])

    def __enter__(self) -> Store:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
