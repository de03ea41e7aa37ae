"""Logins at upstreams and profiles: what is refused, what is warned of, what a profile fills in."""

from relay.config import ConfigError, profiles
from relay.config.reading import check
from tests.test_config import HEAD, LISTENER, LOG, QUEUE, ROUTE, ReadsFiles

HOST = '[[upstream]]\nname = "smarthost"\nhosts = ["smtp://mail.example.net"]\n'
USER, FILE = 'user = "me"\n', 'password_file = "p"\n'
OAUTH = '[upstream.oauth]\ntoken_url = "https://example.net/token"\n'
IDENTITY = '[[upstream.identity]]\nname = "bills"\n'


class _Case(ReadsFiles):
    def whole(self, upstream: str) -> str:
        return HEAD + QUEUE + LISTENER + HOST + upstream + ROUTE + LOG


class AuthTests(_Case):
    def test_contradictions(self) -> None:
        for more, problem in (
            (FILE, "upstream[0].password_file: is of no use without user"),
            ('mechanisms = ["PLAIN"]\n', "upstream[0].mechanisms: is of no use without user"),
            (USER, "upstream[0].user: has no secret; write password_file, password_env or oauth"),
            (
                USER + FILE + 'password_env = "P"\n',
                "upstream[0].password_env: there is password_file already; write one of them",
            ),
            (
                USER + FILE + 'mechanisms = ["XOAUTH2"]\n',
                "upstream[0].mechanisms: none of them takes a password; add e.g. 'SCRAM-SHA-256'",
            ),
            (
                USER + FILE + 'tls = "none"\n',
                "upstream[0].tls: 'none' would show the credentials to whoever listens; write "
                "'verified', or auth_without_tls = true on a network where nobody does",
            ),
            (
                USER + OAUTH + 'grant = "refresh-token"\nclient_id = "c"\n',
                "upstream[0].oauth.refresh_token_file: is missing, and grant = 'refresh-token' "
                "needs it",
            ),
            (
                USER + OAUTH + 'grant = "client-credentials"\nclient_id = "c"\n',
                "upstream[0].oauth.client_secret_file: is missing, and grant = "
                "'client-credentials' needs it",
            ),
            (
                USER + OAUTH.replace("https", "http") + 'grant = "service-account"\nkey_file="k"\n',
                "upstream[0].oauth.token_url: 'http://example.net/token' is not an https:// URL; "
                "write e.g. https://HOST/token",
            ),
            (
                USER + OAUTH.replace(".net", ".net:70000") + 'grant = "service-account"\n'
                'key_file="k"\n',
                "upstream[0].oauth.token_url: 'https://example.net:70000/token': port 70000 is "
                "out of range; ports are 1 to 65535",
            ),
            (
                IDENTITY + USER + FILE + IDENTITY + USER + FILE,
                "upstream[0].identity[1].name: is the name of upstream[0].identity[0] too; give "
                "each identity its own",
            ),
            (
                'throttle_replies = ["550 no"]\n',
                "upstream[0].throttle_replies[0]: '550 no' is not how a 4xx reply begins, nor a "
                "5xx one with its text; write e.g. '451 4.7.0 Too many'",
            ),
        ):
            self.assertEqual(self.only_problem(self.whole(more)), problem)

    def test_not_by_mx(self) -> None:
        text = self.whole(USER + FILE).replace("smtp://mail.example.net", "mx:")
        self.assertIn('"mx:" leads to other people\'s hosts', self.only_problem(text))
        text = self.whole(IDENTITY).replace("smtp://mail.example.net", "mx:")
        self.assertIn('"mx:" leads to other people\'s hosts', self.only_problem(text))

    def test_doubts(self) -> None:
        for more, doubts in (
            (USER + FILE + 'tls = "verified"\n', []),
            (USER + FILE, ["certificate is not verified, so whoever poses as the host is given"]),
            (USER + FILE + "auth_without_tls = true\n", ["may go out in plain text"]),
            (
                'tls = "verified"\n' + IDENTITY + USER + FILE + 'users = ["x"]\n',
                ["mail that matches none of them is sent without AUTH"],
            ),
        ):
            warnings = self.config(self.whole(more)).warnings()
            self.assertEqual(len(warnings), len(doubts), warnings)
            for warning, doubt in zip(warnings, doubts, strict=True):
                self.assertIn(doubt, warning)

    def test_tls_is_needed(self) -> None:
        def level(more: str) -> str:
            return self.config(self.whole(more)).upstreams[0].own_tls

        self.assertEqual(level(USER + FILE), "required")
        self.assertEqual(level(IDENTITY + USER + FILE), "required")
        self.assertEqual(level(USER + FILE + 'tls = "verified"\n'), "verified")
        self.assertEqual(level(USER + FILE + "auth_without_tls = true\n"), "opportunistic")


