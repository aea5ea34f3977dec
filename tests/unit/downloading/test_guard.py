"""Private addresses in every spelling, and the one look that holds: at the connection."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from duplexforge.config import DownloadSettings
from duplexforge.downloading.guard import Guard, PrivateAddress, host_of, literal
from duplexforge.errors import InputError

NAT64 = ip_network("64:ff9b::/96")  # the address inside decides
PRIVATE = [
    # names
    "localhost", "LOCALHOST", "localhost.", "a.localhost", "metadata.google.internal", "metadata", "kubernetes",
    "kubernetes.default.svc", "x.svc.cluster.local", "printer.local", "nas.lan", "redis", "router.home.arpa",
    # plain addresses
    "127.0.0.1", "127.255.0.3", "10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1", "169.254.169.254", "0.0.0.0",
    "100.64.0.1", "100.100.100.200", "192.0.0.192", "198.18.0.1", "224.0.0.1", "239.255.255.250", "240.0.0.1",
    "255.255.255.255", "168.63.129.16", "192.0.2.1", "127.0.0.1.", "192.88.99.1",
    # the same, spelt otherwise
    "2130706433", "017700000001", "0x7f000001", "0x7f.1", "127.1", "127.0.1", "0177.0.0.1", "0x7f.0x0.0x0.0x1",
    "00000177.1", "0xA9FEA9FE", "2852039166", "0", "10.1", "%31%32%37.0.0.1", "127.0.0.1%2e",
    "127\u30020\u30020\u30021", "127\uff0e0\uff0e0\uff0e1", "\u2460\u2461\u2466.\u24ea.\u24ea.\u2460", "\uff11\uff12\uff17.1",
    "l\u24deca\u24dbh\u24dest",
    # IPv6
    "[::1]", "[::]", "[fe80::1]", "[fe80::1%25eth0]", "[fc00::1]", "[fd00:ec2::254]", "[ff02::1]", "[fec0::1]",
    "[2001:db8::1]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[::127.0.0.1]", "[0:0:0:0:0:ffff:a9fe:a9fe]",
    "[2002:7f00:1::]", "[2002:a00:1::1]", "[64:ff9b::10.0.0.1]", "[64:ff9b::a9fe:a9fe]", "[64:ff9b:1::8.8.8.8]",
    "[2001:0:7f00:1::]", "[2600::5efe:192.168.0.1]", "[::ffff:0:127.0.0.1]",
]  # fmt: skip
PUBLIC = [
    "example.org", "cdn.example.org", "8.8.8.8", "1.1.1.1", "134744072", "010.8.8.8", "0x08080808", "172.32.0.1",
    "[2606:4700::1111]", "[64:ff9b::8.8.8.8]", "[2002:808:808::1]", "b\u00fccher.example", "localhost.example.org",
    "127.0.0.1.example.org", "internal.example.org", "svc.example.org",
]  # fmt: skip


@pytest.mark.parametrize("host", PRIVATE)
def test_private_hosts_are_refused_without_a_look_up(host: str) -> None:
    def never(*_: Any, **__: Any) -> Sequence[tuple[Any, ...]]:
        raise AssertionError("asked the network")

    with pytest.raises(PrivateAddress) as caught:
        Guard(resolve=never).check(f"http://{host}:8080/a.mp3")
    assert caught.value.reason == "refused"
    Guard("true", resolve=never).check(f"http://{host}:8080/a.mp3")


@pytest.mark.parametrize("host", PUBLIC)
def test_public_hosts_pass(host: str) -> None:
    Guard().check(f"https://{host}/a.mp3?x=127.0.0.1")


@pytest.mark.parametrize("url", ["http:///a.mp3", "http://[::1/a", "http://a b/", "nothing",
                                 "http://99999999999/", "http://256.256.256.256/", "http://0x/", "http://a%2fb/"])  # fmt: skip
def test_hosts_that_make_no_sense_are_refused(url: str) -> None:
    with pytest.raises(InputError):
        Guard().check(url)


@given(
    st.integers(0, 2**32 - 1), st.sampled_from(["plain", "decimal", "hex", "octal", "short", "mapped", "nat64", "6to4"])
)
def test_every_spelling_of_an_address_is_judged_alike(number: int, spelling: str) -> None:
    address = IPv4Address(number)
    a, b, c, d = address.packed
    host = {
        "plain": str(address),
        "decimal": str(number),
        "hex": f"0x{a:x}.0x{b:x}.0x{c:x}.0x{d:x}",
        "octal": f"0{a:o}.0{b:o}.0{c:o}.0{d:o}",
        "short": f"{a}.{(b << 16) | (c << 8) | d}",
        "mapped": f"[{IPv6Address((0xFFFF << 32) | number)}]",
        "nat64": f"[{IPv6Address((0x64FF9B << 96) | number)}]",
        "6to4": f"[{IPv6Address((0x2002 << 112) | (number << 80) | 1)}]",
    }[spelling]
    assert refused(Guard(), host) == refused(Guard(), str(address))
    if (
        address.is_private
        or address.is_multicast
        or address.is_reserved
        or address.is_loopback
        or address.is_link_local
    ):
        assert refused(Guard(), host)


def refused(guard: Guard, host: str) -> bool:
    """Whether the guard refuses a host by its spelling."""
    try:
        guard.check(f"http://{host}/")
    except PrivateAddress:
        return True
    return False


@given(st.text(max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        host = host_of(f"http://{text}/")
        literal(host)
    except InputError:
        return
    assert host
    assert host == host.lower()


@given(st.ip_addresses(v=6))
def test_what_the_registries_do_not_call_global_is_refused(address: IPv6Address) -> None:
    if not address.is_global and not (address.sixtofour or address.ipv4_mapped or address in NAT64):
        assert refused(Guard(), f"[{address}]")


# -- names that lead somewhere ---------------------------------------------------------------------------------------


class Names:
    """A resolver that answers from a list, one answer a question, the last one for ever; ``asked`` are the questions."""

    def __init__(self, *answers: Sequence[str]) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []

    def __call__(self, host: str, port: int, **_: Any) -> Sequence[tuple[Any, ...]]:
        """As ``socket.getaddrinfo``."""
        self.asked.append(host)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if not answer:
            raise socket.gaierror(-2, "Name or service not known")
        kinds = {4: socket.AF_INET, 6: socket.AF_INET6}
        return [(kinds[ip_address(one).version], socket.SOCK_STREAM, 6, "", (one, port)) for one in answer]


def test_a_name_that_leads_inside_is_refused_by_its_answer() -> None:
    for answer in (["10.0.0.1"], ["8.8.8.8", "169.254.169.254"], ["::1"], ["::ffff:10.1.1.1"]):
        guard = Guard(resolve=Names(answer))
        guard.check("http://innocent.example/")
        with pytest.raises(PrivateAddress):
            guard.check_resolved("http://innocent.example/")
        with pytest.raises(PrivateAddress):
            guard.connect("innocent.example", 80, 0.1)


def test_a_name_that_leads_nowhere_is_no_refusal() -> None:
    Guard(resolve=Names([])).check_resolved("http://nowhere.example/")
    with pytest.raises(OSError, match="not known"):
        Guard(resolve=Names([])).connect("nowhere.example", 80, 0.1)


def test_allowed_networks_are_allowed_and_no_others() -> None:
    guard = Guard("10.1.0.0/16, 127.0.0.1")
    guard.check("http://10.1.2.3/")
    guard.check("http://[::ffff:127.0.0.1]/")
    guard.check("http://service.internal/")
    for host in ("10.2.0.1", "127.0.0.2", "169.254.169.254", "[::1]"):
        with pytest.raises(PrivateAddress):
            guard.check(f"http://{host}/")
    with pytest.raises(PrivateAddress):
        Guard("10.1.0.0/16", resolve=Names(["10.2.0.1"])).check_resolved("http://service.internal/")


@pytest.mark.parametrize("value", ["maybe", "10.0.0.0/33", "example.org", "127.0.0.1;10.0.0.1"])
def test_a_setting_that_makes_no_sense_is_refused(value: str) -> None:
    with pytest.raises(ValueError, match="true, false or networks"):
        DownloadSettings(allow_private_addresses=value)


def test_the_connection_goes_to_the_answer_that_was_checked() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as right,
        socket.create_server(("127.0.0.2", right.getsockname()[1])) as wrong,
    ):
        port = right.getsockname()[1]
        # The first answer is allowed; a second look-up would get the private one.
        names = Names(["127.0.0.1"], ["127.0.0.2"])
        guard = Guard("127.0.0.1", resolve=names)
        guard.connect("rebind.example", port, 1.0).close()
        assert names.asked == ["rebind.example"]
        right.setblocking(False)
        wrong.setblocking(False)
        right.accept()[0].close()
        with pytest.raises(PrivateAddress):
            guard.connect("rebind.example", port, 1.0)
        with pytest.raises(BlockingIOError):
            wrong.accept()


def test_the_next_answer_is_tried_when_one_does_not_listen() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        guard = Guard("127.0.0.0/8", resolve=Names(["127.0.0.9", "127.0.0.1"]))
        option = (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with guard.connect("two.example", server.getsockname()[1], 1.0, [option]) as connection:
            assert connection.getpeername() == server.getsockname()
            assert connection.getsockopt(*option[:2])
