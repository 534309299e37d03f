"""A table once: full numbers for CSV, readable ones for the report."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nnactive_server.core.files import atomic_path
from nnactive_server.study import report_html as html

PLACE = ("data set", "regime", "profile")
PERCENT = " %"
LOW, HIGH = "low", "high"
"""Last words of the headings of an interval's ends."""
Show = Callable[[Any], str]


@dataclass(frozen=True, slots=True)
class Table:
    """Named columns of plain values.

    Attributes:
        name: of the CSV file.
        title: above the table in the report.
        columns: heading to how its values are shown.
        rows: values, None or NaN where there is none.
        note: what a reader has to know; empty when the headings say it all.
    """

    name: str
    title: str
    columns: tuple[tuple[str, Show], ...]
    rows: tuple[tuple[Any, ...], ...]
    note: str = ""

    def csv(self) -> str:
        """The table as CSV: a comma, a point, an empty cell where there is no value, "inf" for no limit."""
        stream = io.StringIO()
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow([heading for heading, _ in self.columns])
        writer.writerows([_cell(value) for value in row] for row in self.rows)
        return stream.getvalue()

    def html(self) -> str:
        """The table for the report.

        Columns of `PLACE` that say the same in every row are left out, and the two ends of an interval share
        one, so that wide tables fit a page.
        """
        kept = [i for i, (head, _) in enumerate(self.columns) if head not in PLACE or self._varies(i)]
        shown = [[self.columns[i][1](row[i]) for i in kept] for row in self.rows]
        heads, shown = _with_intervals([self.columns[i][0] for i in kept], shown)
        note = html.paragraph(self.note, "note") if self.note and shown else ""
        return html.table(heads, shown) + note

    def _varies(self, column: int) -> bool:
        return len({row[column] for row in self.rows}) > 1

    def documents(self) -> list[dict[str, Any]]:
        """The rows for JSON: None where there is no value or no limit."""
        return [{h: _plain(v) for (h, _), v in zip(self.columns, row, strict=True)} for row in self.rows]


def write_csv(folder: Path, tables: Sequence[Table]) -> list[Path]:
    """Write each table into the folder; tables without rows are left out."""
    paths = []
    for table in tables:
        if table.rows:
            paths.append(folder / f"{table.name}.csv")
            with atomic_path(paths[-1]) as temporary:
                temporary.write_text(table.csv(), encoding="utf-8")
    return paths


def _with_intervals(heads: list[str], rows: list[list[str]]) -> tuple[list[str], list[list[str]]]:
    """Columns "X low" and "X high" as one, "X interval"."""
    for i in reversed(range(len(heads) - 1)):
        if heads[i].endswith(LOW) and heads[i + 1] == heads[i].removesuffix(LOW) + HIGH:
            heads = [*heads[:i], heads[i].removesuffix(LOW) + "interval", *heads[i + 2 :]]
            rows = [[*row[:i], _interval(*row[i : i + 2]), *row[i + 2 :]] for row in rows]
    return heads, rows


def _interval(low: str, high: str) -> str:
    """Both ends, the unit once."""
    if low == high == text(None):
        return low
    return f"{low.removesuffix(PERCENT) if high.endswith(PERCENT) else low} to {high}"


def text(value: Any) -> str:
    """A name, or a dash."""
    return "–" if value is None or value == "" else str(value)


def fixed(digits: int) -> Show:
    """Numbers with this many digits; "no limit" for infinity."""

    def show(value: float | None) -> str:
        if value is None or math.isnan(value):
            return "–"
        return "no limit" if math.isinf(value) else f"{value:.{digits}f}"

    return show


def dice(value: float | None) -> str:
    """Dice and differences of Dice times 100, as the papers print them."""
    return fixed(2)(None if value is None else 100 * value)


def count(value: float | None) -> str:
    """Whole numbers; "not reached" for infinity."""
    if value is None or math.isnan(value):
        return "–"
    return "not reached" if math.isinf(value) else html.whole(value)


def share(value: float | None) -> str:
    """A share as percent, signed."""
    return "–" if value is None or not math.isfinite(value) else f"{100 * value:+.0f}{PERCENT}"


def probability(value: float | None) -> str:
    """A p-value."""
    if value is None or math.isnan(value):
        return "–"
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def _cell(value: Any) -> Any:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    return repr(float(value)) if isinstance(value, float) else value


def _plain(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
