"""The pool stage: from every image's candidates to one proposal."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping, Sequence
from itertools import cycle

from nnactive_server.core.errors import QueryError
from nnactive_server.query.candidates import Candidate, CaseCandidates
from nnactive_server.query.values import Proposal, Query, Shortage

Entry = tuple[str, Candidate]


def common_groups(cases: Sequence[CaseCandidates]) -> tuple[str, ...]:
    """The groups all cases share.

    Raises:
        QueryError: no cases, or cases with different groups.
    """
    if not cases:
        raise QueryError("the pool is empty; give the candidates of at least one case")
    groups = cases[0].groups
    for other in cases:
        if other.groups != groups:
            raise QueryError(
                f"case {other.case} has groups {list(other.groups)}, case {cases[0].case} has "
                f"{list(groups)}; predict all cases with the same classes"
            )
    return groups


def take_best(
    cases: Sequence[CaseCandidates], quotas: Mapping[str, int], query_size: int, per_image: int
) -> Proposal:
    """Each group's best up to its quota, at most `per_image` of an image; then the rest, dealt out.

    What a group cannot fill goes to the others one patch each in turn, in the order of `quotas`,
    first from what they had left, then from the images' spare candidates. Candidates of one image
    never overlap, so any choice of them is free of overlap.

    Args:
        cases: one entry per case; their order does not matter.
        quotas: patches by group, together `query_size`.
        query_size: patches of the whole query.
        per_image: most patches of one image.
    """
    pool = _Pool(cases, quotas, per_image)
    for group, quota in quotas.items():
        pool.take(group, quota)
    short = [
        Shortage(group, quota, len(pool.taken[group]))
        for group, quota in quotas.items()
        if len(pool.taken[group]) < quota
    ]
    pool.deal_out(query_size)
    return Proposal(_ranked(pool.taken), query_size, short)


class _Pool:
    """Sorted queues of candidates, by group."""

    def __init__(self, cases: Sequence[CaseCandidates], groups: Mapping[str, int], per_image: int) -> None:
        entries = sorted(((c.case, e) for c in cases for e in c.candidates), key=best_first)
        self.taken: dict[str, list[Entry]] = {group: [] for group in groups}
        self._queues: dict[str, deque[Entry]] = {group: deque() for group in groups}
        self._spares: list[Entry] = [entry for entry in entries if entry[1].spare]
        self._used: Counter[str] = Counter()
        self._per_image = per_image
        for case, candidate in entries:
            if candidate.group not in groups:
                raise QueryError(
                    f"case {case}: no group is called {candidate.group!r}; make its candidates again"
                )
            if not candidate.spare:
                self._queues[candidate.group].append((case, candidate))

    def take(self, group: str, count: int) -> int:
        """Move up to `count` of the best; returns how many there were."""
        queue, before = self._queues[group], len(self.taken[group])
        while queue and len(self.taken[group]) < before + count:
            case, candidate = queue.popleft()
            if self._used[case] < self._per_image:
                self._used[case] += 1
                self.taken[group].append((case, candidate))
        return len(self.taken[group]) - before

    def deal_out(self, query_size: int) -> None:
        """Let every group in turn take one more until the query is full or nothing is left."""
        for entry in self._spares:
            self._queues[entry[1].group].append(entry)
        missing = query_size - sum(map(len, self.taken.values()))
        turns = cycle(self.taken)
        while missing and any(self._queues.values()):
            missing -= self.take(next(turns), 1)


def best_first(entry: Entry) -> tuple[float, str, tuple[int, int, int]]:
    """Sort key: higher score, then case id, then smallest start corner."""
    case, candidate = entry
    return -candidate.score, case, candidate.patch.start


def _ranked(taken: Mapping[str, Sequence[Entry]]) -> list[Query]:
    """All groups in one order, in which every beginning holds the groups in about their shares.

    Scores of different groups do not compare; a reader who stops early should still have seen each.
    """
    placed = sorted(
        ((i + 0.5) / len(entries), order, entry)
        for order, entries in enumerate(taken.values())
        for i, entry in enumerate(entries)
    )
    return [as_query(case, candidate, rank) for rank, (_, _, (case, candidate)) in enumerate(placed, 1)]


def as_query(case: str, candidate: Candidate, rank: int) -> Query:
    """A chosen candidate as the pool's answer."""
    return Query(case, candidate.patch, candidate.score, candidate.group, rank, candidate.why)
