"""VLM-Eff: does a model see in the picture what the counterfactual says should be there?

One yes/no question for every changed concept (FM-CGM, section 6); the score is the share of right
answers. An answer that is neither yes nor no counts as wrong and is reported as such.
"""
from __future__ import annotations

from dataclasses import dataclass

import torch

from ..causal.counterfactual import ConceptPhrase, Counterfactual
from ..vlm.interview import Interview
from ..vlm.jsontext import spoken
from ..vlm.prompting import PromptBook, fenced
from ..vlm.protocol import Progress, VisionLanguageModel
from ..vlm.replies import read_answer
from ..vlm.schemas import AnswerReply, plain

MAX_TOKENS = 512
MAX_QUOTED = 80


@dataclass(frozen=True)
class Verdict:
    """Whether one concept shows its counterfactual value."""

    concept: str
    asked: str
    answer: bool
    reply: str

    def line(self) -> str:
        """Return the verdict as a line of the report."""
        return f"{'yes' if self.answer else 'no'}: {self.concept}: {self.asked} (the model wrote: {self.reply})"


@dataclass(frozen=True)
class Effectiveness:
    """The verdict on every changed concept; `score` is in [0, 1]."""

    verdicts: tuple[Verdict, ...]

    @property
    def score(self) -> float:
        """The share of concepts that show their counterfactual value; 1 when none had to change."""
        return sum(verdict.answer for verdict in self.verdicts) / len(self.verdicts) if self.verdicts else 1.0

    def report(self) -> str:
        """Return a plain-text account, the score first."""
        if not self.verdicts:
            return "Effectiveness 1.00: the counterfactual changes nothing, so there is nothing to ask."
        right = sum(verdict.answer for verdict in self.verdicts)
        head = f"Effectiveness {self.score:.2f}: {right} of {len(self.verdicts)} changed concepts are seen."
        return "\n".join([head, *(verdict.line() for verdict in self.verdicts)])


def effectiveness(
    vlm: VisionLanguageModel,
    image: torch.Tensor,
    counterfactual: Counterfactual,
    *,
    seed: int = 0,
    max_tokens: int = MAX_TOKENS,
    book: PromptBook = PromptBook(),
    progress: Progress | None = None,
) -> Effectiveness:
    """Ask about every changed concept in `image` (B, H, W, C) in [0, 1], the generated picture.

    Decoding is greedy. A concept whose counterfactual phrase is empty has been removed: then the
    question is about the factual phrase, and "no" is the right answer. Raises VLMError when the
    model cannot be asked.
    """
    settings = {"temperature": 0.0, "max_tokens": max_tokens, "seed": seed, "book": book, "progress": progress}
    interview = Interview.about(vlm, image, **settings)
    return Effectiveness(tuple(verdict(interview, edit) for edit in counterfactual.edits()))


def verdict(interview: Interview, edit: ConceptPhrase) -> Verdict:
    """Ask whether the interview's picture shows the edit's phrase; for a removal, whether the factual one is gone."""
    sought = edit.factual_phrase if edit.removes else edit.phrase
    answer = interview.ask("effectiveness", {"phrase": fenced(sought)}, AnswerReply, read_answer)
    asked = f"{sought} is gone" if edit.removes else f"{sought} is seen"
    answered = answer.reading.value
    wrote = plain(spoken(answer.reply), MAX_QUOTED) or plain(answer.reply, MAX_QUOTED)
    return Verdict(edit.concept, asked, answered is not None and answered is not edit.removes, wrote)
