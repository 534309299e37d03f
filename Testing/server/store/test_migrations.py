from __future__ import annotations

import sqlite3
import threading

import pytest

from nnactive_server.core.errors import StoreError
from nnactive_server.store import Database
from nnactive_server.store.migrations import APPLICATION_ID
from nnactive_server.store.schema import MIGRATIONS

FIRST = "CREATE TABLE a (x TEXT);\nCREATE TRIGGER t BEFORE DELETE ON a\nBEGIN SELECT 1; SELECT 2; END;\n"
SECOND = "ALTER TABLE a ADD COLUMN y INTEGER NOT NULL DEFAULT 7;\nINSERT INTO a (x) VALUES ('two; parts');\n"
BROKEN = "CREATE TABLE b (x);\nINSERT INTO nowhere VALUES (1);\n"


def version(path) -> int:
    connection = sqlite3.connect(path)
    found = connection.execute("PRAGMA user_version").fetchone()[0]
    connection.close()
    return found


def tables(path) -> set[str]:
    connection = sqlite3.connect(path)
    found = {row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    connection.close()
    return found


def test_an_old_database_keeps_its_rows_on_the_way_to_the_newest_version(tmp_path):
    path = tmp_path / "db"
    old = Database(path, (FIRST,))
    with old.write() as connection:
        connection.execute("INSERT INTO a VALUES ('kept')")
    old.close()
    assert version(path) == 1
    new = Database(path, (FIRST, SECOND))
    with new.read() as connection:
        rows = [tuple(row) for row in connection.execute("SELECT x, y FROM a")]
    new.close()
    assert rows == [("kept", 7), ("two; parts", 7)]
    assert version(path) == 2


def test_a_migration_that_fails_leaves_the_version_before_it(tmp_path):
    path = tmp_path / "db"
    with pytest.raises(StoreError, match="nowhere"):
        Database(path, (FIRST, SECOND, BROKEN))
    assert version(path) == 2
    assert tables(path) == {"a"}


def test_an_older_program_refuses_what_a_newer_one_wrote(tmp_path):
    Database(tmp_path / "db", (FIRST, SECOND)).close()
    with pytest.raises(StoreError, match="newer version"):
        Database(tmp_path / "db", (FIRST,))


def test_many_that_open_a_new_file_at_once_migrate_it_once(tmp_path):
    troubles: list[Exception] = []

    def open_it() -> None:
        try:
            Database(tmp_path / "db", (FIRST, SECOND)).close()
        except StoreError as problem:
            troubles.append(problem)

    threads = [threading.Thread(target=open_it) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not troubles
    connection = sqlite3.connect(tmp_path / "db")
    assert connection.execute("SELECT count(*) FROM a").fetchone()[0] == 1
    connection.close()


def test_the_shipped_migrations_give_every_table_and_our_mark(tmp_path):
    Database(tmp_path / "db").close()
    assert version(tmp_path / "db") == len(MIGRATIONS)
    wanted = {"tokens", "projects", "cases", "patches", "leases", "answers", "jobs", "events", "requests"}
    assert wanted <= tables(tmp_path / "db")
    connection = sqlite3.connect(tmp_path / "db")
    assert connection.execute("PRAGMA application_id").fetchone()[0] == APPLICATION_ID
    connection.close()
