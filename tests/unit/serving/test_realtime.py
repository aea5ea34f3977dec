"""``/v1/realtime``: what its events do, and what is told; every event is read by OpenAI's own types."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import numpy as np
import pytest
import soxr
from hypothesis import given
from hypothesis import settings as trying
from hypothesis import strategies as st

from duplexforge.errors import InputError, ModelError
from duplexforge.serving import events, schemas
from duplexforge.serving.limits import Full
from duplexforge.serving.packets import pcm16
from duplexforge.serving.protocols.realtime import Realtime, speaks_beta
from tests.unit.serving.realtime_made import Client, answer, checked, floats, kinds, only, packed, sound, unpacked
from tests.unit.serving.running import noise

ANSWER = [
    "response.created",
    "response.output_item.added",
    "conversation.item.added",
    "response.content_part.added",
    "response.output_audio_transcript.delta",
    "response.output_audio.delta",
    "response.output_audio.delta",
    "response.output_audio.done",
    "response.output_audio_transcript.done",
    "response.content_part.done",
    "response.output_item.done",
    "conversation.item.done",
    "response.done",
]


def commit(client: Client, **session: Any) -> str:
    """A turn of the client's own; the name of its item."""
    client.update(audio={"input": {"turn_detection": None}}, **session)
    client.says(noise(0.5, 24000))
    name: str = only(client.send("input_audio_buffer.commit"), "input_audio_buffer.committed")["item_id"]
    return name


# -- the session ----------------------------------------------------------------------------------------------------------


def test_the_greeting_says_what_answers() -> None:
    (told,) = Client().greeted
    session = told["session"]
    assert told["type"] == "session.created"
    assert (session["model"], session["type"], session["output_modalities"]) == ("made", "realtime", ["audio"])
    assert session["audio"]["input"]["turn_detection"]["type"] == "semantic_vad"
    assert session["audio"]["output"]["voice"] == "male_young"


def test_a_client_that_speaks_first_is_greeted_before_it_is_answered() -> None:
    client = Client(greeted=False)
    assert kinds(client.send("session.update", session={})) == ["session.created", "session.updated"]
    assert list(client.dialect.greet()) == []


def test_no_event_has_the_name_of_another() -> None:
    client = Client()
    told = [*client.greeted, *answer(client), *client.told(events.SpeechBegan(3.0), events.SpeechEnded(4.0, 0.5))]
    names = [one["event_id"] for one in told]
    assert len(names) == len(set(names))


def test_an_error_before_the_session_is_an_event_too() -> None:
    full = checked(Realtime.complain(Full("come back later", after=1.0)))["error"]
    assert (full["type"], full["code"], full["message"]) == ("server_error", "full", "come back later")
    assert checked(Realtime.complain(ModelError("there is none")))["error"]["type"] == "server_error"
    assert checked(Realtime.complain(InputError("no")))["error"]["type"] == "invalid_request_error"


# -- the user's side -----------------------------------------------------------------------------------------------------


def test_sound_is_heard_as_it_was_sent() -> None:
    client, samples = Client(), noise(1.0, 24000)
    assert client.says(samples[:5000]) == []
    assert client.says(samples[5000:]) == []
    np.testing.assert_allclose(client.session.samples, samples, atol=1e-4)
    assert client.session.rates == {24000}


@pytest.mark.parametrize("audio", ["%%%", "AAA", packed(b"odd")])
def test_what_is_no_sound_is_an_error(audio: str) -> None:
    client = Client()
    (told,) = client.send("input_audio_buffer.append", audio=audio, event_id="mine")
    assert told["error"]["code"] == "invalid_audio"
    assert told["error"]["event_id"] == "mine"
    assert client.session.heard == []


def test_a_turn_becomes_an_item() -> None:
    client = Client()
    told = client.told(events.SpeechBegan(1.0), events.SpeechEnded(2.0, 0.2))
    assert kinds(told) == [
        "input_audio_buffer.speech_started",
        "input_audio_buffer.speech_stopped",
        "input_audio_buffer.committed",
        "conversation.item.added",
        "conversation.item.done",
    ]
    assert (told[0]["audio_start_ms"], told[1]["audio_end_ms"]) == (700, 2200)
    assert len({one.get("item_id") or one["item"]["id"] for one in told}) == 1
    assert told[-1]["item"]["content"] == [{"type": "input_audio", "transcript": None}]
    assert told[-1]["item"]["role"] == "user"


