"""Training of the small vision-language model: a Qwen3-VL of tiny measures, from a random start.

A row of a batch is a picture with one or more conversations about it: they share the picture's tokens, and each sees only
these and itself. That equals separate conversations and spares repetition; the picture is looked at once for all its rows.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from csg.town.canvas import THINGS
from csg.town.world import BY_NAME

from . import words
from .data import decode
from .dialogues import SMALL, Dialogue, lesson
from .runs import Meter, Run, cosine_tail

SIDE, PATCH, MERGE, TEMPORAL = 128, 16, 2, 2
GRID = SIDE // PATCH
SEEN = (GRID // MERGE) ** 2
OPENING = 2  # tokens before the picture: <|im_start|>, user
LONG_ROW = 144  # longer rows make a batch of their own, so that padding stays small
IGNORED = -100
PRESENT = 0.04  # the share of a patch from which on something stands there


@dataclass(frozen=True)
class Settings:
    """Measures of the model and hyper-parameters of its training."""

    steps: int = 1240
    batch: int = 13
    rate: float = 1e-3
    warmup: int = 100
    anneal: int = 200
    decay: float = 0.995
    decoded: float = 0.2
    small_things: float = 4.0  # how much more the phrases of small things count
    places: float = 2.0  # weight of the guess what stands where
    sitting: str = ""  # what prevails, see `dialogues.lesson`
    seed: int = 7
    width: int = 192
    layers: int = 4
    sight: int = 128
    sight_layers: int = 4


# ---------------------------------------------------------------------------------------- the model


def configuration(tokenizer: Any, settings: Settings) -> Any:
    """A Qwen3-VL configuration of these measures."""
    from transformers import Qwen3VLConfig

    ids = {name: tokenizer.convert_tokens_to_ids(name) for name in words.SPECIAL}
    text = {
        "vocab_size": len(tokenizer), "hidden_size": settings.width, "intermediate_size": 5 * settings.width // 2,
        "num_hidden_layers": settings.layers, "num_attention_heads": settings.width // 32,
        "num_key_value_heads": settings.width // 64, "head_dim": 32, "max_position_embeddings": 4096,
        "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [6, 5, 5], "mrope_interleaved": True},
        "eos_token_id": ids["<|im_end|>"], "pad_token_id": ids["<|endoftext|>"], "tie_word_embeddings": False,
    }  # fmt: skip
    vision = {
        "depth": settings.sight_layers, "hidden_size": settings.sight, "intermediate_size": 3 * settings.sight,
        "num_heads": settings.sight // 32, "out_hidden_size": settings.width, "patch_size": PATCH, "spatial_merge_size": MERGE,
        "temporal_patch_size": TEMPORAL, "num_position_embeddings": GRID**2, "deepstack_visual_indexes": [1, 2],
    }  # fmt: skip
    return Qwen3VLConfig(
        text_config=text, vision_config=vision, tie_word_embeddings=False,
        image_token_id=ids["<|image_pad|>"], video_token_id=ids["<|video_pad|>"],
        vision_start_token_id=ids["<|vision_start|>"], vision_end_token_id=ids["<|vision_end|>"],
    )  # fmt: skip


def network(tokenizer: Any, settings: Settings) -> Any:
    """The model with random weights, ready to be trained and to be saved."""
    from transformers import Qwen3VLForConditionalGeneration

    torch.manual_seed(settings.seed)
    config = configuration(tokenizer, settings)
    model = Qwen3VLForConditionalGeneration._from_config(config, attn_implementation="eager")
    model.generation_config.eos_token_id = config.text_config.eos_token_id
    model.generation_config.pad_token_id = config.text_config.pad_token_id
    model.model.visual.guess = nn.Linear(settings.sight, len(THINGS))  # in training only, see `misplaced`
    return model.float()


def processor(tokenizer: Any) -> Any:
    """Pictures of any size become 128 x 128 pixels, which are 16 tokens; conversations get their marks."""
    from transformers import Qwen2VLImageProcessor, Qwen3VLProcessor, Qwen3VLVideoProcessor

    sizes = {"patch_size": PATCH, "merge_size": MERGE, "temporal_patch_size": TEMPORAL,
             "size": {"shortest_edge": SIDE**2, "longest_edge": SIDE**2}, "image_mean": [0.5] * 3, "image_std": [0.5] * 3}  # fmt: skip
    return Qwen3VLProcessor(
        Qwen2VLImageProcessor(**sizes), tokenizer, Qwen3VLVideoProcessor(**sizes), chat_template=words.CHAT
    )


# ------------------------------------------------------------------------------------------ packing


@dataclass(frozen=True)
class Batch:
    """Rows of packed conversations.

    picture (B,): the row's picture; ids, labels (B, L); positions (3, B, L); mask (B, 1, L, L), True where a token may look.
    """

    picture: Tensor
    ids: Tensor
    labels: Tensor
    positions: Tensor
    mask: Tensor


class Packer:
    """Turns conversations into rows of tokens."""

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        ids = {name: tokenizer.convert_tokens_to_ids(name) for name in words.SPECIAL}
        self.pad, self.end = ids["<|endoftext|>"], ids["<|im_end|>"]
        user, assistant, line = tokenizer.convert_tokens_to_ids(["user\n", "assistant\n", "\n"])
        self.picture = [ids["<|im_start|>"], user, ids["<|vision_start|>"], *[ids["<|image_pad|>"]] * SEEN, ids["<|vision_end|>"]]
        self.turn = [self.end, line, ids["<|im_start|>"], assistant]

    def positions(self) -> Tensor:
        """(3, prefix): time, height and width of the opening and the picture's tokens."""
        first, side = OPENING + 1, GRID // MERGE
        rows, columns = np.divmod(np.arange(SEEN), side)
        text = list(range(first))
        return torch.tensor([
            [*text, *[first] * SEEN, first + side],
            [*text, *(first + rows), first + side],
            [*text, *(first + columns), first + side],
        ])  # fmt: skip

    def tokens(self, dialogue: Dialogue) -> tuple[list[int], int]:
        """The tokens after the picture, and how many of them are the question."""
        encode = self.tokenizer.backend_tokenizer.encode
        asked = encode(dialogue.prompt, add_special_tokens=False).ids + self.turn
        return asked + encode(dialogue.reply, add_special_tokens=False).ids + [self.end], len(asked)

    def __call__(self, pictures: Sequence[Sequence[Sequence[Dialogue]]]) -> list[Batch]:
        """Pack the conversations of several pictures, each with some rows of them; short and long rows apart."""
        packed = [(number, self._row(row)) for number, rows in enumerate(pictures) for row in rows]
        short = [pair for pair in packed if pair[1].shape[1] <= LONG_ROW]
        long = [pair for pair in packed if pair[1].shape[1] > LONG_ROW]
        return [self._batch(*zip(*pairs, strict=True)) for pairs in (short, long) if pairs]

    def _batch(self, which: Sequence[int], packed: Sequence[np.ndarray]) -> Batch:
        longest = max(row.shape[1] for row in packed)
        found = np.zeros((len(packed), 7, longest), np.int64)
        found[:, 0], found[:, 1], found[:, 5] = self.pad, IGNORED, -1
        for place, row in zip(found, packed, strict=True):
            place[:, : row.shape[1]] = row
        ids, labels, *positions, part, sees = torch.from_numpy(found).unbind(1)
        return Batch(torch.tensor(which), ids, labels, torch.stack(positions), _mask(part, sees.bool()))

    def _row(self, dialogues: Sequence[Dialogue]) -> np.ndarray:
        """(7, L): ids, labels, three positions, conversation (0 for the picture), whether it sees the picture."""
        known, prefix = self.positions().numpy(), len(self.picture)
        parts = [np.stack([self.picture, [IGNORED] * prefix, *known, [0] * prefix, [1] * prefix])]
        for number, dialogue in enumerate(dialogues, 1):
            ids, asked = self.tokens(dialogue)
            first = known.max() + 1 if dialogue.sees else OPENING
            place = np.arange(first, first + len(ids))
            labels = [IGNORED] * asked + ids[asked:]
            parts.append(np.stack([ids, labels, place, place, place, [number] * len(ids), [int(dialogue.sees)] * len(ids)]))
        return np.concatenate(parts, 1)


