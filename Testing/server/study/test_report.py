import base64
import json
import math
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nnactive_server.core.errors import LoopError
from nnactive_server.core.geometry import Geometry
from nnactive_server.core.patch import Patch
from nnactive_server.core.rng import generator
from nnactive_server.evaluation import query_view
from nnactive_server.query import Explanation
from nnactive_server.study import report_html
from nnactive_server.study.report import PICTURES_PER_CYCLE, write_report

SHAPE = (6, 10, 12)
HOSTILE = "<script>alert('x')</script>\"><img src=http://evil.example/a.png> & $x^2"
VOID = {"meta", "img", "br", "link"}


class Page(HTMLParser):
    """What a reader would see, and whether every element is closed."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""
        self.feed(text)
        self.close()
        assert not self.open, f"not closed: {self.open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open[-1:] != ["style"]:
            self.text += data

    @property
    def pictures(self) -> list[bytes]:
        sources = [value or "" for name, value in self.attributes if name == "src"]
        assert all(source.startswith("data:image/png;base64,") for source in sources)
        return [base64.b64decode(source.split(",", 1)[1], validate=True) for source in sources]


def read(path: Path) -> Page:
    return Page(path.read_text(encoding="utf-8"))


def a_cycle(number: int, dice: float) -> dict[str, Any]:
    return {
        "cycle": number,
        "patches": 20 * (number + 1),
        "annotated_voxels": 12_345 * (number + 1),
        "foreground_fraction": 0.02 * (number + 1),
        "mean_dice": dice,
        "dice_per_class": {"liver": dice + 0.1, "lesion": None if number == 0 else dice - 0.1},
        "members": {"pairwise_dice": 0.71, "mean_mutual_information": 0.0123},
        "seconds": {"label_update": 1.0, "train": 100.0, "predict": 20.0, "query": 3.0, "evaluate": 9.0},
    }


def put(path: Path, document: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document), encoding="utf-8")


def put_queries(cycle: Path, count: int, case: str = "case_7", views: int | None = None) -> None:
    rng = generator("views", cycle.name)
    geometry = Geometry(SHAPE, (2.0, 1.0, 1.0), (0.0, 0.0, 0.0), tuple(np.eye(3).ravel()))
    entries = []
    for rank in range(1, count + 1):
        patch, labels = Patch((1, 2, 3), (2, 4, 4)), rng.integers(0, 3, SHAPE)
        entries.append(
            {
                "case": case,
                "start": list(patch.start),
                "size": list(patch.size),
                "score": -1.25,
                "group": "class-2" if rank <= count - 1 else "plain",
                "rank": rank,
                "why": Explanation(
                    0.4, {"predictive_entropy": 0.321}, {0: 0.75, 1: 0.25}, 12.4, 97.6
                ).to_json(),
            }
        )
        if rank <= (count if views is None else views):
            view = query_view(rng.random(SHAPE), rng.random(SHAPE), labels, labels, geometry, patch)
            view.save(cycle / "views" / f"query_{rank:03d}.npz")
    put(cycle / "queries.json", entries)


def make_run(
    root: Path, strategy: str = "clasp-pe", dice: tuple[float, ...] = (0.4, 0.6), **extra: Any
) -> Path:
    settings = {"dataset": "Phantom", "strategy": strategy, "seed": 11, "labels": ["liver", "lesion"]}
    put(
        root / "run.json",
        settings | {"patch": [2, 4, 4], "cycles": 9, "profile": {"name": "fast-cpu"}} | extra,
    )
    put(
        root / "summary.json",
        {
            "dataset": "Phantom",
            "strategy": strategy,
            "seed": 11,
            "cycles": [a_cycle(i, d) for i, d in enumerate(dice)],
            "aubc": 0.5,
            "final_dice": dice[-1] if dice else None,
            "test_cases": ["t1", "t2", "t3"],
            "versions": {"torch": "2.13.0"},
        },
    )
    return root


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of a run with more proposals than are shown."""
    root = make_run(tmp_path_factory.mktemp("full") / "run")
    put_queries(root / "cycle_000", 1)
    put_queries(root / "cycle_001", PICTURES_PER_CYCLE + 2)
    return write_report(root)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A small run to change before its report is written."""
    root = make_run(tmp_path / "run")
    put_queries(root / "cycle_000", 2, views=1)
    return root


def test_a_full_report_says_what_was_reached(full: Path) -> None:
    page = read(full)
    assert full.name == "report.html"
    assert (full.parent / "summary.json").is_file()
    assert (
        "After annotating 40 boxes (4.0 % of the structures) the model reaches a Mean Dice of 0.60 on "
        "3 held-out scans."
    ) in page.text
    assert (
        "It started at 0.40 with 20 boxes. Best now is liver (0.70), hardest is lesion (0.50)." in page.text
    )
    for piece in (
        "0.710",
        "0.0123",
        "24\u202f690",
        "4 min 26 s",
        "2 × 4 × 4",
        "2.13.0",
        "planned cycles",
        "9",
    ):
        assert piece in page.text


def test_a_full_report_holds_every_figure(full: Path) -> None:
    pictures = read(full).pictures
    assert len(pictures) == 3 + 1 + PICTURES_PER_CYCLE
    assert all(picture.startswith(b"\x89PNG\r\n\x1a\n") for picture in pictures)
    assert len(set(pictures)) == len(pictures)


def test_the_last_cycle_comes_first_and_every_group_has_its_turn(full: Path) -> None:
    text = read(full).text
    assert text.index("Proposed after cycle 2: 4 of 6 boxes") < text.index("Proposed after cycle 1: 1 of 1")
    shown = re.findall(r"case_7, rank (\d+), (for lesion|over all structures)", text)
    # The plain group's only query has the last rank.
    assert shown[:4] == [
        (str(1), "for lesion"),
        ("6", "over all structures"),
        ("2", "for lesion"),
        ("3", "for lesion"),
    ]


def test_nothing_outside_the_file_is_needed(full: Path) -> None:
    page = read(full)
    assert not {"script", "link", "iframe", "object", "base"} & set(page.tags)
    assert {name for name, _ in page.attributes} <= {
        "lang",
        "charset",
        "name",
        "content",
        "class",
        "scope",
        "alt",
        "src",
    }
    assert "http" not in full.read_text()
    assert "url(" not in full.read_text()


def test_hostile_names_stay_text(tmp_path: Path) -> None:
    root = make_run(tmp_path / "run", strategy=HOSTILE, labels=[HOSTILE, "lesion"], note=HOSTILE)
    put(root / "run.json", json.loads((root / "run.json").read_text()) | {"dataset": HOSTILE})
    put_queries(root / "cycle_000", 1, case=HOSTILE)
    page = read(write_report(root, compare=[make_run(tmp_path / "b", HOSTILE)]))
    assert "script" not in page.tags
    assert page.text.count(HOSTILE) >= 4
    assert len(page.pictures) == 4


def test_paths_of_the_machine_do_not_travel(tmp_path: Path) -> None:
    root = make_run(
        tmp_path / "run", source="/home/someone/data/Heart", other={"deep": ["C:\\Users\\someone\\x.nii"]}
    )
    put_queries(root / "cycle_000", 1)
    text = write_report(root).read_text()
    assert "Heart" in text
    assert "x.nii" in text
    for secret in ("someone", "/home", str(tmp_path)):
        assert secret not in text


def test_other_runs_are_compared_at_the_same_number_of_boxes(tmp_path: Path) -> None:
    run = make_run(tmp_path / "a", "clasp-pe", (0.4, 0.6))
    other, short = (
        make_run(tmp_path / "b", "random", (0.3, 0.45, 0.5)),
        make_run(tmp_path / "c", "bald", (0.2,)),
    )
    out = tmp_path / "elsewhere" / "r.html"
    text = read(write_report(run, out, [other, short])).text
    assert "With as many boxes, random reaches 0.45." in text
    assert "bald" not in text


def test_runs_of_one_strategy_are_told_apart(tmp_path: Path) -> None:
    run, other = make_run(tmp_path / "a"), make_run(tmp_path / "b", seed=12)
    third = make_run(tmp_path / "c", seed=12)
    text = read(write_report(run, compare=[other, third])).text
    assert "clasp-pe, seed 12, b reaches" in text
    assert "clasp-pe, seed 12, c reaches" in text


@pytest.mark.parametrize(
    "missing", ["run.json", "cycle_000", "views", "members", "seconds", "dice_per_class", "labels"]
)
def test_a_missing_part_is_left_out(run: Path, missing: str) -> None:
    summary = json.loads((run / "summary.json").read_text())
    if missing in summary["cycles"][0]:
        for cycle in summary["cycles"]:
            del cycle[missing]
        put(run / "summary.json", summary)
    elif missing == "views":
        for path in run.glob("cycle_*/views/*"):
            path.unlink()
    elif missing == "cycle_000":
        (run / "cycle_000" / "queries.json").unlink()
    else:
        put(run / "run.json", {"strategy": "random"})
    page = read(write_report(run))
    assert "the model reaches a Mean Dice of 0.60" in page.text
    fewer = {"views": 1, "cycle_000": 1, "seconds": 1, "dice_per_class": 1}
    assert len(page.pictures) == 3 + 1 - fewer.get(missing, 0)
    assert "nan" not in re.findall(r"\w+", page.text)


def test_every_proposed_box_says_why_it_was_chosen(full: Path) -> None:
    text = read(full).text.replace("\N{NO-BREAK SPACE}", " ")
    assert (
        "case_7, rank 1, for lesion. Less certain about lesion here than in 98 % of all boxes. "
        "Predicted: 75 % background, 25 % liver. Nearest annotated box: 12 mm away."
    ) in text
    assert "over all structures. Less certain here than in 98 % of all boxes." in text
    assert text.count("score -1.25; in the box: predictive entropy 0.321 (nats)") == 1 + PICTURES_PER_CYCLE


def test_queries_of_an_earlier_version_are_shown(run: Path) -> None:
    path = run / "cycle_000" / "queries.json"
    entries = json.loads(path.read_text())
    for entry in entries:
        entry["why"] = {"mean": 0.4, "predictive_entropy": 0.25}
    put(path, entries)
    text = read(write_report(run)).text
    assert "Chosen because the model is uncertain about lesion." in text
    assert "predictive entropy 0.250" in text


@pytest.mark.parametrize("wrong", [{"rank": "first"}, {"start": None}, {"why": "nobody knows"}])
def test_a_query_that_cannot_be_read_is_left_out(
    run: Path, wrong: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    path = run / "cycle_000" / "queries.json"
    entries = json.loads(path.read_text())
    entries[1] |= wrong
    put(path, entries)
    assert "Proposed after cycle 1: 1 of 1 boxes" in read(write_report(run)).text
    assert "queries.json" in caplog.text


def test_a_damaged_view_is_left_out(run: Path) -> None:
    put_queries(run / "cycle_001", 1)
    (run / "cycle_001" / "views" / "query_001.npz").write_bytes(b"PK half a file")
    text = read(write_report(run)).text
    assert "Proposed after cycle 1: 1 of 2 boxes" in text
    assert "Proposed after cycle 2" not in text


def test_a_run_that_has_just_begun_has_a_report(tmp_path: Path) -> None:
    put(tmp_path / "run.json", {"dataset": "Phantom", "strategy": "random"})
    page = read(write_report(tmp_path))
    assert "No cycle is finished yet" in page.text
    assert page.pictures == []


def test_without_held_out_scans_no_quality_is_claimed(tmp_path: Path) -> None:
    cycles = [a_cycle(0, 0.5) | {"mean_dice": None, "dice_per_class": {"liver": None, "lesion": None}}]
    put(tmp_path / "summary.json", {"dataset": "Ward", "cycles": cycles, "aubc": None, "test_cases": []})
    page = read(write_report(tmp_path))
    assert "20 boxes are annotated after 1 cycle. There are no held-out scans" in page.text
    assert "reaches" not in page.text


def test_groups_that_fell_short_are_named(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    summary = json.loads((run / "summary.json").read_text())
    summary["cycles"][1]["shortages"] = [{"group": "class-2", "asked": 5, "found": 3}]
    put(run / "summary.json", summary)
    assert "Query of cycle 2: only 3 of 5 boxes for lesion found a free place" in read(write_report(run)).text


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LoopError, match=re.escape("run.json")):
        write_report(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_broken_summary_is_named_and_leaves_the_old_report(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    before = write_report(run).read_bytes()
    (run / "summary.json").write_text('{"cycles": [')
    with pytest.raises(LoopError, match=re.escape("summary.json")):
        write_report(run)
    assert (run / "report.html").read_bytes() == before


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.04, "0.0 s"), (9.94, "9.9 s"), (9.96, "10 s"), (59.6, "1 min 00 s"), (185, "3 min 05 s"),
     (3599.7, "1 h 00 min"), (7500, "2 h 05 min"), (math.nan, "–")],
)  # fmt: skip
def test_durations_are_rounded_once(seconds: float, text: str) -> None:
    assert report_html.duration(seconds) == text


@pytest.mark.parametrize(
    ("share", "text"),
    [(0, "0 %"), (0.00321, "0.32 %"), (0.00996, "1.0 %"), (0.0412, "4.1 %"), (0.0996, "10 %"), (1, "100 %")],
)
def test_shares_keep_two_telling_digits(share: float, text: str) -> None:
    assert report_html.percent(share) == text
