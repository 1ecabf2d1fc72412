"""What the model looks at on an inversion's own path: the same for every edit of the picture, so found once and kept."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any
from weakref import WeakKeyDictionary

import torch
from comfy.model_management import throw_exception_if_processing_interrupted
from comfy.model_patcher import ModelPatcher
from torch import Tensor

from ..csg.diffusion.attention import Words
from ..csg.diffusion.edits import TEXT_KEYS
from ..csg.diffusion.inversion import Inversion
from ..csg.diffusion.plan import Row
from ..csg.diffusion.run import Run
from .host_step import GuidedModel, looks_back, remembered

CAPTIONS_KEPT = 16  # per inversion, and whatever one run needs; a phrase at 1024 x 1024 takes 0.4 MB over 100 steps
Conditions = Sequence[Mapping[str, Any]]  # a conditioning as a guider keeps it
SIZES = ("width", "height", "crop_w", "crop_h", "target_width", "target_height", "aesthetic_score")
TEXT = ("cross_attn", *TEXT_KEYS, *SIZES)
PLAIN = {"model_conds", "uuid", *TEXT}
OTHERS_STEPS = ("sampler_", "model_function", "context_handler")  # options by which other nodes take part in a step


def takes_part(patcher: ModelPatcher) -> bool:
    """Whether other nodes take part in a step of this model: they may look at its level, its batch or the time."""
    transformer = patcher.model_options.get("transformer_options", {})
    patched = any(transformer.get(kind) for kind in ("patches", "patches_replace", "wrappers")) or patcher.wrappers
    return bool(patched or any(name.startswith(OTHERS_STEPS) for name in patcher.model_options))


def patch_print(patcher: ModelPatcher) -> str:
    """What other nodes did to a model, as a word to compare within one session; empty for an unpatched one."""
    options = _named({k: v for k, v in patcher.model_options.items() if v})
    changed = [patcher.patches, patcher.object_patches, patcher.injections, patcher.hook_patches]
    if not takes_part(patcher) and not any(changed):
        return ""
    patches = repr((str(patcher.patches_uuid), options, _named(patcher.wrappers), *map(_named, changed[1:])))
    return hashlib.sha256(patches.encode()).hexdigest()[:16]


def patch_difference(made: str, patcher: ModelPatcher) -> str:
    """How a model's patches differ from those at the inversion, by its `patch_print` of then; empty where they do not."""
    now = patch_print(patcher)
    if made == now:
        return ""
    if not made:
        what = "has LoRAs or patches that it did not have when the picture was inverted"
    elif not now:
        what = "lacks the LoRAs or patches that it had when the picture was inverted"
    else:
        what = "may have other LoRAs or patches than when the picture was inverted"
    return f"The model {what}: they change the whole picture, not only the concepts. If that is not wanted, invert it again with this model."


def _named(value: object) -> object:
    """Nested dictionaries and lists as something to write down; functions and modules by their identity."""
    if isinstance(value, Mapping):
        return [(str(key), _named(inner)) for key, inner in value.items()]
    if isinstance(value, (list, tuple)):
        return [_named(inner) for inner in value]
    return value if isinstance(value, (str, int, float, bool, type(None))) else id(value)


class PathMemory:
    """Attention maps (B, ch, cw) of words on the levels of one inversion's path.

    `kept` is the inversion's, and goes with it: a dictionary per caption, of maps by words and level. Only rows whose
    conditioning is nothing but text are kept, and by what the text encoders made of it, so that a caption encoded again
    is the same one.
    """

    by_inversion: WeakKeyDictionary[Inversion, dict[Any, dict[Any, Tensor]]] = WeakKeyDictionary()

    def __init__(self, inversion: Inversion, patcher: ModelPatcher, conds: Mapping[str, Conditions]) -> None:
        self.kept = self.by_inversion.setdefault(inversion, {})
        self.model, self.conds = patcher.patches_uuid, conds
        self._prints: dict[Row, Any] = {}

    @classmethod
    def of(cls, inversion: Inversion, patcher: ModelPatcher, conds: Mapping[str, Conditions]) -> PathMemory | None:
        """The memory for a run with this model; None where something else than weights and words decides what it sees."""
        changed = patcher.object_patches or patcher.injections or patcher.hook_patches
        return None if changed or takes_part(patcher) else cls(inversion, patcher, conds)

    def can_keep(self, row: Row) -> bool:
        """Whether what this row sees can be kept: its conditioning, as a guider keeps it, is nothing but text."""
        return all(set(one) <= PLAIN and not one["model_conds"] for one in self.conds[str(row)])

    def _caption(self, row: Row) -> Any:  # noqa: ANN401
        if row not in self._prints:
            caption = self._prints[row] = (self.model, fingerprint(self.conds[str(row)]))
            if caption in self.kept:
                self.kept[caption] = self.kept.pop(caption)  # now the latest
        return self._prints[row]

    def put(self, row: Row, words: Words, level: int, attention: Tensor) -> None:
        """Keep a map (B, ch, cw); captions that this run does not need are dropped, the longest unused first."""
        maps = self.kept.setdefault(self._caption(row), {})
        maps[words.positions, words.length, level] = attention
        others = [caption for caption in self.kept if caption not in self._prints.values()]
        for caption in others[: max(0, len(self.kept) - CAPTIONS_KEPT)]:
            self.kept.pop(caption)

    def get(self, row: Row, words: Words, level: int) -> Tensor | None:
        """The map (B, ch, cw) of these words in this row at this level, if it was kept."""
        return self.kept.get(self._caption(row), {}).get((words.positions, words.length, level)) if self.can_keep(row) else None


def look_ahead(guided: GuidedModel, run: Run, inversion: Inversion, start: int, at_once: int, options: dict[str, Any]) -> None:
    """Look at the original picture for every step from `start` on, `at_once` levels in a call: they are independent.

    The run's memory keeps what is seen, so that the next edit of the same inversion need not look again.
    """
    plan = run.plan
    looks = looks_back(run, plan.local(range(len(plan.terms))))
    rows = plan.rows_of(looks)
    if not looks or not all(run.memory.can_keep(row) for row in rows):
        return
    levels = [i for i in range(start, inversion.steps) if plan.active(i) and remembered(run, looks, i) is None]
    for some in (levels[at : at + at_once] for at in range(0, len(levels), at_once)):
        throw_exception_if_processing_interrupted()
        x, batch = inversion.path[some].flatten(0, 1), inversion.path.shape[1]
        sigma = inversion.sigmas[some].to(x).repeat_interleave(batch)
        _, maps = guided.evaluate(rows, looks, *inversion.space.to_network(x, sigma), options, plan)
        for look, attention in maps.items():
            words = plan.words[look]
            for level, one in zip(some, attention.split(batch), strict=True):
                run.memory.put(words.row, words, level, one.clone())


def fingerprint(cond: Conditions) -> str:
    """What the text encoders made of a text, as a hash."""
    digest = hashlib.sha256()
    for one in cond:
        for value in (one.get(name) for name in TEXT):
            if torch.is_tensor(value):
                digest.update(repr((value.dtype, tuple(value.shape))).encode())
                digest.update(value.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
            else:
                digest.update(repr(value).encode())
    return digest.hexdigest()
