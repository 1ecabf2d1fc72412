"""Town's model in this process, editing by any of the benchmark's methods and measuring what came out."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import numpy as np
import torch
from in_process import pack_module, processor, versions
from torch.nn import functional as F
from town_methods import DESCENDANTS, INTERVENED, SCHEDULES, Method, keeping
from town_networks import Painter

from csg.causal.counterfactual import propagate
from csg.causal.formats import read_json
from csg.evaluation import perceptual
from csg.evaluation.effectiveness import effectiveness
from csg.evaluation.similarity import ms_ssim
from csg.images import to_array, to_tensor
from csg.pictures.keep import keep_preserved
from csg.town import score, world
from csg.town.weights import VLM_FOLDER
from csg.vlm.local import LocalVLM

Values = Mapping[str, str]


@dataclass(frozen=True)
class Change:
    """What is asked of a method: the values that the picture has and is to have, and which of them do() sets."""

    before: Values
    after: Values
    intervened: tuple[str, ...]

    def back(self) -> Change:
        """The same the other way round."""
        return Change(self.after, self.before, self.intervened)


class Edited(NamedTuple):
    """An edited IMAGE, its MASK (None without concepts), the CPU seconds of the edit, and those of the inversion, whoever paid them."""

    image: torch.Tensor
    masks: torch.Tensor | None
    seconds: float | None
    inversion_seconds: float | None


@contextmanager
def scheduled(curve: Callable[[float], float] | None, steps: int) -> Iterator[None]:
    """Inside, the concepts of a sampling run are guided at each of its steps by the curve's factor for the middle of that step."""
    host = pack_module("nodes.host")

    class Scheduled(host.CSGGuider):
        def predict_noise(self, x: torch.Tensor, timestep: torch.Tensor, model_options: dict, seed: int | None = None) -> torch.Tensor:
            run = model_options[host.KEY]
            factor = curve((run.step + 0.5) / steps)
            terms = (replace(term, scale=factor * term.scale) for term in run.plan.terms)
            options = model_options | {host.KEY: replace(run, plan=run.plan.with_terms(terms))}
            return super().predict_noise(x, timestep, options, seed)

    with mock.patch.object(host, "CSGGuider", Scheduled) if curve else nullcontext():
        yield


class Lab:
    """Inverts and edits pictures with the pack's own nodes; inversions of one picture are shared by its edits."""

    def __init__(self, painter: Painter) -> None:
        names = {"edit": "nodes.edit", "sample": "nodes.sample", "formats": "csg.causal.formats",
                 "counterfactual": "csg.causal.counterfactual"}  # fmt: skip
        self.pack = {short: pack_module(name) for short, name in names.items()}
        self.model, self.clip, self.vae, self.encode = painter.model, painter.clip, painter.vae, painter.encode
        self._inversions: dict[tuple, tuple[Any, float]] = {}
        self._texts: dict[str, Any] = {}

    @cached_property
    def machine(self) -> str:
        """The processor, and the precision in which ComfyUI lets the model compute there."""
        precision = str(self.model.model.get_dtype_inference()).removeprefix("torch.")
        return f"{processor()}, {precision}, {torch.get_num_threads()} thread(s)"

    @cached_property
    def versions(self) -> str:
        """What it computes with."""
        return versions()

    def forget(self) -> None:
        """Let go of all inversions and captions: the next scene needs the room."""
        self._inversions.clear()
        self._texts.clear()

    @torch.inference_mode()
    def edited(self, picture: torch.Tensor, change: Change, method: Method, seed: int) -> Edited:
        """A picture edited by a method."""
        inversion, inverted = self._inversion(picture, change.before, method, seed)
        begin = time.process_time()
        counterfactual = self._counterfactual(change, method)
        if method.editor == "prompt":
            positive = self._text(counterfactual.prompt)
            samples, masks = self.pack["sample"].EditWithPrompt.execute(self.model, inversion, positive, method.cfg).result[0], None
        else:
            samples, masks = self._guided(inversion, counterfactual, method)
        image = self.vae.decode(samples["samples"]).clamp(0, 1)
        return Edited(image, masks, time.process_time() - begin, inverted)

    def _guided(self, inversion: Any, counterfactual: Any, method: Method) -> tuple[dict[str, Any], torch.Tensor]:  # noqa: ANN401
        known = self.pack["counterfactual"]
        concepts = known.DESCENDANTS_ONLY if method.concepts == DESCENDANTS else known.ALL_CHANGES
        warmup = round(method.warmup * method.steps)
        edits, positive, *_ = self.pack["edit"].EncodeEdits.execute(
            self.clip, counterfactual, method.scale, method.threshold, warmup, concepts, method.global_scale, method.strengths
        ).result
        with scheduled(SCHEDULES.get(method.curve), inversion.steps):
            return self.pack["sample"].Sampler.execute(
                self.model, inversion, edits, method.base, method.mask, method.preserve, method.contrast, method.mask_source,
                method.release, positive, method.cut, method.release_below,
            ).result[:2]  # fmt: skip

    def _counterfactual(self, change: Change, method: Method) -> Any:  # noqa: ANN401
        document = world.graph_document(change.before)
        if not method.scoped:
            document["concepts"] = [concept | {"scope": "local"} for concept in document["concepts"]]
        graph = self.pack["formats"].read_json(json.dumps(document)).do({n: change.after[n] for n in change.intervened})
        follow = {n: v for n, v in change.after.items() if v != change.before[n] and n not in change.intervened}
        return self.pack["counterfactual"].propagate(graph, {} if method.concepts == INTERVENED else follow)

    def _inversion(self, picture: torch.Tensor, values: Values, method: Method, seed: int) -> tuple[Any, float]:
        content = hashlib.sha256(picture.numpy().tobytes()).digest()
        key = (content, seed, method.inversion)
        if key not in self._inversions:
            begin = time.process_time()
            made = self._invert(picture, values, method, seed)
            self._inversions[key] = (made, time.process_time() - begin)
        return self._inversions[key]

    def _invert(self, picture: torch.Tensor, values: Values, method: Method, seed: int) -> Any:  # noqa: ANN401
        sample, latent = self.pack["sample"], {"samples": self.vae.encode(picture)}
        source, negative = (self._text(world.caption(values)) if method.source else None), self._text("")
        guidance, skipped = method.source_guidance, round(method.skip * method.steps)
        if method.inverter == "ddim":
            out = sample.InvertDDIM.execute(self.model, latent, method.steps, guidance, source, negative)
        elif method.inverter == "ddpm":
            out = sample.InvertDDPM.execute(self.model, latent, method.steps, skipped, guidance, seed, source, negative)
        elif method.inverter == "flowedit":
            out = sample.InvertFlowEdit.execute(self.model, latent, method.steps, skipped, guidance, seed, source, negative)
        else:
            out = sample.Invert.execute(self.model, latent, method.steps, method.skip, guidance, seed, "diffusers",
                                        method.zero_noise_steps, source, negative, sigmas=self._sigmas(method))  # fmt: skip
        return out.result[0]

    def _sigmas(self, method: Method) -> torch.Tensor | None:
        """SIGMAS of a scheduler of ComfyUI's, where the method names one."""
        if not method.scheduler:
            return None
        from comfy.samplers import calculate_sigmas

        return calculate_sigmas(self.model.get_model_object("model_sampling"), method.scheduler, method.steps)

    @torch.inference_mode()
    def round_trip(self, picture: np.ndarray) -> torch.Tensor:
        """What the autoencoder alone leaves of a picture."""
        return self.vae.decode(self.vae.encode(to_tensor(picture))).clamp(0, 1)

    def _text(self, text: str) -> Any:  # noqa: ANN401
        if text not in self._texts:
            self._texts[text] = self.encode(text)
        return self._texts[text]


