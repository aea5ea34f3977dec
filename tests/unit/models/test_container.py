"""Files of the codec: what is written is read, and damage costs no more than what it hit."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from duplexforge.errors import InputError
from duplexforge.models import container
from duplexforge.models.codec import Packets

WEIGHTS = 0xDEADBEEF


def some(count: int = 20, size: int = 30) -> Packets:
    packets = tuple(bytes((place * 7 + i * place) % 251 for i in range(size + place)) for place in range(count))
    return Packets("fidelity", 16_000, count * 640 - 100, packets)


def header_length(packets: Packets) -> int:
    return 5 + len(packets.mode) + 20 + 4


@given(
    st.lists(st.one_of(st.binary(max_size=300), st.just(b"x" * 20_000)), max_size=8),
    st.integers(0, 2**32 - 1),
    st.sampled_from(["fidelity", "balanced", "token", ""]),
)
def test_what_is_written_is_read(packets: list[bytes], weights: int, mode: str) -> None:
    whole = Packets(mode, 16_000, 12_345, tuple(packets))
    found = container.read(container.write(whole, weights))
    assert found.packets == whole
    assert found.weights == weights
    assert found.lost == 0


def test_a_packet_costs_three_bytes_more() -> None:
    packets = some()
    assert len(container.write(packets, WEIGHTS)) == header_length(packets) + packets.bits // 8 + 3 * 20


@pytest.mark.parametrize("place", range(3 + 1 + 1 + 8 + 20 + 4))
def test_a_damaged_header_is_refused(place: int) -> None:
    data = bytearray(container.write(some(), WEIGHTS))
    data[place] ^= 0x10
    with pytest.raises(InputError, match=r"header|DFC|version"):
        container.read(bytes(data))


def test_each_refusal_says_why() -> None:
    data = container.write(some(), WEIGHTS)
    with pytest.raises(InputError, match="no file of the codec"):
        container.read(b"RIFF....")
    with pytest.raises(InputError, match="of version 9"):
        container.read(data[:3] + b"\x09" + data[4:])
    with pytest.raises(InputError, match="ends within its header"):
        container.read(data[:20])
    with pytest.raises(InputError, match="ends within its header"):
        container.read(b"DFC")
    with pytest.raises(InputError, match="checksum does not fit"):
        container.read(data[:14] + b"\xff\xff" + data[16:])
    with pytest.raises(InputError, match="at 0 Hz"):
        container.read(container.write(Packets("token", 0, 5, ()), WEIGHTS))


@pytest.mark.parametrize("place", [0, 7, 19])
@pytest.mark.parametrize("part", ["length", "body", "checksum"])
def test_damage_to_a_packet_loses_that_packet_alone(place: int, part: str) -> None:
    packets = some()
    data = bytearray(container.write(packets, WEIGHTS))
    start = header_length(packets) + sum(len(packet or b"") + 3 for packet in packets.packets[:place])
    end = start + len(packets.packets[place] or b"") + 3
    data[{"length": start, "body": start + 5, "checksum": end - 1}[part]] ^= 0x0F
    found = container.read(bytes(data))
    expected = list(packets.packets)
    expected[place] = None
    assert list(found.packets.packets) == expected
    assert found.lost == 1


@pytest.mark.parametrize("kept", [0, 1, 5, 19])
def test_a_file_that_was_cut_keeps_what_is_whole(kept: int) -> None:
    packets = some()
    data = container.write(packets, WEIGHTS)
    end = header_length(packets) + sum(len(packet or b"") + 3 for packet in packets.packets[:kept])
    found = container.read(data[: end + 2])
    assert found.packets.packets == packets.packets[:kept] + (None,) * (20 - kept)


def test_bytes_that_were_put_in_or_taken_out_lose_what_they_hit() -> None:
    packets = some()
    data = container.write(packets, WEIGHTS)
    middle = header_length(packets) + sum(len(packet or b"") + 3 for packet in packets.packets[:10]) + 5
    for damaged in (data[:middle] + b"\x05" * 11 + data[middle:], data[:middle] + data[middle + 9 :]):
        found = container.read(damaged).packets.packets
        assert len(found) == 20
        assert found[:10] == packets.packets[:10]
        assert found[-8:] == packets.packets[-8:]
        assert found.count(None) == 1


@settings(max_examples=300)
@given(st.data())
def test_any_damage_is_refused_or_counted(data: st.DataObject) -> None:
    whole = bytearray(container.write(some(6, 12), WEIGHTS))
    for _ in range(data.draw(st.integers(1, 8))):
        place = data.draw(st.integers(0, len(whole) - 1))
        whole[place] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(whole)))
    try:
        found = container.read(bytes(whole[:cut]))
    except InputError:
        return
    assert len(found.packets.packets) == 6
    for packet, clean in zip(found.packets.packets, some(6, 12).packets, strict=True):
        assert packet is None or packet == clean or packet in some(6, 12).packets


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    for head in (b"", container.MAGIC, container.MAGIC + bytes([container.VERSION])):
        with pytest.raises(InputError):
            container.read(head + data)
