"""Taking in image files that somebody uploaded: untrusted bytes in, plain stripped NIfTI files out."""

from nnactive_server.dataset.intake.contents import IntakeLimits
from nnactive_server.dataset.intake.run import take_in
from nnactive_server.dataset.intake.writing import TakenIn

__all__ = ["IntakeLimits", "TakenIn", "take_in"]
