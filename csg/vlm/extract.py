"""From a picture to its causal graph (FM-CGM, section 5.1, the extractor).

Visual description, concept identification and the causal graph are asked for in one question, or in
three, each building on the last, which small models manage better.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from ..causal.formats import drawn_data, read_graph
from ..causal.graph import MAX_CONCEPTS, CausalGraph, Concept, GraphError
from ..causal.recognise import recognise
from .interview import Answer, Interview
from .prompting import PromptBook, fenced, fenced_json
from .protocol import Progress, VisionLanguageModel
from .replies import (
    INCOMPLETE,
    Reading,
    assemble,
    read_concepts,
    read_description,
    read_edges,
    read_graph_data,
    read_graph_reply,
)
from .schemas import ConceptsReply, DescriptionReply, EdgesReply, GraphReply
from .vote import vote

SEEDS = 2**64  # as many as a node's seed can be


@dataclass(frozen=True)
class Extraction:
    """A causal graph read from a picture, the raw reply, and how the reading went."""

    graph: CausalGraph
    reply: str
    problems: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def report(self) -> str:
        """Return a plain-text account: the graph, what could not be read, and how doubts were settled."""
        size = f"{len(self.graph.concepts)} concepts, {len(self.graph.edges)} edges"
        failed = [f"not readable: {problem}" for problem in self.problems]
        head = f"Incomplete graph: {size}." if failed else f"Graph with {size}."
        return "\n".join([head, *failed, *(f"note: {note}" for note in self.notes)])


def extract_concepts(
    vlm: VisionLanguageModel,
    image: torch.Tensor,
    description: str = "",
    *,
    max_concepts: int = 8,
    temperature: float = 0.1,
    max_tokens: int = 2048,
    seed: int = 0,
    staged: bool = False,
    readings: int = 1,
    book: PromptBook = PromptBook(),
    progress: Progress | None = None,
) -> Extraction:
    """Ask a model for the concepts of a picture and the causal edges between them.

    `image` (B, H, W, C) in [0, 1], the first is used. `description` steers what the model looks
    for. The defaults for `temperature` and `max_tokens` are the paper's. With more `readings` than one the model is asked as
    often, each time with the next seed, and the readings vote on the edges (`vote`). Never fails over a bad
    reply: the graph then holds what could be read and is marked incomplete. Raises VLMError when the
    model cannot be asked.
    """
    settings = {"temperature": temperature, "max_tokens": max_tokens, "seed": seed, "book": book, "progress": progress}
    first, read = Interview.about(vlm, image, **settings), _in_stages if staged else _at_once
    if readings <= 1:
        return read(first, description, max_concepts)
    sittings = (replace(first, seed=(seed + number) % SEEDS) for number in range(readings))
    return _voted([read(each, description, max_concepts) for each in sittings], temperature)


def _voted(readings: list[Extraction], temperature: float) -> Extraction:
    """Join several readings; its problems are those of the graph that was voted for."""
    graph, notes = vote([each.graph for each in readings])
    alike = ("At temperature 0 all readings are alike; raise it, or one reading is enough.",) if temperature == 0 else ()
    of_readings = dict.fromkeys(note for each in readings for note in each.notes)
    reply = "\n\n".join(each.reply.strip() for each in readings)
    return Extraction(graph, reply, tuple(graph.extra.get(INCOMPLETE, ())), (*notes, *alike, *of_readings))


def _at_once(interview: Interview, description: str, most: int) -> Extraction:
    values = {"description": fenced(description), "max_concepts": str(most)}
    answer = interview.ask("extract", values, GraphReply, lambda text: read_graph_reply(text, most))
    return _extraction(answer.reading, answer.reply)


def _in_stages(interview: Interview, description: str, most: int) -> Extraction:
    values = {"description": fenced(description), "max_concepts": str(most)}
    described = interview.ask("describe", values, DescriptionReply, read_description)
    values |= {
        "seen": fenced(described.reading.value["description"]),
        "base_prompt": fenced(described.reading.value["base_prompt"]),
    }
    named = interview.ask("concepts", values, ConceptsReply, lambda text: read_concepts(text, most))
    concepts = named.reading.value
    values |= {"concepts": fenced_json(_listed(concepts))}
    drawn = interview.ask("edges", values, EdgesReply, lambda text: read_edges(text, concepts))
    prompt = replace(described.reading, value=described.reading.value["base_prompt"])
    return _extraction(assemble(prompt, named.reading, drawn.reading), _transcript(described, named, drawn))


def _listed(concepts: tuple[Concept, ...]) -> list[dict[str, object]]:
    return [{"name": concept.name, "value": concept.value, "values": list(concept.values)} for concept in concepts]


def _transcript(*answers: Answer) -> str:
    return "\n\n".join(answer.reply.strip() for answer in answers)


def _extraction(reading: Reading[CausalGraph], reply: str) -> Extraction:
    return Extraction(reading.value, reply, reading.problems, reading.notes)


def concepts_from_text(text: str | list[str], max_concepts: int = MAX_CONCEPTS) -> Extraction:
    """Read a graph from any text: another model's reply, or a graph in JSON, DAGitty or DOT.

    A graph file keeps everything it carries; a reply, and a file that is no valid graph, is read as
    `extract_concepts` reads a reply. Of a list, as some nodes hand replies on, all texts count.
    """
    text = text if isinstance(text, str) else "\n\n".join(map(str, text))
    try:
        graph = read_graph(text)
    except GraphError as error:
        return _extraction(_salvaged(text, max_concepts, error), text)
    if '"version"' in text or recognise(text).format != "json":
        return Extraction(graph, text)
    reading = read_graph_reply(text, max_concepts)
    return Extraction(graph, text) if graph.concepts and not reading.value.concepts else _extraction(reading, text)


def _salvaged(text: str, most: int, error: GraphError) -> Reading[CausalGraph]:
    """Read what can be read of a text that is no valid graph; `error` says what is wrong with it as one."""
    try:
        broken = error.line is not None and recognise(text).format != "json"  # read again, it would break there again
        data, drawn = None if broken else drawn_data(text), broken
    except GraphError:
        data, drawn = None, True
    if data is not None:
        return read_graph_data(data, most)
    reading = read_graph_reply(text, most)
    if drawn and not reading.value.concepts:
        return Reading(CausalGraph(extra={INCOMPLETE: [str(error)]}), (str(error),))
    return reading
