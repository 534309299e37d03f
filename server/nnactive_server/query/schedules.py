"""How strongly noise mixes the ranking: the inverse temperature beta of each query step."""

from __future__ import annotations

from nnactive_server.core.errors import QueryError

SCHEDULES = ("none", "constant", "paper", "reference")


def inverse_temperature(
    schedule: str, step: int, total_steps: int, first: float = 1.0, last: float = 100.0
) -> float | None:
    """Beta of a query step; the Gumbel noise on log scores has scale 1 / beta.

    * `none`: None, no noise at all.
    * `constant`: `first`.
    * `paper`: geometric, reaching `last` at the last planned query step (1, 4.64, 21.5, 100 for four).
    * `reference`: geometric over the trainings, of which there is one more than query steps, as the
      published numbers were made (1, 3.16, 10, 31.6 for four).

    Past the plan both geometric schedules stay at `last`.

    Args:
        schedule: one of `SCHEDULES`.
        step: index of the query step, from 0.
        total_steps: number of planned query steps, one less than trainings.
        first: beta of step 0.
        last: highest beta.

    Raises:
        QueryError: unknown schedule.
    """
    if schedule not in SCHEDULES:
        raise QueryError(f"schedule {schedule!r} is unknown; choose among {list(SCHEDULES)}")
    if schedule == "none":
        return None
    if schedule == "constant" or step == 0:
        return first
    whole = total_steps if schedule == "reference" else total_steps - 1
    share = min(1.0, step / whole) if whole else 1.0
    return float(first * (last / first) ** share)
