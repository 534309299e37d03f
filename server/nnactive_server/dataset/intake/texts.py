"""Uploaded files with a header of text: NRRD and MetaImage.

Field names and types are those of the NRRD format (https://teem.sourceforge.net/nrrd/format.html) and of
MetaIO (https://itk.org/Wiki/MetaIO/Documentation). Only whole files are taken: a header that names other
files would make the server read its own.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from nnactive_server.core.errors import DatasetError
from nnactive_server.dataset.intake.contents import (
    Contents,
    IntakeLimits,
    geometry_of,
    numbers_in,
    whole_numbers_in,
)
from nnactive_server.dataset.intake.streams import RawVoxels

_LONGEST = 1 << 16  # bytes of a header
_NRRD = re.compile(rb"NRRD000[1-6]\r?\n")
_NRRD_END = re.compile(rb"\r?\n\r?\n")
_META = re.compile(rb"(ObjectType|NDims|Comment)\s*=", re.ASCII)
_META_END = re.compile(rb"^ElementDataFile\s*=[ \t]*(?P<file>[^\r\n]*)\r?\n", re.MULTILINE)
_NRRD_TYPES = {
    "i1": ("signed char", "int8", "int8_t"),
    "u1": ("uchar", "unsigned char", "uint8", "uint8_t"),
    "i2": ("short", "short int", "signed short", "signed short int", "int16", "int16_t"),
    "u2": ("ushort", "unsigned short", "unsigned short int", "uint16", "uint16_t"),
    "i4": ("int", "signed int", "int32", "int32_t"),
    "u4": ("uint", "unsigned int", "uint32", "uint32_t"),
    "i8": ("longlong", "long long", "long long int", "signed long long", "int64", "int64_t"),
    "u8": ("ulonglong", "unsigned long long", "unsigned long long int", "uint64", "uint64_t"),
    "f4": ("float",),
    "f8": ("double",),
}
_NRRD_KINDS = {"domain", "space", "none", "???"}
_NRRD_SPACES = {
    f"{x}-{y}-{z}{time}"
    for x in ("left", "right")
    for y in ("anterior", "posterior")
    for z in ("superior", "inferior")
    for time in ("", "-time")
} | {"las", "lps", "ras", "scanner-xyz", "3d-right-handed", "3d-left-handed"}
_NRRD_NUMBERS = ("space dimension", "spacings", "space directions", "space origin", "axis mins", "axismins")
_META_TYPES = {
    "MET_CHAR": "i1",
    "MET_UCHAR": "u1",
    "MET_SHORT": "i2",
    "MET_USHORT": "u2",
    "MET_INT": "i4",
    "MET_UINT": "u4",
    "MET_LONG": "i4",
    "MET_ULONG": "u4",
    "MET_LONG_LONG": "i8",
    "MET_ULONG_LONG": "u8",
    "MET_FLOAT": "f4",
    "MET_DOUBLE": "f8",
}
_META_NUMBERS = {
    "TransformMatrix": 9,
    "Rotation": 9,
    "Orientation": 9,
    "Offset": 3,
    "Position": 3,
    "Origin": 3,
    "ElementSpacing": 3,
    "ElementSize": 3,
}


def is_nrrd(head: bytes) -> bool:
    """Whether these first bytes of a file are those of an NRRD header."""
    return _NRRD.match(head) is not None


def is_meta(head: bytes) -> bool:
    """Whether these first bytes of a file are those of a MetaImage header."""
    return _META.match(head) is not None


def open_nrrd(path: Path, folder: Path, limits: IntakeLimits) -> Contents:
    """Look at an NRRD file, raw or gzip inside; see `run.take_in`."""
    head = _head(path)
    end = _NRRD_END.search(head)
    if end is None:
        raise DatasetError(_ENDLESS)
    fields = _fields(head[: end.start()].decode("latin-1").splitlines()[1:], ":")
    if {"data file", "datafile"} & set(fields):
        raise DatasetError(_DETACHED.format(".nrrd"))
    if any(whole_numbers_in(fields.get(name, "0"), name) != [0] for name in ("line skip", "byte skip")):
        raise DatasetError("its voxels do not follow its header; save it again")
    dtype = _nrrd_type(fields)
    shape = limits.check_shape(_nrrd_axes(fields)[::-1], dtype.itemsize)
    geometry = geometry_of(_nrrd_header(fields, dtype, shape[::-1]), ".nrrd", shape, folder)
    voxels = _voxels(path, _nrrd_packed(fields), end.end(), dtype)
    return voxels.contents(geometry, limits)


def open_meta(path: Path, folder: Path, limits: IntakeLimits) -> Contents:
    """Look at a MetaImage file that holds its voxels; see `run.take_in`."""
    head = _head(path)
    end = _META_END.search(head)
    if end is None:
        raise DatasetError(_ENDLESS)
    if end["file"].strip() != b"LOCAL":
        raise DatasetError(_DETACHED.format(".mha"))
    fields = _fields(head[: end.start()].decode("latin-1").splitlines(), "=")
    if "ElementDataFile" in fields or whole_numbers_in(fields.get("HeaderSize", "0"), "HeaderSize") != [0]:
        raise DatasetError("its voxels do not follow its header; save it again")
    if whole_numbers_in(fields.get("ElementNumberOfChannels", "1"), "ElementNumberOfChannels") != [1]:
        raise DatasetError("several values a voxel; split the channels into one file each")
    if not _flag(fields, "BinaryData"):
        raise DatasetError("its voxels are written as text; save it as binary data")
    dtype = _meta_type(fields)
    shape = limits.check_shape(_meta_axes(fields)[::-1], dtype.itemsize)
    geometry = geometry_of(_meta_header(fields, dtype, shape[::-1]), ".mha", shape, folder)
    return _voxels(path, _flag(fields, "CompressedData"), end.end(), dtype).contents(geometry, limits)


_ENDLESS = "its header has no end; check that the file is complete"
_DETACHED = "its header names other files; save header and voxels as one file ({})"


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(_LONGEST)


def _voxels(path: Path, packed: bool, start: int, dtype: np.dtype) -> RawVoxels:
    return RawVoxels(path, start if packed else None, 0 if packed else start, dtype)


def _fields(lines: Sequence[str], separator: str) -> dict[str, str]:
    """The fields of a header by name; comments and NRRD's free `key:=value` pairs left out."""
    found: dict[str, str] = {}
    for line in lines:
        name, sign, value = line.partition(separator)
        name = name.strip()
        if line.startswith("#") or not sign or value.startswith("="):
            continue
        if name in found:
            raise DatasetError("a field of its header is there twice")
        found[name] = value.strip()
    return found


