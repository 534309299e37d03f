"""Plain JSON into typed values: unknown keys are ignored, missing or wrong ones are named."""

from __future__ import annotations

import dataclasses
import functools
import types
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

from NNActiveLogic.client.errors import ProtocolError

T = TypeVar("T")
_ADVICE = "Update the extension and the server to versions that fit."


def parse(kind: type[T], data: object, where: str) -> T:
    """A value of a dataclass from a JSON object.

    A field with a default may be missing in the object; every other one must be there. Keys that the
    dataclass does not know are ignored, so that a newer server of the same protocol can say more.

    Args:
        kind: a dataclass whose fields are plain JSON types, `Any`, `X | None`, tuples, mappings with text
            keys, or such dataclasses.
        data: what `json.loads` made.
        where: what the object is, for messages.

    Raises:
        ProtocolError: names the key.
    """
    return typing.cast("T", _value(kind, data, where))


def parse_list(kind: type[T], data: object, where: str) -> tuple[T, ...]:
    """The same for a JSON array of such objects; raises ProtocolError."""
    return typing.cast("tuple[T, ...]", _value(types.GenericAlias(tuple, (kind, ...)), data, where))


def _value(kind: Any, data: Any, where: str) -> Any:
    if kind is Any:
        return data
    if dataclasses.is_dataclass(kind):
        return _object(kind, data, where)
    origin = typing.get_origin(kind)
    if origin in (typing.Union, types.UnionType):
        return None if data is None else _value(_without_none(kind), data, where)
    if origin is tuple:
        return _tuple(typing.get_args(kind), data, where)
    if origin is Mapping:
        return _mapping(typing.get_args(kind)[1], data, where)
    return _plain(kind, data, where)


def _object(kind: Any, data: Any, where: str) -> Any:
    data = _need(data, dict, "an object", where)
    found = {}
    for field, wanted in _fields(kind):
        if field.name in data:
            found[field.name] = _value(wanted, data[field.name], f"{where}: {field.name}")
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise ProtocolError(f"The server's answer lacks '{field.name}' ({where}).", _ADVICE)
    return kind(**found)


@functools.cache
def _fields(kind: Any) -> tuple[tuple[dataclasses.Field[Any], Any], ...]:
    hints = typing.get_type_hints(kind)
    return tuple((field, hints[field.name]) for field in dataclasses.fields(kind))


def _without_none(kind: Any) -> Any:
    (only,) = (member for member in typing.get_args(kind) if member is not type(None))
    return only


def _tuple(kinds: tuple[Any, ...], data: Any, where: str) -> tuple[Any, ...]:
    data = _need(data, list, "a list", where)
    if kinds[-1] is Ellipsis:
        return tuple(_value(kinds[0], entry, f"{where}[{i}]") for i, entry in enumerate(data))
    if len(data) != len(kinds):
        raise _wrong(f"a list of {len(kinds)}", where)
    return tuple(
        _value(k, entry, f"{where}[{i}]") for i, (k, entry) in enumerate(zip(kinds, data, strict=True))
    )


def _mapping(kind: Any, data: Any, where: str) -> Mapping[str, Any]:
    data = _need(data, dict, "an object", where)
    return {key: _value(kind, entry, f"{where}: {key}") for key, entry in data.items()}


_NAMES: Mapping[Any, str] = {str: "text", bool: "true or false", int: "a whole number", float: "a number"}


def _plain(kind: Any, data: Any, where: str) -> Any:
    accepted: Any = (int, float) if kind is float else kind
    # JSON's true is an int for Python; it is not a number for anybody else.
    if not isinstance(data, accepted) or (isinstance(data, bool) and kind is not bool):
        raise _wrong(_NAMES[kind], where)
    return float(data) if kind is float else data


def _need(data: Any, kind: type, name: str, where: str) -> Any:
    if not isinstance(data, kind):
        raise _wrong(name, where)
    return data


def _wrong(wanted: str, where: str) -> ProtocolError:
    return ProtocolError(f"The server's answer is not understood: {where} should be {wanted}.", _ADVICE)
