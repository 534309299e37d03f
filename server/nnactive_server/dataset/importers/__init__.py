"""Importers: other people's folders become projects."""

from nnactive_server.dataset.importers.run import ImportReport, import_dataset, scan_source

__all__ = ["ImportReport", "import_dataset", "scan_source"]
