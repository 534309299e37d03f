"""The HTTP side: FastAPI routes per resource, tokens and roles, events, the operator's page.

This process never imports torch, nnU-Net or SimpleITK: whatever needs them runs in processes of its own,
see `jobs`.
"""

from nnactive_server.api.app import create_app, open_store
from nnactive_server.api.settings import Limits, Settings

__all__ = ["Limits", "Settings", "create_app", "open_store"]
