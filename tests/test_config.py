"""The configuration: what is read, what is refused and in which words, what is warned of."""

import tomllib
from ipaddress import ip_network
from pathlib import Path
from typing import Any

from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from relay.config import Config, ConfigError, HostAddress, SocketAddress, Upstream, load
from relay.config.errors import toml
from relay.config.reading import check
from relay.config.schema import Settings
from tests.properties import given, settings

QUEUE = '[queue]\nstore = "sqlite:spool"\n'
LISTENER = '[[listener]]\nname = "lan"\naddress = "127.0.0.1:2525"\n'
UPSTREAM = '[[upstream]]\nname = "smarthost"\nhosts = ["smtp://127.0.0.1:2526"]\n'
ROUTE = '[[route]]\nupstream = "smarthost"\n'
LOG = '[traffic_log]\nfile = "-"\n'
HEAD = 'hostname = "relay.example.net"\npostmaster = "admin@example.net"\n'
WHOLE = HEAD + QUEUE + LISTENER + UPSTREAM + ROUTE + LOG


class ReadsFiles(SynchronousTestCase):
    def file(self, text: str | bytes) -> Path:
        path = Path(self.mktemp()).absolute()
        path.mkdir()
        path /= "relay.toml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    def config(self, text: str) -> Config:
        return load(self.file(text))

    def problems(self, text: str | bytes) -> list[str]:
        return self.assertRaises(ConfigError, load, self.file(text)).problems

    def only_problem(self, text: str) -> str:
        problems = self.problems(text)
        self.assertEqual(len(problems), 1, problems)
        return problems[0]


class LoadTests(ReadsFiles):
    def test_the_least(self) -> None:
        config = self.config(QUEUE + LISTENER)
        self.assertTrue(config.hostname)
        self.assertIsNone(config.postmaster)
        self.assertIsNone(config.traffic_log)
        self.assertIsNone(config.admin)
        self.assertEqual(config.stop_within, 30.0)
        self.assertEqual(config.queue.retry, (60, 300, 900, 1800, 3600, 7200, 14400))
        self.assertEqual((config.queue.warn_after, config.queue.expire_after), (14400, 432000))
        self.assertEqual(config.queue.min_free, 100 << 20)
        self.assertEqual((config.upstreams, config.routes), ((), ()))
        (listener,) = config.listeners
        self.assertEqual((listener.host, listener.port), ("127.0.0.1", 2525))
        self.assertEqual(
            listener.relay_networks, (ip_network("127.0.0.0/8"), ip_network("::1/128"))
        )
        self.assertEqual(listener.max_message_size, 50 << 20)
        self.assertEqual((listener.bare_newline, listener.idle_timeout), ("normalise", 300))

    def test_upstream(self) -> None:
        config = self.config(
            QUEUE + LISTENER + '[[upstream]]\nname = "a"\nhosts = ["smtp://mail.example.net", '
            '"lmtp://[::1]", "smtp://[2001:db8::1]:2525"]\ntimeouts.final = "1.5s"\n'
        )
        (upstream,) = config.upstreams
        self.assertEqual(
            upstream.hosts,
            (
                HostAddress("smtp", "mail.example.net", 25),
                HostAddress("lmtp", "::1", 24),
                HostAddress("smtp", "2001:db8::1", 2525),
            ),
        )
        self.assertEqual(str(upstream.hosts[2]), "smtp://[2001:db8::1]:2525")
        self.assertEqual((upstream.timeouts.final, upstream.timeouts.mail), (1.5, 300.0))
        self.assertEqual((upstream.max_connections, upstream.idle_timeout), (20, 5.0))

    def test_listeners(self) -> None:
        config = self.config(
            QUEUE + '[[listener]]\nname = "a"\naddress = "[::]:0"\nmax_message_size = 1000\n'
            'relay_networks = ["10.0.0.0/8", "192.0.2.1", "::ffff:10.0.0.0/104"]\n'
        )
        (listener,) = config.listeners
        self.assertEqual(listener.address, SocketAddress("::", 0))
        self.assertEqual(str(listener.address), "[::]:0")
        self.assertEqual(listener.max_message_size, 1000)
        self.assertEqual(
            [str(network) for network in listener.relay_networks],
            ["10.0.0.0/8", "192.0.2.1/32", "10.0.0.0/8"],
        )

    def test_relative_paths_start_at_the_file(self) -> None:
        path = self.file(
            '[queue]\nstore = "sqlite:../var/spool"\n'
            + LISTENER
            + '[traffic_log]\nfile = "log/t.jsonl"\n'
            + '[admin]\naddress = "127.0.0.1:8025"\ntoken_file = "/etc/token"\n'
        )
        config = load(path)
        folder = path.resolve().parent
        self.assertEqual(config.queue.store, f"sqlite:{folder.parent}/var/spool")
        assert config.traffic_log is not None and config.admin is not None
        self.assertEqual(config.traffic_log.file, folder / "log/t.jsonl")
        self.assertEqual(config.admin.token_file, Path("/etc/token"))

    def test_standard_output(self) -> None:
        config = self.config(QUEUE + LISTENER + LOG)
        assert config.traffic_log is not None
        self.assertEqual(config.traffic_log.file, "-")

    def test_never_warn(self) -> None:
        self.assertIsNone(self.config(QUEUE + 'warn_after = "never"\n' + LISTENER).queue.warn_after)

    def test_frozen(self) -> None:
        config = self.config(WHOLE)
        self.assertRaises(ValueError, setattr, config, "hostname", "x")

    def test_line_ends_of_other_systems(self) -> None:
        path = self.file(WHOLE.replace("\n", "\r\n"))
        self.assertEqual(load(path).hostname, "relay.example.net")

    def test_made_by_code(self) -> None:
        upstream = Upstream(name="a", hosts=(HostAddress("smtp", "::1", 1),), idle_timeout=0.25)
        self.assertEqual(upstream.idle_timeout, 0.25)
        self.assertEqual(upstream.timeouts.connect, 30.0)


