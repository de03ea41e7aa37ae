"""IP addresses as they are compared, counted and shown."""

from ipaddress import IPv4Address, IPv6Address, ip_address

_HOST_BITS = 64


def unmapped(text: str) -> IPv4Address | IPv6Address:
    """Without zone, and a v4-mapped one as the v4 address that it is (RFC 4291 2.5.5.2).

    Raises ValueError.
    """
    address = ip_address(text.partition("%")[0])
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


def key_of(address: IPv4Address | IPv6Address) -> str:
    """Whom an address is counted as: an IPv6 client is its /64, for it has all of that."""
    if isinstance(address, IPv4Address):
        return str(address)
    return f"{IPv6Address(int(address) >> _HOST_BITS << _HOST_BITS)}/64"
