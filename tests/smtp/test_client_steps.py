"""The client engine step by step: each command is given once the one before was answered."""

from relay.mail.envelope import Envelope, Recipient
from relay.smtp.events import LocalProtocolError
from tests.smtp.test_client import ALL, BARE, DATA, MAIL, ONE, PIPELINING, RCPT, RCPT2, Case, Talk

FIRST, SECOND = Recipient(7, "b@y"), Recipient(3, "c@y")
JURG = Recipient(9, "jürg@y")


class StepsCase(Case):
    def mails(self, talk: Talk, envelope: Envelope = ONE, size: int = 0) -> bytes:
        talk.engine.mail(envelope, size)
        return talk.says()

    def rcpts(self, talk: Talk, recipient: Recipient = FIRST, *, smtputf8: bool = False) -> bytes:
        talk.engine.rcpt(recipient, smtputf8=smtputf8)
        return talk.says()

    def up_to_data(self, hello: bytes = PIPELINING, **options: bool) -> Talk:
        """One recipient is accepted, the content not begun."""
        talk = self.talk(**options).opened(hello)
        self.mails(talk)
        talk.hears(b"250 ok\r\n")
        self.rcpts(talk)
        talk.hears(b"250 ok\r\n")
        return talk

    def refuses(self, talk: Talk, *requests: str) -> None:
        """Out of turn, and nothing of it goes out."""
        engine = talk.engine
        for request in requests:
            with self.assertRaises(LocalProtocolError, msg=request):
                if request == "mail":
                    engine.mail(ONE, 0)
                elif request == "rcpt":
                    engine.rcpt(FIRST, smtputf8=False)
                else:
                    getattr(engine, request)()
            self.assertEqual(talk.says(), b"")


class Steps(StepsCase):
    def test_one_transaction(self) -> None:
        """PIPELINING or not makes no difference."""
        for hello in (PIPELINING, BARE):
            talk = self.talk().opened(hello)
            self.assertEqual(self.mails(talk), MAIL)
            self.refuses(talk, "mail", "rcpt", "data")
            self.assertEqual(talk.hears(b"250 ok\r\n"), ["MAIL 250"])
            self.refuses(talk, "data", "chunks")
            self.assertEqual(self.rcpts(talk, FIRST), RCPT)
            self.refuses(talk, "rcpt", "data")
            self.assertEqual(talk.hears(b"550 no\r\n"), ["RCPT#7 550"])
            self.refuses(talk, "data")
            self.assertEqual(self.rcpts(talk, SECOND), RCPT2)
            self.assertEqual(talk.hears(b"251 forwarded\r\n"), ["RCPT#3 251"])
            self.assertFalse(talk.engine.is_ready_for_content)
            talk.engine.data()
            self.assertEqual(talk.says(), DATA)
            self.assertEqual(talk.hears(b"354 go\r\n"), ["DATA 354"])
            self.assertEqual(talk.engine.send_content(b".a"), b"..a")
            self.assertEqual(talk.engine.end_content(), b"\r\n.\r\n")
            self.assertEqual(talk.hears(b"250 ok\r\n"), ["DOT 250"])
            self.assertEqual(self.mails(talk), MAIL)  # and the next one, with nothing to reset

    def test_the_envelopes_recipients_do_not_matter(self) -> None:
        talk = self.talk().opened()
        self.assertEqual(self.mails(talk, Envelope("a@x", ())), MAIL)

    def test_parameters(self) -> None:
        talk = self.talk().opened(ALL)
        envelope = Envelope("a@x", (), "8BITMIME", ret="HDRS", envid="Q")
        wanted = b"MAIL FROM:<a@x> SIZE=9 BODY=8BITMIME RET=HDRS ENVID=Q\r\n"
        self.assertEqual(sorted(self.mails(talk, envelope, 9).split()), sorted(wanted.split()))
        talk.hears(b"250 ok\r\n")
        said = self.rcpts(talk, Recipient(1, "b@y", "NEVER", "rfc822;c@z"))
        self.assertEqual(said, b"RCPT TO:<b@y> NOTIFY=NEVER ORCPT=rfc822;c@z\r\n")

    def test_mail_refused(self) -> None:
        talk = self.talk().opened()
        self.mails(talk)
        self.assertEqual(talk.hears(b"550 no\r\n"), ["MAIL 550"])
        self.refuses(talk, "rcpt", "data")
        self.assertEqual(self.mails(talk), MAIL)

    def test_every_recipient_refused_and_given_up(self) -> None:
        talk = self.talk().opened()
        self.mails(talk)
        talk.hears(b"250 ok\r\n")
        self.rcpts(talk)
        talk.hears(b"550 no\r\n")
        self.refuses(talk, "data")
        self.assertEqual(self.mails(talk), b"RSET\r\n" + MAIL)
        self.assertEqual(talk.hears(b"250 ok\r\n250 ok\r\n"), ["RSET 250", "MAIL 250"])
        self.assertEqual(self.rcpts(talk), RCPT)

    def test_given_up_in_lock_step(self) -> None:
        talk = self.up_to_data(BARE)
        self.assertEqual(self.mails(talk), b"RSET\r\n")
        self.assertEqual((talk.hears(b"250 ok\r\n"), talk.says()), (["RSET 250"], MAIL))
        self.refuses(talk, "rcpt")
        self.assertEqual(talk.hears(b"250 ok\r\n"), ["MAIL 250"])

    def test_data_refused_can_be_asked_again_or_given_up(self) -> None:
        talk = self.up_to_data()
        talk.engine.data()
        self.assertEqual(talk.hears(b"451 later\r\n"), ["DATA 451"])
        self.assertFalse(talk.engine.is_ready_for_content)
        talk.says()
        talk.engine.data()
        self.assertEqual((talk.says(), talk.hears(b"554 no\r\n")), (DATA, ["DATA 554"]))
        self.assertEqual(self.mails(talk), b"RSET\r\n" + MAIL)

    def test_final_dot_refused(self) -> None:
        talk = self.up_to_data()
        talk.engine.data()
        talk.hears(b"354 go\r\n")
        talk.engine.end_content()
        talk.says()
        self.assertEqual(talk.hears(b"554 no\r\n"), ["DOT 554"])
        self.assertEqual(self.mails(talk), MAIL)

    def test_421_at_each_step_is_the_end(self) -> None:
        for step in range(4):
            talk = self.talk().opened()
            requests = (
                lambda talk=talk: talk.engine.mail(ONE, 0),
                lambda talk=talk: talk.engine.rcpt(FIRST, smtputf8=False),
                lambda talk=talk: talk.engine.data(),
                lambda talk=talk: talk.engine.end_content(),
            )
            for request, reply in zip(requests[:step], (b"250", b"250", b"354"), strict=False):
                request()
                talk.hears(reply + b" ok\r\n")
            requests[step]()
            (event,) = talk.hears(b"421 4.3.2 bye\r\n")
            self.assertTrue(event.endswith(" 421"), event)
            self.assertFalse(talk.engine.is_idle)
            talk.says()
            self.refuses(talk, "mail", "rcpt", "data")

    def test_paths_beyond_ascii_need_smtputf8(self) -> None:
        talk = self.talk().opened(ALL)
        with self.assertRaises(LocalProtocolError):
            talk.engine.mail(Envelope("jürg@x", ()), 0)
        said = self.mails(talk, Envelope("jürg@x", (), smtputf8=True))
        self.assertIn("<jürg@x> SMTPUTF8".encode(), said)
        talk.hears(b"250 ok\r\n")
        with self.assertRaises(LocalProtocolError):
            talk.engine.rcpt(JURG, smtputf8=False)
        self.assertEqual(self.rcpts(talk, JURG, smtputf8=True), "RCPT TO:<jürg@y>\r\n".encode())
        old = self.talk().opened()
        with self.assertRaises(LocalProtocolError):
            old.engine.mail(Envelope("jürg@x", (), smtputf8=True), 0)
        self.assertEqual((old.says(), old.engine.is_idle), (b"", True))

    def test_an_impossible_code_at_each_step(self) -> None:
        for reply in (b"354 go\r\n", b"199 hm\r\n"):
            talk = self.talk().opened()
            self.mails(talk)
            self.assertIn("broken", talk.hears(reply)[0])
        talk = self.up_to_data()
        talk.engine.data()
        talk.says()
        self.assertIn("broken", talk.hears(b"250 taken\r\n")[0])
        self.refuses(talk, "end_content")


