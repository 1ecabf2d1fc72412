"""Reading a model's replies: nothing in them is trusted, and nothing readable is lost.

Every reader returns a `Reading`: what could be read, always valid; the `problems` that make it
incomplete, each naming its field, worth asking again for; and the `notes` on what was settled on the
way. No reader raises on any text.

Outcomes: a concept named twice counts once; edges to unknown names, to themselves or drawn twice go;
each edge that closes a cycle becomes a proposal, which the editor draws dashed and nothing
follows; a factual value missing in its domain is added to it; concepts, values and edges beyond the
limits go; text in any language is kept.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ValidationError

from ..causal.graph import MAX_CONCEPTS, CausalGraph, Concept, Edge
from .cycles import without_cycles
from .jsontext import Found, decoded, find_object, spoken
from .schemas import ConceptReply, EdgeReply, SuggestionReply, ValueReply, phrase, plain

T = TypeVar("T")
M = TypeVar("M", bound=BaseModel)

INCOMPLETE = "incomplete"
MAX_EDGES = 400
MAX_ENTRIES = 1000  # of a list that are looked at
MAX_VALUES = 24
MAX_PROBLEMS = 12
NO_JSON = "The reply has no JSON object."
BROKEN_OFF = "The reply breaks off before its JSON object is closed; more max_tokens may help."


@dataclass(frozen=True)
class Reading(Generic[T]):
    """What could be read of a reply, what failed, and what was settled."""

    value: T
    problems: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def complete(self) -> bool:
        """Whether nothing failed."""
        return not self.problems

    @property
    def damage(self) -> tuple[bool, int]:
        """For comparing two readings: whether nothing at all could be read, then the number of problems."""
        return NO_JSON in self.problems, len(self.problems)


@dataclass(frozen=True)
class Suggested:
    """One suggested intervention as the model wrote it."""

    concept: str
    value: str
    reason: str
    values: tuple[ValueReply, ...]
    prompt: str


# ---------------------------------------------------------------------------------------- the graph


def read_graph_reply(text: str, max_concepts: int = MAX_CONCEPTS) -> Reading[CausalGraph]:
    """Read a causal graph; an incomplete one carries its problems under the key `incomplete`."""
    data, problems, notes = _object(text, ("concepts", "edges", "base_prompt"))
    reading = read_graph_data(data, max_concepts, problems)
    return replace(reading, notes=notes + reading.notes)


def read_graph_data(
    data: Mapping[str, Any], max_concepts: int = MAX_CONCEPTS, problems: tuple[str, ...] = ()
) -> Reading[CausalGraph]:
    """Read a causal graph from decoded JSON, with the problems that there were before."""
    prompt = _read_prompt(data, "base_prompt")
    concepts = _read_concepts(data, max_concepts)
    edges = _read_edges(data, concepts.value)
    return assemble(prompt, concepts, edges, problems)


def read_description(text: str) -> Reading[dict[str, str]]:
    """Read the picture's `description` and `base_prompt`."""
    data, problems, notes = _object(text, ("description", "base_prompt"))
    prompt = _read_prompt(data, "base_prompt")
    description = plain(data.get("description"))
    value = {"description": description if isinstance(description, str) else "", "base_prompt": prompt.value}
    return Reading(value, (problems or prompt.problems)[:MAX_PROBLEMS], notes)


def read_concepts(text: str, max_concepts: int = MAX_CONCEPTS) -> Reading[tuple[Concept, ...]]:
    """Read a list of concepts."""
    data, problems, notes = _object(text, ("concepts",))
    reading = _read_concepts(data, max_concepts)
    return replace(reading, problems=problems or reading.problems, notes=notes + reading.notes)


def read_edges(text: str, concepts: Iterable[Concept]) -> Reading[tuple[Edge, ...]]:
    """Read the edges between known concepts."""
    data, problems, notes = _object(text, ("edges",))
    reading = _read_edges(data, tuple(concepts))
    return replace(reading, problems=problems or reading.problems, notes=notes + reading.notes)


def assemble(
    prompt: Reading[str],
    concepts: Reading[tuple[Concept, ...]],
    edges: Reading[tuple[Edge, ...]],
    problems: tuple[str, ...] = (),
) -> Reading[CausalGraph]:
    """Join what was read of prompt, concepts and edges to one graph."""
    missing = () if problems == (NO_JSON,) else prompt.problems + concepts.problems + edges.problems
    problems = (problems + missing)[:MAX_PROBLEMS]
    extra: dict[str, Any] = {INCOMPLETE: list(problems)} if problems else {}
    graph = CausalGraph(prompt.value, concepts.value, edges.value, extra=extra)
    return Reading(graph, problems, prompt.notes + concepts.notes + edges.notes)


