"""How much each annotator has done, counted in the database."""

from __future__ import annotations

from dataclasses import dataclass

from nnactive_server.store.database import Database

_QUERY = """
SELECT annotator, sum(reading = 1) AS patches, sum(reading > 1) AS second, sum(seconds) AS seconds,
    sum(edits) AS edits, max(at) AS last
FROM answers JOIN patches ON patches.id = answers.patch
WHERE patches.project = ? AND answers.kind != 'reopened' AND answers.revision = (
    SELECT max(revision) FROM answers AS newer
    WHERE newer.patch = answers.patch AND newer.reading = answers.reading
)
GROUP BY annotator ORDER BY annotator
"""


@dataclass(frozen=True, slots=True)
class Effort:
    """What an annotator did for a project; only answers that no newer one replaced.

    Attributes:
        annotator: name.
        patches: first readings, of any kind.
        second: further readings.
        seconds: active working time of both.
        edits: likewise.
        last: time of the newest answer, seconds since 1970.
    """

    annotator: str
    patches: int
    second: int
    seconds: float
    edits: int
    last: float


def efforts(database: Database, project: str) -> tuple[Effort, ...]:
    """Everybody who has answers in a project, by name."""
    with database.read() as connection:
        return tuple(Effort(**dict(row)) for row in connection.execute(_QUERY, (project,)))
