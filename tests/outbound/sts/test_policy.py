"""MTA-STS records and policies as text: what is taken, and what is not (RFC 8461 3)."""

from twisted.trial.unittest import SynchronousTestCase

from relay.outbound.sts.policy import MAX_AGE, StsPolicy, Unusable, announced_id, parse

GOOD = "version: STSv1\r\nmode: enforce\r\nmx: mail.example.org\r\nmax_age: 86400\r\n"


class RecordTests(SynchronousTestCase):
    def test_table(self):
        for records, wanted in (
            ([b"v=STSv1; id=20160831085700Z;"], "20160831085700Z"),
            ([b"v=STSv1; id=a"], "a"),
            ([b"v=STSv1;id=a; more=b;"], "a"),
            ([b"v=spf1 -all", b"v=STSv1; id=a;"], "a"),
            ([b"v=STSv1; id=a;", b"v=STSv1; id=b;"], ""),
            ([b"v=STSv1; id=a-b;"], ""),
            ([b"v=STSv1; id=" + b"a" * 33], ""),
            ([b"v=STSv1;"], ""),
            ([b"v=STSv10; id=a;"], ""),
            ([b"id=a; v=STSv1"], ""),
            ([b"\xff\xfe"], ""),
            ([], ""),
        ):
            self.assertEqual(announced_id(records), wanted, records)


class PolicyTests(SynchronousTestCase):
    def test_good(self):
        self.assertEqual(parse(GOOD), StsPolicy("enforce", 86400, ("mail.example.org",)))

    def test_forms(self):
        text = "version:STSv1\nmode:testing \nmx: *.Example.ORG.\nmx:b.example\nmax_age:9999999999"
        self.assertEqual(parse(text), StsPolicy("testing", MAX_AGE, ("*.example.org", "b.example")))
        self.assertEqual(parse("version: STSv1\nmode: none\nmax_age: 0"), StsPolicy("none", 0))
        twice = parse(GOOD + "mode: none\nunknown: 1\nno colon\n\n")
        self.assertEqual(twice.mode, "enforce")

    def test_bad(self):
        for old, new in (
            ("STSv1", "STSv2"),
            ("version: STSv1\r\n", ""),
            ("enforce", "enforced"),
            ("max_age: 86400", ""),
            ("86400", "-1"),
            ("86400", "\u0661"),
            ("mx: mail.example.org\r\n", ""),
            ("mail.example.org", "mail.*.org"),
            ("mail.example.org", "a b"),
            ("mx: mail.example.org\r\n", "mx: a.example\r\n" * 101),
            (GOOD, "<html>not found</html>"),
        ):
            self.assertRaises(Unusable, parse, GOOD.replace(old, new))

    def test_which_hosts(self):
        policy = StsPolicy("enforce", 1, ("mail.example.org", "*.example.net"))
        for host, is_allowed in (
            ("mail.example.org", True),
            ("example.org", False),
            ("a.mail.example.org", False),
            ("a.example.net", True),
            ("a.b.example.net", False),
            ("example.net", False),
            ("aexample.net", False),
        ):
            self.assertEqual(policy.allows(host), is_allowed, host)