def _object(text: str, wanted: tuple[str, ...]) -> tuple[dict[str, Any], tuple[str, ...], tuple[str, ...]]:
    """The object that a reply holds, what is wrong with it, and what was settled."""
    answer: Found | None = find_object(text, wanted)
    if answer is None:
        return {}, (NO_JSON,), ()
    notes = (f"The reply answers {answer.aside + 1} times, not always the same; its fullest answer is read, of equals the last.",)
    return answer.data, (BROKEN_OFF,) if answer.broken_off else (), notes if answer.aside else ()


def _read_prompt(data: Mapping[str, Any], key: str) -> Reading[str]:
    text = phrase(data.get(key), 1000)
    if isinstance(text, str) and text:
        return Reading(text)
    return Reading("", (f"{key}: expected a sentence, got {_shown(data.get(key))}.",))


def _read_concepts(data: Mapping[str, Any], most: int) -> Reading[tuple[Concept, ...]]:
    items, problems = _items(data, "concepts", ConceptReply)
    concepts, notes = _distinct([_concept(item) for item in items])
    notes += tuple(
        f"{item.name!r} has {len(item.values)} values; the first {MAX_VALUES} are kept."
        for item in items
        if len(item.values) > MAX_VALUES
    )
    if not concepts and not problems:
        problems = ("concepts: the list is empty; name at least one concept.",)
    most = min(most, MAX_CONCEPTS)
    if len(concepts) > most:
        notes += (f"{len(concepts)} concepts were named; the first {most} are kept.",)
    return Reading(concepts[:most], problems, notes)


def _concept(item: ConceptReply) -> Concept:
    truth = {"yes": "true", "no": "false"}.get(item.value, "")  # truth values are read as yes and no
    value = _match(item.value, item.values) or _match(truth, item.values) or item.value
    values = dict(list(item.values.items())[:MAX_VALUES])
    if value not in values:
        values = {value: item.values.get(value, phrase(value) or value), **values}
    return Concept(item.name, value, values, item.scope, item.description)


def _distinct(concepts: list[Concept]) -> tuple[tuple[Concept, ...], tuple[str, ...]]:
    first: dict[str, Concept] = {}
    notes = []
    for concept in concepts:
        if first.setdefault(_folded(concept.name), concept) is not concept:
            notes.append(f"{concept.name!r} was named twice; the first is kept.")
    return tuple(first.values()), tuple(dict.fromkeys(notes))


def _read_edges(data: Mapping[str, Any], concepts: tuple[Concept, ...]) -> Reading[tuple[Edge, ...]]:
    items, problems = _items({"edges": _pairs(data.get("edges"))}, "edges", EdgeReply)
    names = [concept.name for concept in concepts]
    edges: dict[tuple[str, str], Edge] = {}
    notes = [f"{len(items)} edges were drawn; the first {MAX_EDGES} are read."] if len(items) > MAX_EDGES else []
    for item in items[:MAX_EDGES]:
        edge = _edge(item, names)
        if edge is None:
            notes.append(
                f"The edge {item.cause} -> {item.effect} does not join two different concepts and is left out."
            )
        else:
            edges.setdefault((edge.cause, edge.effect), edge)
    kept, doubted = without_cycles(tuple(edges.values()))
    notes += [f"The edge {edge} would close a cycle; it becomes a proposal, without effect." for edge in doubted]
    return Reading(kept, problems, tuple(notes))


def _pairs(edges: Any) -> Any:
    """Accept {cause: effect} and {cause: [effect, ...]} for a list of edges."""
    if not isinstance(edges, dict) or not all(isinstance(each, (str, list)) for each in edges.values()):
        return edges
    effects = {cause: each if isinstance(each, list) else [each] for cause, each in edges.items()}
    return [[cause, effect] for cause, each in effects.items() for effect in each]


def _edge(item: EdgeReply, names: list[str]) -> Edge | None:
    cause, effect = matching_name(item.cause, names), matching_name(item.effect, names)
    if cause is None or effect is None or cause == effect:
        return None
    return Edge(cause, effect, item.reason, item.status)


# ------------------------------------------------------------------------- values and interventions


