"""Interventions worth trying, each carried through the graph (FM-CGM, section 5.2)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch

from ..causal.counterfactual import Counterfactual
from ..causal.graph import CausalGraph, Concept
from .interview import Answer, Interview
from .manipulate import gaps, graph_for_model, settle, unreadable
from .prompting import PromptBook, fenced, fenced_json
from .protocol import Progress, VisionLanguageModel, VLMError
from .replies import Reading, Suggested, matching_name, matching_value, read_suggestions
from .schemas import SuggestionsReply


@dataclass(frozen=True)
class Suggestions:
    """Diverse counterfactuals, each on another concept, and what went wrong on the way."""

    counterfactuals: tuple[Counterfactual, ...]
    reply: str
    notes: tuple[str, ...] = ()

    def report(self) -> str:
        """Return a plain-text account of every suggestion."""
        parts = [f"{number}. {one.report()}" for number, one in enumerate(self.counterfactuals, start=1)]
        return "\n\n".join([*parts, *(f"note: {note}" for note in self.notes)])


def suggest_interventions(
    vlm: VisionLanguageModel,
    image: torch.Tensor | None,
    graph: CausalGraph,
    count: int = 3,
    *,
    temperature: float = 0.2,
    max_tokens: int = 3072,
    seed: int = 0,
    book: PromptBook = PromptBook(),
    progress: Progress | None = None,
) -> Suggestions:
    """Ask a model for `count` diverse interventions with all that follows from each.

    `image` (B, H, W, C) in [0, 1]. Interventions that the graph already carries stay and are not
    suggested again. The defaults are the paper's. Raises VLMError when the graph has nothing to
    change, the model cannot be asked, or its replies hold no usable suggestion.
    """
    candidates = _candidates(graph)
    settings = {"temperature": temperature, "max_tokens": max_tokens, "seed": seed, "book": book, "progress": progress}
    interview = Interview.about(vlm, image, **settings)
    asked = question(graph, candidates, count)
    answer = interview.ask("suggest", asked, SuggestionsReply, lambda text: _usable(text, graph, candidates, count))
    if not answer.reading.value:
        raise VLMError(_nothing_usable(answer))
    results = tuple(_carried_through(graph, one) for one in answer.reading.value)
    return Suggestions(results, answer.reply, tuple(unreadable(answer)))


def question(graph: CausalGraph, candidates: Iterable[Concept], count: int) -> dict[str, str]:
    """Return what the prompt `suggest` is filled with."""
    return {
        "graph": fenced_json(graph_for_model(graph)),
        "candidates": fenced_json({concept.name: list(concept.values) for concept in candidates}),
        "interventions": fenced_json(dict(graph.interventions)),
        "count": str(count),
        "base_prompt": fenced(graph.base_prompt),
    }


def _carried_through(graph: CausalGraph, one: Suggested) -> Counterfactual:
    why = [f"Suggested because: {one.reason}"] if one.reason else []
    return settle(graph.do({one.concept: one.value}), one.values, one.prompt, notes=why)


def _candidates(graph: CausalGraph) -> tuple[Concept, ...]:
    candidates = tuple(c for c in graph.concepts if len(c.values) > 1 and c.name not in graph.interventions)
    if not candidates:
        raise VLMError(
            "No concept of the graph can be changed: each has a single value or is already intervened on. "
            "Add values to a concept, or extract the graph again."
        )
    return candidates


def _usable(
    text: str, graph: CausalGraph, candidates: tuple[Concept, ...], count: int
) -> Reading[tuple[Suggested, ...]]:
    """Read suggestions and keep those that really change another candidate each.

    The notes are what could not be used, the problems also what the kept ones leave out.
    """
    reading = read_suggestions(text)
    by_name = {concept.name: concept for concept in candidates}
    chosen: dict[str, Suggested] = {}
    problems = list(reading.problems)
    for one in reading.value:
        name = matching_name(one.concept, by_name)
        value = matching_value(by_name[name], one.value) if name else None
        if name is None or value is None or value == by_name[name].value:
            problems.append(f"do({one.concept} = {one.value}) changes nothing that may be changed.")
        elif name not in chosen:
            chosen[name] = Suggested(name, value, one.reason, one.values, one.prompt)
    expected = min(count, len(candidates))
    if len(chosen) < expected:
        problems.append(f"interventions: expected {expected} on different concepts, got {len(chosen)}.")
    kept = tuple(chosen.values())[:count]
    missing = [
        f"do({one.concept} = {one.value}): {gap}"
        for one in kept
        for gap in gaps(graph.do({one.concept: one.value}), one.values)
    ]
    return Reading(kept, (*problems, *missing), tuple(problems))


def _nothing_usable(answer: Answer) -> str:
    return " ".join(["The model suggested no usable intervention.", *unreadable(answer)])
