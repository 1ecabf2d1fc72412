"""From an intervention to the counterfactual (FM-CGM, section 5.2, the manipulator).

The model proposes values for the descendants and an interventional prompt; the graph decides. What
the model changes against the graph is put back and reported.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace

import torch

from ..causal.counterfactual import Counterfactual, Proposal, propagate
from ..causal.formats import graph_to_data
from ..causal.frozen import FrozenMap
from ..causal.graph import CausalGraph, Concept
from .interview import Answer, Interview
from .prompting import PromptBook, fenced, fenced_json
from .protocol import Progress, VisionLanguageModel
from .replies import NO_JSON, Reading, matching_name, matching_value, read_values
from .schemas import PropagationReply, ValueReply, plain

BY_HAND = "by hand"
BY_MODEL = "vlm"
MAX_QUOTED = 2000


@dataclass
class Proposals:
    """What a model proposed, fitted to a graph.

    `graph` is the graph with the values that were added to open domains; `moved` are the concepts
    that the model wanted to change against the graph.
    """

    graph: CausalGraph
    values: dict[str, Proposal] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    moved: list[str] = field(default_factory=list)


def vlm_propagate(
    vlm: VisionLanguageModel,
    image: torch.Tensor | None,
    graph: CausalGraph,
    proposals_by_hand: Mapping[str, str | Proposal] | None = None,
    temperature: float = 0.2,
    max_tokens: int = 3072,
    seed: int = 0,
    *,
    book: PromptBook = PromptBook(),
    progress: Progress | None = None,
) -> Counterfactual:
    """Let a model carry the graph's pending interventions to their descendants.

    `image` (B, H, W, C) in [0, 1] is the factual picture; without one the model works from the
    graph alone. Values set by hand stand in the question and are kept. A reply that cannot be read, or
    leaves a descendant without a value of its domain, is asked for once more; what it still lacks
    stays at its factual value, with a note. The defaults are the paper's.
    Raises GraphError for a proposal by hand that does not fit, VLMError when the model cannot be
    asked.
    """
    by_hand = dict(proposals_by_hand or {})
    settled = propagate(graph, by_hand, source=BY_HAND)
    if not graph.interventions:
        return settled
    settings = {"temperature": temperature, "max_tokens": max_tokens, "seed": seed, "book": book, "progress": progress}
    interview = Interview.about(vlm, image, **settings)
    answer = interview.ask(
        "propagate", _question(graph, by_hand), PropagationReply, lambda text: _read(text, graph, set(by_hand))
    )
    values, prompt = answer.reading.value
    return settle(graph, values, prompt, by_hand=by_hand, notes=unreadable(answer))


def _question(graph: CausalGraph, by_hand: Mapping[str, str | Proposal]) -> dict[str, str]:
    downstream = graph.descendants_of_interventions() - by_hand.keys()
    settled = {name: value if isinstance(value, str) else value.value for name, value in by_hand.items()}
    return {
        "graph": fenced_json(graph_for_model(graph)),
        "interventions": fenced_json(dict(graph.interventions)),
        "settled": fenced_json(settled),
        "descendants": fenced_json([name for name in graph.topological_order() if name in downstream]),
        "base_prompt": fenced(graph.base_prompt),
    }


def _read(text: str, graph: CausalGraph, by_hand: set[str]) -> Reading[tuple[tuple[ValueReply, ...], str]]:
    """Read a propagation; its notes are what could not be read, its problems also what is missing."""
    reading = read_values(text)
    missing = () if NO_JSON in reading.problems else gaps(graph, reading.value[0], by_hand)
    return replace(reading, problems=reading.problems + missing, notes=reading.problems)


def gaps(graph: CausalGraph, values: Iterable[ValueReply], by_hand: Collection[str] = ()) -> tuple[str, ...]:
    """Return which descendants a model gave no value, or none of their domain."""
    given: dict[str | None, ValueReply] = {}
    for item in values:
        given.setdefault(matching_name(item.concept, graph.names), item)
    asked = graph.descendants_of_interventions().difference(by_hand)
    concepts = [graph[name] for name in graph.topological_order() if name in asked]
    return tuple(_gap(each, given.get(each.name)) for each in concepts if not _fits(each, given.get(each.name)))


def _gap(concept: Concept, item: ValueReply | None) -> str:
    wrong = "it has none" if item is None else f"{item.value!r} is outside its domain"
    return f"values: {concept.name!r} needs one of the values {', '.join(concept.values)}; {wrong}."


def _fits(concept: Concept, item: ValueReply | None) -> bool:
    return item is not None and (matching_value(concept, item.value) is not None or _opens(concept, item))


def _opens(concept: Concept, item: ValueReply) -> bool:
    """Whether a domain of one may take in the value: it comes with a phrase."""
    return len(concept.values) == 1 and bool(item.phrase)


def unreadable(answer: Answer) -> list[str]:
    """Return the notes on what of a reply could not be read, and then the reply itself."""
    notes = [f"The model's reply was not fully readable: {problem}" for problem in answer.reading.notes]
    wrote = plain(answer.reply, MAX_QUOTED) or "(nothing)"
    return [*notes, f"The model wrote: {wrote}"] if notes else []


def graph_for_model(graph: CausalGraph) -> dict[str, object]:
    """Return the part of a graph that a prompt holds: concepts, domains and confirmed edges."""
    data = graph_to_data(graph)
    keys = ("name", "value", "values", "description")
    concepts = [{key: concept[key] for key in keys if concept[key]} for concept in data["concepts"]]
    edges = [{"cause": e.cause, "effect": e.effect, "reason": e.reason} for e in graph.edges if e.status == "confirmed"]
    return {"base_prompt": graph.base_prompt, "concepts": concepts, "edges": edges}


def settle(
    graph: CausalGraph,
    values: Iterable[ValueReply],
    prompt: str,
    *,
    by_hand: Mapping[str, str | Proposal] | None = None,
    notes: Iterable[str] = (),
) -> Counterfactual:
    """Return the counterfactual that the graph allows of what a model proposed.

    The model's own prompt is used only when it changed nothing against the graph: otherwise it
    would describe what was put back.
    """
    fitted = _fitted(graph, values, set(by_hand or {}))
    wanted = {**fitted.values, **(by_hand or {})}
    model_prompt = prompt if prompt and not fitted.moved else None
    result = propagate(fitted.graph, wanted, source=BY_MODEL, prompt=model_prompt)
    more = [*notes, *fitted.notes]
    if fitted.moved and prompt:
        more.append(f"The model's prompt is not used, since it also changed {', '.join(fitted.moved)}.")
    return replace(result, changes=_credited(result, by_hand or {}), notes=(*result.notes, *more))


def _fitted(graph: CausalGraph, values: Iterable[ValueReply], by_hand: set[str]) -> Proposals:
    """Fit each proposal to its concept; the first of a concept counts, those settled by hand stand."""
    fitted, seen = Proposals(graph), set(by_hand)
    downstream = graph.descendants_of_interventions()
    for item in values:
        name = matching_name(item.concept, graph.names)
        if name is None:
            fitted.notes.append(f"The model named an unknown concept {item.concept!r}; it is left out.")
        elif name not in seen:
            _fit(fitted, graph[name], item, name in downstream)
        elif name not in by_hand:
            fitted.notes.append(f"The model gave {name} a second value, {item.value!r}; the first counts.")
        seen.add(name)
    return fitted


def _fit(fitted: Proposals, concept: Concept, item: ValueReply, may_change: bool) -> None:
    value = matching_value(concept, item.value)
    if value is None and may_change and _opens(concept, item):
        value = _extend(fitted, concept, item)
    if value is None:
        fitted.notes.append(f"{concept.name} was proposed as {item.value!r}, outside its domain, and is not changed.")
        fitted.moved.append(concept.name)
        return
    stays = fitted.graph.interventions.get(concept.name, concept.value)
    if not may_change and value != stays:
        why = (
            "the intervention fixes it"
            if concept.name in fitted.graph.interventions
            else "nothing that changes causes it"
        )
        fitted.moved.append(concept.name)
        fitted.notes.append(f"{concept.name} was proposed as {value!r} but stays {stays!r}: {why}.")
    elif may_change:
        fitted.values[concept.name] = Proposal(value, item.reason)


def _extend(fitted: Proposals, concept: Concept, item: ValueReply) -> str:
    """Add a new value to a domain of one."""
    wider = replace(concept, values=FrozenMap({**concept.values, item.value: item.phrase}))
    concepts = tuple(wider if each.name == concept.name else each for each in fitted.graph.concepts)
    fitted.graph = replace(fitted.graph, concepts=concepts)
    fitted.notes.append(f"{concept.name} had one value; {item.value!r} ({item.phrase}) was added for it.")
    return item.value


def _credited(result: Counterfactual, by_hand: Mapping[str, str | Proposal]) -> tuple:
    """Give the values that were set by hand this source instead of the model."""
    return tuple(
        replace(change, source=BY_HAND) if change.concept in by_hand and change.source == BY_MODEL else change
        for change in result.changes
    )
