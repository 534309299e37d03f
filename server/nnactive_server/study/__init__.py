"""The simulated clinician, experiments and their report."""
