"""What `make system` does on which machine."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from harness import system_packages
from harness.system_packages import Machine, Need, Plan, carry_out, missing, plan, report

ROOT = Path(__file__).resolve().parents[3]
DEBIAN = Machine("debian", root=True, apt=True)
UBUNTU = Machine("ubuntu", root=True, apt=True, families=frozenset({"debian"}))
LIBRARY = Need("libegl1", "Qt", lambda: False)
BROWSER = Need("chromium", "pages", lambda: False)
FONT = Need("fonts-dejavu-core", "texts", lambda: True)


class Apt:
    """Notes commands; those with a word of `failing` in them fail."""

    def __init__(self, *failing):
        self.failing = set(failing)
        self.commands = []

    def __call__(self, command):
        self.commands.append(tuple(word for word in command[1:] if word[0] not in "-AD"))
        return not self.failing & set(command)


def test_only_what_is_not_there_is_wanted():
    assert missing((LIBRARY, BROWSER, FONT)) == [LIBRARY, BROWSER]


def test_nothing_is_run_when_all_is_there():
    apt = Apt()
    assert plan([], DEBIAN) == Plan()
    assert carry_out(Plan(), apt) == []
    assert apt.commands == []


def test_debian_gets_the_browser_apart_from_the_rest():
    wanted = plan([LIBRARY, BROWSER, FONT], DEBIAN)
    assert wanted.install == (("libegl1", "fonts-dejavu-core"), ("chromium",))
    assert wanted.named == ()


def test_ubuntu_gets_all_but_the_browser():
    wanted = plan([LIBRARY, BROWSER], UBUNTU)
    assert (wanted.install, wanted.named) == ((("libegl1",),), ("chromium",))
    assert "snap" in report(wanted.named, wanted.because)


@pytest.mark.parametrize(
    ("machine", "reason"),
    [
        (Machine("debian", root=False, apt=True), "only root"),
        (Machine("debian", root=True, apt=False), "only Debian"),
        (Machine("fedora", root=True, apt=True), "only Debian"),
        (Machine("", root=True, apt=True), "only Debian"),
    ],
)
def test_elsewhere_the_packages_are_named(machine, reason):
    wanted = plan([LIBRARY, FONT], machine)
    assert (wanted.install, wanted.named) == ((), ("libegl1", "fonts-dejavu-core"))
    text = report(wanted.named, wanted.because)
    assert reason in text
    assert "apt-get install libegl1 fonts-dejavu-core" in text


def test_a_distribution_made_from_ubuntu_counts_as_ubuntu():
    wanted = plan([LIBRARY, BROWSER], Machine("linuxmint", True, True, frozenset({"ubuntu", "debian"})))
    assert (wanted.install, wanted.named) == ((("libegl1",),), ("chromium",))


def test_the_list_of_packages_is_fetched_only_after_a_failure():
    apt = Apt("chromium")
    left = carry_out(plan([LIBRARY, BROWSER], DEBIAN), apt)
    assert left == ["chromium"]
    assert apt.commands == [
        ("install", "libegl1"),
        ("install", "chromium"),
        ("update",),
        ("install", "chromium"),
    ]


def test_without_a_network_everything_is_named():
    left = carry_out(plan([LIBRARY, BROWSER], DEBIAN), Apt("install", "update"))
    assert left == ["libegl1", "chromium"]
    assert "could not install" in report(left, "")


def test_a_command_that_is_not_there_is_no_crash():
    assert not system_packages._run(["no-such-program-anywhere"])
    assert not system_packages._run(["false"])


def test_a_library_that_is_not_there_is_seen():
    assert not system_packages._library("libNoSuchThing.so.7")
    assert system_packages._library("libc.so.6")


def _python(code, **environment):
    paths = os.pathsep.join([environment.pop("first", ""), str(ROOT / "Testing")]).strip(os.pathsep)
    environment = os.environ | {"PYTHONPATH": paths} | environment
    done = subprocess.run(
        [sys.executable, *code], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout + done.stderr


def test_views_that_cannot_draw_say_so(tmp_path):
    code = "from harness import views; print(views.why_not())"
    # libglvnd and Mesa find no driver
    status, text = _python(
        ["-c", code], __EGL_VENDOR_LIBRARY_DIRS=str(tmp_path), LIBGL_DRIVERS_PATH=str(tmp_path)
    )
    assert (status, "No picture can be drawn" in text, "make system" in text) == (0, True, True), text


def test_skipped_tests_give_their_reason_in_the_summary(tmp_path):
    broken = tmp_path / "PySide6" / "__init__.py"
    broken.parent.mkdir()
    broken.write_text("raise ImportError('libEGL.so.1: cannot open shared object file')\n", "utf-8")
    file = Path(__file__).with_name("test_refusals.py")
    command = ["-m", "pytest", "-q", "-p", "no:cacheprovider", str(file), "-k", "properties"]
    status, text = _python(command, first=str(tmp_path))
    assert status == 0, text
    assert "SKIPPED [1]" in text
    assert "Qt does not start: libEGL.so.1: cannot open shared object file" in text