class UnreadableTests(ReadsFiles):
    def test_no_file(self) -> None:
        error = self.assertRaises(ConfigError, load, "/nowhere/relay.toml")
        self.assertEqual(
            error.problems, ["/nowhere/relay.toml: cannot be read: No such file or directory"]
        )

    def test_syntax(self) -> None:
        path = self.file('hostname = "a.b"\n[queue\n')
        error = self.assertRaises(ConfigError, load, path)
        self.assertTrue(str(error).startswith(f"{path}:2:"), str(error))

    def test_not_text(self) -> None:
        self.assertIn("not UTF-8", self.problems(b"\xff\xfe")[0])

    def test_huge(self) -> None:
        self.assertIn("larger than", self.problems(b"#" * (5 << 20))[0])


MISTAKES = [
    # what follows a good start, the one line that comes of it
    ("hostnam = 'x'", "hostnam: unknown key; did you mean hostname?"),
    ("stop_within = 3", 'stop_within: 3 must be text in quotes, e.g. "30s"'),
    ("stop_within = '3 s'", "stop_within: '3 s' is not a time; write e.g. '30s', '5m', '4h' or"),
    ("stop_within = '99999d'", "stop_within: '99999d' is too long; the most is '3650d'"),
    ("postmaster = 'me'", "postmaster: 'me' is not a mail address; write e.g. admin@example.net"),
    ("postmaster = 'a b@c.d'", "postmaster: 'a b@c.d' is not a mail address"),
    ("hostname = 'a b'", "hostname: 'a b' is not a host name; write e.g. relay.example.net"),
    ("traffic_log = 3", "traffic_log: must be a table; write [traffic_log] and its keys below"),
    ("upstream = {name='a'}", "upstream: must be a list of tables; write [[upstream]] and its"),
    ("admin = {address='127.0.0.1:1'}", "admin.token_file: is missing; write e.g. token_file = "),
    ("[queue]\nstore = 'x'", "queue.store: 'x' is not a queue store; write e.g. 'sqlite:/var/"),
    ("[queue]\nstore = 'sqlite:'", "queue.store: 'sqlite:' is not a queue store"),
    ("[queue]\nstore = 'postgresql://u@h/d'", "queue.store: a queue in PostgreSQL is not ava"),
    ("[queue]\nretry = []", 'queue.retry: must not be empty; write e.g. ["1m", '),
    ("[queue]\nretry = ['1m', '0s']", "queue.retry[1]: '0s': a wait of no time at all can never"),
    ("[queue]\nretry = '1m'", 'queue.retry: must be a list; write e.g. ["1m", '),
    ("[queue]\nmin_free = '10Q'", "queue.min_free: '10Q' is not a size; write e.g. '64K', '50M'"),
    ("[queue]\nmin_free = -1", "queue.min_free: -1 must be text in quotes"),
    ("[queue]\nmax_in_hand = true", "queue.max_in_hand: true must be a whole number, e.g. 200"),
    ("[queue]\nmax_in_hand = 0", "queue.max_in_hand: 0 is too small; the least is 1"),
    ("[queue]\nwarn_after = '6d'", "queue.warn_after: '6d' is not before expire_after ('5d')"),
    ("[queue]\nexpire_after = '4h'", "queue.warn_after: '4h' is not before expire_after ('4h')"),
    ("[[listener]]\nname = 'b'", "listener[0].address: is missing; write e.g. address = \"127.0"),
    ("[[listener]]\naddress = '127.0.0.1:1'", "listener[0].name: is missing; write e.g. name ="),
    ("[[listener]]\nname = 'a b'\naddress = '[::]:1'", "listener[0].name: 'a b' is not a name"),
    ("!address = '127.0.0.1'", "listener[0].address: '127.0.0.1' names no port; write e.g."),
    ("!address = 'localhost:25'", "listener[0].address: 'localhost:25': 'localhost' is not an IP"),
    ("!address = '::1:25'", "listener[0].address: '::1:25' is not an address; an IPv6 address"),
    ("!address = '[::1]:99999'", "listener[0].address: '[::1]:99999': port 99999 is out of range"),
    ("!relay_networks = ['foo']", "listener[0].relay_networks[0]: 'foo' is not an IP network; wr"),
    ("!relay_networks = ['10.1.0.0/8']", "listener[0].relay_networks[0]: '10.1.0.0/8' has bits s"),
    ("!bare_newline = 'x'", "listener[0].bare_newline: \"x\" is not known; write 'normalise' or "),
    ("!accept_recipients = ['x.org']", "listener[0].accept_recipients[0]: 'x.org' can match no a"),
    ("!accept_recipients = ['a b@c']", "listener[0].accept_recipients[0]: 'a b@c' is not an addr"),
    ("!accept_recipients = ['<>']", "listener[0].accept_recipients[0]: '<>' can match no address"),
    ("!accept_recipients = ['@x.org']", "listener[0].accept_recipients[0]: '@x.org' can match no"),
    ("!accept_recipients = ['admin@']", "listener[0].accept_recipients[0]: 'admin@' can match no"),
    ("!max_message_size = 0", "listener[0].max_message_size: 0 is too small; the least is 1"),
    ("!max_connections = 100001", "listener[0].max_connections: 100001 is too large; the most is"),
    ("!auth = 'yes'", "listener[0].auth: \"yes\" is not known; write 'none', 'offered' or 'requi"),
    ("[auth]\n", "auth: does not say who the users are; write e.g. users = "),
    ("[auth]\nusers='u'\nchecker='a:b'", "auth: has both users and checker; write one of them"),
    ("[auth]\nchecker = 'a.b'", "auth.checker: 'a.b' names nothing in Python; write e.g. 'package"),
    ("[auth]\nusers = 'u'\nmax_failures = 0", "auth.max_failures: 0 is too small; the least is 1"),
    ("!auth = 'offered'\nauth_without_tls = true", "listener[0].auth: 'offered' needs to know the"),
    ("[auth]\nusers = 'u'\n[[listener]]\nname='a'\naddress='[::]:1'\nauth = 'required'",
     "listener[1].auth: without TLS no password is taken, so nobody could authenticate"),
    ("!tsl = true", "listener[0].tsl: unknown key; did you mean tls?"),
    ("!colour = 'red'", "listener[0].colour: unknown key; known here: name, address, relay_netwo"),
    ("!tls = true", "listener[0].tls: true is not known; write 'none', 'starttls', 'required' or"),
    ("!tls = 'starttls'", "listener[0].certificates: is missing, and tls = 'starttls' needs it"),
    ("!client_ca = 'a'", "listener[0].client_ca: is of no use without TLS; write e.g. tls = "),
    ("!certificates = [{certificate = 'a'}]", "listener[0].certificates: is of no use without"),
    (
        "!tls = 'implicit'\ncertificates = [{certificate = 'a'}]\nrelay_certificates = ['*.a.b']",
        "listener[0].relay_certificates: nobody is asked for a certificate; name the authority",
    ),
    (
        "!tls = 'implicit'\ncertificates = [{certificate = 'a'}]\nclient_ca = 'a'\n"
        "relay_certificates = ['a b']",
        "listener[0].relay_certificates[0]: 'a b' is not a pattern for names in certificates",
    ),
    ("!certificates = [{key = 'a'}]\ntls = 'implicit'", "listener[0].certificates[0].certificat"),
    ("!tls_max = '1.1'", 'listener[0].tls_max: "1.1" is not known; write'),
    ("[[upstream]]\nname = 'a'", "upstream[0].hosts: is missing; write e.g. hosts = [\"smtp://"),
    ("!xclient_from = ['a']", "listener[0].xclient_from[0]: 'a' is not an IP network; write e.g."),
    ("!proxy_protocol_from = ['a']", "listener[0].proxy_protocol_from[0]: 'a' is not an IP netwo"),
    ("^xclient = 'yes'", 'upstream[0].xclient: "yes" must be true or false'),
    ("^xclient = true\nxforward = true", "upstream[0].xforward: XCLIENT tells the upstream all of"),
    ("^hosts = []", "upstream[0].hosts: must not be empty; write e.g."),
    ("^hosts = ['a:25']", "upstream[0].hosts[0]: 'a:25' is not an upstream host; write e.g. smtp"),
    ("^hosts = ['http://a']", "upstream[0].hosts[0]: 'http://a' is not an upstream host"),
    ("^hosts = ['smtp://a:0']", "upstream[0].hosts[0]: 'smtp://a:0' is not an upstream host"),
    ("^hosts = ['smtp://a/b']", "upstream[0].hosts[0]: 'smtp://a/b' is not an upstream host"),
    ("^hosts = ['mx:example.org']", "upstream[0].hosts[0]: 'mx:example.org': write 'mx:' alone,"),
    ("^hosts = ['mx::0']", "upstream[0].hosts[0]: 'mx::0': port 0 is out of range; ports are 1 to"),
    ("^hosts = ['mx:', 'smtp://a']", 'upstream[0].hosts: "mx:" stands alone; give other hosts an'),
    ("^hosts = ['mx:']\nxforward = true", 'upstream[0].xforward: "mx:" leads to hosts of others;'),
    ("^hosts = ['smtps://a:0']", "upstream[0].hosts[0]: 'smtps://a:0' is not an upstream host"),
    ("^tls = 'yes'", "upstream[0].tls: "),
    ("^max_rate = '30'", "upstream[0].max_rate: '30' is not a rate; write e.g. '5/s', '30/m'"),
    ("^max_rate = '0/s'", "upstream[0].max_rate: '0/s' is not a rate"),
    ("^bind = 'eth0'", "upstream[0].bind: 'eth0' is not an IP address; write e.g. '192.0.2.1'"),
    ("^ignore_extensions = ['A B']", "upstream[0].ignore_extensions[0]: 'A B' is not an EHLO"),
    (
        "^hosts = ['smtps://a']\ntls = 'none'",
        "upstream[0].hosts[0]: 'smtps://a' begins with TLS, which tls = 'none' forbids; write",
    ),
    (
        "^hosts = ['smtp://a']\ntls = 'none'\nca_file = 'a'",
        "upstream[0].ca_file: is of no use with tls = 'none'",
    ),
    (
        "^hosts = ['smtp://a']\nclient_key = 'a'",
        "upstream[0].client_key: is of no use alone; name its client_certificate too",
    ),
    (
        "^hosts = ['smtp://a', 'smtp://[::1]:25']\nbind = '127.0.0.1'",
        "upstream[0].bind: 'smtp://[::1]:25' cannot be reached from 127.0.0.1",
    ),
    (
        "^hosts = ['smtp://10.0.0.1:25']\nbind = '::1'",
        "upstream[0].bind: 'smtp://10.0.0.1:25' cannot be reached from ::1",
    ),
    ("^hosts = ['smtp://a']\ntls = 'dane'", "upstream[0].tls: 'dane' is for \"mx:\" alone; write"),
    ("^hosts = ['mx:']\ntls = 'dane'", "upstream[0].tls: 'dane' needs a resolver that is believed"),
    ("[dns]\nservers = ['localhost']", "dns.servers[0]: 'localhost': 'localhost' is not an IP "),
    ("^timeouts.conect = '1s'", "upstream[0].timeouts.conect: unknown key; did you mean connect?"),
    ("^timeouts.connect = '0s'", "upstream[0].timeouts.connect: '0s': a wait of no time at all"),
    ("+delivery = 'x'", "route[0].delivery: 'x' is not a delivery; write 'store', 'hybrid'"),
    ("+hybrid_wait = '0s'", "route[0].hybrid_wait: '0s': a wait of no time at all"),
    ("+proxy_wait = '0s'", "route[0].proxy_wait: '0s': a wait of no time at all"),
    ("+listeners = ['lam']", "route[0].listeners[0]: there is no listener named 'lam'; there are:"),
    ("[[route]]", "route[0].upstream: is missing; write e.g. upstream = \"smarthost\""),
    ("[[route]]\nupstream = 'a'", "route[0].upstream: there is no upstream named 'a'; add [[upst"),
]  # fmt: skip

