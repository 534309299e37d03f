"""The stand-in of the segment editor's effects."""

from __future__ import annotations

from typing import Any

from harness.qt_standin import behaves_as

EFFECTS = (
    "Threshold", "Paint", "Draw", "Erase", "Level tracing", "Grow from seeds", "Fill between slices",
    "Margin", "Hollow", "Smoothing", "Scissors", "Islands", "Logical operators", "Mask volume",
)  # fmt: skip
VOLUME_EFFECTS = ("Threshold", "Level tracing", "Grow from seeds", "Mask volume")


@behaves_as("qSlicerSegmentEditorAbstractEffect")
class Effect:
    """An effect keeps its parameters as attributes of the editor's parameter node."""

    def __init__(self, editor: Any, name: str) -> None:
        super().__init__()
        self._editor = editor
        self._values = {"name": name, "title": name}

    def _node(self) -> Any:
        return self._editor._node_or_raise()

    def parameterSetNode(self) -> Any:
        return self._editor._node

    def parameterDefined(self, name: str) -> bool:
        return self._node().GetAttribute(self._key(name)) is not None

    def commonParameterDefined(self, name: str) -> bool:
        return self._node().GetAttribute(name) is not None

    def parameter(self, name: str) -> str:
        node = self._node()
        return node.GetAttribute(self._key(name)) or node.GetAttribute(name) or ""

    def integerParameter(self, name: str) -> int:
        return int(float(self.parameter(name) or 0))

    def doubleParameter(self, name: str) -> float:
        return float(self.parameter(name) or 0)

    def setParameter(self, name: str, value: Any) -> None:
        self._node().SetAttribute(self._key(name), str(value))

    def setCommonParameter(self, name: str, value: Any) -> None:
        self._node().SetAttribute(name, str(value))

    def setParameterDefault(self, name: str, value: Any) -> None:
        if not self.parameterDefined(name):
            self.setParameter(name, value)

    def setCommonParameterDefault(self, name: str, value: Any) -> None:
        if not self.commonParameterDefined(name):
            self.setCommonParameter(name, value)

    def active(self) -> bool:
        return self._editor.activeEffect() is self

    def saveStateForUndo(self) -> None:
        self._editor.saveStateForUndo()

    def selectEffect(self, name: str) -> None:
        self._editor.setActiveEffectByName(name)

    def scene(self) -> Any:
        return self._editor.mrmlScene()

    def _key(self, name: str) -> str:
        return f"{self._values['name']}.{name}"
