"""A Python whose pip cannot install into other environments, or that has none, as on Debian."""

from NNActiveLogic.local import installing
from NNActiveLogic.local.finding import program_of
from testkit.tiny_server import VERSION


def test_the_environment_then_gets_a_pip_of_its_own(here, told, never, folder, monkeypatch):
    monkeypatch.setattr(installing, "PIP_FOR_OTHERS", (999, 0))
    assert here.set_up(told, never).version == VERSION
    (place,) = (folder / "environments").iterdir()
    assert program_of(place, "pip").is_file()
