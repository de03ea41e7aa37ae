"""The operators' door: real HTTP over a real UNIX socket and TCP, in front of a queue in memory."""

import http.client
import json
import socket
import stat
import tempfile
import time
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred, fail
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import SynchronousTestCase, TestCase

from relay.admin import http as http_module
from relay.admin.control import Control, DoorUnusable
from relay.admin.guard import Guard, TokenUnusable, read_token
from relay.admin.http import MAX_BODY, MAX_DRAINED
from relay.admin.operations import PAGE, Operations
from relay.queue.store import StoreFailed
from tests.admin.queue_in_memory import filled_queue

TOKEN = "a-token-of-enough-length"


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=20)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(20)
        self.sock.connect(str(self._path))


class DoorTestCase(TestCase):
    async def open_door(self, count: int = 3) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="door"))
        self.queue = await filled_queue(count)
        self.operations = Operations(self.queue, expire_after=3600.0)
        self.control = Control(self.operations, reactor)
        self.addCleanup(self.control.close)
        self.control.listen_unix(self.folder)
        self.path = self.folder / "control.sock"

    async def ask(
        self,
        method: str,
        url: str,
        body: object = None,
        connection: http.client.HTTPConnection | None = None,
        headers: dict[str, str] | None = None,
    ) -> tuple[int, Any]:
        """Status and JSON."""

        def talk() -> tuple[int, Any]:
            link = connection or UnixConnection(self.path)
            octets = body if isinstance(body, bytes | None) else json.dumps(body).encode()
            link.request(method, url, octets, headers or {})
            answer = link.getresponse()
            content = answer.read()
            self.assertEqual(answer.headers["content-type"], "application/json")
            link.close()
            return answer.status, json.loads(content)

        found: tuple[int, Any] = await deferToThread(talk)
        return found


