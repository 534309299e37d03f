"""What the members in a folder say of a project's cases."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from nnactive_server.core.errors import SegmentationError
from nnactive_server.segmentation.fast.faster import make_faster
from nnactive_server.segmentation.hardware import Hardware
from nnactive_server.segmentation.plan import Plan
from nnactive_server.segmentation.prediction.ahead import Ahead, Logits
from nnactive_server.segmentation.prediction.inference import Pass, SlidingWindow, to_case_grid
from nnactive_server.segmentation.prediction.passes import dropout_passes, ensemble_passes, flip_passes
from nnactive_server.segmentation.prediction.slabs import Grids, needs_slabs
from nnactive_server.segmentation.prediction.tiles import tile_threads
from nnactive_server.segmentation.preprocessing import CaseStore
from nnactive_server.segmentation.profiles import PoolMembers, Profile
from nnactive_server.segmentation.training.members import read_training
from nnactive_server.segmentation.training.weights import load_weights, member_path

if TYPE_CHECKING:
    from nnactive_server.segmentation.training.recipe import Recipe


@dataclass(frozen=True, slots=True)
class Asked:
    """Whose answers are wanted, and how.

    Attributes:
        members: folder that a training filled.
        test: with the ensemble and the profile's settings for evaluation, not those for the pool.
        member: only this trained one, from 0, with the settings for evaluation.
    """

    members: Path
    test: bool
    member: int | None = None


class Predictor:
    """Predicts stored cases with whatever members a folder holds.

    For the pool a member may also be a flip or a dropout pass of one network, see `Profile.pool_members`; for
    evaluation it is a trained network.

    Args:
        plan: network and tiles.
        store: preprocessed cases.
        profile: kind of the members and distance of tiles.
        hardware: where.
    """

    def __init__(self, plan: Plan, store: CaseStore, profile: Profile, hardware: Hardware) -> None:
        self._plan, self._store, self._profile, self._hardware = plan, store, profile, hardware
        self._loaded: tuple[Path, list[torch.nn.Module]] | None = None
        self._ahead: tuple[Asked, Ahead] | None = None

    def expect(self, asked: Asked, cases: Sequence[str]) -> None:
        """Take note of the cases whose softmax will be asked for, in this order.

        Small ones among them are predicted together where that is faster, on a GPU.
        """
        if self._hardware.resident:
            self._ahead = asked, Ahead(partial(self.passes, asked), self._bytes, cases)

    def softmax(self, asked: Asked, case: str) -> Iterator[torch.Tensor]:
        """For each pass of a case, softmax (C, z, y, x) on its own grid, on the device; see `passes`."""
        with tile_threads(self._hardware):
            properties = self._store.properties(case)
            for compute in self._logits(asked, case):
                yield to_case_grid(compute(), properties, self._plan)

    def passes(self, asked: Asked, case: str) -> list[Pass]:
        """What is predicted of a case, one pass for each softmax.

        Flips and dropout need one network. It is the one trained last: in a chain it has learned most, among
        folds it is as good as any other.

        Raises:
            SegmentationError: a member or the case is missing, or dropout asked of a network without.
        """
        networks, image, member = self.networks(asked.members), self._store.image(case), asked.member
        if member is not None and not 0 <= member < len(networks):
            raise SegmentationError(f"{asked.members}: no member {member}; {len(networks)} were trained")
        if asked.test or member is not None:
            chosen = networks if member is None else [networks[member]]
            return ensemble_passes(self._test_window, chosen, image)
        window, kind = self.query_window, self._profile.pool_members
        if kind is PoolMembers.FLIPS:
            return flip_passes(window, networks[-1], image)
        if kind is PoolMembers.DROPOUT:
            return dropout_passes(window, networks[-1], image, case, self._profile.dropout_passes)
        return ensemble_passes(window, networks, image)

    def networks(self, members: Path) -> list[torch.nn.Module]:
        """The networks of all members in a folder, ready to predict; kept until another folder is asked for.

        Raises:
            SegmentationError: one is missing.
        """
        if self._loaded is None or self._loaded[0] != members:
            self._loaded = None
            count = len(read_training(members).held_out)
            self._loaded = members, [self._network(member_path(members, m)) for m in range(count)]
        return self._loaded[1]

    def forget(self) -> None:
        """Free the memory of networks and of cases predicted ahead."""
        self._loaded = self._ahead = None

    @cached_property
    def recipe(self) -> Recipe:
        """nnU-Net's recipe for the plan."""
        # Brings in nnU-Net's trainer, which takes seconds.
        from nnactive_server.segmentation.training.recipe import Recipe

        return Recipe(self._plan, self._profile.augmentation)

    @cached_property
    def _untrained(self) -> torch.nn.Module:
        """A network with random weights, deep supervision off."""
        from nnactive_server.segmentation.training.recipe import deep_supervision

        network = self._hardware.place(self.recipe.network())
        deep_supervision(network, on=False)
        make_faster(network, self._hardware)
        return network.eval()

    def _network(self, weights: Path) -> torch.nn.Module:
        state = load_weights(weights, self._hardware.device)
        network = deepcopy(self._untrained)
        network.load_state_dict(state)
        return network

    @cached_property
    def query_window(self) -> SlidingWindow:
        """How tiles lie in cases of the pool."""
        return self._window(self._profile.query_step, self._profile.pool_members is PoolMembers.FLIPS)

    @cached_property
    def _test_window(self) -> SlidingWindow:
        return self._window(self._profile.test_step, self._profile.test_mirroring)

    def _window(self, step: float, mirroring: bool) -> SlidingWindow:
        axes = self.recipe.mirror_axes if mirroring else ()
        return SlidingWindow(self._plan, self._hardware, step, axes, self._profile.skip_flat)

    def _logits(self, asked: Asked, case: str) -> Sequence[Logits]:
        """The passes of a case; on a GPU together with those of the cases expected after it."""
        if self._ahead is None or self._ahead[0] != asked:
            return self.passes(asked, case)
        return self._ahead[1].of(case)

    def _bytes(self, case: str) -> int | None:
        """What one pass's logits of a case take on the device; None when they do not fit as a whole."""
        grids = Grids.of(self._store.properties(case), self._plan)
        return None if needs_slabs(grids, self._plan, self._hardware) else grids.logit_bytes