def _mask(part: Tensor, sees: Tensor) -> Tensor:
    """A token looks back at its own conversation, at the opening, and at the picture if that came with the question."""
    place = torch.arange(part.shape[1])
    own = part[:, :, None] == part[:, None, :]
    shared = (part == 0)[:, None, :] & (sees[:, :, None] | (place < OPENING))
    return ((own | shared) & (place[:, None] >= place))[:, None]


def shrunk(pictures: np.ndarray) -> np.ndarray:
    """(B, H, W, 3) uint8 -> (B, 128, 128, 3), exactly as the processor does it."""
    from torchvision.transforms.v2 import InterpolationMode, functional

    x = torch.from_numpy(np.array(pictures)).permute(0, 3, 1, 2)
    small = functional.resize(x, [SIDE, SIDE], InterpolationMode.BICUBIC, antialias=True)
    return small.permute(0, 2, 3, 1).contiguous().numpy()


def patches(pictures: np.ndarray) -> Tensor:
    """(B, 128, 128, 3) uint8 -> (B, 64, 768) in [-1, 1] in Qwen's order: patches of one merged token together."""
    side = GRID // MERGE
    x = torch.from_numpy(pictures).float() / 127.5 - 1
    x = x.reshape(len(x), side, MERGE, PATCH, side, MERGE, PATCH, 3).permute(0, 1, 4, 2, 5, 7, 3, 6)
    return x.reshape(len(x), GRID**2, 3 * PATCH**2).contiguous()


