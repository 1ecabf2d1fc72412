"""Texts for robustness.py: graphs and replies to damage, and texts of 1 MB that are made to be slow or large to read."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

from csg.causal.formats import FORMATS, read_graph, write_graph

ROOT = Path(__file__).resolve().parent.parent
LONGEST = 1_000_000

FOREIGN = (
    'digraph {\n  rankdir=LR;\n  edge [dir=none, color="grey"];\n  sun -> mud;\n  sun -> "dry road" [dir=back];\n}',
    'strict digraph g { node [shape=box] a [label="a\\nb"]; { b c } -> d [arrowhead=odot]; a:p:ne -> d [style=invis] }',
    'dag {\nbb="0,0,1,1"\n"café" [exposure,pos="-1.2,0.3"]\nB [outcome,pos="1,2"]\n"café" -> B\nB <-> C\nC @-> D\n}',
    "pdag { a -> b; b -- c; c <- d }",
    "Here it is:\n```dot\ngraph { a -- b }\n```\n",
    'g <- dagitty("dag { x -> y [beta=.3] }")',
    "rain -> puddles -> mud; rain -> umbrella",
    "digraph { a [label=<<b>Wet</b> &amp; cold<br/>>]; a -> b; /* c */ b -> c // d\n # e\n }",
)
PIECES = (
    *"{}[]<>\"'\\,;:=+-#/*`~@ \n\t",
    "->",
    "<-",
    "--",
    "<->",
    "/*",
    "*/",
    "//",
    "```",
    '\\"',
    "\\u0000",
    "null",
    "true",
    "1e999",
    "NaN",
    "é",
    "\u0301",
    "\u202e",
    "\ud83c\udf27",
    "雨",
    "\ufeff",
    "csg=",
    "pos=",
    "label=<",
    "dir=back",
    "[proposed]",
    "<think>",
    "</think>",
    "yes",
    "no",
)


def graphs() -> list[str]:
    """The presets in every form, and graphs as other programs write them."""
    presets = sorted((ROOT / "web" / "editor" / "presets").glob("*.json"))
    known = [read_graph(path.read_text(encoding="utf-8")) for path in presets]
    return [write_graph(graph, form) for graph in known for form in FORMATS] + list(FOREIGN)


def replies() -> list[str]:
    """Answers to every question, plain and as models and servers wrap them."""
    concepts = [
        {"name": "weather", "value": "sunny", "values": {"sunny": "sunny weather", "rainy": "rain"}, "scope": "global"},
        {"name": "road", "value": "dry", "values": ["dry", "wet"]},
    ]
    graph = {
        "base_prompt": "a road on a sunny day",
        "concepts": concepts,
        "edges": [{"cause": "weather", "effect": "road", "reason": "rain wets it"}],
    }
    values = {
        "values": [{"concept": "road", "reason": "rain", "value": "wet", "phrase": "a wet road"}],
        "prompt": "a wet road",
    }
    asked = {"interventions": [{"concept": "weather", "value": "rainy", "reason": "x"} | values]}
    plain = [
        json.dumps(each) for each in (graph, values, asked, {"answer": "yes"}, {"description": "a", "base_prompt": "b"})
    ]
    wrapped = [_wrapped(text) for text in plain]
    return (
        plain
        + [each for some in wrapped for each in some]
        + ["The answer is yes, because there is no sun.", "No.", "是的"]
    )


def _wrapped(text: str) -> list[str]:
    data: Any = json.loads(text)
    return [
        f"<think>Let me see {{x}}.</think>\n```json\n{json.dumps(data, indent=2)}\n```\nDone.",
        json.dumps({"result": data}),
        json.dumps({"function": {"name": "f", "arguments": text}}),
        repr(data),
        repr([text]),
        f"<tool_call>{text}</tool_call>",
        text[:-1] + ",}",
        text.replace('"', "'"),
        f"// answer\n{text} /* end */",
        text[: len(text) // 2],
    ]


def damaged(texts: list[str], chance: random.Random) -> str:
    """One of the texts after one to twelve cuts, insertions, doublings and splices."""
    text = chance.choice(texts)
    for _ in range(chance.randint(1, 12)):
        start = chance.randint(0, len(text))
        stop = min(len(text), start + chance.choice((0, 0, 1, 2, 8, 40)))
        other = chance.choice(texts)
        at = chance.randint(0, len(other))
        new = chance.choice((chance.choice(PIECES), "", text[start:stop] * 2, other[at : at + chance.randint(1, 60)]))
        text = text[:start] + new + text[stop:]
    return text


def _filled(head: str, unit: str, tail: str = "") -> str:
    return head + unit * ((LONGEST - len(head) - len(tail)) // len(unit)) + tail


_UNITS = (
    "{",
    "[",
    "}",
    "]",
    '"',
    "\\",
    '\\"',
    "`",
    "```\n",
    "```json\n{",
    "x\n```\n/*\n```\n",
    '{"a":',
    '[{"a":',
    "{}",
    "[]",
    '{"a":1}',
    "'",
    ",",
    ";",
    " ",
    "\n",
    "\t",
    "\xa0",
    "/*",
    "/**/",
    "//",
    "#",
    "<",
    "<>",
    "<think>",
    "</think>",
    "<think></think>",
    '{"concepts":[]}',
    '{"a":"{',
    '{"concepts":[{"name":"a","value":"b"}]}',
    "yes ",
    "no ",
    "yes or no ",
    "the answer is ",
    "answer: yes. ",
    "是",
    "否",
    "a -> b; ",
    "a->",
    "a ",
    "a.",
    "a=b;",
    "a = 1\n",
    "- a\n",
    "\u0301\u0316",
    "e\u0301",
    "\ufeff",
    "dag ",
    "dag {",
    "graph ",
    "[a]",
    "a 1\n",
    "net ",
    "from\t",
    "+",
    "['a",
    "not ",
    "没有",
    '{"x":{"concepts":[1]}}',
    '{"interventions":[{"concept":"a","value":"b"}]}',
    "()",
    "embedding:",
    "a\r\n",
    "\u2028",
)
_FRAMED = (
    ("digraph{a[", "k=v ", "]}"),
    ("digraph{", '"a"+', '"a"}'),
    ("digraph{", "a ", "}"),
    ("digraph{a", ":a", "}"),
    ("digraph{a", "[]", "}"),
    ("digraph{", "{}", "}"),
    ("digraph{", "node[label=a]", "}"),
    ("digraph{", "subgraph a{}", "}"),
    ("digraph{a[", "x=<>", "]}"),
    ("digraph{", "a->b;", "}"),
    ("digraph{a[label=<", "<b>", ""),
    ("digraph{a[label=<", "&#65;", ">]}"),
    ('digraph{a[label="', "\\N", '"]}'),
    ('digraph{a[shape=record,label="', "<a", '"]}'),
    ('digraph{node[label="', "&#65;", '"] a b c d e f g h i j}'),
    ('digraph{"', "\u0301\u0316", '"}'),
    ('digraph{a[pos="1', " ", 'x,2"]}'),
    ('digraph{a[style="', " ,", '"]}'),
    ("x dag {", '\\"', ""),
    ("x dag {", "/*", ""),
    ("x dag {", '"', ""),
    ("x dag", " ", ""),
    ("from", "\t", ""),
    ("net", " ", ""),
    ("graph", " ", ""),
    ("nodes:", " ", ""),
    ("x\n", "```\n", ""),
    ("[", "[a]", "x"),
    ('{"concepts":[', '{"name":"a","value":"b"},', '{"name":"a","value":"b"}]}'),
    ('{"concepts":[],"edges":[', '{"cause":"a","effect":"b"},', "{}]}"),
    ('{"concepts":[{"name":"a","value":"b"}],"edges":"', "a -> b; ", '"}'),
    ('{"concepts":[{"name":"a","value":"b","values":"', "a or ", '"}]}'),
    ('{"concepts":["a', " ", '"]}'),
    ('{"concepts":[],"x":[', "[[[]]],", "[]]}"),
    ('{"concepts":[],"x":', "9", "}"),
    ('{"concepts":[],"x":[', "1e5,", "1]}"),
    ('{"base_prompt":"', "<", '"}'),
    ('{"base_prompt":"', "\u0301\u0316", '","concepts":[]}'),
    ('{"content":"', '{\\"content\\":', '"}'),
    ("<think>", '{"a":1} ', "</think>"),
    ("The answer", " ", "is yes"),
    ('{"answer":"', "yes no ", '"}'),
    ("['", "x ", "']"),
    ('{"concepts":[', '"it"s", ', '"a"]}'),
    ("{", '"a" -> "b" ; ', '"a"}'),
    ("", "rain --> mud\n", "o-> x"),
    ("{", '"a":["b"],', '"c":[]}'),
    ('{"nodes":[],"links":[', '["a","b"],', "[]]}"),
)


def large() -> dict[str, str]:
    """Texts of 1 MB by what they are made of."""
    texts = {repr(unit): _filled("", unit) for unit in _UNITS}
    texts |= {f"{head!r} + {unit!r}": _filled(head, unit, tail) for head, unit, tail in _FRAMED}
    names = range(60_000)
    texts |= {
        "many keys": '{"concepts":[],' + ",".join(f'"k{i}":1' for i in names) + "}",
        "many values": '{"concepts":[{"name":"a","value":"b","values":{'
        + ",".join(f'"v{i}":"p"' for i in names)
        + "}}]}",
        "many wrong values": '{"concepts":[{"name":"a","value":"b","values":{'
        + ",".join(f'"v{i}":[1]' for i in names)
        + "}}]}",
        "groups in groups": _filled("digraph{", "{" * 30 + " ".join(f"n{i}" for i in range(60)) + "}" * 30, "}"),
        "groups to groups": _filled(
            "digraph{", " -> ".join(["{" + " ".join(f"n{i}" for i in range(8)) + "}"] * 3) + ";", "}"
        ),
        "a long name in its label": 'digraph{"' + "a" * 500_000 + '"[label="' + "\\N" * 240_000 + '"]}',
        "objects as texts": '{"x":[' + ",".join(['{"a":"{\\"b\\":1,}"}'] * 45_000) + "]}",
    }
    return texts
