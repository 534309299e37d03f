"""A real server with large images, a model's maps of them, and batches of patches."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import server_volumes as volumes

from nnactive_server.core.mapfiles import MAPS, QUERIES, cycle_path, map_folder, map_path, write_quality
from nnactive_server.core.patch import Patch
from nnactive_server.core.voxels import save_voxels
from nnactive_server.jobs.layout import project_root
from nnactive_server.store import Case, JobState, NewPatch, Progress, Store
from NNActiveLogic.client.api import Client
from NNActiveLogic.client.values import Label
from testkit import busy_clinic
from testkit.live_server import LiveServer

LABELS = ("organ", "lesion")
Shape = tuple[int, int, int]


class Clinic:
    """A server on loopback.

    Args:
        folder: an empty one.
        shape: of its images (z, y, x).
        images: how many there are; cases of several projects may share them.
    """

    def __init__(self, folder: Path, shape: Shape, images: int) -> None:
        self.folder, self.shape, self._count = folder, shape, images
        self.server = LiveServer(folder / "data")
        self._sources: list[Case] = []

    def __enter__(self) -> Clinic:
        self.server.start()
        client = self.client()
        first = client.create_project("images", [Label(name) for name in LABELS], ["CT"]).id
        file = self.folder / "image.nrrd"
        for seed in range(self._count):
            volumes.write_volume(file, self.shape, seed)
            made = client.add_case(first, [client.upload(file)])
            with self.store() as store:
                self._sources.append(store.cases.get(made.id))
        file.unlink()
        client.close()
        write_maps(self.folder / "maps", self.shape)
        return self

    def __exit__(self, *_: object) -> None:
        self.server.stop()

    @property
    def token(self) -> str:
        """Of an administrator."""
        return self.server.tokens["ann"]

    def client(self) -> Client:
        return Client(self.server.url, self.token)

    def store(self) -> Store:
        return Store(self.server.data)

    def project(self, name: str, cases: int) -> str:
        """A project whose cases show the images in turn, without any patch; its id."""
        settings = busy_clinic.settings([(label, None) for label in LABELS])
        with self.store() as store:
            made = store.projects.create(name, settings | {"planned_cycles": 20})
            for number in range(cases):
                source = self._sources[number % len(self._sources)]
                store.cases.add(
                    made.id, f"case-{number + 1:04d}", source.geometry, source.images, source.details
                )
        return made.id

    @contextmanager
    def training(self, project: str, boxes: Sequence[tuple[int, Patch]]) -> Iterator[Callable[[float], None]]:
        """A training that is only told of, and ends with the block: a model, its maps of every case, a batch.

        Args:
            project: of which.
            boxes: number of the case, and the box, in the order of their ranks.

        Yields:
            Tells how far it is, from 0 to 1.
        """
        with self.store() as store:
            cycle = len(store.jobs.list(project, [JobState.SUCCEEDED]))
            with store.database.write():
                job, attempt = busy_clinic.run_job(store, project, "cycle", {"cycle": cycle})
            yield lambda share: store.jobs.beat(
                job, attempt, Progress("train", int(100 * share), 100, "", 9.0)
            )
            root, cases = project_root(self.server.data, project), store.cases.list(project)
            for case in cases:
                link_maps(self.folder / "maps", map_folder(root, cycle, case.name))
            (cycle_path(root, cycle) / QUERIES).write_text("{}")
            about = busy_clinic.result(cycle, 20 * (cycle + 1), [0.8, 0.7], LABELS)
            batch = [NewPatch(cases[number].id, box, group="organ") for number, box in boxes]
            quality = {case.name: 0.9 for case in cases}
            with store.database.write():
                store.jobs.finish(job, attempt, JobState.SUCCEEDED, result=about | {"quality": quality})
                store.patches.propose(project, cycle + 1, batch)

    def trained(self, project: str, boxes: Sequence[tuple[int, Patch]]) -> None:
        """A training from its beginning to its end."""
        with self.training(project, boxes):
            pass

    def kinds(self, project: str) -> dict[str, str]:
        """Kind of the newest answer of each patch that has one."""
        with self.store() as store:
            answered = [one.id for one in store.patches.list(project) if one.revision]
            return {patch: store.answers.history(patch)[-1].answer.kind.value for patch in answered}

    def labels(self, patch: str, size: Shape) -> np.ndarray:
        """What the newest answer to a patch says, (z, y, x)."""
        client = self.client()
        found = client.answer(patch).labels(size)
        client.close()
        assert found is not None
        return found


def boxes_in(shape: Shape, size: Shape, count: int, seed: int = 0) -> list[Patch]:
    """Boxes at random places of an image."""
    places = np.random.default_rng(seed)
    starts = places.integers(0, np.subtract(shape, size) + 1, (count, 3))
    return [Patch(tuple(map(int, start)), size) for start in starts]


def write_maps(folder: Path, shape: Shape) -> None:
    """The maps of a case: a prediction of two classes in lumps, and entropy at their borders."""
    z, y, x = np.ogrid[tuple(slice(n) for n in shape)]
    waves = (np.sin(z / 5) + np.sin(y / 7) + np.sin(x / 9)).astype(np.float16)
    labels = (waves > 0.7).astype(np.uint8) + (waves > 1.5).astype(np.uint8)
    entropy = np.maximum(np.float16(0.9) - np.abs(waves - np.float16(0.7)), np.float16(0))
    folder.mkdir(parents=True)
    save_voxels(map_path(folder, "prediction"), labels)
    save_voxels(map_path(folder, "predictive_entropy"), entropy)
    for name in set(MAPS) - {"prediction", "predictive_entropy"}:  # only there, or another measure
        map_path(folder, name).hardlink_to(map_path(folder, "predictive_entropy"))
    write_quality(folder, 0.9)


def link_maps(source: Path, folder: Path) -> None:
    folder.mkdir(parents=True)
    for file in source.iterdir():
        (folder / file.name).hardlink_to(file)
