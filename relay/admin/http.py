"""The operators' door: the operations as JSON over HTTP.

    GET  /status                      GET  /lanes                   POST /reload     {}
    GET  /queue?KEY=VALUE&...         POST /lanes/hold|release          {"name": LANE}
    POST /queue/retry|hold|release|remove     {"selection": {KEY: VALUE}, "after": ID}

KEYs are ids, lane, sender, recipient, accepted_before; all: {"all": true}. Queue calls do one page;
the next begins behind `after`, and `accepted_before` the answer's `at`. Trouble is {"error": TEXT}.
"""

from collections.abc import Awaitable, Callable
from typing import Any, cast

import orjson
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.http import HTTPChannel
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request, Site

from relay.admin.guard import Guard
from relay.admin.operations import PAGE, VERBS, AskedRelay, BadWish, Json, selection_of
from relay.admin.several import QueueAway
from relay.config import ConfigError
from relay.queue.store import StoreFailed

MAX_BODY = 64 << 10
"""Octets of a request's body: a page of queue ids is 8 KiB."""

MAX_DRAINED = 1 << 20
"""Octets of an oversize body that are read and thrown away, so that its refusal arrives."""

REQUEST_TIMEOUT = 30.0
"""Seconds from a connection's begin, or from the last answer, to the end of a request."""

_STORE_TROUBLE = "the queue cannot be read or written at this moment; see the relay's log"
_DEFECT = "an error of the relay's own; see its log"


