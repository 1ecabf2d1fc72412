"""Reading a chat completion as a server sends it: a stream of events, or one JSON object."""
from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from .protocol import VLMError

MAX_BYTES = 8_000_000
MAX_LINE_BYTES = 1_000_000


class BrokenStream(Exception):
    """The server closed the connection before its answer was complete."""


@dataclass
class Completion:
    """What has arrived of a reply: the text, and what a reasoning model thought on the way."""

    text: list[str] = field(default_factory=list)
    thought: list[str] = field(default_factory=list)
    finished: bool = False

    @property
    def pieces(self) -> int:
        """How many pieces have arrived; servers send about one for each token."""
        return len(self.text) + len(self.thought)

    @property
    def reply(self) -> str:
        """The text; some servers file the whole answer under the thoughts, so else those."""
        return "".join(self.text) or "".join(self.thought)

    def add(self, event: Any) -> None:
        """Take in one decoded event; raises VLMError when the server reports an error in it."""
        if not isinstance(event, dict):
            raise VLMError(f"The server sent {json.dumps(event)[:80]} where a chat completion was expected.")
        if event.get("error"):
            raise VLMError(f"The server reports: {_message(event['error'])}")
        choices = event.get("choices")
        choice = choices[0] if isinstance(choices, list) and choices and isinstance(choices[0], dict) else {}
        part = choice.get("delta") or choice.get("message") or {}
        self._add_part(part if isinstance(part, dict) else {})
        self.finished = self.finished or bool(choice.get("finish_reason"))

    def _add_part(self, part: dict[str, Any]) -> None:
        content, thought = part.get("content"), part.get("reasoning_content") or part.get("reasoning")
        if isinstance(content, list):
            content = "".join(str(piece.get("text", "")) for piece in content if isinstance(piece, dict))
        if isinstance(content, str) and content:
            self.text.append(content)
        elif isinstance(thought, str) and thought:
            self.thought.append(thought)


def _message(error: Any) -> str:
    text = error.get("message", error) if isinstance(error, dict) else error
    return str(text)[:300]


def read_stream(chunks: Iterable[bytes], completion: Completion) -> Iterator[None]:
    """Fill `completion` from server-sent events, yielding after each.

    Raises BrokenStream when the stream ends before the reply does, VLMError when it is no stream of
    completions or grows beyond 8 MB.
    """
    for line in _lines(chunks):
        if not line.startswith(b"data:"):
            continue
        data = line[5:].strip()
        if data == b"[DONE]":
            completion.finished = True
            return
        completion.add(_decoded(data))
        yield
    if not completion.finished:
        raise BrokenStream


def read_whole(chunks: Iterable[bytes], completion: Completion) -> Iterator[None]:
    """Fill `completion` from one JSON object, for servers that do not stream."""
    body = b""
    for chunk in _counted(chunks):
        body += chunk
        yield
    completion.add(_decoded(body))
    if not completion.pieces and not completion.finished:
        raise VLMError(f"The server answered with JSON that is no chat completion: {_shown(body)}")


def _lines(chunks: Iterable[bytes]) -> Iterator[bytes]:
    rest = b""
    for chunk in _counted(chunks):
        *lines, rest = (rest + chunk).split(b"\n")
        yield from lines
        if len(rest) > MAX_LINE_BYTES:
            raise VLMError("The server sent an endless line instead of a stream of events.")
    yield rest


def _counted(chunks: Iterable[bytes]) -> Iterator[bytes]:
    total = 0
    for chunk in chunks:
        total += len(chunk)
        if total > MAX_BYTES:
            raise VLMError(f"The server's reply is larger than {MAX_BYTES // 1_000_000} MB; it was cut off.")
        yield chunk


def _decoded(data: bytes) -> Any:
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        raise VLMError(f"The server sent what is no JSON: {_shown(data)}") from None


def _shown(data: bytes) -> str:
    return repr(data[:80].decode("utf-8", "replace"))