STARTS = {
    "!": QUEUE + "[[listener]]\nname = 'a'\n%s\n",
    "^": QUEUE + LISTENER + "[[upstream]]\nname = 'a'\n%s\n",
    "+": QUEUE + LISTENER + UPSTREAM + ROUTE + "%s\n",
}


class MistakeTests(ReadsFiles):
    def test_each(self) -> None:
        for text, told in MISTAKES:
            whole = self.whole(text)
            self.assertTrue(
                self.only_problem(whole).startswith(told), (whole, self.problems(whole))
            )

    def whole(self, text: str) -> str:
        """A file that is right in all but this."""
        if text[0] in STARTS:
            whole = STARTS[text[0]] % text[1:]
            if text[0] == "!" and "address =" not in text:
                whole += 'address = "127.0.0.1:1"\n'
            return whole + (
                "hosts = ['smtp://a']" if text[0] == "^" and "hosts" not in text else ""
            )
        if text.startswith("[queue]"):
            return text + ("" if "store" in text else "\nstore = 'memory:'") + "\n" + LISTENER
        listener = "" if text.startswith("[[listener") else LISTENER
        return (
            f"{QUEUE}{listener}{text}\n" if text.startswith("[") else f"{text}\n{QUEUE}{listener}"
        )

    def test_all_at_once_in_the_order_of_the_file(self) -> None:
        problems = self.problems(
            'stop_within = "x"\nlistener = []\nwhat = 1\n[queue]\nretry = ["x", "y"]\n'
            '[[upstream]]\nname = "a"\n[[upstream]]\nname = "a"\n[[route]]\nupstream = "b"\n'
        )
        self.assertEqual(
            [line.partition(":")[0] for line in problems],
            [
                "stop_within",
                "queue.store",
                "queue.retry[0]",
                "queue.retry[1]",
                "upstream[0].hosts",
                "upstream[1].hosts",
                "what",
                "upstream[1].name",
                "listener",
                "route[0].upstream",
            ],
        )

    def test_nothing_there(self) -> None:
        self.assertEqual(
            self.problems(""),
            [
                "queue: is missing; add [queue] and its keys below",
                "listener: is missing; add [[listener]] and its keys below",
            ],
        )

    def test_two_of_a_name(self) -> None:
        self.assertEqual(
            self.problems(WHOLE + LISTENER + UPSTREAM),
            [
                "listener[1].name: 'lan' is the name of listener[0] too; give each listener its "
                "own",
                "upstream[1].name: 'smarthost' is the name of upstream[0] too; give each upstream "
                "its own",
                "listener[1].address: listener[0] listens on '127.0.0.1:2525' too; use another "
                "port or one listener",
            ],
        )

    def test_proxy_by_mx(self) -> None:
        by_mx = UPSTREAM.replace("smtp://127.0.0.1:2526", "mx:")
        proxied = ROUTE + 'delivery = "proxy"\n'
        self.assertEqual(
            self.problems(WHOLE.replace(UPSTREAM, by_mx).replace(ROUTE, proxied)),
            ["route[0].delivery: 'proxy' cannot go to \"mx:\"; write 'store' or 'hybrid'"],
        )

    def test_nobody_to_believe(self) -> None:
        """Whoever /etc/resolv.conf names is nobody that the config chose."""
        for servers in ("", "servers = []\n"):
            [problem] = self.problems(WHOLE + f"[dns]\n{servers}trusted = true\n")
            self.assertIn("dns.trusted: no resolver is named", problem)
        self.config(WHOLE + "[dns]\nservers = ['127.0.0.1']\ntrusted = true\n")

    def test_free_ports_are_never_the_same(self) -> None:
        free = '[[listener]]\nname = "%s"\naddress = "127.0.0.1:0"\n'
        self.assertEqual(len(self.config(QUEUE + free % "a" + free % "b").listeners), 2)

    values = st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
        max_leaves=5,
    )

    @settings(max_examples=300)
    @given(st.data())
    def test_no_value_anywhere_makes_it_crash(self, data: Any) -> None:
        """Any value in place of any other is read or told, each in one line."""
        raw = tomllib.loads(WHOLE)
        table = data.draw(
            st.sampled_from(
                [raw, raw["queue"], raw["listener"][0], raw["upstream"][0], raw["route"][0]]
            )
        )
        table[data.draw(st.sampled_from(sorted(table)) | st.text())] = data.draw(self.values)
        try:
            check(raw, Path())
        except ConfigError as error:
            self.assertTrue(error.problems)
            for line in error.problems:
                self.assertNotIn("\n", line)


