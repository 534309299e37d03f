"""Layers that are faster on a CPU than torch's: the same functions, by loops of our own.

    faster.py          changes a network's layers, where the machine and the layer fit
    convolution.py     3x3x3 convolutions of few channels
    transposed.py      transposed ones, to the next finer resolution
    normalisation.py   instance norms, with the activation behind them
    kernels.py         the convolutions' loops
    spreading.py       the loops of what goes the other way, from one voxel to several
    compiled.py        what all loops share: the compiler, and torch's threads

Only `faster.py` is imported from outside. All else brings in the compiler, which takes a second.
"""
