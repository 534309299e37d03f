"""A YAML file whose values know their line, so that an error says where to look."""

from __future__ import annotations

from collections.abc import Collection
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import yaml

from nnactive_server.core.errors import LoopError


class Entry:
    """A value of a YAML file.

    Args:
        node: as PyYAML composed it.
        file: it stands in.
        name: keys on the way to it, joined by dots.
    """

    def __init__(self, node: yaml.Node, file: Path, name: str = "") -> None:
        self._node, self._file, self.name = node, file, name

    def error(self, problem: str) -> LoopError:
        """An error at the line of this value."""
        where = f"{self._file}:{self._node.start_mark.line + 1}"
        return LoopError(f"{where}: {self.name}: {problem}" if self.name else f"{where}: {problem}")

    def mapping(self, known: Collection[str] = (), required: Collection[str] = ()) -> dict[str, Entry]:
        """The values by key.

        Args:
            known: all keys there may be; any when empty.
            required: of them, those that must be there.

        Raises:
            LoopError: no mapping, a key twice, one that is not known, or one that is missing.
        """
        if not isinstance(self._node, yaml.MappingNode):
            raise self.error("must hold keys and values, one 'key: value' a line")
        found: dict[str, Entry] = {}
        for key_node, value in self._node.value:
            key = Entry(key_node, self._file, self.name)
            name = str(key_node.value)
            if not isinstance(key_node, yaml.ScalarNode):
                raise key.error("a key must be one word")
            if name in found:
                raise key.error(f"'{name}' is there twice; remove one")
            if known and name not in known:
                raise key.error(f"'{name}' is not known{_meant(name, known)}; there are {', '.join(known)}")
            found[name] = Entry(value, self._file, f"{self.name}.{name}" if self.name else name)
        missing = [name for name in required if name not in found]
        if missing:
            raise self.error(f"'{missing[0]}' is missing; add it")
        return found

    def entries(self) -> list[Entry]:
        """The values of a list that is not empty.

        Raises:
            LoopError: no list, or an empty one.
        """
        if not isinstance(self._node, yaml.SequenceNode) or not self._node.value:
            raise self.error("must be a list with at least one entry, such as [a, b]")
        return [Entry(node, self._file, f"{self.name}[{i}]") for i, node in enumerate(self._node.value)]

    @property
    def is_mapping(self) -> bool:
        """Whether it holds keys and values."""
        return isinstance(self._node, yaml.MappingNode)

    @property
    def is_list(self) -> bool:
        """Whether it is a list."""
        return isinstance(self._node, yaml.SequenceNode)

    def plain(self) -> Any:
        """As Python's own values.

        Raises:
            LoopError: it cannot be read so.
        """
        constructor = yaml.constructor.SafeConstructor()
        try:
            return constructor.construct_object(self._node, deep=True)
        except (yaml.YAMLError, ValueError) as problem:
            raise self.error(f"cannot be read ({' '.join(str(problem).split())})") from problem

    def integer(self, lowest: int) -> int:
        """A whole number of at least `lowest`.

        Raises:
            LoopError: anything else.
        """
        value = self.plain()
        if not isinstance(value, int) or isinstance(value, bool) or value < lowest:
            raise self.error(f"{value!r} must be a whole number of at least {lowest}")
        return value

    def share(self) -> float:
        """A number from 0 to below 1.

        Raises:
            LoopError: anything else.
        """
        value = self.plain()
        if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value < 1:
            raise self.error(f"{value!r} must be a number from 0 to below 1")
        return float(value)

    def boolean(self) -> bool:
        """True or false.

        Raises:
            LoopError: anything else.
        """
        value = self.plain()
        if not isinstance(value, bool):
            raise self.error(f"{value!r} must be true or false")
        return value

    def word(self, among: Collection[str] = ()) -> str:
        """A text; one of `among` when there are any.

        Raises:
            LoopError: anything else.
        """
        value = self.plain()
        if not isinstance(value, str) or not value:
            raise self.error(f"{value!r} must be a text")
        if among and value not in among:
            raise self.error(f"'{value}' is not known{_meant(value, among)}; there are {', '.join(among)}")
        return value


def read_yaml(file: Path) -> Entry:
    """The content of a YAML file.

    Raises:
        LoopError: missing, empty or no YAML, with the line.
    """
    try:
        node = yaml.compose(file.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
    except OSError as problem:
        raise LoopError(f"{file}: cannot be read ({problem.strerror}); give a YAML file") from problem
    except UnicodeDecodeError as problem:
        raise LoopError(f"{file}: is no text in UTF-8; save it so") from problem
    except yaml.MarkedYAMLError as problem:
        mark = problem.problem_mark or problem.context_mark
        line = f":{mark.line + 1}" if mark else ""
        raise LoopError(f"{file}{line}: no valid YAML: {problem.problem}") from problem
    except yaml.YAMLError as problem:
        raise LoopError(f"{file}: no valid YAML: {' '.join(str(problem).split())}") from problem
    if node is None:
        raise LoopError(f"{file}: is empty; see study/plan.py for what a plan says")
    return Entry(node, file)


def _meant(name: str, known: Collection[str]) -> str:
    close = get_close_matches(name, known, n=1)
    return f" (did you mean '{close[0]}'?)" if close else ""
