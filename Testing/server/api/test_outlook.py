"""Whether active learning pays, as the server's statistics and page tell it."""

import json
import os

import pytest
from typer.testing import CliRunner

from nnactive_server.api.outlook import Spent, outlook_out, saving_out
from nnactive_server.api.settings import Settings
from nnactive_server.api.simulations import read_simulations
from nnactive_server.cli import app
from nnactive_server.core.economy import NOT_ENOUGH
from nnactive_server.core.errors import ServerError
from nnactive_server.core.files import write_json
from nnactive_server.store import Store
from nnactive_server.study.analysis import compute, read_study
from nnactive_server.study.analysis.savings import SAVING, saving_document
from nnactive_server.study.analysis.scores import BASELINE
from testkit import busy_clinic
from testkit.live_server import LiveServer
from testkit.pages import Page
from testkit.study_folder import add_run

SPENT = Spent(80, 8 * 3600.0, 5400.0)
PROJECT = {"strategy": "clasp-pe", "strategy_parameters": {}, "profile": "fast-cpu"}
TOLD = {
    "mean": 0.012, "low": 0.006, "high": 0.02, "verdict": "go on", "judged_on": "held-out", "trainings": 5,
    "patches": 20,
}  # fmt: skip


def share(mean=0.2, low=0.1, high=0.4, seeds=4):
    return {"mean": mean, "low": low, "high": high, "seeds": seeds}


def entry(**changes):
    return {
        "dataset": "Organs", "regime": "low", "profile": "fast-cpu", "strategy": "clasp-pe",
        "name": "clasp-pe", "parameters": {}, "patches": share(), "foreground": share(0.1, 0.05, 0.2),
    } | changes  # fmt: skip


def document(*entries, **changes):
    return {
        "format": "nnactive-saving", "version": 1, "study": "organs", "baseline": "random-fg-66",
        "savings": list(entries),
    } | changes  # fmt: skip


@pytest.fixture
def study(tmp_path):
    """Write a `saving.json` and read it."""

    def write(*entries, **changes):
        file = tmp_path / "saving.json"
        file.write_text(json.dumps(document(*entries, **changes)))
        return read_simulations(file)

    return write


@pytest.fixture(scope="module")
def analysed(tmp_path_factory):
    """A study as `study analyze` leaves it, without figures; clasp-pe needs two thirds of the patches."""
    root = tmp_path_factory.mktemp("study") / "organs"
    for seed in range(1, 5):
        add_run(root, "random-fg-66", seed, [0.5, 0.6, 0.7 + 0.001 * seed])
        add_run(root, "clasp-pe", seed, [0.5, 0.701 + 0.002 * seed, 0.8])
        add_run(root, "mine", seed, [0.5, 0.6, 0.65])
    plan = {"units": [{"strategy": {"label": "mine", "name": "power-pe", "changes": {"beta": 5}}}]}
    for unit in plan["units"]:
        unit |= {"dataset": "Organs", "regime": "", "profile": {"label": "fast-cpu"}, "seed": 1}
    (root / "study.json").write_text(json.dumps(plan))
    results = read_study(root)
    savings = compute(results).savings
    write_json(root / "analysis" / SAVING, saving_document(results, savings, BASELINE))
    return root


# What the strategy saved


def test_the_share_of_simulations_becomes_patches_and_hours_of_this_project(study):
    found = saving_out(study(entry()), PROJECT, SPENT, 3)
    # The baseline would have needed 80 / 0.8 patches; at the ends 80 / 0.9 and 80 / 0.6.
    assert [found.patches.low, found.patches.mean, found.patches.high] == pytest.approx([80 / 9, 20, 160 / 3])
    assert [found.hours.low, found.hours.mean, found.hours.high] == pytest.approx([8 / 9, 2, 16 / 3])
    assert found.hours_by_foreground.mean == pytest.approx(8 / 9)
    assert found.compute_hours == 1.5
    assert [one.dataset for one in found.rests_on] == ["Organs"]
    assert found.words == (
        "Saving against random-fg-66 so far: about 20 (9 to 53) patches and 2.0 (0.9 to 5.3) hours of "
        "annotation probably saved (53 (25 to 120) minutes probably saved if marking structures takes the "
        "time); computing took 1.5 hours. Rests on the study organs (Organs, low, fast-cpu, 4 seeds)."
    )


def test_a_strategy_that_needs_more_says_so(study):
    found = saving_out(study(entry(patches=share(-0.25, -0.5, -0.1))), PROJECT, SPENT, 3)
    assert found.patches.mean == pytest.approx(-16)
    assert "about 16 (7 to 27) patches" in found.words
    assert "more probably needed" in found.words


