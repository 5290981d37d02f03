"""Addresses that somebody outside may send us to: public ones on the web, and no others.

Who may name a URL could otherwise make this process ask what only it can reach: other servers of a
private network, the metadata of a cloud machine, this process itself.
"""

import re
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Final
from unicodedata import normalize
from urllib.parse import SplitResult, urlsplit

from tertulia.errors import AddressRefused

MAX_URL: Final = 2048

# IANA's registries of special-purpose addresses; and what Azure's machines are configured from,
# which has a public address and is reached from inside only.
_NOT_PUBLIC: Final = tuple(
    map(
        IPv4Network,
        (
            "0.0.0.0/8",
            "10.0.0.0/8",
            "100.64.0.0/10",
            "127.0.0.0/8",
            "168.63.129.16/32",
            "169.254.0.0/16",
            "172.16.0.0/12",
            "192.0.0.0/24",
            "192.0.2.0/24",
            "192.31.196.0/24",
            "192.52.193.0/24",
            "192.88.99.0/24",
            "192.168.0.0/16",
            "192.175.48.0/24",
            "198.18.0.0/15",
            "198.51.100.0/24",
            "203.0.113.0/24",
            "224.0.0.0/3",
        ),
    )
)
_UNICAST: Final = IPv6Network("2000::/3")
# Protocols and tunnels (Teredo, 6to4), which may end anywhere, and examples.
_NOT_PUBLIC_6: Final = tuple(
    map(IPv6Network, ("2001::/23", "2001:db8::/32", "2002::/16", "2620:4f:8000::/48", "3fff::/20"))
)
_MAPPED: Final = IPv6Network("::ffff:0:0/96")
_NAT64: Final = IPv6Network("64:ff9b::/96")
_ISATAP: Final = (0x0000_5EFE, 0x0200_5EFE)

_SPELLING: Final = re.compile(r"[\x00-\x20\x7f-\xa0\\]")
_DOTS: Final = re.compile("[\u3002\uff0e\uff61]")
_NUMBER: Final = re.compile(r"0x[0-9a-f]*|[0-9]+")


def is_public(address: str) -> bool:
    """Whether this IP address, in its usual spelling, is that of one host on the open internet.

    An IPv6 address that only stands for an IPv4 address is judged by that one.
    """
    try:
        found = ip_address(address)
    except ValueError:
        return False
    return _is_public_4(found) if isinstance(found, IPv4Address) else _is_public_6(found)


def is_literal(host: str) -> bool:
    """Whether a host is written as an IP address in its usual spelling, and not as a name."""
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def check_url(url: str) -> None:
    """Raise :class:`AddressRefused`, saying why, for a URL that is plainly not to be used.

    Only what the URL itself says is looked at. Where its name leads is found out, and checked, when a
    connection is made.
    """
    parts = _split(url)
    if parts.scheme not in {"http", "https"}:
        raise AddressRefused("an address must begin with https:// or http://")
    if "@" in parts.netloc:
        raise AddressRefused("an address must not hold a name or password before its host")
    check_host(parts.hostname or "")


def check_host(host: str) -> None:
    """Raise :class:`AddressRefused` for a host, as a URL names it, that is plainly not to be asked."""
    if not host or "%" in host or (":" in host and not is_literal(host)):
        raise AddressRefused("an address must name a host, in its plain spelling")
    if is_literal(host):
        if not is_public(host):
            raise AddressRefused("this address leads to no public host")
        return
    labels = _DOTS.sub(".", normalize("NFKC", host)).lower().removesuffix(".").split(".")
    if _NUMBER.fullmatch(labels[-1]):
        raise AddressRefused("an IPv4 address must be written as four decimal numbers")
    if len(labels) == 1 or labels[-1] == "localhost" or not all(labels):
        raise AddressRefused("an address must name a public host")


def _split(url: str) -> SplitResult:
    if len(url) > MAX_URL or _SPELLING.search(url):
        raise AddressRefused(f"an address has at most {MAX_URL} characters, and no spaces or backslashes")
    try:
        parts = urlsplit(url)
        is_sound = parts.port != 0
    except ValueError as error:
        raise AddressRefused("this is no address of a web page or server") from error
    if not is_sound:
        raise AddressRefused("this is no address of a web page or server")
    return parts


def _is_public_4(address: IPv4Address) -> bool:
    return not any(address in network for network in _NOT_PUBLIC)


def _is_public_6(address: IPv6Address) -> bool:
    if address.scope_id:
        return False
    low = IPv4Address(int(address) & 0xFFFF_FFFF)
    if address in _MAPPED or address in _NAT64:
        return _is_public_4(low)
    if (int(address) >> 32) & 0xFFFF_FFFF in _ISATAP and not _is_public_4(low):
        return False
    return address in _UNICAST and not any(address in network for network in _NOT_PUBLIC_6)
