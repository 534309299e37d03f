"""The strategies by name: a new one is one line here."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

from nnactive_server.core.errors import QueryError
from nnactive_server.query.strategies.badge import Badge
from nnactive_server.query.strategies.base import Strategy
from nnactive_server.query.strategies.coreset import CoreSet
from nnactive_server.query.strategies.embedded import EmbeddedStrategy
from nnactive_server.query.strategies.kmeans_bald import KMeansBald
from nnactive_server.query.strategies.random import RandomStrategy
from nnactive_server.query.strategies.ranked import RankedStrategy
from nnactive_server.query.strategies.softrank import SoftrankStrategy

_KNOWN: dict[str, RankedStrategy | RandomStrategy | EmbeddedStrategy] = {
    strategy.name: strategy
    for strategy in (
        RankedStrategy("clasp-pe", alpha=0.66, schedule="paper"),
        RankedStrategy("clap-pe", alpha=0.66, schedule="constant"),
        RankedStrategy("cla-pe", alpha=0.66),
        RankedStrategy("predictive-entropy"),
        RankedStrategy("bald", "mutual_information"),
        RankedStrategy("expected-entropy", "expected_entropy"),
        RankedStrategy("power-pe", schedule="constant"),
        RankedStrategy("power-bald", "mutual_information", schedule="constant"),
        SoftrankStrategy("softrank-bald", "mutual_information"),
        CoreSet(),
        KMeansBald(),
        Badge(),
        RandomStrategy("random"),
        RandomStrategy("random-fg-33", 0.33),
        RandomStrategy("random-fg-66", 0.66),
    )
}


def strategy_names() -> tuple[str, ...]:
    """Names `get_strategy` knows, the default first."""
    return tuple(_KNOWN)


def get_strategy(name: str, /, **params: Any) -> Strategy:
    """A strategy by name, with some of its parameters changed.

    Raises:
        QueryError: unknown name or parameter (the message lists those there are), or a value out of range.
    """
    if name not in _KNOWN:
        raise QueryError(f"strategy {name!r} is unknown; choose among {list(_KNOWN)}")
    known = [f.name for f in fields(_KNOWN[name]) if f.init and f.name != "name"]
    unknown = sorted(set(params) - set(known))
    if unknown:
        raise QueryError(f"{name} has no parameters {unknown}; it has {known}")
    for parameter, value in params.items():
        _check_type(name, parameter, value, type(getattr(_KNOWN[name], parameter)))
    return replace(_KNOWN[name], **params)


def _check_type(name: str, parameter: str, value: Any, wanted: type) -> None:
    """Parameters may come from a command line or a file, so any type can arrive."""
    accepted = (int, float) if wanted is float else (wanted,)
    if not isinstance(value, accepted) or isinstance(value, bool):
        kind = {float: "a number", int: "a whole number", str: "a word"}[wanted]
        raise QueryError(f"{name}: {parameter} {value!r} needs {kind}")
