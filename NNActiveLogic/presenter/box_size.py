"""The size of the boxes, for people."""

from __future__ import annotations

from collections.abc import Sequence

from NNActiveLogic.client.values import Case, Project, Suggestion
from NNActiveLogic.presenter import words


def present(project: Project, cases: Sequence[Case]) -> str:
    """How large the project's boxes are; in mm too when every image has the same spacing."""
    spacings = {case.spacing for case in cases}
    mm = ""
    if len(spacings) == 1:
        edges = [size * step for size, step in zip(project.patch_size, spacings.pop(), strict=True)]
        mm = words.say(words.BOX_MM, mm=_by(edges))
    return words.say(words.BOX_NOW, voxels=_by(project.patch_size), mm=mm, n=project.query_size)


def suggested(found: Suggestion) -> str:
    """A suggestion with its reasons and what is worth a decision, a line each."""
    first = words.say(
        words.BOX_SUGGESTED,
        voxels=_by(found.patch_size),
        mm=words.say(words.BOX_MM, mm=_by(found.patch_mm)),
        n=found.query_size,
        cycles=found.cycles,
    )
    reasons, warnings = found.reasons.values(), found.warnings
    return "\n".join([first, *(f"– {one}" for one in reasons), *(f"! {one}" for one in warnings)])


def _by(lengths: Sequence[float]) -> str:
    a, b, c = (f"{length:.0f}" for length in lengths)
    return words.say(words.BY, a=a, b=b, c=c)
