"""An edited picture checked against the causal graph: what had to change has changed, what had to stay is still there.

Effectiveness is measured as in `effectiveness.py`. A preserved concept is asked about twice, in the original and in the
edited picture; one that the model does not see in the original is left out of the score.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch

from ..causal.counterfactual import ConceptPhrase, Counterfactual
from ..vlm.interview import Interview
from ..vlm.prompting import PromptBook
from ..vlm.protocol import Progress, VisionLanguageModel
from .effectiveness import MAX_TOKENS, Verdict, verdict

CHANGE, STAY = "must change", "must stay"


@dataclass(frozen=True)
class Finding:
    """Whether one concept is as the graph says; `good` is None where not even the original is seen to show it."""

    concept: str
    demand: str
    good: bool | None
    words: str

    def line(self) -> str:
        """The finding as a line of the report."""
        mark = {True: "yes", False: "NO", None: "unclear"}[self.good]
        return f"{mark}: {self.concept} {self.demand}: {self.words}"


@dataclass(frozen=True)
class Audit:
    """The findings on every concept that can be looked at, the changed ones first, each in the order of causes."""

    findings: tuple[Finding, ...]

    @property
    def effectiveness(self) -> float:
        """The share of concepts that had to change and show their value; 1 when none had to."""
        return self._share(CHANGE)

    @property
    def preserved(self) -> float:
        """The share of concepts that had to stay, were there, and still are; 1 when there is none."""
        return self._share(STAY)

    @property
    def slipped(self) -> tuple[Finding, ...]:
        """The findings on concepts that are not as the graph says."""
        return tuple(finding for finding in self.findings if finding.good is False)

    def verdicts(self) -> dict[str, bool]:
        """Concept -> whether it is as the graph says, without the unclear ones."""
        return {finding.concept: finding.good for finding in self.findings if finding.good is not None}

    def report(self) -> str:
        """A plain-text table, the scores first."""
        verdicts = self.verdicts()
        head = f"Effectiveness {self.effectiveness:.2f}, preserved {self.preserved:.2f}"
        both = f"{sum(verdicts.values())} of {len(verdicts)} concepts do what the graph says." if verdicts else "nothing can be looked at."
        return "\n".join([f"{head}: {both}", *(finding.line() for finding in self.findings)])

    def _share(self, demand: str) -> float:
        hits = [finding.good for finding in self.findings if finding.demand == demand and finding.good is not None]
        return sum(hits) / len(hits) if hits else 1.0


def audit(
    vlm: VisionLanguageModel,
    original: torch.Tensor,
    edited: torch.Tensor,
    counterfactual: Counterfactual,
    *,
    seed: int = 0,
    max_tokens: int = MAX_TOKENS,
    book: PromptBook = PromptBook(),
    progress: Progress | None = None,
) -> Audit:
    """Ask about every concept in the first pictures of `original` and `edited`, IMAGEs (B, H, W, C) in [0, 1].

    Decoding is greedy. Raises VLMError when the model cannot be asked.
    """
    settings = {"temperature": 0.0, "max_tokens": max_tokens, "seed": seed, "book": book, "progress": progress}
    before, after = (Interview.about(vlm, image, **settings) for image in (original, edited))
    changes = (_changed(verdict(after, edit)) for edit in counterfactual.edits())
    stays = (_stayed(before, after, phrase) for phrase in counterfactual.unchanged())
    return Audit((*changes, *stays))


def _changed(judged: Verdict) -> Finding:
    return Finding(judged.concept, CHANGE, judged.answer, f"{judged.asked} (the model wrote: {judged.reply})")


def _stayed(before: Interview, after: Interview, phrase: ConceptPhrase) -> Finding:
    """The phrase of an unchanged concept asked about in both pictures; the edited one first, for a yes there is enough."""
    now = verdict(after, phrase)
    if now.answer:
        return Finding(phrase.concept, STAY, True, f"{phrase.phrase} is still seen")
    if not verdict(before, phrase).answer:
        return Finding(phrase.concept, STAY, None, f"{phrase.phrase} is not seen in the original either")
    return Finding(phrase.concept, STAY, False, f"{phrase.phrase} is gone (the model wrote: {now.reply})")


def slips(findings: Iterable[Finding]) -> list[str]:
    """What slipped, one sentence each, without the model's words."""
    return [f"{finding.concept} {finding.demand}, but did not" if finding.demand == CHANGE
            else f"{finding.concept} {finding.demand}, but changed" for finding in findings]  # fmt: skip