def test_without_measured_time_there_are_patches_and_no_hours(study):
    found = saving_out(study(entry()), PROJECT, Spent(80, 0.0, 0.0), 3)
    assert found.patches is not None
    assert (found.hours, found.hours_by_foreground) == (None, None)
    assert "20 (9 to 53) patches probably saved" in found.words


def test_several_settings_are_told_by_the_widest_interval(study):
    known = study(entry(), entry(regime="high", patches=share(0.3, 0.25, 0.35, 3)))
    found = saving_out(known, PROJECT, SPENT, 3)
    assert (found.share.low, found.share.mean, found.share.high) == (0.1, pytest.approx(0.25), 0.4)
    assert [one.regime for one in found.rests_on] == ["low", "high"]


def test_simulations_of_the_projects_own_profile_come_first(study):
    known = study(entry(), entry(profile="paper", patches=share(0.3, 0.25, 0.35)))
    assert saving_out(known, PROJECT | {"profile": "paper"}, SPENT, 3).share.mean == 0.3
    assert saving_out(known, PROJECT | {"profile": "deploy"}, SPENT, 3).share.low == 0.1


@pytest.mark.parametrize(
    ("entries", "project", "trainings", "why"),
    [
        ([], {}, 3, "is not in the study organs"),
        ([entry()], {"strategy": "bald"}, 3, "bald, as this project uses it, is not in the study"),
        ([entry()], {"strategy_parameters": {"alpha": 0.5}}, 3, "is not in the study"),
        ([entry()], {"strategy": "random-fg-66"}, 3, "uses the same strategy"),
        ([entry(patches=share(seeds=2))], {}, 3, "has 2 paired runs of clasp-pe, at least 3"),
        ([entry(patches=share(0.1, -0.1, 0.3))], {}, 3, "+10 % of the patches (-10 to +30 %)"),
        (
            [entry(patches=share(0.9, 0.5, 1.3))],
            {},
            3,
            "data to say; simulations say +90 % of the patches (+50 to +130 %)",
        ),
        ([entry()], {}, 1, "before the second training"),
    ],
)
def test_what_is_not_known_is_said_in_words(study, entries, project, trainings, why):
    found = saving_out(study(*entries), PROJECT | project, SPENT, trainings)
    assert NOT_ENOUGH in found.words
    assert why in found.words
    assert "nan" not in found.words


def test_without_a_study_nothing_is_told_but_that():
    found = saving_out(None, PROJECT, SPENT, 3)
    assert found.words == "Saving: not enough data to say; the server was started without a study."
    assert found.model_dump(exclude={"words", "compute_hours", "rests_on"}, exclude_none=True) == {}


# What one more cycle will bring


def test_the_outlook_is_what_the_newest_training_left():
    found = outlook_out({"outlook": TOLD})
    assert (found.gain.low, found.gain.mean, found.gain.high, found.worth) == (0.006, 0.012, 0.02, True)
    assert found.words == (
        "One more cycle: worth it, expected gain of Mean Dice +1.20 points (95 % interval +0.60 to +2.00). "
        "Judged on cases that were left out of training."
    )
    assert outlook_out({"outlook": TOLD | {"verdict": "stop"}}).worth is False
    assert outlook_out({"outlook": TOLD | {"verdict": NOT_ENOUGH}}).worth is None


def test_no_outlook_is_no_number():
    nothing = {"mean": None, "low": None, "high": None, "verdict": NOT_ENOUGH}
    found = outlook_out({"outlook": TOLD | nothing})
    assert (found.gain, found.worth) == (None, None)
    assert NOT_ENOUGH in found.words
    assert "nan" not in found.words
    assert outlook_out({}) is None


# The study's file


@pytest.mark.parametrize("place", ["", "analysis", "analysis/saving.json"])
def test_a_study_is_found_by_its_folder_or_its_file(tmp_path, analysed, place):
    found = Settings(tmp_path, study=analysed / place).simulations
    assert (found.study, found.baseline) == ("organs", "random-fg-66")
    (one,) = found.of("clasp-pe", {}, "fast-cpu")
    assert one.patches.seeds == 4
    assert 0.3 < one.patches.low <= one.patches.mean <= one.patches.high < 0.4
    assert found.of("power-pe", {}, "fast-cpu") == ()
    assert [one.strategy for one in found.of("power-pe", {"beta": 5}, "fast-cpu")] == ["mine"]


