"""Lists as replies, serialised once: the framework would check and convert every entry a second time."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any, TypeVar

from fastapi import Response
from pydantic import BaseModel, TypeAdapter

Entry = TypeVar("Entry", bound=BaseModel)


def listed(kind: type[Entry], entries: Sequence[Entry]) -> Response:
    """A JSON array of entries of one kind."""
    return Response(_adapter(kind).dump_json(list(entries)), media_type="application/json")


def shown(entry: BaseModel) -> Response:
    """One entry."""
    return Response(entry.model_dump_json(), media_type="application/json")


@cache
def _adapter(kind: type[BaseModel]) -> TypeAdapter[Any]:
    return TypeAdapter(list[kind])  # type: ignore[valid-type]
