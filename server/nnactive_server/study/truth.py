"""The simulated clinician: a dense data set whose labels are shown only inside proposed boxes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby

import numpy as np

from nnactive_server.core.errors import DatasetError
from nnactive_server.dataset import LoopPatch, RawDataset, annotated_mask, write_loop, write_patches


class Clinician:
    """Answers queries from the label maps of a dense data set.

    Args:
        source: every case has a complete label map.

    Raises:
        DatasetError: labels are partial, or a case has none.
    """

    def __init__(self, source: RawDataset) -> None:
        if source.labels.partial:
            raise DatasetError(
                f"{source.root}: its labels have 'ignore', so the truth is not known everywhere; "
                "simulate on a completely labelled data set"
            )
        missing = [case for case in source.cases if not source.has_label(case)]
        if missing:
            raise DatasetError(
                f"{source.root}: {len(missing)} cases have no label map, first {missing[0]}; "
                "a simulation needs the truth of every case"
            )
        self._source = source

    def label(self, case: str) -> np.ndarray:
        """The whole truth of a case (z, y, x): for judging, and for strategies defined on it."""
        return self._source.read_label(case).array

    def annotate(self, project: RawDataset, number: int, patches: Sequence[LoopPatch]) -> None:
        """Write the truth inside these boxes into the project's label maps, then the loop file.

        The loop file comes last and says that the step is complete; before, doing it again is harmless.
        """
        for case, group in groupby(sorted(patches, key=lambda p: p.case), key=lambda p: p.case):
            truth = self.label(case)
            write_patches(project, case, {p.patch: truth[p.patch.slices] for p in group})
        write_loop(project.root, number, patches, project.file_ending)

    def foreground_voxels(self, cases: Iterable[str]) -> int:
        """Voxels of any class in these cases."""
        return sum(int(np.count_nonzero(self.label(case))) for case in cases)


def annotated_voxels(project: RawDataset, cases: Iterable[str]) -> tuple[int, int]:
    """Annotated voxels, and those of them that belong to a class, in a project's label maps."""
    voxels = foreground = 0
    for case in cases:
        if project.has_label(case):
            label = project.read_label(case).array
            known = annotated_mask(label, project.labels)
            voxels += int(np.count_nonzero(known))
            foreground += int(np.count_nonzero(known & (label > 0)))
    return voxels, foreground