def read_values(text: str) -> Reading[tuple[tuple[ValueReply, ...], str]]:
    """Read (values, interventional prompt) of a propagation; nothing is checked against a graph."""
    data, problems, notes = _object(text, ("values", "prompt"))
    if problems == (NO_JSON,):
        return Reading(((), ""), problems)
    items, failed = _items(data, "values", ValueReply, name_key="concept")
    prompt = _read_prompt(data, "prompt")
    return Reading((tuple(items), prompt.value), (problems + failed + prompt.problems)[:MAX_PROBLEMS], notes)


def read_suggestions(text: str) -> Reading[tuple[Suggested, ...]]:
    """Read suggested interventions; nothing is checked against a graph."""
    data, problems, notes = _object(text, ("interventions",))
    if problems == (NO_JSON,):
        return Reading((), problems)
    suggested = []
    for index, raw in enumerate(_listed(data.get("interventions"), "concept")):
        values, failed = _items(raw, "values", ValueReply, name_key="concept") if isinstance(raw, dict) else ([], ())
        bare = {key: value for key, value in raw.items() if key != "values"} if isinstance(raw, dict) else raw
        item, wrong = _validated(SuggestionReply, bare, f"interventions[{index}]")
        inside = tuple(f"interventions[{index}].{problem}" for problem in failed)
        problems += wrong if item is None else wrong + inside
        if item is not None:
            suggested.append(Suggested(item.concept, item.value, item.reason, tuple(values), item.prompt))
    if not suggested and not problems:
        problems = ("interventions: the list is missing or empty.",)
    return Reading(tuple(suggested), problems[:MAX_PROBLEMS], notes)


def matching_value(concept: Concept, value: str) -> str | None:
    """Return the value of the domain that `value`, perhaps its phrase, means but for case; or None."""
    by_phrase = {words: key for key, words in concept.values.items() if words}
    return _match(value, concept.values) or by_phrase.get(_match(value, by_phrase) or "")


def matching_name(name: str, names: Iterable[str]) -> str | None:
    """Return the concept name that `name` means but for case, spaces and hyphens, or None."""
    return _match(name, names)


# --------------------------------------------------------------------------------------- yes or no

_YES = ("yes", "true", "y", "ja", "oui", "si", "sí", "sim", "da", "да", "是的", "是", "对", "對", "はい", "ええ", "예", "네")
_NO = ("no", "false", "n", "nein", "non", "não", "нет", "不是", "不对", "不對", "没有", "沒有", "否", "不", "いいえ", "아니요", "아니오")
_CJK = "\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af"
_VERDICT = "|".join(sorted((*_YES, *_NO), key=len, reverse=True))
_WORD = re.compile(rf"(?<![^\W{_CJK}])({_VERDICT})(?![^\W{_CJK}])")
_FIRST = re.compile(rf"\W*({_VERDICT})(?!否)(?![^\W{_CJK}])")
_DECLARED = re.compile(
    r"(?:answer|verdict|conclusion|result|response|antwort|réponse|respuesta|resposta|ответ|答案|回答|結論|结论|答え|정답|답)"
    rf"\W*(?:is|are|would be|est|ist|es|é|是|为|為|は|은|는)?[\s:：\"'*“「]*({_VERDICT})(?![^\W{_CJK}])"
)
_LAST = re.compile(rf"(?<![^\W{_CJK}])({_VERDICT})\W*\Z")
_NEITHER = re.compile(
    r"\byes\W*(?:or|and|/|\|)\W*no\b|\bno\W*(?:or|and|/|\|)\W*yes\b|是\W*[/或]\W*否|是否"
    r"|\bnot (?:a |an )?[\"'*]*(?:yes|no|true|false)\b|\bno (?:longer|doubt|question|idea)\b"
)
# "no" that counts things ("no sun") declares nothing; one that is followed by a pause or a whole sentence does
_COUNTS = re.compile(r"\W*(?:no|non|n)[^\S\n]+(?!(?:it|there|this|that|the|they|i|he|she|we)\b)\w")


def read_answer(text: str) -> Reading[bool | None]:
    """Read a yes or a no, from JSON or from prose; None when it is neither, or both.

    Prose declares it ("The answer is yes, because there is no sun"), or says it with its first word ("No, the road is
    dry.") or its last ("I see no rain, so yes."). Without a declaration one of the two words alone counts.
    """
    text = spoken(text)
    given = find_object(text, ("answer",))
    answer = plain(given.data.get("answer")) if given and "answer" in given.data else plain(text, len(text))
    verdict = _verdict(text if given is None or "answer" not in given.data else answer) if isinstance(answer, str) else None
    problems = () if verdict is not None else (f"answer: expected yes or no, got {_shown(answer)}.",)
    return Reading(verdict, problems)


