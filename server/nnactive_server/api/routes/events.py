"""What happened, as a long poll and as a stream."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Header, Query
from starlette.responses import StreamingResponse

from nnactive_server.api.access import Viewer
from nnactive_server.api.description import STREAM
from nnactive_server.api.replies import EventsOut
from nnactive_server.api.server import Here
from nnactive_server.api.streams import Listener, as_stream
from nnactive_server.api.views import event_out

router = APIRouter(prefix="/v1/events", tags=["events"])
_LAST = 2**62
After = Annotated[int, Query(ge=0, le=_LAST)]


@router.get("")
async def read_events(
    server: Here,
    caller: Viewer,
    after: After = 0,
    wait: Annotated[float, Query(ge=0, le=600, allow_inf_nan=False)] = 0.0,
    project: str | None = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> EventsOut:
    """Events after a number; waits for the first one, but not longer than `wait` seconds."""
    longest = min(wait, server.settings.limits.wait_seconds)
    with server.streams.one_more(caller.id), Listener(server, project, limit) as listener:
        found = await listener.after(after, longest)
        last = await listener.last()
    return EventsOut(events=[event_out(event) for event in found], last=max([last, *(e.seq for e in found)]))


@router.get("/stream", response_class=StreamingResponse, responses=STREAM)
async def stream_events(
    server: Here,
    caller: Viewer,
    after: After | None = None,
    last_event_id: Annotated[str | None, Header(max_length=20)] = None,
    project: str | None = None,
) -> StreamingResponse:
    """The same as server-sent events; goes on after `Last-Event-ID`, or from now on without one."""
    seen = min(int(last_event_id), _LAST) if last_event_id and last_event_id.isdecimal() else after
    # Here, where a refusal can still be sent.
    server.streams.check(caller.id)
    return StreamingResponse(as_stream(server, project, seen, caller.id), media_type="text/event-stream")
