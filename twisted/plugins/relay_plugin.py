"""Tells twistd of `relay` and `relay-sink`."""

from twisted.application.service import ServiceMaker

relay = ServiceMaker("relay", "relay.program", "A store-and-forward SMTP relay.", "relay")
sink = ServiceMaker(
    "relay-sink", "relay.testing.sink", "An upstream to try things out.", "relay-sink"
)
