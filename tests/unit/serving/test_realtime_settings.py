"""``/v1/realtime``: what a client may set, what it may not, and what its session is then like."""

from __future__ import annotations

import json
from typing import Any

import pytest

from duplexforge.serving.session import SessionConfig
from tests.unit.serving.realtime_made import Client, kinds

USUAL = SessionConfig()


def turns(client: Client, **detection: Any) -> dict[str, Any]:
    return client.update(audio={"input": {"turn_detection": detection}})


def test_a_session_begins_with_the_models_own_opinion() -> None:
    config = Client().session.config
    assert (config.turns, config.answers, config.interruption, config.mode) == ("server", True, True, "stream")
    assert (config.sure, config.sure_silence, config.silence) == (USUAL.sure, USUAL.sure_silence, USUAL.silence)


def test_server_vad() -> None:
    client = Client()
    session = turns(
        client,
        type="server_vad",
        threshold=0.7,
        prefix_padding_ms=200,
        silence_duration_ms=800,
        create_response=False,
        interrupt_response=False,
        idle_timeout_ms=None,
    )
    config = client.session.config
    assert (config.vad_threshold, config.prefix, config.silence) == (0.7, 0.2, 0.8)
    assert (config.answers, config.interruption) == (False, False)
    assert config.sure_silence == config.silence, "the model's opinion has no say"
    assert session["audio"]["input"]["turn_detection"]["silence_duration_ms"] == 800


def test_server_vad_as_openai_has_it_by_default() -> None:
    client = Client()
    turns(client, type="server_vad")
    config = client.session.config
    assert (config.vad_threshold, config.prefix, config.silence) == (0.5, 0.3, 0.5)


@pytest.mark.parametrize(("threshold", "wanted"), [(0, 0.01), (1.0, 0.99)])
def test_thresholds_at_the_ends_are_ones_that_can_be(threshold: float, wanted: float) -> None:
    client = Client()
    turns(client, type="server_vad", threshold=threshold)
    assert client.session.config.vad_threshold == wanted


def test_eagerness() -> None:
    client = Client()
    found = []
    for eagerness in ("low", "medium", "high"):
        turns(client, type="semantic_vad", eagerness=eagerness)
        found.append(client.session.config)
    assert found[0].sure > found[1].sure > found[2].sure
    assert found[0].silence > found[1].silence > found[2].silence
    assert found[0].sure_silence > found[1].sure_silence > found[2].sure_silence
    turns(client, type="semantic_vad", eagerness="auto")
    assert client.session.config == found[1]


def test_turns_of_the_client_and_back() -> None:
    client = Client()
    assert client.update(audio={"input": {"turn_detection": None}})["audio"]["input"]["turn_detection"] is None
    config = client.session.config
    assert (config.turns, config.answers, config.interruption) == ("client", False, False)
    client.update(audio={"input": {"format": {"type": "audio/pcma"}}})
    assert client.session.config.turns == "client", "what is left out stays"
    turns(client, type="semantic_vad")
    assert (client.session.config.turns, client.session.config.answers) == ("server", True)


@pytest.mark.parametrize("voice", ["female_young", "Priya", "priya", "2", {"id": "Priya"}])
def test_voices_by_key_name_and_number(voice: Any) -> None:
    client = Client()
    assert client.update(audio={"output": {"voice": voice}})["audio"]["output"]["voice"] == "female_young"
    assert client.session.config.manner.speaker == "female_young"


def test_openais_voices_are_an_error_that_lists_ours() -> None:
    client = Client()
    error = client.update(instructions="changed", audio={"output": {"voice": "alloy"}})
    assert "alloy" in error["message"]
    assert "Priya (female_young)" in error["message"]
    assert client.session.config.manner.prompt == "", "nothing changes"
    assert client.update()["instructions"] == ""


def test_a_model_without_voices_takes_any_name() -> None:
    client = Client(speakers=())
    assert client.greeted[0]["session"]["audio"]["output"]["voice"] is None
    assert client.update(audio={"output": {"voice": "marin"}})["audio"]["output"]["voice"] == "marin"


def test_instructions_and_speed() -> None:
    client = Client()
    session = client.update(
        type="realtime", model="gpt-realtime", instructions="be kind", audio={"output": {"speed": 1.5}}
    )
    assert (session["instructions"], session["audio"]["output"]["speed"], session["model"]) == ("be kind", 1.5, "made")
    assert (client.session.config.manner.prompt, client.session.config.manner.rate) == ("be kind", 1.5)


@pytest.mark.parametrize("form", [{"type": "audio/pcm", "rate": 24000}, {"type": "audio/pcmu"}, {"type": "audio/pcma"}])
def test_formats(form: dict[str, Any]) -> None:
    client = Client()
    audio = client.update(audio={"input": {"format": form}, "output": {"format": form}})["audio"]
    assert audio["input"]["format"] == form
    assert audio["output"]["format"] == form
    client.send("input_audio_buffer.append", audio="gICAgA==")
    assert client.session.rates == {form.get("rate", 8000)}
    assert len(client.session.samples) == (2 if "rate" in form else 4)


