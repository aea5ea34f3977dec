"""Files of the codec (``.dfc``): a header, then each packet with its length and a checksum.

::

    magic "DFC", version (1 byte), mode's name (1 byte of length, ASCII), weights (4), rate (4), samples (8), packets (4),
    CRC-32 of all that (4); then for each packet: length (1 to 3 bytes of 7 bits, low first), bytes, CRC-16 of both

Numbers are little-endian. A damaged header is refused; of damaged packets only those are lost, and reading goes on at
the next place where two packets in a row are whole.
"""

from __future__ import annotations

import struct
from binascii import crc32, crc_hqx
from dataclasses import dataclass

from duplexforge.errors import InputError
from duplexforge.models.codec import Packets

MAGIC = b"DFC"
VERSION = 1
_FIXED = struct.Struct("<IIQI")
_LONGEST_PACKET = 1 << 16
_MOST_PACKETS = 1 << 24
_SEARCH = 1 << 17


@dataclass(frozen=True)
class File:
    """What a file holds: the packets, None where one is lost, and which weights wrote them."""

    packets: Packets
    weights: int

    @property
    def lost(self) -> int:
        """Packets that are damaged or missing."""
        return sum(packet is None for packet in self.packets.packets)


def write(packets: Packets, weights: int) -> bytes:
    """The file for ``packets``, which are all there."""
    name = packets.mode.encode("ascii")
    head = MAGIC + bytes([VERSION, len(name)]) + name
    head += _FIXED.pack(weights, packets.rate, packets.samples, len(packets.packets))
    return head + struct.pack("<I", crc32(head)) + b"".join(_framed(packet or b"") for packet in packets.packets)


def read(data: bytes) -> File:
    """What the file's bytes hold; an ``InputError`` when this is no such file or its header is damaged."""
    if data[: len(MAGIC)] != MAGIC:
        raise InputError("this is no file of the codec: it does not begin with DFC")
    if len(data) < 5:
        raise InputError("the file ends within its header")
    if data[3] != VERSION:
        raise InputError(f"the file is of version {data[3]}; this duplexforge reads version {VERSION}")
    end = 5 + data[4] + _FIXED.size
    if len(data) < end + 4:
        raise InputError("the file ends within its header")
    if crc32(data[:end]) != int.from_bytes(data[end : end + 4], "little"):
        raise InputError("the file's header is damaged: its checksum does not fit")
    weights, rate, samples, count = _FIXED.unpack(data[end - _FIXED.size : end])
    if count > _MOST_PACKETS or not rate:
        raise InputError(f"the file says {count} packets at {rate} Hz, which cannot be")
    mode = data[5 : 5 + data[4]].decode("ascii", "replace")
    return File(Packets(mode, rate, samples, tuple(_packets(data, end + 4, count))), weights)


def _framed(packet: bytes) -> bytes:
    size, length = len(packet), b""
    while size >= 128:
        length += bytes([size & 127 | 128])
        size >>= 7
    body = length + bytes([size]) + packet
    return body + struct.pack("<H", crc_hqx(body, 0xFFFF))


def _one(data: bytes, place: int) -> tuple[bytes | None, int] | None:
    """The packet at ``place``, None when its checksum is wrong, and where the next begins; None: there is no room."""
    size = shift = 0
    body = place
    for _ in range(3):
        if body >= len(data):
            return None
        byte = data[body]
        body += 1
        size |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            break
    end = body + size + 2
    if size > _LONGEST_PACKET or end > len(data):
        return None
    whole = crc_hqx(data[place : end - 2], 0xFFFF) == int.from_bytes(data[end - 2 : end], "little")
    return (data[body : end - 2] if whole else None), end


def _whole(data: bytes, place: int) -> bool:
    """Whether a whole packet begins at ``place``, and another one after it or the end of the file."""
    for _ in range(2):
        if place == len(data):
            return True
        found = _one(data, place)
        if found is None or found[0] is None:
            return False
        place = found[1]
    return True


def _packets(data: bytes, place: int, count: int) -> list[bytes | None]:
    """All ``count`` packets; where the place of one is lost too, the missing ones are put into the first such gap."""
    found: list[bytes | None] = []
    gap: int | None = None
    while place < len(data) and len(found) < count:
        one = _one(data, place)
        if one is not None and (one[0] is not None or _whole(data, one[1])):
            found.append(one[0])
            place = one[1]
            continue
        if gap is None:
            gap = len(found)
        near = range(place + 1, min(place + _SEARCH, len(data)))
        place = next((there for there in near if _whole(data, there)), len(data))
    missing = count - len(found)
    cut = len(found) if gap is None else gap
    return found[:cut] + [None] * missing + found[cut:]
