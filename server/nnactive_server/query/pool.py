"""The pool stage: from every image's candidates to one proposal."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import cycle

import numpy as np

from nnactive_server.core.errors import QueryError
from nnactive_server.query.candidates import Candidate, CaseCandidates
from nnactive_server.query.spread import Spread, percentile
from nnactive_server.query.values import Proposal, Query, Shortage

Entry = tuple[str, Candidate]


@dataclass(frozen=True)
class Plan:
    """How many patches each group may place.

    Attributes:
        quotas: in the whole query, by group; together the query size.
        caps: in one image, by group.
        per_image: in one image, all groups together.
    """

    quotas: Mapping[str, int]
    caps: Mapping[str, int]
    per_image: int


def take_best(
    cases: Iterable[CaseCandidates], plan_of: Callable[[Sequence[str]], Plan], query_size: int
) -> Proposal:
    """Each group's best up to its quota, at most `per_image` of an image; then the rest, dealt out.

    What a group cannot fill goes to the others one patch each in turn, in the order of the quotas,
    first from what they had left, then from the images' spare candidates. Candidates of one image
    never overlap too much, so any choice of them is fine.

    Args:
        cases: one entry per case, read once; their order does not matter.
        plan_of: the shares of the groups that all cases have.
        query_size: patches of the whole query.

    Raises:
        QueryError: cases of different groups, or a candidate of none of them.
    """
    pool: _Pool | None = None
    first = ""
    for entry in cases:
        if pool is None:
            pool, first = _Pool(entry.groups, plan_of(entry.groups), query_size), entry.case
        elif entry.groups != pool.groups:
            raise QueryError(
                f"case {entry.case} has groups {list(entry.groups)}, case {first} has "
                f"{list(pool.groups)}; predict all cases with the same classes"
            )
        pool.add(entry)
    return pool.proposal() if pool else Proposal([], query_size)


class _Queue:
    """A group's candidates, of which only those are kept that can still be chosen.

    A candidate is passed over only when its image is full. At most `query_size // per_image` images are
    full, so no more than that many images' candidates and `query_size` chosen ones can stand before
    one that is taken.
    """

    def __init__(self, query_size: int, per_image: int) -> None:
        self.entries: list[Entry] = []
        self._query_size, self._full_images = query_size, query_size // per_image
        self._largest = 0

    def add(self, entries: Sequence[Entry]) -> None:
        """The candidates of one image."""
        self.entries.extend(entries)
        self._largest = max(self._largest, len(entries))
        keep = self._query_size + self._full_images * self._largest
        if len(self.entries) > 2 * keep:
            self.entries.sort(key=best_first)
            del self.entries[keep:]

    def sorted(self) -> deque[Entry]:
        """All that is left, best first."""
        return deque(sorted(self.entries, key=best_first))


class _Pool:
    """Queues of candidates, by group."""

    def __init__(self, groups: tuple[str, ...], plan: Plan, query_size: int) -> None:
        self.groups = groups
        self._plan, self._query_size = plan, query_size
        self._regular = {group: _Queue(query_size, plan.per_image) for group in plan.quotas}
        self._spare = {group: _Queue(query_size, plan.per_image) for group in plan.quotas}
        self._spreads: dict[str, list[Spread]] = {group: [] for group in plan.quotas}
        self._queues: dict[str, deque[Entry]] = {}
        self._taken: dict[str, list[Entry]] = {group: [] for group in plan.quotas}
        self._used: Counter[str] = Counter()

    def add(self, offer: CaseCandidates) -> None:
        """Take in what one image offers."""
        for candidate in offer.candidates:
            if candidate.group not in self._regular:
                raise QueryError(
                    f"case {offer.case}: no group is called {candidate.group!r}; make its candidates again"
                )
        for group in self._regular:
            mine = [(offer.case, c) for c in offer.candidates if c.group == group]
            self._regular[group].add([entry for entry in mine if not entry[1].spare])
            self._spare[group].add([entry for entry in mine if entry[1].spare])
            if group in offer.spreads:
                self._spreads[group].append(offer.spreads[group].packed())

    def proposal(self) -> Proposal:
        """Choose; ends the pool, because the queues are used up."""
        self._queues = {group: queue.sorted() for group, queue in self._regular.items()}
        quotas = self._plan.quotas
        for group, quota in quotas.items():
            self._take(group, quota)
        short = [
            Shortage(group, quota, len(self._taken[group]))
            for group, quota in quotas.items()
            if len(self._taken[group]) < quota
        ]
        self._deal_out()
        return Proposal(self._ranked(), self._query_size, short)

    def _take(self, group: str, count: int) -> int:
        """Move up to `count` of the best; returns how many there were."""
        queue, before = self._queues[group], len(self._taken[group])
        while queue and len(self._taken[group]) < before + count:
            case, candidate = queue.popleft()
            if self._used[case] < self._plan.per_image:
                self._used[case] += 1
                self._taken[group].append((case, candidate))
        return len(self._taken[group]) - before

    def _deal_out(self) -> None:
        """Let every group in turn take one more until the query is full or nothing is left."""
        for group, queue in self._queues.items():
            queue.extend(self._spare[group].sorted())
        missing = self._query_size - sum(map(len, self._taken.values()))
        turns = cycle(self._taken)
        while missing and any(self._queues.values()):
            missing -= self._take(next(turns), 1)

    def _ranked(self) -> list[Query]:
        """All groups in one order, in which every beginning holds the groups in about their shares.

        Scores of different groups do not compare; a reader who stops early should still have seen each.
        """
        explained = {
            group: with_percentiles(taken, self._spreads[group]) for group, taken in self._taken.items()
        }
        placed = sorted(
            ((i + 0.5) / len(entries), order, entry)
            for order, entries in enumerate(explained.values())
            for i, entry in enumerate(entries)
        )
        return [as_query(case, candidate, rank) for rank, (_, _, (case, candidate)) in enumerate(placed, 1)]


def with_percentiles(taken: list[Entry], spreads: Sequence[Spread]) -> list[Entry]:
    """The same candidates, told where their means stand in the pool, if these and the spreads are known."""
    means = np.array([candidate.why.mean for _, candidate in taken], dtype=float)
    if not spreads or np.isnan(means).any():
        return taken
    return [
        (case, replace(candidate, why=replace(candidate.why, percentile=rank)))
        for (case, candidate), rank in zip(taken, percentile(spreads, means).tolist(), strict=True)
    ]


def best_first(entry: Entry) -> tuple[float, str, tuple[int, int, int]]:
    """Sort key: higher score, then case id, then smallest start corner."""
    case, candidate = entry
    return -candidate.score, case, candidate.patch.start


def as_query(case: str, candidate: Candidate, rank: int) -> Query:
    """A chosen candidate as the pool's answer."""
    return Query(case, candidate.patch, candidate.score, candidate.group, rank, candidate.why)
