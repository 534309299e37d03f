"""The command line in this process, and a small labelled data set."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from nnactive_server.cli import app
from nnactive_server.dataset import RawDataset
from testkit import numpy_engine


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