TLS = 'tls = "required"\ncertificates = [{certificate = "a"}]\n'
DOUBTS = [
    (HEAD, 'hostname = "relay"\npostmaster = "a@b.c"\n', "hostname: 'relay' is not fully quali"),
    ("sqlite:spool", "memory:", 'queue.store: "memory:" loses mail at every stop'),
    (LOG, "", "traffic_log: is not set: nothing is recorded"),
    (ROUTE, "", "route: there is none: every recipient is refused with 550 5.7.1"),
    (ROUTE, ROUTE * 2, "route[0]: takes everything, so the routes after it never match"),
    ("2526", "465", "upstream[0].hosts[0]: on port 465 servers begin with TLS; write smtps://127"),
    ("2526", "2525", "upstream[0].hosts[0]: smtp://127.0.0.1:2525 is this relay's own listener"),
    (ROUTE, UPSTREAM.replace("smarthost", "b") + ROUTE, "upstream[1]: no route leads to 'b'"),
    ('2525"\n', '2525"\nrelay_networks = ["0.0.0.0/0"]\n', "0.0.0.0/0 lets the whole world send"),
    ('2525"\n', '2525"\nrelay_networks = ["8.0.0.0/8"]\n', "8.0.0.0/8 is wide and public: every"),
    ('2525"\n', '2525"\nrelay_networks = ["2600::/12"]\n', "listener[0].relay_networks[0]: 2600:"),
    ('2525"\n', '2525"\nxclient_from = ["::/0"]\n', "listener[0].xclient_from[0]: every machi"),
    ('2525"\n', '2525"\nproxy_protocol_from = ["0.0.0.0/0"]\n', "listener[0].proxy_protocol_from"),
    ('2526"]\n', '2526"]\nxclient = true\n', "upstream[0].xclient: XCLIENT is sent in proxy deliv"),
    ('2525"\n', '2525"\naccept_recipients = ["*@*"]\n', "listener[0].accept_recipients[0]: '*@*' "),
    ('2525"\n', '2525"\nmax_recipients = 3\n', "listener[0].max_recipients: 3 is less than the 1"),
    ('2525"\n', '2525"\nmax_message_size = "1K"\n', "listener[0].max_message_size: 1024 is less"),
    ('127.0.0.1:2525"\n', '0.0.0.0:25"\nprofile = "legacy-device"\n', "profile: 'legacy-de"),
    ('127.0.0.1:2525"\n', 'systemd:0"\nprofile = "legacy-device"\n', "is broken, on systemd:0, w"),
    ('127.0.0.1:2525"\n', f'192.0.2.1:25"\n{TLS}accept_recipients = ["*@a.b"]\n', "(RFC 3207 4)"),
    ('2525"\n', f'465"\n{TLS}', "'required' on port 465, where clients begin wit"),
    ('2525"\n', f'25"\n{TLS}'.replace("required", "implicit"), "'implicit' on port 25"),
    (LOG, LOG + "[dns]\nservers = ['127.0.0.1', '192.0.2.1:5353', '[::1]']\ntrusted = true\n",
     "dns.servers[1]: 192.0.2.1:5353 is another machine, and is trusted"),
    (
        '2525"\n', '2525"\nauth = "offered"\nauth_without_tls = true\n[auth]\nusers = "users"\n',
        "listener[0].auth_without_tls: passwords may come in plain text",
    ),
    (
        HEAD + QUEUE + LISTENER + UPSTREAM + ROUTE,
        HEAD[: HEAD.index("postmaster")] + QUEUE + LISTENER + UPSTREAM + ROUTE
        + 'recipients = ["*@example.net"]\n',
        "postmaster: is not set, and no route takes reports to every sender",
    ),
    (
        HEAD + QUEUE + LISTENER,
        HEAD[: HEAD.index("postmaster")] + QUEUE + LISTENER
        + 'accept_recipients = ["*@example.net"]\n',
        "listener[0].accept_recipients: mail from anybody is taken, and <postmaster> is refused",
    ),
]  # fmt: skip


