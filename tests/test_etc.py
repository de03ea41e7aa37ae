"""What lies in etc/ and the reference in docs/: generated where it repeats, and it all loads."""

import re
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from relay.config import Config, load
from relay.config.reference import reference, sample
from relay.config.schema import Auth

ROOT = Path(__file__).resolve().parent.parent
SAMPLE = ROOT / "etc" / "relay.toml"

_NO_DEFAULT = dict.fromkeys(
    ("ca_file", "client_certificate", "client_key", "bind", "helo", "max_rate")
)


class SampleTests(SynchronousTestCase):
    def config(self, text: str) -> Config:
        path = Path(self.mktemp())
        path.write_text(text)
        return load(path)

    def test_generated_from_the_schema(self) -> None:
        self.assertEqual(SAMPLE.read_text(), sample(), "run `make reference`")

    def test_reference_generated_from_the_schema(self) -> None:
        text = (ROOT / "docs" / "configuration.rst").read_text()
        self.assertEqual(text, reference(), "run `make reference`")

    def test_what_is_commented_out_is_the_default(self) -> None:
        """With every key active it means the same, apart from those that have no default."""
        as_it_is = load(SAMPLE)
        text = SAMPLE.read_text().replace("#checker = ", "# in place of users: checker = ")
        text = re.sub(r"^#\[upstream.oauth](.|\n)*?(?=^\[\[route)", "", text, flags=re.M)
        text = re.sub(r"^#(user|password_\w+|mechanisms) =.*", "", text, flags=re.M)
        text = re.sub(r"^#client_ca.*|^#\[\[listener.certificates]][^[]*", "", text, flags=re.M)
        active = self.config(re.sub(r"^#(?=[\[a-z])", "", text, flags=re.M))
        self.assertIsNotNone(active.admin)
        self.assertEqual(active.auth, Auth(users=Path("/etc/relay/users")))
        self.assertEqual(active.postmaster, "admin@example.net")
        self.assertEqual(active.queue, as_it_is.queue)
        self.assertEqual(active.listeners, as_it_is.listeners)
        upstreams = tuple(each.model_copy(update=_NO_DEFAULT) for each in active.upstreams)
        self.assertEqual(upstreams, as_it_is.upstreams)
        self.assertEqual(active.routes, as_it_is.routes)
        self.assertEqual(active.stop_within, as_it_is.stop_within)
        self.assertEqual(active.traffic_log, as_it_is.traffic_log)

    def test_quickstart(self) -> None:
        config = load(ROOT / "etc" / "quickstart.toml")
        self.assertEqual(config.warnings(), [])
        self.assertEqual(config.queue.store, f"sqlite:{ROOT}/var/spool")
        self.assertEqual((config.listeners[0].host, config.listeners[0].port), ("127.0.0.1", 2525))
        self.assertEqual(str(config.upstreams[0].hosts[0]), "smtp://127.0.0.1:2526")


class ReadmeTests(SynchronousTestCase):
    def test_its_configurations_load_without_doubts(self) -> None:
        """Each literal block of the README that has a [queue] is a whole configuration."""
        blocks = re.findall(r"^::\n\n((?:    .*\n|\n)+)", (ROOT / "README.rst").read_text(), re.M)
        whole = [re.sub("^    ", "", block, flags=re.M) for block in blocks if "[queue]" in block]
        self.assertEqual(len(whole), 2)
        for block in whole:
            path = Path(self.mktemp())
            path.write_text(block)
            self.assertEqual(load(path).warnings(), [])


_CALLS = "SystemCallFilter"

_HARDENED = (
    *("NoNewPrivileges", "PrivateDevices", "PrivateTmp", "ProtectHome", "LockPersonality"),
    *("ProtectClock", "ProtectControlGroups", "ProtectHostname", "ProtectKernelLogs"),
    *("ProtectKernelModules", "ProtectKernelTunables", "RemoveIPC", "RestrictNamespaces"),
    *("RestrictRealtime", "RestrictSUIDSGID"),
)


class UnitTests(SynchronousTestCase):
    """The systemd unit and the log rotation fit the sample configuration."""

    unit = (ROOT / "etc" / "relay.service").read_text()

    def values(self, key: str) -> list[str]:
        return re.findall(rf"^{key}=(.*)$", self.unit, re.M)

    def test_may_do_little(self) -> None:
        """Nobody's privileges, its own files, the network, and ports below 1024."""
        (user,) = self.values("User")
        self.assertNotIn(user, ("root", "0"))
        for key in ("AmbientCapabilities", "CapabilityBoundingSet"):
            self.assertEqual(["CAP_NET_BIND_SERVICE"], self.values(key))
        self.assertEqual(["strict"], self.values("ProtectSystem"))
        self.assertEqual(["0077"], self.values("UMask"))
        self.assertEqual(["AF_INET AF_INET6 AF_UNIX"], self.values("RestrictAddressFamilies"))
        self.assertEqual(["@system-service", "~@privileged @resources"], self.values(_CALLS))
        for key in _HARDENED:
            self.assertEqual(["true"], self.values(key), key)
        (made,) = self.values("ExecStartPre")
        self.assertIn(" -m 0700 /var/spool/relay", made)

    def test_its_sockets_are_those_that_a_listener_may_name(self) -> None:
        socket = (ROOT / "etc" / "relay.socket").read_text()
        (name,) = re.findall("^FileDescriptorName=(.*)$", socket, re.M)
        path = Path(self.mktemp())
        sample = SAMPLE.read_text()
        path.write_text(
            re.sub('^address = ".*"', f'address = "systemd:{name}"', sample, flags=re.M)
        )
        self.assertEqual(f"systemd:{name}", str(load(path).listeners[0].address))
        self.assertIn(f'address = "systemd:{name}"', socket)

    def test_time_to_stop(self) -> None:
        (within,) = self.values("TimeoutStopSec")
        self.assertGreater(float(within), load(SAMPLE).stop_within)

    def test_may_write_what_the_sample_names(self) -> None:
        config = load(SAMPLE)
        self.assertEqual(
            self.values("ReadWritePaths"), ["-" + config.queue.store[len("sqlite:") :]]
        )
        assert config.traffic_log is not None and config.traffic_log.file != "-"
        folder = config.traffic_log.file.parent
        self.assertEqual(
            [f"/var/log/{name}" for name in self.values("LogsDirectory")], [str(folder)]
        )
        rotation = (ROOT / "etc" / "logrotate.relay").read_text()
        self.assertIn(f"\n{config.traffic_log.file} {{", rotation)