def _verdict(text: str) -> bool | None:
    text = _NEITHER.sub(" ", text.casefold())
    declared = {match[1] in _YES for match in _DECLARED.finditer(text)}
    if declared:
        return declared.pop() if len(declared) == 1 else None
    first = None if _COUNTS.match(text) else _FIRST.match(text)
    ends = {match[1] in _YES for match in (first, _LAST.search(text)) if match}
    if not ends:
        ends = {match[1] in _YES for match in _WORD.finditer(text) if match[1].isascii() or not re.match(f"[{_CJK}]", match[1])}
    return ends.pop() if len(ends) == 1 else None


# ------------------------------------------------------------------------------------------- pieces


def _items(
    data: Mapping[str, Any], key: str, model: type[M], name_key: str = "name"
) -> tuple[list[M], tuple[str, ...]]:
    """Read the list under `key` item by item; what cannot be read becomes a problem."""
    content = data.get(key)
    if isinstance(content, str) and content.strip():
        content = decoded(content) or [line.strip(" \t-*") for line in re.split(r"[\n;]", content) if line.strip(" \t-*")]
    if not isinstance(content, (list, dict)):
        return [], (f"{key}: expected a list, got {_shown(data.get(key))}.",)
    items, problems = [], []
    for index, raw in enumerate(_listed(content, name_key)[:MAX_ENTRIES]):
        item, wrong = _validated(model, raw, f"{key}[{index}]")
        items += [] if item is None else [item]
        problems += wrong
    return items, tuple(problems[:MAX_PROBLEMS])


def _listed(data: Any, name_key: str) -> list[Any]:
    """Accept {name: item} where [item, ...] was asked for."""
    if isinstance(data, dict):
        return [
            {name_key: name, **(item if isinstance(item, dict) else {"value": item})} for name, item in data.items()
        ]
    if not isinstance(data, list):
        return []
    return [each for item in data for each in (item if isinstance(item, list) and item and isinstance(item[0], (dict, list)) else [item])]


def _validated(model: type[M], raw: Any, place: str) -> tuple[M | None, tuple[str, ...]]:
    """Read one item; with a problem, as much of it as stands without what is wrong, or None."""
    raw = {str(key).strip().lower(): value for key, value in raw.items()} if isinstance(raw, dict) else raw
    try:
        return model.model_validate(raw), ()
    except ValidationError as error:
        wrong = error.errors(include_url=False, include_context=False)
    first = wrong[0]
    field = ".".join(str(part) for part in first["loc"])
    problem = f"{place}{'.' if field else ''}{field}: {first['msg']}, got {_shown(first['input'])}."
    return _salvaged(model, raw, [each["loc"] for each in wrong]), (problem,)


def _salvaged(model: type[M], raw: Any, wrong: list[tuple[int | str, ...]]) -> M | None:
    """Read an item without the wrong entries of its fields, else without its wrong fields; None when it needs them."""
    if not isinstance(raw, dict):
        return None
    if len(wrong) > MAX_ENTRIES:
        return None
    for rest in (_without_entries(raw, wrong), {key: raw[key] for key in raw if (key,) not in {loc[:1] for loc in wrong}}):
        with suppress(ValidationError):
            return model.model_validate(rest)
    return None


def _without_entries(raw: dict[str, Any], wrong: list[tuple[int | str, ...]]) -> dict[str, Any]:
    ends = _folded_ends(wrong)
    return {
        field: {key: each for key, each in value.items() if (field, _folded(str(key))) not in ends}
        if isinstance(value, dict)
        else value
        for field, value in raw.items()
    }


def _folded_ends(wrong: list[tuple[int | str, ...]]) -> set[tuple[int | str, ...]]:
    return {(loc[0], _folded(str(loc[1]))) for loc in wrong if len(loc) > 1}


def _match(word: str, words: Iterable[str]) -> str | None:
    """Return the known word that is meant but for case, spaces and hyphens.

    No slip of the pen is allowed: "visible" is too near to "invisible", "lamp 1" to "lamp 2".
    """
    words = list(words)
    return word if word in words else {_folded(other): other for other in reversed(words)}.get(_folded(word))


def _folded(word: str) -> str:
    return re.sub(r"[\s_-]+", " ", word.casefold()).strip()


def _shown(data: Any) -> str:
    text = plain(repr(data), 60) if data is not None else "nothing"
    return text if len(text) < 60 else text[:57] + "..."