class ProfileTests(_Case):
    def test_each_is_good_with_and_without_a_login(self) -> None:
        for name in profiles.PROFILES:
            for more in ("", USER + FILE, IDENTITY + USER + FILE):
                text = self.whole(f'profile = "{name}"\n{more}')
                (upstream,) = self.config(text).upstreams
                self.assertEqual(upstream.tls, "verified")
                login = upstream.identities[0] if upstream.identities else upstream
                self.assertEqual(bool(login.mechanisms), bool(more))
                self.assertTrue(all(usual for _, _, usual in profiles.told(upstream)))

    def test_overridden(self) -> None:
        text = self.whole('profile = "m365"\nmax_connections = 2\n' + USER + FILE)
        (upstream,) = self.config(text).upstreams
        self.assertEqual((upstream.max_connections, upstream.max_rate), (2, 0.5))
        self.assertEqual(upstream.mechanisms, ("XOAUTH2", "LOGIN"))
        found = {key: (value, usual) for key, value, usual in profiles.told(upstream)}
        self.assertEqual(found["max_connections"], (2, False))
        self.assertEqual(found["max_rate"], (0.5, True))

    def test_identities(self) -> None:
        text = self.whole('profile = "ses"\n' + IDENTITY + USER + FILE + 'mechanisms = ["LOGIN"]\n')
        found = profiles.told(self.config(text).upstreams[0])
        self.assertEqual(found[-1], ("mechanisms of bills", ("LOGIN",), False))

    def test_what_google_s_know(self) -> None:
        for name, sessions, rate in (("gmail", 3, 0.5), ("gmail-relay", 10, 1.0)):
            found = profiles.told(self.config(self.whole(f'profile = "{name}"\n')).upstreams[0])
            self.assertIn(("max_connections", sessions, True), found)
            self.assertIn(("max_rate", rate, True), found)
            self.assertIn(("max_recipients", 100, True), found)

    def test_every_value_may_be_set(self) -> None:
        others = {
            "tls": '"required"',
            "max_connections": "7",
            "max_rate": '"7/h"',
            "max_recipients": "7",
            "max_messages_per_connection": "7",
            "throttle_replies": '["471 x"]',
            "mechanisms": '["LOGIN", "PLAIN", "XOAUTH2", "OAUTHBEARER"]',
        }
        for name, known in profiles.PROFILES.items():
            keys = "".join(f"{key} = {others[key]}\n" for key in known)
            text = self.whole(f'profile = "{name}"\n{keys}{USER}{FILE}')
            found = profiles.told(self.config(text).upstreams[0])
            self.assertEqual([key for key, _, _ in found], list(known))
            self.assertFalse(any(usual for _, _, usual in found), found)

    def test_a_name_that_the_relay_service_does_not_take(self) -> None:
        for helo, is_welcome in (
            ("mail.example.net", True),
            ("localhost", False),
            ("LOCALHOST.localdomain", False),
            ("printer", False),
            ("127.0.0.1", False),
        ):
            text = self.whole(f'profile = "gmail-relay"\nhelo = "{helo}"\n')
            warnings = self.config(text).warnings()
            self.assertEqual(len(warnings), 0 if is_welcome else 1, warnings)
            if not is_welcome:
                self.assertIn("upstream[0].helo: smtp-relay.gmail.com closes", warnings[0])
                self.assertIn(repr(helo), warnings[0])
            others = text.replace("gmail-relay", "gmail")
            self.assertEqual(self.config(others).warnings(), [])

    def test_the_name_is_the_relay_s_where_none_is_given(self) -> None:
        text = self.whole('profile = "gmail-relay"\n').replace(HEAD, 'hostname = "localhost"\n')
        doubts = [each for each in self.config(text).warnings() if "gmail" in each]
        self.assertEqual(len(doubts), 1)

    def test_none(self) -> None:
        (upstream,) = self.config(self.whole("")).upstreams
        self.assertEqual(profiles.told(upstream), [])

    def test_odd_tables_are_told_as_ever(self) -> None:
        for tables in ({"upstream": 5}, {"upstream": [5]}, {"upstream": [{"profile": []}]}):
            self.assertRaises(ConfigError, check, tables, self.file("").parent)
