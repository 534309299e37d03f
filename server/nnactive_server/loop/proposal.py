"""The proposal of a cycle as files."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from nnactive_server.core.errors import LoopError
from nnactive_server.core.files import read_json, write_json
from nnactive_server.core.geometry import Geometry
from nnactive_server.core.patch import Patch
from nnactive_server.loop.folder import CycleFolder
from nnactive_server.query import Explanation, Proposal, Query, Shortage


def write_proposal(folder: CycleFolder, proposal: Proposal, geometry: Callable[[str], Geometry]) -> None:
    """Write `shortages.json` and then `queries.json`, which says that the proposal is complete.

    Args:
        folder: of the cycle.
        proposal: queries by rank.
        geometry: the grid of a case, for the world position of the first voxel (mm, LPS).
    """
    write_json(folder.shortages, shortage_entries(proposal))
    write_json(folder.queries, [query_entry(query, geometry(query.case)) for query in proposal])


def shortage_entries(proposal: Proposal) -> dict[str, Any]:
    """How many patches were asked for and are missing, and which groups fell short: as plain values."""
    return {
        "query_size": proposal.query_size,
        "missing": proposal.missing,
        "shortages": [asdict(shortage) for shortage in proposal.shortages],
    }


def read_proposal(folder: CycleFolder) -> Proposal:
    """Read what `write_proposal` wrote.

    Raises:
        LoopError: missing or malformed.
    """
    queries: Sequence[dict[str, Any]] = read_json(folder.queries, LoopError)
    short: dict[str, Any] = read_json(folder.shortages, LoopError)
    try:
        return Proposal(
            [read_query(entry) for entry in queries],
            int(short["query_size"]),
            [Shortage(**entry) for entry in short["shortages"]],
        )
    except (KeyError, TypeError, ValueError, AttributeError) as problem:
        raise LoopError(
            f"{folder.queries}: not a valid proposal ({problem}); remove it to query again"
        ) from problem


def write_besides(folder: CycleFolder, boxes: Mapping[str, Sequence[Patch]]) -> None:
    """Write down which boxes, by case, a query kept free besides those of the loop files."""
    if boxes or folder.besides.exists():
        plain = {case: [[patch.start, patch.size] for patch in patches] for case, patches in boxes.items()}
        write_json(folder.besides, plain)


def read_besides(folder: CycleFolder) -> dict[str, list[Patch]]:
    """Read what `write_besides` wrote; nothing when there is no file.

    Raises:
        LoopError: malformed.
    """
    if not folder.besides.exists():
        return {}
    document = read_json(folder.besides, LoopError)
    try:
        return {case: [Patch(*box) for box in boxes] for case, boxes in document.items()}
    except (TypeError, ValueError, AttributeError) as problem:
        raise LoopError(f"{folder.besides}: no valid boxes ({problem})") from problem


def query_entry(query: Query, geometry: Geometry) -> dict[str, Any]:
    """A query as in `queries.json`: plain values, with the world position of its first voxel (mm, LPS)."""
    return {
        "rank": query.rank,
        "case": query.case,
        "start": list(query.start),
        "size": list(query.size),
        "score": query.score,
        "group": query.group,
        "why": query.why.to_json(),
        "world_corner": list(geometry.index_to_world(query.start)),
    }


def read_query(entry: Mapping[str, Any]) -> Query:
    """Read what `query_entry` made; raises KeyError, TypeError or ValueError when it is something else."""
    return Query(
        str(entry["case"]),
        Patch(entry["start"], entry["size"]),
        float(entry["score"]),
        str(entry["group"]),
        int(entry["rank"]),
        _explanation(entry["why"]),
    )


def _explanation(why: Mapping[str, Any]) -> Explanation:
    if "measures" in why:
        return Explanation.from_json(why)
    # Earlier versions wrote all means side by side.
    means = {str(name): float(value) for name, value in why.items()}
    return Explanation(means.pop("mean", None), means)
