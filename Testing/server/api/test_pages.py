"""The operator's page, as it comes from a real server."""

import pytest

from nnactive_server import __version__
from nnactive_server.store import Answer, JobState, Kind, PatchState, Role, Store
from testkit import busy_clinic
from testkit.live_server import LiveServer
from testkit.pages import Page

SCRIPT = "<script>alert(1)</script>"
ATTRIBUTE = "\"><img src=x onerror='alert(1)'>"


def overview(server, who="ann"):
    reply = server.call("GET", "/", who=who)
    assert reply.status_code == 200
    assert reply.headers["Content-Type"] == "text/html; charset=utf-8"
    return Page(reply.text)


@pytest.fixture(scope="module")
def busy(tmp_path_factory):
    """A server in the middle of the work."""
    with LiveServer(tmp_path_factory.mktemp("busy") / "data") as server:
        server.project = busy_clinic.fill(server.data)
        yield server


@pytest.fixture(scope="module")
def page(busy):
    return overview(busy)


def card(page, name):
    """The card of a project."""
    (found,) = page.all("section", aria_label=name)
    return found


def test_an_empty_server_says_so_in_words(live):
    page = overview(live)
    assert "No project yet: a client or curl makes one, see the interface." in page.text
    assert "Nothing runs and nothing waits." in page.text
    assert page.all("meta", http_equiv="refresh")[0].attributes["content"] == "60"


def test_the_machine_below_the_server_is_described(busy, page):
    facts = dict(zip([one.text for one in page.all("dt")], [one.text for one in page.all("dd")], strict=True))
    assert facts["Version"] == __version__
    assert facts["Address"] == busy.url
    assert facts["Up for"].split()[1].startswith(("second", "minute"))
    assert facts["Free on the disk"].split()[1] in ("GB", "TB")
    assert facts["Used by the data folder"].split()[1] in ("kB", "MB")
    devices = busy.call("GET", "/v1/health").json()["devices"]
    assert devices[0]["name"] in page.text
    if len(devices) == 1:
        assert f"{devices[0]['name']} – – Training of cycle-003 for Liver metastases" in page.text


def test_a_running_job_shows_how_far_it_is_and_how_long_it_will_take(page):
    (bar,) = [one for one in page.all("progress") if one.attributes["aria-label"] == "training"]
    assert (bar.attributes["value"], bar.attributes["max"]) == ("3120", "5000")
    assert (
        "Training of cycle-003 for Liver metastases: running, about 20 minutes left · attempt 1" in page.text
    )
    assert "Training: 3,120 of 5,000 (member 2, loss 0.312)" in page.text
    assert "member 1 of 3 is trained, loss 0.287" in page.all("pre")[0].text
    assert page.all("meta", http_equiv="refresh")[0].attributes["content"] == "5"


def test_a_waiting_job_shows_its_place(page):
    assert "Adding images from a folder for Liver metastases: waiting, number 1 in the queue" in page.text


def test_a_failed_job_says_why(page):
    assert "Training of cycle-000 for Kidney tumours (pilot): failed" in page.text
    assert "out of memory: choose a smaller profile or batch size" in page.text


def test_patches_are_counted_by_state(busy, page):
    text = card(page, "Liver metastases").text
    with Store(busy.data) as store:
        counts = store.patches.counts(busy.project.id)
    newest, every = counts[max(counts)], [state for one in counts.values() for state in one.items()]
    for state in PatchState:
        total = sum(count for other, count in every if other == state)
        assert f" {state} {newest.get(state, 0)} {total} " in f"{text} "
    assert newest[PatchState.OPEN] == 9  # so that the lines above compare something
    assert "Batch 3: 10 of 20 answered" in text
    assert "Patches for the start: 6 of 6 answered" in card(page, "Kidney tumours (pilot)").text


def test_who_annotates_now_and_what_each_has_done_is_shown(page):
    text = card(page, "Liver metastases").text
    assert "Dr. Okafor case-0006 12 13 minutes Dr. Lindqvist case-0001 13 13 minutes" in text
    assert "M. Tanaka 0 4 4 minutes" in text  # four times 55 seconds
    assert "Nobody." in card(page, "Kidney tumours (pilot)").text


def test_cost_and_model_are_shown(page):
    text = card(page, "Liver metastases").text
    assert "6 cases · newest model cycle-002, 3 trainings" in text
    assert "Patches annotated 61 Annotating 1 hour" in text
    assert "Computing 1 hour 46 minutes Of it, training 1 hour 15 minutes" in text
    assert "2 cases · not trained yet" in card(page, "Kidney tumours (pilot)").text


