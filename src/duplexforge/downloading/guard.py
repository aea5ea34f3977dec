"""Keeps what strangers wrote (seeds, feeds, redirects, playlists) from reaching private addresses.

Three looks, each for what the one before cannot see. :meth:`Guard.check` reads the address alone, in every spelling
that a resolver or a library would take for one, and asks no network: cheap enough for millions of seeded items.
:meth:`Guard.check_resolved` also looks the name up. :meth:`Guard.connect` is the one that holds: it looks the name up
once, refuses if any answer is private, and connects to those very answers, so a name that changes between look-up and
connection gains nothing. Redirects and playlists pass through it like every other connection
(``duplexforge.downloading.connect``).

Behind a proxy that the operator set (DOWNLOAD_PROXY) the proxy looks names up, and its own rules decide; on our side
the literal check still holds for every hop, and the resolved one for names that this machine can look up.
"""

from __future__ import annotations

import re
import socket
import unicodedata
from collections.abc import Callable, Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Any
from urllib.parse import unquote, urlsplit

from duplexforge.config.networks import networks
from duplexforge.errors import InputError

Address = IPv4Address | IPv6Address
Resolver = Callable[..., Sequence[tuple[Any, ...]]]

# Names that stand for something near by, whatever a resolver would say of them today.
_LOCAL_NAMES = ("localhost", "ip6-localhost", "ip6-loopback", "broadcasthost", "instance-data.ec2.internal")
_LOCAL_ENDINGS = (
    ".localhost", ".localdomain", ".local", ".internal", ".intranet", ".private", ".corp", ".home", ".lan",
    ".home.arpa", ".svc", ".cluster.local",
)  # fmt: skip
# Not for us although the registries call them global: metadata servers of clouds, the old 6to4 relays, local NAT64.
_ALSO_PRIVATE = tuple(
    ip_network(name) for name in ("168.63.129.16/32", "192.0.0.0/24", "192.88.99.0/24", "64:ff9b:1::/48")
)
_NAT64 = ip_network("64:ff9b::/96")
_ISATAP = (0x00005EFE, 0x02005EFE)
_OTHER_DOTS = re.compile("[\u3002\uff0e\uff61]")
_NUMERIC = re.compile(r"(?:0x[0-9a-f]*|[0-9]+)(?:\.(?:0x[0-9a-f]*|[0-9]+)){0,3}")


class PrivateAddress(InputError):
    """An address inside a network, to which nothing from outside may lead."""

    default_reason = "refused"


class Guard:
    """What may be connected to. ``allow`` is the setting ALLOW_PRIVATE_ADDRESSES: false, true, or a list of networks.

    ``resolve`` has the signature of ``socket.getaddrinfo``. All refusals are PrivateAddress (``refused``).
    """

    def __init__(self, allow: str = "false", *, resolve: Resolver = socket.getaddrinfo) -> None:
        self._allowed = networks(allow)
        self._resolve = resolve

    def check(self, url: str) -> None:
        """Refuse a URL whose host is, in any spelling, a private address or a local name. Asks no network."""
        host = host_of(url)
        address = literal(host)
        if address is not None:
            self._check_address(address, host)
        elif not self._allowed and _is_local(host):
            # With networks allowed the address decides, which only a look-up knows.
            raise _refusal(host, "is a name inside a network")

    def check_resolved(self, url: str) -> None:
        """As :meth:`check`, and refuse a name that leads to a private address; one that leads nowhere passes."""
        self.check(url)
        try:
            self.addresses(host_of(url), 0)
        except (OSError, UnicodeError):
            return

    def addresses(self, host: str, port: int) -> list[tuple[Any, ...]]:
        """What ``host`` resolves to, all of it checked. OSError when it does not resolve."""
        wanted = host.strip("[]")
        found = list(self._resolve(wanted, port, type=socket.SOCK_STREAM))
        for answer in found:
            self._check_address(ip_address(str(answer[4][0]).partition("%")[0]), host)
        if not found:
            raise OSError(f"{host} has no address")
        return found

    def connect(
        self, host: str, port: int, timeout: float | None = None, options: Sequence[tuple[int, int, int | bytes]] = ()
    ) -> socket.socket:
        """A connected socket to ``host``, which was looked up once, here. OSError when no address answers."""
        failure: OSError | None = None
        for family, kind, protocol, _, where in self.addresses(host, port):
            connection = socket.socket(family, kind, protocol)
            try:
                for option in options:
                    connection.setsockopt(*option)
                connection.settimeout(timeout)
                connection.connect(where)
                return connection
            except OSError as error:
                connection.close()
                failure = error
        raise failure or OSError(f"{host} has no address")

    def _check_address(self, address: Address, host: str) -> None:
        if any(address in network for network in self._allowed if network.version == address.version):
            return
        inner = _embedded(address)
        if inner is not None:
            self._check_address(inner, host)
        elif _is_private(address):
            raise _refusal(host, "is a private address")


def host_of(url: str) -> str:
    """The host of a URL in the spelling that a resolver would see; InputError(``refused``) when there is none."""
    try:
        host = urlsplit(url.strip()).hostname or ""
    except ValueError as error:
        raise InputError("the URL has no readable host", reason="refused") from error
    # Full-width digits, other dots and escapes are turned into plain ones by one library or another.
    plain = unicodedata.normalize("NFKC", _OTHER_DOTS.sub(".", unquote(host))).lower().rstrip(".")
    if not plain or any(letter.isspace() or letter in "/\\@?#\0" for letter in plain):
        raise InputError("the URL has no readable host", reason="refused")
    return plain


def literal(host: str) -> Address | None:
    """The address that ``host`` spells (decimal, octal, hex and short forms too), or None when it is a name."""
    try:
        return ip_address(host.partition("%")[0])
    except ValueError:
        pass
    if not _NUMERIC.fullmatch(host):
        return None
    try:
        return IPv4Address(socket.inet_aton(host))
    except OSError as error:
        # Numbers that are no address are not a name either: what a resolver makes of them is anyone's guess.
        raise InputError(f"the host {host[:80]} is no address and no name", reason="refused") from error


def _is_local(host: str) -> bool:
    # A name without a dot is completed by the search list of the machine: in a cluster, a service.
    return host in _LOCAL_NAMES or host.endswith(_LOCAL_ENDINGS) or "." not in host


def _embedded(address: Address) -> IPv4Address | None:
    """The IPv4 address inside an IPv6 one, where routers or libraries would send it there."""
    if isinstance(address, IPv4Address):
        return None
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address.sixtofour is not None:
        return address.sixtofour
    bits = int(address)
    if address in _NAT64 or (bits >> 32) & 0xFFFFFFFF in _ISATAP:
        return IPv4Address(bits & 0xFFFFFFFF)
    return None


def _is_private(address: Address) -> bool:
    if isinstance(address, IPv6Address) and address.is_site_local:
        return True
    if any(address in network for network in _ALSO_PRIVATE if network.version == address.version):
        return True
    return not address.is_global or address.is_multicast or address.is_reserved or address.is_unspecified


def _refusal(host: str, what: str) -> PrivateAddress:
    return PrivateAddress(
        f"the host {host[:80]} {what}: it is not fetched unless ALLOW_PRIVATE_ADDRESSES names its network"
    )