def test_without_a_study_there_are_no_simulations(tmp_path):
    assert Settings(tmp_path).simulations is None


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        (document(version=2), "version"),
        (document(format="other"), "format"),
        (document(study=""), "study"),
        (document(extra=1), "extra"),
        (document(entry(dataset=None)), "savings.0.dataset"),
        (document(entry(), entry(patches=share(mean="0.2"))), "savings.1.patches.mean"),
        (document(entry(patches=share(mean=1.2))), "savings.0.patches.mean"),
        (document(entry(patches=share(0.5, 0.6, 0.7))), "savings.0.patches"),
        (document(entry(patches=share(None, None, None))), "savings.0.patches"),
        (document(entry(patches=share(seeds=1))), "savings.0.patches"),
        (document(entry(foreground=share(seeds=-1))), "savings.0.foreground.seeds"),
        ([], "the whole"),
    ],
)
def test_a_file_that_is_not_valid_is_named_with_its_field(tmp_path, wrong, field):
    file = tmp_path / "saving.json"
    file.write_text(json.dumps(wrong))
    with pytest.raises(ServerError) as caught:
        Settings(tmp_path, study=tmp_path)
    assert str(caught.value).startswith(f"{file}: {field}: ")
    assert "study analyze" in str(caught.value)


@pytest.mark.parametrize("text", ["", "{", "\udcff", '{"format": NaN}', "[" * 100_000])
def test_a_file_that_is_no_json_is_named(tmp_path, text):
    file = tmp_path / "saving.json"
    file.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(ServerError, match=r"saving\.json: .*study analyze"):
        Settings(tmp_path, study=file)


@pytest.mark.parametrize("place", ["", "missing"])
def test_a_place_without_the_file_says_what_to_give(tmp_path, place):
    with pytest.raises(ServerError, match=r"--study .*study analyze"):
        Settings(tmp_path, study=tmp_path / place)


# A real server


@pytest.fixture(scope="module")
def telling(tmp_path_factory, analysed):
    """A server with a study, a project of an earlier version, and one whose training left an outlook."""
    data = tmp_path_factory.mktemp("telling") / "data"
    with LiveServer(data, ["--study", str(analysed)]) as server:
        server.older = busy_clinic.fill(data).id
        with Store(data) as store:
            newer = store.projects.create("Newer", busy_clinic.settings())
            cases = busy_clinic.add_cases(store, newer.id, 2)
            for number, patch in enumerate(busy_clinic.propose(store, newer.id, 0, 12, cases)):
                busy_clinic.answer(store, patch, number)
            for cycle, told in enumerate((None, TOLD)):
                names = [name for name, _ in busy_clinic.CLASSES]
                figures = busy_clinic.result(cycle, 12, (0.5, 0.4, 0.3), names)
                busy_clinic.train(store, newer.id, figures | {"outlook": told})
        server.newer = newer.id
        yield server


def statistics(server, project, who="vic"):
    reply = server.call("GET", f"/v1/projects/{project}/statistics", who=who)
    assert reply.status_code == 200, reply.text
    return reply.json()


def test_the_route_tells_outlook_and_saving(telling):
    found = statistics(telling, telling.newer)
    assert found["outlook"]["gain"] == {"low": 0.006, "mean": 0.012, "high": 0.02}
    assert found["outlook"]["worth"] is True
    saving, cost = found["saving"], found["cost"]
    r = saving["share"]["mean"]
    assert saving["patches"]["mean"] == pytest.approx(r / (1 - r) * cost["patches"])
    assert saving["hours"]["mean"] == pytest.approx(r / (1 - r) * cost["minutes"] / 60)
    assert saving["compute_hours"] == pytest.approx(cost["compute_minutes"] / 60)
    assert saving["rests_on"] == [
        {"study": "organs", "dataset": "Organs", "regime": "low", "profile": "fast-cpu", "seeds": 4}
    ]
    assert "probably saved" in saving["words"]


def test_trainings_of_an_earlier_version_are_still_read(telling):
    found = statistics(telling, telling.older)
    assert len(found["cycles"]) == 3
    assert found["outlook"] is None
    assert found["saving"]["patches"]["mean"] > 0


def test_the_page_tells_both_in_a_line(telling):
    page = Page(telling.call("GET", "/").text)
    (newer,) = page.all("section", aria_label="Newer")
    assert "One more cycle: worth it" in newer.text
    assert "Saving against random-fg-66 so far: about" in newer.text
    (older,) = page.all("section", aria_label="Liver metastases")
    assert "One more cycle" not in older.text


@pytest.mark.skipif(not os.path.exists("/proc/self/maps"), reason="needs Linux's /proc")  # noqa: PTH110
def test_the_web_process_tells_all_this_without_scipy(telling):
    statistics(telling, telling.newer)
    with open(f"/proc/{telling.process.pid}/maps") as maps:  # noqa: PTH123
        text = maps.read()
    assert "site-packages/pydantic" in text
    assert "site-packages/scipy/" not in text


def test_a_server_with_a_wrong_study_does_not_start(tmp_path):
    (tmp_path / "saving.json").write_text(json.dumps(document(version=7)))
    said = CliRunner().invoke(app, ["serve", "--data", str(tmp_path / "data"), "--study", str(tmp_path)])
    assert said.exit_code == 1
    assert "saving.json: version: " in said.stderr
    assert not (tmp_path / "data").exists()