def test_items_know_what_stands_before_them() -> None:
    client = Client()
    first = client.told(events.SpeechBegan(1.0), events.SpeechEnded(2.0, 0.2))[-1]
    second = answer(client)
    assert first["previous_item_id"] is None
    assert only(second, "conversation.item.added")["previous_item_id"] == first["item"]["id"]
    assert only(second, "conversation.item.done")["previous_item_id"] == first["item"]["id"]


def test_a_client_may_say_that_its_turn_is_over() -> None:
    client = Client()
    client.update(audio={"input": {"turn_detection": None}})
    client.says(noise(0.5, 24000))
    told = client.send("input_audio_buffer.commit")
    assert kinds(told) == ["input_audio_buffer.committed", "conversation.item.added", "conversation.item.done"]
    assert client.session.calls == [("commit",)]


def test_nothing_to_commit_is_an_error() -> None:
    (told,) = Client().send("input_audio_buffer.commit", event_id="e")
    assert (told["error"]["code"], told["error"]["event_id"]) == ("input_audio_buffer_commit_empty", "e")


def test_a_commit_closes_the_open_turn_once() -> None:
    client = Client()
    client.says(noise(1.0, 24000))
    (began,) = client.told(events.SpeechBegan(0.5))
    committed = client.send("input_audio_buffer.commit")
    assert committed[0]["item_id"] == began["item_id"]
    assert client.told(events.SpeechEnded(1.0, 0.0)) == []


def test_a_commit_never_answers_by_itself() -> None:
    client = Client()
    during: list[bool] = []
    client.session.commit = lambda: during.append(client.session.config.answers)  # type: ignore[method-assign]
    client.send("input_audio_buffer.commit")
    assert during == [False]
    assert client.session.config.answers


def test_what_is_cleared_becomes_no_item() -> None:
    client = Client()
    client.says(noise(1.0, 24000))
    client.told(events.SpeechBegan(0.5))
    assert kinds(client.send("input_audio_buffer.clear")) == ["input_audio_buffer.cleared"]
    assert client.told(events.SpeechEnded(1.0, 0.0)) == []
    assert client.session.calls == [("clear",)]


def test_speech_that_is_told_after_its_commit_is_not_told_twice() -> None:
    client = Client()
    client.says(noise(3.0, 24000))
    client.send("input_audio_buffer.commit")
    assert client.told(events.SpeechBegan(0.5), events.SpeechEnded(2.0, 0.5)) == []
    assert kinds(client.told(events.SpeechBegan(2.95)))[0] == "input_audio_buffer.speech_started"


def test_who_wants_a_transcript_is_told_each_time_that_there_is_none() -> None:
    client = Client()
    session = client.update(audio={"input": {"transcription": {"model": "whisper-1"}}})
    assert session["audio"]["input"]["transcription"]["model"] == "whisper-1"
    told = client.told(events.SpeechBegan(1.0), events.SpeechEnded(2.0, 0.2))
    failed = only(told, "conversation.item.input_audio_transcription.failed")
    assert failed["item_id"] == told[0]["item_id"]
    assert failed["error"]["code"] == "unsupported"
    client.update(audio={"input": {"transcription": None}})
    assert "conversation.item.input_audio_transcription.failed" not in kinds(
        client.told(events.SpeechBegan(3.0), events.SpeechEnded(4.0, 0.2))
    )


# -- answers ------------------------------------------------------------------------------------------------------------


def test_an_answer_from_its_beginning_to_its_end() -> None:
    client = Client()
    told = answer(client)
    assert kinds(told) == ANSWER
    response = told[-1]["response"]
    assert (response["status"], response["status_details"], response["usage"]) == ("completed", None, None)
    assert response["output"][0]["content"] == [{"type": "output_audio", "transcript": " yes it is"}]
    assert only(told, "response.output_audio_transcript.done")["transcript"] == " yes it is"
    assert {one["response_id"] for one in told if "response_id" in one} == {response["id"]}
    assert client.told(events.AnswerEnded(1, 0.4, " yes it is")) == []


