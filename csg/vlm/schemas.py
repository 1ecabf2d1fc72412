"""The form of every reply that a model is asked for.

The same classes make the JSON schemas that constrain decoding and read what comes back, item by
item. Reading is generous about form (numbers as texts, lists as domains, other names for a key) and
strict about content: text is cleaned of control characters and of prompt syntax, and cut to length.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import AliasChoices, BaseModel, BeforeValidator, Field, StringConstraints, model_validator

from .jsontext import decoded

MAX_NAME = 60
MAX_PHRASE = 200
MAX_TEXT = 1000

_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff\ud800-\udfff]")
_PROMPT_SYNTAX = re.compile(r"[()\\{}|]|<[^<>]*>")


def plain(text: Any, longest: int = MAX_TEXT) -> Any:
    """Return text on one line, without control, invisible or direction characters, cut to length.

    Numbers and truth values become text; anything else is returned as it is, and refused by the schema.
    """
    if isinstance(text, bool):
        text = "yes" if text else "no"
    if isinstance(text, int) and abs(text) < 10**longest:
        text = str(text)
    if isinstance(text, float):
        text = f"{text:.12g}"
    if not isinstance(text, str):
        return text
    return " ".join(_UNPRINTABLE.sub(" ", text).split())[:longest].strip()


def phrase(text: Any, longest: int = MAX_PHRASE) -> Any:
    """Return text for a prompt: plain, and without weights, embeddings, LoRA tags or choices."""
    text = plain(text, longest)
    if not isinstance(text, str):
        return text
    return plain(re.sub(r"(?i)\bembedding\s*:", "", _PROMPT_SYNTAX.sub(" ", text)))


def _name(text: Any) -> Any:
    """Names and values also go without the signs that separate assignments, `a = b; c = d # ...`."""
    text = plain(text, MAX_NAME)
    return plain(re.sub("[=;#]", " ", text)) if isinstance(text, str) else text


def _optional(text: Any) -> Any:
    return "" if text is None else plain(text)


def _optional_phrase(text: Any) -> Any:
    return "" if text is None else phrase(text)


def _scope(scope: Any) -> Any:
    return "global" if plain(scope) in ("global", "Global", "GLOBAL") else "local"


def _domain(values: Any) -> Any:
    """Accept {value: phrase}, [value, ...], [{"value": ..., "phrase": ...}, ...] and "value, value"."""
    if isinstance(values, str):
        inner = decoded(values)
        values = [each.strip() for each in re.split(r"[,;|/\n]|\bor\b", values) if each.strip()] if inner is None else inner
    if isinstance(values, list):
        values = dict(map(_value_and_phrase, values))
    if not isinstance(values, dict):
        return {}
    named = {_name(value): phrase("" if words is None else words) for value, words in values.items()}
    return {value: words for value, words in named.items() if isinstance(value, str) and value}


def _value_and_phrase(item: Any) -> tuple[Any, Any]:
    if isinstance(item, dict):
        value = item.get("value", item.get("name"))
        item, words = value, item.get("phrase", value)
    else:
        words = item
    return (item, words) if isinstance(item, (str, int, float)) else ("", "")


_ARROW = re.compile(r"\s*(?:-{1,2}>|=>|\u2192|\u27f6|<-{1,2}|\u2190)\s*|\s+(?:causes|affects|influences|determines)\s+")


def _edge(data: Any) -> Any:
    """Accept "cause -> effect", [cause, effect] and [cause, effect, reason] for an edge."""
    if isinstance(data, str):
        ends = _ARROW.split(data, maxsplit=1)
        data = ends[::-1] if len(ends) == 2 and re.search("<-|\u2190", data) else ends
    if isinstance(data, (list, tuple)) and 2 <= len(data) <= 3 and all(isinstance(each, str) for each in data):
        return dict(zip(("cause", "effect", "reason"), data, strict=False))
    return data


def _assignment(data: Any) -> Any:
    """Accept "name = value", "name: value" and [name, value] for a concept and its value."""
    if isinstance(data, str):
        data = re.split(r"\s*[=:]\s*", data, maxsplit=1)
    if isinstance(data, (list, tuple)) and len(data) == 2 and all(isinstance(each, str) for each in data):
        return dict(zip(("name", "value"), data, strict=True))
    return data


Name = Annotated[str, BeforeValidator(_name), StringConstraints(min_length=1)]
Text = Annotated[str, BeforeValidator(_optional)]
Phrase = Annotated[str, BeforeValidator(_optional_phrase)]
Prompt = Annotated[str, BeforeValidator(lambda text: phrase(text, MAX_TEXT)), StringConstraints(min_length=1)]


def _called(*names: str) -> Any:
    return Field(validation_alias=AliasChoices(*names))


class ConceptReply(BaseModel):
    """One concept, its factual value and its domain."""

    name: Name = _called("name", "concept", "id")
    value: Name = _called("value", "current_value", "factual_value", "current", "state")
    values: Annotated[dict[str, str], BeforeValidator(_domain)] = Field(
        default={}, validation_alias=AliasChoices("values", "domain", "possible_values", "states", "options")
    )
    scope: Annotated[Literal["local", "global"], BeforeValidator(_scope)] = "local"
    description: Text = ""

    _shorthand = model_validator(mode="before")(_assignment)


class EdgeReply(BaseModel):
    """One direct causal influence."""

    cause: Name = _called("cause", "from", "source", "parent", "src", "start", "cause_concept", "cause_name")
    effect: Name = _called("effect", "to", "target", "child", "dst", "end", "effect_concept", "effect_name")
    reason: Text = ""
    status: Annotated[
        Literal["confirmed", "proposed"], BeforeValidator(lambda s: "proposed" if s == "proposed" else "confirmed")
    ] = "confirmed"

    _shorthand = model_validator(mode="before")(_edge)


class GraphReply(BaseModel):
    """The causal graph of a picture."""

    base_prompt: Prompt
    concepts: list[ConceptReply]
    edges: list[EdgeReply]


class DescriptionReply(BaseModel):
    """First stage: the picture in words."""

    description: Text
    base_prompt: Prompt


class ConceptsReply(BaseModel):
    """Second stage: the concepts."""

    concepts: list[ConceptReply]


class EdgesReply(BaseModel):
    """Third stage: the edges."""

    edges: list[EdgeReply]


class ValueReply(BaseModel):
    """The counterfactual value of one concept; `phrase` only for a value that is new.

    The reason stands before the value: a model writes in this order, and so decides after it has thought.
    """

    concept: Name = _called("concept", "name")
    reason: Text = ""
    value: Name
    phrase: Phrase = ""

    _shorthand = model_validator(mode="before")(_assignment)


class PropagationReply(BaseModel):
    """What an intervention does."""

    values: list[ValueReply]
    prompt: Prompt


class SuggestionReply(BaseModel):
    """One suggested intervention with all that follows from it."""

    concept: Name = _called("concept", "name")
    value: Name
    reason: Text = ""
    values: list[ValueReply] = []
    prompt: Phrase = ""


class SuggestionsReply(BaseModel):
    """Several suggested interventions."""

    interventions: list[SuggestionReply]


class AnswerReply(BaseModel):
    """Yes or no."""

    answer: Literal["yes", "no"]


_UNASKED = ("status",)
_OPTIONAL = {"ConceptReply": ("description",), "ValueReply": ("phrase",)}


def schema_of(reply: type[BaseModel]) -> dict[str, Any]:
    """Return the JSON schema of a reply, every key that is asked for required and no other allowed."""
    schema = reply.model_json_schema()
    for part in [schema, *schema.get("$defs", {}).values()]:
        for name in _UNASKED:
            part["properties"].pop(name, None)
        part["required"] = [name for name in part["properties"] if name not in _OPTIONAL.get(part["title"], ())]
        part["additionalProperties"] = False
    return schema
