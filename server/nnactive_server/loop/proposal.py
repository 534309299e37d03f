"""The proposal of a cycle as files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

from nnactive_server.core.errors import LoopError
from nnactive_server.core.files import read_json, write_json
from nnactive_server.core.geometry import Geometry
from nnactive_server.core.patch import Patch
from nnactive_server.loop.folder import CycleFolder
from nnactive_server.query import Proposal, Query, Shortage


def write_proposal(folder: CycleFolder, proposal: Proposal, geometry: Callable[[str], Geometry]) -> None:
    """Write `shortages.json` and then `queries.json`, which says that the proposal is complete.

    Args:
        folder: of the cycle.
        proposal: queries by rank.
        geometry: the grid of a case, for the world position of the first voxel (mm, LPS).
    """
    write_json(
        folder.shortages,
        {
            "query_size": proposal.query_size,
            "missing": proposal.missing,
            "shortages": [asdict(shortage) for shortage in proposal.shortages],
        },
    )
    write_json(folder.queries, [_entry(query, geometry(query.case)) for query in proposal])


def read_proposal(folder: CycleFolder) -> Proposal:
    """Read what `write_proposal` wrote.

    Raises:
        LoopError: missing or malformed.
    """
    queries: Sequence[dict[str, Any]] = read_json(folder.queries, LoopError)
    short: dict[str, Any] = read_json(folder.shortages, LoopError)
    try:
        return Proposal(
            [_query(entry) for entry in queries],
            int(short["query_size"]),
            [Shortage(**entry) for entry in short["shortages"]],
        )
    except (KeyError, TypeError, ValueError, AttributeError) as problem:
        raise LoopError(
            f"{folder.queries}: not a valid proposal ({problem}); remove it to query again"
        ) from problem


def _entry(query: Query, geometry: Geometry) -> dict[str, Any]:
    return {
        "rank": query.rank,
        "case": query.case,
        "start": list(query.start),
        "size": list(query.size),
        "score": query.score,
        "group": query.group,
        "why": dict(query.why),
        "world_corner": list(geometry.index_to_world(query.start)),
    }


def _query(entry: dict[str, Any]) -> Query:
    return Query(
        str(entry["case"]),
        Patch(entry["start"], entry["size"]),
        float(entry["score"]),
        str(entry["group"]),
        int(entry["rank"]),
        {str(name): float(value) for name, value in entry["why"].items()},
    )
