"""Voxels: images, predictions and uncertainty maps, whole or cropped to a box."""

from __future__ import annotations

from typing import Annotated

import numpy as np
from fastapi import APIRouter, Path, Query, Request, Response

from nnactive_server.api.access import Viewer
from nnactive_server.api.description import ARRAY
from nnactive_server.api.maps import map_source
from nnactive_server.api.problems import Problem
from nnactive_server.api.server import Here, Server
from nnactive_server.api.voxels import RawFile, Source, box_of, send
from nnactive_server.store import Case

router = APIRouter(prefix="/v1/cases/{case}", tags=["arrays"])
Triple = Annotated[str | None, Query(max_length=40, description="z,y,x in voxels")]


@router.get("/image", response_class=Response, responses=ARRAY)
def read_image(
    case: str,
    request: Request,
    server: Here,
    caller: Viewer,
    channel: Annotated[int, Query(ge=0, le=1000)] = 0,
    start: Triple = None,
    size: Triple = None,
) -> Response:
    """Voxels of a channel: raw, little-endian, C order (z, y, x); NNActive-Array says what they are."""
    source = _image(server, server.store.cases.get(case), channel)
    return send(server, request, source, box_of(source.voxels.shape, start, size))


@router.get("/prediction", response_class=Response, responses=ARRAY)
def read_prediction(
    case: str, request: Request, server: Here, caller: Viewer, start: Triple = None, size: Triple = None
) -> Response:
    """Label values that the newest model predicts; 404 with the code not-predicted before there is one."""
    return _map(server, request, case, "prediction", start, size)


@router.get("/maps/{measure}", response_class=Response, responses=ARRAY)
def read_map(
    case: str,
    measure: Annotated[str, Path(max_length=60)],
    request: Request,
    server: Here,
    caller: Viewer,
    start: Triple = None,
    size: Triple = None,
) -> Response:
    """A map in nats: predictive_entropy, mutual_information, or class-N, what class N adds to the entropy."""
    return _map(server, request, case, measure, start, size)


def _image(server: Server, case: Case, channel: int) -> Source:
    if channel >= len(case.images):
        raise Problem(404, "not-found", f"This case has {len(case.images)} channels, counted from 0.")
    sha256, layout = case.images[channel], case.details["arrays"][channel]
    path = server.store.blobs.path(sha256)
    voxels = RawFile(path, case.geometry.shape, np.dtype(layout["dtype"]), layout["offset"])
    return Source(voxels, case.geometry, sha256)


def _map(
    server: Server, request: Request, case: str, name: str, start: str | None, size: str | None
) -> Response:
    known = server.store.cases.get(case)
    source = map_source(server.root(known.project), known, name)
    return send(server, request, source, box_of(source.voxels.shape, start, size))
