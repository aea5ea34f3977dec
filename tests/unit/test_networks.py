"""Networks in a setting."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from duplexforge.config import DownloadSettings
from duplexforge.config.networks import networks


@pytest.mark.parametrize("text", ["", "false", "False", " no ", "off", "0"])
def test_nothing(text: str) -> None:
    assert networks(text) == ()


@pytest.mark.parametrize("text", ["true", "TRUE", "yes", "on", "1"])
def test_everything(text: str) -> None:
    assert all(any(ip_address(one) in network for network in networks(text)) for one in ("10.0.0.1", "::1"))


def test_lists() -> None:
    wanted = (ip_network("10.0.0.0/8"), ip_network("127.0.0.1/32"), ip_network("fd00::/8"))
    assert networks("10.1.2.3/8, 127.0.0.1 fd00::/8") == wanted


@given(st.lists(st.ip_addresses(), min_size=1, max_size=5))
def test_any_addresses(addresses: list[object]) -> None:
    found = networks(",".join(map(str, addresses)))
    assert [str(network.network_address) for network in found] == [str(address) for address in addresses]


@pytest.mark.parametrize("text", ["maybe", "10.0.0.0/33", "example.org", "::/129"])
def test_mistakes(text: str) -> None:
    with pytest.raises(ValueError, match="true, false or networks"):
        networks(text)


@pytest.mark.parametrize("proxy", ["socks5://10.0.0.1:1080", "proxy.example:3128", "http://", "ftp://p"])
def test_a_proxy_that_cannot_be_used_is_told_at_the_start(proxy: str) -> None:
    with pytest.raises(ValidationError, match="must be http"):
        DownloadSettings(_env_file=None, download_proxy=proxy)


@pytest.mark.parametrize("word", ["../x", "", "a b", "a/b", ".x", "a..b"])
def test_an_egress_must_fit_a_key(word: str) -> None:
    with pytest.raises(ValidationError, match="must be a word"):
        DownloadSettings(_env_file=None, egress=word)
