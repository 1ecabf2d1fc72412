"""The grammar that DOT and DAGitty share: nodes, edges, chains, groups and attribute lists.

Names are quoted, bare or HTML, in one normal form (NFC); in a quoted one only `\\"` and a backslash before a line end are
escapes. An edge's meaning is in its arrow and its attributes, those of `edge [...]` in its scope included: `dir`,
`arrowhead`, `arrowtail` and `style = invis`. One whose direction is not told carries the attribute `proposed`, with the
reason. Reading takes linear time, what a text multiplies to is bounded, and every complaint carries its line.

Grammar: https://graphviz.org/doc/info/lang.html and the DAGitty manual, section "Graph syntax".
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, NoReturn

from .graph import MAX_CONCEPTS, GraphError
from .recognise import BLANKS

MAX_DEPTH = 32
MAX_ASSIGNMENTS = 100_000  # edges that a text draws, each counted once for itself and once for every attribute
PROPOSED = "proposed"
FLAG = "true"  # the value of an attribute that is only named

_TOKEN = re.compile(
    rf"""(?P<space>[{BLANKS}]+|//[^\n]*|\#[^\n]*|/\*.*?\*/)
      |(?P<string>"[^"\\]*(?:\\.[^"\\]*)*")
      |(?P<arrow><->|->|<-|--|@->|<-@|@-@|@--)
      |(?P<word>(?:[A-Za-z0-9_.]|[^\x00-\x7f{BLANKS}]|-(?![->]))+)
      |(?P<mark>[{{}}\[\]=;,:+])
      |(?P<end>\Z)""",
    re.VERBOSE | re.DOTALL,
)
_ESCAPE = re.compile(r"\\(\\|\"|\r?\n)", re.DOTALL)
_UNSUPPORTED = {
    "<->": "a hidden common cause; add it as a concept with an edge to each of the two",
    "--": "an edge without a direction; write -> or <-",
}
_UNDIRECTED = "drawn without a direction"
_TWO_HEADED = "drawn with an arrow at both ends: a hidden common cause, or a direction not known"
_CIRCLED = "drawn with a circle: what is at that end is not known"
_DIRECTED_KINDS = ("dag", "digraph")
_ENTITIES = {"amp": "&", "lt": "<", "gt": ">", "quot": '"', "apos": "'", "nbsp": " "}
_ENTITY = re.compile(r"&(#[0-9]{1,7}|#[xX][0-9a-fA-F]{1,6}|amp|lt|gt|quot|apos|nbsp);")
_GAPS = re.compile(rf"[{BLANKS}]+")
_TAG, _BREAK = re.compile(r"<[^<>]*>"), re.compile(r"<br\b[^<>]*>", re.IGNORECASE)
_ANGLE = re.compile(r"[<>]")


class _Token(NamedTuple):
    kind: str
    text: str
    start: int


@dataclass
class Statements:
    """What a text says: attributes of the graph, of each node and of each edge `(cause, effect)`."""

    graph: dict[str, str] = field(default_factory=dict)
    nodes: dict[str, dict[str, str]] = field(default_factory=dict)
    edges: dict[tuple[str, str], dict[str, str]] = field(default_factory=dict)


def parse(text: str) -> Statements:
    """Read a DOT or DAGitty text; raises GraphError with the line of the first thing not understood."""
    return _Parser(text).graph()


def quote(text: str) -> str:
    """Return `text` in double quotes; it must not contain a backslash before a quote or at its end."""
    return '"' + text.replace('"', '\\"') + '"'


def _unquote(text: str) -> str:
    return _ESCAPE.sub(lambda match: match[1] if match[1] in '\\"' else "", text[1:-1])


def _plain(markup: str) -> str:
    """The words of an HTML label: breaks are blanks, other tags nothing."""
    text = _ENTITY.sub(_character, _TAG.sub("", _BREAK.sub(" ", markup[1:-1])))
    return unicodedata.normalize("NFC", _GAPS.sub(" ", text).strip(" "))


def _character(entity: re.Match[str]) -> str:
    name = entity[1]
    if not name.startswith("#"):
        return _ENTITIES[name]
    code = int(name[2:], 16) if name[1] in "xX" else int(name[1:])
    return chr(code) if code < 0x110000 and not 0xD800 <= code < 0xE000 else "\ufffd"


def _orientation(arrow: str, attributes: Mapping[str, str]) -> tuple[bool, str]:
    """Whether an edge points backwards, and why its direction is not told ("" where it is)."""
    if arrow in ("->", "<-"):
        direction = attributes.get("dir", "forward").lower()
        marks = [
            _mark(attributes.get(end, "normal")) if direction in shown else ""
            for end, shown in (("arrowtail", ("back", "both")), ("arrowhead", ("forward", "both")))
        ]
    else:
        marks = {"--": ["", ""], "<->": [">", ">"], "@->": ["o", ">"], "<-@": [">", "o"], "@-@": ["o", "o"], "@--": ["o", ""]}[arrow]
        if arrow == "--" and attributes.get("dir", "none").lower() in ("forward", "back"):
            marks = ["", ">"] if attributes["dir"].lower() == "forward" else [">", ""]
    backwards = (marks == [">", ""]) != (arrow == "<-")
    reasons = {("", ""): _UNDIRECTED, (">", ">"): _TWO_HEADED}
    return backwards, "" if sorted(marks) == ["", ">"] else reasons.get(tuple(marks), _CIRCLED)


def _mark(arrow: str) -> str:
    """What an arrow type shows: nothing, a circle, or an arrow."""
    return "" if arrow.lower() == "none" else "o" if "dot" in arrow.lower() else ">"


class _Parser:
    """A recursive-descent parser with one token of look-ahead."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens = self._scan()
        self._next = next(self._tokens)
        self._depth = self._assignments = 0
        self._directed = True
        self._edge_defaults: list[dict[str, str]] = [{}]
        self._statements_read = Statements()

    def _scan(self) -> Iterator[_Token]:
        position = 0
        while True:
            match = _TOKEN.match(self._text, position)
            if match is None and self._text.startswith("<", position):
                stop = self._end_of_html(position)
                yield _Token("html", self._text[position:stop], position)
                position = stop
                continue
            if match is None:
                self._refuse(f"cannot read {self._text[position : position + 20]!r}", position)
            if match.lastgroup != "space":
                yield _Token(str(match.lastgroup), match[0], match.start())
            position = match.end()

    def _end_of_html(self, start: int) -> int:
        depth, stop = 0, None
        for angle in _ANGLE.finditer(self._text, start):
            depth += 1 if angle[0] == "<" else -1
            if depth == 0:
                stop = angle.end()
                break
        if stop is None:
            self._refuse("an HTML label is not closed; end it with '>'", start)
        return stop

    def _refuse(self, message: str, start: int | None = None) -> NoReturn:
        start = self._next.start if start is None else start
        raise GraphError(message, line=self._text.count("\n", 0, start) + 1)

    def _take(self) -> _Token:
        token = self._next
        if token.kind != "end":
            self._next = next(self._tokens)
        return token

    def _accept(self, *texts: str) -> bool:
        if self._next.kind in ("mark", "word") and self._next.text in texts:
            self._take()
            return True
        return False

    def _expect(self, text: str) -> None:
        if not self._accept(text):
            self._refuse(f"expected {text!r}, got {self._shown()}")

    def _shown(self) -> str:
        return repr(self._next.text[:40] or "the end of the text")

    def _at_word(self, *words: str) -> bool:
        return self._next.kind == "word" and self._next.text.lower() in words

    def graph(self) -> Statements:
        if self._at_word("strict"):
            self._take()
        if not self._at_word("digraph", "dag", "graph", "pdag", "mag", "pag"):
            self._refuse(f"expected 'dag' or 'digraph', got {self._shown()}")
        self._directed = self._take().text.lower() in _DIRECTED_KINDS
        if self._next.text != "{":
            self._name()
        self._expect("{")
        self._statements()
        if self._next.kind != "end":
            self._refuse(f"expected nothing after the last '}}', got {self._shown()}")
        return self._statements_read

    def _statements(self) -> list[str]:
        """Read up to the closing brace; return the nodes named on the way."""
        self._depth += 1
        if self._depth > MAX_DEPTH:
            self._refuse(f"groups are nested more than {MAX_DEPTH} deep")
        named: dict[str, None] = {}
        self._edge_defaults.append(dict(self._edge_defaults[-1]))
        while not self._accept("}"):
            if not self._accept(";", ","):
                named.update(dict.fromkeys(self._statement()))
        self._edge_defaults.pop()
        self._depth -= 1
        return list(named)

    def _statement(self) -> list[str]:
        if self._at_word("graph", "node", "edge"):
            self._defaults()
            return []
        if self._next.text == "{" or self._at_word("subgraph"):
            return self._chain(self._group())
        start, name = self._next.start, self._name()
        if self._accept("="):
            self._statements_read.graph[name] = self._name()
            return []
        return self._chain([self._node(name, start)])

    def _defaults(self) -> None:
        """Read `graph [...]`, `node [...]` or `edge [...]`; the graph's attributes and the edges' defaults are kept."""
        kind = self._take().text.lower()
        attributes = self._attributes()
        if kind == "graph":
            self._statements_read.graph.update(attributes)
        elif kind == "edge":
            self._edge_defaults[-1].update(attributes)

    def _chain(self, group: list[str]) -> list[str]:
        """Read what follows a group: edges to further groups, or the attributes of its nodes."""
        named, pairs = dict.fromkeys(group), []
        while self._next.kind == "arrow":
            arrow, start = self._take().text, self._next.start
            if self._directed and arrow not in ("->", "<-"):
                self._refuse(f"{arrow} is {_UNSUPPORTED.get(arrow, 'an edge whose direction is unknown')}", start)
            following = self._group()
            self._count(len(group) * len(following), start)
            pairs += [(left, arrow, right) for left in group for right in following]
            named.update(dict.fromkeys(following))
            group = following
        attributes = self._attributes()
        if pairs:
            self._edges(pairs, self._edge_defaults[-1] | attributes)
        else:
            for name in named:
                self._statements_read.nodes[name].update(attributes)
        return list(named)

    def _edges(self, pairs: list[tuple[str, str, str]], attributes: dict[str, str]) -> None:
        """Note edges between nodes; one that somewhere has a direction is no proposal elsewhere."""
        if "invis" in attributes.get("style", "").lower():
            return  # layout alone
        self._count(len(pairs) * len(attributes), self._next.start)
        oriented = {arrow: _orientation(arrow, attributes) for _, arrow, _ in pairs}
        for left, arrow, right in pairs:
            backwards, reason = oriented[arrow]
            pair = (right, left) if backwards else (left, right)
            before = self._statements_read.edges.get(pair)
            edge = self._statements_read.edges.setdefault(pair, {})
            edge.update(attributes)
            if reason and (before is None or PROPOSED in before):
                edge.setdefault(PROPOSED, reason)
            elif PROPOSED not in attributes:
                edge.pop(PROPOSED, None)

    def _count(self, assignments: int, start: int) -> None:
        self._assignments += assignments
        if self._assignments > MAX_ASSIGNMENTS:
            self._refuse(f"the edges of this text, with their attributes, multiply to more than {MAX_ASSIGNMENTS}", start)

    def _group(self) -> list[str]:
        """Read one node, or several in braces."""
        if self._at_word("subgraph"):
            self._take()
            if self._next.text != "{":
                self._name()
        if self._accept("{"):
            return self._statements()
        start = self._next.start
        return [self._node(self._name(), start)]

    def _node(self, name: str, start: int) -> str:
        while self._accept(":"):  # a port, and its compass point
            self._name()
        self._statements_read.nodes.setdefault(name, {})
        if len(self._statements_read.nodes) > MAX_CONCEPTS:
            self._refuse(f"more than {MAX_CONCEPTS} concepts, of which {name!r} is one too many", start)
        return name

    def _name(self) -> str:
        if self._next.kind == "word":
            return unicodedata.normalize("NFC", self._take().text)
        if self._next.kind == "html":
            return _plain(self._take().text)
        if self._next.kind != "string":
            self._refuse(f"expected a name, got {self._shown()}")
        parts = [_unquote(self._take().text)]
        while self._accept("+"):
            parts.append(_unquote(self._take().text))
        return unicodedata.normalize("NFC", "".join(parts))

    def _attributes(self) -> dict[str, str]:
        """Read any number of `[key=value, flag]` lists; a flag has the value FLAG."""
        attributes: dict[str, str] = {}
        while self._accept("["):
            while not self._accept("]"):
                if not self._accept(",", ";"):
                    key = self._name()
                    attributes[key] = self._name() if self._accept("=") else FLAG
        return attributes
