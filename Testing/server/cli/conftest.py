"""The command line in this process, and a small labelled data set."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from nnactive_server.cli import app
from nnactive_server.dataset import RawDataset

spec = importlib.util.spec_from_file_location(
    "numpy_engine", Path(__file__).parents[1] / "loop" / "numpy_engine.py"
)
assert spec is not None
assert spec.loader is not None
numpy_engine = importlib.util.module_from_spec(spec)
sys.modules["numpy_engine"] = numpy_engine
spec.loader.exec_module(numpy_engine)


@pytest.fixture(scope="session")
def invoke() -> Callable[..., Result]:
    def call(*words: object) -> Result:
        return CliRunner().invoke(app, [str(word) for word in words])

    return call


@pytest.fixture(scope="session")
def source(tmp_path_factory: pytest.TempPathFactory) -> RawDataset:
    return numpy_engine.make_source(tmp_path_factory.mktemp("data") / "Balls", cases=5)


@pytest.fixture(scope="session")
def simulated(
    invoke: Callable[..., Result], source: RawDataset, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Result]:
    """A finished run of nnU-Net with the smoke profile, and what the command said."""
    out = tmp_path_factory.mktemp("runs") / "one"
    words = ("--patch", 4, 5, 4, "--query-size", 3, "--cycles", 2, "--profile", "smoke", "--out", out)
    return out, invoke("simulate", source.root, *words, "--json")
