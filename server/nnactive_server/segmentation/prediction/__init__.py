"""Prediction of cases: tiles, passes, the way back to the case's grid, slabs, features."""
