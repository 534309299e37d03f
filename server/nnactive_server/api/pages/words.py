"""Numbers, times and states in plain words."""

from __future__ import annotations

from datetime import datetime

_STAGES = {
    "answers": "gathering the answers",
    "plan": "planning",
    "preprocess": "preparing the images",
    "labels": "preparing the labels",
    "train": "training",
    "evaluate": "checking the model on cases it was not trained on",
    "predict": "predicting the images",
    "query": "choosing the next patches",
    "import": "adding images",
}
_UNITS = ((86400, "day"), (3600, "hour"), (60, "minute"), (1, "second"))
_SIZES = ("bytes", "kB", "MB", "GB", "TB", "PB")


def stage(name: str) -> str:
    """What a job does; a name nobody foresaw as it is."""
    return _STAGES.get(name, name)


def many(count: float, noun: str) -> str:
    """1 patch, 2 patches, 1,234 voxels."""
    ending = "" if count == 1 else "es" if noun.endswith(("ch", "s")) else "s"
    return f"{number(count)} {noun}{ending}"


def number(value: float) -> str:
    """A whole number with commas between thousands."""
    return f"{value:,.0f}"


def duration(seconds: float) -> str:
    """5 seconds, 12 minutes, 1 hour 20 minutes, 3 days 4 hours."""
    whole = max(round(seconds), 0)
    if whole >= 60:  # seconds say nothing then
        whole = round(whole / 60) * 60
    place = next((i for i, (size, _) in enumerate(_UNITS) if whole >= size), len(_UNITS) - 1)
    size, unit = _UNITS[place]
    words = many(whole // size, unit)
    if size <= 60:
        return words
    smaller, below = _UNITS[place + 1]
    rest = whole % size // smaller
    return f"{words} {many(rest, below)}" if rest else words


def left(seconds: float | None) -> str:
    """About 12 minutes left; nothing when nobody knows."""
    if seconds is None:
        return ""
    return "less than a minute left" if seconds < 60 else f"about {duration(seconds)} left"


def size(count: float) -> str:
    """999 bytes, 12.3 GB."""
    unit = 0
    while count >= 999.5 and unit < len(_SIZES) - 1:
        count /= 1000
        unit += 1
    return f"{count:.0f} {_SIZES[unit]}" if unit == 0 or count >= 100 else f"{count:.1f} {_SIZES[unit]}"


def when(seconds: float | None) -> str:
    """A time of this machine's clock; nothing for none."""
    return "" if seconds is None else f"{datetime.fromtimestamp(seconds):%Y-%m-%d %H:%M}"
