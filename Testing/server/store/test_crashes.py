"""Processes that are killed, and disks that are full, while answers are recorded."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time

import pytest

from nnactive_server.store import Store

ANSWER = """
import hashlib, os, pathlib, sys, threading
from nnactive_server.store import Answer, Kind, Store

root, project, seed = sys.argv[1:]
store = Store(pathlib.Path(root))
lock = threading.Lock()

def annotate(name):
    patches = [p.id for p in store.patches.list(project)]
    count = 0
    while True:
        patch = patches[(hash(name) + count) % len(patches)]
        content = os.urandom(3000)
        mine = store.blobs.put(content[:2000])
        upload = store.uploads.begin(hashlib.sha256(content).hexdigest(), len(content), name)
        store.uploads.append(upload.id, 0, content, hashlib.sha256(content).hexdigest())
        unsure = store.uploads.finish(upload.id)
        answer = Answer(Kind.LABELLED, name, labels=mine, unsure=unsure, comment="c" * 500)
        with lock:
            expected = store.patches.get(patch).revision
            made = store.answers.record(patch, expected, answer)
        os.write(1, f"{patch} {made.revision} {made.seq} {mine} {unsure}\\n".encode())
        count += 1

for i in range(3):
    threading.Thread(target=annotate, args=(f"{seed} {i}",), daemon=True).start()
threading.Event().wait()
"""

FULL = """
import os, pathlib, resource, signal, sys
from nnactive_server.core.errors import NoSpace
from nnactive_server.store import Answer, Kind, Store

root, patch, what = sys.argv[1:]
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
store = Store(pathlib.Path(root))
limit, most = resource.getrlimit(resource.RLIMIT_FSIZE)
largest = max(p.stat().st_size for p in pathlib.Path(root).iterdir())
# A stored file meets the limit while the database still has room, or the other way round.
size = 8 * largest if what == "file" else 10
resource.setrlimit(resource.RLIMIT_FSIZE, (largest + 100_000, most))

def record(revision):
    labels = store.blobs.put(revision.to_bytes(4, "big") * size)
    answer = Answer(Kind.LABELLED, "anna", labels=labels, comment="x" * 4000)
    return store.answers.record(patch, revision, answer).revision

revision = 0
try:
    while True:
        revision = record(revision)
        print(revision, flush=True)
except NoSpace as problem:
    print("full:", problem, flush=True)
assert len(store.answers.history(patch)) == revision, "reading still works, and nothing is there by half"
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, most))
print(record(revision), flush=True)
"""


def check_whole(store: Store, acknowledged: list[list[str]], project: str) -> None:
    assert store.check() == []
    for patch, revision, seq, labels, unsure in acknowledged:
        record = store.answers.history(patch)[int(revision) - 1]
        assert (record.revision, record.seq) == (int(revision), int(seq))
        assert (record.answer.labels, record.answer.unsure) == (labels, unsure)
        assert store.blobs.verify(labels)
        assert store.blobs.verify(unsure)
    told = {e.seq: e for e in store.events.after(0, 1_000_000) if e.kind == "answer.recorded"}
    kept = {r.seq: r for p in store.patches.list(project) for r in store.answers.history(p.id)}
    assert told.keys() == kept.keys()
    for seq, record in kept.items():
        assert (told[seq].subject, told[seq].payload["revision"]) == (record.patch, record.revision)
    for patch in store.patches.list(project):
        history = store.answers.history(patch.id)
        assert [r.revision for r in history] == list(range(1, patch.revision + 1))
        assert (patch.state == "answered") == bool(history)


def test_a_process_killed_at_any_moment_loses_no_acknowledged_answer(root, make_world):
    with Store(root) as store:
        world = make_world(store, 20)
    chance, acknowledged = random.Random(7), []
    for seed in range(12):
        child = subprocess.Popen(
            [sys.executable, "-c", ANSWER, str(root), world.project.id, str(seed)], stdout=subprocess.PIPE
        )
        acknowledged += [child.stdout.readline().decode().split() for _ in range(3)]
        time.sleep(chance.uniform(0.0, 0.12))
        child.kill()
        rest, _ = child.communicate()
        lines = rest.decode().splitlines(keepends=True)
        acknowledged += [line.split() for line in lines if line.endswith("\n")]
        with Store(root) as store:
            check_whole(store, acknowledged, world.project.id)
    assert len(acknowledged) > 36
    assert all(len(line) == 5 for line in acknowledged)
    with Store(root) as store:
        time.sleep(0.01)  # what is swept is older than now
        store.sweep(0)
        assert set(store.blobs.all()) == store.used_files()
        assert list(store.blobs.temporary.iterdir()) == []
        check_whole(store, acknowledged, world.project.id)


@pytest.mark.parametrize("what", ["database", "file"])
def test_a_full_disk_is_named_and_loses_nothing(root, make_world, what):
    with Store(root) as store:
        patch = make_world(store).patches[0].id
    done = subprocess.run(
        [sys.executable, "-c", FULL, str(root), patch, what], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    *counted, message, last = done.stdout.splitlines()
    assert "free some space" in message
    assert len(counted) > (3 if what == "database" else -1)
    with Store(root) as store:
        history = store.answers.history(patch)
        assert [r.revision for r in history] == [*map(int, counted), int(last)]
        assert store.check() == []
        kinds = [e.kind for e in store.events.after(0, 1_000_000)]
        assert kinds.count("answer.recorded") == len(history)


def test_what_is_left_of_an_upload_after_a_kill_is_gone_on_with(root):
    code = (
        "import sys, pathlib, os, signal, json; from nnactive_server.store import Store\n"
        "import hashlib; content = bytes(range(256)) * 100\n"
        "store = Store(pathlib.Path(sys.argv[1]))\n"
        "upload = store.uploads.begin(hashlib.sha256(content).hexdigest(), len(content), 'anna')\n"
        "store.uploads.append(upload.id, 0, content[:9999], hashlib.sha256(content[:9999]).hexdigest())\n"
        "print(json.dumps([upload.id, upload.sha256, upload.size]), flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(root)], capture_output=True, check=False)
    upload, sha256, size = json.loads(done.stdout)
    with Store(root) as store:
        assert store.uploads.get(upload).received == 9999
        assert store.uploads.begin(sha256, size, "anna").id == upload
