"""A model that answers from a script and remembers what it was asked."""
from __future__ import annotations

import copy
import json
from pathlib import Path

from csg.causal.graph import CausalGraph, Concept, Edge

GOOD = {path.stem: path.read_text(encoding="utf-8") for path in (Path(__file__).parent / "replies").glob("*.json")}


class ScriptedVLM:
    """Answers with the given replies in turn; texts, or data that becomes JSON. Keeps the questions in `asked`."""

    def __init__(self, *replies):
        self.replies = [reply if isinstance(reply, str) else json.dumps(reply) for reply in replies]
        self.asked = []

    def ask(self, question, progress=None):
        self.asked.append(question)
        return self.replies[len(self.asked) - 1]

    @property
    def prompts(self):
        return [question.prompt for question in self.asked]


def street_graph() -> CausalGraph:
    """weather -> ground -> reflections, and a house that nothing causes."""
    return CausalGraph(
        "a yellow house by the dry road in sunny weather",
        (
            Concept("weather", "sunny", {"sunny": "sunny weather", "rainy": "rain from dark clouds"}),
            Concept("ground", "dry", {"dry": "dry road", "wet": "wet road"}),
            Concept("reflections", "none", {"none": "", "mirrored": "reflections in puddles"}),
            Concept("house", "yellow", {"yellow": "yellow house", "blue": "blue house"}),
        ),
        (Edge("weather", "ground", "rain wets the road"), Edge("ground", "reflections", "puddles mirror")),
    )


SPLINTERS = list('{}[]",:\\\n ') + ["null", "true", "1e999", '"', "'", "```", "<think>", "</think>", "\u202e", "\ud800", "NaN"]


def mutated(text, random_):
    """Damage a text in one to six places."""
    for _ in range(random_.randint(1, 6)):
        at, kind = random_.randrange(len(text) + 1), random_.randrange(5)
        if kind == 0:
            text = text[:at] + random_.choice(SPLINTERS) + text[at:]
        elif kind == 1:
            text = text[:at] + text[at + random_.randint(1, 40) :]
        elif kind == 2:
            text = text[:at]
        elif kind == 3:
            other = random_.randrange(len(text) + 1)
            text = text[:at] + text[min(at, other) : max(at, other)] + text[at:]
        else:
            text = text.replace(*random_.sample(["name", "value", "cause", "effect", "weather", "sunny", "edges", '"'], 2))
    return text


ODDITIES = [None, True, -1, 1e308, float("nan"), 10**50, "", "\ud800", "a" * 3000, [], {}, [[None]], {"": ""}, {"name": {}}, "weather",
            "__proto__", "=;#", "\u202e\u200b", ["weather", "ground"], {"weather": "sunny"}, {"values": [{}]}]  # fmt: skip


def rearranged(text, random_):
    """Read a graph as JSON, add chance edges, put odd or other pieces into one to eight of its places, and write it again."""
    data = json.loads(text)
    names = [concept["name"] for concept in data["concepts"]]
    data["edges"] += [dict(zip(("cause", "effect"), random_.choices(names, k=2))) for _ in range(random_.randrange(4))]
    for _ in range(random_.randint(1, 8)):
        *way, last = random_.choice(list(_places(data))) or ("concepts",)
        part = data
        for key in way:
            part = part[key]
        kind = random_.randrange(4)
        if kind == 0:
            part[last] = copy.deepcopy(random_.choice(ODDITIES))
        elif kind == 1:
            part.pop(last, None) if isinstance(part, dict) else part.pop(last)
        elif kind == 2:
            part[last] = [copy.deepcopy(part.get(last) if isinstance(part, dict) else part[last]) for _ in range(3)]
        else:
            other = _found(data, random_.choice(list(_places(data))))
            part[last] = copy.deepcopy(other) if other is not data else text
    return json.dumps(data, ensure_ascii=random_.random() < 0.5)


def _places(data, way=()):
    yield way
    for key, inner in data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ():
        yield from _places(inner, (*way, key))


def _found(data, way):
    for key in way:
        data = data[key]
    return data
