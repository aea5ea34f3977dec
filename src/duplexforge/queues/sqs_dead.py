"""The dead-letter queue: a copy of every task that failed, with the reason. What counts is the failed record in the store."""

from __future__ import annotations

import threading

from duplexforge import log
from duplexforge.errors import DuplexforgeError
from duplexforge.queues.sqs_client import Channel
from duplexforge.queues.sqs_message import of_failure


class DeadLetters:
    """The dead-letter queue of ``channel``, found through its redrive policy at first use; there may be none."""

    def __init__(self, channel: Channel, stage: str) -> None:
        self._channel = channel
        self._url: str | None = None
        self._known = False
        self._lock = threading.Lock()
        self._log = log.get("queue", stage=stage)

    def put(self, task_id: str, body: str, reason: str, words: str) -> None:
        """Send a copy. Where that fails it is said and no more: moving a task back needs the store, not the copy."""
        try:
            if url := self._find():
                self._channel.send([of_failure(task_id, body, reason, words)], url=url)
        except DuplexforgeError as error:
            self._log.warning("not copied to the dead-letter queue", task=task_id, error=str(error))

    def _find(self) -> str | None:
        with self._lock:
            if not self._known:
                self._url, self._known = self._channel.dead_letters(), True
                if self._url is None:
                    words = "no dead-letter queue: failed tasks are only kept in the store"
                    self._log.warning(words, queue=self._channel.url)
            return self._url
