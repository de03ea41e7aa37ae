"""A real resolver on loopback: unbound, which validates zones that are signed here.

Names below "silent.test" are asked of a socket that never answers; for other names outside the
zones there is no server at all.
"""

import shutil
import socket
import tempfile
from collections.abc import Mapping
from pathlib import Path

import dns.dnssec
import dns.name
import dns.rdataset
import dns.rdatatype
import dns.zone
from cryptography.hazmat.primitives.asymmetric import ec

from relay.config import SocketAddress
from tests.interop.tools import need
from tests.process.child import Child, free_port

TTL = 60

_SERVER = """\
server:
    interface: 127.0.0.1@{port}
    port: {port}
    directory: "{folder}"
    chroot: ""
    username: ""
    pidfile: ""
    use-syslog: no
    logfile: ""
    do-not-query-localhost: no
    access-control: 127.0.0.0/8 allow
    module-config: "validator iterator"
    trust-anchor-file: "{folder}/anchors"
    minimal-responses: yes
    num-threads: 1
    so-reuseport: no
    val-log-level: 1
    local-zone: "test." nodefault
    unblock-lan-zones: yes
    insecure-lan-zones: yes
remote-control:
    control-enable: no
stub-zone:
    name: "."
    stub-addr: 127.0.0.1@{nobody}
    stub-prime: no
stub-zone:
    name: "silent.test"
    stub-addr: 127.0.0.1@{silent}
    stub-prime: no
"""

_ZONE = """\
auth-zone:
    name: "{name}"
    zonefile: "{folder}/{name}.zone"
    for-downstream: no
    for-upstream: yes
    fallback-enabled: no
"""

_HEAD = f"""\
$TTL {TTL}
@ IN SOA ns hostmaster 1 3600 600 86400 {TTL}
@ IN NS ns
ns IN A 127.0.0.1
"""


class NameServer:
    """`zones`: name to its records in a zone file's form, each with SOA, NS and ns put before them.

    Those in `signed` are signed, and unbound trusts their key. `spoilt`: TXT, MX or TLSA records of
    these names in a signed zone are changed after that, so that they are bogus: SERVFAIL.
    """

    def __init__(
        self,
        zones: Mapping[str, str],
        signed: frozenset[str] = frozenset(),
        spoilt: frozenset[str] = frozenset(),
    ) -> None:
        self._unbound = need("unbound")
        self._folder = Path(tempfile.mkdtemp(prefix="relay-unbound-"))
        self._silent = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._silent.bind(("127.0.0.1", 0))
        self.port = free_port()
        anchors = []
        for name, text in zones.items():
            zone = dns.zone.from_text(_HEAD + text, origin=f"{name}.", relativize=False)
            if name in signed:
                anchors.append(_sign(zone, spoilt))
            zone.to_file(str(self._folder / f"{name}.zone"), want_origin=True)
        (self._folder / "anchors").write_text("".join(anchors))
        self._write_config(zones)

    @property
    def address(self) -> SocketAddress:
        return SocketAddress("127.0.0.1", self.port)

    def _write_config(self, zones: Mapping[str, str]) -> None:
        fields = {"folder": self._folder, "port": self.port, "nobody": free_port()}
        fields["silent"] = self._silent.getsockname()[1]
        text = _SERVER.format(**fields)
        text += "".join(_ZONE.format(name=name, folder=self._folder) for name in zones)
        (self._folder / "unbound.conf").write_text(text)

    def start(self) -> None:
        command = (self._unbound, "-d", "-c", self._folder / "unbound.conf")
        self._child = Child(command, self._folder / "output")
        self._child.wait_for_port(self.port)

    def stop(self) -> None:
        self._child.kill()
        self._silent.close()
        shutil.rmtree(self._folder, ignore_errors=True)


def _sign(zone: dns.zone.Zone, spoilt: frozenset[str]) -> str:
    """Sign it; the trust anchor for its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    record = dns.dnssec.make_dnskey(key.public_key(), dns.dnssec.Algorithm.ECDSAP256SHA256, 257)
    with zone.writer() as writer:
        dns.dnssec.sign_zone(
            zone, writer, keys=[(key, record)], lifetime=86400, add_dnskey=True, dnskey_ttl=TTL
        )
        for owner in spoilt:
            _spoil(writer, dns.name.from_text(owner))
    return f"{zone.origin} {TTL} IN DNSKEY {record}\n"


def _spoil(writer: dns.zone.Transaction, owner: dns.name.Name) -> None:
    """What is there is not what was signed."""
    for kind, changed in _OTHERS.items():
        if writer.get(owner, kind) is not None:
            writer.replace(owner, dns.rdataset.from_text("IN", kind, TTL, changed))


_OTHERS = {
    dns.rdatatype.MX: "66 elsewhere.test.",
    dns.rdatatype.TLSA: f"3 1 1 {'66' * 32}",
    dns.rdatatype.TXT: '"other"',
}
