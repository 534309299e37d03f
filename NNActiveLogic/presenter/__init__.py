"""The clinician's work as state machines, without Qt and MRML: what is shown, what may be done, what happens.

`Presenter` holds the parts together; the widget calls their methods, draws what they show when `changed` is
called, and calls `Presenter.tick` from a timer. No call waits for the network or a disk.
"""

from NNActiveLogic.presenter.presenter import Presenter

__all__ = ["Presenter"]
