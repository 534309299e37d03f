"""Layers that are faster on a CPU than torch's: the same functions, by loops of our own.

    faster.py          changes a network's layers, where the machine and the layer fit
    convolution.py     3x3x3 convolutions of few channels
    normalisation.py   instance norms
    kernels.py         the convolutions' loops
    compiled.py        what all loops share: the compiler, and torch's threads

Only `faster.py` is imported from outside. All else brings in the compiler, which takes a second.
"""
