"""Reading and writing causal graphs: native JSON, DAGitty and DOT.

JSON is the native form and loses nothing. DAGitty and DOT carry name, position and edges in their
own terms, and everything else in a quoted attribute `csg` that other programs pass over, so that
what is written here is read back whole. What they lose is what *other* programs put there: colours,
shapes, exposure and outcome roles. A node without a `csg` attribute is read as the editor's Text tab
writes it, `[value=sunny, do=rainy]`; with neither it is "present" or "absent", with its label or else
its name as phrase. An edge without a direction, and one marked `[proposed]`, is a proposal.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from typing import Any

from . import dot_grammar
from .dot_meaning import label_text
from .graph import MAX_CONCEPTS, CausalGraph, Concept, Edge, GraphError, first_repeated, normal, plainly, quoted
from .plain_json import plain_graph
from .recognise import recognise

VERSION = 1
MAX_CHARACTERS = 1_000_000
MAX_NESTING = 100
FORMATS = ("json", "dagitty", "dot")
_BLANK = " \t\r\n\ufeff"
_UNKNOWN_FORM = (
    "This is no graph in a form that is read here: JSON, DAGitty (`dag {{ ... }}`), DOT (`digraph {{ ... }}`) or arrows "
    "such as a -> b. It begins with {}."
)

# ---------------------------------------------------------------------------------------- JSON data


def graph_from_data(data: Any) -> CausalGraph:
    """Build a graph from decoded JSON; raises GraphError, naming the place, where the form is wrong.

    Required are `concepts`, each with `name` and `value`; unknown keys are kept in `extra`.
    """
    root = _Object(data, "the graph")
    version = root.take("version", int, VERSION)
    if version > VERSION:
        raise GraphError(f"The graph has the version {version}; up to {VERSION} is known. Update the node pack.")
    if len(concepts := root.take("concepts", list)) > MAX_CONCEPTS:
        raise GraphError(f"The graph has {len(concepts)} concepts; at most {MAX_CONCEPTS} are supported.")
    return CausalGraph(
        base_prompt=root.take("base_prompt", str, ""),
        concepts=tuple(_concept(item, f"concepts[{i}]") for i, item in enumerate(concepts)),
        edges=tuple(_edge(item, f"edges[{i}]") for i, item in enumerate(root.take("edges", list, ()))),
        interventions=_texts(root.take("interventions", dict, {}), "interventions"),
        effects=_texts(root.take("effects", dict, {}), "effects"),
        extra=root.rest(),
    )


def graph_to_data(graph: CausalGraph) -> dict[str, Any]:
    """Return the graph as plain data, ready for JSON; the inverse of `graph_from_data`."""
    data = {
        "version": VERSION,
        "base_prompt": graph.base_prompt,
        "concepts": [_concept_data(concept) for concept in graph.concepts],
        "edges": [_edge_data(edge) for edge in graph.edges],
        "interventions": dict(graph.interventions),
    }
    if graph.effects:
        data["effects"] = dict(graph.effects)
    return _with_extra(data, graph.extra)


_KINDS = {str: "a text", int: "a whole number", float: "a number", list: "a list", dict: "an object"}


class _Object:
    """A JSON object being read: known keys are taken out, what is left over is extra."""

    def __init__(self, data: Any, place: str) -> None:
        self._data = dict(_typed(data, dict, place))
        self._place = place

    def take(self, key: str, kind: type, default: Any = None) -> Any:
        if key not in self._data:
            if default is None:
                raise GraphError(f"{self._place} has no {key!r}; add {_KINDS[kind]} under that key.")
            return default
        return _typed(self._data.pop(key), kind, f"{self._place}, {key!r}")

    def take_any(self, key: str) -> Any:
        return self._data.pop(key, None)

    def rest(self) -> dict[str, Any]:
        return self._data


def _typed(data: Any, kind: type, place: str) -> Any:
    if kind is int and isinstance(data, float) and data.is_integer():
        return int(data)  # JavaScript, which writes graphs too, knows one kind of number
    if isinstance(data, (float, int) if kind is float else kind) and not isinstance(data, bool):
        return data
    raise GraphError(f"{place}: expected {_KINDS[kind]}, got {_shown(data)}.")


def _shown(data: Any) -> str:
    text = json.dumps(data, default=str)
    return text if len(text) <= 40 else text[:37] + "..."


def _texts(data: Mapping[str, Any], place: str) -> dict[str, str]:
    return {key: _typed(value, str, f"{place}, {quoted(key)}") for key, value in data.items()}


def _concept(data: Any, place: str) -> Concept:
    item = _Object(data, place)
    return Concept(
        name=item.take("name", str),
        value=item.take("value", str),
        values=_values(item.take_any("values"), f"{place}, 'values'"),
        scope=item.take("scope", str, "local"),
        description=item.take("description", str, ""),
        position=_position(item.take_any("position"), f"{place}, 'position'"),
        strength=item.take("strength", float, 1.0),
        extra=item.rest(),
    )


def _values(data: Any, place: str) -> dict[str, str]:
    """Read a domain; a plain list stands for values that are their own phrases."""
    if data is None:
        return {}
    if isinstance(data, list):
        data = {_typed(value, str, place): value for value in data}
    return _texts(_typed(data, dict, place), place)


def _position(data: Any, place: str) -> tuple[float, float] | None:
    if data is None:
        return None
    if not (isinstance(data, list) and len(data) == 2 and all(type(number) in (int, float) for number in data)):
        raise GraphError(f"{place}: expected two numbers [x, y], got {_shown(data)}.")
    return data[0], data[1]


def _edge(data: Any, place: str) -> Edge:
    item = _Object(data, place)
    return Edge(
        cause=item.take("cause", str),
        effect=item.take("effect", str),
        reason=item.take("reason", str, ""),
        status=item.take("status", str, "confirmed"),
        extra=item.rest(),
    )


def _concept_data(concept: Concept) -> dict[str, Any]:
    data = {
        "name": concept.name,
        "value": concept.value,
        "values": dict(concept.values),
        "scope": concept.scope,
        "description": concept.description,
    }
    if concept.position is not None:
        data["position"] = [_short(number) for number in concept.position]
    if concept.strength != 1:
        data["strength"] = _short(concept.strength)
    return _with_extra(data, concept.extra)


def _edge_data(edge: Edge) -> dict[str, Any]:
    data = {"cause": edge.cause, "effect": edge.effect, "reason": edge.reason, "status": edge.status}
    return _with_extra(data, edge.extra)


def _with_extra(data: dict[str, Any], extra: Mapping[str, Any]) -> dict[str, Any]:
    return {**data, **{key: value for key, value in extra.items() if key not in data}}


def _short(number: float) -> float | int:
    return int(number) if number.is_integer() and abs(number) < 1e15 else number


# ---------------------------------------------------------------------------------------- JSON text

_STRINGS_AND_BRACKETS = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*(?:"|\\?\Z)|[\[\]{}]', re.DOTALL)
_BEYOND_UTF8 = re.compile("[\x7f\ud800-\udfff]")


def read_json(text: str) -> CausalGraph:
    """Read a graph from JSON; raises GraphError with line and column where the text is broken.

    A mapping of causes to effects, pairs and networkx's node-link data are read as well.
    """
    try:
        data = _decode(text)
    except GraphError:
        if (start := text.strip(_BLANK))[:1] in ("", "{", "["):
            raise
        raise GraphError(_UNKNOWN_FORM.format(quoted(start))) from None
    return graph_from_data(plain_graph(data))


def write_json(graph: CausalGraph) -> str:
    """Return the graph as JSON, one concept or edge to a line; raises GraphError where that could not be read again."""
    data = graph_to_data(graph)
    if _depth(data, MAX_NESTING + 1) > MAX_NESTING:
        raise GraphError(f"The graph is nested too deeply to be written: more than {MAX_NESTING} levels.")
    return "{" + ",\n ".join(f"{_encode(key)}: {_listed(value)}" for key, value in data.items()) + "}\n"


def _depth(value: Any, most: int) -> int:
    """Return how deep lists and objects lie in one another, looked at no deeper than `most`."""
    if not isinstance(value, (list, dict)) or most == 0:
        return 0
    inner = value.values() if isinstance(value, dict) else value
    return 1 + max((_depth(each, most - 1) for each in inner), default=0)


def _listed(value: Any) -> str:
    if isinstance(value, list) and value:
        return "[\n   " + ",\n   ".join(_encode(item) for item in value) + "]"
    return _encode(value)


def _encode(data: Any) -> str:
    text = json.dumps(data, ensure_ascii=False)
    return _BEYOND_UTF8.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def _decode(text: str, deepest: int = MAX_NESTING) -> Any:
    _check_length(text)
    text = text.removeprefix("\ufeff")
    _check_nesting(text, deepest)
    try:
        return json.loads(text, object_pairs_hook=_without_repeats, parse_constant=_refuse_constant, parse_float=_finite)
    except GraphError:
        raise
    except json.JSONDecodeError as error:
        raise GraphError(f"this is not JSON: {error.msg}.", line=error.lineno, column=error.colno) from None
    except RecursionError:
        raise GraphError("The JSON is nested too deeply for a graph.") from None
    except ValueError as error:
        raise GraphError(f"The JSON has a number that is too long: {error}.") from None


def _check_length(text: str) -> None:
    if len(text) > MAX_CHARACTERS:
        raise GraphError(f"The text has {len(text)} characters; a graph has at most {MAX_CHARACTERS}.")


def _check_nesting(text: str, deepest: int) -> None:
    depth = 0
    for mark in _STRINGS_AND_BRACKETS.finditer(text):
        depth += 1 if mark[0] in "[{" else -1 if mark[0] in "]}" else 0
        if depth > deepest:
            raise GraphError(f"The JSON is nested too deeply for a graph: more than {deepest} levels.")


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    repeated = first_repeated(key for key, _ in pairs)
    if repeated is not None:
        raise GraphError(f"The key {quoted(str(repeated))} stands twice in one object; remove one of the two.")
    return dict(pairs)


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise GraphError(f"{plainly(text, 20)} is no number that a graph can hold.")
    return number


def _refuse_constant(name: str) -> Any:
    raise GraphError(f"{name} is no number that a graph can hold.")


# ----------------------------------------------------------------------------------- DAGitty and DOT

_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
_ESCAPED = re.compile(r'\\(["\\/bfnrt])')
_ESCAPES = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}
_UNSAFE = re.compile("[\\\\\x00-\x1f\x7f\ud800-\udfff]")


def read_dagitty(text: str) -> CausalGraph:
    """Read a DAGitty model text, `dag { ... }`; raises GraphError with the line that is wrong."""
    return _from_statements(text, upwards=1)


def read_dot(text: str) -> CausalGraph:
    """Read a DOT digraph; raises GraphError with the line that is wrong."""
    return _from_statements(text, upwards=-1)


def write_dagitty(graph: CausalGraph) -> str:
    """Return the graph as a DAGitty model; intervened concepts are its exposures.

    DAGitty knows no attributes of a whole graph, so the first node carries them.
    """
    ids = _identifiers(graph)
    whole = f"csg_graph={_attribute(_graph_attributes(graph))}"
    lines = ["dag {"] if graph.concepts else ["dag {", whole]
    for index, concept in enumerate(graph.concepts):
        attributes = ["exposure"] if concept.name in graph.interventions else []
        attributes += [*_node_attributes(concept, ids[concept.name], upwards=1), *([whole] if index == 0 else [])]
        lines.append(f"{ids[concept.name]} [{', '.join(attributes)}]")
    lines += [f"{ids[e.cause]} -> {ids[e.effect]} [csg={_attribute(_edge_attributes(e))}]" for e in graph.edges]
    return "\n".join([*lines, "}\n"])


def write_dot(graph: CausalGraph) -> str:
    """Return the graph as a DOT digraph that Graphviz draws as it stands; proposed edges are dashed."""
    ids = _identifiers(graph)
    whole = f"csg_graph={_attribute(_graph_attributes(graph))}"
    lines = ["digraph {", f"{whole};", "rankdir=LR;", "node [shape=box, style=rounded];"]
    for concept in graph.concepts:
        label = dot_grammar.quote(_UNSAFE.sub("_", f"{concept.name}: {concept.value}"))
        attributes = [f"label={label}", *_node_attributes(concept, ids[concept.name], upwards=-1)]
        lines.append(f"{ids[concept.name]} [{', '.join(attributes)}];")
    for edge in graph.edges:
        style = "dashed" if edge.status == "proposed" else "solid"
        csg = _attribute(_edge_attributes(edge))
        lines.append(f"{ids[edge.cause]} -> {ids[edge.effect]} [style={style}, csg={csg}];")
    return "\n".join([*lines, "}\n"])


def _identifiers(graph: CausalGraph) -> dict[str, str]:
    """Return a quoted identifier for each concept: its name, made safe for both grammars, and unique."""
    taken, ids = set(graph.names), {}
    for name in graph.names:
        safe = name if not _UNSAFE.search(name) else _UNSAFE.sub("_", name)
        while safe != name and safe in taken:
            safe += "_"
        taken.add(safe)
        ids[name] = dot_grammar.quote(safe)
    return ids


def _attribute(data: Mapping[str, Any]) -> str:
    """Return data as quoted JSON whose only backslashes are `\\uXXXX`, which both grammars leave alone."""
    text = _ESCAPED.sub(lambda match: f"\\u{ord(_ESCAPES.get(match[1], match[1])):04x}", _encode(data))
    return dot_grammar.quote(text)


def _graph_attributes(graph: CausalGraph) -> dict[str, Any]:
    return {key: value for key, value in graph_to_data(graph).items() if key not in ("concepts", "edges")}


def _node_attributes(concept: Concept, identifier: str, upwards: int) -> list[str]:
    """Return the attributes `pos` and `csg`; the name is left out where it is the identifier."""
    named = {"name"} if identifier == dot_grammar.quote(concept.name) else set()
    data = {key: value for key, value in _concept_data(concept).items() if key not in named | {"position"}}
    csg = f"csg={_attribute(data)}"
    if concept.position is None:
        return [csg]
    x, y = concept.position
    return [f'pos="{_short(x)},{_short(upwards * y)}"', csg]


def _edge_attributes(edge: Edge) -> dict[str, Any]:
    return {key: value for key, value in _edge_data(edge).items() if key not in ("cause", "effect")}


def _from_statements(text: str, upwards: int) -> CausalGraph:
    return graph_from_data(_statement_data(text, upwards))


def _statement_data(text: str, upwards: int) -> dict[str, Any]:
    _check_length(text)
    read = dot_grammar.parse(text)
    whole = next((of for of in [read.graph, *read.nodes.values()] if "csg_graph" in of), {})
    nodes = {name: _node_data(name, attributes, upwards) for name, attributes in read.nodes.items()}
    edges = [
        {**_edge_attributes_read(attributes), "cause": nodes[cause]["name"], "effect": nodes[effect]["name"]}
        for (cause, effect), attributes in read.edges.items()
    ]
    data = {"interventions": _interventions(read, nodes), **(_carried(whole, "csg_graph") or {})}
    return {**data, "concepts": list(nodes.values()), "edges": edges}


def _interventions(read: dot_grammar.Statements, nodes: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Return the do()s of a text in the Text tab's own words."""
    return {nodes[name]["name"]: of["do"] for name, of in read.nodes.items() if of.get("do", "").strip() and "csg" not in of}