def test_its_sound_is_the_models_at_the_clients_rate() -> None:
    client = Client()
    told = client.told(events.AnswerBegan(1), *(sound(1, 0.08) for _ in range(5)), events.AnswerMade(1, 0.4))
    wanted = soxr.resample(np.tile(floats(pcm16(noise(0.08))), 5), 16000, 24000)
    got = floats(unpacked(told))
    assert len(got) == len(wanted)
    np.testing.assert_allclose(got, wanted, atol=2e-3)


def test_an_answer_that_the_end_of_the_session_cuts_short_has_failed() -> None:
    client = Client()
    told = client.told(
        events.AnswerBegan(1), events.AnswerEnded(1, 0.0, ""), events.Failed("model_failed", "it broke", over=True)
    )
    assert kinds(told)[-2:] == ["response.done", "error"]
    assert told[-2]["response"]["status_details"]["error"]["code"] == "cut_short"
    assert told[-1]["error"]["code"] == "model_failed"


@pytest.mark.parametrize(
    ("by", "reason"), [("voice", "turn_detected"), ("client", "client_cancelled"), ("turn", "client_cancelled")]
)
def test_an_answer_that_is_broken_off(by: str, reason: str) -> None:
    client = Client()
    begun = client.told(events.AnswerBegan(1), events.Words(1, " one two three"), sound(1, 1.0))
    told = client.told(events.Interrupted(1, 0.4, " one", by), sound(1, 0.2), events.AnswerMade(1, 1.0))
    response = told[-1]["response"]
    assert response["status"] == "cancelled"
    assert response["status_details"] == {"type": "cancelled", "reason": reason, "error": None}
    assert response["output"][0]["status"] == "incomplete"
    item = only(
        client.send("conversation.item.retrieve", item_id=begun[1]["item"]["id"]), "conversation.item.retrieved"
    )
    assert item["item"]["content"][0]["transcript"] == " one"


def test_an_interruption_after_the_last_sound_corrects_the_item_alone() -> None:
    client = Client()
    name = answer(client)[1]["item"]["id"]
    assert client.told(events.Interrupted(1, 0.2, " yes", "voice")) == []
    (told,) = client.send("conversation.item.retrieve", item_id=name)
    assert told["item"]["content"][0]["transcript"] == " yes"


def test_what_belongs_to_an_old_answer_is_left_aside() -> None:
    client = Client()
    answer(client, 1)
    client.told(events.AnswerBegan(2))
    assert client.told(events.Words(1, "old"), sound(1, 0.1), events.AnswerEnded(1, 0.1, "")) == []


def test_an_answer_that_the_model_fails_at() -> None:
    client = Client()
    client.told(events.AnswerBegan(1))
    assert client.told(events.Failed("no_answer", "it says nothing")) == []
    response = client.told(events.AnswerMade(1, 0.0))[-1]["response"]
    assert response["status"] == "failed"
    assert response["status_details"]["error"]["code"] == "no_answer"


def test_other_failures_are_errors() -> None:
    client = Client()
    (told,) = client.told(events.Failed("stopping", "the server is stopping", over=True))
    assert (told["error"]["type"], told["error"]["code"]) == ("server_error", "stopping")


def test_lost_sound_is_told_once_a_turn() -> None:
    client = Client()
    told = client.told(events.Lagged(0.5), events.Lagged(0.2), events.SpeechBegan(1.0), events.Lagged(0.1))
    assert [one["error"]["code"] for one in told if one["type"] == "error"] == ["lagged", "lagged"]
    assert "0.50 s" in told[0]["error"]["message"]


def test_times_and_ducks_are_nothing_that_openai_has_words_for() -> None:
    client = Client()
    client.told(events.AnswerBegan(1))
    assert client.told(events.Ducked(1), events.Resumed(1), events.Heard(1, 0.2, 0.3)) == []


