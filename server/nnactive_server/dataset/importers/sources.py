"""What a scan of a source folder finds: cases, and where the voxels of each channel come from."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from nnactive_server.core.labels import LabelSet
from nnactive_server.dataset.volumes import Volume, read_channels, read_stored

ENDING = ".nii.gz"  # of every file of an imported project
VOLUME_ENDINGS = (".nii.gz", ".nii", ".nrrd", ".nhdr", ".mha", ".mhd")


class Source(Protocol):
    """One file or series of a source folder."""

    @property
    def path(self) -> Path:
        """The file that messages name."""

    @property
    def original(self) -> Path | None:
        """A file that can be taken over byte for byte, if there is one."""

    @property
    def channels(self) -> int:
        """How many channels it holds."""

    def read(self) -> tuple[Volume, ...]:
        """Each channel (z, y, x) as stored, and its grid.

        Raises:
            DatasetError: not a usable volume.
        """


@dataclass(frozen=True, slots=True)
class FileSource:
    """A 3D image file."""

    path: Path
    channels: int = field(default=1, init=False)

    @property
    def original(self) -> Path | None:
        """The file itself when it is compressed NIfTI."""
        return self.path if self.path.name.endswith(ENDING) else None

    def read(self) -> tuple[Volume, ...]:
        """See `Source`."""
        return (read_stored(self.path),)


@dataclass(frozen=True, slots=True)
class ChannelsSource:
    """A 4D image file whose fourth axis holds the channels."""

    path: Path
    channels: int

    @property
    def original(self) -> Path | None:
        """None: the channels have to be taken apart."""
        return None

    def read(self) -> tuple[Volume, ...]:
        """See `Source`."""
        return read_channels(self.path)


@dataclass(frozen=True, slots=True)
class SourceCase:
    """One case of a source folder.

    Attributes:
        name: the case id it will have.
        image: sources of all channels, in order.
        label: its label map, if there is one.
    """

    name: str
    image: tuple[Source, ...]
    label: Source | None = None

    @property
    def channels(self) -> int:
        """Number of image channels."""
        return sum(source.channels for source in self.image)


@dataclass(slots=True)
class Scan:
    """What a source folder holds, and what is wrong with it.

    Attributes:
        kind: `nnunet`, `msd`, `folder` or `dicom`.
        cases: sorted by name.
        channels: names of the channels when the source gives them.
        labels: names of the label values when the source gives them.
        problems: each names a file and stops the import.
        warnings: each is worth a look, and goes into the report.
    """

    kind: str
    cases: list[SourceCase] = field(default_factory=list)
    channels: tuple[str, ...] | None = None
    labels: LabelSet | None = None
    problems: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def volume_files(folder: Path) -> list[Path]:
    """Image files directly in a folder, sorted by name; hidden ones (also macOS `._*`) left out."""
    return sorted(
        path
        for path in folder.iterdir()
        if path.is_file() and not path.name.startswith(".") and path.name.endswith(VOLUME_ENDINGS)
    )


def stem(path: Path) -> str:
    """A volume's file name without its ending."""
    ending = next(ending for ending in VOLUME_ENDINGS if path.name.endswith(ending))
    return path.name.removesuffix(ending)
