"""The grammar that DOT and DAGitty share: nodes, edges, chains, groups and attribute lists.

Names are quoted or bare; in a quoted one only `\\"` and a backslash before a line end are escapes.
Reading takes linear time; every complaint carries the line it is about.

Grammar: https://graphviz.org/doc/info/lang.html and the DAGitty manual, section "Graph syntax".
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple, NoReturn

from .graph import MAX_CONCEPTS, GraphError

MAX_DEPTH = 32

_TOKEN = re.compile(
    r"""(?P<space>\s+|//[^\n]*|\#[^\n]*|/\*.*?\*/)
      |(?P<string>"[^"\\]*(?:\\.[^"\\]*)*")
      |(?P<arrow><->|->|<-|--|@->|<-@|@-@|@--)
      |(?P<word>(?:[\w.]|-(?![->]))+)
      |(?P<mark>[{}\[\]=;,:+])
      |(?P<end>\Z)""",
    re.VERBOSE | re.DOTALL,
)
_ESCAPE = re.compile(r"\\(\\|\"|\r?\n)", re.DOTALL)
_UNSUPPORTED = {
    "<->": "a hidden common cause; add it as a concept with an edge to each of the two",
    "--": "an edge without a direction; write -> or <-",
}


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


class _Parser:
    """A recursive-descent parser with one token of look-ahead."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens = self._scan()
        self._next = next(self._tokens)
        self._depth = 0
        self._said = Statements()

    def _scan(self) -> Iterator[_Token]:
        position = 0
        while True:
            match = _TOKEN.match(self._text, position)
            if match is None:
                self._refuse(f"cannot read {self._text[position : position + 20]!r}", position)
            if match.lastgroup != "space":
                yield _Token(str(match.lastgroup), match[0], match.start())
            position = match.end()

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
            self._refuse(f"expected {text!r}, got {self._next.text or 'the end of the text'!r}")

    def _at_word(self, *words: str) -> bool:
        return self._next.kind == "word" and self._next.text.lower() in words

    def graph(self) -> Statements:
        if self._at_word("strict"):
            self._take()
        if not self._at_word("digraph", "dag", "graph"):
            self._refuse(f"expected 'dag' or 'digraph', got {self._next.text or 'the end of the text'!r}")
        self._take()
        if self._next.text != "{":
            self._name()
        self._expect("{")
        self._statements()
        if self._next.kind != "end":
            self._refuse(f"expected nothing after the last '}}', got {self._next.text!r}")
        return self._said

    def _statements(self) -> list[str]:
        """Read up to the closing brace; return the nodes named on the way."""
        self._depth += 1
        if self._depth > MAX_DEPTH:
            self._refuse(f"groups are nested more than {MAX_DEPTH} deep")
        named: dict[str, None] = {}
        while not self._accept("}"):
            if not self._accept(";", ","):
                named.update(dict.fromkeys(self._statement()))
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
            self._said.graph[name] = self._name()
            return []
        return self._chain([self._node(name, start)])

    def _defaults(self) -> None:
        """Read `graph [...]`, `node [...]` or `edge [...]`; only the graph's attributes are kept."""
        kind = self._take().text.lower()
        attributes = self._attributes()
        if kind == "graph":
            self._said.graph.update(attributes)

    def _chain(self, group: list[str]) -> list[str]:
        """Read what follows a group: edges to further groups, or the attributes of its nodes."""
        named, pairs = list(group), []
        while self._next.kind == "arrow":
            arrow, start = self._take().text, self._next.start
            if arrow not in ("->", "<-"):
                self._refuse(f"{arrow} is {_UNSUPPORTED.get(arrow, 'an edge whose direction is unknown')}", start)
            following = self._group()
            causes, effects = (group, following) if arrow == "->" else (following, group)
            pairs += [(cause, effect) for cause in causes for effect in effects]
            named.extend(following)
            group = following
        attributes = self._attributes()
        if pairs:
            for pair in pairs:
                self._said.edges.setdefault(pair, {}).update(attributes)
        else:
            for name in named:
                self._said.nodes[name].update(attributes)
        return named

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
        if self._accept(":"):
            self._name()
        self._said.nodes.setdefault(name, {})
        if len(self._said.nodes) > MAX_CONCEPTS:
            self._refuse(f"more than {MAX_CONCEPTS} concepts, of which {name!r} is one too many", start)
        return name

    def _name(self) -> str:
        if self._next.kind == "word":
            return self._take().text
        if self._next.kind != "string":
            self._refuse(f"expected a name, got {self._next.text or 'the end of the text'!r}")
        parts = [_unquote(self._take().text)]
        while self._accept("+"):
            parts.append(_unquote(self._take().text))
        return "".join(parts)

    def _attributes(self) -> dict[str, str]:
        """Read any number of `[key=value, flag]` lists; a flag has the value "true"."""
        attributes: dict[str, str] = {}
        while self._accept("["):
            while not self._accept("]"):
                if not self._accept(",", ";"):
                    key = self._name()
                    attributes[key] = self._name() if self._accept("=") else "true"
        return attributes