def test_text_alone() -> None:
    client = Client()
    assert client.update(output_modalities=["text"])["output_modalities"] == ["text"]
    told = answer(client)
    assert only(told, "response.output_text.delta")["delta"] == " yes it is"
    assert only(told, "response.output_text.done")["text"] == " yes it is"
    assert not any("audio" in kind for kind in kinds(told))
    assert told[-1]["response"]["output"][0]["content"] == [{"type": "output_text", "text": " yes it is"}]


def test_a_model_that_does_not_speak_answers_in_text() -> None:
    client = Client(says=0)
    assert client.greeted[0]["session"]["output_modalities"] == ["text"]
    assert client.update(output_modalities=["audio"])["code"] == "unsupported"


# -- response.create and response.cancel ---------------------------------------------------------------------------------


def test_an_answer_on_demand() -> None:
    client = Client()
    commit(client)
    assert client.send("response.create", response={"metadata": {"topic": "weather"}}) == []
    assert client.session.calls[-1] == ("respond", None)
    response = client.told(events.AnswerBegan(1))[0]["response"]
    assert response["metadata"] == {"topic": "weather"}
    client.told(events.AnswerMade(1, 0.0), events.AnswerEnded(1, 0.0, ""))
    assert client.told(events.AnswerBegan(2))[0]["response"]["metadata"] is None


def test_an_answer_in_another_manner() -> None:
    client = Client()
    client.send(
        "response.create",
        response={
            "instructions": "be brief",
            "output_modalities": ["audio"],
            "audio": {"output": {"voice": "Priya", "format": {"type": "audio/pcmu"}}},
        },
    )
    (called,) = client.session.calls
    assert called[0] == "respond"
    assert (called[1].speaker, called[1].prompt) == ("female_young", "be brief")  # type: ignore[attr-defined]
    response = client.told(events.AnswerBegan(1))[0]["response"]
    assert response["audio"]["output"] == {"format": {"type": "audio/pcmu"}, "voice": "female_young"}
    assert client.session.config.manner.speaker == ""
    assert len(unpacked(client.told(sound(1, 0.5), events.AnswerMade(1, 0.5)))) == 4000


def test_one_answer_at_a_time() -> None:
    client = Client()
    client.send("response.create")
    assert client.send("response.create")[0]["error"]["code"] == "conversation_already_has_active_response"
    client.told(events.AnswerBegan(1))
    assert client.send("response.create")[0]["error"]["code"] == "conversation_already_has_active_response"
    client.told(events.AnswerMade(1, 0.0))
    assert client.send("response.create") == []


def test_what_was_appended_before_an_answer_on_demand_is_committed_with_it() -> None:
    client = Client()
    client.update(audio={"input": {"turn_detection": None}})
    client.says(noise(0.5, 24000))
    assert kinds(client.send("response.create"))[0] == "input_audio_buffer.committed"


def test_to_cancel_an_answer() -> None:
    client = Client()
    assert client.send("response.cancel")[0]["error"]["code"] == "response_cancel_not_active"
    name = client.told(events.AnswerBegan(1))[0]["response"]["id"]
    assert client.send("response.cancel", response_id="another")[0]["error"]["param"] == "response_id"
    assert client.send("response.cancel", response_id=name) == []
    assert client.session.calls == [("interrupt", None)]


def test_an_answer_that_was_asked_for_can_be_cancelled_before_it_begins() -> None:
    client = Client()
    client.send("response.create")
    assert client.send("response.cancel") == []
    assert client.session.calls[-1] == ("interrupt", None)


def test_to_clear_what_is_being_played() -> None:
    client = Client()
    assert client.send("output_audio_buffer.clear")[0]["error"]["type"] == "invalid_request_error"
    name = answer(client)[0]["response"]["id"]
    (told,) = client.send("output_audio_buffer.clear")
    assert (told["type"], told["response_id"]) == ("output_audio_buffer.cleared", name)
    assert client.session.calls == [("interrupt", None)]


# -- the beta -----------------------------------------------------------------------------------------------------------


