"""What is to be built: order, both seats, one agent, ids that are taken, splits."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from duplexforge.duplex.corpus import Problem
from duplexforge.duplex.plan import plan
from duplexforge.errors import InputError, UsageError
from tests.unit.duplex.building import Made, talk

ALL_TRAIN = (1.0, 0.0, 0.0)
_NAMES = st.text("ab-._", min_size=1, max_size=4).map(lambda name: f"a{name}")


@given(names=st.lists(_NAMES, min_size=1, max_size=6, unique=True), speakers=st.lists(_NAMES, min_size=2, unique=True))
def test_sides_stand_in_the_order_of_their_session_ids(names: list[str], speakers: list[str]) -> None:
    talks = [talk(name, (speakers[0], speakers[1])) for name in names]
    seats = plan(Made(talks), ALL_TRAIN).seats
    ids = [seat.session_id for seat in seats]
    assert ids == sorted(f"{name}--{speaker}" for name in names for speaker in speakers[:2])


def test_both_seats_of_a_conversation() -> None:
    first, second = plan(Made([talk("a")]), ALL_TRAIN).seats
    assert (first.session_id, second.session_id) == ("a--ann", "a--bob")
    assert (first.agent_track.speaker, first.user_track.speaker) == ("ann", "bob")
    assert (second.agent_track.speaker, second.user_track.speaker) == ("bob", "ann")


def test_one_agent() -> None:
    talks = [talk("a"), talk("b", ("cid", "ann")), talk("c", ("cid", "dot"))]
    planned = plan(Made(talks), ALL_TRAIN, "ann")
    assert [seat.session_id for seat in planned.seats] == ["a--ann", "b--ann"]
    assert (planned.conversations, planned.skipped) == (3, 1)
    with pytest.raises(UsageError, match="nobody is called eve: there are ann, bob, cid, dot"):
        plan(Made(talks), ALL_TRAIN, "eve")


def test_a_second_conversation_of_one_name_is_left_out() -> None:
    planned = plan(Made([talk("a"), talk("a", ("cid", "dot"))]), ALL_TRAIN)
    assert [seat.session_id for seat in planned.seats] == ["a--ann", "a--bob"]
    assert [(one.reason, one.kept) for one in planned.problems] == [("duplicate_conversation", False)]


def test_nothing_to_build_from() -> None:
    with pytest.raises(InputError, match=r"no conversation of two tracks to build from: it is empty") as caught:
        plan(Made([], [Problem("WAV", None, "empty", "it is empty")]), ALL_TRAIN)
    assert caught.value.exit_code == 65


def test_sides_of_a_conversation_and_of_a_speaker_share_a_split() -> None:
    pairs = [("a", "b"), ("c", "d"), ("b", "e"), ("f", "g"), ("h", "i"), ("j", "k")]
    talks = [talk(f"t{number}", pair) for number, pair in enumerate(pairs)]
    seats = plan(Made(talks), (0.4, 0.3, 0.3)).seats
    assert {seat.split for seat in seats} == {"train", "validation", "test"}
    for name in {speaker for pair in pairs for speaker in pair}:
        heard = {seat.split for seat in seats if name in (seat.agent_track.speaker, seat.user_track.speaker)}
        assert len(heard) == 1
