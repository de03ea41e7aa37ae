"""The sink: its rules, its command line, and its answers to a real client over TCP."""

import json
import smtplib
import socket
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread
from twisted.python.usage import UsageError
from twisted.trial.unittest import SynchronousTestCase, TestCase

from relay.testing.sink import Options, SinkService, makeService, parse_listen
from relay.testing.sink_rules import GO_ON, RuleError, Rules, parse_rule


class RuleTests(SynchronousTestCase):
    def judge(self, rule: str, step: str, *subjects: str) -> Any:
        return Rules([parse_rule(rule)]).judge(step, *subjects)

    def test_a_reply_code_gets_a_status_and_a_text(self) -> None:
        reply = self.judge("rcpt:bad@*=550", "rcpt", "bad@example.org").reply
        self.assertEqual((reply.code, reply.status), (550, "5.1.1"))
        self.assertEqual(self.judge("mail=421", "mail", "").reply.status, "4.3.2")
        self.assertEqual(self.judge("dot=451", "dot").reply.status, "4.0.0")

    def test_text_and_status_may_be_told(self) -> None:
        reply = self.judge("rcpt=550 5.7.1 ask me@example.org = no", "rcpt", "a@b").reply
        self.assertEqual(str(reply), "550 5.7.1 ask me@example.org = no")

    def test_a_share_after_a_text(self) -> None:
        rule = parse_rule("dot=451 4.3.0 busy@10%")
        self.assertEqual(rule.share, 0.1)
        self.assertEqual(str(rule.verdict.reply), "451 4.3.0 busy")

    def test_the_glob_chooses(self) -> None:
        self.assertIs(self.judge("rcpt:bad@*=550", "rcpt", "good@example.org"), GO_ON)
        self.assertIs(self.judge("rcpt:bad@*=550", "mail", "bad@example.org"), GO_ON)
        self.assertEqual(self.judge("dot:bad@*=drop", "dot", "a@b", "bad@c").end, "drop")
        self.assertEqual(self.judge("mail:<>=stall", "mail", "").end, "stall")

    def test_delays_add_up_before_what_ends_the_step(self) -> None:
        rules = Rules([parse_rule(r) for r in ("dot=delay2s", "dot=delay500ms", "dot=452")])
        verdict = rules.judge("dot")
        self.assertEqual((verdict.delay, verdict.reply.code), (2.5, 452))  # type: ignore[union-attr]

    def test_shares_come_out_the_same_with_a_seed_and_about_right(self) -> None:
        def hits(seed: int) -> list[bool]:
            rules = Rules([parse_rule("dot=451@0.25")], seed)
            return [rules.judge("dot") is not GO_ON for _ in range(1000)]

        self.assertEqual(hits(7), hits(7))
        self.assertNotEqual(hits(7), hits(8))
        self.assertTrue(200 < sum(hits(7)) < 300)

    def test_mistakes_are_explained(self) -> None:
        for text, words in {
            "rcpt": "is not STEP",
            "helo=550": "the steps are connect, ehlo",
            "rcpt=250": "a reply code of 4xx or 5xx",
            "rcpt=550x": "a reply code",
            "dot=delay": "delay5s",
            "dot=delay5": "delay5s",
            "dot=451@2": "between 0 and 1",
            "dot=451@1.2.3": "between 0 and 1",
            "dot=451@101%": "between 0 and 1",
            "dot=": "is no action",
        }.items():
            with self.subTest(text):
                error = self.assertRaises(RuleError, parse_rule, text)
                self.assertIn(words, str(error))


class OptionTests(SynchronousTestCase):
    def options(self, *arguments: str) -> Options:
        options = Options()
        options.parseOptions(list(arguments))  # type: ignore[no-untyped-call]
        return options

    def test_loopback_by_default(self) -> None:
        options = self.options()
        self.assertEqual((options.host, options.port), ("127.0.0.1", 2526))

    def test_addresses(self) -> None:
        self.assertEqual(parse_listen("[::1]:25"), ("::1", 25))
        self.assertEqual(parse_listen("0"), ("127.0.0.1", 0))
        for wrong in ("localhost:25", "127.0.0.1:", "127.0.0.1:65536", "::1", "x", "1.2.3.4:-1"):
            self.assertRaises(UsageError, parse_listen, wrong)

    def test_mistakes_are_usage_errors(self) -> None:
        for wrong in (["--fail", "x"], ["--seed", "x"], ["more"], ["--max-size", "0"]):
            self.assertRaises(UsageError, self.options, *wrong)