@pytest.mark.parametrize(
    "session",
    [
        {"tools": [], "tool_choice": "auto", "parallel_tool_calls": True, "max_output_tokens": "inf"},
        {"tool_choice": "none", "max_output_tokens": 4096, "prompt": None, "reasoning": None, "tools": None},
        {"include": ["item.input_audio_transcription.logprobs"], "tracing": "auto", "truncation": "auto"},
        {"audio": {"input": {"noise_reduction": {"type": "near_field"}}}},
    ],
)
def test_what_is_not_there_and_not_missed_is_told_as_absent(session: dict[str, Any]) -> None:
    told = Client().update(**session)
    assert (told["tools"], told["max_output_tokens"], told["tracing"], told["include"]) == ([], "inf", None, None)
    assert told["audio"]["input"]["noise_reduction"] is None


@pytest.mark.parametrize(
    ("session", "param"),
    [
        ({"type": "transcription"}, "session.type"),
        ({"tools": [{"type": "function", "name": "weather"}]}, "session.tools"),
        ({"tool_choice": "required"}, "session.tool_choice"),
        ({"tool_choice": {"type": "function", "name": "f"}}, "session.tool_choice"),
        ({"max_output_tokens": 100}, "session.max_output_tokens"),
        ({"prompt": {"id": "p"}}, "session.prompt"),
        ({"reasoning": {"effort": "low"}}, "session.reasoning"),
        (
            {"audio": {"input": {"turn_detection": {"type": "server_vad", "idle_timeout_ms": 6000}}}},
            "session.audio.input.turn_detection.idle_timeout_ms",
        ),
    ],
)
def test_what_would_be_missed_is_unsupported(session: dict[str, Any], param: str) -> None:
    client = Client()
    before = client.session.config
    error = client.update(**session)
    assert (error["code"], error["param"]) == ("unsupported", param)
    assert client.session.config is before


@pytest.mark.parametrize(
    ("session", "code", "param"),
    [
        ({"voice": "Priya"}, "unknown_parameter", "session.voice"),
        ({"output_modalities": ["text", "audio"]}, "invalid_value", "session.output_modalities"),
        ({"output_modalities": ["smell"]}, "invalid_value", "session.output_modalities.0"),
        ({"audio": {"input": {"format": {"type": "audio/mp3"}}}}, "invalid_value", "session.audio.input.format"),
        (
            {"audio": {"input": {"format": {"type": "audio/pcm", "rate": 16000}}}},
            "invalid_value",
            "session.audio.input.format.rate",
        ),
        ({"audio": {"output": {"speed": 9}}}, "invalid_value", "session.audio.output.speed"),
        ({"audio": {"output": {"speed": "fast"}}}, "invalid_value", "session.audio.output.speed"),
        (
            {"audio": {"input": {"turn_detection": {"type": "server_vad", "threshold": 2}}}},
            "invalid_value",
            "session.audio.input.turn_detection.threshold",
        ),
        (
            {"audio": {"input": {"turn_detection": {"threshold": 0.5}}}},
            "missing_required_parameter",
            "session.audio.input.turn_detection",
        ),
        ({"instructions": "x" * 20000}, "invalid_value", "session.instructions"),
    ],
)
def test_what_is_wrong_is_named(session: dict[str, Any], code: str, param: str) -> None:
    error = Client().update(**session)
    assert (error["code"], error["param"]) == (code, param)


@pytest.mark.parametrize(
    ("message", "code", "param"),
    [
        ("{", "invalid_json", None),
        ("[]", "invalid_json", None),
        ('{"type": "session.update", "type": "x"}', "invalid_json", None),
        ('{"a": NaN}', "invalid_json", None),
        ("[" * 100, "too_deep", None),
        (b"\0\0", "binary", None),
        ('{"event_id": "e"}', "missing_required_parameter", "type"),
        ('{"type": "session.explode", "event_id": "e"}', "invalid_value", "type"),
        ('{"type": "input_audio_buffer.append", "event_id": "e"}', "missing_required_parameter", "audio"),
        ('{"type": "input_audio_buffer.append", "audio": 1, "event_id": "e"}', "invalid_value", "audio"),
        ('{"type": "response.cancel", "now": true, "event_id": "e"}', "unknown_parameter", "now"),
        ('{"type": "response.create", "response": {"input": []}, "event_id": "e"}', "unsupported", "response.input"),
        (
            '{"type": "response.create", "response": {"conversation": "none"}, "event_id": "e"}',
            "unsupported",
            "response.conversation",
        ),
        (
            json.dumps({"type": "response.create", "event_id": "e", "response": {"metadata": {"a": "b" * 600}}}),
            "invalid_value",
            "response.metadata.a",
        ),
    ],
)
def test_every_wrong_event_is_answered_by_its_name(message: str | bytes, code: str, param: str | None) -> None:
    (told,) = Client().raw(message)
    assert (told["error"]["code"], told["error"]["param"]) == (code, param)
    assert told["error"]["event_id"] == ("e" if param else None)
    assert "\n" not in told["error"]["message"]


def test_a_response_may_not_ask_for_what_there_is_not() -> None:
    client = Client()
    (told,) = client.send("response.create", response={"audio": {"output": {"voice": "alloy"}}})
    assert "Priya" in told["error"]["message"]
    assert client.session.calls == []
    assert kinds(client.send("response.create")) == []
