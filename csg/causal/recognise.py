"""In which form a text holds a graph, and where in it: formats, their neighbours, and what stands around them."""

from __future__ import annotations

import re
from typing import NamedTuple

from .graph import GraphError, quoted

# blanks of every script, spelt out: Python's own \\s and JavaScript's differ
BLANKS = "\t-\r\x1c-\x20\x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000\ufeff"

_AROUND = re.compile(rf"(?:[{BLANKS}]+|//[^\n]*|\#[^\n]*|/\*.*?\*/)*", re.DOTALL)
_KEYWORD = re.compile(
    rf"(?:strict[{BLANKS}]+)?(?P<kind>dag|pdag|mag|pag|digraph|graph)(?![\w.-])"
    rf'(?:[{BLANKS}]*(?:"[^"\\]{{0,200}}"|[\w.-]{{1,200}}))?[{BLANKS}]*\{{',
    re.IGNORECASE,
)
_FENCE = re.compile(r"^[ \t]*(?:```|~~~)[^\n]*\n(.*?)^[ \t]*(?:```|~~~)", re.DOTALL | re.MULTILINE)
# what is never closed ends with the text: seeking its end from every mark anew would take quadratic time
_STRINGS_AND_BRACES = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*(?:"|\\?\Z)|//[^\n]*|/\*.*?(?:\*/|\Z)|[{}]', re.DOTALL)
_QUOTED = re.compile(r'[^"\\]*(?:\\.[^"\\]*)*', re.DOTALL)
_IN_QUOTES = re.compile(r"\\([\"'\\n])")
_ARROWS = re.compile(r"[^{}\[\]\n]*(?:->|<-|=>|[\u2190\u2192\u2194\u21d2\u27f6])[^\n]*")
# other ways to draw an arrow by hand, and the circles of TETRAD's lists of edges
_OTHER_ARROWS = re.compile(
    r'"[^"\\]*(?:\\.[^"\\]*)*(?:"|\\?\Z)|(?P<both><-{2,3}>)|(?P<open>(?<=[ \t])o-{1,2}>)|(?P<opened><-{1,2}o(?=[ \t]))'
    r"|(?P<circles>(?<=[ \t])o-{1,2}o(?=[ \t]))|(?P<right>-{2,3}>|={1,2}>|[\u21d2\u27f6])|(?P<left><-{2,3}(?!o))|(?P<line>---)",
    re.DOTALL,
)
_OUR_ARROWS = {"both": "<->", "open": "@->", "opened": "<-@", "circles": "@-@", "right": "->", "left": "<-", "line": "--"}
# arrows alone may be a list, and a name of several words needs quotes there: prose with an arrow in it is no graph
_BULLETS = re.compile(r"^[ \t]*(?:[-*\u2022]|[0-9]{1,3}[.)])(?=[ \t])", re.MULTILINE)
_NOT_NAMES = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*(?:"|\\?\Z)|\[[^\]]*(?:\]|\Z)|\{[^}]*(?:\}|\Z)|//[^\n]*|\#[^\n]*', re.DOTALL)
_BESIDE = re.compile(r'[\w.][ \t]+[\w"]|"[ \t]+\w')
_OLD_DAGITTY = re.compile(r"\S*[^\s:] +[1EOUA](?: +@-?[\d.]+,-?[\d.]+)? *(?:\n|$)")
_MODEL_STRING = re.compile(r'\[[^\[\]"{}\n,]+\](?:\[[^\[\]"{}\n,]+\])+[ \t\r\n]*\Z')
_REFUSED = "This is {}, which is not read here. Save it as DOT (Graphviz), as DAGitty's `dag {{ ... }}`."
_DAGITTY_KINDS = ("dag", "pdag", "mag", "pag")
_NEIGHBOURS = (
    (re.compile(r"<\?xml|<graphml|<bif\b|<gexf\b", re.IGNORECASE), "XML (GraphML, XMLBIF or GEXF)"),
    (re.compile(r"(network|net|node)\s[^{]{0,200}\{", re.IGNORECASE), "BIF or NET, a Bayesian network"),
    (re.compile(r"graph\s+(LR|RL|TB|TD|BT)\b|flowchart\b|stateDiagram|%%", re.IGNORECASE), "Mermaid"),
    (re.compile(r"graph\s*\[|Creator\b", re.IGNORECASE), "GML"),
    (re.compile(r"@startuml", re.IGNORECASE), "PlantUML"),
    (re.compile(r"(?:version:[^\n]*\n)?(?:nodes|concepts|edges)[ \t]*:[ \t]*[\n\[]|---[ \t]*\n", re.IGNORECASE),
     "YAML, or Mermaid with a head of YAML"),
    (_OLD_DAGITTY, "DAGitty's old notation"),
    (re.compile(r"Graph (?:Nodes|Edges):", re.IGNORECASE), "a graph of TETRAD or causal-learn"),
    (re.compile(r"[\w/ ]{0,40}Bayesian network|model(?:string)?[ \t]{0,9}[:=][ \t\n\"]{0,9}\[", re.IGNORECASE),
     "a network printed by bnlearn"),
    (re.compile(r"[^|\n]*\|[^\n]*\n[ \t:|]*--[ \t:|-]*(?:\n|\Z)"), "a table (Markdown)"),
    (re.compile(r"[\w.]+[ \t]*(?:~~|=~|~)"), "a model of lavaan or a formula of R"),
    (re.compile(r"\"?(source|from|cause|parent)\"?[ \t]{0,9}[,;\t][ \t]{0,9}\"?(target|to|effect|child)\b", re.IGNORECASE),
     "a table of edges (CSV)"),
    (re.compile(r'(?:"")?,[^\n,]*,[^\n]*\n'), "a table (CSV)"),
    (re.compile(r"dagify\(|[\w.]{1,200}[ \t]{0,9}(?:<-|=)[ \t]{0,9}(?:ggdag::)?dagify\("), "a model of ggdag, formulas of R"),
)


class Recognised(NamedTuple):
    """The format ("json", "dagitty", "dot") of a graph, and the part of the text that holds it, on its own lines."""

    format: str
    text: str


def recognise(text: str) -> Recognised:
    """Find the graph in a text; GraphError for one in a known format that is not read.

    A graph may stand behind comments, in a code fence or inside a program; arrows alone, such as `a -> b`, are read as a
    DAGitty model. Whatever is none of these is taken for JSON.
    """
    start = _AROUND.match(text).end()
    if _MODEL_STRING.match(text, start):
        raise GraphError(_REFUSED.format("a model string of bnlearn"))
    if text.startswith(("{", "["), start):
        return Recognised("json", text)
    if (drawn := _drawn(text, start)) is not None:
        return drawn
    _refuse_neighbours(text, start)
    return _inside(text) or _arrows_alone(text, start) or Recognised("json", text)


def _refuse_neighbours(text: str, start: int) -> None:
    for pattern, name in _NEIGHBOURS:
        if pattern.match(text, start):
            raise GraphError(_REFUSED.format(name))


def _drawn(text: str, start: int) -> Recognised | None:
    keyword = _KEYWORD.match(text, start)
    if keyword is None:
        return None
    return Recognised(_format(keyword), _on_its_lines(text, start, len(text)))


def _inside(text: str) -> Recognised | None:
    """A graph in the first fence that holds one, or anywhere in a program, up to its closing brace."""
    for fence in _FENCE.finditer(text):
        start = _AROUND.match(text, fence.start(1), fence.end(1)).end()
        if text.startswith("{", start):
            return Recognised("json", _on_its_lines(text, start, fence.end(1)))
        if (keyword := _KEYWORD.match(text, start)) is not None:
            return Recognised(_format(keyword), _on_its_lines(text, start, fence.end(1)))
        _refuse_neighbours(text, start)
    keyword = next((k for k in _KEYWORD.finditer(text) if not text[k.start() - 1 : k.start()].isalnum()), None)
    if keyword is None:
        return None
    start = keyword.start()
    if text[start - 1 : start] == '"' and text[max(0, start - 3) : start] != '"""':
        stop = _QUOTED.match(text, start).end()
        return Recognised(_format(keyword), _on_its_lines(text, start, start) + _unescaped(text[start:stop]))
    return Recognised(_format(keyword), _on_its_lines(text, start, _closing(text, keyword.end())))


def _unescaped(text: str) -> str:
    """What a program's text in double quotes stands for."""
    return _IN_QUOTES.sub(lambda match: "\n" if match[1] == "n" else match[1], text)


def _arrows_alone(text: str, start: int) -> Recognised | None:
    if not _ARROWS.match(text, start):
        return None
    lines = _BULLETS.sub("", _on_its_lines(text, start, len(text)))
    lines = _OTHER_ARROWS.sub(lambda match: _OUR_ARROWS.get(match.lastgroup or "", match[0]), lines)
    names = _NOT_NAMES.sub(lambda match: '""' if match[0][0] == '"' else ";", lines)
    if beside := _BESIDE.search(names):
        shown = quoted(names[max(0, beside.start() - 20) : beside.end() + 20].strip())
        raise GraphError(f"two names stand beside each other without an arrow: {shown}. Put a name of several words in quotes.")
    return Recognised("dagitty", f"dag {{{lines}\n}}")


def _format(keyword: re.Match[str]) -> str:
    return "dagitty" if keyword["kind"].lower() in _DAGITTY_KINDS else "dot"


def _closing(text: str, start: int) -> int:
    """Where the brace closes that was opened before `start`; the end of the text if it never does."""
    depth = 1
    for mark in _STRINGS_AND_BRACES.finditer(text, start):
        depth += {"{": 1, "}": -1}.get(mark[0], 0)
        if depth == 0:
            return mark.end()
    return len(text)


def _on_its_lines(text: str, start: int, stop: int) -> str:
    """The part of the text, with the line breaks before it: so that complaints name its lines."""
    return "\n" * text.count("\n", 0, start) + text[start:stop]