def _required(fields: Mapping[str, str], name: str) -> str:
    if name not in fields:
        raise DatasetError(f"its header lacks the field '{name}'")
    return fields[name]


def _nrrd_type(fields: Mapping[str, str]) -> np.dtype:
    name = _required(fields, "type").lower()
    kind = next((kind for kind, names in _NRRD_TYPES.items() if name in names), None)
    if kind is None:
        raise DatasetError(_UNUSUAL)
    order = {"little": "<", "big": ">"}.get(fields.get("endian", "").lower())
    if order is None and kind[1] != "1":
        raise DatasetError("its field 'endian' says neither little nor big")
    return np.dtype((order or "<") + kind)


_UNUSUAL = "its voxels are of an unusual type; save it as 8, 16 or 32-bit numbers"


def _nrrd_axes(fields: Mapping[str, str]) -> list[int]:
    """Lengths of the axes, the fastest first."""
    axes = whole_numbers_in(_required(fields, "sizes"), "sizes")
    if whole_numbers_in(_required(fields, "dimension"), "dimension") != [len(axes)]:
        raise DatasetError("its fields 'dimension' and 'sizes' contradict each other")
    if not set(fields.get("kinds", "domain").lower().split()) <= _NRRD_KINDS:
        raise DatasetError("several values a voxel; split the channels into one file each, without time")
    return axes


def _nrrd_packed(fields: Mapping[str, str]) -> bool:
    encoding = _required(fields, "encoding").lower()
    if encoding not in ("raw", "gzip", "gz"):
        raise DatasetError("its voxels are neither raw nor gzip; save it with one of these encodings")
    return encoding != "raw"


def _nrrd_header(fields: Mapping[str, str], dtype: np.dtype, axes: Sequence[int]) -> bytes:
    """A header of the fields that place the voxels, and their values only as far as they are numbers."""
    lines = ["NRRD0004", f"type: {_NRRD_TYPES[dtype.str[1:]][-1]}", "dimension: 3"]
    if "space" in fields:
        space = fields["space"].lower()
        if space not in _NRRD_SPACES:
            raise DatasetError("its field 'space' names no known space; use left-posterior-superior")
        lines.append(f"space: {space}")
    lines.append(f"sizes: {_join(axes)}")
    for name in _NRRD_NUMBERS:
        if name in fields:
            numbers_in(fields[name], name)
            lines.append(f"{name}: {fields[name]}")
    lines += ["endian: little", "encoding: raw"]
    return ("\n".join(lines) + "\n\n").encode("ascii", "replace")


def _meta_type(fields: Mapping[str, str]) -> np.dtype:
    kind = _META_TYPES.get(_required(fields, "ElementType"))
    if kind is None:
        raise DatasetError(_UNUSUAL)
    big = _flag(fields, "BinaryDataByteOrderMSB") or _flag(fields, "ElementByteOrderMSB")
    return np.dtype((">" if big else "<") + kind)


def _meta_axes(fields: Mapping[str, str]) -> list[int]:
    """Lengths of the axes, the fastest first."""
    axes = whole_numbers_in(_required(fields, "DimSize"), "DimSize")
    if whole_numbers_in(_required(fields, "NDims"), "NDims") != [len(axes)]:
        raise DatasetError("its fields 'NDims' and 'DimSize' contradict each other")
    return axes


def _meta_header(fields: Mapping[str, str], dtype: np.dtype, axes: Sequence[int]) -> bytes:
    """As `_nrrd_header`."""
    kind = next(name for name, kind in _META_TYPES.items() if kind == dtype.str[1:])
    lines = ["ObjectType = Image", "NDims = 3", "BinaryData = True", "BinaryDataByteOrderMSB = False"]
    lines.append("CompressedData = False")
    for name, count in _META_NUMBERS.items():
        if name in fields:
            numbers = numbers_in(fields[name], name)
            if len(numbers) != count:
                raise DatasetError(f"its field '{name}' needs {count} numbers")
            lines.append(f"{name} = {_join(numbers)}")
    lines += [f"DimSize = {_join(axes)}", f"ElementType = {kind}", "ElementDataFile = LOCAL"]
    return ("\n".join(lines) + "\n").encode("ascii")


def _flag(fields: Mapping[str, str], name: str) -> bool:
    """MetaIO takes every word that begins with T, t or 1 for true."""
    return fields.get(name, "False")[:1] in ("T", "t", "1")


def _join(numbers: Sequence[float]) -> str:
    return " ".join(str(number) for number in numbers)
