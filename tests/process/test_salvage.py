"""A damaged database: the relay says so and does not start; salvage saves what can be read."""

import json
import shutil
import smtplib
import time
from collections.abc import Callable
from pathlib import Path
from random import Random

from relay.queue.manager import CLAIM_RETRY
from tests.process.collector import Collector
from tests.process.relay_process import RelayProcess, upstream
from tests.process.sending import SENDER, Load, content
from tests.process.through_relay import ThroughRelay

COUNT = 400

LARGE = "large@example.org"

PAGE = 4096

LEAF = 0x0D
"""The first octet of a page with rows of a table."""

ROOTS = 10
"""The first pages: one that tells of the tables, and each table's root."""


def first_page(database: Path, random: Random) -> None:
    _overwrite(database, 0, random.randbytes(PAGE))


def some_pages(database: Path, random: Random) -> None:
    """A fiftieth of them, behind those that all others hang on."""
    pages = database.stat().st_size // PAGE
    for page in random.sample(range(ROOTS, pages), pages // 50):
        _overwrite(database, page * PAGE, random.randbytes(PAGE))


def some_content(database: Path, random: Random) -> None:
    """Pages that nobody looks at before its messages' turn has come."""
    octets = database.read_bytes()
    of_content = [
        at
        for at in range(0, len(octets), PAGE)
        if octets[at] == LEAF and b"a line of text" in octets[at : at + PAGE]
    ]
    for at in random.sample(of_content, len(of_content) // 20):
        _overwrite(database, at, bytes(8))


def end_cut_off(database: Path, random: Random) -> None:
    pages = database.stat().st_size // PAGE
    with database.open("r+b") as file:
        file.truncate(pages * 9 // 10 * PAGE)


def _overwrite(path: Path, at: int, octets: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        file.write(octets)


class SalvageTests(ThroughRelay):
    def full(self) -> tuple[Collector, RelayProcess]:
        """It was stopped in order; nothing was relayed yet."""
        main = self.collector(is_up=False)
        relay = self.relay(upstream("main", main.port))
        load = Load(relay.port)
        load.start(COUNT, sessions=8)
        load.wait()
        self.assertEqual(COUNT, len(load.accepted))
        self._send_large(relay)
        relay.stop()
        return main, relay

    def _send_large(self, relay: RelayProcess) -> None:
        with smtplib.SMTP("127.0.0.1", relay.port, timeout=30) as session:
            session.sendmail(SENDER, LARGE, content(LARGE, 300_000))

    def salvaged(self, relay: RelayProcess) -> dict[str, list[str]]:
        to = relay.folder / "saved"
        done = relay.relayctl("salvage", str(to), "--json")
        found: dict[str, list[str]] = json.loads(done.stdout)
        may_lack = bool(found["lost"]) or not found["is_whole"]
        self.assertEqual(int(may_lack), done.returncode, done.stderr)
        relay.spool.rename(relay.folder / "damaged")
        to.rename(relay.spool)
        return found

    def check(self, damage: Callable[[Path, Random], None], least: int, is_refused: bool) -> None:
        main, relay = self.full()
        database = relay.spool / "0" / "queue.db"
        damage(database, Random(1))
        before = database.read_bytes()
        if is_refused:
            child = relay.launch()
            self.assertNotEqual(0, child.wait())
            self.assertNotIn("Traceback", child.output)
            self.assertIn("is damaged", child.output)
            self.assertIn("relayctl salvage", child.output)
        found = self.salvaged(relay)
        self.assertGreaterEqual(len(found["saved"]), least, f"lost {len(found['lost'])}")
        after = (relay.folder / "damaged" / "0" / "queue.db").read_bytes()
        self.assertEqual(before, after, "the damaged one stays as it is")
        self.check_saved(main, relay, found)

    def check_saved(
        self, main: Collector, relay: RelayProcess, found: dict[str, list[str]]
    ) -> None:
        """A relay goes on with it: whole messages, each once."""
        relay.start()
        held = {message["id"] for message in relay.queue() if message["held"]}
        self.assertEqual(set(found["held"]), held)
        relay.relayctl("queue", "release", "--all")
        main.start()
        main.wait_for(len(found["saved"]), 60)
        relay.wait_until_empty_after_a_crash()
        names = [name for kept in main.kept for name in kept.recipients]
        self.assertEqual(len(found["saved"]), len(names))
        self.assertEqual(len(names), len(set(names)))
        for kept in main.kept:
            (name,) = kept.recipients
            self.assertTrue(
                kept.content.endswith(content(name, 300_000 if name == LARGE else 2000))
            )

    def test_nothing_is_wrong(self) -> None:
        self.check(lambda database, random: None, COUNT + 1, is_refused=False)

    def test_the_first_page(self) -> None:
        self.check(first_page, COUNT + 1, is_refused=True)

    def test_pages_here_and_there(self) -> None:
        self.check(some_pages, COUNT // 4, is_refused=False)

    def test_the_end_cut_off(self) -> None:
        self.check(end_cut_off, COUNT // 4, is_refused=False)

    def test_what_is_found_only_once_mail_is_looked_at(self) -> None:
        """It is told once, with what to do, and not every second."""
        main, relay = self.full()
        database = relay.spool / "0" / "queue.db"
        some_content(database, Random(1))
        child = relay.launch()
        (alarm,) = relay.wait_for(1, "alarm", what="mail for main")
        for words in (f"{database} is damaged", "stop the relay", "relayctl salvage DIRECTORY"):
            self.assertIn(words, alarm["why"])
        self.assertIn(alarm["why"], relay.relayctl("status").stdout)
        time.sleep(2.5 * CLAIM_RETRY)
        relay.stop()
        self.assertEqual(1, len(relay.facts("alarm", what="mail for main")))
        self.assertNotIn("Traceback", child.output)
        found = self.salvaged(relay)
        self.assertGreater(len(found["saved"]), COUNT // 2)
        self.check_saved(main, relay, found)

    def test_so_little_is_left_that_nothing_can_be_read(self) -> None:
        _, relay = self.full()
        database = relay.spool / "0" / "queue.db"
        with database.open("r+b") as file:
            file.truncate(5 * PAGE)
        to = relay.folder / "saved"
        done = relay.relayctl("salvage", str(to))
        self.assertEqual(1, done.returncode)
        self.assertIn(f"nothing can be read of {database}: restore", done.stderr)
        self.assertIn(f"nothing was saved: keep {relay.spool}", done.stdout)
        self.assertFalse(to.exists(), "it can be tried again")

    def test_one_queue_of_which_nothing_is_left_does_not_keep_the_others(self) -> None:
        _, relay = self.full()
        shutil.copytree(relay.spool / "0", relay.spool / "1")
        with (relay.spool / "1" / "queue.db").open("r+b") as file:
            file.truncate(5 * PAGE)
        found = self.salvaged(relay)
        self.assertEqual(COUNT + 1, len(found["saved"]))
        self.assertFalse(found["is_whole"])

    def test_an_empty_one(self) -> None:
        relay = self.relay(upstream("main", 2526))
        relay.stop()
        done = relay.relayctl("salvage", str(relay.folder / "saved"))
        self.assertEqual(
            (0, "nothing was saved: no message is in it\n"), (done.returncode, done.stdout)
        )

    def test_of_what_is_left_nothing_tells_of_a_message(self) -> None:
        _, relay = self.full()
        database = relay.spool / "0" / "queue.db"
        for page in range(2, database.stat().st_size // PAGE):
            _overwrite(database, page * PAGE, Random(page).randbytes(64))
        child = relay.launch()
        self.assertNotEqual(0, child.wait())
        self.assertIn("relayctl salvage", child.output)
        done = relay.relayctl("salvage", str(relay.folder / "saved"))
        self.assertEqual(1, done.returncode)
        self.assertIn("some of the database could not be read", done.stdout)
        self.assertIn(f"nothing was saved: keep {relay.spool}", done.stdout)

    def test_what_it_refuses(self) -> None:
        relay = self.relay(upstream("main", 2526))
        running = relay.relayctl("salvage", str(relay.folder / "saved"))
        self.assertEqual(1, running.returncode)
        self.assertIn("is in use by another relay", running.stderr)
        relay.stop()
        there = relay.relayctl("salvage", str(relay.folder))
        self.assertEqual(1, there.returncode)
        self.assertIn("exists: name a directory that does not", there.stderr)
        shutil.rmtree(relay.spool)
