"""Small pieces of HTML: every text is escaped here and nowhere else.

A page needs no script, no font and no network: style and pictures are inside the file.
"""

from __future__ import annotations

import base64
import math
import re
from collections.abc import Sequence
from html import escape

_STYLE = """
:root { color-scheme: light dark; --text: #1c2430; --soft: #5b6675; --page: #ffffff; --line: #d8dee6;
  --head: #f2f5f8; --mark: #0b5a8f; }
@media screen and (prefers-color-scheme: dark) { :root { --text: #e6eaf0; --soft: #a3adba; --page: #14181e;
  --line: #343c47; --head: #1f262f; --mark: #7cc0ec; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--text);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
main { max-width: 62rem; margin: 0 auto; padding: 1.5rem 1rem 3rem; }
h1 { font-size: 1.6rem; line-height: 1.25; margin: 0 0 .5rem; overflow-wrap: anywhere; }
h2 { font-size: 1.2rem; margin: 2.2rem 0 .6rem; padding-top: .6rem; border-top: 1px solid var(--line); }
h3 { font-size: 1rem; margin: 1.4rem 0 .5rem; }
p { margin: .4rem 0; max-width: 46rem; }
.lead { font-size: 1.15rem; border-left: 4px solid var(--mark); padding-left: .9rem; }
.note { color: var(--soft); font-size: .92rem; }
.scroll { overflow-x: auto; margin: .8rem 0; }
table { border-collapse: collapse; font-size: .92rem; font-variant-numeric: tabular-nums; }
th, td { border-bottom: 1px solid var(--line); padding: .35rem .6rem; text-align: right;
  white-space: nowrap; }
th { background: var(--head); font-weight: 600; vertical-align: bottom; white-space: normal; }
th:first-child, td:first-child, .name { text-align: left; }
table.words th, table.words td { text-align: left; white-space: normal; overflow-wrap: anywhere; }
table.words td:first-child { white-space: nowrap; }
figure { margin: .8rem 0; }
figure img { display: block; width: 100%; height: auto; background: #fff; border: 1px solid var(--line);
  border-radius: 6px; }
figcaption { color: var(--soft); font-size: .9rem; margin-top: .3rem; overflow-wrap: anywhere; }
.chart { max-width: 52rem; }
.pair { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(26rem, 100%), 1fr));
  gap: 0 1.2rem; }
@media print { body { font-size: 11pt; } main { max-width: none; padding: 0; }
  figure, .scroll, h2, h3 { break-inside: avoid; } h2, h3 { break-after: avoid; }
  .scroll { overflow: visible; } .pair { grid-template-columns: 1fr 1fr; } }
"""


_NUMBER = re.compile(r"[<>±−-]?\s*\d")


def page(title: str, body: Sequence[str]) -> str:
    """A whole document around pieces of HTML."""
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n<main>\n"
        + "\n".join(piece for piece in body if piece)
        + "\n</main>\n</body>\n</html>\n"
    )


def heading(level: int, text: str) -> str:
    """A heading of level 1, 2 or 3."""
    return f"<h{level}>{escape(text)}</h{level}>"


def paragraph(text: str, kind: str = "") -> str:
    """A paragraph; `kind` is "lead", "note" or nothing."""
    return f'<p class="{escape(kind)}">{escape(text)}</p>' if kind else f"<p>{escape(text)}</p>"


def table(head: Sequence[str], rows: Sequence[Sequence[str]], kind: str = "") -> str:
    """A table that scrolls sideways on a narrow screen, numbers to the right; nothing when it has no rows."""
    if not rows:
        return ""
    marks = [' class="name"' if _holds_words([row[i] for row in rows]) else "" for i in range(len(head))]
    top = _cells("th", [f' scope="col"{mark}' for mark in marks], head)
    lines = "\n".join(f"<tr>{_cells('td', marks, row)}</tr>" for row in rows)
    start = f'<table class="{escape(kind)}">' if kind else "<table>"
    return f'<div class="scroll">{start}<thead><tr>{top}</tr></thead>\n<tbody>{lines}</tbody></table></div>'


def _cells(tag: str, marks: Sequence[str], texts: Sequence[str]) -> str:
    return "".join(f"<{tag}{mark}>{escape(text)}</{tag}>" for mark, text in zip(marks, texts, strict=True))


def _holds_words(cells: Sequence[str]) -> bool:
    """Whether no cell of a column begins like a number, and one has letters."""
    return not any(_NUMBER.match(cell) for cell in cells) and any(map(str.isalpha, "".join(cells)))


def picture(png: bytes, caption: str, kind: str = "", detail: str = "") -> str:
    """A PNG inside the page; the caption also serves those who cannot see it, `detail` is small print."""
    data = base64.b64encode(png).decode("ascii")
    small = f"<br><small>{escape(detail)}</small>" if detail else ""
    return (
        f'<figure class="{escape(kind)}"><img alt="{escape(caption)}" src="data:image/png;base64,{data}">'
        f"<figcaption>{escape(caption)}{small}</figcaption></figure>"
    )


def grid(pieces: Sequence[str]) -> str:
    """Pictures side by side where the screen is wide enough."""
    return f'<div class="pair">{"".join(pieces)}</div>' if pieces else ""


def decimal(value: float, digits: int = 2) -> str:
    """A number with fixed digits, a dash where there is none."""
    return f"{value:.{digits}f}" if math.isfinite(value) else "–"


def counted(number: int, one: str, many: str = "") -> str:
    """A number of things, such as "1 scan" or "2 scans"."""
    return f"{number} {one if number == 1 else many or one + 's'}"


def whole(value: float) -> str:
    """A whole number with thin spaces between thousands, a dash where there is none."""
    return f"{value:,.0f}".replace(",", "\u202f") if math.isfinite(value) else "–"


def percent(share: float) -> str:
    """A share as percent with two telling digits: 0.32 %, 4.1 %, 37 %."""
    if not math.isfinite(share):
        return "–"
    value = 100 * share
    digits = 0 if value >= 9.95 or value == 0 else 1 if value >= 0.995 else 2
    return f"{value:.{digits}f} %"


def duration(seconds: float) -> str:
    """A time for people: 0.4 s, 12 s, 3 min 05 s, 2 h 05 min."""
    if not math.isfinite(seconds):
        return "–"
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole_seconds = round(seconds)
    minutes, rest = divmod(whole_seconds, 60)
    if minutes == 0:
        return f"{rest} s"
    hours, left = divmod(minutes, 60)
    return f"{hours} h {left:02d} min" if hours else f"{minutes} min {rest:02d} s"