class QueueTests(DoorTestCase):
    async def test_a_message_is_told_as_the_contract_says(self) -> None:
        await self.open_door(1)
        status, page = await self.ask("GET", "/queue")
        self.assertEqual((status, page["after"]), (200, None))
        (message,) = page["messages"]
        self.assertEqual(
            message,
            {
                "id": self.queue.ids[0],
                "reverse_path": "sender0@example.net",
                "size": 9,
                "accepted_at": "2026-01-01T00:00:00.000000Z",
                "expires_at": "2026-01-01T01:00:00.000000Z",
                "held": False,
                "recipients": [
                    {
                        "id": 1,
                        "forward_path": "user0@example.org",
                        "state": "waiting",
                        "lane": "even",
                        "attempt": 0,
                        "next_attempt_at": message["recipients"][0]["next_attempt_at"],
                        "last_reply": "",
                    }
                ],
            },
        )
        self.assertTrue(message["recipients"][0]["next_attempt_at"].endswith("Z"))

    async def test_pages_cover_everything_once(self) -> None:
        await self.open_door(7)
        found, after = [], ""
        while after is not None:
            _, page = await self.ask("GET", f"/queue?limit=3&after={after}")
            found += [message["id"] for message in page["messages"]]
            after = page["after"]
        self.assertEqual(found, self.queue.ids)

    async def test_selections(self) -> None:
        await self.open_door(4)
        for query, expected in {
            "lane=odd": [1, 3],
            "sender=SENDER2@*": [2],
            "recipient=*@example.org&lane=even": [0, 2],
            f"ids={self.queue.ids[3]}&ids={self.queue.ids[0]}": [0, 3],
            "accepted_before=1767225602": [0, 1],
            "lane=nowhere": [],
        }.items():
            with self.subTest(query):
                _, page = await self.ask("GET", f"/queue?{query}")
                ids = [message["id"] for message in page["messages"]]
                self.assertEqual(ids, [self.queue.ids[i] for i in expected])

    async def test_hold_release_remove_by_selection_page_by_page(self) -> None:
        await self.open_door(PAGE + 10)
        wish: dict[str, Any] = {"selection": {"all": True}}
        _, first = await self.ask("POST", "/queue/hold", wish)
        self.assertEqual(len(first["done"]), PAGE)
        _, second = await self.ask("POST", "/queue/hold", {**wish, "after": first["after"]})
        self.assertEqual((len(second["done"]), second["after"]), (10, None))
        _, page = await self.ask("GET", "/queue")
        self.assertTrue(all(message["held"] for message in page["messages"]))
        chosen = {"selection": {"ids": [self.queue.ids[2], "NOSUCHID00000"]}}
        _, released = await self.ask("POST", "/queue/release", chosen)
        self.assertEqual((released["done"], released["after"]), ([self.queue.ids[2]], None))
        self.assertEqual(released["at"], self.queue.now())
        _, removed = await self.ask("POST", "/queue/remove", chosen)
        self.assertEqual(removed["done"], [self.queue.ids[2]])
        _, gone = await self.ask("GET", f"/queue?ids={self.queue.ids[2]}")
        self.assertEqual(gone["messages"], [])

    async def test_ids_with_a_further_condition_must_meet_both(self) -> None:
        await self.open_door(4)
        wish = {"selection": {"ids": self.queue.ids, "lane": "odd"}}
        _, answer = await self.ask("POST", "/queue/retry", wish)
        self.assertEqual(answer["done"], [self.queue.ids[1], self.queue.ids[3]])

    async def test_nothing_is_done_without_a_selection(self) -> None:
        await self.open_door(2)
        for body in ({}, {"selection": {}}, {"selection": {"all": False}}, {"selection": "all"}):
            with self.subTest(repr(body)):
                status, _ = await self.ask("POST", "/queue/remove", body)
                self.assertEqual(status, 400)
        _, page = await self.ask("GET", "/queue")
        self.assertEqual(len(page["messages"]), 2)

    async def test_nonsense_is_refused_with_a_reason(self) -> None:
        await self.open_door(1)
        many = [f"{n:013d}" for n in range(PAGE + 1)]
        for method, url, body, status, words in (
            ("GET", "/queue?nonsense=1", None, 400, "unknown key 'nonsense'"),
            ("GET", "/queue?limit=x", None, 400, "'limit' must be a number"),
            ("GET", "/queue?lane=a&lane=b", None, 400, "more than once"),
            ("GET", "/queue?after=x", None, 400, "not a queue id"),
            ("GET", "/queue?accepted_before=nan", None, 400, "number"),
            ("GET", "/status?x=1", None, 400, "unknown key"),
            ("GET", "/nowhere", None, 404, "no such path"),
            ("POST", "/status", {}, 405, "takes GET"),
            ("GET", "/queue/remove", None, 405, "takes POST"),
            ("POST", "/queue/remove", b"{", 400, "JSON object"),
            ("POST", "/queue/remove", b"[" * 5000, 400, "JSON object"),
            ("POST", "/queue/remove", [1], 400, "JSON object"),
            ("POST", "/queue/remove", {"selection": {"ids": many}}, 400, "list of 1 to"),
            ("POST", "/queue/remove", {"selection": {"ids": [1]}}, 400, "list of 1 to"),
            ("POST", "/queue/remove", {"selection": {"lane": 1}}, 400, "must be text"),
            ("POST", "/queue/remove", {"selection": {"lane": "a"}, "x": 1}, 400, "unknown key"),
            ("POST", "/lanes/hold", {}, 400, "which lane"),
            ("POST", "/lanes/hold", {"name": "nowhere"}, 404, "no lane 'nowhere'"),
        ):
            with self.subTest(f"{method} {url} {body!r:.40}"):
                found, answer = await self.ask(method, url, body)
                self.assertEqual((found, list(answer)), (status, ["error"]))
                self.assertIn(words, answer["error"])

    async def test_lanes(self) -> None:
        await self.open_door(3)
        await self.ask("POST", "/lanes/hold", {"name": "odd"})
        _, told = await self.ask("GET", "/lanes")
        states = {lane["name"]: (lane["waiting"], lane["held"]) for lane in told["lanes"]}
        self.assertEqual(states, {"even": (2, False), "odd": (1, True)})
        _, answer = await self.ask("POST", "/lanes/release", {"name": "odd"})
        self.assertEqual(answer, {"done": ["odd"]})
        _, status = await self.ask("GET", "/status")
        self.assertEqual([lane["held"] for lane in status["lanes"]], [False, False])