class WarningTests(ReadsFiles):
    def test_none(self) -> None:
        self.assertEqual(self.config(WHOLE).warnings(), [])

    def test_each(self) -> None:
        for old, new, told in DOUBTS:
            self.assertIn(old, WHOLE)
            warnings = self.config(WHOLE.replace(old, new)).warnings()
            self.assertIn(told, "\n".join(warnings))
            self.assertLessEqual(len(warnings), 2, warnings)

    def test_old_devices_inside_are_fine(self) -> None:
        for address in ("127.0.0.1:25", "[::1]:25", "192.168.1.1:25", "[fd00::1]:25"):
            text = WHOLE.replace('127.0.0.1:2525"', f'{address}"\nprofile = "legacy-device"')
            self.assertEqual(self.config(text).warnings(), [])

    def test_private_networks_and_a_route_for_reports_are_fine(self) -> None:
        text = WHOLE.replace(
            '2525"\n', '2525"\nrelay_networks = ["10.0.0.0/8", "fd00::/8", "198.51.100.0/24"]\n'
        ).replace('postmaster = "admin@example.net"\n', "")
        self.assertEqual(self.config(text).warnings(), [])


class SchemaTests(SynchronousTestCase):
    def test_toml_text_reads_back(self) -> None:
        for value in ('a"b\\c', 3, True, ["x", "y"], [], 1.5):
            self.assertEqual(tomllib.loads(f"a = {toml(value)}"), {"a": value})

    def test_every_key_says_what_it_is(self) -> None:
        def check(model: Any) -> None:
            for name, field in model.model_fields.items():
                for inner in [field.annotation, *getattr(field.annotation, "__args__", ())]:
                    if hasattr(inner, "model_fields"):
                        check(inner)
                        break
                else:
                    self.assertTrue(field.description and field.examples, f"{model} {name}")

        check(Settings)
