"""How good the model is and where it was unsure: Dice, learning curves, slices, figures.

Arrays in, numbers and figures out; knows neither the training engine nor any store.
"""

from nnactive_server.evaluation.curves import FgEfficiency, aubc, fg_efficiency
from nnactive_server.evaluation.dice import (
    Overlap,
    class_means,
    dice_per_class,
    mean_dice,
    overlap_per_class,
    pairwise_dice,
)
from nnactive_server.evaluation.views import QueryView, SliceView, query_view

__all__ = [
    "FgEfficiency",
    "Overlap",
    "QueryView",
    "SliceView",
    "aubc",
    "class_means",
    "dice_per_class",
    "fg_efficiency",
    "mean_dice",
    "overlap_per_class",
    "pairwise_dice",
    "query_view",
]