def _edge_attributes_read(attributes: Mapping[str, str]) -> dict[str, Any]:
    """Return an edge's data; one whose direction is in doubt is a proposal, even if its own data say otherwise."""
    data = _carried(attributes, "csg") or {}
    if "doubt" in attributes:
        return {"reason": attributes["doubt"], **data, "status": "proposed"}
    proposed = attributes.get("proposed", "false").lower() not in ("false", "no", "0")
    return {**({"status": "proposed"} if proposed else {}), **data}


def _carried(attributes: Mapping[str, str], key: str) -> dict[str, Any] | None:
    """Return the data in an attribute of ours, None when there is none."""
    if key not in attributes:
        return None
    text = attributes[key]
    try:
        return dict(_typed(_decode(text, MAX_NESTING - 2 if key == "csg" else MAX_NESTING), dict, key))
    except GraphError as error:
        raise GraphError(f"The attribute {key}={quoted(text)} is damaged: {error}") from None


def _node_data(name: str, attributes: Mapping[str, str], upwards: int) -> dict[str, Any]:
    data = _carried(attributes, "csg")
    if data is None:
        data = _foreign_data(name, attributes)
    numbers = [_number(part) for part in attributes.get("pos", "").rstrip("!").split(",", 2)[:2]]
    if len(numbers) == 2 and None not in numbers:
        data["position"] = [numbers[0], upwards * numbers[1]]
    return {"name": name, **data}


