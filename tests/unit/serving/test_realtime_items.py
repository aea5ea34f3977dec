"""``/v1/realtime``: the items of a conversation, made, looked at, truncated and deleted."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from duplexforge.errors import UsageError
from duplexforge.serving import events
from duplexforge.serving.packets import pcm16
from duplexforge.serving.protocols.realtime_incoming import Refused
from duplexforge.serving.protocols.realtime_items import MOST, Ids, Items, Kept
from duplexforge.serving.protocols.realtime_shapes import Item, WrittenPart
from tests.unit.serving.realtime_made import Client, answer, kinds, only, packed, sound
from tests.unit.serving.running import noise


def item(name: str, text: str = "hello") -> Kept:
    return Kept(
        Item(id=name, status="completed", role="user", content=[WrittenPart(type="input_text", text=text)]),
        written=True,
    )


def message(role: str, text: str, kind: str = "input_text", **more: Any) -> dict[str, Any]:
    return {"type": "message", "role": role, "content": [{"type": kind, "text": text}], **more}


def wrong(told: list[dict[str, Any]]) -> str:
    (one,) = told
    code: str = one["error"]["code"]
    return code


# -- the list ----------------------------------------------------------------------------------------------------------


def test_items_stand_where_they_were_put() -> None:
    items = Items()
    assert items.add(item("a", "one")) is None
    assert items.add(item("b", "three")) == "a"
    assert items.add(item("c", "two"), after="a") == "a"
    assert items.add(item("d", "zero"), after="root") is None
    assert items.prompt("be kind") == "be kind\nuser: zero\nuser: one\nuser: two\nuser: three"
    assert items.before("b") == "c"
    assert items.before("gone") is None


def test_a_name_is_one_items() -> None:
    items = Items()
    items.add(item("a"))
    with pytest.raises(Refused, match="already"):
        items.add(item("a"))
    with pytest.raises(Refused, match="no item x"):
        items.add(item("b"), after="x")
    with pytest.raises(Refused, match="no item b"):
        items.get("b")


def test_the_oldest_are_forgotten_but_for_what_is_to_be_read() -> None:
    items = Items()
    items.add(item("rule", "be kind"))
    for number in range(MOST + 10):
        items.add(Kept(item(str(number)).item))
    with pytest.raises(Refused):
        items.get("10")
    assert items.get("11").item.id == "11"
    assert items.prompt("") == "user: be kind"


def test_even_what_is_to_be_read_has_an_end() -> None:
    items = Items()
    for number in range(MOST + 1):
        items.add(item(str(number)))
    with pytest.raises(Refused):
        items.get("0")
    assert items.get("1").item.id == "1"


def test_names_are_new_ones() -> None:
    ids = Ids("ab")
    assert [ids("item"), ids("resp")] == ["item_ab0001", "resp_ab0002"]


# -- to make one -------------------------------------------------------------------------------------------------------


def test_sound_in_one_piece_is_a_turn() -> None:
    client, samples = Client(), noise(0.5, 24000)
    client.update(audio={"input": {"turn_detection": None}})
    content = [{"type": "input_audio", "audio": packed(pcm16(samples))}]
    told = client.send(
        "conversation.item.create", item={"type": "message", "role": "user", "id": "mine", "content": content}
    )
    assert kinds(told) == ["conversation.item.added", "conversation.item.done"]
    assert told[0]["item"]["id"] == "mine"
    np.testing.assert_allclose(client.session.samples, samples, atol=1e-4)
    assert client.session.calls == [("commit",)]


def test_sound_in_one_piece_is_no_turn_where_the_server_tells_turns_apart() -> None:
    client = Client()
    content = [{"type": "input_audio", "audio": packed(b"\0\0")}]
    event = {"item": {"type": "message", "role": "user", "content": content}}
    assert wrong(client.send("conversation.item.create", **event)) == "unsupported"
    client.update(audio={"input": {"turn_detection": None}})
    client.says(noise(0.1))
    assert wrong(client.send("conversation.item.create", **event)) == "input_audio_buffer_not_empty"
    client.send("input_audio_buffer.clear")
    assert wrong(client.send("conversation.item.create", **event, previous_item_id="x")) == "item_not_found"
    assert len(client.session.heard) == 1


@pytest.mark.parametrize(
    "made",
    [
        {"type": "message", "role": "assistant", "content": [{"type": "input_audio", "audio": "AAA="}]},
        {"type": "message", "role": "user", "content": [{"type": "input_audio"}]},
    ],
)
def test_sound_that_is_nobodys(made: dict[str, Any]) -> None:
    client = Client()
    client.update(audio={"input": {"turn_detection": None}})
    assert wrong(client.send("conversation.item.create", item=made)) == "invalid_value"


def test_text_is_for_models_that_read() -> None:
    client = Client()
    assert wrong(client.send("conversation.item.create", item=message("user", "hello"))) == "unsupported"


def test_a_model_that_reads_is_told_what_was_written() -> None:
    client = Client(reads=True)
    client.update(instructions="be kind")
    first = client.send("conversation.item.create", item=message("system", "you are a pirate", id="rule"))
    assert kinds(first) == ["conversation.item.added", "conversation.item.done"]
    client.send("conversation.item.create", item=message("user", "who are you?"), previous_item_id="rule")
    client.send("conversation.item.create", item=message("assistant", "arr", "output_text"))
    told = "be kind\nsystem: you are a pirate\nuser: who are you?\nassistant: arr"
    assert client.session.config.manner.prompt == told
    client.send("conversation.item.delete", item_id="rule")
    assert client.session.config.manner.prompt == "be kind\nuser: who are you?\nassistant: arr"
    client.send("response.create", response={"instructions": "be brief"})
    (called,) = client.session.calls
    assert called[1].prompt == "be brief\nuser: who are you?\nassistant: arr"  # type: ignore[attr-defined]
    assert client.update()["instructions"] == "be kind"


def test_too_much_text_is_not_kept() -> None:
    client = Client(reads=True)

    def full(_: Any) -> None:
        raise UsageError("a prompt has at most so many characters")

    client.session.configure = full  # type: ignore[method-assign]
    assert wrong(client.send("conversation.item.create", item=message("user", "x", id="mine"))) == "usage"
    assert wrong(client.send("conversation.item.retrieve", item_id="mine")) == "item_not_found"


@pytest.mark.parametrize(
    "made",
    [
        {"type": "function_call_output", "call_id": "c", "output": "{}"},
        {"type": "function_call_output", "role": "user", "content": []},
        {"type": "message", "role": "user", "content": [{"type": "input_image", "image_url": "data:"}]},
    ],
)
def test_there_are_no_tools_and_no_images(made: dict[str, Any]) -> None:
    (told,) = Client(reads=True).send("conversation.item.create", item=made, event_id="e")
    assert (told["error"]["code"], told["error"]["event_id"]) == ("unsupported", "e")


# -- to look at, cut and delete one ------------------------------------------------------------------------------------------


def test_an_item_is_told_as_it_is_now() -> None:
    client = Client()
    begun = client.told(events.AnswerBegan(1), events.Words(1, " one"))
    name = begun[1]["item"]["id"]
    (told,) = client.send("conversation.item.retrieve", item_id=name)
    assert (told["item"]["status"], told["item"]["content"][0]["transcript"]) == ("in_progress", " one")
    client.told(events.Words(1, " two"), events.AnswerMade(1, 0.0))
    (told,) = client.send("conversation.item.retrieve", item_id=name)
    assert (told["item"]["status"], told["item"]["content"][0]["transcript"]) == ("completed", " one two")


def test_what_there_is_not_is_not_found() -> None:
    client = Client()
    for kind in ("conversation.item.retrieve", "conversation.item.delete"):
        (told,) = client.send(kind, item_id="none", event_id="e")
        assert (told["error"]["code"], told["error"]["event_id"]) == ("item_not_found", "e")


def test_to_delete_an_item() -> None:
    client = Client()
    name = answer(client)[1]["item"]["id"]
    (told,) = client.send("conversation.item.delete", item_id=name)
    assert (told["type"], told["item_id"]) == ("conversation.item.deleted", name)
    assert wrong(client.send("conversation.item.retrieve", item_id=name)) == "item_not_found"


def test_what_is_being_said_is_not_deleted() -> None:
    client = Client()
    name = client.told(events.AnswerBegan(1))[1]["item"]["id"]
    assert wrong(client.send("conversation.item.delete", item_id=name)) == "item_in_progress"


def test_an_answer_is_truncated_at_what_was_played() -> None:
    client = Client()
    client.told(events.AnswerBegan(1), events.Words(1, " one"), sound(1, 1.0), events.Words(1, " two"), sound(1, 1.0))
    name = client.told(events.AnswerMade(1, 2.0))[-1]["response"]["output"][0]["id"]
    (told,) = client.send("conversation.item.truncate", item_id=name, content_index=0, audio_end_ms=1000)
    assert (told["type"], told["item_id"], told["audio_end_ms"]) == ("conversation.item.truncated", name, 1000)
    assert client.session.calls == [("interrupt", 1.0)]
    (kept,) = client.send("conversation.item.retrieve", item_id=name)
    assert kept["item"]["content"][0]["transcript"] == " one"


def test_an_older_answer_is_truncated_without_touching_the_one_that_goes_on() -> None:
    client = Client()
    name = answer(client, 1)[1]["item"]["id"]
    client.told(events.AnswerBegan(2))
    assert kinds(client.send("conversation.item.truncate", item_id=name, content_index=0, audio_end_ms=0)) == [
        "conversation.item.truncated"
    ]
    assert client.session.calls == []


def test_an_answer_is_truncated_without_touching_the_one_that_was_asked_for() -> None:
    client = Client()
    name = answer(client, 1)[1]["item"]["id"]
    client.send("response.create")
    client.send("conversation.item.truncate", item_id=name, content_index=0, audio_end_ms=0)
    assert client.session.calls == [("respond", None)]


def test_what_cannot_be_truncated() -> None:
    client = Client()
    user = only(client.told(events.SpeechBegan(1.0), events.SpeechEnded(2.0, 0.2)), "conversation.item.done")["item"][
        "id"
    ]
    name = answer(client, seconds=0.4)[1]["item"]["id"]
    assert (
        wrong(client.send("conversation.item.truncate", item_id=user, content_index=0, audio_end_ms=0))
        == "invalid_item"
    )
    for end, code in ((401, None), (402, "invalid_value"), (-1, "invalid_value")):
        (told,) = client.send("conversation.item.truncate", item_id=name, content_index=0, audio_end_ms=end)
        assert told.get("error", {}).get("code") == code
    assert (
        wrong(client.send("conversation.item.truncate", item_id=name, content_index=1, audio_end_ms=0))
        == "invalid_value"
    )
    client.update(output_modalities=["text"])
    written = answer(client, 2)[1]["item"]["id"]
    assert (
        wrong(client.send("conversation.item.truncate", item_id=written, content_index=0, audio_end_ms=0))
        == "invalid_item"
    )
