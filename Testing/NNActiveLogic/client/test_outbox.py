"""The outbox loses nothing, keeps the order, and makes one record of each answer."""

import random
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from faulty_proxy import Fault, random_fault
from NNActiveLogic.client.answers import Answer, Kind, Reason
from NNActiveLogic.client.errors import (
    ConnectionRefused,
    NotAuthorised,
    OutboxError,
    ServerProblem,
    WrongVersion,
)
from NNActiveLogic.client.outbox import Counts, Outbox
from NNActiveLogic.client.outbox_file import VERSION, outbox_path
from NNActiveLogic.client.transport import Limits
from NNActiveLogic.client.values import Box, Label
from standin import Reply

WRITER = Path(__file__).with_name("outbox_writer.py")
ROOT = Path(__file__).parents[3]


def filled(value=1):
    return Answer(Kind.LABELLED, np.full((2, 2, 2), value))


@pytest.fixture
def opened(tmp_path):
    boxes = []

    def make(path=tmp_path / "a.outbox", **other):
        owner = {"server": "http://127.0.0.1:1", "project": "project", "person": "ann"}
        boxes.append(Outbox(path, **(owner | other)))
        return boxes[-1]

    yield make
    for box in boxes:
        box.close()


@pytest.fixture
def outbox(opened):
    return opened()


@pytest.fixture
def patches(client, image):
    """Ids of three patches of 2 x 2 x 2 voxels."""
    project = client.create_project("p", [Label("organ")], ["CT"])
    case = client.add_case(project.id, [client.upload(image[0])])
    boxes = (Box((z, 0, 0), (2, 2, 2)) for z in range(3))
    return [client.place_patch(project.id, case.id, box).id for box in boxes]


def kept(standin):
    return [(one["patch"], one["revision"]) for one in standin.app.answers]


def test_answers_are_sent_and_the_box_is_empty(standin, client, outbox, patches):
    first = outbox.put(patches[0], filled(), 0)
    outbox.put(patches[1], Answer(Kind.SKIPPED, reason=Reason.BAD_IMAGE), 0)
    assert outbox.counts() == Counts(2, 0)
    report = outbox.flush(client)
    assert report.sent[0][0] == first
    assert [patch.state for _, patch in report.sent] == ["answered", "skipped"]
    assert report.problem is None
    assert outbox.counts() == Counts(0, 0)
    assert kept(standin) == [(patches[0], 1), (patches[1], 1)]
    np.testing.assert_array_equal(client.answer(patches[0]).labels((2, 2, 2)), filled().labels)


def test_answers_to_one_patch_go_in_order_and_build_on_each_other(standin, client, outbox, patches):
    for value in (1, 2, 3):
        outbox.put(patches[0], filled(value), outbox.next_revision(patches[0], 0))
    outbox.flush(client)
    assert kept(standin) == [(patches[0], 1), (patches[0], 2), (patches[0], 3)]
    assert client.answer(patches[0]).labels((2, 2, 2)).max() == 3


def test_a_second_reading_is_sent_as_one(standin, client, connect, outbox, patches):
    client.annotate(patches[0], filled(), 0)
    outbox.put(patches[0], filled(), 0, reading=2)
    outbox.flush(connect(standin.url, "token-ben"))
    assert [one["reading"] for one in standin.app.answers] == [1, 2]
    with pytest.raises(ValueError, match="reading"):
        outbox.put(patches[0], filled(), 0, reading=3)


def test_a_lost_reply_makes_no_second_record(standin, proxy, connect, outbox, patches):
    entry = outbox.put(patches[0], filled(), 0)
    proxy.plan = lambda: Fault(swallow=True)
    assert outbox.flush(connect(proxy.url)).problem is not None
    assert outbox.counts() == Counts(1, 0)
    assert kept(standin) == [(patches[0], 1)]
    report = outbox.flush(connect(standin.url), now=True)
    assert report.sent[0][0] == entry
    assert kept(standin) == [(patches[0], 1)]


