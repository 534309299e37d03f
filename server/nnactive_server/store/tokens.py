"""Who may call: secrets that are shown once, hashed at rest, and can be taken back."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import sqlite3
from dataclasses import dataclass

from nnactive_server.core.errors import Conflict, NotFound
from nnactive_server.core.roles import Role
from nnactive_server.store.database import Database
from nnactive_server.store.events import emit
from nnactive_server.store.ids import new_id
from nnactive_server.store.texts import name_of

_PREFIX = "nna"
_NOBODY = bytes(32)


@dataclass(frozen=True, slots=True)
class Token:
    """An access token, without its secret.

    Attributes:
        id: opaque.
        name: of the person or program; stands for them in answers and leases. Names of live tokens differ.
        role: what they may do.
        created: seconds since 1970.
        revoked: likewise; None while it is valid.
    """

    id: str
    name: str
    role: Role
    created: float
    revoked: float | None


class Tokens:
    """The access tokens."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def create(self, name: str, role: Role) -> tuple[Token, str]:
        """A new token and its secret, which cannot be shown again.

        Raises:
            InvalidInput: not a usable name.
            Conflict: there is a valid token of this name; carries it.
        """
        token = Token(new_id(), name_of(name, "token name"), Role(role), self._database.now(), None)
        secret = f"{_PREFIX}_{token.id}_{secrets.token_urlsafe(32)}"
        with self._database.write() as connection:
            self._check_free(connection, name)
            connection.execute(
                "INSERT INTO tokens (id, name, role, digest, created) VALUES (?, ?, ?, ?, ?)",
                (token.id, token.name, token.role, _digest(secret), token.created),
            )
            emit(
                connection, token.created, None, "token.created", token.id, {"name": name, "role": token.role}
            )
        return token, secret

    def verify(self, secret: str) -> Token | None:
        """The valid token of a secret; None for anything else.

        The id inside the secret finds the row; the digests are then compared in constant time, also when
        there is no row.
        """
        parts = secret.split("_", 2)
        with self._database.read() as connection:
            row = connection.execute(
                "SELECT * FROM tokens WHERE id = ? AND revoked IS NULL",
                (parts[1] if len(parts) == 3 else "",),
            ).fetchone()
        same = hmac.compare_digest(_digest(secret), _NOBODY if row is None else row["digest"])
        return _token(row) if same and row is not None else None

    def is_valid(self, token: str) -> bool:
        """Whether a token, by its id, is there and was not revoked."""
        with self._database.read() as connection:
            query = "SELECT 1 FROM tokens WHERE id = ? AND revoked IS NULL"
            return connection.execute(query, (token,)).fetchone() is not None

    def revoke(self, token: str) -> Token:
        """End a token's validity, by its id or by the name of a valid one; for good, and at once.

        Raises:
            NotFound: no such token.
        """
        now = self._database.now()
        with self._database.write() as connection:
            row = connection.execute(
                "SELECT * FROM tokens WHERE id = :token"
                " OR (name = :token COLLATE NOCASE AND revoked IS NULL)",
                {"token": token},
            ).fetchone()
            if row is None:
                raise NotFound(f"token '{token}': there is none of this id or name")
            if row["revoked"] is None:
                connection.execute("UPDATE tokens SET revoked = ? WHERE id = ?", (now, row["id"]))
                emit(connection, now, None, "token.revoked", row["id"], {"name": row["name"]})
            return _token(connection.execute("SELECT * FROM tokens WHERE id = ?", (row["id"],)).fetchone())

    def list(self) -> tuple[Token, ...]:
        """All tokens, revoked ones too, oldest first."""
        with self._database.read() as connection:
            return tuple(_token(row) for row in connection.execute("SELECT * FROM tokens ORDER BY id"))

    def _check_free(self, connection: sqlite3.Connection, name: str) -> None:
        row = connection.execute(
            "SELECT * FROM tokens WHERE name = ? COLLATE NOCASE AND revoked IS NULL", (name,)
        ).fetchone()
        if row is not None:
            raise Conflict(
                f"token name '{name}': in use; revoke that token first, or take another name", _token(row)
            )


def _digest(secret: str) -> bytes:
    # The secret has 256 random bits, so a plain hash cannot be reversed by guessing.
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()


def _token(row: sqlite3.Row) -> Token:
    return Token(row["id"], row["name"], Role(row["role"]), row["created"], row["revoked"])
