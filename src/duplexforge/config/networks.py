"""Networks in a setting: ``true``, ``false`` or a list of addresses and blocks."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network, ip_network

Network = IPv4Network | IPv6Network

_EVERYTHING = ("0.0.0.0/0", "::/0")


def networks(text: str) -> tuple[Network, ...]:
    """The networks that ``text`` names: all for ``true``, none for ``false`` or nothing. ValueError for anything else."""
    wanted = text.strip().lower()
    if wanted in ("", "false", "no", "off", "0"):
        return ()
    names = _EVERYTHING if wanted in ("true", "yes", "on", "1") else tuple(wanted.replace(",", " ").split())
    try:
        return tuple(ip_network(name, strict=False) for name in names)
    except ValueError as error:
        raise ValueError(f"must be true, false or networks such as 10.0.0.0/8,127.0.0.1 ({error})") from error
