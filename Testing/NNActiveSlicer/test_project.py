"""The section Project on a real server: a project is made, gets images, a size and its first boxes."""

from __future__ import annotations

import numpy as np
import pytest

SHAPE = (20, 40, 48)


@pytest.fixture(scope="module")
def live(tmp_path_factory):
    from testkit.live_server import LiveServer

    with LiveServer(tmp_path_factory.mktemp("server"), ["--executor", "local"]) as server:
        yield server


def hire(host, live, name):
    from NNActiveLogic.client.transport import Limits
    from testkit.reader import Reader

    reader = Reader(host)
    reader.presenter.connection._limits = Limits()  # a real server may be busy
    return reader.connect(live.url, live.tokens[name])


@pytest.fixture
def ann(nnactive, live):
    """An administrator who has connected to the real server."""
    return hire(nnactive, live, "ann")


@pytest.fixture
def project(ann, steps):
    """The section, drawn."""
    ann.until(lambda: not ann.presenter.projects.busy)
    steps.settle()
    ann.panel.refresh()
    return ann.panel.sections["project"]


@pytest.fixture
def views(nnactive):
    """What a slice view keeps in the scene."""
    import slicer

    slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSliceCompositeNode").SetLayoutName("Red")


@pytest.fixture
def volume(nnactive, views):
    """An oblique image in the scene; its voxels are known."""
    return make_volume("MR of Mrs Miller", 0)


def make_volume(name, seed):
    import slicer

    voxels = np.random.default_rng(seed).integers(0, 1000, SHAPE).astype(np.int16)
    turned = np.eye(4)
    turned[:3, :3] = np.array([[0.8, -0.6, 0], [0.6, 0.8, 0], [0, 0, 1]]) @ np.diag([1.0, 1.0, 2.0])
    turned[:3, 3] = (5, -20, 33)
    return slicer.util.addVolumeFromArray(voxels, ijkToRAS=turned, name=name)


@pytest.fixture
def make(ann, project, steps):
    """Make a project in the panel, as a person does."""

    def make_(name, structures=("head", "body"), channels="MR"):
        ui, new = project.ui, project.new.ui
        if ui.newBox.collapsed:
            ui.newBox.collapsed = False
        steps.type_text(new.nameEdit, name)
        steps.type_text(new.channelsEdit, channels)
        for row, structure in enumerate(structures):
            if row:
                steps.click(new.addButton)
            new.labelsTable.item(row, 0).setText(structure)
        steps.click(new.createButton)
        ann.until(lambda: ann.presenter.opened is not None, 60)
        ann.until(lambda: not ann.panel._stale)
        return ann.presenter.opened

    return make_


@pytest.fixture
def opened(make, request):
    """A new project, named after the test."""
    return make(request.node.name[:60])


@pytest.fixture
def with_image(ann, opened, project, volume, steps):
    """The project has one image, which came from the scene."""
    steps.click(project.images.ui.addButton)
    ann.until(lambda: opened.records.now.cases, 30)
    ann.until(lambda: not ann.panel._stale)
    return opened


def test_a_project_is_made_as_it_was_filled_in(live, make, project):
    opened = make("Hippocampus", ("anterior", "posterior"), "T1, T2")
    found = live.call("GET", f"/v1/projects/{opened.project.id}").json()
    assert (found["name"], found["channels"], found["profile"]) == ("Hippocampus", ["T1", "T2"], "fast-cpu")
    assert [label["name"] for label in found["labels"]] == ["anterior", "posterior"]
    assert len({label["colour"] for label in found["labels"]}) == 2
    assert project.ui.headLabel.text == "Hippocampus: anterior, posterior"
    assert not project.ui.imagesBox.collapsed
    assert len(project.images._selectors) == 2


def test_what_is_wrong_with_the_table_is_said_while_it_is_typed(ann, project, steps):
    new = project.new.ui
    project.ui.newBox.collapsed = False
    assert not new.createButton.enabled
    assert new.faultLabel.text == "", "nobody has done anything wrong yet"
    steps.type_text(new.nameEdit, "Liver")
    new.labelsTable.item(0, 0).setText("liver")
    assert new.createButton.enabled
    steps.click(new.addButton)
    new.labelsTable.item(1, 0).setText("Liver")
    assert new.faultLabel.text == "'Liver' is there twice; each structure needs a name of its own."
    assert not new.createButton.enabled
    assert new.createButton.toolTip == new.faultLabel.text
    steps.click(new.removeButton)
    assert new.createButton.enabled