class Chunks(StepsCase):
    def test_nothing_is_asked_first(self) -> None:
        talk = self.up_to_data(ALL)
        talk.engine.chunks()
        self.assertEqual((talk.says(), talk.engine.is_ready_for_content), (b"", True))
        self.assertEqual(talk.engine.send_content(b".a\r\n"), b"BDAT 4\r\n.a\r\n")
        self.assertEqual(talk.engine.end_content(), b"BDAT 0 LAST\r\n")
        self.assertEqual(talk.hears(b"250 ok\r\n250 kept\r\n"), ["BDAT 250", "DOT 250"])
        self.assertEqual(self.mails(talk), MAIL)

    def test_one_chunk_at_a_time_without_pipelining(self) -> None:
        talk = self.up_to_data(b"250-up\r\n250 CHUNKING\r\n")
        talk.engine.chunks()
        talk.engine.send_content(b"a")
        self.refuses(talk, "end_content")
        talk.hears(b"250 ok\r\n")
        self.assertEqual(talk.engine.end_content(), b"BDAT 0 LAST\r\n")

    def test_a_chunk_refused(self) -> None:
        talk = self.up_to_data(ALL)
        talk.engine.chunks()
        talk.engine.send_content(b"a")
        self.assertEqual(talk.hears(b"552 5.3.4 too much\r\n"), ["BDAT 552"])
        self.refuses(talk, "end_content")
        self.assertEqual(self.mails(talk), b"RSET\r\n" + MAIL)

    def test_not_without_chunking_nor_without_a_recipient(self) -> None:
        self.refuses(self.up_to_data(), "chunks")
        talk = self.talk().opened(ALL)
        self.refuses(talk, "chunks")
        self.mails(talk)
        talk.hears(b"250 ok\r\n")
        self.refuses(talk, "chunks")

    def test_a_transaction_by_data_after_one_by_chunks(self) -> None:
        talk = self.up_to_data(ALL)
        talk.engine.chunks()
        talk.engine.end_content()
        talk.hears(b"250 ok\r\n")
        self.mails(talk)
        talk.hears(b"250 ok\r\n")
        self.rcpts(talk)
        talk.hears(b"250 ok\r\n")
        self.assertFalse(talk.engine.is_ready_for_content)
        talk.engine.data()
        self.assertEqual(talk.says(), DATA)


class Lmtp(StepsCase):
    def test_a_reply_for_each_accepted_recipient(self) -> None:
        talk = self.up_to_data(is_lmtp=True)
        self.rcpts(talk, SECOND)
        talk.hears(b"250 ok\r\n")
        talk.engine.data()
        talk.hears(b"354 go\r\n")
        talk.engine.end_content()
        self.assertEqual(talk.hears(b"250 ok\r\n450 full\r\n"), ["DOT#7 250", "DOT#3 450"])
        self.assertTrue(talk.engine.is_idle)


class StepsInSingleOctets(Steps):
    step = 1
