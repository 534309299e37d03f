"""The one door to this room: prepare cases, train members, predict cases of one project."""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterator, Sequence
from functools import cached_property
from importlib import import_module
from pathlib import Path

import numpy as np

from nnactive_server.core.errors import SegmentationError
from nnactive_server.core.features import Embedding, FeatureGrid
from nnactive_server.core.monitor import Monitor
from nnactive_server.core.patch import Index3
from nnactive_server.core.slabs import Slab
from nnactive_server.dataset import RawDataset
from nnactive_server.segmentation.hardware import Hardware, detect, torch_threads
from nnactive_server.segmentation.intake import Intake
from nnactive_server.segmentation.plan import Plan
from nnactive_server.segmentation.prediction.embedding import Embedder
from nnactive_server.segmentation.prediction.inference import handed_out
from nnactive_server.segmentation.prediction.predictor import Asked, Predictor
from nnactive_server.segmentation.prediction.slabs import Grids, needs_slabs, predict_slabs
from nnactive_server.segmentation.prediction.tiles import tile_threads
from nnactive_server.segmentation.preprocessing import CaseStore
from nnactive_server.segmentation.profiles import Profile
from nnactive_server.segmentation.training.ensemble import EnsembleTraining, TrainingReport
from nnactive_server.segmentation.training.members import read_training
from nnactive_server.segmentation.training.task import TrainingTask

RECIPE = "nnactive_server.segmentation.training.recipe"
"""Imported late: it brings in nnU-Net's trainer, which takes seconds."""


