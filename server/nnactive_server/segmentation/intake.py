"""Images on their way in: looked at for the plan, and handed on to be preprocessed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import zip_longest

import numpy as np

from nnactive_server.core.errors import SegmentationError
from nnactive_server.core.monitor import Monitor
from nnactive_server.dataset import RawDataset, Volume
from nnactive_server.segmentation.content import content, values_in
from nnactive_server.segmentation.plan import SAMPLES_PER_CASE, Plan, fingerprint_case, make_plan
from nnactive_server.segmentation.profiles import Profile

KEPT_BYTES = 512 * 2**20
"""Images read for the plan are kept up to this size, to be preprocessed without reading them again."""


class Intake:
    """Reads the images of a project.

    Args:
        dataset: images and partial labels.
        profile: shapes the plan.
        monitor: progress (stage "plan") and cancel.
    """

    def __init__(self, dataset: RawDataset, profile: Profile, monitor: Monitor) -> None:
        self._dataset, self._profile, self._monitor = dataset, profile, monitor
        self._kept: dict[str, Volume] = {}

    def plan(self, cases: Sequence[str]) -> Plan:
        """The plan for these cases and what is annotated in them now.

        Raises:
            SegmentationError: see `take`.
        """
        labels = self._dataset.labels
        fingerprints = {}
        for done, case in enumerate(sorted(cases), start=1):
            self._monitor.check()
            label = self._dataset.read_label(case).array if self._dataset.has_label(case) else None
            image = self._image(case)
            fingerprints[case] = fingerprint_case(case, image, label, labels)
            if sum(kept.array.nbytes for kept in self._kept.values()) + image.array.nbytes <= KEPT_BYTES:
                self._kept[case] = image
            self._monitor.report("plan", done, len(cases), case)
        dataset_json = {
            "channel_names": {str(i): name for i, name in enumerate(self._dataset.channels)},
            "labels": labels.to_json(),
            "file_ending": self._dataset.file_ending,
            "numTraining": len(cases),
        }
        return make_plan(
            fingerprints, dataset_json, self._profile, self._dataset.name, lambda: self._voxels(cases)
        )

    def each(self, cases: Sequence[str]) -> Iterator[tuple[str, Volume]]:
        """The images of cases, in order; while one is worked on, a thread reads the next.

        Raises:
            SegmentationError: see `take`.
        """
        with ThreadPoolExecutor(1, "intake") as reader:
            coming = [reader.submit(self.take, case) for case in cases[:1]]
            for case, following in zip_longest(cases, cases[1:]):
                image = coming.pop().result()
                if following is not None:
                    coming.append(reader.submit(self.take, following))
                yield case, image

    def take(self, case: str) -> Volume:
        """The image of a case; one that was kept is given away.

        Raises:
            SegmentationError: every voxel is zero.
        """
        return self._kept.pop(case) if case in self._kept else self._image(case)

    def _image(self, case: str) -> Volume:
        """Kept or read; nnU-Net crops to what is not zero, so something must be."""
        if case in self._kept:
            return self._kept[case]
        image = self._dataset.read_image(case)
        if not image.array.any():
            raise SegmentationError(
                f"{self._dataset.image_paths(case)[0]}: every voxel is zero; remove or replace this case"
            )
        return image

    def _voxels(self, cases: Sequence[str]) -> np.ndarray:
        """Intensities (channels, n) of everything not zero in a few cases: before anything is annotated."""
        samples = []
        for case in sorted(cases)[:10]:
            array = self._image(case).array
            inside = values_in(array, content(array)[0])
            samples.append(inside[:, :: max(1, inside.shape[1] // SAMPLES_PER_CASE)])
        return np.concatenate(samples, axis=1)
