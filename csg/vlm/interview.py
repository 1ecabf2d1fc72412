"""Questions to a model about one picture, and a second question after a bad reply."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TypeVar

import torch
from PIL.Image import Image
from pydantic import BaseModel

from .pictures import for_model
from .prompting import PromptBook, fenced
from .protocol import Progress, Question, VisionLanguageModel, VLMError
from .replies import NO_JSON, Reading
from .schemas import schema_of

T = TypeVar("T")


@dataclass(frozen=True)
class Answer:
    """A reading of a reply, and the reply itself."""

    reading: Reading
    reply: str


@dataclass(frozen=True)
class Interview:
    """Questions to one model about one picture, always with the same settings."""

    vlm: VisionLanguageModel
    images: tuple[Image, ...]
    temperature: float = 0.2
    max_tokens: int = 2048
    seed: int = 0
    book: PromptBook = PromptBook()
    progress: Progress | None = None

    @classmethod
    def about(cls, vlm: VisionLanguageModel, image: torch.Tensor | None, **settings: object) -> Interview:
        """Begin an interview about the first picture of `image` (B, H, W, C) in [0, 1], or about none."""
        return cls(vlm, () if image is None else (for_model(image),), **settings)

    def ask(
        self, name: str, values: Mapping[str, str], form: type[BaseModel], read: Callable[[str], Reading[T]]
    ) -> Answer:
        """Put the question `name`; a reply with problems goes back once, greedily, with them named.

        Of two replies the more readable one counts, the later on a tie. What could be read of the
        first is not lost when the model then cannot be asked again: a note says so. Raises VLMError
        when the model cannot be asked and nothing was read.
        """
        prompt = self.book.fill(name, values)
        first = self._once(prompt, form, read, self.temperature)
        if first.reading.complete:
            return first
        listed = "\n".join(f"- {problem}" for problem in first.reading.problems)
        again = {"prompt": prompt, "reply": fenced(first.reply[-8000:]), "problems": fenced(listed)}
        question = self.book.fill("repair", again)
        try:
            second = self._once(question, form, read, 0.0)
        except VLMError as error:
            if NO_JSON in first.reading.problems or not first.reading.value:
                raise
            notes = (*first.reading.notes, f"Asking again failed. {error}")
            return replace(first, reading=replace(first.reading, notes=notes))
        return min(second, first, key=lambda answer: answer.reading.damage)

    def _once(
        self, prompt: str, form: type[BaseModel], read: Callable[[str], Reading[T]], temperature: float
    ) -> Answer:
        question = Question(prompt, self.images, schema_of(form), temperature, self.max_tokens, self.seed)
        reply = self.vlm.ask(question, self.progress)
        reading, remark = read(reply), getattr(reply, "remark", "")
        if remark:
            fields = {"notes": (*reading.notes, remark)} if reading.complete else {"problems": (remark, *reading.problems)}
            reading = replace(reading, **fields)
        return Answer(reading, reply)
