"""JSON columns, and the checks that several tables share."""

from __future__ import annotations

import json
import math
from typing import Any

from nnactive_server.core.errors import InvalidInput

LONGEST_NAME = 200


def to_text(document: Any, what: str) -> str:
    """JSON as it is stored.

    Raises:
        InvalidInput: not plain JSON values, or a number that is not finite.
    """
    try:
        return json.dumps(document, allow_nan=False, separators=(",", ":"), ensure_ascii=False)
    except (TypeError, ValueError) as problem:
        raise InvalidInput(f"{what}: not plain JSON values ({problem})") from problem


def from_text(text: str | None) -> Any:
    """What `to_text` stored; None for a column without a value."""
    return None if text is None else json.loads(text)


def name_of(value: str, what: str) -> str:
    """A name for people: one line, without blanks around it.

    Raises:
        InvalidInput: empty, too long, or with control characters.
    """
    if not value.strip() or value != value.strip() or len(value) > LONGEST_NAME or not value.isprintable():
        raise InvalidInput(
            f"{what}: needs 1 to {LONGEST_NAME} printable characters without blanks around them"
        )
    return value


def short_text(value: str, limit: int, what: str) -> str:
    """A text of at most `limit` characters; raises InvalidInput otherwise."""
    if len(value) > limit:
        raise InvalidInput(f"{what}: {len(value)} characters; at most {limit} are stored")
    return value


def not_negative(value: float, what: str) -> float:
    """A finite number of at least 0; raises InvalidInput otherwise."""
    if not math.isfinite(value) or value < 0:
        raise InvalidInput(f"{what}: {value} is not a number of at least 0")
    return value