# ------------------------------------------------------------------------------------------ forward


class Sight(nn.Module):
    """The vision tower on a batch of pictures at once: transformers' own goes picture by picture, which is slow here."""

    def __init__(self, tower: Any) -> None:
        super().__init__()
        self.tower = tower
        place = torch.arange(GRID**2).reshape(GRID // MERGE, MERGE, GRID // MERGE, MERGE).transpose(1, 2)
        self.order = place.reshape(-1)
        self.where = torch.stack([self.order // GRID, self.order % GRID], 1)

    def forward(self, pictures: Tensor) -> tuple[Tensor, list[Tensor], Tensor]:
        """Patches (B, 64, 768) -> tokens (B, 16, width), what is added to them in the first text layers, patches' features."""
        tower = self.tower
        weight = tower.patch_embed.proj.weight.reshape(len(tower.patch_embed.proj.weight), 3, TEMPORAL, PATCH**2).sum(2)
        x = F.linear(pictures, weight.flatten(1), tower.patch_embed.proj.bias) + tower.pos_embed.weight[self.order]
        cos, sin = tower.rotary_pos_emb(x, self.where)
        deep = []
        for number, block in enumerate(tower.blocks):
            x = x + self._attention(block.attn, block.norm1(x), cos, sin)
            x = x + block.mlp(block.norm2(x))
            if number in tower.deepstack_visual_indexes:
                deep.append(tower.deepstack_merger_list[len(deep)](x.flatten(0, 1)).unflatten(0, (len(x), SEEN)))
        return tower.merger(x.flatten(0, 1)).unflatten(0, (len(x), SEEN)), deep, x

    def misplaced(self, features: Tensor, covers: Tensor) -> Tensor:
        """How badly a linear guess from each patch tells what stands there; `covers` (B, things, 8, 8) are shares in [0, 1].

        Without it the tower finds the sky at once and a person on the pavement not in a thousand steps.
        """
        there = covers.flatten(2).transpose(1, 2)[:, self.order] > PRESENT
        return F.binary_cross_entropy_with_logits(self.tower.guess(features).float(), there.float())

    def _attention(self, attention: Any, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        b, n, _ = x.shape
        q, k, v = attention.qkv(x).reshape(b, n, 3, attention.num_heads, -1).permute(2, 0, 3, 1, 4)
        q, k = (t * cos.to(t.dtype) + _half_turned(t) * sin.to(t.dtype) for t in (q, k))
        weights = (q @ k.transpose(-1, -2) * attention.scaling).softmax(-1)
        return attention.proj((weights.to(v.dtype) @ v).transpose(1, 2).reshape(b, n, -1))


def _half_turned(x: Tensor) -> Tensor:
    first, second = x.chunk(2, -1)
    return torch.cat([-second, first], -1)


def logits(model: Any, seen: tuple[Tensor, list[Tensor], Tensor], batch: Batch) -> Tensor:
    """Logits (answers, vocabulary) at every place before a token of a reply; `seen` is what `Sight` made of the pictures."""
    text, (tokens, deep, _) = model.model.language_model, seen
    x = text.embed_tokens(batch.ids)
    first, last = OPENING + 1, OPENING + 1 + SEEN
    x = torch.cat([x[:, :first], tokens[batch.picture].to(x.dtype), x[:, last:]], 1)
    cos_sin = text.rotary_emb(x, batch.positions)
    blocked = torch.zeros(batch.mask.shape, dtype=x.dtype).masked_fill_(~batch.mask, torch.finfo(x.dtype).min)
    for number, layer in enumerate(text.layers):
        x = layer(x, attention_mask=blocked, position_embeddings=cos_sin)
        if number < len(deep):
            x = x + F.pad(deep[number][batch.picture].to(x.dtype), (0, 0, first, x.shape[1] - last))
    return model.lm_head(text.norm(x[:, :-1][batch.labels[:, 1:] != IGNORED]))


def answers(batch: Batch) -> Tensor:
    """The replies' tokens, in the order of `logits`."""
    wanted = batch.labels[:, 1:]
    return wanted[wanted != IGNORED]


def weights(tokenizer: Any, settings: Settings) -> Tensor:
    """How much each token of a reply counts, (vocabulary,)."""
    found = torch.ones(len(tokenizer))
    phrases = [f", {phrase}" for name in SMALL for phrase in BY_NAME[name].phrases.values()]
    found[tokenizer.convert_tokens_to_ids(phrases)] = settings.small_things
    return found


@dataclass(frozen=True)
class Step:
    """What one step learns from: rows of conversations, the pictures' patches, and what covers each of them."""

    batches: list[Batch]
    pictures: Tensor
    covers: Tensor


def errors(model: Any, sight: Sight, step: Step, weight: Tensor) -> dict[str, Tensor]:
    """Cross-entropy over the replies' tokens, error of the guess what stands where, and the share of right tokens."""
    with torch.autocast("cpu", torch.bfloat16):
        seen = sight(step.pictures)
        found = torch.cat([logits(model, seen, batch) for batch in step.batches])
        misplaced = sight.misplaced(seen[2], step.covers)
    wanted = torch.cat([answers(batch) for batch in step.batches])
    right = (found.argmax(-1) == wanted).float().mean()
    return {"loss": F.cross_entropy(found.float(), wanted, weight), "places": misplaced, "right": right}


# ----------------------------------------------------------------------------------------- training


@dataclass(frozen=True)
class Scenes:
    """Pictures (n, 128, 128, 3) uint8 with values (n, 12) and covers (n, things, 8, 8); the first of them also redrawn."""

    pictures: np.ndarray
    values: np.ndarray
    covers: np.ndarray
    redrawn: np.ndarray


class Lessons:
    """Batches of pictures with conversations, fixed by seed and step."""

    def __init__(self, scenes: Scenes, packer: Packer, settings: Settings) -> None:
        self.scenes, self.packer, self.settings = scenes, packer, settings

    def __call__(self, step: int) -> Step:
        """What one step learns from."""
        rng = np.random.default_rng((self.settings.seed, step))
        seen, rows, chosen = [], [], []
        for _ in range(self.settings.batch):
            again = rng.random() < self.settings.decoded
            source = self.scenes.redrawn if again else self.scenes.pictures
            chosen.append(int(rng.integers(len(source))))
            seen.append(source[chosen[-1]])
            rows.append(lesson(decode(self.scenes.values[chosen[-1]]), rng, self.settings.sitting))
        covers = torch.from_numpy(self.scenes.covers[chosen]).float() / 255
        return Step(self.packer(rows), _varied(patches(np.stack(seen)), rng), covers)


def _varied(x: Tensor, rng: np.random.Generator) -> Tensor:
    """Slight shifts of brightness and grain, so that nothing hangs on exact colours."""
    shift = torch.from_numpy(rng.normal(0, 0.04, (len(x), 1, 3, 1)).astype(np.float32))
    grain = torch.from_numpy((rng.random((len(x), 1, 1)) * 0.04).astype(np.float32))
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(int(rng.integers(1 << 62))))
    return (x.unflatten(2, (3, -1)) + shift).flatten(2) + grain * noise


def groups(model: Any, settings: Settings) -> list[dict[str, Any]]:
    """Weight decay for matrices only."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    return [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": 0.02},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]


def train(lessons: Lessons, model: Any, checkpoint: Path, settings: Settings) -> Any:
    """Train (or go on training); the model ends with the averaged weights, in evaluation mode."""
    sight = Sight(model.model.visual)
    optimiser = torch.optim.AdamW(groups(model, settings), settings.rate, betas=(0.9, 0.98), fused=True)
    hold = 1 - settings.anneal / settings.steps
    run = Run(model, optimiser, checkpoint, settings.steps,
              lambda step: cosine_tail(step, settings.steps, settings.rate, settings.warmup, hold), 100, settings.decay)  # fmt: skip
    meter, weight = Meter(run, 50), weights(lessons.packer.tokenizer, settings)
    model.train()
    while run.running():
        found = errors(model, sight, lessons(run.step), weight)
        run.update(found["loss"] + settings.places * found["places"])
        meter.add(**{name: value.item() for name, value in found.items()})
    run.use_average()
    return model.eval()


def save(model: Any, tokenizer: Any, folder: Path) -> None:
    """Write an ordinary Hugging Face folder: weights stored in half precision, to be computed with in single."""
    from safetensors.torch import load_file, save_file

    del model.model.visual.guess
    model.save_pretrained(folder)
    processor(tokenizer).save_pretrained(folder)
    file = folder / "model.safetensors"
    save_file({k: v.half().contiguous() for k, v in load_file(file).items()}, file, {"format": "pt"})
    _for_transformers_4(folder)
    for path in folder.iterdir():
        path.chmod(0o644)


def _for_transformers_4(folder: Path) -> None:
    """Say the same in the words of transformers 4.57 too, which knew Qwen3-VL first."""
    config, spoken, both = (_json(folder / f"{name}.json") for name in ("config", "tokenizer_config", "processor_config"))
    rope = config["text_config"]["rope_parameters"]
    scaling = {key: value for key, value in rope.items() if key != "rope_theta"}
    config["text_config"] |= {"rope_theta": rope["rope_theta"], "rope_scaling": scaling}
    named = {"tokenizer_class": "PreTrainedTokenizerFast"}
    kept = {key: value for key, value in spoken.items() if key not in ("backend", "extra_special_tokens")}
    owner = {"processor_class": both["processor_class"]}
    _write_json(folder / "config.json", config)
    _write_json(folder / "tokenizer_config.json", kept | named)
    _write_json(folder / "preprocessor_config.json", both["image_processor"] | owner)
    _write_json(folder / "video_preprocessor_config.json", both["video_processor"] | owner)


def _json(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8"))


def _write_json(path: Path, data: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(data, indent=2) + "\n", encoding="utf-8")
