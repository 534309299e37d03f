"""A request that is sent again, because its reply got lost, is carried out once and answered alike."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from nnactive_server.core.errors import KeyReused
from nnactive_server.store.database import Database
from nnactive_server.store.texts import from_text, name_of, to_text


@dataclass(frozen=True, slots=True)
class Request:
    """What makes two requests the same.

    Attributes:
        token: id of the caller's token; keys of different callers never meet.
        route: method and path.
        key: the caller's idempotency key.
        body_digest: SHA-256 of the body, hex.

    Raises:
        InvalidInput: an empty key, or one of more than 200 characters.
    """

    token: str
    route: str
    key: str
    body_digest: str

    def __post_init__(self) -> None:
        name_of(self.key, "idempotency key")


@dataclass(frozen=True, slots=True)
class Reply:
    """What was answered.

    Attributes:
        status: HTTP status.
        body: bytes.
        headers: those worth repeating, e.g. ETag.
    """

    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict, hash=False)


class Idempotency:
    """Replies that are kept for a while."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def run(self, request: Request, work: Callable[[], Reply]) -> Reply:
        """Carry out a request, or repeat the reply it had.

        What `work` writes to the store and its reply become durable in one transaction, which is open while
        it runs: files are stored before, so that others do not wait.

        Raises:
            KeyReused: the key was used for another body.
            Whatever `work` raises; nothing is kept then, so a repetition tries again.
        """
        with self._database.write():
            known = self.find(request)
            if known is not None:
                return known
            reply = work()
            self._keep(request, reply)
            return reply

    def find(self, request: Request) -> Reply | None:
        """The reply this request had, if any; raises KeyReused when the key was used for another body."""
        with self._database.read() as connection:
            row = connection.execute(
                "SELECT * FROM requests WHERE token = ? AND route = ? AND key = ?",
                (request.token, request.route, request.key),
            ).fetchone()
        if row is None:
            return None
        if row["body_digest"] != request.body_digest:
            raise KeyReused(
                f"idempotency key '{request.key}': used before with another content; "
                "a new request needs a new key"
            )
        return _reply(row)

    def sweep(self, age_seconds: float) -> int:
        """Forget replies older than this; returns how many."""
        with self._database.write() as connection:
            before = self._database.now() - age_seconds
            return connection.execute("DELETE FROM requests WHERE created < ?", (before,)).rowcount

    def _keep(self, request: Request, reply: Reply) -> None:
        headers = to_text(dict(reply.headers), "reply headers")
        with self._database.write() as connection:
            connection.execute(
                "INSERT INTO requests (token, route, key, body_digest, status, headers, body, created) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    request.token,
                    request.route,
                    request.key,
                    request.body_digest,
                    reply.status,
                    headers,
                    reply.body,
                    self._database.now(),
                ),
            )


def _reply(row: sqlite3.Row) -> Reply:
    return Reply(row["status"], row["body"], from_text(row["headers"]))
