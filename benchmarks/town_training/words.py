"""The small model's tokenizer: bytes and a few merges for any text, and one token for each fragment that always returns.

A question of the product is a long text of which little changes. Each constant stretch of a prompt file is one token, and
so is each concept with its value, each edge and each phrase: a conversation of 4000 characters has some hundred tokens.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

from town_expected import TRUE_EDGES

from csg.town.world import BY_NAME, NAMES, VARIABLES
from csg.vlm.prompting import NAMES as PROMPTS
from csg.vlm.prompting import PromptBook, fenced

from . import dialogues as taught

SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>")
CHAT = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{% if m['content'] is string %}{{ m['content'] }}{% else %}"
    "{% for part in m['content'] %}{% if part['type'] == 'image' %}<|vision_start|><|image_pad|><|vision_end|>"
    "{% elif part['type'] == 'text' %}{{ part['text'] }}{% endif %}{% endfor %}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
MERGES = 200
UNFENCED = ("max_concepts", "count", "prompt")
HOLE = "HOLE"
KEYS = ("seen", "description", "base_prompt", "max_concepts", "phrase", "concepts", "graph", "interventions", "settled",
        "descendants", "candidates", "count", "prompt", "reply", "problems")  # fmt: skip


def prompt_pieces() -> Iterator[str]:
    """The constant stretches of every prompt file, with the markers around what is filled in."""
    filling = {key: HOLE if key in UNFENCED else fenced(HOLE) for key in KEYS}
    for name in PROMPTS:
        body = PromptBook().fill(name, filling)
        yield from (piece for piece in body.split(HOLE) if piece)


def _text(data: Any) -> str:
    return json.dumps(data)


def _items(texts: Iterable[str]) -> Iterator[str]:
    """Each text as the first of a list and as a later one."""
    for text in texts:
        yield from (text, f", {text}")


def concept_pieces() -> Iterator[str]:
    """Concepts with their values, as graphs tell them and replies write them."""
    told = (_text({"name": v.name, "value": value, "values": dict(v.phrases)})[:-1] for v in VARIABLES for value in v.domain)
    yield from told
    for name, about in taught.DESCRIPTIONS.items():
        described = f', "description": {_text(about)}}}'
        yield from (f"{described}, ", f'{described}], "edges": [')
        scoped = f', "scope": "{BY_NAME[name].scope}"{described}'
        yield from (f"{scoped}, ", f'{scoped}], "edges": [', f"{scoped}]}}")
    listed = (_text({"name": v.name, "value": value, "values": list(v.domain)}) for v in VARIABLES for value in v.domain)
    yield from _items(listed)


def edge_pieces() -> Iterator[str]:
    """The world's edges whole, any other one in parts."""
    yield from _items(_text({"cause": c, "effect": e, "reason": taught.EDGE_REASONS[c, e]}) for c, e in TRUE_EDGES)
    yield from _items(f'{{"cause": "{name}", ' for name in NAMES)
    yield from (f'"effect": "{name}", "reason": "' for name in NAMES)
    yield from (f'"effect": "{name}", "reason": ""}}' for name in NAMES)
    yield from (f'{reason}"}}' for reason in taught.EDGE_REASONS.values())


def value_pieces() -> Iterator[str]:
    """Assignments, names, domains and phrases."""
    pairs = [(v.name, value) for v in VARIABLES for value in v.domain]
    yield from _items(f'"{name}": "{value}"' for name, value in pairs)
    yield from _items(f'"{name}"' for name in NAMES)
    yield from _items(f'"{v.name}": {_text(list(v.domain))}' for v in VARIABLES)
    yield from _items(phrase for v in VARIABLES for phrase in v.phrases.values())


def reply_pieces() -> Iterator[str]:
    """What replies are made of besides."""
    yield from _items(f'{{"concept": "{name}", "reason": "' for name in NAMES)
    clauses = {taught.CAUSES_STAY, taught.STAYS} | {c for found in taught.BECAUSE.values() for c in found.values()}
    yield from (f'{clause}", "value": "' for clause in sorted(clauses))
    yield from (f'{value}"}}' for value in sorted({value for v in VARIABLES for value in v.domain}))
    yield from _items(f'{{"concept": "{v.name}", "value": "{value}", "reason": "' for v in VARIABLES for value in v.domain)
    yield from (f'{why}", "values": [' for why in taught.CHOSEN_BECAUSE)
    yield from (_text({"answer": answer}) for answer in ("yes", "no"))
    yield _text({"description": taught.DESCRIPTION, "base_prompt": ""})[:-2]
    yield taught.DESCRIPTION


GLUE = (
    "user\n", "assistant\n", "(nothing)", "\n", "{}", "[]", '{"base_prompt": "', '", "concepts": [', '}, ', '}], "edges": [',
    '"}', "]}", '{"values": [', '], "prompt": "', '{"interventions": [', '{"concepts": [', '{"edges": [',
)  # fmt: skip


def pieces() -> list[str]:
    """Every fragment that has a token of its own, each once."""
    sources = (prompt_pieces(), concept_pieces(), edge_pieces(), value_pieces(), reply_pieces(), GLUE)
    return list(dict.fromkeys(piece for source in sources for piece in source))


def build() -> Any:
    """The tokenizer, as transformers wants it."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=256 + MERGES, initial_alphabet=alphabet, show_progress=False)
    core.train_from_iterator(pieces(), trainer)
    core.add_special_tokens(list(SPECIAL))
    core.add_tokens([AddedToken(piece, normalized=False, special=False) for piece in pieces()])
    return PreTrainedTokenizerFast(
        tokenizer_object=core, eos_token="<|im_end|>", pad_token="<|endoftext|>", clean_up_tokenization_spaces=False,
        additional_special_tokens=list(SPECIAL[1:]),
    )  # fmt: skip
