"""What the stand-ins of CTK's widgets do, as far as a module's panel shows it."""

from __future__ import annotations

from typing import Any

from PySide6 import QtCore, QtGui, QtWidgets

from harness import qt_signals
from harness.qt_standin import behaves_as

Widget = QtWidgets.QWidget


def emit(obj: QtCore.QObject, signature: str, *arguments: Any) -> None:
    """Emit one signature of a stand-in's signal."""
    qt_signals.instance(obj, signature)[0].emit(*arguments)


def parent_of(arguments: tuple[Any, ...]) -> Any:
    """The parent among a constructor's arguments; some take a text first."""
    return next((a for a in arguments if isinstance(a, QtCore.QObject)), None)


@behaves_as("ctkCollapsibleButton")
class CollapsibleButton:
    """A button as a header above its own children."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(parent_of(arguments))
        self._values = {"collapsed": False, "collapsedHeight": 10}
        QtWidgets.QPushButton.setText(self, next((a for a in arguments if isinstance(a, str)), ""))
        QtWidgets.QPushButton.setCheckable(self, True)
        QtWidgets.QPushButton.setChecked(self, True)
        policy = QtWidgets.QSizePolicy.Policy.Preferred
        Widget.setSizePolicy(self, policy, policy)
        Widget.setContentsMargins(self, 0, self._header(), 0, 0)
        self.connect("toggled(bool)", self._follow)

    def _header(self) -> int:
        return QtGui.QFontMetrics(Widget.font(self)).height() + 10

    def _follow(self, opened: bool) -> None:
        self.collapsed = not opened

    def _collapsed_changed(self, collapsed: bool) -> None:
        QtWidgets.QPushButton.setChecked(self, not collapsed)
        for child in self.children():
            if isinstance(child, Widget):
                Widget.setVisible(child, not collapsed)
        Widget.updateGeometry(self)
        emit(self, "contentsCollapsed(bool)", collapsed)

    def childEvent(self, event: Any) -> None:
        """A child added to a closed section is hidden too."""
        if event.added() and isinstance(event.child(), Widget) and self.collapsed:
            Widget.setVisible(event.child(), False)

    def sizeHint(self) -> Any:
        inside = Widget.layout(self)
        if inside is None or self.collapsed:
            return QtCore.QSize(120, self._header())
        return inside.totalSizeHint().expandedTo(QtCore.QSize(120, self._header()))

    def minimumSizeHint(self) -> Any:
        inside = Widget.layout(self)
        if inside is None or self.collapsed:
            return QtCore.QSize(60, self._header())
        return inside.totalMinimumSize()

    def paintEvent(self, _event: Any) -> None:
        painter = QtWidgets.QStylePainter(self)
        option = QtWidgets.QStyleOptionButton()
        option.initFrom(self)
        option.rect = QtCore.QRect(0, 0, Widget.width(self), self._header() - 2)
        painter.drawControl(QtWidgets.QStyle.ControlElement.CE_PushButton, option)
        text = ("▸  " if self.collapsed else "▾  ") + self.text
        painter.drawText(option.rect.adjusted(8, 0, 0, 0), QtCore.Qt.AlignmentFlag.AlignVCenter, text)

    def hitButton(self, position: Any) -> bool:
        return bool(position.y() < self._header())


@behaves_as("ctkCollapsibleGroupBox")
class CollapsibleGroupBox:
    """A group box whose title, with an arrow, opens and closes it."""

    _UNLIMITED = 16777215

    def __init__(self, *arguments: Any) -> None:
        super().__init__(parent_of(arguments))
        self._values = {"collapsed": False, "collapsedHeight": 14}
        QtWidgets.QGroupBox.setTitle(self, next((a for a in arguments if isinstance(a, str)), ""))
        QtWidgets.QGroupBox.setCheckable(self, True)
        QtWidgets.QGroupBox.setChecked(self, True)
        self.connect("toggled(bool)", self._follow)

    def _follow(self, opened: bool) -> None:
        self.collapsed = not opened

    def _collapsed_changed(self, collapsed: bool) -> None:
        QtWidgets.QGroupBox.setChecked(self, not collapsed)
        header = QtGui.QFontMetrics(Widget.font(self)).height() + self.collapsedHeight // 2
        Widget.setMaximumHeight(self, header if collapsed else self._UNLIMITED)
        for child in self.children():
            if isinstance(child, Widget):
                Widget.setVisible(child, not collapsed)

    def childEvent(self, event: Any) -> None:
        """A child added to a closed box is hidden too."""
        if event.added() and isinstance(event.child(), Widget) and self.collapsed:
            Widget.setVisible(event.child(), False)

    def paintEvent(self, _event: Any) -> None:
        option = QtWidgets.QStyleOptionGroupBox()
        self.initStyleOption(option)
        control = QtWidgets.QStyle.SubControl
        shown = control.SC_GroupBoxLabel if self.collapsed else option.subControls
        option.subControls = shown & ~control.SC_GroupBoxCheckBox
        option.text = ("▸  " if self.collapsed else "▾  ") + self.title
        painter = QtWidgets.QStylePainter(self)
        painter.drawComplexControl(QtWidgets.QStyle.ComplexControl.CC_GroupBox, option)


class _Numbers:
    """Limits and steps that the spin boxes and sliders inside have to follow."""

    _STEPS = 1000

    def _clip(self, value: float) -> float:
        return round(min(max(value, self.minimum), self.maximum), self.decimals)

    def _spin_box(self) -> Any:
        box = QtWidgets.QDoubleSpinBox(self)
        Widget.layout(self).addWidget(box)
        return box

    def _show_number(self, box: Any, value: float) -> None:
        blocked = QtCore.QSignalBlocker(box)
        box.setDecimals(self.decimals)
        box.setRange(self.minimum, self.maximum)
        box.setSingleStep(self.singleStep)
        box.setPrefix(self.prefix)
        box.setSuffix(self.suffix)
        box.setValue(value)
        del blocked


@behaves_as("ctkSliderWidget")
class SliderWidget(_Numbers):
    """A slider with a spin box."""

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._values = {
            "minimum": 0.0, "maximum": 99.0, "singleStep": 1.0, "pageStep": 10.0, "decimals": 2, "value": 0.0,
            "spinBoxVisible": True, "tracking": True,
        }  # fmt: skip
        layout = QtWidgets.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        self._slider = QtWidgets.QSlider(QtCore.Qt.Orientation.Horizontal, self)
        self._slider.setRange(0, self._STEPS)
        layout.addWidget(self._slider)
        self._box = self._spin_box()
        self._slider.connect("valueChanged(int)", self._slid)
        self._box.connect("valueChanged(double)", self.setValue)
        Widget.setFocusProxy(self, self._slider)
        self._refresh()

    def setValue(self, value: float) -> None:
        self.value = float(value)

    @property
    def value(self) -> float:
        return float(self._values["value"])

    @value.setter
    def value(self, value: float) -> None:
        old, self._values["value"] = self._values["value"], self._clip(value)
        self._refresh()
        if self._values["value"] != old:
            emit(self, "valueChanged(double)", self._values["value"])

    def reset(self) -> None:
        self.value = 0.0

    def _slid(self, step: int) -> None:
        self.value = self.minimum + step / self._STEPS * (self.maximum - self.minimum)

    def _refresh(self, *_changed: Any) -> None:
        self._show_number(self._box, self.value)
        blocked = QtCore.QSignalBlocker(self._slider)
        span = (self.maximum - self.minimum) or 1.0
        self._slider.setValue(round((self.value - self.minimum) / span * self._STEPS))
        del blocked
        Widget.setVisible(self._box, self.spinBoxVisible)

    def _limits_changed(self, *_changed: Any) -> None:
        self.value = self._values["value"]

    _minimum_changed = _maximum_changed = _decimals_changed = _limits_changed
    _singleStep_changed = _spinBoxVisible_changed = _prefix_changed = _suffix_changed = _refresh


@behaves_as("ctkRangeWidget")
class RangeWidget(_Numbers):
    """Two numbers, the first never above the second."""

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._values = {
            "minimum": 0.0, "maximum": 99.0, "singleStep": 1.0, "decimals": 2, "minimumValue": 0.0,
            "maximumValue": 99.0, "tracking": True,
        }  # fmt: skip
        layout = QtWidgets.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        self._low, self._high = self._spin_box(), self._spin_box()
        self._low.connect("valueChanged(double)", self.setMinimumValue)
        self._high.connect("valueChanged(double)", self.setMaximumValue)
        self._refresh()

    def setValues(self, low: float, high: float) -> None:
        low, high = sorted((self._clip(low), self._clip(high)))
        old = self._values["minimumValue"], self._values["maximumValue"]
        self._values.update(minimumValue=low, maximumValue=high)
        self._refresh()
        if low != old[0]:
            emit(self, "minimumValueChanged(double)", low)
        if high != old[1]:
            emit(self, "maximumValueChanged(double)", high)
        if (low, high) != old:
            emit(self, "valuesChanged(double,double)", low, high)

    def setMinimumValue(self, low: float) -> None:
        self.setValues(low, max(low, self._values["maximumValue"]))

    def setMaximumValue(self, high: float) -> None:
        self.setValues(min(high, self._values["minimumValue"]), high)

    def setRange(self, minimum: float, maximum: float) -> None:
        self._values.update(minimum=float(minimum), maximum=float(maximum))
        self._limits_changed()
        emit(self, "rangeChanged(double,double)", self.minimum, self.maximum)

    def _refresh(self, *_changed: Any) -> None:
        self._show_number(self._low, self._values["minimumValue"])
        self._show_number(self._high, self._values["maximumValue"])

    def _limits_changed(self, *_changed: Any) -> None:
        self.setValues(self._values["minimumValue"], self._values["maximumValue"])

    _minimum_changed = _maximum_changed = _decimals_changed = _limits_changed
    _singleStep_changed = _prefix_changed = _suffix_changed = _refresh
    minimumValue = property(lambda self: self._values["minimumValue"], setMinimumValue)
    maximumValue = property(lambda self: self._values["maximumValue"], setMaximumValue)


@behaves_as("ctkPathLineEdit")
class PathLineEdit:
    """An editable path; the browse button is there but opens nothing."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(parent_of(arguments))
        self._values = {"currentPath": "", "showBrowseButton": True, "showHistoryButton": True}
        layout = QtWidgets.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        self._edit = QtWidgets.QComboBox(self)
        self._edit.setEditable(True)
        layout.addWidget(self._edit, 1)
        self._browse = QtWidgets.QToolButton(self)
        self._browse.setText("…")
        layout.addWidget(self._browse)
        self._edit.connect("editTextChanged(QString)", self.setCurrentPath)
        Widget.setFocusProxy(self, self._edit)

    def setCurrentPath(self, path: str) -> None:
        self.currentPath = path

    def comboBox(self) -> Any:
        return self._edit

    def _currentPath_changed(self, path: str) -> None:
        if QtWidgets.QComboBox.currentText(self._edit) != path:
            self._edit.setEditText(path)
        elif self._values.get("_told") != path:
            self._values["_told"] = path
            emit(self, "currentPathChanged(QString)", path)

    def _showBrowseButton_changed(self, shown: bool) -> None:
        Widget.setVisible(self._browse, shown)


@behaves_as("ctkComboBox")
class ComboBox:
    """A combo box that can show a text while nothing is chosen."""

    def _defaultText_changed(self, text: str) -> None:
        QtWidgets.QComboBox.setPlaceholderText(self, text)


@behaves_as("ctkColorPickerButton")
class ColorPickerButton:
    """Shows its colour; a click opens nothing."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(parent_of(arguments))
        self._values = {"color": QtGui.QColor("black"), "displayColorName": True}

    def setColor(self, colour: Any) -> None:
        self.color = colour

    def _color_changed(self, colour: Any) -> None:
        shown = QtGui.QPixmap(16, 16)
        shown.fill(colour)
        QtWidgets.QPushButton.setIcon(self, QtGui.QIcon(shown))
        emit(self, "colorChanged(QColor)", colour)
