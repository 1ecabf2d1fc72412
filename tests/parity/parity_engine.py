"""The side under test: this pack's nodes in ComfyUI, on the reference's weights in ComfyUI's own UNet."""

from dataclasses import dataclass

import pytest
import torch
from parity_texts import CONTEXT, POOLED

UNET = {
    "image_size": 32, "in_channels": 4, "out_channels": 4, "model_channels": 32, "num_res_blocks": [2, 2, 2],
    "channel_mult": [1, 2, 4], "transformer_depth": [0, 0, 1, 1, 1, 1], "transformer_depth_middle": 1,
    "transformer_depth_output": [0, 0, 0, 1, 1, 1, 1, 1, 1], "context_dim": CONTEXT, "adm_in_channels": POOLED + 6 * 256,
    "num_classes": "sequential", "use_spatial_transformer": True, "use_linear_in_transformer": True, "legacy": False,
    "use_temporal_attention": False, "use_temporal_resblock": False,
}  # fmt: skip


def load(state, unet=UNET, head_channels=16):
    """MODEL: ComfyUI's SDXL around its UNet, which shares every weight of a diffusers UNet."""
    import comfy.model_patcher
    import comfy.supported_models
    import comfy.utils

    class SmallSDXL(comfy.supported_models.SDXL):
        unet_extra_config = {"num_heads": -1, "num_head_channels": head_channels}

    weight = next(iter(state.values()))
    config = SmallSDXL(dict(unet))
    config.set_inference_dtype(weight.dtype, None)
    names = {theirs: ours for theirs, ours in comfy.utils.unet_to_diffusers(config.unet_config).items() if theirs in state}
    assert len(names) == len(state)
    model = config.get_model({}, "", device=weight.device)
    model.diffusion_model.load_state_dict({names[k]: v for k, v in state.items()}, assign=True)
    return comfy.model_patcher.ModelPatcher(model, weight.device, weight.device)


@dataclass(frozen=True)
class Cut:
    """One thresholding: at which step, of which values (1, rows, columns), at which quantile, and the mask it gave."""

    step: int
    values: torch.Tensor
    quantile: float
    mask: torch.Tensor

    def distance(self, other):
        """How far from the threshold the values lie on which `other` decides differently, as a share of all values' range."""
        level = torch.quantile(self.values.float(), self.quantile)
        apart = (self.values - level).abs()[self.mask != other]
        return float(apart.max() / (self.values.max() - self.values.min()))


@dataclass(frozen=True)
class Edited:
    """As the reference's, of `Cut`s; trajectory: the latent (model space) before each step that was evaluated, by step."""

    latent: torch.Tensor
    masks: torch.Tensor
    thresholded: list
    trajectory: dict


class Engine:
    """The nodes, called as ComfyUI calls them."""

    def __init__(self, comfy, state):
        self.host, self.sample = comfy.module("nodes.host"), comfy.module("nodes.sample")
        names = ("edits", "guidance", "schedule", "attention", "inversion")
        self.edit_types, self.guidance, self.schedule, self.attention, self.inversion = (comfy.module(f"csg.diffusion.{n}") for n in names)
        self.model, self.replay, self.space = (comfy.module(f"nodes.host_{n}") for n in ("model", "replay", "space"))
        self.patcher = load(state)
        self.scaling = self.patcher.model.latent_format.scale_factor

    @property
    def table(self):
        """The model's noise levels (1000,)."""
        return self.space.level_table(self.patcher)

    def picture(self, latent):
        """LATENT of a latent in model space."""
        return {"samples": latent / self.scaling}

    @torch.inference_mode()
    def invert(self, latent, steps, skip, zero, source=None, seed=7, schedule="diffusers"):
        """The inversion of CSG_Invert and its reconstruction in model space."""
        conditioning = source.conditioning if source else None
        out = self.sample.Invert.execute(self.patcher, self.picture(latent), steps, skip, 3.5, seed, schedule, zero, conditioning)
        return out.result[0], out.result[1]["samples"] * self.scaling

    def term(self, text, **options):
        """A concept edit of an encoded phrase; all its words count."""
        words = tuple(range(1, text.words + 1))
        return self.guidance.ConceptTerm(text.name, text.name, conditioning=text.conditioning, tokens=words, **options)

    @torch.inference_mode()
    def edit(self, inversion, terms=(), mask="intersect", base="unconditional", preserve="off"):
        """CSG_Sampler, watched."""
        cuts, cut, guide, steps = [], self.guidance.quantile_mask, self.guidance.guide, {}

        def noting(values, quantile):
            cuts.append(Cut(max(steps), values, quantile, cut(values, quantile)))
            return cuts[-1].mask

        def guiding(*arguments):
            guided = guide(*arguments)
            steps[max(steps)][1].update(guided.masks)
            return guided

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(self.host, "CSGGuider", self._watching(steps))
            patch.setattr(self.guidance, "quantile_mask", noting)
            patch.setattr(self.guidance, "guide", guiding)
            edits = self.edit_types.Edits(tuple(terms))
            out = self.sample.Sampler.execute(self.patcher, inversion, edits, base, mask, preserve)
        latent = out.result[0]["samples"] * self.scaling
        masks = torch.zeros(inversion.steps, len(terms), *latent.shape[-2:])
        for i, (_, found) in steps.items():
            for k, one in found.items():
                masks[i, k] = one[0, 0]
        return Edited(latent, masks, cuts, {i: x for i, (x, _) in steps.items()})

    def _watching(self, steps):
        key = self.host.KEY

        class Watching(self.host.CSGGuider):
            """Notes the latent of every step, and has a place for its masks."""

            def predict_noise(self, x, timestep, model_options=None, seed=None):
                steps[model_options[key].step] = x, {}
                return super().predict_noise(x, timestep, model_options, seed)

        return Watching

    def from_the_first_step(self, patch):
        """Make replays evaluate every step, also those where they would only follow the recorded path."""
        patch.setattr(self.replay, "first_step", lambda *_: 0)