class TroubleTests(DoorTestCase):
    async def test_an_oversize_body_is_refused(self) -> None:
        await self.open_door(1)
        status, answer = await self.ask("POST", "/queue/hold", b"x" * (MAX_BODY + 1))
        self.assertEqual(status, 413)
        self.assertIn("larger than", answer["error"])

    async def test_a_huge_body_ends_the_connection(self) -> None:
        await self.open_door(1)

        def talk() -> None:
            link = UnixConnection(self.path)
            link.request("POST", "/queue/hold", b"x" * (4 * MAX_DRAINED))
            link.getresponse()

        await self.assertFailure(deferToThread(talk), OSError, http.client.HTTPException)

    async def test_no_internal_text_reaches_the_client(self) -> None:
        await self.open_door(1)
        self.queue.find = lambda *_: fail(StoreFailed("SECRET disk I/O error"))
        status, answer = await self.ask("GET", "/queue")
        self.assertEqual(status, 503)
        self.assertNotIn("SECRET", str(answer))
        self.queue.find = lambda *_: fail(KeyError("SECRET"))
        status, answer = await self.ask("GET", "/queue")
        self.assertEqual(status, 500)
        self.assertNotIn("SECRET", str(answer))
        self.assertEqual(len(self.flushLoggedErrors(KeyError)), 1)

    async def test_a_client_that_leaves_does_not_undo_what_it_began(self) -> None:
        await self.open_door(1)
        waiting: Deferred[Any] = Deferred()
        self.queue.hold = lambda ids: waiting

        def talk() -> None:
            link = UnixConnection(self.path)
            link.request("POST", "/queue/hold", json.dumps({"selection": {"all": True}}))
            link.close()

        await deferToThread(talk)
        await self.ask("GET", "/status")  # by now the other connection's end was seen
        waiting.callback(())
        status, _ = await self.ask("GET", "/status")
        self.assertEqual(status, 200)


class SocketTests(DoorTestCase):
    async def test_the_socket_is_its_owners_alone_and_goes_with_the_door(self) -> None:
        await self.open_door(1)
        self.assertEqual(stat.S_IMODE(self.path.stat().st_mode), 0o600)
        await self.control.close()
        self.assertFalse(self.path.exists())

    async def test_the_socket_of_a_dead_process_is_replaced(self) -> None:
        folder = Path(tempfile.mkdtemp(prefix="door"))
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(str(folder / "control.sock"))
        control = Control(Operations(await filled_queue(1), 3600.0), reactor)
        control.listen_unix(folder)
        self.addCleanup(control.close)
        status, _ = await self.ask("GET", "/status", None, UnixConnection(folder / "control.sock"))
        self.assertEqual(status, 200)

    async def test_the_socket_of_a_living_one_is_not(self) -> None:
        await self.open_door(1)
        other = Control(self.operations, reactor)
        error = self.assertRaises(DoorUnusable, other.listen_unix, self.folder)
        self.assertIn("belongs to a relay that is running", str(error))
        self.assertTrue(self.path.exists())

    def test_a_path_too_long_is_explained(self) -> None:
        control = Control(Operations(None, 1.0), reactor)
        error = self.assertRaises(DoorUnusable, control.listen_unix, Path("/" + "x" * 100))
        self.assertIn("choose a shorter directory", str(error))


class TcpTests(DoorTestCase):
    async def open_tcp(self) -> None:
        await self.open_door(2)
        token = self.folder / "token"
        token.touch(0o600)
        token.write_text(f"{TOKEN}\n")
        self.control.listen_tcp("127.0.0.1", 0, token)
        self.port = self.control.addresses[-1].port

    async def status_of(self, headers: dict[str, str], url: str = "/status") -> int:
        link = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        status, _ = await self.ask("GET", url, None, link, headers)
        return status

    async def test_only_the_token_opens(self) -> None:
        await self.open_tcp()
        self.assertEqual(await self.status_of({"Authorization": f"Bearer {TOKEN}"}), 200)
        for wrong in ("", f"Bearer {TOKEN}x", "Bearer ", f"Basic {TOKEN}", TOKEN, "Bearer \xff"):
            with self.subTest(wrong):
                self.assertEqual(await self.status_of({"Authorization": wrong}), 401)
        self.assertEqual(await self.status_of({}), 401)
        self.assertEqual(await self.status_of({}, "/nowhere"), 401)

    async def test_a_forged_host_is_refused_even_with_the_token(self) -> None:
        await self.open_tcp()
        token = {"Authorization": f"Bearer {TOKEN}"}
        for host in (f"localhost:{self.port}", "127.0.0.1", f"[::1]:{self.port}"):
            self.assertEqual(await self.status_of({**token, "Host": host}), 200)
        for host in ("evil.example", "evil.example:8025", "127.0.0.1.evil.example", "", "a:b:c"):
            with self.subTest(host):
                self.assertEqual(await self.status_of({**token, "Host": host}), 421)


