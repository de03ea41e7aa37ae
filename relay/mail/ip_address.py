"""IP addresses as they are compared and shown."""

from ipaddress import IPv4Address, IPv6Address, ip_address


def unmapped(text: str) -> IPv4Address | IPv6Address:
    """Without zone, and a v4-mapped one as the v4 address that it is (RFC 4291 2.5.5.2).

    Raises ValueError.
    """
    address = ip_address(text.partition("%")[0])
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address