class Engine:
    """nnU-Net for one project.

    Args:
        dataset: images and partial labels (the label set holds the ignore id).
        workdir: folder for the frozen plan and preprocessed cases; made when absent.
        profile: how much work training and prediction are.
        monitor: progress and cancel.
        hardware: by default the best this machine offers.
    """

    def __init__(
        self,
        dataset: RawDataset,
        workdir: Path,
        profile: Profile,
        monitor: Monitor | None = None,
        hardware: Hardware | None = None,
    ) -> None:
        if not dataset.labels.partial:
            raise SegmentationError(
                f"{dataset.root}: labels have no ignore id; training needs a project with partial labels"
            )
        self._dataset = dataset
        self._workdir = workdir
        self._profile = profile
        self._monitor = monitor or Monitor()
        self._hardware = hardware or detect()

    @property
    def hardware(self) -> Hardware:
        """Device and number format in use."""
        return self._hardware

    @cached_property
    def plan(self) -> Plan:
        """The project's frozen plan.

        Raises:
            SegmentationError: `prepare` was never called.
        """
        return Plan.load(self._workdir)

    def prepare(self, cases: Sequence[str]) -> None:
        """Freeze the plan, if there is none yet, and preprocess the images that are not stored.

        The plan is made from all `cases` and what is annotated in them at that moment; later calls leave it
        as it is. Reports the stages "plan" and "preprocess".
        """
        # Reading images leaves the interpreter idle enough to load the trainer in the meantime.
        threading.Thread(target=import_module, args=(RECIPE,), daemon=True).start()
        intake = Intake(self._dataset, self._profile, self._monitor)
        if not (self._workdir / "plans.json").exists():
            intake.plan(cases).save(self._workdir)
        missing = [case for case in cases if not self._store.has_image(case)]
        for done, (case, image) in enumerate(intake.each(missing), start=1):
            self._monitor.check()
            self._store.store_image(case, image)
            self._monitor.report("preprocess", done, len(missing), case)

    def update_labels(self, cases: Sequence[str]) -> None:
        """Read the label files of these cases again; images are not touched. Stage "labels"."""
        for done, case in enumerate(cases, start=1):
            self._monitor.check()
            self._store.store_label(case, self._dataset.read_label(case).array)
            self._monitor.report("labels", done, len(cases), case)

    def train(
        self, out: Path, *, cases: Sequence[str], seed: int, cycle: int, warm_start: Path | None = None
    ) -> TrainingReport:
        """Train the profile's members on the annotated `cases` into the folder `out`. Stage "train".

        Goes on where a killed call left off. `warm_start` is the `out` of the cycle before.

        Raises:
            SegmentationError: nothing annotated, or `out` holds another training.
            Cancelled: asked to stop; a checkpoint is in `out`.
        """
        with torch_threads(self._hardware.threads):
            return self._training(out, cases, seed, cycle, warm_start).finish()

    def begin(
        self,
        out: Path,
        early: Path,
        *,
        cases: Sequence[str],
        seed: int,
        cycle: int,
        warm_start: Path | None = None,
    ) -> None:
        """Do the first part of `train` and leave the members as they are then in the folder `early`.

        `train` goes on from there and ends with the same weights as without. What `early` holds can be
        predicted with as `out` can later, though it may be fewer members; see `EnsembleTraining.begin`.

        Raises:
            SegmentationError, Cancelled: see `train`.
        """
        with torch_threads(self._hardware.threads):
            self._training(out, cases, seed, cycle, warm_start).begin(early)

    def expect(
        self, members: Path, cases: Sequence[str], *, test: bool = False, member: int | None = None
    ) -> None:
        """Take note of which cases `slabs` will be asked for, in order: some may be computed together.

        That changes their values by rounding, and is done only where it is faster, on a GPU.

        Args:
            members, test, member: as `slabs` will be given them.
            cases: prepared ones.
        """
        self._predictor.expect(Asked(members, test, member), cases)

    def predict(self, members: Path, case: str, *, test: bool = False) -> Iterator[np.ndarray]:
        """Softmax (C, z, y, x) float32 of each member on the case's own grid, one after the other.

        Memory is that of one member, however many there are; see `slabs` for less.

        Args:
            members: folder that `train` filled.
            case: a prepared case.
            test: use the ensemble and the profile's settings for evaluation. Otherwise those for the pool,
                whose members may also be flips or dropout passes of one network (`Profile.pool_members`).

        Raises:
            SegmentationError: a member or the case is missing, or dropout asked of a network without.
        """
        return (softmax.cpu().numpy() for softmax in self._predictor.softmax(Asked(members, test), case))

    def slabs(
        self,
        members: Path,
        case: str,
        *,
        test: bool = False,
        member: int | None = None,
        sparing: bool = False,
    ) -> Generator[Slab, None, None]:
        """What `predict` gives, in slabs of the case's own grid that are as large as memory allows.

        Members are tensors on the device where there is one, otherwise arrays.
        A case whose arrays fit into `Hardware.prediction_bytes` comes as one slab with the arrays of
        `predict`. The values of any other differ from those by rounding, below 0.001; its logits lie in
        temporary files in the work folder until the generator ends.

        Args:
            members: folder that `train` filled.
            case: a prepared case.
            test: as for `predict`.
            member: only this one, as `predict_member` gives it.
            sparing: with less memory and more time.

        Raises:
            SegmentationError: a member or the case is missing, or dropout asked of a network without.
            NoSpace: not enough disk for the temporary files; says how much they need.
            Cancelled: asked to stop.
        """
        if sparing:
            self._predictor.forget()
            yield from self._sparing.slabs(members, case, test=test, member=member)
            return
        asked, grids = Asked(members, test, member), Grids.of(self._store.properties(case), self.plan)
        if needs_slabs(grids, self.plan, self._hardware):
            passes = self._predictor.passes(asked, case)
            yield from predict_slabs(passes, grids, self._workdir, self._hardware, self._monitor)
        else:
            shape, axis = grids.case_shape, grids.cut_axis
            whole = handed_out(self._predictor.softmax(asked, case), self._hardware)
            yield Slab(shape, axis, 0, shape[axis], whole)

    def predict_member(self, members: Path, case: str, member: int) -> np.ndarray:
        """Softmax (C, z, y, x) float32 of one trained member on the case's own grid.

        It is what `predict` with `test` gives for this member, whatever the members of the pool are.

        Args:
            members: folder that `train` filled.
            case: a prepared case.
            member: its number, from 0.

        Raises:
            SegmentationError: no such member, or one of them or the case is missing.
        """
        found: np.ndarray = next(self._predictor.softmax(Asked(members, True, member), case)).cpu().numpy()
        return found

    def held_out(self, members: Path) -> tuple[tuple[str, ...], ...]:
        """For each member the annotated cases it was not trained on; see `member_splits`.

        Args:
            members: folder that `train` filled.

        Raises:
            SegmentationError: the training's file is missing or damaged.
        """
        return read_training(members).held_out

    def independent(self, members: Path) -> bool:
        """Whether each member began from random weights.

        Otherwise its weights come from a member that was trained on cases this one holds out, so what it
        reaches on them is optimistic.

        Args:
            members: folder that `train` filled.

        Raises:
            SegmentationError: the training's file is missing or damaged.
        """
        return read_training(members).independent

    def embed(
        self, members: Path, case: str, kind: Embedding, cell: Index3, *, sparing: bool = False
    ) -> FeatureGrid:
        """Features of all trained members, stacked along the first axis, in cells of the case's own grid.

        Args:
            members: folder that `train` filled.
            case: a prepared case.
            kind: what a feature is.
            cell: voxels of a cell (z, y, x).
            sparing: with less memory and more time.

        Raises:
            SegmentationError: a member or the case is missing.
            QueryError: not a cell size, or features that are not finite.
        """
        if sparing:
            self._predictor.forget()
            return self._sparing.embed(members, case, kind, cell)
        with tile_threads(self._hardware):
            properties = self._store.properties(case)
            networks, image = self._predictor.networks(members), self._store.image(case)
            return self._embedder.embed(networks, image, properties, kind, cell)

    def _training(
        self, out: Path, cases: Sequence[str], seed: int, cycle: int, warm_start: Path | None
    ) -> EnsembleTraining:
        task = TrainingTask(self._workdir, self._profile, out, tuple(cases), seed, cycle, warm_start)
        return EnsembleTraining(task, self._hardware, self._monitor)

    @cached_property
    def _sparing(self) -> Engine:
        """This engine with as little memory as it can do with."""
        return Engine(self._dataset, self._workdir, self._profile, self._monitor, self._hardware.sparing())

    @cached_property
    def _store(self) -> CaseStore:
        return CaseStore(self._workdir / "cases", self.plan)

    @cached_property
    def _predictor(self) -> Predictor:
        return Predictor(self.plan, self._store, self._profile, self._hardware)

    @cached_property
    def _embedder(self) -> Embedder:
        return Embedder(self.plan, self._hardware, self._profile.query_step)