class LiveTests(TestCase):
    """A real client, in a thread, against a listening sink."""

    def setUp(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="sink"))

    def sink(self, *arguments: str) -> SinkService:
        options = Options()
        options.parseOptions(["--listen", "127.0.0.1:0", *arguments])  # type: ignore[no-untyped-call]
        service = makeService(options)
        service.startService()
        self.addCleanup(service.stopService)
        return service

    def talk(self, service: SinkService, dialogue: Callable[[smtplib.SMTP], Any]) -> Deferred[Any]:
        def run() -> Any:
            with smtplib.SMTP(*service.address, timeout=20) as client:
                return dialogue(client)

        return deferToThread(run)

    async def test_keeps_content_byte_for_byte_beside_its_envelope(self) -> None:
        service = self.sink("--dir", str(self.folder / "in"))
        content = b"Subject: x\r\n\r\n..\r\n.leading dot\r\n\xe9\xff\r\n" + b"y" * 200_000 + b"\r\n"

        def dialogue(client: smtplib.SMTP) -> None:
            client.ehlo("me")
            client.sendmail(
                "a@example.net",
                ["b@example.org", "c@example.org"],
                content,
                ["BODY=8BITMIME", "RET=HDRS", "ENVID=e1"],
                ["NOTIFY=NEVER"],
            )

        await self.talk(service, dialogue)
        (kept,) = (self.folder / "in").glob("*.eml")
        self.assertEqual(kept.read_bytes(), content)
        (line,) = (self.folder / "in" / "envelopes.jsonl").read_text().splitlines()
        envelope = json.loads(line)
        self.assertEqual(envelope["file"], kept.name)
        self.assertEqual(envelope["reverse_path"], "a@example.net")
        self.assertEqual(
            [(r["forward_path"], r["notify"]) for r in envelope["recipients"]],
            [("b@example.org", "NEVER"), ("c@example.org", "NEVER")],
        )
        wanted = ("body", "ret", "envid", "size")
        self.assertEqual(
            [envelope[key] for key in wanted], ["8BITMIME", "HDRS", "e1", len(content)]
        )
        self.assertEqual([p for p in kept.parent.iterdir() if p.name.startswith(".")], [])

    async def test_refused_mail_leaves_nothing_and_the_session_goes_on(self) -> None:
        service = self.sink(
            "--dir",
            str(self.folder),
            "--fail",
            "dot:bad@*=554 5.6.0 no",
            "--fail",
            "rcpt:none@*=550",
        )

        def dialogue(client: smtplib.SMTP) -> list[int]:
            codes = []
            for path in ("bad@x.example", "none@x.example", "good@x.example"):
                try:
                    client.sendmail("a@b.example", [path], b"Subject: x\r\n\r\nx\r\n")
                    codes.append(250)
                except smtplib.SMTPRecipientsRefused as error:
                    codes.append(error.recipients[path][0])
                except smtplib.SMTPDataError as error:
                    codes.append(error.smtp_code)
            return codes

        self.assertEqual(await self.talk(service, dialogue), [554, 550, 250])
        self.assertEqual(len(list(self.folder.glob("*.eml"))), 1)
        self.assertEqual(list(self.folder.glob(".*")), [])
        self.assertEqual((service.keeper.messages, service.keeper.discarded), (1, 1))

    async def test_mail_refused_at_the_dot_is_gone_at_once(self) -> None:
        service = self.sink("--dir", str(self.folder), "--fail", "dot=554")

        def dialogue(client: smtplib.SMTP) -> list[str]:
            client.ehlo()
            client.mail("a@b.example")
            client.rcpt("c@d.example")
            self.assertEqual(client.data(b"x\r\n")[0], 554)
            return [path.name for path in self.folder.iterdir()]

        self.assertEqual(await self.talk(service, dialogue), ["envelopes.jsonl"])

    async def test_each_step_fails_as_told(self) -> None:
        for step, code in (("connect", 554), ("mail", 451), ("rcpt", 450), ("data", 451)):
            service = self.sink("--fail", f"{step}={code} told")

            def dialogue(service: SinkService = service) -> int:
                client = smtplib.SMTP(timeout=20)
                try:
                    codes = [client.connect(*service.address)[0]]
                    if codes == [220]:
                        client.ehlo()
                        codes += [client.mail("a@b.example")[0]]
                        codes += [client.rcpt("c@d.example")[0]]
                        codes += [client.docmd("DATA")[0]]
                finally:
                    client.close()
                return next(c for c in codes if c >= 400)

            with self.subTest(step):
                self.assertEqual(await deferToThread(dialogue), code)

    async def test_drop_resets_and_421_closes(self) -> None:
        def dialogue(client: smtplib.SMTP) -> int:
            client.ehlo()
            client.mail("a@b.example")
            self.assertRaises((smtplib.SMTPServerDisconnected, OSError), client.docmd, "NOOP")
            return 0

        dropping = self.sink("--fail", "mail=drop")

        def dropped(client: smtplib.SMTP) -> None:
            client.ehlo()
            self.assertRaises((smtplib.SMTPServerDisconnected, OSError), client.mail, "a@b.example")

        await self.talk(dropping, dropped)
        await self.talk(self.sink("--fail", "mail=421"), dialogue)

    async def test_pipelined_replies_keep_their_order_over_a_delay(self) -> None:
        service = self.sink("--fail", "rcpt:slow@*=delay50ms", "--fail", "rcpt:no@*=550")
        commands = (
            b"EHLO me\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<slow@x.example>\r\n"
            b"RCPT TO:<no@x.example>\r\nDATA\r\n"
        )

        def dialogue() -> list[bytes]:
            with socket.create_connection(service.address, timeout=20) as client:
                file = client.makefile("rb")
                file.readline()
                client.sendall(commands)
                lines = []
                while not lines or not lines[-1].startswith(b"354"):
                    lines.append(file.readline())
                client.sendall(b"x\r\n.\r\nQUIT\r\n")
                return [*lines, *file.readlines()]

        codes = [line[:3] for line in await deferToThread(dialogue) if line[3:4] == b" "]
        self.assertEqual(codes, [b"250", b"250", b"250", b"550", b"354", b"250", b"221"])

    async def test_a_client_that_leaves_during_a_delay_leaves_no_mail(self) -> None:
        service = self.sink("--dir", str(self.folder), "--fail", "dot=delay1m")

        def dialogue() -> None:
            client = smtplib.SMTP(*service.address, timeout=20)
            client.ehlo()
            client.mail("a@b.example")
            client.rcpt("c@d.example")
            client.docmd("DATA")
            client.send(b"x\r\n.\r\n")
            client.close()

        await deferToThread(dialogue)
        await self.until(lambda: service.keeper.discarded == 1)
        self.assertEqual([p.name for p in self.folder.iterdir()], ["envelopes.jsonl"])

    async def test_keywords_can_be_chosen(self) -> None:
        def keywords(client: smtplib.SMTP) -> set[str]:
            client.ehlo()
            return set(client.esmtp_features)

        only = self.sink("--extensions", "PIPELINING,size")
        self.assertEqual(await self.talk(only, keywords), {"pipelining", "size"})
        told = await self.talk(self.sink("--without", "chunking"), keywords)
        self.assertNotIn("chunking", told)
        self.assertIn("dsn", told)

    def test_a_port_in_use_is_one_clear_line(self) -> None:
        host, port = self.sink().address
        error = self.assertRaises(SystemExit, self.sink, "--listen", f"{host}:{port}")
        self.assertIn(f"cannot listen on {host}:{port}", str(error))

    def test_an_unusable_directory_is_one_clear_line(self) -> None:
        (self.folder / "file").write_text("")
        error = self.assertRaises(SystemExit, self.sink, "--dir", str(self.folder / "file"))
        self.assertIn("cannot keep mail in", str(error))

    async def until(self, holds: Callable[[], bool], tries: int = 2000) -> None:
        for _ in range(tries):
            if holds():
                return
            pause: Deferred[None] = Deferred()
            reactor.callLater(0.01, pause.callback, None)  # type: ignore[attr-defined]
            await pause
        self.fail("it did not come about")
