"""`study analyze`: a study's folder in, tables, figures, a report and `saving.json` out."""

from __future__ import annotations

from pathlib import Path

from nnactive_server.core.files import atomic_path, write_json
from nnactive_server.evaluation.plots import png, svg
from nnactive_server.study.analysis import figures, tables
from nnactive_server.study.analysis.compare import shown_rankings
from nnactive_server.study.analysis.figures import Picture
from nnactive_server.study.analysis.findings import Analysis, compute, document
from nnactive_server.study.analysis.montage import montages
from nnactive_server.study.analysis.report import report
from nnactive_server.study.analysis.results import Setting, read_study
from nnactive_server.study.analysis.savings import SAVING, saving_document
from nnactive_server.study.analysis.scores import BASELINE
from nnactive_server.study.analysis.table import write_csv

ANALYSIS = "analysis"


def draw(analysis: Analysis, *, pictures_of_patients: bool = True) -> tuple[Picture, ...]:
    """All figures; query montages, which show slices of images, only when asked for."""
    found = [picture for setting in analysis.results.settings for picture in _of_setting(analysis, setting)]
    if pictures_of_patients:
        for setting in analysis.results.settings:
            found += montages(analysis.results, setting, _place(setting))
    for matrix, name in zip(analysis.penalties, ("ppm", "ppm_holm"), strict=True):
        if len(matrix.methods) > 1:
            caption = tables.penalty_table(matrix).note
            found.append(Picture(name, figures.penalty_heat_map(matrix), caption))
    shown = shown_rankings(analysis.rankings)
    if shown:
        caption = (
            "Mean ranks with standard errors. Brackets join strategies that do not differ (Nemenyi, 0.05)."
        )
        found.append(Picture("ranks", figures.rank_plot(shown), caption))
    return tuple(found)


def analyze(
    folder: Path, out: Path | None = None, *, baseline: str = BASELINE, pictures_of_patients: bool = True
) -> Analysis:
    """Read a study, finished or not, and write tables, figures, report, `analysis.json` and `saving.json`.

    Args:
        folder: of the study.
        out: folder to write into; `analysis` in the study's folder when not given.
        baseline: strategy that savings are told against.
        pictures_of_patients: draw slices of the proposed patches, where the experiments kept them.

    Raises:
        LoopError: the folder holds no finished experiment, or its files are not valid.
    """
    analysis = compute(read_study(folder), baseline)
    target = out or folder / ANALYSIS
    pictures = draw(analysis, pictures_of_patients=pictures_of_patients)
    write_csv(target / "tables", analysis.tables)
    drawn = {picture.name: png(picture.figure) for picture in pictures}
    for picture in pictures:
        _write(target / "figures" / f"{picture.name}.png", drawn[picture.name])
        _write(target / "figures" / f"{picture.name}.svg", svg(picture.figure).encode())
    _write(target / "report.html", report(analysis, pictures, drawn).encode())
    write_json(target / "analysis.json", document(analysis))
    write_json(target / SAVING, saving_document(analysis.results, analysis.savings, baseline))
    return analysis


def _of_setting(analysis: Analysis, setting: Setting) -> list[Picture]:
    results, place = analysis.results, _place(setting)
    scores = [entry for entry in analysis.scores if entry.setting == setting]
    caption = "Mean Dice after each cycle. Lines: means over seeds; bands: one standard deviation."
    curves = figures.learning_curves(results, setting)
    found = [Picture(f"curves_{place}", curves, f"{setting}: {caption}")]
    if any(entry.ours.identifiable for entry in scores):
        fits = figures.efficiency_fits(results, setting, scores)
        caption = "Mean Dice of every seed and cycle, and the curves whose rate is FG-Eff."
        found.append(Picture(f"fg_efficiency_{place}", fits, f"{setting}: {caption}"))
    if any(entry.classes for entry in scores):
        caption = "Final Dice of each structure. Whiskers: one standard deviation over seeds."
        found.append(
            Picture(f"classes_{place}", figures.class_bars(results, setting, scores), f"{setting}: {caption}")
        )
    return found


def _place(setting: Setting) -> str:
    return "_".join(_file_name(part) for part in (setting.dataset, setting.regime, setting.profile))


def _file_name(name: str) -> str:
    return "".join(letter if letter.isalnum() or letter in "-." else "-" for letter in name)


def _write(path: Path, content: bytes) -> None:
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)
