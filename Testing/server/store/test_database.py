from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading

import pytest

from nnactive_server.core.errors import Busy, NoSpace, StoreError
from nnactive_server.store import Database, Store, database
from nnactive_server.store.schema import MIGRATIONS

TABLE = ("CREATE TABLE numbers (n INTEGER PRIMARY KEY);",)


@pytest.fixture
def numbers(tmp_path):
    opened = Database(tmp_path / "n.sqlite", TABLE)
    yield opened
    opened.close()


def add(db: Database, n: int) -> None:
    with db.write() as connection:
        connection.execute("INSERT INTO numbers VALUES (?)", (n,))


def add_twice(db: Database, n: int) -> None:
    """Fails after the first row was written."""
    with db.write() as connection:
        connection.execute("INSERT INTO numbers VALUES (?)", (n,))
        connection.execute("INSERT INTO numbers VALUES (?)", (n,))


def all_of(db: Database) -> list[int]:
    with db.read() as connection:
        return [row[0] for row in connection.execute("SELECT n FROM numbers ORDER BY n")]


def test_the_settings_that_make_commits_durable_are_on_in_every_connection(numbers):
    for _ in range(2):
        connection = numbers.connect()
        values = [
            connection.execute(f"PRAGMA {name}").fetchone()[0]
            for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        ]
        connection.close()
        assert values == ["wal", 2, 1, 10_000]


def test_a_transaction_that_fails_leaves_no_trace(numbers):
    add(numbers, 1)
    with pytest.raises(StoreError, match="UNIQUE"):
        add_twice(numbers, 2)
    assert all_of(numbers) == [1]
    add(numbers, 3)
    assert all_of(numbers) == [1, 3]


def test_an_inner_transaction_that_fails_leaves_the_outer_one_its_own_work(numbers):
    with numbers.write() as connection:
        connection.execute("INSERT INTO numbers VALUES (1)")
        with pytest.raises(sqlite3.IntegrityError):
            add_twice(numbers, 2)
        add(numbers, 3)
        assert all_of(numbers) == [1, 3], "a read inside sees what was written so far"
    assert all_of(numbers) == [1, 3]


def test_inner_work_goes_when_the_outer_transaction_fails(numbers):
    def work() -> None:
        with numbers.write():
            add(numbers, 1)
            raise KeyError

    with pytest.raises(KeyError):
        work()
    assert all_of(numbers) == []


def test_a_reader_keeps_its_view_while_others_write(numbers):
    add(numbers, 1)
    with numbers.read() as connection:
        assert connection.execute("SELECT count(*) FROM numbers").fetchone()[0] == 1
        writer = threading.Thread(target=add, args=(numbers, 2))
        writer.start()
        writer.join()
        assert connection.execute("SELECT count(*) FROM numbers").fetchone()[0] == 1
    assert all_of(numbers) == [1, 2]


def test_threads_that_write_at_once_all_get_their_turn(numbers):
    threads = [
        threading.Thread(target=lambda first=first: [add(numbers, first + i) for i in range(10)])
        for first in range(0, 160, 10)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all_of(numbers) == list(range(160))


def test_a_database_locked_by_another_process_for_too_long_is_named_busy(tmp_path, monkeypatch):
    monkeypatch.setattr(database, "BUSY_SECONDS", 0.2)
    numbers = Database(tmp_path / "n.sqlite", TABLE)
    other = sqlite3.connect(tmp_path / "n.sqlite", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(Busy, match="try again"):
        add(numbers, 1)
    other.execute("ROLLBACK")
    other.close()
    add(numbers, 2)
    assert all_of(numbers) == [2]
    numbers.close()


def test_a_full_database_is_named_and_goes_on_when_there_is_room_again(numbers):
    # The limit belongs to a connection, and the next transaction takes the one that is idle.
    with numbers.read() as connection:
        connection.execute("PRAGMA max_page_count = 3")
    with pytest.raises(NoSpace, match="free some space"), numbers.write() as connection:
        connection.executemany("INSERT INTO numbers VALUES (?)", [(i,) for i in range(5000)])
    assert all_of(numbers) == []
    add(numbers, 1)
    assert all_of(numbers) == [1]


def test_a_closed_store_says_so(root):
    store = Store(root)
    store.close()
    with pytest.raises(StoreError, match="closed"):
        store.projects.list()


def test_a_file_that_is_no_database_is_refused_and_left_alone(root):
    root.mkdir()
    (root / "state.sqlite").write_bytes(b"something else entirely " * 100)
    with pytest.raises(StoreError, match="not a database"):
        Store(root)
    assert (root / "state.sqlite").read_bytes().startswith(b"something else")


def test_a_database_of_another_program_is_refused_and_left_alone(root):
    root.mkdir()
    connection = sqlite3.connect(root / "state.sqlite")
    connection.execute("CREATE TABLE theirs (a)")
    connection.close()
    with pytest.raises(StoreError, match="another program"):
        Store(root)
    connection = sqlite3.connect(root / "state.sqlite")
    assert [row[0] for row in connection.execute("SELECT name FROM sqlite_master")] == ["theirs"]
    connection.close()


def test_a_database_of_a_newer_version_is_refused(root):
    Store(root).close()
    connection = sqlite3.connect(root / "state.sqlite")
    connection.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")
    connection.close()
    with pytest.raises(StoreError, match="newer version"):
        Store(root)


def test_the_folder_is_for_its_owner_alone(root):
    Store(root).close()
    assert root.stat().st_mode & 0o077 == 0


def test_rows_that_refer_to_nothing_cannot_be_written(store):
    with pytest.raises(StoreError, match="FOREIGN KEY"), store.database.write() as connection:
        connection.execute("INSERT INTO leases VALUES ('nowhere', 'anna', 0, 1)")


def test_check_finds_a_row_that_refers_to_nothing(store):
    connection = sqlite3.connect(store.database.path)
    connection.execute("INSERT INTO leases VALUES ('nowhere', 'anna', 0, 1)")
    connection.commit()
    connection.close()
    assert any("leases" in line for line in store.check())


def test_the_store_loads_neither_torch_nor_nnunet():
    code = (
        "import sys, nnactive_server.store; "
        "sys.exit(bool({'torch', 'nnunetv2', 'scipy', 'SimpleITK'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
