from __future__ import annotations

from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parent / "example"


@pytest.fixture
def example():
    """The example module's file."""
    return EXAMPLE / "PanelExample.py"


@pytest.fixture
def example_ui():
    return EXAMPLE / "Resources" / "UI" / "PanelExample.ui"


@pytest.fixture
def panel(load_module, example):
    """The example module, entered and shown."""
    host = load_module(example)
    host.enter()
    return host