class StrangerTests(DoorTestCase):
    async def test_a_stranger_is_answered_once(self) -> None:
        await self.open_door()
        token = self.folder / "token"
        token.touch(mode=0o600)
        token.write_text("t" * 32)
        self.control.listen_tcp("127.0.0.1", 0, token)
        port = self.control.addresses[-1].port

        def talk() -> bytes:
            with socket.create_connection(("127.0.0.1", port), 20) as link:
                link.sendall(b"GET /status HTTP/1.1\r\nHost: localhost\r\n\r\n" * 3)
                return b"".join(iter(lambda: link.recv(65536), b""))

        self.assertEqual(1, (await deferToThread(talk)).count(b" 401 "))


class DeadlineTests(DoorTestCase):
    async def open_door(self, count: int = 3) -> None:
        self.patch(http_module, "REQUEST_TIMEOUT", 0.6)
        await super().open_door(count)

    def link(self) -> socket.socket:
        link = socket.socket(socket.AF_UNIX)
        link.settimeout(0.1)
        link.connect(str(self.path))
        return link

    def trickle(self, begin: bytes) -> float:
        """Seconds for which an octet every now and then keeps the connection."""
        with self.link() as link:
            began = time.monotonic()
            link.sendall(begin)
            while time.monotonic() < began + 10:
                try:
                    if not link.recv(1000):
                        break
                except TimeoutError:
                    link.sendall(b"x")
                except ConnectionResetError:
                    break
            return time.monotonic() - began

    async def test_an_octet_now_and_then_puts_nothing_off(self) -> None:
        await self.open_door()
        post = b"POST /queue/hold HTTP/1.1\r\nHost: localhost\r\nContent-Length: 60000\r\n\r\n"
        for begin in (b"", b"GET /status HTTP/1.1\r\nX-", post):
            kept = await deferToThread(self.trickle, begin)
            self.assertLess(kept, 3, begin)

    async def test_each_request_has_its_own_time(self) -> None:
        await self.open_door()

        def talk() -> list[bytes]:
            found = []
            with self.link() as link:
                link.settimeout(10)
                for _ in range(4):
                    time.sleep(0.3)
                    link.sendall(b"GET /status HTTP/1.1\r\nHost: localhost\r\n\r\n")
                    found.append(link.recv(65536)[:12])
            return found

        self.assertEqual([b"HTTP/1.1 200"] * 4, await deferToThread(talk))

    async def test_an_answer_may_take_its_time(self) -> None:
        await self.open_door()
        self.queue.hold = lambda ids: deferLater(reactor, 1.5, lambda: ())
        status, _ = await self.ask("POST", "/queue/hold", {"selection": {"all": True}})
        self.assertEqual(status, 200)


class GuardTests(SynchronousTestCase):
    def token_file(self, content: str, mode: int) -> Path:
        path = Path(tempfile.mkdtemp(prefix="token")) / "token"
        path.write_text(content)
        path.chmod(mode)
        return path

    def test_a_token_file_that_others_may_read_is_refused(self) -> None:
        for mode in (0o644, 0o640, 0o604, 0o620):
            error = self.assertRaises(TokenUnusable, read_token, self.token_file(TOKEN, mode))
            self.assertIn("chmod 600", str(error))
        self.assertEqual(read_token(self.token_file(f" {TOKEN}\n", 0o400)), TOKEN.encode())

    def test_short_empty_and_missing_tokens_are_refused(self) -> None:
        for content in ("", "short", "x" * 5000):
            error = self.assertRaises(TokenUnusable, read_token, self.token_file(content, 0o600))
            self.assertIn("16 to 4096", str(error))
        error = self.assertRaises(TokenUnusable, read_token, Path("/nonexistent/token"))
        self.assertIn("openssl rand", str(error))

    def test_on_a_wildcard_address_any_address_will_do_but_no_name(self) -> None:
        guard = Guard(b"", "0.0.0.0")
        self.assertTrue(guard.knows_host(b"192.0.2.1:8025"))
        self.assertFalse(guard.knows_host(b"relay.example:8025"))
        self.assertFalse(Guard(b"", "127.0.0.1").knows_host(b"192.0.2.1:8025"))