def test_colour_and_term_of_a_structure_reach_the_server(live, nnactive, make, project, steps):
    import qt

    new = project.new
    project.ui.newBox.collapsed = False
    new._rows[0].colour.color = qt.QColor("#102030")
    nnactive.answers.expect("Terminology", choose_liver)
    steps.click(new._rows[0].term)
    assert new._rows[0].term.text == "Liver"
    opened = make("Terms", ("liver",))
    label = live.call("GET", f"/v1/projects/{opened.project.id}").json()["labels"][0]
    assert (label["name"], label["colour"]) == ("liver", "#102030")
    assert label["terminology"].count("~") == 6, "as Slicer writes it, so that segments can have it"
    assert "SCT^10200004^Liver" in label["terminology"]


def choose_liver(dialog):
    """What a person does in Slicer's selector."""
    import slicer

    entry = slicer.vtkSlicerTerminologyEntry()
    entry.SetTerminologyContextName("Segmentation category and type")
    entry.GetCategoryObject().SetCodingSchemeDesignator("SCT")
    entry.GetCategoryObject().SetCodeValue("123037004")
    entry.GetCategoryObject().SetCodeMeaning("Anatomical Structure")
    entry.GetTypeObject().SetCodingSchemeDesignator("SCT")
    entry.GetTypeObject().SetCodeValue("10200004")
    entry.GetTypeObject().SetCodeMeaning("Liver")
    (navigator,) = [one for one in dialog.children() if hasattr(one, "setTerminologyEntry")]
    navigator.setTerminologyEntry(entry)
    return True


def test_where_slicers_selector_is_missing_a_term_is_typed(nnactive, project, steps, monkeypatch):
    import slicer

    from harness import slicer_app

    def older(name):
        if "Terminology" in name:
            raise AttributeError(name)
        return slicer_app._widget_class(name)

    monkeypatch.setattr(slicer, "__getattr__", older)
    new = project.new
    project.ui.newBox.collapsed = False
    nnactive.answers.expect("Term for", "T-62000")
    steps.click(new._rows[0].term)
    assert new._rows[0].term.text == "T-62000"
    assert new.rows()[0].terminology == "T-62000"
    assert new.rows()[0].name == "T-62000", "a structure without a name gets that of the term"


def test_an_annotator_sees_no_way_to_make_a_project(nnactive, live, steps):
    ben = hire(nnactive, live, "ben")
    ben.until(lambda: not ben.panel._stale and not ben.presenter.projects.busy)
    assert not ben.ui("project").newBox.visible


def test_a_volume_of_the_scene_arrives_voxel_for_voxel_and_without_its_name(live, with_image, volume):
    import slicer

    case = with_image.records.now.cases[0]
    assert "Miller" not in case.name
    image = with_image.desk.client.image(case.id)
    assert (image.values == slicer.util.arrayFromVolume(volume)).all()
    from NNActiveLogic.scene.grid import Grid

    assert Grid.of_case(case).is_same(Grid.of_volume(volume))


def test_names_are_sent_when_somebody_wants_that(ann, opened, project, volume, steps):
    steps.click(project.images.ui.namesCheck)
    steps.click(project.images.ui.allButton)
    ann.until(lambda: opened.records.now.cases, 30)
    assert opened.records.now.cases[0].name == "MR_of_Mrs_Miller"


def test_a_volume_under_a_transform_is_refused_with_the_reason(ann, nnactive, opened, project, volume, steps):
    import slicer

    transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    volume.SetAndObserveTransformNodeID(transform.GetID())
    steps.click(project.images.ui.addButton)
    assert "transform" in nnactive.widget.ui.messageLabel.text
    assert not opened.uploads.view().running


def test_files_and_folders_are_sent_and_what_fails_is_named(ann, nnactive, opened, project, steps, tmp_path):
    from testkit.small_case import make_image

    for number in range(2):
        make_image(tmp_path / f"p{number}.nii.gz", number)
    (tmp_path / "broken.nrrd").write_bytes(b"NRRD0004\n")
    nnactive.answers.expect("QFileDialog.getExistingDirectory", str(tmp_path))
    steps.click(project.images.ui.folderButton)
    ann.until(lambda: len(opened.records.now.cases) == 2 and not opened.uploads.view().running, 30)
    ann.until(lambda: not ann.panel._stale)
    ui = project.images.ui
    assert ui.countLabel.text == "2 images are in this project."
    assert ui.failedLabel.text.startswith("broken.nrrd could not be sent")
    nnactive.answers.expect("QFileDialog.getOpenFileNames", [str(tmp_path / "notes.txt")])
    steps.click(ui.filesButton)
    assert nnactive.widget.ui.messageLabel.text.startswith("The server cannot read notes.txt.")


def test_no_image_leaves_this_computer_without_a_yes(ann, nnactive, opened, project, volume, steps):
    import qt

    connection = ann.presenter.connection
    connection.agree(False)
    nnactive.answers.expect("are sent to", qt.QMessageBox.No)
    steps.click(project.images.ui.addButton)
    assert not opened.uploads.view().running
    assert not connection.consent
    nnactive.answers.expect("are sent to", qt.QMessageBox.Yes)
    steps.click(project.images.ui.addButton)
    ann.until(lambda: opened.records.now.cases, 30)
    assert connection.consent


