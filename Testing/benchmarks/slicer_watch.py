"""Who holds the thread of the windows, and for how long: each call of our code by Qt, VTK or the timer.

Calls within calls count for the outermost one; what was done in a turn of the timer is named beside it.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from harness import qt_signals, slicer_app_host
from NNActiveLogic.presenter.lanes import Lanes
from NNActiveLogic.scene import nodes, segments, volumes

_OURS = ("NNActiveSlicer", "NNActiveLogic")


@dataclass
class Held:
    """One call.

    Attributes:
        name: of what Qt or VTK called.
        seconds: until it returned.
        busy: of these, seconds in which the thread had a processor.
        parts: names and seconds of what it did.
        image: an image was brought into the scene or taken out of it, with its memory.
    """

    name: str
    seconds: float = 0.0
    busy: float = 0.0
    parts: list[tuple[str, float]] = field(default_factory=list)
    image: bool = False

    def __str__(self) -> str:
        longest = max(self.parts, key=lambda part: part[1], default=("", 0.0))
        inner = f", of it {longest[0]} {1000 * longest[1]:.0f} ms" if longest[1] > self.seconds / 2 else ""
        return f"{self.name}{inner}"


class Watch:
    """Begins to listen when it is made; before the module is loaded."""

    def __init__(self) -> None:
        self.calls: list[Held] = []
        self._now: Held | None = None
        self._replace(qt_signals, "cut", self._cut)
        self._replace(segments.EditCounter, "_changed", self._timed)
        self._replace(volumes, "_made", self._with_image)
        self._replace(nodes, "remove_node", self._letting_go)
        self._replace(Lanes, "submit", self._naming)
        self._replace(Lanes, "every", self._naming)
        self._replace(slicer_app_host, "_import", self._importing)

    @contextmanager
    def call(self, name: str) -> Iterator[None]:
        """Something the application calls, or a part of it."""
        begun, busy, outer = time.perf_counter(), time.thread_time(), self._now
        if outer is None:
            self._now = Held(name)
        try:
            yield
        finally:
            seconds = time.perf_counter() - begun
            if outer is not None:
                outer.parts.append((name, seconds))
            elif self._now is not None:
                self._now.seconds, self._now.busy = seconds, time.thread_time() - busy
                self.calls.append(self._now)
                self._now = None

    def taken(self) -> list[Held]:
        """The calls since this was last asked."""
        calls, self.calls = self.calls, []
        return calls

    def _replace(self, owner: Any, name: str, wrap: Callable[[Any], Any]) -> None:
        setattr(owner, name, wrap(getattr(owner, name)))

    def _timed(self, method: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(method)
        def run(*arguments: Any, **named: Any) -> Any:
            with self.call(_name(method)):
                return method(*arguments, **named)

        return run

    def _cut(self, original: Callable[..., Any]) -> Callable[..., Any]:
        """Slots: only ours, as the harness's own stand for what the application has in C++."""

        def cut(callback: Callable[..., Any], count: int) -> Callable[..., Any]:
            made = original(callback, count)
            inner = getattr(callback, "func", callback)
            if not getattr(inner, "__module__", "").startswith(_OURS):
                return made

            def run(*arguments: Any) -> Any:
                with self.call(_name(inner)):
                    return made(*arguments)

            return run

        return cut

    def _naming(self, submit: Callable[..., Any]) -> Callable[..., Any]:
        """Results that arrive in a turn of the timer."""

        @functools.wraps(submit)
        def run(*arguments: Any, **named: Any) -> Any:
            for which in ("done", "failed", "progress"):
                if named.get(which) is not None:
                    named[which] = self._timed(named[which])
            return submit(*arguments, **named)

        return run

    def _importing(self, original: Callable[..., Any]) -> Callable[..., Any]:
        """What the application and the scene call by themselves."""

        @functools.wraps(original)
        def run(name: str, path: Any) -> Any:
            module = original(name, path)
            for method in ("enter", "exit", "onSceneStartClose", "onSceneChanged"):
                self._replace(getattr(module, f"{name}Widget"), method, self._timed)
            return module

        return run

    def _with_image(self, made: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(made)
        def run(*arguments: Any, **named: Any) -> Any:
            if self._now is not None:
                self._now.image = True
            return made(*arguments, **named)

        return run

    def _letting_go(self, remove: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(remove)
        def run(node: Any) -> None:
            role = node.GetAttribute(nodes.ROLE) if node is not None else None
            if self._now is not None and role in (nodes.Role.IMAGE, nodes.Role.SHOWN):
                self._now.image = True
            remove(node)

        return run


def _name(method: Callable[..., Any]) -> str:
    found = getattr(method, "__qualname__", None) or type(method).__qualname__
    return found.replace(".<locals>", "").replace("<lambda>", "lambda")
