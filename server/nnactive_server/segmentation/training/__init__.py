"""Training of an ensemble: crops, batches, augmentation, the steps of a member, members together.

`ensemble.py` is what is called from outside; `members.py` and `weights.py` tell what a training left.
"""
