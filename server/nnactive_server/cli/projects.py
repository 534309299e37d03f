"""`nnactive import`, `nnactive suggest` and `nnactive export`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from nnactive_server.cli.session import Json, pairs, session


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("import")(import_)
    app.command()(suggest)
    app.command()(export)


def import_(
    src: Annotated[Path, typer.Argument(help="Folder to import; it is only read.")],
    project: Annotated[Path, typer.Argument(help="New or empty folder.")],
    label: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=VALUE", help="A class and its value in the label maps; repeat for each."),
    ] = None,
    channel: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Name of an image channel, e.g. CT; repeat in their order."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Make a project out of volumes: nnU-Net raw, MSD, folders of NIfTI or NRRD, or DICOM series.

    Without label maps, name the classes yourself. Nothing is written when anything is wrong.

    Example: nnactive import Task09_Spleen projects/spleen

    Example: nnactive import dicom-folder projects/liver --label liver=1 --label tumour=2 --channel CT
    """
    classes = {name: _whole(value, name) for name, value in pairs(label or [], "--label")}
    with session(as_json) as run:
        from nnactive_server.dataset import import_dataset

        made = import_dataset(
            src, project, labels=classes or None, channels=channel or None, monitor=run.monitor
        )
        document = {
            "project": str(project),
            "kind": made.kind,
            "cases": list(made.cases),
            "labelled": list(made.labelled),
            "channels": list(made.channels),
            "labels": made.labels.to_json(),
            "warnings": list(made.warnings),
        }
        text = [
            f"Cases imported ({made.kind}): {len(made.cases)}; with labels: {len(made.labelled)}",
            f"Channels: {', '.join(made.channels)}",
            f"Classes: {', '.join(made.labels.classes)}",
            *(f"Note: {warning}" for warning in made.warnings),
            f"Project: {project}",
        ]
        run.result(document, "\n".join(text))


def suggest(
    project: Annotated[Path, typer.Argument(help="A project or data set.")],
    variable: Annotated[
        list[str] | None,
        typer.Option(metavar="CLASS", help="Looks different from case to case, such as a tumour; repeat."),
    ] = None,
    interest: Annotated[
        list[str] | None,
        typer.Option(metavar="CLASS", help="Sets the patch size; all classes unless given; repeat."),
    ] = None,
    box: Annotated[
        list[str] | None,
        typer.Option(
            metavar="CLASS=Z,Y,X", help="Rough size of one structure in mm, without labels; repeat."
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Suggest patch size, query size and number of cycles, with the reason for each.

    Example: nnactive suggest projects/liver --variable tumour --interest tumour
    """
    sizes: dict[str, list[tuple[float, float, float]]] = {}
    for name, value in pairs(box or [], "--box"):
        sizes.setdefault(name, []).append(_size(value, name))
    with session(as_json) as run:
        from nnactive_server.dataset import RawDataset
        from nnactive_server.dataset import suggest as advise

        found = advise(
            RawDataset.open(project),
            variable=variable or (),
            interest=interest or (),
            boxes=sizes or None,
            monitor=run.monitor,
        )
        reasons = found.reasons
        patch, size = (" x ".join(f"{v:g}" for v in values) for values in (found.patch_size, found.patch_mm))
        text = [
            f"Patch size (z, y, x): {patch} voxels, {size} mm",
            f"  {reasons['patch_size']}",
            f"Query size: {found.query_size} patches a cycle",
            f"  {reasons['query_size']}",
            f"Cycles: {found.cycles}",
            f"  {reasons['cycles']}",
            *(f"Note: {warning}" for warning in found.warnings),
        ]
        run.result(asdict(found), "\n".join(text))


def export(
    project: Annotated[Path, typer.Argument(help="A project, or the folder of a simulation.")],
    dest: Annotated[Path, typer.Argument(help="New or empty folder.")],
    as_json: Json = False,
) -> None:
    """Write the newest model for stock nnU-Net, the label maps, and all patches as CSV.

    Example: nnactive export runs/clasp-1 exported
    """
    with session(as_json) as run:
        from nnactive_server.loop import export_project
        from nnactive_server.segmentation import export_model

        written = export_project(project, dest, export_model)
        text = [
            f"Model of cycle {int(written['cycle']) + 1}: {written['model']}",
            f"  predict with: nnUNetv2_predict_from_modelfolder -m {written['model']} -i IMAGES -o OUTPUT",
            f"{written['label_maps']} label maps: {written['labels']}",
            f"{written['patches']} patches: {written['statistics']}",
        ]
        run.result(written, "\n".join(text))


def _whole(value: str, name: str) -> int:
    if not value.isdecimal():
        raise typer.BadParameter(f"{name}={value}: give a whole number", param_hint="--label")
    return int(value)


def _size(value: str, name: str) -> tuple[float, float, float]:
    try:
        z, y, x = (float(part) for part in value.split(","))
    except ValueError:
        problem = f"{name}={value}: give three numbers in mm, e.g. {name}=40,60,60"
        raise typer.BadParameter(problem, param_hint="--box") from None
    return z, y, x