def test_the_beta_has_its_own_words() -> None:
    client = Client(beta=True)
    assert kinds(client.greeted) == ["session.created", "conversation.created"]
    assert client.greeted[0]["session"]["input_audio_format"] == "pcm16"
    told = [*client.told(events.SpeechBegan(1.0), events.SpeechEnded(2.0, 0.2)), *answer(client)]
    assert kinds(told) == [
        "input_audio_buffer.speech_started",
        "input_audio_buffer.speech_stopped",
        "input_audio_buffer.committed",
        "conversation.item.created",
        "response.created",
        "response.output_item.added",
        "conversation.item.created",
        "response.content_part.added",
        "response.audio_transcript.delta",
        "response.audio.delta",
        "response.audio.delta",
        "response.audio.done",
        "response.audio_transcript.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.done",
    ]
    assert told[-1]["response"]["modalities"] == ["text", "audio"]
    assert told[-1]["response"]["output"][0]["content"][0]["type"] == "audio"


def test_the_beta_is_set_in_its_own_words() -> None:
    client = Client(beta=True)
    session = client.update(
        modalities=["text"],
        voice="Priya",
        instructions="be kind",
        input_audio_format="g711_ulaw",
        output_audio_format="g711_alaw",
        input_audio_transcription={"model": "whisper-1"},
        turn_detection={"type": "server_vad", "silence_duration_ms": 300},
        temperature=0.8,
        speed=1.2,
        max_response_output_tokens=4096,
    )
    assert (session["voice"], session["modalities"], session["speed"]) == ("female_young", ["text"], 1.2)
    assert (session["input_audio_format"], session["output_audio_format"]) == ("g711_ulaw", "g711_alaw")
    config = client.session.config
    assert (config.silence, config.manner.temperature, config.manner.rate) == (0.3, 0.8, 1.2)
    client.send(
        "response.create", response={"modalities": ["text", "audio"], "temperature": 0.6, "voice": "male_young"}
    )
    assert client.told(events.AnswerBegan(1))[0]["response"]["temperature"] == 0.6
    assert client.update(turn_detection=None)["turn_detection"] is None
    assert client.session.config.turns == "client"
    assert client.update(audio={})["code"] == "unknown_parameter"


def test_who_speaks_the_beta() -> None:
    assert speaks_beta({"openai-beta": "realtime=v1"}, [])
    assert speaks_beta({}, ["realtime", "openai-beta.realtime-v1"])
    assert not speaks_beta({"openai-beta": "assistants=v2"}, ["realtime"])


@pytest.mark.parametrize("beta", [False, True])
def test_all_that_is_said_fits_the_schema(beta: bool) -> None:
    content = json.loads((schemas.FOLDER / f"realtime{'_beta' * beta}.json").read_text(encoding="utf-8"))
    sides = {
        side: jsonschema.Draft202012Validator({**content["properties"][side], "$defs": content["$defs"]})
        for side in ("in", "out")
    }
    client = Client(beta=beta)
    told = [*client.greeted, *client.told(events.SpeechBegan(1.0), events.SpeechEnded(2.0, 0.2)), *answer(client)]
    told += client.told(events.AnswerBegan(2), events.Interrupted(2, 0.0, "", "voice"), events.Lagged(1.0))
    told += [*client.send("input_audio_buffer.clear"), *client.send("nonsense")]
    for one in told:
        sides["out"].validate(one)
    assert sides["in"].is_valid({"type": "session.update", "session": {"instructions": "be kind"}})
    assert sides["in"].is_valid({"type": "session.update", "session": {"voice": "Priya"}}) is beta
    assert not sides["in"].is_valid({"type": "response.cancel", "now": True})


# -- strangers ------------------------------------------------------------------------------------------------------------


def test_nonsense_is_an_error_and_the_session_goes_on() -> None:
    client = Client()
    json_texts = st.recursive(st.none() | st.text() | st.integers(), st.lists).map(json.dumps)

    @trying(max_examples=40, deadline=None)
    @given(st.one_of(st.text(), st.binary(), json_texts))
    def nonsense(message: str | bytes) -> None:
        (told,) = client.raw(message)
        assert told["error"]["type"] == "invalid_request_error"

    nonsense()
    assert kinds(answer(client)) == ANSWER
