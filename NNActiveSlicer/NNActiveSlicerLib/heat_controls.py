"""How the uncertainty is drawn: what it tells, how much it covers, from where on it is shown."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

from slicer.i18n import tr as _

from NNActiveLogic.work import HeatSettings
from NNActiveSlicerLib.panel import Panel, slot
from NNActiveSlicerLib.quiet import quiet


class HeatControls:
    """The controls of the colours in the section Patch.

    Args:
        panel: what the sections share.
        ui: the widgets of the section.
    """

    def __init__(self, panel: Panel, ui: Any) -> None:
        self.panel, self.ui = panel, ui
        self._measures: list[str] = []
        ui.heatCheck.connect("toggled(bool)", self.onVisible)
        ui.measureCombo.connect("activated(int)", self.onMeasure)
        ui.opacitySlider.connect("valueChanged(double)", self.onOpacity)
        ui.thresholdSlider.connect("valueChanged(double)", self.onThreshold)
        ui.heat3DCheck.connect("toggled(bool)", self.onIn3D)

    def refresh(self) -> None:
        """Draw the settings."""
        ui, opened, chosen = self.ui, self.panel.presenter.opened, self._chosen
        names = [label.name for label in opened.project.labels] if opened is not None else []
        with quiet(ui.heatCheck, ui.measureCombo, ui.opacitySlider, ui.thresholdSlider):
            self._showMeasures(names)
            ui.heatCheck.checked = chosen.visible
            ui.thresholdSlider.maximum = max(0.5, math.floor(100 * math.log(len(names) + 1)) / 100)
            ui.opacitySlider.value, ui.thresholdSlider.value = chosen.opacity, chosen.threshold
        for widget in (ui.measureCombo, ui.opacitySlider, ui.thresholdSlider, ui.heat3DCheck):
            widget.enabled = chosen.visible

    def toggle(self) -> None:
        """Show or hide the colours."""
        self._choose(visible=not self._chosen.visible)

    @slot
    def onVisible(self, visible: bool) -> None:
        """Shown or hidden."""
        self._choose(visible=visible)

    @slot
    def onMeasure(self, index: int) -> None:
        """The colours tell something else."""
        self._choose(measure=self._measures[index])

    @slot
    def onOpacity(self, value: float) -> None:
        """The colours cover more or less."""
        self._choose(opacity=value)

    @slot
    def onThreshold(self, value: float) -> None:
        """More or fewer voxels get a colour."""
        self._choose(threshold=value)

    @slot
    def onIn3D(self, visible: bool) -> None:
        """Also in the 3D view, or no longer."""
        self.panel.adapter.set_heat_in_3d(visible)

    @property
    def _chosen(self) -> HeatSettings:
        chosen: HeatSettings = self.panel.presenter.preferences.heat
        return chosen

    def _choose(self, **changes: Any) -> None:
        settings, presenter = replace(self._chosen, **changes), self.panel.presenter
        if presenter.opened is not None:
            presenter.opened.session.set_heat(settings)
        else:
            presenter.preferences.heat = settings
        self.refresh()

    def _showMeasures(self, names: list[str]) -> None:
        combo = self.ui.measureCombo
        texts = [_("Uncertainty"), _("Disagreement of the models")]
        texts += [_("Uncertainty about {name}").format(name=name) for name in names]
        if [combo.itemText(row) for row in range(combo.count)] != texts:
            combo.clear()
            for text in texts:
                combo.addItem(text)
        self._measures = ["predictive_entropy", "mutual_information"]
        self._measures += [f"class-{value}" for value in range(1, len(names) + 1)]
        # A setting of another project may name a class that there is none of here.
        found = self._chosen.measure if self._chosen.measure in self._measures else self._measures[0]
        combo.setCurrentIndex(self._measures.index(found))