def test_a_conflict_is_parked_with_both_sides_and_the_rest_goes_on(standin, client, connect, outbox, patches):
    connect(standin.url, "token-ben").annotate(patches[0], Answer(Kind.EMPTY), 0)
    outbox.put(patches[0], filled(5), 0)
    outbox.put(patches[1], filled(), 0)
    report = outbox.flush(client)
    assert [entry.patch for entry in report.parked] == [patches[0]]
    assert [entry.patch for entry, _ in report.sent] == [patches[1]]
    (entry,) = outbox.entries()
    assert (entry.parked, entry.conflict) == (True, True)
    assert entry.theirs["annotator"] == "ben"
    assert entry.body == filled(5).to_json()
    assert "Answered meanwhile" in entry.reason


def test_mine_counts(standin, client, connect, outbox, patches):
    connect(standin.url, "token-ben").annotate(patches[0], Answer(Kind.EMPTY), 0)
    outbox.put(patches[0], filled(5), 0)
    outbox.put(patches[0], filled(6), 1)
    (entry,) = outbox.flush(client).parked
    outbox.resend(entry, revision=1)
    assert outbox.counts() == Counts(2, 0)
    assert len(outbox.flush(client).sent) == 2
    assert client.answer(patches[0]).labels((2, 2, 2)).max() == 6
    assert [one["revision"] for one in standin.app.answers] == [1, 2, 3]
    with pytest.raises(OutboxError):
        outbox.resend(entry)


def test_theirs_counts_and_nothing_built_on_mine_slips_through(standin, client, connect, outbox, patches):
    connect(standin.url, "token-ben").annotate(patches[0], Answer(Kind.EMPTY), 0)
    outbox.put(patches[0], filled(5), 0)
    # Revision 1 is what this one builds on, and what the colleague's answer is: it must not be sent.
    outbox.put(patches[0], filled(6), 1)
    (entry,) = outbox.flush(client).parked
    outbox.discard(entry)
    assert outbox.flush(client, now=True).sent == ()
    (left,) = outbox.entries()
    assert left.parked
    assert left.theirs["annotator"] == "ben"
    assert kept(standin) == [(patches[0], 1)]
    outbox.discard(left)
    assert outbox.entries() == ()
    with pytest.raises(OutboxError):
        outbox.discard(left)


def test_what_waits_cannot_be_discarded(outbox):
    entry = outbox.put("patch", filled(), 0)
    outbox.put("patch", filled(), 1)
    with pytest.raises(OutboxError):
        outbox.discard(entry)
    assert outbox.counts() == Counts(2, 0)


def test_an_answer_the_server_will_never_take_is_parked_with_the_reason(client, outbox, patches):
    outbox.put("no-such-patch", filled(), 0)
    outbox.put(patches[0], Answer(Kind.LABELLED, np.zeros((9, 9, 9), int)), 0)
    outbox.put(patches[1], filled(), 0)
    report = outbox.flush(client)
    assert len(report.sent) == 1
    assert [entry.conflict for entry in report.parked] == [False, False]
    assert "nothing of this id" in report.parked[0].reason
    assert "do not fill" in report.parked[1].reason
    assert outbox.counts() == Counts(0, 2)


def test_what_stands_behind_a_parked_answer_waits(client, outbox):
    outbox.put("no-such-patch", filled(), 0)
    outbox.put("no-such-patch", filled(), 1)
    outbox.flush(client)
    assert outbox.counts() == Counts(1, 1)
    assert outbox.flush(client, now=True).parked == ()


def test_an_error_about_one_answer_does_not_hold_up_the_others(standin, client, outbox, patches):
    outbox.put(patches[0], filled(), 0)
    outbox.put(patches[1], filled(), 0)
    standin.app.before = lambda request: Reply(500, {"detail": "x"}) if patches[0] in request.path else None
    report = outbox.flush(client)
    assert [entry.patch for entry, _ in report.sent] == [patches[1]]
    assert outbox.counts() == Counts(1, 0)
    standin.app.before = lambda _: None
    assert len(outbox.flush(client, now=True).sent) == 1


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        (lambda app: app.tokens.clear(), NotAuthorised),
        (lambda app: setattr(app, "protocol", "2"), WrongVersion),
        (lambda app: setattr(app, "before", lambda _: Reply(507, {"detail": "full"})), ServerProblem),
    ],
    ids=["token", "version", "full disk"],
)
def test_a_problem_of_the_whole_server_stops_the_round_and_parks_nothing(
    standin, client, outbox, patches, change, kind
):
    for patch in patches:
        outbox.put(patch, filled(), 0)
    change(standin.app)
    before = len(standin.app.seen)
    report = outbox.flush(client)
    assert isinstance(report.problem, kind)
    assert len(standin.app.seen) == before + 1
    assert outbox.counts() == Counts(3, 0)


