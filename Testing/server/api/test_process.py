"""The web process itself: what it imports, and how it starts and ends."""

import json
import os
import socket
import stat
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from nnactive_server.cli import app
from nnactive_server.store import Role, Store
from testkit.live_server import LiveServer

HEAVY = ("torch", "nnunetv2", "SimpleITK", "matplotlib", "pydicom", "batchgenerators", "blosc2", "scipy")


def test_the_web_process_imports_nothing_heavy():
    code = (
        "import sys\n"
        "import nnactive_server.api.run\n"
        f"print([name for name in {HEAVY} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.skipif(not os.path.exists("/proc/self/maps"), reason="needs Linux's /proc")  # noqa: PTH110
def test_a_server_at_work_has_not_loaded_torch_either(live, ann, project, case, patch):
    ann.change_project(project.id, strategy="bald")
    ann.image(case.id)
    ann.patches(project.id)
    with open(f"/proc/{live.process.pid}/maps") as maps:  # noqa: PTH123
        text = maps.read()
    assert "numpy" in text
    assert "torch" not in text
    assert "SimpleITK" not in text
    assert patch.id


def test_the_first_start_makes_a_token_that_only_its_owner_can_read(tmp_path):
    with LiveServer(tmp_path / "data", people=False) as server:
        file = server.data / "token"
        secret = file.read_text().strip()
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        with Store(server.data) as store:
            assert store.tokens.verify(secret).role == Role.ADMIN
        assert server.log().count(secret) == 1
        assert server.stop() == 0
        server.start()
        assert server.log().count(secret) == 1  # shown once


def test_two_servers_cannot_share_a_folder(live):
    command = [sys.executable, "-m", "nnactive_server.cli", "serve", "--data", str(live.data), "--port", "0"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert "Error: " in done.stderr
    assert "Traceback" not in done.stderr
    assert json.loads((live.data / "server.json").read_text())["url"] == live.url


def test_a_port_in_use_is_named(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        command = [
            sys.executable,
            "-m",
            "nnactive_server.cli",
            "serve",
            "--data",
            str(tmp_path),
            "--port",
            str(port),
        ]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert f":{port}: another program listens there" in done.stderr


def test_a_server_ends_in_order_while_somebody_waits_for_events(tmp_path):
    server = LiveServer(tmp_path / "data").start()
    with server.call("GET", "/v1/events/stream", stream=True) as reply:
        lines = reply.iter_lines(chunk_size=1)
        next(lines)
        assert server.stop() == 0
    assert "Traceback" not in server.log()
    assert not (server.data / "server.json").exists()


def test_tokens_are_made_listed_and_revoked_at_the_shell(tmp_path):
    run = CliRunner()
    data = ["--data", str(tmp_path)]
    made = run.invoke(app, ["token", "create", *data, "--name", "dr lee", "--role", "reviewer", "--json"])
    secret = json.loads(made.stdout)["token"]
    with Store(tmp_path) as store:
        assert store.tokens.verify(secret).role == Role.REVIEWER
    listed = run.invoke(app, ["token", "list", *data, "--json"])
    assert [one["name"] for one in json.loads(listed.stdout)["tokens"]] == ["dr lee"]
    assert secret not in listed.stdout
    assert run.invoke(app, ["token", "revoke", "dr lee", *data]).exit_code == 0
    with Store(tmp_path) as store:
        assert store.tokens.verify(secret) is None
    assert run.invoke(app, ["token", "revoke", "nobody", *data]).exit_code == 1


def test_tokens_of_a_folder_without_a_server_are_not_listed(tmp_path):
    done = CliRunner().invoke(app, ["token", "list", "--data", str(tmp_path / "none")])
    assert done.exit_code == 1
    assert not (tmp_path / "none").exists()
