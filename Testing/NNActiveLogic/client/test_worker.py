"""The worker's thread does the waiting; callbacks run on the thread that drains."""

import threading
import time

import pytest

from faulty_proxy import Fault
from NNActiveLogic.client.answers import Answer, Kind
from NNActiveLogic.client.background import (
    EventReader,
    LeaseKeeper,
    keep_leases,
    read_events,
    send_answers,
)
from NNActiveLogic.client.errors import Cancelled, Unreachable
from NNActiveLogic.client.outbox import Outbox
from NNActiveLogic.client.values import Box, Label
from NNActiveLogic.client.worker import Worker


@pytest.fixture
def worker():
    made = Worker()
    yield made
    assert made.close()


def drain_until(worker, condition, seconds=20.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "nothing came"
        worker.drain()
        time.sleep(0.002)


def test_results_come_back_on_the_thread_that_drains(worker):
    threads = []
    task = worker.submit(
        lambda _: threads.append(threading.current_thread()) or 7,
        done=lambda value: threads.append((threading.current_thread(), value)),
    )
    assert task.wait(10)
    time.sleep(0.02)
    assert len(threads) == 1
    assert worker.drain() == 1
    assert threads[0] is not threading.current_thread()
    assert threads[1] == (threading.current_thread(), 7)


def test_drain_on_another_thread_is_refused(worker):
    caught = []

    def wrong():
        try:
            worker.drain()
        except RuntimeError as problem:
            caught.append(problem)

    thread = threading.Thread(target=wrong)
    thread.start()
    thread.join()
    assert len(caught) == 1


def test_tasks_run_one_after_the_other_in_order(worker):
    order, done = [], []
    for number in range(50):
        worker.submit(lambda _, n=number: order.append(n), done=done.append)
    drain_until(worker, lambda: len(done) == 50)
    assert order == list(range(50))


def test_a_failure_is_handed_on_and_the_thread_goes_on(worker):
    failed, done = [], []
    worker.submit(lambda _: 1 / 0, done=done.append, failed=failed.append)
    worker.submit(lambda _: 2, done=done.append, failed=failed.append)
    drain_until(worker, lambda: done)
    assert isinstance(failed[0], ZeroDivisionError)
    assert done == [2]


def test_a_failure_nobody_asked_for_is_logged(worker, caplog):
    worker.submit(lambda _: 1 / 0).wait(10)
    assert "ZeroDivisionError" in caplog.text


def test_a_callback_that_raises_does_not_swallow_the_next(worker):
    done = []

    def bad(_):
        raise ValueError("callback")

    worker.submit(lambda _: 1, done=bad)
    worker.submit(lambda _: 2, done=done.append).wait(10)
    time.sleep(0.02)
    with pytest.raises(ValueError, match="callback"):
        worker.drain()
    worker.drain()
    assert done == [2]


def test_what_a_callback_submits_waits_for_the_next_drain(worker):
    done = []
    worker.submit(lambda _: 1, done=lambda _: worker.submit(lambda _: 2, done=done.append))
    drain_until(worker, lambda: done)
    assert done == [2]


def test_a_task_that_has_not_begun_can_be_cancelled(worker):
    gate, ran = threading.Event(), []
    worker.submit(lambda _: gate.wait(10))
    task = worker.submit(lambda _: ran.append(1), done=ran.append, failed=ran.append)
    task.cancel()
    gate.set()
    assert task.wait(10)
    worker.drain()
    assert ran == []


def test_a_running_task_ends_where_it_tells_its_progress(worker):
    begun, ended, called = threading.Event(), [], []

    def work(task):
        try:
            while True:
                begun.set()
                task.progress(0, 1)
        except Cancelled:
            ended.append(1)
            raise

    task = worker.submit(work, done=called.append, failed=called.append)
    assert begun.wait(10)
    task.cancel()
    assert task.wait(10)
    worker.drain()
    assert (ended, called) == ([1], [])


def test_a_result_that_came_before_the_cancel_is_not_delivered_after_it(worker):
    called = []
    task = worker.submit(lambda _: 1, done=called.append)
    assert task.wait(10)
    task.cancel()
    worker.drain()
    assert called == []


def test_progress_shows_the_newest_numbers_and_then_the_end(worker):
    shown = []

    def work(task):
        for number in range(1000):
            task.progress(number, 1000)
        return "end"

    task = worker.submit(work, done=shown.append, progress=lambda done, total: shown.append((done, total)))
    assert task.wait(10)
    time.sleep(0.02)
    worker.drain()
    assert shown == [(999, 1000), "end"]


def test_progress_keeps_coming_while_it_is_drained(worker):
    shown, stop = [], threading.Event()

    def work(task):
        number = 0
        while not stop.is_set():
            task.progress(number, 0)
            number += 1

    task = worker.submit(work, progress=lambda done, _: shown.append(done))
    drain_until(worker, lambda: len(shown) > 200)
    stop.set()
    assert task.wait(10)
    assert shown == sorted(shown)


def test_periodic_work_is_done_at_once_and_again(worker):
    count = []
    periodic = worker.every(0.005, lambda: 1, done=count.append)
    drain_until(worker, lambda: len(count) > 5)
    periodic.cancel()
    worker.drain()
    before = len(count)
    time.sleep(0.05)
    worker.drain()
    assert len(count) == before


def test_periodic_work_that_fails_is_done_again(worker):
    failed = []
    worker.every(0.005, lambda: 1 / 0, failed=failed.append)
    drain_until(worker, lambda: len(failed) > 3)


def test_periodic_work_goes_on_during_a_long_task(worker):
    beats, stop = [], threading.Event()
    worker.every(0.005, lambda: 1, done=beats.append)

    def long(task):
        while not stop.is_set():
            task.progress(0, 0)

    task = worker.submit(long)
    drain_until(worker, lambda: len(beats) > 5)
    assert not task.finished
    stop.set()
    assert task.wait(10)


def test_close_drops_what_waits_and_stops_what_runs():
    worker, begun, ran = Worker(), threading.Event(), []

    def work(task):
        begun.set()
        while True:
            task.progress(0, 1)

    running = worker.submit(work)
    waiting = worker.submit(lambda _: ran.append(1))
    assert begun.wait(10)
    assert worker.close()
    assert running.finished
    assert waiting.finished
    assert ran == []
    with pytest.raises(RuntimeError, match="closed"):
        worker.submit(lambda _: 1)
    assert worker.close()


def test_close_does_not_wait_for_a_silent_server_longer_than_asked(proxy, connect):
    proxy.plan = lambda: Fault(silent=True)
    client = connect(proxy.url)
    worker = Worker(on_close=client.close)
    task = worker.submit(lambda _: client.health())
    while not proxy.connections:
        time.sleep(0.001)
    assert not worker.close(seconds=0.01)
    assert task.wait(10)


@pytest.fixture
def project(client, image):
    made = client.create_project("p", [Label("organ")], ["CT"])
    case = client.add_case(made.id, [client.upload(image[0])])
    client.place_patch(made.id, case.id, Box((0, 0, 0), (2, 2, 2)))
    return made.id


def test_answers_go_out_in_the_background_and_events_come_in(worker, standin, client, project, tmp_path):
    patch, reports, events = client.next_patch(project), [], []
    outbox = Outbox(tmp_path / "a.outbox", standin.url, project, "ann")
    send_answers(worker, client, outbox, seconds=0.01, done=reports.append)
    read_events(worker, EventReader(client, project), seconds=0.01, done=events.extend)
    outbox.put(patch.id, Answer(Kind.EMPTY), 0)
    drain_until(worker, lambda: events)
    assert sum(len(report.sent) for report in reports) == 1
    assert [event.seq for event in events] == [1]
    assert worker.close()
    outbox.close()


def test_a_lease_is_prolonged_until_it_is_dropped_or_lost(worker, standin, client, project):
    patch, keeper, lost = client.next_patch(project), LeaseKeeper(), []
    keeper.hold(patch.id)
    standin.app.patches[patch.id]["lease"]["expires"] = before = time.time() + 5
    keep_leases(worker, client, keeper, seconds=0.01, lost=lost.extend)
    drain_until(worker, lambda: standin.app.patches[patch.id]["lease"]["expires"] > before + 10)
    assert lost == []
    standin.app.patches[patch.id]["lease"] = {"holder": "ben", "expires": time.time() + 60}
    drain_until(worker, lambda: lost)
    assert lost == [patch.id]
    assert keeper.held == frozenset()


def test_a_lease_is_kept_when_the_server_cannot_be_asked(connect):
    keeper = LeaseKeeper()
    keeper.hold("patch")
    with pytest.raises(Unreachable):
        keeper.beat(connect("http://127.0.0.1:1"))
    assert keeper.held == {"patch"}
    keeper.drop("patch")
    assert keeper.beat(connect("http://127.0.0.1:1")) == ()
