"""Every conversation of tests/dialogues against the server engine, whole and octet by octet."""

from twisted.trial.unittest import SynchronousTestCase

from tests.dialogues.script import Mismatch, Script, parse, play, scripts, setting
from tests.smtp.shell import Shell, settings

CONVERSATIONS_AT_LEAST = 80


class EngineConnection:
    """A script's connection to an engine in memory."""

    def __init__(self, script: Script, is_cut: bool) -> None:
        values = {name: setting(value) for name, value in script.settings.items()}
        tls = values.pop("tls", "none")
        values["offers_starttls"] = tls != "none"
        values["requires_tls"] = tls == "required"
        values["takes_bare_paths"] = values.pop("profile", "") == "legacy-device"
        self._shell = Shell(settings(**values))
        self._is_cut = is_cut
        self._read_off = 0
        self._contents_read = 0

    def send(self, octets: bytes) -> None:
        if self._is_cut:
            self._shell.say(*(octets[at : at + 1] for at in range(len(octets))))
        else:
            self._shell.say(octets)

    def read(self) -> bytes:
        octets = self._shell.sent[self._read_off :]
        self._read_off += len(octets)
        if not octets and not self._shell.is_closed:
            raise Mismatch("the server is silent")
        return octets

    def begin_tls(self) -> None:
        if not self._shell.engine.is_encrypted:
            raise Mismatch("STARTTLS was not answered 220")

    def content(self) -> bytes:
        if self._contents_read == len(self._shell.contents):
            raise Mismatch("no message was accepted")
        self._contents_read += 1
        return self._shell.contents[self._contents_read - 1]

    def rest(self) -> bytes:
        return self._shell.sent[self._read_off :]


class DialogueTests(SynchronousTestCase):
    def play(self, is_cut):
        count = 0
        for script in scripts():
            connection = EngineConnection(script, is_cut)
            play(script, connection)
            self.assertEqual(connection.rest(), b"", f"{script.name}: more than expected")
            count += 1
        return count

    def test_whole(self):
        self.assertGreaterEqual(self.play(False), CONVERSATIONS_AT_LEAST)

    def test_octet_by_octet(self):
        self.play(True)


class ScriptTests(SynchronousTestCase):
    def check(self, text, complaint):
        script = parse("it", text)
        error = self.assertRaises(Mismatch, play, script, EngineConnection(script, False))
        self.assertIn(complaint, str(error))

    def test_a_mismatch_names_its_line(self):
        self.check("# head\n\nS: 220\nC: NOOP\nS: 500", "it:5: expected 500")
        self.check("# head\n\nS: 220\nC: NOOP\nS: 250 2.5.0", "expected 250 2.5.0, got 250 2.0.0")
        self.check("# head\n\nS: 220\nS-has: nothing*", "no line like 'nothing*'")
        self.check("# head\n\nS: 220\nS-not: *ESMTP", "a line like '*ESMTP'")
        self.check("# head\n\nS: 220\nS: closed", "silent")
        self.check("# head\n\nS: 220\nC: QUIT\nS: closed", "expected the end, got b'221")
        self.check("# head\n\nS: 220\nM: hi", "no message")

    def test_what_is_no_script(self):
        for text in ("\n\nnonsense", "\n\nX: y", "\n\nS-has: y", "\n\nS: hello"):
            self.assertRaises(ValueError, parse, "it", text)

    def test_reading(self):
        script = parse(
            "it", "# c\nonly: engine\nmax_recipients: 3\n\nC: a\\x41\nC-raw: \\r\\0\nC-repeat: 3 ab"
        )
        self.assertEqual(script.steps[0].octets, b"aA\r\n\r\0ababab")
        self.assertEqual((script.settings, script.is_engine_only), ({"max_recipients": "3"}, True))