def test_without_a_network_it_is_tried_more_and_more_rarely(opened, connect):
    now = [0.0]
    outbox, client = opened(clock=lambda: now[0]), connect("http://127.0.0.1:1")
    outbox.put("patch", filled(), 0)
    attempts = []
    for _ in range(3600):
        now[0] += 0.5
        if outbox.flush(client).problem is not None:
            attempts.append(now[0])
    pauses = np.diff(attempts)
    assert pauses[0] <= 4.5
    assert 29 <= pauses[-5:].min() <= pauses.max() <= 60.5
    assert isinstance(outbox.flush(client, now=True).problem, ConnectionRefused)


def test_answers_are_there_after_the_program_was_started_again(opened, client, patches):
    first = opened()
    entries = [first.put(patch, filled(), 0) for patch in patches]
    first.close()
    again = opened()
    assert list(again.entries()) == entries
    assert len(again.flush(client).sent) == 3


def test_an_answer_can_be_put_while_others_are_sent(standin, client, outbox, patches):
    def more(request):
        if request.method == "PUT" and outbox.counts().waiting == 1:
            outbox.put(patches[1], filled(), 0)

    standin.app.before = more
    outbox.put(patches[0], filled(), 0)
    assert [entry.patch for entry, _ in outbox.flush(client).sent] == patches[:2]


def test_a_second_round_at_the_same_time_does_nothing(standin, client, outbox, patches):
    outbox.put(patches[0], filled(), 0)
    inner = []

    def again(request):
        if request.method == "PUT":
            inner.append(outbox.flush(client, now=True))

    standin.app.before = again
    assert len(outbox.flush(client).sent) == 1
    assert inner[0].sent == ()