def test_rough_boxes_become_a_size_that_the_project_takes(live, ann, with_image, project, steps):
    import slicer

    from NNActiveLogic.scene import nodes

    ui = project.size.ui
    assert not project.ui.sizeBox.collapsed
    assert not ui.suggestButton.enabled
    steps.click(ui.drawButton)
    ann.until(lambda: project.viewer.onScreen() is not None)
    ann.until(lambda: nodes.find(nodes.Role.ROUGH) is not None)
    rough = nodes.find(nodes.Role.ROUGH)
    rough.SetCenter(0.0, 0.0, 50.0)
    rough.SetSize(12.0, 10.0, 16.0)
    ann.until(lambda: ui.suggestButton.enabled)
    assert ui.classTable.item(0, 1).text() == "1"
    steps.click(ui.suggestButton)
    ann.until(lambda: ui.useButton.visible)
    found = ann.presenter.projects.suggestion
    assert ui.suggestionLabel.text.startswith(f"Boxes of {' × '.join(map(str, found.patch_size))} voxels")
    assert all(reason in ui.suggestionLabel.text for reason in found.reasons.values())
    steps.click(ui.useButton)
    ann.until(lambda: not project.ui.firstBox.collapsed)
    assert (
        tuple(live.call("GET", f"/v1/projects/{with_image.project.id}").json()["patch_size"])
        == found.patch_size
    )
    assert with_image.project.patch_size == found.patch_size
    assert nodes.find(nodes.Role.ROUGH) is None
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLMarkupsROINode") == 0


def test_boxes_are_placed_by_a_click_until_the_start_is_ready(ann, nnactive, with_image, project, steps):
    from NNActiveLogic.scene import nodes
    from NNActiveLogic.scene.grid import Grid

    steps.click(project.size.ui.keepButton)
    ann.until(lambda: not project.ui.firstBox.collapsed)
    ui = project.first.ui
    case = with_image.records.now.cases[0]

    def place(where):
        steps.click(ui.placeButton)
        ann.until(lambda: nodes.find(nodes.Role.POINT) is not None)
        nodes.find(nodes.Role.POINT).AddControlPoint(*Grid.of_case(case).to_ras(where))

    def placed():
        return [patch for patch in with_image.records.now.patches if patch.origin == "placed"]

    place((-30.0, 0.0, 0.0))
    ann.until(lambda: "outside the image" in nnactive.widget.ui.messageLabel.text)
    wanted = [row.name for row in with_image.budget().rows for _ in range(row.missing)]
    for number, name in enumerate(wanted, 1):
        assert project.first._rows.current == name
        place((10.0, 20.0, 24.0))
        ann.until(lambda number=number: len(placed()) == number)
        ann.until(lambda: not ann.panel._stale)
    assert [patch.group for patch in placed()] == wanted
    box = placed()[0].box
    assert all(
        start <= at < start + size for start, at, size in zip(box.start, (10, 20, 24), box.size, strict=True)
    )
    if ui.randomButton.visible:
        steps.click(ui.randomButton)
    ann.until(lambda: with_image.budget().ready, 30)
    ann.until(lambda: ann.panel.sections["project"].container.collapsed)
    assert not ann.panel.sections["patch"].container.collapsed


def test_a_click_that_is_no_longer_wanted_can_be_called_off(ann, with_image, project, steps, nnactive):
    from NNActiveLogic.scene import nodes

    steps.click(project.size.ui.keepButton)
    ann.until(lambda: not project.ui.firstBox.collapsed)
    ui = project.first.ui
    steps.click(ui.placeButton)
    ann.until(lambda: ui.hintLabel.text.startswith("Click where head is"))
    assert ui.placeButton.text == "Stop placing"
    steps.click(ui.placeButton)
    assert nodes.find(nodes.Role.POINT) is None
    assert ui.placeButton.text == "Place a box"
    assert not ui.hintLabel.visible
    steps.click(ui.placeButton)
    ann.until(lambda: nodes.find(nodes.Role.POINT) is not None)
    nnactive.exit()
    assert nodes.find(nodes.Role.POINT) is None


def test_a_project_is_closed_and_another_one_opened(ann, opened, project, steps):
    first = opened.project.id
    steps.click(project.ui.closeButton)
    ann.until(lambda: project.ui.chooserPage.visible and project.ui.openButton.enabled)
    names = [project.ui.projectCombo.itemText(row) for row in range(project.ui.projectCombo.count)]
    assert opened.project.name in names
    assert project.ui.projectCombo.currentText == opened.project.name, "the last one is chosen already"
    steps.click(project.ui.openButton)
    ann.until(lambda: ann.presenter.opened is not None)
    assert ann.presenter.opened.project.id == first
