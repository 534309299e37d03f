"""How the model learns, as the panel shows it; predictions to look at; export to a folder."""

from __future__ import annotations

import numpy as np
import pytest


@pytest.fixture
def ui(reader):
    return reader.ui("progress")


@pytest.fixture
def looked_at(reader, clinic):
    """Three trainings are done, and the section is open."""
    clinic.versions[:] = ["cycle-000", "cycle-001", "cycle-002"]
    clinic.model = "cycle-002"
    for case, quality in zip(sorted(clinic.cases), (0.91, 0.52), strict=True):
        clinic.cases[case].update(predicted_quality=quality, model="cycle-002")
    reader.panel.sections["progress"].container.collapsed = False
    reader.presenter.opened.records.refresh()
    reader.until(lambda: reader.texts(reader.ui("progress").casesTable, 1) == ["0.52", "0.91"])
    return reader


def test_advice_coverage_and_weak_cases_are_shown(looked_at, ui):
    assert ui.adviceLabel.text.startswith("Another round")
    assert looked_at.texts(ui.coverageTable, 0) == ["organ", "lesion"]
    assert looked_at.texts(ui.coverageTable, 1) == ["1", "0"]
    assert looked_at.texts(ui.coverageTable, 2) == ["25 %", "0 %"]
    assert looked_at.texts(ui.casesTable, 0) == ["patient 1", "patient 0"]


@pytest.fixture
def layout(looked_at):
    """As the application has one."""
    import slicer

    node = slicer.app.layoutManager().layoutLogic().GetLayoutNode()
    node.SetViewArrangement(node.SlicerLayoutFourUpView)
    return node


def test_the_curve_comes_into_the_views_and_goes_again(looked_at, ui, layout, steps):
    from NNActiveLogic.scene import nodes

    steps.click(ui.curveButton)
    assert layout.GetViewArrangement() != layout.SlicerLayoutFourUpView
    series = nodes.of_class("vtkMRMLPlotSeriesNode")
    assert {one.GetXColumnName() for one in series} == {"patches"}
    steps.choose(ui.againstCombo, "minutes")
    assert {one.GetXColumnName() for one in nodes.of_class("vtkMRMLPlotSeriesNode")} == {"minutes"}
    steps.click(ui.curveButton)
    assert layout.GetViewArrangement() == layout.SlicerLayoutFourUpView
    assert not nodes.of_class("vtkMRMLPlotChartNode")


def test_the_curve_grows_with_each_training_and_leaves_with_the_module(looked_at, ui, layout, clinic, steps):
    from NNActiveLogic.scene import nodes

    steps.click(ui.curveButton)
    clinic.versions.append("cycle-003")
    looked_at.presenter.opened.records.refresh()
    looked_at.until(lambda: nodes.of_class("vtkMRMLTableNode")[0].GetNumberOfRows() == 4)
    looked_at.host.exit()
    assert not nodes.of_class("vtkMRMLPlotChartNode")
    assert layout.GetViewArrangement() == layout.SlicerLayoutFourUpView


def test_a_prediction_is_shown_and_the_open_box_stays(looked_at, ui, clinic, steps):
    from NNActiveLogic.scene import nodes

    looked_at.begin()
    looked_at.paint("class-1", np.s_[:2])
    drawn = looked_at.adapter.read().labels
    assert not ui.predictionButton.enabled
    other = next(i for i, one in enumerate(("case1", "case0")) if one != looked_at.session.patch.case)
    ui.casesTable.setCurrentCell(other, 0)
    steps.click(ui.predictionButton)
    looked_at.until(lambda: nodes.find(nodes.Role.PREDICTION) is not None)
    steps.settle()
    assert "Press Centre" in looked_at.ui("patch").sentenceLabel.text
    looked_at.press("Ctrl+J")
    assert np.array_equal(looked_at.adapter.read().labels, drawn)
    assert not looked_at.ui("patch").editor.readOnly


def test_a_case_without_prediction_has_no_button_for_it(reader, ui):
    reader.panel.sections["progress"].container.collapsed = False
    ui.casesTable.setCurrentCell(0, 0)
    assert not ui.predictionButton.enabled


def test_model_and_labels_are_saved_in_a_folder(looked_at, ui, clinic, steps, tmp_path):
    looked_at.host.answers.expect("Folder for the model", str(tmp_path))
    steps.click(ui.exportButton)
    looked_at.until(lambda: "are in" in ui.exportLabel.text)
    target = tmp_path / "clinic_cycle-002"
    assert str(target) in ui.exportLabel.text
    assert sorted(one.name for one in target.rglob("*") if one.is_file()) == ["case0.nii.gz", "plans.json"]
    assert [one.name for one in tmp_path.iterdir() if one.name != "home"] == ["clinic_cycle-002"]
    assert ui.exportButton.enabled


def test_an_export_that_fails_says_why(looked_at, ui, steps, tmp_path):
    (tmp_path / "clinic_cycle-002").mkdir()
    looked_at.host.answers.expect("Folder for the model", str(tmp_path))
    steps.click(ui.exportButton)
    looked_at.until(lambda: "exists already" in ui.exportLabel.text)
    assert ui.exportButton.enabled


def test_an_export_can_be_stopped(looked_at, ui, clinic, steps, tmp_path):
    clinic.export_state = "running"
    looked_at.host.answers.expect("Folder for the model", str(tmp_path))
    steps.click(ui.exportButton)
    looked_at.until(lambda: ui.exportCancelButton.visible)
    assert not ui.exportButton.enabled
    steps.click(ui.exportCancelButton)
    looked_at.until(lambda: not ui.exportCancelButton.visible)
    assert ui.exportLabel.text == "Saving was stopped."
    assert not (tmp_path / "clinic_cycle-002").exists()
