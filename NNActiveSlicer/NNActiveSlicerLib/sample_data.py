"""Images for the tutorial: three MR images of the head that Slicer itself offers as sample data."""

from __future__ import annotations

from pathlib import Path

_ADDRESS = "https://github.com/Slicer/SlicerTestingData/releases/download/SHA256/"
IMAGES = {
    "MR-head.nrrd": "cc211f0dfd9a05ca3841ce1141b292898b2dd2d3f08286affadf823a7e58df93",
    "RegLib_C01_1.nrrd": "998cb522173839c78657f4bc0ea907cea09fd04e44601f17c82ea27927937b95",
    "RegLib_C01_2.nrrd": "1a64f3f422eb3d1c9b093d1a18da354b13bcf307907c66317e2463ee530b7a97",
}
"""File name and SHA-256."""


def register(icons: Path) -> None:
    """Enter them in the module Sample Data; nothing is downloaded before somebody clicks there."""
    import SampleData

    names, sums = [*IMAGES], [*IMAGES.values()]
    SampleData.SampleDataLogic.registerCustomSampleDataSource(
        category="NNActive",
        sampleName="NNActiveTutorial",
        thumbnailFileName=str(icons / "NNActiveTutorial.png"),
        uris=[_ADDRESS + one for one in sums],
        fileNames=names,
        checksums=[f"SHA256:{one}" for one in sums],
        nodeNames=[f"Tutorial {number}" for number in range(1, len(names) + 1)],
    )