def _foreign_data(name: str, attributes: Mapping[str, str]) -> dict[str, Any]:
    """Return value and domain of a node that another program, or a person in the Text tab, has written."""
    label = label_text(attributes.get("label", ""), name, attributes.get("shape", ""))
    given, forced = attributes.get("value", ""), attributes.get("do", "")
    value = normal(given) if given.strip() else "present"
    values = {value: label or (value if given.strip() else name)}
    if not given.strip():
        values["absent"] = ""
    if forced.strip():
        values.setdefault(normal(forced), forced)
    return {"value": value, "values": values}


def _number(text: str) -> float | None:
    number = float(text) if _NUMBER.fullmatch(text.strip(" ")) else math.inf
    return number if math.isfinite(number) else None


# ------------------------------------------------------------------------------------------ by name

_READERS: dict[str, Callable[[str], CausalGraph]] = {"json": read_json, "dagitty": read_dagitty, "dot": read_dot}
_WRITERS: dict[str, Callable[[CausalGraph], str]] = {"json": write_json, "dagitty": write_dagitty, "dot": write_dot}


def read_graph(text: str, format: str = "auto") -> CausalGraph:
    """Read a graph in one of FORMATS, or in whichever the text is written ("auto")."""
    _check_length(text)
    if not text.strip(_BLANK):
        raise GraphError("The text is empty: there is no graph in it. Write one as JSON, DAGitty, DOT or arrows such as a -> b.")
    if format == "auto":
        format, text = recognise(text)
    return _by_name(_READERS, format)(text)


def write_graph(graph: CausalGraph, format: str = "json") -> str:
    """Return the graph as a text in one of FORMATS."""
    return _by_name(_WRITERS, format)(graph)


def drawn_data(text: str) -> dict[str, Any] | None:
    """Return what a DAGitty or DOT text says as the data of a graph, which may be no valid one; None for other texts.

    Raises GraphError with the line that is wrong.
    """
    _check_length(text)
    format, text = recognise(text)
    return None if format == "json" else _statement_data(text, upwards=1 if format == "dagitty" else -1)


def _by_name(table: Mapping[str, Callable], format: str) -> Callable:
    if format not in table:
        raise GraphError(f"Unknown format {quoted(format)}; expected one of {', '.join(FORMATS)}.")
    return table[format]
