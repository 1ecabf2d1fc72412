"""One step inside ComfyUI: every row of a plan in one batched call, the attention read in it, and the guided sum."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import comfy.model_patcher
import comfy.patcher_extension
import comfy.samplers
import torch
from torch import Tensor

from ..csg.diffusion import guidance as csg
from ..csg.diffusion.plan import Concept, Factual, Look, Plan, Preserved, Prompt, Row, placed
from ..csg.diffusion.run import Run
from ..csg.diffusion.space import restored, squeezed
from .host_looker import JointLooker, UNetLooker, cell_of, looker_of
from .host_rows import Rows

KEY = "causal_semantic_guidance"


@dataclass(frozen=True)
class GuidedModel:
    """A loaded model and the processed conditionings of a plan, by the names of its rows: what a step is asked of.

    Latents are (B, C, h, w) as the network is shown them, with or without its extra axes; `timestep` (B,) are their
    levels. Predictions are (B, C, h, w), but for `guide`'s, which is of its latent's shape.
    """

    model: Any
    conds: Mapping[str, list[dict[str, Any]]]

    def guide(self, x: Tensor, timestep: Tensor, options: dict, run: Run, base: Tensor | None = None) -> Tensor:
        """The denoised latent under the run's guidance, added to its own base prediction or to another guider's `base`."""
        active = run.plan.active(run.step if run.step is not None else find_step(timestep, options))
        if base is not None and not active:
            return base
        predictions = self._predict(x, timestep, options, run, active, base)
        kept_places = run.preservation.kept if run.preservation else None
        guided = csg.guide(placed(run.plan.terms, x), active, predictions, run.plan.settings, kept_places)
        if run.acted:
            run.acted.add(guided)
        return guided.denoised.reshape(x.shape)

    def caption_difference(self, x: Tensor, timestep: Tensor, options: dict, plan: Plan) -> Tensor:
        """D(caption after) - D(caption before) of `x`, nothing else looked at."""
        out, _ = self.evaluate([Prompt.AFTER, plan.before], [], x, timestep, options, plan)
        return out[Prompt.AFTER] - out[plan.before]

    def _predict(self, x: Tensor, timestep: Tensor, options: dict, run: Run, active: Sequence[int], base: Tensor | None) -> csg.Predictions:
        plan, local = run.plan, run.plan.local(active)
        looks = [Concept(k) for k in local] if run.looks else []
        out, maps = self.evaluate(plan.rows(active, run.looks, with_base=base is None), looks, x, timestep, options, plan)
        predictions = csg.Predictions(
            squeezed(self._base_prediction(out, x, timestep, options, plan) if base is None else base),
            out.get(Prompt.NEGATIVE),
            {k: out[Concept(k)] for k in local if Concept(k) in out},
            {k: out[Factual(k)] for k in local if Factual(k) in out},
            out[Prompt.AFTER] - out[plan.before] if Prompt.AFTER in out else None,
            {look.index: maps[look] for look in looks},
            cell=cell_of(self.model),
        )
        if run.looks_back and active and run.reference is not None:
            self._look_back(predictions, local, timestep, options, run)
        return predictions

    def _base_prediction(self, out: Mapping[Row, Tensor], x: Tensor, timestep: Tensor, options: dict, plan: Plan) -> Tensor:
        rows, scale = plan.base_rows, 1.0
        x = self._shaped(x)
        conds, predictions = [self.conds[str(row)] for row in rows], [self._shaped(out[row]) for row in rows]
        if plan.base.guided:
            scale = plan.base.scale
            predictions = before_guidance(self.model, conds, predictions, scale, x, timestep, options)
        return comfy.samplers.cfg_function(
            self.model, *predictions, scale, x, timestep, model_options=options, cond=conds[0], uncond=conds[1]
        )

    def _look_back(self, predictions: csg.Predictions, local: Sequence[int], timestep: Tensor, options: dict, run: Run) -> None:
        """Where factual and preserved phrases look in the original picture: on the reference path at this level."""
        looks = looks_back(run, local)
        if not looks:
            return
        maps = remembered(run, looks, run.step)
        if maps is None:
            _, maps = self.evaluate(run.plan.rows_of(looks), looks, run.reference, timestep, options, run.plan)
        predictions.factual_attention = {look.index: attention for look, attention in maps.items() if isinstance(look, Factual)}
        predictions.preserved_attention = {look.name: attention for look, attention in maps.items() if isinstance(look, Preserved)}

    def evaluate(
        self, rows: Sequence[Row], looks: Sequence[Look], x: Tensor, timestep: Tensor, options: dict, plan: Plan
    ) -> tuple[dict[Row, Tensor], dict[Look, Tensor]]:
        """Denoised latents of `rows` from one batched call, and the attention maps (B, ch, cw) of these looks."""
        x = self._shaped(x)
        looker = looker_of(self.model, x.shape[-2:], {look: plan.words[look] for look in looks})
        options = comfy.model_patcher.create_model_options_clone(options)
        keys = list(reversed(rows))  # ComfyUI reverses them: now the base comes first in its batch
        shown = Rows(keys)
        options["model_function_wrapper"] = shown.model_function(options.get("model_function_wrapper"))
        comfy.patcher_extension.add_wrapper_with_key(
            comfy.patcher_extension.WrappersMP.APPLY_MODEL, KEY, looker.announce(shown, x.shape), options, is_model_options=True
        )
        conds = shown.conditionings([self.conds[str(key)] for key in keys])
        with looker.reading(self._networks(options)):
            out = comfy.samplers.calc_cond_batch(self.model, conds, x, timestep, options)
        if looks:
            self._check_read(looker, looks, plan)
        maps = {look: attention.to(x.device) for look, attention in looker.capture.maps().items()}
        return {row: squeezed(one) for row, one in reversed(list(zip(keys, out, strict=True)))}, maps

    def _shaped(self, x: Tensor) -> Tensor:
        """A latent with the extra axes of this network."""
        return restored(x, self.model.latent_format.latent_dimensions - 2)

    def _check_read(self, looker: UNetLooker | JointLooker, looks: Sequence[Look], plan: Plan) -> None:
        layers, expected = looker.capture.layers, looker.expected
        missing = [look for look in looks if layers(look) < expected or looker.mismatch]
        if not missing:
            return
        some = layers(missing[0])
        what = f"The attention was seen in only {some} of {expected} layers" if some else "No attention was seen"
        if looker.mismatch:
            what = f"The attention could not be read, since {looker.mismatch},"
        raise RuntimeError(
            f"{what} for {', '.join(repr(plan.phrase(look)) for look in missing)}. A compiled model hides it, a caching node skips it "
            f"and a tiling node cuts it: remove that node (compile, EasyCache, tiled diffusion, deep shrink).{looker.hint} "
            "Or choose mask = noise without preserve = concepts, which needs none."
        )

    def _networks(self, options: dict) -> list[torch.nn.Module]:
        """The network on every device that takes part."""
        clones = [clone.model.diffusion_model for clone in options.get("multigpu_clones", {}).values()]
        return list(dict.fromkeys([self.model.diffusion_model, *clones]))


def find_step(timestep: Tensor, options: dict) -> int:
    """The step of a stock sampler, by its level; 0 where the options do not hold its levels."""
    sigmas = options.get("transformer_options", {}).get("sample_sigmas")
    return 0 if sigmas is None else int((sigmas[:-1] - timestep[0]).abs().argmin())


def looks_back(run: Run, local: Sequence[int]) -> list[Factual | Preserved]:
    """What is sought in the original picture while these local terms act."""
    return [*run.plan.factual_looks(local, run.looks), *run.plan.preserved_looks(run.preservation is not None)]


def remembered(run: Run, looks: Sequence[Look], level: int | None) -> dict[Look, Tensor] | None:
    """The maps of these looks at a level of the path, where earlier edits have read them all."""
    if run.memory is None or level is None:
        return None
    words = run.plan.words
    maps = {look: run.memory.get(words[look].row, words[look], level) for look in looks}
    return None if any(attention is None for attention in maps.values()) else maps


def before_guidance(
    model: Any, conds: list, predictions: list[Tensor], scale: float, x: Tensor, timestep: Tensor, options: dict  # noqa: ANN401
) -> list[Tensor]:
    """The two predictions after what other nodes do to them before guidance, as in ComfyUI's own sampling function."""
    common = {"conds": conds, "cond_scale": scale, "timestep": timestep, "input": x, "sigma": timestep, "model": model, "model_options": options}
    for function in options.get("sampler_pre_cfg_function", []):
        predictions = function(common | {"conds_out": predictions})
    return predictions[:2]