def test_two_programs_with_one_file_make_one_record_each(standin, connect, opened, patches):
    boxes = [opened(), opened()]
    for number in range(30):
        boxes[0].put(patches[number % 3], filled(), number // 3)
    threads = [threading.Thread(target=lambda b=box: b.flush(connect(standin.url))) for box in boxes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    while boxes[0].counts().waiting:
        boxes[0].flush(connect(standin.url), now=True)
    assert boxes[1].counts() == Counts(0, 0)
    assert sorted(kept(standin)) == sorted((patch, n + 1) for patch in patches for n in range(10))


@pytest.mark.parametrize("seed", range(8))
def test_order_and_number_hold_under_random_failures_and_restarts(
    standin, proxy, connect, opened, patches, seed
):
    rng = random.Random(seed)
    standin.app.keep_alive = False
    proxy.plan = lambda: random_fault(rng)
    client = connect(proxy.url, limits=Limits(1.0, 1.0, 2.0))
    outbox, given = opened(), {patch: [] for patch in patches}
    for number in range(1, 16):
        patch = rng.choice(patches)
        given[patch].append(number)
        outbox.put(patch, filled(number), outbox.next_revision(patch, len(given[patch]) - 1))
        if rng.random() < 0.5:
            outbox.flush(client, now=True)
        if rng.random() < 0.2:
            outbox.close()
            outbox = opened()
    while outbox.counts().waiting:
        outbox.flush(client, now=True)
    assert outbox.counts() == Counts(0, 0)
    for patch in patches:
        history = [one for one in standin.app.answers if one["patch"] == patch]
        assert [one["revision"] for one in history] == list(range(1, len(history) + 1))
        assert [one["label"] for one in history] == [filled(n).to_json()["label"] for n in given[patch]]


def run_writer(*arguments):
    environment = {"PYTHONPATH": str(ROOT), "PATH": "", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(WRITER), *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)


@pytest.mark.parametrize("count", [1, 7, 60])
def test_every_answer_that_was_put_survives_a_kill(opened, tmp_path, count):
    with run_writer("put", tmp_path / "a.outbox") as process:
        lines = [process.stdout.readline() for _ in range(count)]
        process.kill()
        lines += process.stdout.readlines()
    last = int([line for line in lines if line.endswith("\n")][-1])
    entries = opened().entries()
    assert len(entries) in (last, last + 1)
    assert [(entry.patch, entry.revision) for entry in entries] == [
        (f"patch{n % 5}", n // 5) for n in range(len(entries))
    ]
    assert len({entry.key for entry in entries}) == len(entries)
    assert all(entry.body["label"]["shape"] == [4, 4, 4] for entry in entries)


def test_a_kill_while_sending_loses_and_doubles_nothing(standin, opened, tmp_path, patches):
    outbox = opened()
    for number in range(60):
        outbox.put(patches[number % 3], filled(), number // 3)
    outbox.close()
    killed = 0
    for limit in (5, 12, 30):
        reached = threading.Event()
        standin.app.before = lambda _, n=limit, r=reached: r.set() if len(standin.app.answers) >= n else None
        with run_writer("send", tmp_path / "a.outbox", standin.url) as process:
            assert reached.wait(30)
            process.kill()
            killed += "empty" not in process.stdout.read()
    with run_writer("send", tmp_path / "a.outbox", standin.url) as process:
        assert "empty" in process.stdout.read()
    assert killed
    assert sorted(kept(standin)) == sorted((patch, n + 1) for patch in patches for n in range(20))


def test_a_file_of_a_newer_version_is_refused_and_left_as_it_is(opened, tmp_path):
    opened().close()
    path = tmp_path / "a.outbox"
    with sqlite3.connect(path) as connection:
        connection.execute(f"PRAGMA user_version = {VERSION + 1}")
    connection.close()
    before = path.read_bytes()
    with pytest.raises(OutboxError, match="newer version"):
        opened()
    assert path.read_bytes() == before


@pytest.mark.parametrize("content", [b"hello", b"SQLite format 3\x00" + bytes(200)], ids=["text", "damaged"])
def test_a_file_that_is_none_is_refused_and_left_as_it_is(opened, tmp_path, content):
    path = tmp_path / "a.outbox"
    path.write_bytes(content)
    with pytest.raises(OutboxError, match=r"a\.outbox"):
        opened()
    assert path.read_bytes() == content


def test_another_programs_database_is_refused(opened, tmp_path):
    connection = sqlite3.connect(tmp_path / "a.outbox")
    connection.execute("CREATE TABLE theirs (x)")
    connection.close()
    with pytest.raises(OutboxError, match="is not a file"):
        opened()


@pytest.mark.parametrize("owner", [{"server": "http://127.0.0.1:2"}, {"project": "x"}, {"person": "ben"}])
def test_answers_are_never_sent_elsewhere_or_under_another_name(opened, owner):
    opened().close()
    with pytest.raises(OutboxError, match=f"another {next(iter(owner))}"):
        opened(**owner)


def test_a_folder_that_cannot_be_written_is_told(opened, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutboxError, match="cannot be used"):
        opened(path=tmp_path / "file" / "a.outbox")


def test_a_full_disk_is_told_and_the_answer_is_not_counted(opened):
    outbox = opened()
    outbox.put("patch", filled(), 0)
    pages = outbox._connection.execute("PRAGMA page_count").fetchone()[0]
    outbox._connection.execute(f"PRAGMA max_page_count = {pages}")
    noise = np.random.default_rng(0).integers(0, 256, (40, 40, 40))
    with pytest.raises(OutboxError, match="full"):
        outbox.put("patch", Answer(Kind.LABELLED, noise), 1)
    assert outbox.counts() == Counts(1, 0)


def test_the_file_is_for_its_user_only_and_durable(outbox):
    assert outbox.path.stat().st_mode & 0o077 == 0
    assert outbox._connection.execute("PRAGMA journal_mode").fetchone()[0] == "wal"
    assert outbox._connection.execute("PRAGMA synchronous").fetchone()[0] == 2


def test_each_server_project_and_person_has_its_own_file(tmp_path):
    names = {outbox_path(tmp_path, s, p, w) for s in ("a", "b") for p in ("c", "d") for w in ("e", "f")}
    assert len(names) == 8
    assert outbox_path(tmp_path, "a/", "c", "e") in names
