"""A store in a temporary folder, a clock that stands still until it is moved, and a project with patches."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from nnactive_server.core.geometry import Geometry
from nnactive_server.core.patch import Patch
from nnactive_server.store import Answer, Case, Kind, NewPatch, PatchRecord, Project, Store

GRID = Geometry((64, 64, 64), (2.5, 0.75, 0.75), (-31.5, 12.25, 104.0), (1.0, 0, 0, 0, 1, 0, 0, 0, 1))


class Clock:
    """Seconds that pass only when told."""

    def __init__(self) -> None:
        self.seconds = 1_700_000_000.0

    def __call__(self) -> float:
        return self.seconds

    def move(self, seconds: float) -> None:
        self.seconds += seconds


@dataclass(frozen=True)
class World:
    """A project with one case and a first batch."""

    project: Project
    case: Case
    patches: tuple[PatchRecord, ...]


def build_world(store: Store, patches: int = 4, name: str = "Liver") -> World:
    project = store.projects.create(name, {"patch": [8, 8, 8]})
    case = store.cases.add(project.id, "case_1", GRID, [store.blobs.put(b"voxels")])
    boxes = [Patch((i % 8 * 8, i // 8 % 8 * 8, i // 64 * 8), (8, 8, 8)) for i in range(patches)]
    batch = [NewPatch(case.id, box, score=float(-i), group="liver") for i, box in enumerate(boxes)]
    return World(project, case, store.patches.propose(project.id, 1, batch))


@pytest.fixture(scope="session")
def make_world() -> Callable[..., World]:
    return build_world


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def make_clock() -> type[Clock]:
    return Clock


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest.fixture
def store(root: Path, clock: Clock) -> Iterator[Store]:
    with Store(root, clock=clock) as opened:
        yield opened


@pytest.fixture
def world(store: Store) -> World:
    return build_world(store)


@pytest.fixture
def grid() -> Geometry:
    return GRID


@pytest.fixture
def labelled(store: Store) -> Callable[..., Answer]:
    """Make an answer whose label crop is stored."""

    def make(annotator: str, content: bytes = b"labels", **more: object) -> Answer:
        return Answer(Kind.LABELLED, annotator, labels=store.blobs.put(content), **more)

    return make
