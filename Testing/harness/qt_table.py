"""What the real ctk, qMRML and qSlicer classes offer to Python, read from api_table.json.

Qt's own classes are not in the table; they answer for themselves through their metaobjects.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any


class RefusedError(AttributeError):
    """The module uses something that the real class does not have, or that Python cannot reach there."""


@dataclass(frozen=True, slots=True)
class Signature:
    """`name(type,type=):returned`; the arguments after the first `required` have defaults."""

    name: str
    types: tuple[str, ...]
    required: int
    returns: bool = False

    @classmethod
    @cache
    def parse(cls, text: str) -> Signature:
        """From the table's notation."""
        name, _, rest = text.partition("(")
        inner, _, returned = rest.rpartition(")")
        arguments = _split(inner)
        types = tuple(argument.removesuffix("=") for argument in arguments)
        required = sum(not argument.endswith("=") for argument in arguments)
        return cls(name, types, required, bool(returned))

    def matches(self, types: tuple[str, ...]) -> bool:
        """Whether a connect string with these types names this signal."""
        return self.required <= len(types) <= len(self.types) and types == self.types[: len(types)]

    def __str__(self) -> str:
        return f"{self.name}({', '.join(self.types)})"


def _split(text: str) -> list[str]:
    """Commas inside <> and [] do not separate arguments."""
    parts, depth = [""], 0
    for letter in text:
        depth += (letter in "<[") - (letter in ">]")
        if letter == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += letter
    return [part for part in parts if part]


@dataclass(frozen=True, slots=True)
class Api:
    """One class of the table; `chain` starts with itself and goes on with its bases in the table."""

    name: str
    entry: dict[str, Any]

    @property
    def bases(self) -> list[str]:
        return list(self.entry["bases"])

    @property
    def constructible(self) -> bool:
        return bool(self.entry.get("constructible"))

    @property
    def chain(self) -> list[Api]:
        found = [self]
        for base in self.bases:
            if base in _classes():
                found += api(base).chain
        return found

    @property
    def properties(self) -> dict[str, str]:
        """Name -> 'type r' or 'type rw', of this class alone."""
        return dict(self.entry.get("properties", {}))

    @property
    def signals(self) -> list[Signature]:
        return [Signature.parse(text) for text in self.entry.get("signals", ())]

    @property
    def methods(self) -> list[Signature]:
        """What Python can call: slots, invokables and what PythonQt decorators add."""
        return [Signature.parse(text) for text in self.entry.get("methods", ())]

    @property
    def enums(self) -> dict[str, list[str]]:
        return dict(self.entry.get("enums", {}))

    def all_properties(self) -> dict[str, str]:
        return {name: kind for one in reversed(self.chain) for name, kind in one.properties.items()}

    def overloads(self, name: str) -> list[Signature]:
        return [method for one in self.chain for method in one.methods if method.name == name]

    def all_signals(self, name: str) -> list[Signature]:
        return [signal for one in self.chain for signal in one.signals if signal.name == name]

    def qt_base(self) -> str:
        """The Qt class at the end of the first chain."""
        first = self.bases[0] if self.bases else "QObject"
        return api(first).qt_base() if first in _classes() else first

    def why_missing(self, name: str) -> str:
        """A sentence for a name that this class does not offer."""
        for one in self.chain:
            if name in one.entry.get("plain", ()):
                hint = _property_of(self, name)
                return f"{self.name}.{name} is a plain C++ method of {one.name}: Python cannot call it{hint}"
        return f"{self.name} has no attribute '{name}'"


def _property_of(found: Api, setter: str) -> str:
    name = setter[3:4].lower() + setter[4:] if setter.startswith("set") else setter
    return f"; use the property '{name}'" if name in found.all_properties() else ""


@cache
def _classes() -> dict[str, Any]:
    return json.loads(Path(__file__).with_name("api_table.json").read_text("utf-8"))["classes"]


def known(name: str) -> bool:
    """Whether the table has this class."""
    return name in _classes()


@cache
def api(name: str) -> Api:
    """The class of that name; RefusedError when the table lacks it."""
    if name not in _classes():
        raise RefusedError(
            f"no class '{name}' in the table; if Slicer has it, add it to CLASSES in qt_table_make.py"
        )
    return Api(name, _classes()[name])