def test_the_learning_curve_is_drawn_with_its_legend_and_its_warning(page):
    lines = page.all("polyline")
    assert [one.attributes["stroke"] for one in lines] == [
        *(c for _, c in busy_clinic.CLASSES),
        "currentColor",
    ]
    for line in lines:
        points = [tuple(map(float, point.split(","))) for point in line.attributes["points"].split()]
        assert len(points) == 3
        assert [x for x, _ in points] == sorted(x for x, _ in points)
        assert [y for _, y in points] == sorted((y for _, y in points), reverse=True)  # up is better
    (legend,) = page.all("ul", class_="legend")
    assert legend.text == "mean of all classes liver metastasis hepatic vein"
    assert len(page.all("path", class_="bar")) == 9
    text = card(page, "Liver metastases").text
    assert "Optimistic: members share training" in text
    assert "cycle-002 52 0.693 0.860 0.580 0.640" in text  # the table
    assert "No training yet." in card(page, "Kidney tumours (pilot)").text


def test_a_training_without_figures_or_patches_is_told_apart_from_no_training(busy):
    with Store(busy.data) as store:
        project = store.projects.create("One case", busy_clinic.settings())
        about = busy_clinic.result(0, 4, (None, None, None), [name for name, _ in busy_clinic.CLASSES])
        busy_clinic.train(store, project.id, about)
        busy_clinic.propose(store, project.id, 0, 4, busy_clinic.add_cases(store, project.id, 1))
    text = card(overview(busy), "One case").text
    assert "Batch 1: no patches" in text
    assert "No figure yet: no case was left out of a training." in text
    assert "newest model cycle-000, 1 training" in text


def test_only_admins_see_the_tokens(busy, page):
    assert "old laptop annotator" in page.text
    for who in ("vic", "ben", "rev"):
        other = overview(busy, who)
        assert "old laptop" not in other.text
        assert "Liver metastases" in other.text


def test_no_secret_is_on_the_page(busy):
    text = busy.call("GET", "/").text
    for secret in busy.tokens.values():
        assert secret not in text
        assert secret.split("_", 2)[2] not in text


def test_names_and_texts_of_others_stay_texts(busy):
    with Store(busy.data) as store:
        labels = [(SCRIPT, "red;background:url(http://evil.example)"), (ATTRIBUTE, None)]
        project = store.projects.create(SCRIPT, busy_clinic.settings(labels))
        cases = busy_clinic.add_cases(store, project.id, 1)
        first, second = busy_clinic.propose(store, project.id, 0, 2, cases)
        store.answers.record(first, 0, Answer(Kind.EMPTY, ATTRIBUTE))
        store.leases.take(second, f"lease {ATTRIBUTE}", 600)
        store.tokens.create(f"token {SCRIPT}", Role.VIEWER)
        busy_clinic.train(store, project.id, busy_clinic.result(0, 1, (0.5, 0.6), [SCRIPT, ATTRIBUTE]))
        with store.database.write():
            job, attempt = busy_clinic.run_job(store, project.id, "cycle", {"cycle": 1})
            store.jobs.beat(job, attempt, lines=[f"line</pre>{SCRIPT}"])
            store.jobs.finish(job, attempt, JobState.INTERRUPTED, f"error {SCRIPT}")
    page = overview(busy)
    assert page.foreign() == []
    text = card(page, SCRIPT).text
    assert text.count(ATTRIBUTE) >= 3  # class, legend, annotator
    assert f"lease {ATTRIBUTE}" in text
    assert f"line</pre>{SCRIPT}" in page.text
    assert f"error {SCRIPT}" in page.text
    assert f"token {SCRIPT}" in page.text
    assert not any("evil" in str(one.attributes) for one in page.elements)


def test_pages_need_nothing_from_elsewhere(live, busy):
    for server in (live, busy):
        assert overview(server).foreign() == []
    reply = busy.call("GET", "/")
    assert reply.headers["Content-Security-Policy"].startswith("default-src 'none'")
    assert reply.headers["Cache-Control"] == "no-store"
    # The checker itself finds such things.
    bad = (
        '<!DOCTYPE html><html><body><img src="http://x/y"><script></script><p onclick="x"></p></body></html>'
    )
    assert len(Page(bad).foreign()) == 3


def test_a_browser_gives_the_token_as_password(busy):
    assert busy.call("GET", "/", who="", auth=("anybody", busy.tokens["vic"])).status_code == 200
    assert busy.call("GET", "/", who="", auth=("anybody", "wrong")).status_code == 401
