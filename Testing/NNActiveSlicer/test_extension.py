"""What packages the extension fits the tree: CMake lists, catalogue entry, icon, translations."""

from __future__ import annotations

import json
import re
import struct
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MODULE = ROOT / "NNActiveSlicer"


def listed(path, name):
    """Entries of a list in a CMakeLists.txt."""
    text = re.sub(r"#.*", "", path.read_text("utf-8"))
    entries = re.search(rf"set\({name}\s+(.*?)\)", text, re.DOTALL)[1].split()
    return sorted(entry.replace("${MODULE_NAME}", path.parent.name) for entry in entries)


def settings_of(path):
    return dict(re.findall(r'^set\((\w+) "(.*)"\)', path.read_text("utf-8"), re.MULTILINE))


@pytest.fixture
def about():
    return settings_of(ROOT / "CMakeLists.txt")


@pytest.mark.parametrize("package", ["NNActiveSlicer", "NNActiveLogic"])
def test_every_python_file_is_packaged(package):
    folder = ROOT / package
    there = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.py"))
    assert listed(folder / "CMakeLists.txt", "MODULE_PYTHON_SCRIPTS") == there


def test_every_resource_is_packaged():
    there = sorted(
        path.relative_to(MODULE).as_posix() for path in (MODULE / "Resources").rglob("*") if path.is_file()
    )
    assert listed(MODULE / "CMakeLists.txt", "MODULE_PYTHON_RESOURCES") == there


def test_the_package_beside_the_module_keeps_its_folder():
    assert "WITH_SUBDIR" in (ROOT / "NNActiveLogic" / "CMakeLists.txt").read_text("utf-8")
    assert (ROOT / "NNActiveLogic" / "__init__.py").is_file()


def test_both_folders_are_built_and_the_modules_test_runs_inside_slicer():
    text = (ROOT / "CMakeLists.txt").read_text("utf-8")
    assert re.findall(r"add_subdirectory\((\w+)\)", text) == ["NNActiveLogic", "NNActiveSlicer"]
    assert "## NEXT_MODULE" in text
    assert "slicer_add_python_unittest(SCRIPT ${MODULE_NAME}.py)" in (MODULE / "CMakeLists.txt").read_text()


def test_the_catalogue_entry_says_the_same_as_cmake(about):
    entry = json.loads((ROOT / "NNActive.json").read_text("utf-8"))
    known = {"$schema", "build_dependencies", "build_subdirectory", "category", "enabled"}
    known |= {"scm_revision", "scm_type", "scm_url", "tier"}
    assert set(entry) <= known
    assert entry["category"] == "Active Learning"
    assert entry["scm_url"].removesuffix(".git") == about["EXTENSION_HOMEPAGE"]
    assert entry["build_dependencies"] == []
    assert about["EXTENSION_DEPENDS"] == "NA"
    assert "project(NNActive)" in (ROOT / "CMakeLists.txt").read_text("utf-8")


def test_pictures_of_the_catalogue_are_in_the_repository(about):
    for key in ("EXTENSION_ICONURL", "EXTENSION_SCREENSHOTURLS"):
        for url in about[key].split():
            assert (ROOT / url.split("/main/")[1]).is_file(), url


def test_the_icon_has_the_size_slicer_wants():
    head = (MODULE / "Resources" / "Icons" / "NNActiveSlicer.png").read_bytes()[:24]
    assert struct.unpack(">II", head[16:24]) == (128, 128)


def test_licence_and_readme_of_the_package_are_there():
    text = (ROOT / "CMakeLists.txt").read_text("utf-8")
    for name in re.findall(r"\$\{CMAKE_CURRENT_SOURCE_DIR\}/(\S+)\)", text):
        assert (ROOT / name).is_file(), name


def test_every_text_of_the_panel_goes_through_the_translation(load_module, home, module_file):
    from harness import slicer_app

    slicer_app.translations["*"] = "«{}»"
    try:
        host = load_module(module_file)
        host.enter()
        assert host.info.title == "«NNActive»"
        assert host.widget.ui.statusLabel.text == "«Not connected.»"
        combo = host.widget.panel.sections["project"].new.ui.profileCombo
        assert combo.itemText(0).startswith("«")
    finally:
        slicer_app.translations.clear()
        from NNActiveLogic.presenter import words

        words.use(str)


def test_places_in_texts_survive_a_translation():
    from NNActiveLogic.presenter import words

    for template in words.templates():
        template.format_map(dict.fromkeys(re.findall(r"{(\w+)}", template), "x"))
        assert re.fullmatch(r"(?:[^{}]|{\w+})*", template), template


def test_the_servers_source_is_packaged_where_the_panel_looks_for_it():
    cmake = (ROOT / "CMakeLists.txt").read_text("utf-8")
    assert "install(DIRECTORY server DESTINATION ${_server}" in cmake
    assert "install(FILES constraints.txt DESTINATION ${_server}" in cmake
    folder = cmake.split("set(_server ${Slicer_INSTALL_QTSCRIPTEDMODULES_LIB_DIR}/")[1].split(")")[0]
    assert f'_MODULE / "{folder}"' in (MODULE / "NNActiveSlicerLib" / "server_here.py").read_text("utf-8")
