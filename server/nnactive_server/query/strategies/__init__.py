"""The ways to choose patches."""

from nnactive_server.query.strategies.base import Strategy
from nnactive_server.query.strategies.registry import get_strategy, strategy_names

__all__ = ["Strategy", "get_strategy", "strategy_names"]
