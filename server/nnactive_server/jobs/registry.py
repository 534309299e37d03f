"""Functions by name, imported only where they are needed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

from nnactive_server.core.errors import InvalidInput

JOBS: Mapping[str, str] = {
    "cycle": "nnactive_server.jobs.cycle:run",
    "export": "nnactive_server.jobs.exporting:run",
    "import": "nnactive_server.jobs.importing:run",
}
"""What runs a job of a kind: `run(context: JobContext) -> dict`."""
TASKS: Mapping[str, str] = {
    "project-folders": "nnactive_server.jobs.handlers_cases:project_folders",
    "intake": "nnactive_server.jobs.handlers_cases:intake",
    "start-patches": "nnactive_server.jobs.handlers_project:start_patches",
    "suggest": "nnactive_server.jobs.handlers_project:suggest",
}
"""What runs a task: `handler(params: Mapping[str, Any]) -> dict[str, Any]`."""


def check_name(registry: Mapping[str, str], name: str) -> str:
    """The `module:function` of a name.

    Raises:
        InvalidInput: there is none.
    """
    if name not in registry:
        raise InvalidInput(
            f"'{name[:80]}': this server cannot do that; it knows {', '.join(sorted(registry))}"
        )
    return registry[name]


def resolve(registry: Mapping[str, str], name: str) -> Callable[[Any], dict[str, Any]]:
    """Import and return the function of a name.

    Raises:
        InvalidInput: there is none.
    """
    module, _, function = check_name(registry, name).partition(":")
    found: Callable[[Any], dict[str, Any]] = getattr(import_module(module), function)
    return found
