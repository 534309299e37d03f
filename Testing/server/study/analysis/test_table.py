"""A table: full numbers for programs, readable ones for people."""

from __future__ import annotations

import math
import re

from nnactive_server.study.analysis.table import Table, dice, fixed, share, text

COLUMNS = (
    *(("data set", text), ("strategy", text)),
    *(("gain", dice), ("gain low", dice), ("gain high", dice)),
    *(("low", fixed(1)), ("high", fixed(1))),
)


def table(*rows: tuple) -> Table:
    return Table("t", "T", COLUMNS, rows)


def cells(html: str, kind: str) -> list[str]:
    return re.findall(rf"<{kind}(?: [^>]*)?>(.*?)</{kind}>", html)


def test_the_ends_of_an_interval_share_a_column_in_the_report():
    html = table(("D", "bald", 0.1, 0.05, 0.2, 1.0, math.inf)).html()
    assert cells(html, "th") == ["strategy", "gain", "gain interval", "interval"]
    assert cells(html, "td") == ["bald", "10.00", "5.00 to 20.00", "1.0 to no limit"]


def test_the_unit_of_an_interval_is_written_once():
    columns = (("saved", share), ("saved low", share), ("saved high", share))
    html = Table("t", "T", columns, ((0.1, -0.05, 0.2),)).html()
    assert cells(html, "td") == ["+10 %", "-5 to +20 %"]


def test_an_interval_that_is_not_known_is_a_dash():
    html = table(("D", "bald", 0.1, None, None, math.nan, math.nan)).html()
    assert cells(html, "td")[-2:] == ["–", "–"]


def test_other_programs_get_both_ends_with_all_digits():
    lines = table(("D", "bald", 0.1, 1 / 3, 0.2, 1.0, 2.0)).csv().splitlines()
    assert lines[0] == "data set,strategy,gain,gain low,gain high,low,high"
    assert f",{1 / 3!r},0.2," in lines[1]
