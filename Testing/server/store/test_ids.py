from __future__ import annotations

import threading

from nnactive_server.store import ID, ids


def test_ids_are_unique_sorted_and_of_the_promised_form():
    made = [ids.new_id() for _ in range(5000)]
    assert made == sorted(set(made))
    assert all(ID.fullmatch(one) for one in made)


def test_ids_grow_although_the_clock_is_set_back(monkeypatch):
    before = ids.new_id()
    monkeypatch.setattr(ids.time, "time_ns", lambda: 0)
    assert ids.new_id() > before


def test_threads_never_get_the_same_id():
    found: list[str] = []
    threads = [
        threading.Thread(target=lambda: found.extend([ids.new_id() for _ in range(500)])) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(found)) == 4000
