"""``POST /infer_wav``: a recording in, what the model says to it out."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, File, Query, Request, UploadFile
from pydantic import BaseModel

from duplexforge.errors import ModelError
from duplexforge.serving import wav
from duplexforge.serving.backends import Manner
from duplexforge.serving.events import AnswerEnded, Event, Failed, Heard, Sound
from duplexforge.serving.packets import Floats
from duplexforge.serving.service import Service
from duplexforge.serving.session import Session, SessionConfig

__all__ = ["Answer", "router"]

router = APIRouter()

_PIECE, _MOST_AHEAD = 0.5, 2.0
"""Seconds that are handed over at once, and that may wait for the model."""
_LOOK = 0.01
_PATIENCE = 120.0
"""Seconds that an answer may take."""


class Answer(BaseModel):
    """What the model said. ``sample_rate``, ``channels`` and ``seconds`` are the recording's."""

    text: str
    sample_rate: int
    channels: int
    seconds: float
    latency_ms: float | None = None
    """From the recording's last sound until the answer was whole."""
    audio: str | None = None
    """The answer as a WAV file in base64, where ``audio=true`` asked for it and the model has a voice."""


@router.post("/infer_wav", response_model_exclude_none=True)
async def infer_wav(
    request: Request,
    file: Annotated[
        UploadFile, File(description="Uncompressed WAV, 16-bit PCM or another; any rate from 8 to 48 kHz.")
    ],
    prompt: Annotated[str, Query(max_length=16384, description="Instructions, for models that read.")] = "",
    speaker: Annotated[str, Query(max_length=64, description="A voice of /speakers.")] = "",
    emotion: Annotated[str, Query(max_length=64, description="An emotion of /speakers.")] = "",
    audio: Annotated[bool, Query(description="Send the answer's sound too.")] = False,
) -> Answer:
    """Answer one recording. It takes a slot like everybody else: 503 with Retry-After when there is none."""
    service: Service = request.app.state.service
    # Aside: a minute in many channels takes long enough to be heard by those who are talking.
    heard = await asyncio.to_thread(wav.read, await file.read(), service.settings.sca_upload_seconds)
    prompt = prompt or service.settings.sca_qwen_system_prompt or ""
    manner = Manner(prompt=prompt, speaker=speaker, emotion=emotion)
    config = SessionConfig(mode="turn", turns="client", interruption=False, manner=manner)
    async with service.converse(config, request.state.owner) as session:
        await _play_to(session, heard.samples, heard.rate)
        session.commit()
        said = [event async for event in _answer(session, service)]
    found = Answer(
        text="", sample_rate=heard.rate, channels=heard.channels, seconds=round(len(heard.samples) / heard.rate, 3)
    )
    return found.model_copy(update=_summary(said, audio=audio))


async def _play_to(session: Session, samples: Floats, rate: int) -> None:
    """Hand the recording over as fast as the model takes it."""
    size = max(1, round(_PIECE * rate))
    for start in range(0, len(samples), size):
        session.hear(samples[start : start + size], rate)
        while session.behind() > _MOST_AHEAD:
            await asyncio.sleep(_LOOK)


async def _answer(session: Session, service: Service) -> AsyncIterator[Event]:
    """The events of the answer, to its end."""
    try:
        async with asyncio.timeout(_PATIENCE):
            async for event in session.events():
                service.note(event)
                if isinstance(event, Failed):
                    raise ModelError(event.message, reason=event.code)
                yield event
                if isinstance(event, AnswerEnded):
                    return
    except TimeoutError as error:
        raise ModelError(f"the model took longer than {_PATIENCE:g} s", reason="too_slow") from error
    raise ModelError("the model said nothing", reason="silent")


def _summary(said: list[Event], *, audio: bool) -> dict[str, object]:
    sounds = [event.audio for event in said if isinstance(event, Sound)]
    found: dict[str, object] = {
        "text": next(event.text for event in said if isinstance(event, AnswerEnded)),
        "latency_ms": next((round(1000 * event.first, 1) for event in said if isinstance(event, Heard)), None),
    }
    if audio and sounds:
        whole = wav.written(b"".join(one.audio_bytes for one in sounds), sounds[0].rate)
        found["audio"] = base64.b64encode(whole).decode()
    return found
