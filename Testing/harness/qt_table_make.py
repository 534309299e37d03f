"""Makes api_table.json: the few classes a module may touch, from a table of Slicer's and CTK's headers.

    python Testing/harness/qt_table_make.py slicer_qt_api.json

The full table lists, for each Qt class of Slicer and CTK, its properties, signals, slots, invokable methods
and plain methods. Here a class keeps what Python can reach; of plain C++ methods only the names stay, for a
better refusal. In a signature '=' follows each argument that has a default, and ':type' stands behind what
returns a value.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

CLASSES = [
    "ctkAxesWidget",
    "ctkCheckBox",
    "ctkCheckablePushButton",
    "ctkCollapsibleButton",
    "ctkCollapsibleGroupBox",
    "ctkColorPickerButton",
    "ctkComboBox",
    "ctkDateRangeWidget",
    "ctkDirectoryButton",
    "ctkDoubleRangeSlider",
    "ctkDoubleSlider",
    "ctkDoubleSpinBox",
    "ctkExpandableWidget",
    "ctkFittedTextBrowser",
    "ctkMenuButton",
    "ctkMessageBox",
    "ctkPathLineEdit",
    "ctkPopupWidget",
    "ctkPushButton",
    "ctkRangeWidget",
    "ctkSearchBox",
    "ctkSliderWidget",
    "ctkLayoutManager",
    "ctkToolTipTrapper",
    "qMRMLCheckableNodeComboBox",
    "qMRMLColorTableComboBox",
    "qMRMLColorTableView",
    "qMRMLLayoutManager",
    "qMRMLNodeComboBox",
    "qMRMLPlotView",
    "qMRMLPlotWidget",
    "qMRMLRangeWidget",
    "qMRMLSegmentEditorWidget",
    "qMRMLSegmentsTableView",
    "qMRMLSliceView",
    "qMRMLSliceControllerWidget",
    "qMRMLSliceWidget",
    "qMRMLSliderWidget",
    "qMRMLSpinBox",
    "qMRMLSubjectHierarchyTreeView",
    "qMRMLTableView",
    "qMRMLThreeDView",
    "qMRMLThreeDWidget",
    "qMRMLVolumeThresholdWidget",
    "qMRMLWidget",
    "qMRMLWindowLevelWidget",
    "qSlicerAbstractCoreModule",
    "qSlicerAbstractModule",
    "qSlicerAbstractModuleFactoryManager",
    "qSlicerAbstractModuleWidget",
    "qSlicerApplication",
    "qSlicerCoreApplication",
    "qSlicerLayoutManager",
    "qSlicerLoadableModule",
    "qSlicerMainWindow",
    "qSlicerModuleFactoryManager",
    "qSlicerModuleManager",
    "qSlicerScriptedLoadableModule",
    "qSlicerScriptedLoadableModuleWidget",
    "qSlicerSegmentEditorAbstractEffect",
    "qSlicerWidget",
    "qSlicerSimpleMarkupsWidget",
    "qSlicerTerminologyNavigatorWidget",
]
CALLED_BY_UTIL = {
    "qSlicerApplication": ["testingEnabled():bool"]
}  # by Slicer's own util.py; not in the headers
KINDS = ("slots", "invokables", "decorators")


def with_bases(classes: dict[str, Any], names: list[str]) -> list[str]:
    """The classes and everything they derive from."""
    todo, found = list(names), set()
    while todo:
        name = todo.pop()
        if name not in found and name in classes:
            found.add(name)
            todo += classes[name]["bases"]
    return sorted(found)


def signature(member: dict[str, Any]) -> str:
    """`name(type,type=):returned`."""
    arguments = ",".join(a["type"] + "=" * a["default"] for a in member["args"])
    returned = member.get("ret") or "void"
    return f"{member['name']}({arguments})" + (f":{returned}" if returned != "void" else "")


def reduced(found: dict[str, Any]) -> dict[str, Any]:
    """One class: bases, properties ('type r' or 'type rw'), signals, methods, enumerations, plain methods."""
    methods = sorted({signature(member) for kind in KINDS for member in found.get(kind, ())})
    methods += CALLED_BY_UTIL.get(found["name"], [])
    reachable = {text.split("(")[0] for text in methods} | set(found["properties"])
    plain = sorted({member["name"] for member in found["methods"]} - reachable)
    entry = {
        "bases": found["bases"],
        "properties": {
            name: f"{of['type']} {'rw' if 'write' in of else 'r'}" for name, of in found["properties"].items()
        },
        "signals": [signature(member) for member in found["signals"]],
        "methods": methods,
        "enums": found["enums"],
        "plain": [name for name in plain if name.isidentifier()],
        "constructible": bool(found.get("python_constructible")),
    }
    return {key: value for key, value in entry.items() if value not in ([], {})}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("table", type=Path, help="the full table")
    full = json.loads(parser.parse_args().table.read_text("utf-8"))
    names = with_bases(full["classes"], CLASSES)
    table = {
        "note": "Facts from headers; made by qt_table_make.py. Sources with their commits:",
        "sources": full["meta"]["sources"],
        "classes": {name: reduced(full["classes"][name]) for name in names},
    }
    lines = json.dumps(table, separators=(",", ":"), sort_keys=True).replace('},"', '},\n"')
    Path(__file__).with_name("api_table.json").write_text(lines + "\n", "utf-8")


if __name__ == "__main__":
    main()
