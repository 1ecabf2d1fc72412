"""From an intervention to the counterfactual: what changes, what must stay, and how to say it.

The steps are Pearl's: the factual picture holds what cannot be observed (abduction), do(X = x)
changes the graph (action), and proposals for the descendants carry the effect on (prediction).
Whatever is not downstream of the intervention is clamped to its factual value.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from .graph import MAX_PROMPT, CausalGraph, Concept, GraphError, normal

ALL_CHANGES = "intervened + descendants"
DESCENDANTS_ONLY = "descendants only (paper)"
INTERVENED_ONLY = "intervened only"
SELECTIONS = (ALL_CHANGES, DESCENDANTS_ONLY, INTERVENED_ONLY)
LOCAL = "local"


@dataclass(frozen=True)
class Proposal:
    """The value that is expected of a descendant after the intervention, and why."""

    value: str
    reason: str = ""


@dataclass(frozen=True)
class Change:
    """The factual and the counterfactual value of one concept.

    `role` is "intervened", "descendant" (of an intervention that changes something) or "preserved".
    `source` says who set the counterfactual value: "intervention", the source of a proposal
    ("by hand", "vlm", ...) or "kept".
    """

    concept: str
    factual: str
    counterfactual: str
    role: str
    source: str
    reason: str = ""

    @property
    def changed(self) -> bool:
        """Whether the counterfactual differs from the fact."""
        return self.factual != self.counterfactual


@dataclass(frozen=True)
class ConceptPhrase:
    """One concept edit in words: towards `phrase`, away from `factual_phrase`.

    An empty `phrase` asks for the removal of what `factual_phrase` shows.
    """

    concept: str
    phrase: str
    factual_phrase: str
    scope: str
    role: str

    @property
    def removes(self) -> bool:
        """Whether the edit takes something away instead of showing something new."""
        return not self.phrase.strip()


@dataclass(frozen=True)
class Counterfactual:
    """The answer to "what if": every concept's value before and after, in topological order.

    `graph` keeps its interventions; `notes` say what was clamped back and what has no proposal;
    `prompt` is the interventional prompt.
    """

    graph: CausalGraph
    changes: tuple[Change, ...]
    notes: tuple[str, ...]
    prompt: str

    @property
    def changed(self) -> tuple[Change, ...]:
        """The changes that really differ from the facts."""
        return tuple(change for change in self.changes if change.changed)

    def __getitem__(self, concept: str) -> Change:
        """Return the change of a concept; raises GraphError when the graph has none so called."""
        name = self.graph[concept].name
        return next(change for change in self.changes if change.concept == name)

    def edits(self, which: str = ALL_CHANGES) -> tuple[ConceptPhrase, ...]:
        """Return the concept edits that turn the factual picture into the counterfactual.

        "intervened + descendants" is every change. "descendants only (paper)" leaves the intervened
        concepts out, unless no descendant changed: then they are all there is to edit. "intervened only"
        leaves out what follows: an edit that knows no causes. Raises ValueError for another selection.
        """
        if which not in SELECTIONS:
            raise ValueError(f"Got the selection {which!r}; expected one of {', '.join(map(repr, SELECTIONS))}.")
        role = {DESCENDANTS_ONLY: "descendant", INTERVENED_ONLY: "intervened"}.get(which)
        chosen = tuple(change for change in self.changed if change.role == role)
        return tuple(self._edit(change) for change in chosen or self.changed)

    def unchanged(self) -> tuple[ConceptPhrase, ...]:
        """Return the phrases of what is there to see and keeps its value, whether or not an intervention reaches it."""
        phrases = (self._edit(change) for change in self.changes if not change.changed)
        return tuple(phrase for phrase in phrases if not phrase.removes)

    def preserved(self) -> tuple[ConceptPhrase, ...]:
        """Return the phrases of what is unchanged and has a place: global concepts have none."""
        return tuple(phrase for phrase in self.unchanged() if phrase.scope == LOCAL)

    def _edit(self, change: Change) -> ConceptPhrase:
        concept = self.graph[change.concept]
        return ConceptPhrase(
            concept=change.concept,
            phrase=concept.phrase(change.counterfactual),
            factual_phrase=concept.phrase(change.factual),
            scope=concept.scope,
            role=change.role,
        )

    def table(self) -> dict[str, dict[str, str]]:
        """Return what the editor shows of each concept, as plain JSON data."""
        fields = ("factual", "counterfactual", "role", "source", "reason")
        return {change.concept: {field: getattr(change, field) for field in fields} for change in self.changes}

    def report(self) -> str:
        """Return a plain-text account for the artist."""
        actions = ", ".join(f"do({name} = {value})" for name, value in self.graph.interventions.items())
        preserved = [change.concept for change in self.changes if change.role == "preserved"]
        lines = [actions or "No intervention: nothing changes."]
        lines += [_line(change) for change in self.changes if change.role != "preserved"]
        lines += [f"preserved: {', '.join(preserved)}"] if preserved else []
        lines += [f"note: {note}" for note in (*self.notes, *_unspoken_note(self.graph))]
        return "\n".join([*lines, f"prompt: {self.prompt}"])


def unspoken(graph: CausalGraph) -> dict[str, str]:
    """Return the concepts whose factual phrase does not stand in the base prompt, with it; none where there is no prompt."""
    phrases = {concept.name: concept.phrase().strip() for concept in graph.concepts} if graph.base_prompt.strip() else {}
    return {name: phrase for name, phrase in phrases.items() if phrase and not stands_in(graph.base_prompt, phrase)}


def _unspoken_note(graph: CausalGraph) -> list[str]:
    missing = [f"{name} ({phrase!r})" for name, phrase in unspoken(graph).items()]
    return [f"the base prompt lacks the words of {', '.join(missing)}; an edit may not find them. Add them to it."] if missing else []


def _line(change: Change) -> str:
    values = f"{change.factual} -> {change.counterfactual}" if change.changed else f"stays {change.factual}"
    why = f" ({change.reason})" if change.reason else ""
    return f"{change.role}: {change.concept}: {values}, {change.source}{why}"


def propagate(
    graph: CausalGraph,
    proposals: Mapping[str, str | Proposal],
    *,
    source: str = "by hand",
    prompt: str | None = None,
) -> Counterfactual:
    """Carry the graph's pending interventions to their descendants.

    `proposals` give the values expected of descendants. One that touches anything else is clamped
    back and noted; a descendant without one keeps its factual value, noted too. `prompt` is the
    interventional prompt; by default the base prompt with the changed phrases exchanged.
    Raises GraphError for an unknown concept or a value outside its domain.
    """
    wanted = {name: p if isinstance(p, Proposal) else Proposal(p) for name, p in proposals.items()}
    for name, proposal in wanted.items():
        graph[name].phrase(proposal.value)
    changes, notes = _settle(graph, wanted, source)
    if prompt is None:
        prompt = interventional_prompt(graph, changes)
    return Counterfactual(graph, changes, notes, prompt)


def _settle(
    graph: CausalGraph, wanted: Mapping[str, Proposal], source: str
) -> tuple[tuple[Change, ...], tuple[str, ...]]:
    descendants = graph.descendants_of_interventions()
    changes, notes = [], []
    for name in graph.topological_order():
        concept, proposal = graph[name], wanted.get(name)
        if name in descendants:
            change, note = _descendant(concept, proposal, source)
        else:
            change, note = _clamped(concept, proposal, graph.interventions.get(name))
        changes.append(change)
        notes += [note] if note else []
    return tuple(changes), tuple(notes)


def _descendant(concept: Concept, proposal: Proposal | None, source: str) -> tuple[Change, str]:
    if proposal is None:
        change = Change(concept.name, concept.value, concept.value, "descendant", "kept")
        return change, f"{concept.name} has no proposal and keeps its value {concept.value!r}."
    return Change(concept.name, concept.value, proposal.value, "descendant", source, proposal.reason), ""


def _clamped(concept: Concept, proposal: Proposal | None, action: str | None) -> tuple[Change, str]:
    """Settle a concept that no proposal may move: an intervened or a preserved one."""
    role, source = ("preserved", "kept") if action is None else ("intervened", "intervention")
    value = concept.value if action is None else action
    change = Change(concept.name, concept.value, value, role, source)
    if proposal is None or proposal.value == value:
        return change, ""
    why = "it is no descendant of the intervention" if action is None else f"do({concept.name} = {action}) fixes it"
    return change, f"{concept.name} was proposed as {proposal.value!r} but stays {value!r}: {why}."


def interventional_prompt(graph: CausalGraph, changes: Iterable[Change]) -> str:
    """Return the base prompt with each changed concept's factual phrase exchanged for the new one.

    A phrase is found as whole words, whatever its case; one that is not found is appended. All are
    exchanged at once, so that a new phrase is never exchanged again.
    """
    new_phrases: dict[str, list[str]] = {}
    for change in changes:
        if change.changed:
            concept = graph[change.concept]
            new_phrases.setdefault(concept.phrase(change.factual), []).append(concept.phrase(change.counterfactual))
    return _exchange(graph.base_prompt, new_phrases)


def _exchange(prompt: str, new_phrases: Mapping[str, list[str]]) -> str:
    prompt = normal(prompt)
    parts, done, exchanged = [], 0, set()
    for start, stop, old in _occurrences(prompt, [phrase for phrase in new_phrases if phrase.strip()]):
        parts += [prompt[done:start], _with_case_of(prompt[start:stop], new_phrases[old][0])]
        done = stop
        exchanged.add(old)
    parts.append(prompt[done:])
    added = [new for old, news in new_phrases.items() for new in (news[1:] if old in exchanged else news)]
    if sum(map(len, parts)) + sum(map(len, added)) > MAX_PROMPT:
        raise GraphError(
            f"The prompt after the intervention has more than {MAX_PROMPT} characters. Shorten the base prompt or the phrases."
        )
    prompt = "".join(parts)
    if any("" in news for news in new_phrases.values()):
        prompt = _close_gaps(prompt)
    return ", ".join(part for part in [prompt, *added] if part.strip())


def stands_in(prompt: str, phrase: str) -> bool:
    """Whether a phrase stands in a prompt as whole words, so that it can be exchanged there."""
    return bool(phrase.strip()) and bool(_occurrences(normal(prompt), [phrase]))


def _occurrences(prompt: str, phrases: Sequence[str]) -> list[tuple[int, int, str]]:
    """Where phrases stand in a prompt as whole words, (start, stop, phrase): the leftmost first, of those the longest.

    Case, kinds of apostrophe, composed accents and the width of gaps do not count.
    """
    text, places = _canonical(prompt)
    matches = []
    for phrase in phrases:
        sought, _ = _canonical(normal(phrase).strip())
        at = text.find(sought)
        while at >= 0:
            stop = at + len(sought)
            if not (_in_one_word(text[at - 1 : at], text[at]) or _in_one_word(text[stop - 1], text[stop : stop + 1])):
                matches.append((places[at], places[stop - 1] + 1, phrase))
            at = text.find(sought, at + 1)
    chosen, done = [], 0
    for start, stop, phrase in sorted(matches, key=lambda match: (match[0], -match[1])):
        if start >= done:
            chosen.append((start, stop, phrase))
            done = stop
    return chosen


def _canonical(text: str) -> tuple[str, list[int]]:
    """A text as it is compared, and where in the original each of its letters stands."""
    letters: list[str] = []
    places = []
    for place, letter in enumerate(text):
        low = letter.lower()
        letter = " " if letter.isspace() else _ALIKE.get(letter, low if len(low) == 1 else letter)
        if letter != " " or not letters or letters[-1] != " ":
            letters.append(letter)
            places.append(place)
    return "".join(letters), places


_ALIKE = {"\u2018": "'", "\u2019": "'", "\u02bc": "'", "\u2010": "-", "\u2011": "-"}
# scripts that write words without blanks: Thai, Lao, Burmese, Khmer, kana, Chinese characters
_UNSPACED = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3005-\u3007\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]"
)


def _in_one_word(before: str, after: str) -> bool:
    """Whether two neighbouring letters belong to one word."""
    both = before + after
    return len(both) == 2 and all(letter.isalnum() or letter == "_" for letter in both) and not _UNSPACED.search(both)


def _with_case_of(old: str, new: str) -> str:
    return new[:1].upper() + new[1:] if old[:1].isupper() else new


def _close_gaps(prompt: str) -> str:
    """Close what a removed phrase leaves open between spaces and commas."""
    prompt = re.sub(r"[ \t]{2,}", " ", prompt)
    prompt = re.sub(r" (?=[,.;])", "", prompt)
    return re.sub(r",(?: ?,)+", ",", prompt).strip(" ,")
