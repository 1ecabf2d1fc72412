"""What this package expects of a vision-language model, whatever runs it.

A backend answers one question about some pictures with one text. Its replies are data: they are read
by `replies`, which trusts nothing in them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from PIL.Image import Image

Schema = Mapping[str, Any]
Progress = Callable[[int, int], None]
"""Called with (tokens so far, most tokens) while a model writes; whatever it raises ends the question."""


class VLMError(RuntimeError):
    """A model that could not be loaded or asked; the message says what to do."""


@dataclass(frozen=True)
class Question:
    """One prompt about some pictures (RGB), and how the reply is to be written.

    `schema` is the JSON schema of the wanted reply; a backend that can constrain decoding uses it,
    any other ignores it. `temperature` 0 decodes greedily. `max_tokens` is the longest reply.
    """

    prompt: str
    images: tuple[Image, ...] = ()
    schema: Schema | None = None
    temperature: float = 0.2
    max_tokens: int = 2048
    seed: int = 0


class Reply(str):
    """A model's reply; `remark` says why it ended where that was not the model's own choice, "" otherwise."""

    remark: str

    def __new__(cls, text: str, remark: str = "") -> Reply:
        reply = super().__new__(cls, text)
        reply.remark = remark
        return reply


@runtime_checkable
class VisionLanguageModel(Protocol):
    """Something that answers questions about pictures."""

    def ask(self, question: Question, progress: Progress | None = None) -> str:
        """Return the model's reply, a `Reply` where there is something to remark about it.

        Raises VLMError when no reply can be had, and lets through whatever `progress` raises.
        """
        ...


def silent(done: int, total: int) -> None:
    """Report progress to nobody."""
