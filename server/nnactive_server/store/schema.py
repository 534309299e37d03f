"""The tables of the store, as numbered migrations.

A migration that was released is never changed; a new one is appended. Times are seconds since 1970 (UTC),
boxes are voxels (z, y, x), columns that hold JSON say so, and a blob is the SHA-256 of a stored file.
"""

from __future__ import annotations

_FIRST = """
CREATE TABLE tokens (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    role TEXT NOT NULL CHECK (role IN ('viewer', 'annotator', 'reviewer', 'admin')),
    digest BLOB NOT NULL,
    created REAL NOT NULL,
    revoked REAL
);
CREATE UNIQUE INDEX tokens_of_living_names ON tokens (name COLLATE NOCASE) WHERE revoked IS NULL;

CREATE TABLE projects (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL UNIQUE COLLATE NOCASE,
    settings TEXT NOT NULL,
    revision INTEGER NOT NULL,
    created REAL NOT NULL,
    changed REAL NOT NULL
);

CREATE TABLE cases (
    id TEXT PRIMARY KEY,
    project TEXT NOT NULL REFERENCES projects (id),
    name TEXT NOT NULL COLLATE NOCASE,
    geometry TEXT NOT NULL,
    details TEXT NOT NULL,
    created REAL NOT NULL,
    UNIQUE (project, name)
);

CREATE TABLE case_images (
    case_id TEXT NOT NULL REFERENCES cases (id),
    channel INTEGER NOT NULL,
    blob TEXT NOT NULL,
    PRIMARY KEY (case_id, channel)
);

CREATE TABLE patches (
    id TEXT PRIMARY KEY,
    project TEXT NOT NULL REFERENCES projects (id),
    case_id TEXT NOT NULL REFERENCES cases (id),
    cycle INTEGER NOT NULL CHECK (cycle >= 0),
    rank INTEGER NOT NULL CHECK (rank >= 1),
    start_z INTEGER NOT NULL, start_y INTEGER NOT NULL, start_x INTEGER NOT NULL,
    size_z INTEGER NOT NULL, size_y INTEGER NOT NULL, size_x INTEGER NOT NULL,
    origin TEXT NOT NULL CHECK (origin IN ('query', 'start', 'placed')),
    score REAL,
    class_group TEXT NOT NULL,
    explanation TEXT NOT NULL,
    placed_by TEXT,
    state TEXT NOT NULL DEFAULT 'open'
        CHECK (state IN ('open', 'answered', 'confirmed', 'empty', 'skipped', 'referred')),
    revision INTEGER NOT NULL DEFAULT 0,
    referred_to TEXT,
    created REAL NOT NULL,
    UNIQUE (project, cycle, rank)
);
CREATE INDEX patches_of_cases ON patches (case_id);

CREATE TABLE leases (
    patch TEXT PRIMARY KEY REFERENCES patches (id),
    holder TEXT NOT NULL,
    granted REAL NOT NULL,
    expires REAL NOT NULL
);

CREATE TABLE answers (
    patch TEXT NOT NULL REFERENCES patches (id),
    reading INTEGER NOT NULL CHECK (reading >= 1),
    revision INTEGER NOT NULL CHECK (revision >= 1),
    kind TEXT NOT NULL
        CHECK (kind IN ('labelled', 'confirmed', 'empty', 'skipped', 'referred', 'reopened')),
    annotator TEXT NOT NULL,
    labels TEXT,
    unsure TEXT,
    prefill TEXT,
    prefill_model TEXT,
    seconds REAL NOT NULL,
    edits INTEGER NOT NULL,
    class_voxels TEXT NOT NULL,
    reason TEXT,
    referred_to TEXT,
    comment TEXT NOT NULL,
    at REAL NOT NULL,
    seq INTEGER NOT NULL UNIQUE,
    PRIMARY KEY (patch, reading, revision)
);
CREATE TRIGGER answers_are_never_changed BEFORE UPDATE ON answers
    BEGIN SELECT RAISE(ABORT, 'answers are only ever added'); END;
CREATE TRIGGER answers_are_never_removed BEFORE DELETE ON answers
    BEGIN SELECT RAISE(ABORT, 'answers are only ever added'); END;

CREATE TABLE jobs (
    id TEXT PRIMARY KEY,
    project TEXT NOT NULL REFERENCES projects (id),
    kind TEXT NOT NULL,
    params TEXT NOT NULL,
    state TEXT NOT NULL
        CHECK (state IN ('queued', 'running', 'succeeded', 'failed', 'cancelled', 'interrupted')),
    attempt INTEGER NOT NULL DEFAULT 0,
    pid INTEGER,
    created REAL NOT NULL,
    started REAL,
    heartbeat REAL,
    finished REAL,
    progress TEXT,
    log TEXT NOT NULL DEFAULT '[]',
    cancel_requested INTEGER NOT NULL DEFAULT 0,
    result TEXT,
    error TEXT NOT NULL DEFAULT ''
);
CREATE UNIQUE INDEX jobs_one_running_for_a_project ON jobs (project) WHERE state = 'running';
CREATE INDEX jobs_by_state ON jobs (state, id);

CREATE TABLE events (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    at REAL NOT NULL,
    project TEXT,
    kind TEXT NOT NULL,
    subject TEXT NOT NULL,
    payload TEXT NOT NULL
);
CREATE INDEX events_of_projects ON events (project, seq);
CREATE INDEX events_of_subjects ON events (subject, kind);

CREATE TABLE requests (
    token TEXT NOT NULL,
    route TEXT NOT NULL,
    key TEXT NOT NULL,
    body_digest TEXT NOT NULL,
    status INTEGER NOT NULL,
    headers TEXT NOT NULL,
    body BLOB NOT NULL,
    created REAL NOT NULL,
    PRIMARY KEY (token, route, key)
);
CREATE INDEX requests_by_age ON requests (created);
"""

_EARLY = """
ALTER TABLE patches ADD COLUMN early INTEGER NOT NULL DEFAULT 0;
ALTER TABLE patches ADD COLUMN withdrawn REAL;
"""
"""Patches that are proposed while a training goes on, and when others took their place."""

MIGRATIONS: tuple[str, ...] = (_FIRST, _EARLY)
"""SQL that leads from version n to n + 1; an empty file has version 0."""
