"""The operators' side of the door: asks the running relay over control.sock, and waits."""

import http.client
import socket
from pathlib import Path
from urllib.parse import urlencode

import orjson

from relay.admin.operations import SOCKET_NAME, Json, wish_of
from relay.queue.store import Selection

TIMEOUT = 60.0
"""Seconds for one answer: a page on a busy machine is a matter of milliseconds."""

MAX_ANSWER = 256 << 20
"""Octets of one answer: a page of messages with very many recipients each."""


class NoRelay(Exception):
    """No relay listens there."""


class AskFailed(Exception):
    """The relay could not be asked, or refused; one line for the operator."""


class ReloadRefused(AskFailed):
    """The configuration cannot be taken up; a line for each mistake."""


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=TIMEOUT)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


class RunningRelay:
    """A relay that runs. All methods raise AskFailed."""

    def __init__(self, directory: Path) -> None:
        """Connects to DIRECTORY/control.sock. Raises NoRelay, or AskFailed."""
        self._path = directory / SOCKET_NAME
        self._connection = _UnixConnection(self._path)
        try:
            self._connection.connect()
        except (FileNotFoundError, ConnectionRefusedError, NotADirectoryError):
            raise NoRelay from None
        except PermissionError:
            raise AskFailed(
                f"{self._path} is not for you: run relayctl as root or as the relay's user"
            ) from None
        except OSError as error:
            raise AskFailed(f"cannot reach the relay at {self._path}: {error}") from None

    def page(self, selection: Selection, after: str, limit: int) -> Json:
        """See `Operations.page`."""
        wish = wish_of(selection) | {"after": after, "limit": limit}
        return self._ask("GET", f"/queue?{urlencode(wish, doseq=True)}")

    def act(self, verb: str, selection: Selection, after: str) -> Json:
        """See `Operations.act`."""
        wish = {"selection": wish_of(selection) or {"all": True}, "after": after}
        return self._ask("POST", f"/queue/{verb}", wish)

    def lanes(self) -> list[Json]:
        found: list[Json] = self._ask("GET", "/lanes")["lanes"]
        return found

    def act_on_lane(self, verb: str, name: str) -> bool:
        """Hold or release. False: there is no such lane."""
        return self._ask("POST", f"/lanes/{verb}", {"name": name}, none_at=404) is not _NONE

    def status(self) -> Json:
        return self._ask("GET", "/status")

    def reload(self) -> Json:
        """See `Operations.reload`. Raises ReloadRefused."""
        return self._ask("POST", "/reload", {})

    def close(self) -> None:
        self._connection.close()

    def _ask(self, method: str, url: str, body: Json | None = None, none_at: int = 0) -> Json:
        octets = None if body is None else orjson.dumps(body)
        try:
            self._connection.request(method, url, octets)
            response = self._connection.getresponse()
            content = response.read(MAX_ANSWER)
        except TimeoutError:
            raise AskFailed(f"the relay did not answer within {TIMEOUT:.0f} s") from None
        except (OSError, http.client.HTTPException) as error:
            raise AskFailed(f"the relay went away: {error}") from None
        if response.status == none_at:
            return _NONE
        return self._understood(response.status, content)

    def _understood(self, status: int, content: bytes) -> Json:
        try:
            answer: Json = orjson.loads(content)
            if status == 200:
                return answer
            text = answer["error"]
        except (ValueError, KeyError, TypeError):
            raise AskFailed(f"what answers at {self._path} is no relay") from None
        raise (ReloadRefused if status == 409 else AskFailed)(str(text))


_NONE: Json = {}
