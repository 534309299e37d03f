"""Profiles: how much work a training is, as small values that can be overridden field by field."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields, replace
from enum import StrEnum
from typing import Any

from nnactive_server.core.errors import SegmentationError


class Ensemble(StrEnum):
    """How the members of an ensemble come about.

    FOLDS: every member is trained by itself on its own fold (the papers' way).
    CHAIN: each member goes on from the one before it, on its own fold, along its own learning-rate
        cycle (snapshot ensemble): the members share most of the work, which is what two CPU cores
        can afford.
    """

    FOLDS = "folds"
    CHAIN = "chain"


class Optimiser(StrEnum):
    """How weights are updated.

    SGD: nnU-Net's, Nesterov momentum 0.99, polynomial decay of the learning rate (power 0.9).
    ADAMW: cosine decay; far ahead of SGD below 1000 iterations.
    """

    SGD = "sgd"
    ADAMW = "adamw"


class PoolMembers(StrEnum):
    """Whose disagreement a query measures when it asks for more annotation.

    ENSEMBLE: the trained networks (the papers' way).
    FLIPS: one network on every flip of the image that training used, 8 in 3D (test-time augmentation;
        Wang et al. 2019, Neurocomputing 338, "Aleatoric uncertainty estimation with test-time
        augmentation"). Tells where the answer depends on how the image is presented.
    DROPOUT: one network with random channels left out, again and again (Monte-Carlo dropout; Gal &
        Ghahramani 2016, ICML, "Dropout as a Bayesian approximation"). Needs `dropout` above 0.
    """

    ENSEMBLE = "ensemble"
    FLIPS = "flips"
    DROPOUT = "dropout"


@dataclass(frozen=True, slots=True)
class Profile:
    """Everything that decides how long a training takes and how it goes.

    None means: as nnU-Net plans it for the data set.

    Attributes:
        name: as on the command line.
        members: networks in the ensemble.
        iterations: training steps of one member.
        first_iterations: steps of the very first member of a chain that starts from random weights.
        ensemble: how members come about.
        warm_start: whether a cycle goes on from the weights of the cycle before. The papers found
            training from scratch better at their 200 epochs, so it is off unless time forbids.
        optimiser: see `Optimiser`.
        learning_rate: its peak.
        weight_decay: L2 (SGD) or decoupled (AdamW).
        warm_up: steps in which the learning rate rises linearly from 0.
        averaging: decay of the running mean of the weights that becomes the member; 0 for the last
            weights themselves.
        batch_size: training crops a step.
        crop_voxels: upper bound on the voxels of a training crop (nnU-Net's patch size).
        features: channels of the first stage; they double per stage.
        max_features: upper bound of the channels.
        encoder_convs, decoder_convs: convolutions per stage.
        foreground_share: share of the crops that are centred on a foreground voxel; the others hold
            a random annotated voxel anywhere.
        case_sampling: "annotated": cases are drawn in proportion to their annotated voxels, so that
            every annotated voxel counts the same; "uniform": every annotated case counts the same.
        augmentation: share of nnU-Net's augmentation: "full", or "light" without the
            resampling ones (rotation, scaling, blur, low resolution).
        dropout: probability with which training leaves out a channel after each convolution; 0 builds the
            network as nnU-Net does, without. Part of the plan: only counts until a project's plan is made.
        pool_members: see `PoolMembers`; evaluation always uses the ensemble. FLIPS and DROPOUT use the
            member trained last, whatever `members` is, so `members=1` is enough for them.
        dropout_passes: members of the pool under DROPOUT.
        query_step, test_step: distance of sliding-window tiles in tile sizes, for the pool and for
            evaluation.
        test_mirroring: average over all flips when evaluating.
        skip_flat: tiles in which the image varies by at most this share of its whole standard deviation, such
            as air, are background without a look; 0 predicts every tile, as the papers do. See `flat.py`.
        patience: early stopping: after so many steps without a lower loss the rest of the learning-rate curve
            is passed in as many; 0 never, as in the papers. Over 50 steps noise looks like the end, which
            cost half the Dice (measured); give hundreds or more. See `schedule.py`.
        checkpoint_seconds: a killed training loses at most this much.
    """

    name: str
    members: int = 5
    iterations: int = 200 * 250
    first_iterations: int | None = None
    ensemble: Ensemble = Ensemble.FOLDS
    warm_start: bool = False
    optimiser: Optimiser = Optimiser.SGD
    learning_rate: float = 1e-2
    weight_decay: float = 3e-5
    warm_up: int = 0
    averaging: float = 0.0
    batch_size: int | None = None
    crop_voxels: int | None = None
    features: int | None = None
    max_features: int | None = None
    encoder_convs: int = 2
    decoder_convs: int = 2
    foreground_share: float = 1 / 3
    case_sampling: str = "annotated"
    augmentation: str = "full"
    dropout: float = 0.0
    pool_members: PoolMembers = PoolMembers.ENSEMBLE
    dropout_passes: int = 5
    query_step: float = 0.75
    test_step: float = 0.5
    test_mirroring: bool = True
    skip_flat: float = 0.0
    patience: int = 0
    checkpoint_seconds: float = 60.0

    def __post_init__(self) -> None:
        try:
            object.__setattr__(self, "ensemble", Ensemble(self.ensemble))
            object.__setattr__(self, "optimiser", Optimiser(self.optimiser))
            object.__setattr__(self, "pool_members", PoolMembers(self.pool_members))
            wrong = [name for name, good in self._checks().items() if not good]
        except (TypeError, ValueError) as problem:
            raise SegmentationError(f"profile {self.name}: {problem}") from problem
        if wrong:
            values = ", ".join(f"{name} = {getattr(self, name)!r}" for name in wrong)
            raise SegmentationError(f"profile {self.name}: not a valid value: {values}")
        if self.pool_members is PoolMembers.DROPOUT and self.dropout == 0:
            raise SegmentationError(
                f"profile {self.name}: pool_members = 'dropout' needs a network with dropout; "
                "set dropout above 0, e.g. 0.1"
            )

    def _checks(self) -> dict[str, bool]:
        """Whether each field that has a range is inside it."""
        return {
            "members": self.members >= 1,
            "iterations": self.iterations >= 1,
            "learning_rate": self.learning_rate > 0,
            "averaging": 0 <= self.averaging < 1,
            "batch_size": self.batch_size is None or self.batch_size >= 1,
            "foreground_share": 0 <= self.foreground_share <= 1,
            "case_sampling": self.case_sampling in ("annotated", "uniform"),
            "augmentation": self.augmentation in ("full", "light"),
            "dropout": 0 <= self.dropout < 1,
            "dropout_passes": self.dropout_passes >= 1,
            "skip_flat": 0 <= self.skip_flat < 1,
            "patience": self.patience == 0 or self.patience >= 2,
            "query_step": 0 < self.query_step <= 1,
            "test_step": 0 < self.test_step <= 1,
        }

    def to_json(self) -> dict[str, Any]:
        """Plain values, as written into run files."""
        return asdict(self)


PROFILES: dict[str, Profile] = {
    profile.name: profile
    for profile in (
        Profile("paper"),
        Profile("deploy", iterations=1000 * 250),
        Profile(
            "fast-cpu",
            iterations=160,
            first_iterations=800,
            ensemble=Ensemble.CHAIN,
            warm_start=True,
            optimiser=Optimiser.ADAMW,
            learning_rate=2e-3,
            weight_decay=1e-2,
            warm_up=20,
            averaging=0.98,
            batch_size=2,
            crop_voxels=32**3,
            features=8,
            max_features=64,
            decoder_convs=1,
            augmentation="light",
            test_step=0.75,
            test_mirroring=False,
            checkpoint_seconds=15.0,
        ),
        Profile(
            "smoke",
            members=2,
            iterations=6,
            ensemble=Ensemble.CHAIN,
            warm_start=True,
            optimiser=Optimiser.ADAMW,
            learning_rate=2e-3,
            weight_decay=1e-2,
            averaging=0.5,
            batch_size=2,
            crop_voxels=16**3,
            features=4,
            max_features=8,
            encoder_convs=1,
            decoder_convs=1,
            augmentation="light",
            test_step=0.75,
            test_mirroring=False,
            checkpoint_seconds=0.0,
        ),
    )
}


def profile_names() -> tuple[str, ...]:
    """Names of the profiles, as on the command line."""
    return tuple(PROFILES)


def get_profile(name: str, **overrides: Any) -> Profile:
    """A profile by name, with single fields replaced.

    Raises:
        SegmentationError: unknown name or field, or a value out of range.
    """
    if name not in PROFILES:
        raise SegmentationError(f"unknown profile '{name}'; choose one of {', '.join(PROFILES)}")
    unknown = set(overrides) - {field.name for field in fields(Profile)}
    if unknown:
        raise SegmentationError(f"profile {name}: no such setting: {', '.join(sorted(unknown))}")
    return replace(PROFILES[name], **overrides)
