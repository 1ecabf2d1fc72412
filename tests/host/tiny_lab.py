"""The sampling nodes on tiny random models: called as ComfyUI calls them, without its executor in between."""

import hashlib
from contextlib import contextmanager

import pytest
import torch

from tests.host import tiny_models

STEPS = 6
KEPT = ("patches", "object_patches", "wrappers", "callbacks", "injections", "hook_patches", "additional_models", "attachments")


def frozen(value):
    """Nested dictionaries and lists as something to compare with ==; anything else counts by identity."""
    if isinstance(value, dict):
        return {key: frozen(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [frozen(inner) for inner in value]
    return value if isinstance(value, (str, int, float, bool, type(None))) else id(value)


def gap(a, b):
    """The largest difference of two tensors."""
    return float((a - b).abs().max())


def replaced_forward(module):
    """Whether something else runs in the place of the module's own forward."""
    return "forward" in vars(module) and getattr(module.forward, "__func__", None) is not type(module).forward


def hooks_of(patcher):
    """Names of the modules of a model that carry a hook or a forward of somebody else's."""
    return {name for name, module in patcher.model.named_modules()
            if module._forward_hooks or module._forward_pre_hooks or replaced_forward(module)}  # fmt: skip


def state_of(patcher):
    """Everything that a node could leave changed about a MODEL, to compare with ==."""
    weights = {key: hashlib.sha256(w.detach().contiguous().view(torch.uint8).numpy().tobytes()).hexdigest()
               for key, w in patcher.model.diffusion_model.state_dict().items()}  # fmt: skip
    kept = {name: frozen(getattr(patcher, name)) for name in KEPT}
    return {"options": frozen(patcher.model_options), "hooks": hooks_of(patcher), "weights": weights, "kept": kept}


class Lab:
    """Nodes and stand-ins for one model, SDXL's topology unless told."""

    def __init__(self, comfy, **options):
        self.comfy = comfy
        names = ("host", "host_step", "host_replay", "host_lookback", "sample", "compose")
        self.host, self.step, self.replaying, self.lookback, self.sample, self.compose = (comfy.module(f"nodes.{name}") for name in names)
        names = ("edits", "guidance", "inversion", "run")
        self.edit_types, self.guidance, self.inversion, self.runs = (comfy.module(f"csg.diffusion.{name}") for name in names)
        self.model = tiny_models.model(**options)
        self.source = tiny_models.conditioning(0)

    def edits(self, count=2, scale=6.0, warmup=2, **options):
        """CSG_EDITS with random phrases of two or three words."""
        terms = []
        for k in range(count):
            tokens, text = tuple(range(1, 3 + k % 2)), tiny_models.conditioning(10 + k)
            terms.append(self.guidance.ConceptTerm(
                f"c{k}", f"phrase {k}", scale, 0.6, warmup, conditioning=text, tokens=tokens, **options))  # fmt: skip
        return self.edit_types.Edits(tuple(terms))

    @torch.inference_mode()
    def invert(self, picture=None, model=None, source=None, negative=None, schedule="authors", steps=STEPS, guidance=3.5, seed=3):
        """CSG_Invert: the inversion and the reconstruction (B, 4, h, w)."""
        out = self.sample.Invert.execute(
            model or self.model, picture or tiny_models.latent(), steps, 0.15, guidance, seed, schedule, 0, source, negative)
        return out.result[0], out.result[1]["samples"]

    @torch.inference_mode()
    def edit(self, inversion, edits=None, model=None, base=None, mask="intersect", **options):
        """CSG_Sampler: the edited samples (B, 4, h, w) and the masks (K * B, 8h, 8w)."""
        base = base or ("source" if inversion.source is not None else "unconditional")
        edits = self.edits() if edits is None else edits
        out = self.sample.Sampler.execute(model or self.model, inversion, edits, base, mask, **options)
        return out.result[0]["samples"], out.result[1]

    def guider(self, inversion, edits=None, model=None, mask="intersect"):
        """A guider as CSG_Sampler makes it, to be watched or used again."""
        base = self.sample.edit_base(inversion, "source" if inversion.source is not None else "unconditional", None)
        edits = self.edits() if edits is None else edits
        return self.host.CSGGuider(model or self.model, base, edits, self.guidance.GuidanceSettings(mask))

    @torch.inference_mode()
    def replay(self, guider, inversion, **options):
        """Drives a guider along an inversion; the edited samples."""
        return self.replaying.run_replay(guider, inversion, **options)["samples"]

    def predictions(self, inversion, mask, model=None):
        """What the model says for every row at the first guided step of an edit."""
        guider = self.guider(inversion, self.edits(count=3), model, mask)
        torch.manual_seed(1)  # some nodes draw from the global generator
        return self.evaluations(guider, inversion)[0][0]

    def evaluations(self, guider, inversion):
        """What every guided step of a replay saw: the predictions by row and the attention maps by phrase."""
        with self.watching() as watch:
            self.replay(guider, inversion)
        return [(out, maps) for _, _, out, maps in watch.evaluated]

    @contextmanager
    def watching(self):
        """A `Watch` of the edits made inside."""
        with pytest.MonkeyPatch.context() as patch:
            yield Watch(self, patch)

    def seen_on_the_path(self, inversion):
        """What edits remember of an inversion's own path."""
        return self.lookback.PathMemory.by_inversion.get(inversion, {})

    @contextmanager
    def from_the_first_step(self, monkeypatch):
        """Replays evaluate every step, also those where they would only follow the recorded path."""
        with monkeypatch.context() as patch:
            patch.setattr(self.replaying, "first_step", lambda *_: 0)
            yield


class Watch:
    """What edits ask of the model, by the names of rows and looks, and what comes of it.

    evaluated: (step, x, predictions, maps) of every call; predicted: (step, x, denoised, indices of the acting terms) of
    every step of a replay.
    """

    def __init__(self, lab, patch):
        self.evaluated, self.predicted, self.key = [], [], lab.step.KEY
        evaluate, predict = lab.step.GuidedModel.evaluate, lab.host.CSGGuider.predict_noise

        def watched_evaluate(guided, rows, looks, x, timestep, options, plan):
            out, maps = evaluate(guided, rows, looks, x, timestep, options, plan)
            by_name = [{str(key): one for key, one in found.items()} for found in (out, maps)]
            self.evaluated.append((self.step_of(options), x, *by_name))
            return out, maps

        def watched_predict(guider, x, timestep, model_options=None, seed=None):
            denoised = predict(guider, x, timestep, model_options, seed)
            if run := model_options.get(self.key):
                self.predicted.append((run.step, x, denoised, set(run.plan.active(run.step))))
            return denoised

        patch.setattr(lab.step.GuidedModel, "evaluate", watched_evaluate)
        patch.setattr(lab.host.CSGGuider, "predict_noise", watched_predict)

    def step_of(self, options):
        """The step of a call; None for one that belongs to no step."""
        return run.step if (run := options.get(self.key)) else None

    def rows(self):
        """Names of the rows of every step."""
        return {step: list(out) for step, _, out, _ in self.evaluated}

    def at(self, step):
        """The rows' predictions at a step, and the guided one."""
        return next(out for i, _, out, _ in self.evaluated if i == step), next(d for i, _, d, _ in self.predicted if i == step)
