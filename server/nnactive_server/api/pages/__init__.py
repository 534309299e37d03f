"""What a browser gets: the operator's page and the description of the interface.

Rendered here, without scripts, fonts or anything from elsewhere. Every text is escaped by the templates.
"""

from nnactive_server.api.pages.interface import Interface, describe
from nnactive_server.api.pages.overview import Overview, look
from nnactive_server.api.pages.render import render

__all__ = ["Interface", "Overview", "describe", "look", "render"]
