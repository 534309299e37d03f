"""What simulations say that a strategy saves: the `saving.json` of `nnactive study analyze`, read at start.

The file is described where it is written, in `study/analysis/savings.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from nnactive_server.core.economy import NOTHING, Estimate
from nnactive_server.core.errors import ServerError

PLACES = ("saving.json", "analysis/saving.json")
"""Where the file lies in the folder of an analysis, and of a study."""
_ADVICE = "write it anew with `nnactive study analyze`"

Name = Annotated[str, Field(min_length=1, max_length=200)]


class _Closed(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class Share(_Closed):
    """Share of the baseline's annotation saved; no ends with fewer than two seeds, no mean with none."""

    mean: Annotated[float, Field(lt=1)] | None
    low: float | None
    high: float | None
    seeds: Annotated[int, Field(ge=0)]

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        told = (self.mean is not None, self.low is not None, self.high is not None)
        if told != (self.seeds > 0, self.seeds > 1, self.seeds > 1):
            raise ValueError("needs a mean with one seed or more, and both ends with two or more, else null")
        if None not in (self.low, self.high) and not self.low <= self.mean <= self.high:  # type: ignore[operator]
            raise ValueError("needs low <= mean <= high")
        return self

    @property
    def estimate(self) -> Estimate:
        """As a value to calculate with."""
        nan = NOTHING.mean
        low, mean, high = (nan if value is None else value for value in (self.low, self.mean, self.high))
        return Estimate(mean, low, high, self.seeds)


class Simulation(_Closed):
    """What a strategy saved in one setting of a study."""

    dataset: Name
    regime: str
    profile: Name
    strategy: Name
    name: Name
    parameters: dict[str, Any]
    patches: Share
    foreground: Share


class Simulations(_Closed):
    """A study's savings."""

    format: Literal["nnactive-saving"]
    version: Literal[1]
    study: Name
    baseline: Name
    savings: list[Simulation]

    def of(self, strategy: str, parameters: Mapping[str, Any], profile: str) -> tuple[Simulation, ...]:
        """Those of a strategy; only those of the profile where there are any."""
        found = [one for one in self.savings if (one.name, one.parameters) == (strategy, dict(parameters))]
        return tuple([one for one in found if one.profile == profile] or found)


def read_simulations(place: Path) -> Simulations:
    """Read a study's savings.

    Args:
        place: `saving.json`, or the folder of the study or of its analysis.

    Raises:
        ServerError: missing or not valid; names the file and the field.
    """
    file = _file(place)
    try:
        return Simulations.model_validate_json(file.read_bytes())
    except ValidationError as problem:
        first = problem.errors()[0]
        field = ".".join(str(part) for part in first["loc"]) or "the whole"
        raise ServerError(f"{file}: {field}: {first['msg']}; {_ADVICE}") from problem
    except OSError as problem:
        raise ServerError(f"{file}: cannot be read ({problem.strerror})") from problem


def _file(place: Path) -> Path:
    if place.is_file():
        return place
    for name in PLACES:
        if (place / name).is_file():
            return place / name
    raise ServerError(
        f"--study {place}: holds no {PLACES[0]}; give the folder of a study on which "
        "`nnactive study analyze` was run, or the file itself"
    )
