"""What two configurations differ in, and whose sockets go on."""

from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from relay.config import Config
from relay.config.reading import check
from relay.service.differences import changes, changes_ways, kept_sockets, needing_restart


def config(**tables: Any) -> Config:
    usual = {
        "hostname": "relay.example.net",
        "queue": {"store": "sqlite:spool"},
        "listener": [{"name": "lan", "address": "127.0.0.1:2525"}],
        "upstream": [{"name": "a", "hosts": ["smtp://192.0.2.1"]}],
        "route": [{"upstream": "a"}],
    }
    return check({**usual, **tables}, Path("/nowhere"))


def listeners(**addresses: str) -> Config:
    return config(listener=[{"name": n, "address": each} for n, each in addresses.items()])


class ChangesTests(SynchronousTestCase):
    def test_none(self) -> None:
        self.assertEqual([], changes(config(), config()))
        self.assertEqual([], needing_restart(config(), config()))

    def test_keys_are_named(self) -> None:
        new = config(
            hostname="new.example.net",
            queue={"store": "sqlite:spool", "retry": ["9m"], "expire_after": "9d"},
            listener=[{"name": "lan", "address": "127.0.0.1:2525", "max_errors": 3}],
            upstream=[
                {"name": "a", "hosts": ["smtp://192.0.2.2"], "max_connections": 2},
                {"name": "b", "hosts": ["smtp://192.0.2.1"]},
            ],
            auth={"users": "users"},
            route=[],
        )
        self.assertEqual(
            [
                "hostname",
                "queue.retry",
                "queue.expire_after",
                "auth",
                "listener lan: max_errors",
                "upstream a: hosts, max_connections",
                "upstream b: added",
                "route",
            ],
            changes(config(), new),
        )
        self.assertIn("upstream b: removed", changes(new, config()))

    def test_what_needs_a_restart(self) -> None:
        new = config(
            workers=2,
            queue={"store": "sqlite:other", "max_content_memory": "1M"},
            traffic_log={"file": "-"},
            admin={"address": "127.0.0.1:8025", "token_file": "token"},
        )
        told = [line.partition(":")[0] for line in needing_restart(config(), new)]
        self.assertEqual(
            ["workers", "queue.store", "queue.max_content_memory", "traffic_log", "admin"], told
        )

    def test_when_waiting_mail_may_belong_elsewhere(self) -> None:
        self.assertFalse(changes_ways(config(), config(postmaster="x@example.net")))
        self.assertTrue(changes_ways(config(), config(route=[])))
        by_mx = config(upstream=[{"name": "a", "hosts": ["mx:"]}])
        self.assertTrue(changes_ways(config(), by_mx))
        identity = {"name": "i", "user": "x", "password_env": "P", "senders": ["x@example.net"]}
        by_identity = config(
            upstream=[{"name": "a", "hosts": ["smtp://192.0.2.1"], "identity": [identity]}]
        )
        self.assertTrue(changes_ways(config(), by_identity))


class SocketTests(SynchronousTestCase):
    def kept(self, old: Config, new: Config) -> dict[str, str]:
        return dict(kept_sockets(old.listeners, new.listeners))

    def test_by_address_whatever_the_name(self) -> None:
        old = listeners(lan="127.0.0.1:25", other="127.0.0.1:26")
        new = listeners(renamed="127.0.0.1:25", other="127.0.0.1:27", third="127.0.0.1:26")
        self.assertEqual({"renamed": "lan", "third": "other"}, self.kept(old, new))

    def test_port_0_by_name(self) -> None:
        old = listeners(a="127.0.0.1:0", b="127.0.0.1:0")
        new = listeners(b="127.0.0.1:0", c="127.0.0.1:0")
        self.assertEqual({"b": "b"}, self.kept(old, new))

    def test_of_systemd(self) -> None:
        old, new = listeners(a="systemd:smtp"), listeners(b="systemd:smtp", c="systemd:0")
        self.assertEqual({"b": "a"}, self.kept(old, new))
