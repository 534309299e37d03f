"""What a study says: its results read from disk, statistics, tables, figures and one report."""

from nnactive_server.study.analysis.analyze import analyze
from nnactive_server.study.analysis.findings import Analysis, compute
from nnactive_server.study.analysis.results import Row, Setting, StudyResults, Unit, read_study

__all__ = ["Analysis", "Row", "Setting", "StudyResults", "Unit", "analyze", "compute", "read_study"]
