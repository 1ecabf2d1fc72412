"""Reading a chat completion as a server sends it: a stream of events, or one JSON object."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

MAX_BYTES = 8_000_000
MAX_LINE_BYTES = 1_000_000


class BrokenStream(Exception):
    """The server closed the connection before its answer was complete."""


class BadAnswer(Exception):
    """An answer that is no chat completion.

    `complaint` has a place for `{answer}`, the server's words, which must be cleaned before they are shown.
    """

    def __init__(self, complaint: str, answer: Any = "") -> None:
        super().__init__()
        self.complaint = complaint
        self.answer = answer if isinstance(answer, str) else json.dumps(answer, ensure_ascii=False)


@dataclass
class Completion:
    """What has arrived of a reply: the text, and what a reasoning model thought on the way."""

    text: list[str] = field(default_factory=list)
    called: list[str] = field(default_factory=list)
    thought: list[str] = field(default_factory=list)
    finished: bool = False
    ended: str = ""

    @property
    def pieces(self) -> int:
        """How many pieces have arrived; servers send about one for each token."""
        return len(self.text) + len(self.called) + len(self.thought)

    @property
    def reply(self) -> str:
        """The text; else the arguments of a tool call; else the thoughts, under which some servers file the whole answer."""
        return next((whole for part in (self.text, self.called, self.thought) if (whole := "".join(part)).strip()), "")

    @property
    def remark(self) -> str:
        """What the server says of an end that was not the model's own choice, "" for a plain one."""
        return _ENDS.get(self.ended, "")

    def add(self, event: Any) -> None:
        """Take in one decoded event; raises BadAnswer when it is none, or reports an error."""
        if not isinstance(event, dict):
            raise BadAnswer("The server sent {answer} where a chat completion was expected.", event)
        if event.get("error"):
            raise BadAnswer("The server reports: {answer}", message_in(event))
        choices = event.get("choices")
        choice = choices[0] if isinstance(choices, list) and choices and isinstance(choices[0], dict) else {}
        part = choice.get("delta") or choice.get("message") or {}
        self._add_part(part if isinstance(part, dict) else {})
        if isinstance(end := choice.get("finish_reason"), str) and end:
            self.finished, self.ended = True, end

    def _add_part(self, part: dict[str, Any]) -> None:
        content, thought = part.get("content"), part.get("reasoning_content") or part.get("reasoning")
        if isinstance(content, list):
            content = "".join(str(piece.get("text") or "") for piece in content if isinstance(piece, dict))
        content = content or part.get("refusal")  # where some clouds put a model's "I cannot help with that"
        self.called += _arguments(part.get("tool_calls"))
        if isinstance(content, str) and content:
            self.text.append(content)
        elif isinstance(thought, str) and thought:
            self.thought.append(thought)


_ENDS = {
    "length": "The model used up its tokens before it had finished (finish_reason = length): "
    "raise max_tokens, or ask a model that thinks less.",
    "content_filter": "The server's content filter cut the answer off (finish_reason = content_filter).",
}


def _arguments(calls: Any) -> list[str]:
    """What tool calls are called with, piece by piece; some servers put the answer there."""
    functions = [call.get("function") for call in calls if isinstance(call, dict)] if isinstance(calls, list) else []
    arguments = [function.get("arguments") for function in functions if isinstance(function, dict)]
    return [each if isinstance(each, str) else json.dumps(each) for each in arguments if each]


def message_in(event: Any) -> str:
    """Return the words of an error report, in whichever of the usual places they stand."""
    for key in ("error", "message", "detail"):
        if isinstance(event, dict) and event.get(key):
            return message_in(event[key])
    return event if isinstance(event, str) else json.dumps(event, ensure_ascii=False)


async def read_stream(chunks: AsyncIterator[bytes], completion: Completion) -> AsyncIterator[None]:
    """Fill `completion` from server-sent events, yielding after each.

    Raises BrokenStream when the stream ends before the reply does, BadAnswer when it is no stream of
    completions or grows beyond 8 MB.
    """
    async for line in _lines(chunks):
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


async def read_whole(chunks: AsyncIterator[bytes], completion: Completion) -> AsyncIterator[None]:
    """Fill `completion` from one JSON object, for servers that do not stream."""
    parts = []
    async for chunk in _counted(chunks):
        parts.append(chunk)
        yield
    body = b"".join(parts)
    completion.add(_decoded(body))
    if not completion.pieces and not completion.finished:
        raise BadAnswer("The server answered with JSON that is no chat completion: {answer}", _text(body))


async def _lines(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    rest = b""
    async for chunk in _counted(chunks):
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            yield line
        if len(rest) > MAX_LINE_BYTES:
            raise BadAnswer("The server sent an endless line instead of a stream of events.")
    yield rest


async def _counted(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    total = 0
    async for chunk in chunks:
        total += len(chunk)
        if total > MAX_BYTES:
            raise BadAnswer(f"The server's reply is larger than {MAX_BYTES // 1_000_000} MB; it was cut off.")
        yield chunk


def _decoded(data: bytes) -> Any:
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        raise BadAnswer("The server sent what is no JSON: {answer}", _text(data)) from None


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace")
