"""A counterfactual in the words that edit models follow: what to change, in the order of causes, and what to keep."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from string import Template

from .counterfactual import LOCAL, ConceptPhrase, Counterfactual

WORDING = Path(__file__).with_name("instruction.txt")


@cache
def _sentences() -> dict[str, Template]:
    """The sentences of the template file, by name."""
    lines = (line for line in WORDING.read_text(encoding="utf-8").splitlines() if line.strip() and not line.startswith("#"))
    return {name: Template(sentence.strip()) for name, _, sentence in (line.partition(":") for line in lines)}


def instruction(counterfactual: Counterfactual) -> str:
    """The counterfactual as one paragraph in the imperative; causes come before their effects.

    What follows from an intervention is worded as a consequence. Everything that is there to see and keeps its value is
    named; a global change may bring its light along.
    """
    edits = counterfactual.edits()
    if not edits:
        return _sentences()["nothing"].substitute()
    kept = [_flat(each.factual_phrase) for each in counterfactual.unchanged()]
    parts = [_changed(edit) for edit in edits]
    parts += [_sentences()["keep"].substitute(phrases=", ".join(kept))] if kept else []
    frame = "rest" if all(edit.scope == LOCAL for edit in edits) else "light"
    return " ".join([*parts, _sentences()[frame].substitute()])


def row(edit: ConceptPhrase) -> str:
    """One change alone as an instruction; the words of its phrase stand in it, or, of what goes, those of the factual one."""
    return _sentence("row ", edit)


def as_it_is(counterfactual: Counterfactual) -> str:
    """The instruction that changes nothing, and names everything that is there to see."""
    phrases = [_flat(concept.phrase()) for concept in counterfactual.graph.concepts]
    shown = [phrase for phrase in phrases if phrase]
    return _sentences()["as it is"].substitute(phrases=", ".join(shown)) if shown else _sentences()["nothing"].substitute()


def _sentence(prefix: str, edit: ConceptPhrase) -> str:
    kind = "remove" if edit.removes else "change" if edit.factual_phrase.strip() else "add"
    words = {"concept": _flat(edit.concept), "factual": _flat(edit.factual_phrase), "phrase": _flat(edit.phrase)}
    return _sentences()[prefix + kind].substitute(words)


def _changed(edit: ConceptPhrase) -> str:
    """One change as a sentence."""
    sentence = _sentence("", edit)
    if edit.role != "descendant":
        return sentence
    return _sentences()["follow"].substitute(sentence=sentence[:1].lower() + sentence[1:])


def _flat(words: str) -> str:
    """Words on one line."""
    return " ".join(words.split())