class Perception:
    """The perceptual distance of this run: LPIPS where its weights are present, else 1 - multi-scale SSIM."""

    def __init__(self, folder: Path, net: str = "vgg") -> None:
        try:
            self.backbone: Path | None = perceptual.find_backbone([folder], net)
        except perceptual.LPIPSUnavailable:
            self.backbone = None
        self.net = net
        self.name = f"LPIPS ({net})" if self.backbone else "1 - MS-SSIM"

    def __call__(self, a: torch.Tensor, b: torch.Tensor) -> float:
        """The distance between two IMAGEs."""
        return perceptual.lpips(a, b, self.backbone, self.net) if self.backbone else 1 - ms_ssim(a, b)


class Judge:
    """Town's small vision-language model, asked as CSG_Effectiveness asks."""

    def __init__(self) -> None:
        self.vlm = LocalVLM(VLM_FOLDER)

    def __call__(self, image: torch.Tensor, known: score.Truth, do: Values) -> dict[str, bool]:
        """Whether the model sees each changed concept in the IMAGE."""
        graph = read_json(json.dumps(world.graph_document(known.before))).do(dict(do))
        wanted = propagate(graph, {name: known.after[name] for name in known.changed if name not in do})
        return {verdict.concept: verdict.answer for verdict in effectiveness(self.vlm, image, wanted).verdicts}


def kept(edit: Edited, scene: int, do: Values) -> dict[str, float | None]:
    """Three figures of an edit again, its preserved pixels kept as the Town workflow keeps them; nothing without masks."""
    if edit.masks is None:
        return {}
    grow, feather = keeping()
    wide = F.max_pool2d(edit.masks[:, None].float(), 2 * grow + 1, 1, grow)[:, 0]
    image, _ = keep_preserved(to_tensor(score.truth(scene, do).factual), edit.image, wide, feather)
    found = score.score(to_array(image)[0], scene, do)
    return {"kept_effectiveness": found.effectiveness, "kept_excess_error": found.excess_error, "kept_psnr": found.psnr}


def measured(image: torch.Tensor, scene: int, do: Values, perception: Perception, judge: Judge) -> dict[str, Any]:
    """Every figure of an edited picture, None where it has no meaning."""
    known, picture = score.truth(scene, do), to_array(image)[0]
    answers = judge(image, known, do)
    found = score.score(picture, scene, do)
    hits = {n: r["read"] == r["expected"] for n, r in found.readings.items() if r["factual"] != r["expected"]}
    followed = [hit for name, hit in hits.items() if name not in do]
    return {
        "effectiveness": found.effectiveness,
        "effectiveness_intervened": float(all(hits[name] for name in do)),
        "effectiveness_descendants": float(np.mean(followed)) if followed else None,
        "vlm_effectiveness": float(np.mean(list(answers.values()))) if answers else None,
        "vlm": answers,
        "untouched": found.untouched,
        "excess_error": found.excess_error,
        "psnr": found.psnr,
        "error": score.percent_error(picture, known.exact),
        "perceptual": perception(image, to_tensor(known.factual)),
        "perception": perception.name,
        "missed": [name for name, hit in hits.items() if not hit],
        "disturbed": [n for n, r in found.readings.items() if r["factual"] == r["expected"] != r["read"]],
    }