class Refused(Exception):
    """An answer other than 200. The text goes to the client."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


class BoundedRequest(Request):
    """A request whose body is read into bounded memory."""

    body_size = 0
    is_gone = False

    def connectionLost(self, reason: Failure) -> None:
        self.is_gone = True
        super().connectionLost(reason)  # type: ignore[no-untyped-call]

    def gotLength(self, length: int | None) -> None:
        """Any length is announced as a short one: the body itself is counted."""
        super().gotLength(0)  # type: ignore[no-untyped-call]

    def handleContentChunk(self, data: bytes) -> None:
        self.body_size += len(data)
        if self.body_size <= MAX_BODY:
            super().handleContentChunk(data)  # type: ignore[no-untyped-call]
        elif self.body_size > MAX_DRAINED:
            cast(Any, self.channel.transport).abortConnection()


class DoorChannel(HTTPChannel):
    """A connection whose every request comes whole within its time."""

    def resetTimeout(self) -> None:
        """What comes puts nothing off: an octet now and then would hold a place for ever."""


class DoorSite(Site):
    """HTTP with our limits, and without a line in the log for each request."""

    protocol = cast(Any, DoorChannel)

    def __init__(self, door: "Door") -> None:
        super().__init__(  # type: ignore[no-untyped-call]
            door, requestFactory=BoundedRequest, timeout=REQUEST_TIMEOUT
        )
        self.displayTracebacks = False

    def log(self, request: Any) -> None:
        """What operators do stands in the traffic log."""


_Act = Callable[[AskedRelay, Json], Awaitable[Json]]


class Door(Resource):
    """Every path of the door. `guard` None: whoever reached it may do everything."""

    isLeaf = True
    _log = Logger()

    def __init__(self, operations: AskedRelay, guard: Guard | None) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._operations = operations
        self._guard = guard

    def render(self, request: Any) -> int:
        Deferred.fromCoroutine(self._answer(request)).addErrback(self._broke, request)
        return NOT_DONE_YET

    async def _answer(self, request: Any) -> None:
        try:
            self._check(request)
            act, wish = _understood(request)
            result = await act(self._operations, wish)
        except Refused as refusal:
            if refusal.status in (401, 421) and not request.is_gone:
                request.channel.persistent = False  # strangers get one answer, not a row of them
            _send(request, refusal.status, {"error": str(refusal)})
        except ConfigError as error:
            _send(request, 409, {"error": str(error)})
        except BadWish as fault:
            _send(request, 400, {"error": str(fault)})
        except QueueAway as away:
            _send(request, 503, {"error": str(away)})
        except StoreFailed as failure:
            self._log.error("operators' request failed: {why}", why=failure)
            _send(request, 503, {"error": _STORE_TROUBLE})
        else:
            _send(request, 200, result)

    def _broke(self, reason: Failure, request: Any) -> None:
        self._log.failure("operators' request broke", reason)
        _send(request, 500, {"error": _DEFECT})

    def _check(self, request: Any) -> None:
        guard = self._guard
        if guard is not None:
            if not guard.knows_host(request.getHeader(b"host")):
                raise Refused(421, "the Host header names some other server")
            if not guard.knows_token(request.getHeader(b"authorization")):
                request.setHeader(b"www-authenticate", b"Bearer")
                raise Refused(401, "the bearer token of admin.token_file is needed")
        if request.body_size > MAX_BODY:
            raise Refused(413, f"the body is larger than {MAX_BODY} octets")


def _send(request: Any, status: int, answer: Json) -> None:
    """What was begun is done to its end, whether or not its client is still there to be told."""
    if request.is_gone:
        return
    request.setResponseCode(status)
    for name, value in _HEADERS.items():
        request.setHeader(name, value)
    request.write(orjson.dumps(answer) + b"\n")
    request.finish()


_HEADERS = {
    b"server": b"relay",
    b"content-type": b"application/json",
    b"cache-control": b"no-store",
    b"x-content-type-options": b"nosniff",
}


# --- what each path means ---------------------------------------------------------------------


def _understood(request: Any) -> tuple[_Act, Json]:
    """What is to be done, and with what."""
    methods = _PATHS.get(request.path)
    if methods is None:
        raise Refused(404, "there is no such path; see /queue, /lanes, /status")
    act = methods.get(request.method)
    if act is None:
        allowed = b", ".join(methods)
        request.setHeader(b"allow", allowed)
        raise Refused(405, f"this path takes {allowed.decode()}")
    return act, _query(request) if request.method == b"GET" else _body(request)


def _query(request: Any) -> Json:
    """The query as JSON: a key once, but `ids` as often as needed."""
    wish: Json = {}
    for key, values in request.args.items():
        texts = [value.decode("utf-8", "replace") for value in values]
        name = key.decode("utf-8", "replace")
        if name == "ids":
            wish[name] = texts
        elif len(texts) == 1:
            wish[name] = _number(name, texts[0]) if name in _NUMBERS else texts[0]
        else:
            raise Refused(400, f"{name!r} is given more than once")
    return wish


_NUMBERS: dict[str, Callable[[str], float]] = {"limit": int, "accepted_before": float}


def _number(name: str, text: str) -> float:
    try:
        return _NUMBERS[name](text[:40])
    except ValueError:
        raise Refused(400, f"{name!r} must be a number") from None


def _body(request: Any) -> Json:
    try:
        wish = orjson.loads(request.content.read())
    except orjson.JSONDecodeError:
        wish = None
    if not isinstance(wish, dict):
        raise Refused(400, "the body must be a JSON object")
    return wish


async def _status(operations: AskedRelay, wish: Json) -> Json:
    _only(wish)
    return await operations.status()


async def _reload(operations: AskedRelay, wish: Json) -> Json:
    _only(wish)
    return await operations.reload()


async def _lanes(operations: AskedRelay, wish: Json) -> Json:
    _only(wish)
    return await operations.lanes()


async def _queue(operations: AskedRelay, wish: Json) -> Json:
    after, limit = wish.pop("after", ""), wish.pop("limit", PAGE)
    return await operations.page(selection_of(wish), after, limit)


def _act_on_queue(verb: str) -> _Act:
    async def act(operations: AskedRelay, wish: Json) -> Json:
        _only(wish, "selection", "after")
        selection, after = wish.get("selection"), wish.get("after", "")
        if not isinstance(selection, dict) or not selection or not isinstance(after, str):
            raise Refused(400, 'say which: {"selection": {...}}; every message is {"all": true}')
        if selection.get("all") is True:
            selection = {key: value for key, value in selection.items() if key != "all"}
        return await operations.act(verb, selection_of(selection), after)

    return act


def _act_on_lane(act_on: Callable[[AskedRelay, str], Awaitable[bool]]) -> _Act:
    async def act(operations: AskedRelay, wish: Json) -> Json:
        _only(wish, "name")
        name = wish.get("name")
        if not isinstance(name, str):
            raise Refused(400, 'say which lane: {"name": "..."}')
        if not await act_on(operations, name):
            raise Refused(404, f"there is no lane {name[:100]!r}")
        return {"done": [name]}

    return act


def _only(wish: Json, *keys: str) -> None:
    unknown = sorted(wish.keys() - set(keys))
    if unknown:
        raise Refused(400, f"unknown key {unknown[0][:100]!r}")


_PATHS: dict[bytes, dict[bytes, _Act]] = {
    b"/status": {b"GET": _status},
    b"/reload": {b"POST": _reload},
    b"/lanes": {b"GET": _lanes},
    b"/lanes/hold": {b"POST": _act_on_lane(lambda queue, name: queue.hold_lane(name))},
    b"/lanes/release": {b"POST": _act_on_lane(lambda queue, name: queue.release_lane(name))},
    b"/queue": {b"GET": _queue},
    **{f"/queue/{verb}".encode(): {b"POST": _act_on_queue(verb)} for verb in VERBS},
}
