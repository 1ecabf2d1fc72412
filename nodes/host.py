"""The only module that touches ComfyUI's internals for sampling: guider, samplers, conditionings, model identity."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import comfy.model_management
import comfy.model_patcher
import comfy.patcher_extension
import comfy.samplers
import comfy.utils
import latent_preview
import torch
from torch import Tensor

from ..csg.diffusion import guidance as csg
from ..csg.diffusion.attention import AttentionCapture, Words, cells_of, quarter_layers
from ..csg.diffusion.inversion import Inversion, invert_ddim, invert_sde, replay
from ..csg.diffusion.preservation import Preservation
from .host_lookback import PathMemory, patch_print, takes_part
from .host_model import (
    Conditioning,
    check_encoded,
    check_finite,
    check_latent,
    latent_like,
    model_identity,
    same_conditioning,
    with_control,
    zeros_conditioning,
)
from .host_rows import Rows, announce

log = logging.getLogger(__name__)

UNCONDITIONAL, SOURCE, INTERVENTIONAL = "unconditional", "source", "interventional"
BASES = (UNCONDITIONAL, SOURCE, INTERVENTIONAL)
KEY = "causal_semantic_guidance"
CPU_ROWS_AT_ONCE = 4 * 32 * 32  # latent pixels per call: more takes memory and is hardly faster
GPU_ROWS_AT_ONCE = 16


@dataclass(frozen=True)
class Edits:
    """What travels through CSG_EDITS: the terms, the whole captions, one colour per concept, and what must not change.

    `preserved`: the words of every preserved concept in the caption before, by concept.
    """

    terms: tuple[csg.ConceptTerm, ...] = ()
    target: Conditioning | None = None
    source: Conditioning | None = None
    prompt: str = ""
    colours: Mapping[str, str] = field(default_factory=dict)
    preserved: Mapping[str, tuple[int, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class Base:
    """What the concept terms are added to: its kind, its conditionings, its guidance scale."""

    kind: str = UNCONDITIONAL
    negative: Conditioning | None = None
    positive: Conditioning | None = None
    scale: float = 1.0

    def __post_init__(self) -> None:
        if self.kind not in BASES:
            raise ValueError(f"base is {self.kind!r}; it is one of {', '.join(BASES)}.")
        if self.kind != UNCONDITIONAL and self.positive is None:
            wanted = "the inversion to be made with a source prompt (connect `source` there)"
            if self.kind == INTERVENTIONAL:
                wanted = "the interventional prompt (connect `positive`)"
            raise ValueError(f"base = {self.kind} needs {wanted}; none is connected. Connect it or choose another base.")

    @property
    def guided(self) -> bool:
        """Whether the base itself is classifier-free guidance between two rows."""
        return self.kind == SOURCE and self.scale > 1


class CSGGuider(comfy.samplers.CFGGuider):
    """Predicts with Causal Semantic Guidance; without terms it is the plain base prediction.

    Rows of one step: the base's, then the unconditional reference, the captions of global concepts, the concepts.
    """

    def __init__(
        self,
        patcher: comfy.model_patcher.ModelPatcher,
        base: Base,
        edits: Edits | None = None,
        settings: csg.GuidanceSettings | None = None,
    ) -> None:
        super().__init__(patcher)
        self.base, self.edits = base, edits or Edits()
        self.settings = self._settings = settings or csg.GuidanceSettings()
        self.terms = self.edits.terms
        self.step: int | None = None
        self.reference: Tensor | None = None
        self.preservation: Preservation | None = None
        self.memory: PathMemory | None = None
        self.guided: csg.Guided | None = None
        self.mean = csg.MaskMean(len(self.terms))
        self._words: dict[str, Words] = {}
        self._placed: list[csg.ConceptTerm] | None = None
        self.inner_set_conds(self._conditionings())

    def sample(self, *args: Any, **kwargs: Any) -> Tensor:  # noqa: ANN401
        """A run, as its parent's; however it ends, nothing of it is kept but the mean masks."""
        self.mean = csg.MaskMean(len(self.terms))
        try:
            return super().sample(*args, **kwargs)
        finally:
            self.step = self.reference = self.guided = self._placed = self.preservation = self.memory = None
            self.terms, self.settings = self.edits.terms, self._settings

    def _conditionings(self) -> dict[str, Conditioning]:
        conds = {"negative": self.base.negative or zeros_conditioning(self.model_patcher)}
        if self.base.kind != UNCONDITIONAL:
            conds["positive"] = self.base.positive
        if any(self.settings.by_captions(t) for t in self.terms):
            conds |= self._caption_conditionings()
        for k, term in enumerate(self.terms):
            if term.scope == csg.LOCAL:
                conds |= self._term_conditionings(k, term, "caption" if "caption" in conds else "positive")
        conds |= self._preserved_conditionings("caption" if "caption" in conds else "positive")
        for conditioning in conds.values():
            check_encoded(conditioning, self.model_patcher)
        own = ("positive", "negative")
        return {k: c if k in own else with_control(c, conds["negative"]) for k, c in conds.items()}

    def _caption_conditionings(self) -> dict[str, Conditioning]:
        """The whole captions after and before; the one before only where the base is another."""
        if self.edits.target is None or self.edits.source is None:
            raise ValueError("A global concept needs the whole captions: make the edits with Encode Concept Edits.")
        return {"target": self.edits.target} | ({} if self._tells_before() else {"caption": self.edits.source})

    def _term_conditionings(self, k: int, term: csg.ConceptTerm, before: str) -> dict[str, Conditioning]:
        """The term's own rows; one whose words stand in a caption is looked at there, and needs none for itself."""
        if self.settings.by_captions(term) and term.caption_tokens:
            caption = self.edits.source if term.remove else self.edits.target
            where = Words(term.caption_tokens, caption[0][0].shape[1], before if term.remove else "target")
            conds, self._words[f"concept {k}"] = {}, where
        else:
            conds = {f"concept {k}": term.conditioning}
            self._words[f"concept {k}"] = Words(term.tokens, term.conditioning[0][0].shape[1])
        wanted = self.settings.contrast == csg.FACTUAL or self.settings.mask_source != csg.EDIT
        if not wanted or term.factual_conditioning is None:
            return conds
        if self.settings.by_captions(term) and term.factual_caption_tokens:
            self._words[f"factual {k}"] = Words(term.factual_caption_tokens, self.edits.source[0][0].shape[1], before)
        else:
            conds[f"factual {k}"] = term.factual_conditioning
            self._words[f"factual {k}"] = Words(term.factual_tokens, term.factual_conditioning[0][0].shape[1])
        return conds

    def _preserved_conditionings(self, before: str) -> dict[str, Conditioning]:
        """Where preserved concepts are looked at: in the caption before, by a row of its own where no other has it."""
        if not self.edits.preserved or self.edits.source is None:
            return {}
        there = before == "caption" or self._tells_before()
        length = self.edits.source[0][0].shape[1]
        for name, tokens in self.edits.preserved.items():
            self._words[f"preserved {name}"] = Words(tokens, length, before if there else "preserved")
        return {} if there else {"preserved": self.edits.source}

    def _tells_before(self) -> bool:
        return self.base.kind == SOURCE and same_conditioning(self.edits.source, self.base.positive)

    @property
    def looks_back(self) -> bool:
        """Whether the original picture's own path is looked at, too."""
        return self.settings.mask_source != csg.EDIT or self.preservation is not None

    def begin_at_once(self) -> None:
        """For this run: what the captions tell of acts from the first step, whatever its warm-up."""
        self.terms = tuple(replace(t, warmup=0) if self.settings.by_captions(t) else t for t in self.terms)

    def caption_difference(self, x: Tensor, timestep: Tensor, options: dict) -> Tensor:
        """D(caption after) - D(caption before) of `x`, (B, C, h, w), nothing else looked at."""
        before = "caption" if "caption" in self.conds else "positive"
        said, _ = self._evaluate(["target", before], [], x, timestep, options)
        return said["target"] - said[before]

    def first_guided_step(self, steps: int) -> int:
        """See `csg.diffusion.guidance.first_guided_step`."""
        return csg.first_guided_step(self.terms, steps, self.settings.joint_warmup)

    def predict_noise(self, x: Tensor, timestep: Tensor, model_options: dict | None = None, seed: int | None = None) -> Tensor:
        """The guided denoised latent (B, C, h, w)."""
        return self.guide(x, timestep, model_options or {})

    def guide(self, x: Tensor, timestep: Tensor, options: dict, base: Tensor | None = None) -> Tensor:
        """Guide this guider's own base prediction, or the `base` (B, C, h, w) that somebody else predicted."""
        i = self.step if self.step is not None else self._find_step(timestep, options)
        active = csg.active_terms(self.terms, i, self.settings.joint_warmup)
        if base is not None and not active:
            return base
        said = self._predict(x, timestep, options, active, base)
        kept_places = self.preservation.kept if self.preservation else None
        self.guided = csg.guide(self._placed_terms(x), active, said, self.settings, kept_places)
        self.mean.add(self.guided.masks)
        return self.guided.denoised

    def _placed_terms(self, x: Tensor) -> Sequence[csg.ConceptTerm]:
        """The terms with their users' masks at the latent's size and device, brought there once in a run."""
        if self._placed is None:
            self._placed = [t if t.mask is None else replace(t, mask=self._placed_mask(t, x)) for t in self.terms]
        return self._placed

    @staticmethod
    def _placed_mask(term: csg.ConceptTerm, x: Tensor) -> Tensor:
        mask = csg.user_mask(term.mask, x)
        if len(mask) not in (1, len(x)):
            raise ValueError(
                f"The mask of {term.phrase!r} holds {len(mask)} masks for {len(x)} picture(s). Give one mask for all, or one for each picture."
            )
        check_finite(mask, f"The mask of {term.phrase!r}")
        return mask

    def _find_step(self, timestep: Tensor, options: dict) -> int:
        sigmas = options.get("transformer_options", {}).get("sample_sigmas")
        return 0 if sigmas is None or not self.terms else int((sigmas[:-1] - timestep[0]).abs().argmin())

    def _rows(self, active: Sequence[int], own_base: bool) -> list[str]:
        by_captions = [k for k in active if self.settings.by_captions(self.terms[k])]
        local = [k for k in active if k not in by_captions]
        rows = ["positive"] if own_base and self.base.kind != UNCONDITIONAL else []
        if local or (own_base and (self.base.kind == UNCONDITIONAL or self.base.guided)):
            rows.append("negative")
        if by_captions:
            rows += [key for key in ("target", "caption") if key in self.conds]
        looked_at = by_captions if self._looks else []
        rows += [f"concept {k}" for k in (*local, *looked_at) if f"concept {k}" in self.conds]
        if self.settings.contrast == csg.FACTUAL:
            rows += [f"factual {k}" for k in local if f"factual {k}" in self.conds]
        return rows

    def _predict(
        self, x: Tensor, timestep: Tensor, options: dict, active: Sequence[int], base: Tensor | None
    ) -> csg.Predictions:
        rows = self._rows(active, own_base=base is None)
        local = [k for k in active if self.terms[k].scope == csg.LOCAL]
        wanted = [f"concept {k}" for k in local] if self._looks else []
        out, maps = self._evaluate(rows, wanted, x, timestep, options)
        said = csg.Predictions(
            self._base_prediction(out, x, timestep, options) if base is None else base,
            out.get("negative"),
            {k: out[f"concept {k}"] for k in local if f"concept {k}" in out},
            {k: out[f"factual {k}"] for k in local if f"factual {k}" in out},
            attention={k: maps[key] for k, key in zip(local, wanted, strict=False)},
        )
        if "target" in out:
            said.caption_difference = out["target"] - out["caption" if "caption" in out else "positive"]
        if self.looks_back and active and self.reference is not None:
            self._look_back(said, local if wanted and self.settings.mask_source != csg.EDIT else [], timestep, options)
        return said

    def _base_prediction(self, out: Mapping[str, Tensor], x: Tensor, timestep: Tensor, options: dict) -> Tensor:
        positive = "negative" if self.base.kind == UNCONDITIONAL else "positive"
        negative = "negative" if self.base.guided or self.base.kind == UNCONDITIONAL else "positive"
        conds, said, scale = [self.conds[positive], self.conds[negative]], [out[positive], out[negative]], 1.0
        if self.base.guided:
            scale = self.base.scale
            said = before_guidance(self.inner_model, conds, said, scale, x, timestep, options)
        return comfy.samplers.cfg_function(
            self.inner_model, *said, scale, x, timestep, model_options=options, cond=conds[0], uncond=conds[1]
        )

    def _look_back(self, said: csg.Predictions, local: Sequence[int], timestep: Tensor, options: dict) -> None:
        """Where factual and preserved phrases look in the original picture: on the reference path at this level."""
        factual, preserved = self._looked_back(local)
        keys = [*factual.values(), *preserved.values()]
        if not keys:
            return
        maps = self._remembered(keys, self.step)
        if maps is None:
            _, maps = self._evaluate(self._rows_of(keys), keys, self.reference, timestep, options)
        said.factual_attention = {k: maps[key] for k, key in factual.items()}
        said.preserved_attention = {name: maps[key] for name, key in preserved.items()}

    def _looked_back(self, local: Sequence[int]) -> tuple[dict[int, str], dict[str, str]]:
        factual = {k: f"factual {k}" for k in local if f"factual {k}" in self._words}
        return factual, {name: f"preserved {name}" for name in self.edits.preserved} if self.preservation else {}

    def _row(self, key: str) -> str:
        """Whose row is looked at for these words: their own, or that of the caption in which they stand."""
        return self._words[key].row or key

    def _rows_of(self, keys: Sequence[str]) -> list[str]:
        return list(dict.fromkeys(self._row(key) for key in keys))

    def _remembered(self, keys: Sequence[str], level: int | None) -> dict[str, Tensor] | None:
        if self.memory is None or level is None:
            return None
        maps = {key: self.memory.get(self._row(key), self._words[key], level) for key in keys}
        return None if any(seen is None for seen in maps.values()) else maps

    def look_ahead(self, inversion: Inversion, start: int, at_once: int, options: dict) -> None:
        """Look at the original picture for every step from `start` on, `at_once` levels in a call: they are independent.

        The inversion remembers what was seen, so that its next edit need not look again.
        """
        local = [k for k, term in enumerate(self.terms) if term.scope == csg.LOCAL and self._looks and self.settings.mask_source != csg.EDIT]
        factual, preserved = self._looked_back(local)
        keys = [*factual.values(), *preserved.values()]
        if not keys or not all(self.memory.knows(row) for row in self._rows_of(keys)):
            return
        acting = (i for i in range(start, inversion.steps) if csg.active_terms(self.terms, i, self.settings.joint_warmup))
        levels = [i for i in acting if self._remembered(keys, i) is None]
        for some in (levels[at:at + at_once] for at in range(0, len(levels), at_once)):
            comfy.model_management.throw_exception_if_processing_interrupted()
            x, batch = inversion.path[some].flatten(0, 1), inversion.path.shape[1]
            sigma = inversion.sigmas[some].to(x).repeat_interleave(batch)
            _, maps = self._evaluate(self._rows_of(keys), keys, x, sigma, options)
            for key, seen in maps.items():
                for level, one in zip(some, seen.split(batch), strict=True):
                    self.memory.put(self._row(key), self._words[key], level, one.clone())

    @property
    def _looks(self) -> bool:
        """Whether the concepts' attention is needed: for their masks, or to tell their places from preserved ones."""
        return self.settings.uses_attention or self.preservation is not None

    def _evaluate(
        self, rows: Sequence[str], wanted: Sequence[str], x: Tensor, timestep: Tensor, options: dict
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Denoised latents of `rows` from one batched call, and the attention maps of the `wanted` ones."""
        capture = AttentionCapture(cells_of(*x.shape[-2:]), {key: self._words[key] for key in wanted})
        options = comfy.model_patcher.create_model_options_clone(options)
        keys = list(reversed(rows))  # ComfyUI reverses them: now the base comes first in its batch
        shown = Rows(keys)
        options["model_function_wrapper"] = shown.model_function(options.get("model_function_wrapper"))
        comfy.patcher_extension.add_wrapper_with_key(
            comfy.patcher_extension.WrappersMP.APPLY_MODEL, KEY, announce(shown, capture, x.shape), options, is_model_options=True
        )
        conds = shown.conditionings([self.conds[key] for key in keys])
        with capture.hooked(self._unets(options) if wanted else []):
            out = comfy.samplers.calc_cond_batch(self.inner_model, conds, x, timestep, options)
        maps = {key: found.to(x.device) for key, found in capture.maps().items()}
        expected = max(1, quarter_layers(self.inner_model.diffusion_model)) if wanted else 0
        if missing := [key for key in wanted if capture.layers(key) < expected]:
            some = capture.layers(missing[0])
            seen = f"The attention was seen in only {some} of {expected} layers" if some else "No attention was seen"
            raise RuntimeError(
                f"{seen} for {self._phrases(missing)}. A compiled model hides it, a caching node skips it "
                "and a tiling node cuts it: remove that node (compile, EasyCache, tiled diffusion, deep shrink). A model without "
                "cross-attention at a quarter of the latent's size has none. Or choose mask = noise without preserve = concepts, which needs none."
            )
        found = dict(zip(keys, out, strict=True))
        return {key: found[key] for key in rows}, maps

    def _phrases(self, keys: Sequence[str]) -> str:
        kinds = (key.split(" ", 1) for key in keys)
        return ", ".join(repr(name if kind == "preserved" else self.terms[int(name)].phrase) for kind, name in kinds)

    def _unets(self, options: dict) -> list[torch.nn.Module]:
        clones = options.get("multigpu_clones", {})
        others = [clone.model.diffusion_model for clone in clones.values()]
        return list(dict.fromkeys([self.inner_model.diffusion_model, *others]))


def before_guidance(model: Any, conds: list, said: list[Tensor], scale: float, x: Tensor, timestep: Tensor, options: dict) -> list[Tensor]:  # noqa: ANN401
    """The two predictions after what other nodes do to them before guidance, as in ComfyUI's own sampling function."""
    common = {"conds": conds, "cond_scale": scale, "timestep": timestep, "input": x, "sigma": timestep, "model": model, "model_options": options}
    for function in options.get("sampler_pre_cfg_function", []):
        said = function(common | {"conds_out": said})
    return said[:2]


class InvertSampler(comfy.samplers.Sampler):
    """Abduction as a ComfyUI sampler: leaves the inversion in `result` and returns the replay without edits."""

    def __init__(self, method: str, patcher: comfy.model_patcher.ModelPatcher, **options: Any) -> None:  # noqa: ANN401
        self.method, self.patcher, self.options = method, patcher, options
        self.result: Inversion | None = None

    def sample(self, model_wrap: CSGGuider, sigmas: Tensor, extra_args: dict, callback: Callable | None, noise: Tensor,
               latent_image: Tensor, denoise_mask: Tensor | None = None, disable_pbar: bool = False) -> Tensor:  # fmt: skip
        """Invert `latent_image` (B, C, h, w), model space."""

        def denoise(x: Tensor, sigma: Tensor) -> Tensor:
            comfy.model_management.throw_exception_if_processing_interrupted()
            return model_wrap(x, sigma, **extra_args)

        def progress(done: int, total: int, denoised: Tensor | None) -> None:
            if callback and denoised is not None:
                callback(done - 1, denoised[None] if denoised.ndim == 3 else denoised, latent_image, total)

        device = latent_image.device
        if self.method == "ddim":
            result = invert_ddim(denoise, latent_image, sigmas.cpu(), device=device, progress=progress)
        else:
            at_once = levels_at_once(self.patcher, latent_image.shape, model_wrap)
            result = invert_sde(denoise, latent_image, sigmas.cpu(), at_once=at_once, device=device, progress=progress, **self.options)
        self.result = result
        start = len(result.denoised) if result.method != "ddim" else 0
        *_, last = replay(denoise, result, start=start, device=device)
        return last.x


def levels_at_once(patcher: comfy.model_patcher.ModelPatcher, shape: Sequence[int], guider: CSGGuider) -> int:
    """How many noise levels of an inversion one call may hold: by free memory; one where a patch may look at sigma."""
    timed = any(set(c) & {"control", "hooks", "timestep_start", "timestep_end", "area"} for cs in guider.conds.values() for c in cs)
    if timed or takes_part(patcher):
        return 1
    rows = shape[0] * (2 if guider.base.guided else 1)
    if comfy.model_management.is_device_cpu(patcher.load_device):
        return max(1, CPU_ROWS_AT_ONCE // (rows * shape[-1] * shape[-2]))
    needed = patcher.model.memory_required([rows, *shape[1:]]) * 1.5
    return int(max(1, min(GPU_ROWS_AT_ONCE // rows, patcher.get_free_memory(patcher.load_device) // needed)))


def run_inversion(
    patcher: comfy.model_patcher.ModelPatcher, latent: Mapping[str, Any], sigmas: Tensor, method: str,
    base: Base, settings: Mapping[str, Any], **options: Any,  # noqa: ANN401
) -> tuple[Inversion, dict[str, Any]]:  # fmt: skip
    """Invert LATENT `latent`; returns the inversion and the reconstruction as LATENT."""
    samples = check_latent(latent)
    guider = CSGGuider(patcher, base)
    sampler = InvertSampler(method, patcher, **options)
    steps = len(sigmas) - 1
    rebuilt = guider.sample(
        torch.zeros_like(samples), samples, sampler, sigmas, callback=latent_preview.prepare_callback(patcher, steps),
        disable_pbar=not comfy.utils.PROGRESS_BAR_ENABLED, seed=int(settings.get("seed", 0)),
    )  # fmt: skip
    source = base.positive if base.kind == SOURCE else None
    result = replace(sampler.result, source=source, negative=base.negative, source_guidance=base.scale)
    check_finite(result.noises, "The inversion")
    result = result.described(**settings, model=model_identity(patcher), patched=patch_print(patcher), samples=samples)
    return result, latent_like(latent, rebuilt)
