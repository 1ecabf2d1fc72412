"""The grammar that DOT and DAGitty share: nodes, edges, chains, groups, attribute lists and scoped defaults.

Names are quoted or bare, in any script, and compared in Unicode's normal form C; in a quoted one only
`\\"` and a backslash before a line end are escapes. Only attributes with a meaning for a causal graph are
kept, and what a text becomes is bounded while it is read. Reading takes linear time; every complaint
carries the line it is about.

Grammar: https://graphviz.org/doc/info/lang.html and the DAGitty manual, section "Graph syntax".
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple, NoReturn

from .dot_meaning import direction, html_text, invisible
from .graph import MAX_CONCEPTS, MAX_EDGES, MAX_NAME, GraphError, normal, quoted
from .recognise import BLANKS

MAX_DEPTH = 32
MAX_TOKENS = 100_000  # words and marks: all concepts and edges that a graph may have need half of them
MAX_LABEL = 20_000  # letters, tags and escapes of a label
MAX_LOOKS = 100  # letters of an attribute that says how something looks; the longest that has a meaning is short
KINDS = ("digraph", "graph", "dag", "pdag", "mag", "pag")

# Beyond ASCII all but blanks, punctuation and arrows belongs to words.
_FOREIGN = (
    f"\x00-\x7f{BLANKS}\xa1-\xa9\xab-\xb1\xb4\xb6-\xb8\xbb\xbf\u2010-\u2027\u2030-\u205e\u2190\u2192\u2194"
    "\u3001-\u3003\u3008-\u3011\u3014-\u301f\uff01-\uff0f\uff1a-\uff20\uff3b-\uff40\uff5b-\uff65"
)
_TOKEN = re.compile(
    rf"""(?P<space>[{BLANKS}]+|//[^\n]*|\#[^\n]*|/\*.*?\*/)
      |(?P<string>"[^"\\]*(?:\\.[^"\\]*)*")
      |(?P<arrow><->|->|<-@|<-|--@|--|@->|@-@|@--|[\u2190\u2192\u2194])
      |(?P<word>(?:[A-Za-z0-9_.]|[^{_FOREIGN}]|-(?![->]))+)
      |(?P<mark>[{{}}\[\]=;,:+])
      |(?P<end>\Z)""",
    re.VERBOSE | re.DOTALL,
)
_ANGLE = re.compile("[<>]")
_ESCAPE = re.compile(r"\\(\\|\"|\r?\n)", re.DOTALL)
_OF_EDGES = frozenset(("dir", "arrowhead", "arrowtail", "style", "color", "proposed", "csg"))
_OF_NODES = frozenset(("label", "shape", "style", "pos", "value", "do", "csg", "csg_graph"))
_LOOKS = frozenset(("dir", "arrowhead", "arrowtail", "style", "color", "shape", "proposed", "pos"))
_OF_GRAPHS = frozenset(("csg_graph",))
# Defaults are for how things look; what belongs to one node or edge is not inherited.
_INHERITED = frozenset(("dir", "arrowhead", "arrowtail", "style", "color", "label", "shape"))


class _Token(NamedTuple):
    kind: str
    text: str
    start: int


@dataclass
class Statements:
    """A text's statements: attributes of the graph, of each node and of each edge `(cause, effect)`.

    An edge whose direction the text leaves open has the attribute `doubt`, which says why.
    """

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


class _Parser:
    """A recursive-descent parser with one token of look-ahead."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens = self._scan()
        self._next = next(self._tokens)
        self._depth = 0
        self._drawn = 0
        self._defaults: dict[str, dict[str, str]] = {"node": {}, "edge": {}}
        self._read = Statements()

    def _scan(self) -> Iterator[_Token]:
        position, after, count = 0, "", 0
        while True:
            if after == "=" and self._text.startswith("<", position):
                token = self._html(position)
            else:
                match = _TOKEN.match(self._text, position)
                if match is None:
                    self._refuse(f"cannot read {quoted(self._text[position : position + 20])}", position)
                token = _Token(str(match.lastgroup), match[0], position)
            position += len(token.text)
            if token.kind != "space":
                after, count = token.text, count + 1
                if count > MAX_TOKENS:
                    self._refuse(f"the text has more than {MAX_TOKENS} words and marks; no graph needs so many", position)
                yield token

    def _html(self, start: int) -> _Token:
        """Return a value in angle brackets, which may hold others."""
        depth = 0
        for match in _ANGLE.finditer(self._text, start):
            depth += 1 if match[0] == "<" else -1
            if not depth:
                return _Token("html", self._text[start : match.end()], start)
        raise self._refusal("an HTML label is not closed; end it with '>'", start)

    def _refuse(self, message: str, start: int | None = None) -> NoReturn:
        raise self._refusal(message, self._next.start if start is None else start)

    def _refusal(self, message: str, start: int) -> GraphError:
        return GraphError(message, line=self._text.count("\n", 0, start) + 1)

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
        return quoted(self._next.text or "the end of the text")

    def _at_word(self, *words: str) -> bool:
        return self._next.kind == "word" and self._next.text.lower() in words

    def graph(self) -> Statements:
        if self._at_word("strict"):
            self._take()
        if not self._at_word(*KINDS):
            self._refuse(f"expected 'dag' or 'digraph', got {self._shown()}")
        self._take()
        if self._next.text != "{":
            self._name()
        self._expect("{")
        self._statements()
        if self._next.kind != "end":
            self._refuse(f"expected nothing after the last '}}', got {self._shown()}")
        self._without_layout()
        return self._read

    def _without_layout(self) -> None:
        """Take invisible nodes out that no edge needs: they only hold others in their places."""
        needed = {name for edge in self._read.edges for name in edge}
        for name, attributes in list(self._read.nodes.items()):
            if name not in needed and invisible(attributes):
                del self._read.nodes[name]

    def _statements(self) -> list[str]:
        """Read up to the closing brace; return the nodes named on the way. Defaults end with their braces."""
        self._depth += 1
        if self._depth > MAX_DEPTH:
            self._refuse(f"groups are nested more than {MAX_DEPTH} deep")
        outer = self._defaults
        self._defaults = {kind: dict(attributes) for kind, attributes in outer.items()}
        named: dict[str, None] = {}
        while not self._accept("}"):
            if not self._accept(";", ","):
                named.update(dict.fromkeys(self._statement()))
        self._depth -= 1
        self._defaults = outer
        return list(named)

    def _statement(self) -> list[str]:
        if self._at_word("graph", "node", "edge"):
            self._default()
            return []
        if self._next.text == "{" or self._at_word("subgraph"):
            return self._chain(self._group())
        start, name = self._next.start, self._name()
        if self._accept("="):
            self._keep(self._read.graph, name, _OF_GRAPHS)
            return []
        return self._chain([self._node(name, start)])

    def _default(self) -> None:
        """Read `graph [...]`, `node [...]` or `edge [...]`."""
        kind = self._take().text.lower()
        if kind == "graph":
            self._read.graph.update(self._attributes(_OF_GRAPHS))
        else:
            self._defaults[kind].update(self._attributes(_INHERITED))

    def _chain(self, group: list[str]) -> list[str]:
        """Read what follows a group: edges to further groups, or the attributes of its nodes."""
        start, named, pairs = self._next.start, list(group), []
        while self._next.kind == "arrow":
            arrow = self._take().text
            following = self._group()
            self._drawn += len(group) * len(following)
            if self._drawn > MAX_EDGES:
                self._refuse(f"more than {MAX_EDGES} edges are drawn", start)
            pairs += [(first, arrow, second) for first in group for second in following]
            named.extend(following)
            group = following
        attributes = self._attributes(_OF_EDGES if pairs else _OF_NODES)
        if len(pairs or named) > 1 and attributes.keys() & {"csg", "csg_graph"}:
            self._refuse("the attribute csg belongs to one node or one edge, and here it stands for several", start)
        for first, arrow, second in pairs:
            self._edge(first, arrow, second, {**self._defaults["edge"], **attributes})
        for name in named if not pairs else ():
            self._read.nodes[name].update(attributes)
        return named

    def _edge(self, first: str, arrow: str, second: str, attributes: dict[str, str]) -> None:
        """Note an edge by what its attributes mean; of two between the same nodes one without doubt counts."""
        meaning = direction(arrow, attributes)
        if meaning is None:
            return
        edge = (second, first) if meaning.turned else (first, second)
        kept = {key: attributes[key] for key in ("proposed", "csg") if key in attributes}
        before = self._read.edges.get(edge)
        if meaning.doubt and (before is None or "doubt" in before):
            kept["doubt"] = meaning.doubt
        elif before is not None:
            before.pop("doubt", None)
        self._read.edges.setdefault(edge, {}).update(kept)

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
        """Note a node; a port and a point of the compass after its name say where edges are drawn."""
        name = normal(name)
        if len(name) > MAX_NAME:
            self._refuse(f"the name {quoted(name)} has {len(name)} characters; a graph holds at most {MAX_NAME} there", start)
        while self._accept(":"):
            self._name()
        self._read.nodes.setdefault(name, dict(self._defaults["node"]))
        if len(self._read.nodes) > MAX_CONCEPTS:
            self._refuse(f"more than {MAX_CONCEPTS} concepts, of which {quoted(name)} is one too many", start)
        return name

    def _name(self) -> str:
        if self._next.kind == "word":
            return self._take().text
        return "".join(map(_unquote, self._strings()))

    def _strings(self) -> list[str]:
        """Read texts in quotes, joined by `+`; return them with their quotes."""
        parts = []
        while not parts or self._accept("+"):
            if self._next.kind != "string":
                self._refuse(f"expected a name, got {self._shown()}")
            parts.append(self._take().text)
        return parts

    def _keep(self, attributes: dict[str, str], key: str, wanted: frozenset[str]) -> None:
        """Read the value of an attribute; a label keeps its escapes for later."""
        if self._next.kind == "html":
            value = html_text(self._take().text[1:-1])
        elif key == "label" and self._next.kind == "string":
            value = "".join(text[1:-1] for text in self._strings())
        else:
            value = self._name()
        if key == "label" and len(value) > MAX_LABEL:
            self._refuse(f"a label has {len(value)} characters; at most {MAX_LABEL} are read")
        if key in wanted:
            attributes[key] = value[:MAX_LOOKS] if key in _LOOKS else value

    def _attributes(self, wanted: frozenset[str]) -> dict[str, str]:
        """Read any number of `[key=value, flag]` lists; a flag has an empty value."""
        attributes: dict[str, str] = {}
        while self._accept("["):
            while not self._accept("]"):
                if self._accept(",", ";"):
                    continue
                key = self._name()
                if self._accept("="):
                    self._keep(attributes, key, wanted)
                elif key in wanted:
                    attributes[key] = ""
        return attributes
