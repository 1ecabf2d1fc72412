"""The reference: diffusers' LEDITS++ pipeline for SDXL with a small random UNet; its picture and text sides are given.

Two of its habits are set right here. With fast tokenizers it counts 75 words in every phrase: it gets the true counts.
It exchanges height and width in SDXL's size conditioning: they are exchanged back.
"""

from dataclasses import dataclass
from types import SimpleNamespace

import pytest
import torch
from diffusers import (
    DDIMScheduler,
    EulerDiscreteScheduler,
    LEditsPPPipelineStableDiffusionXL,
    UNet2DConditionModel,
)
from diffusers.models.attention_processor import AttnProcessor
from diffusers.pipelines.ledits_pp import pipeline_leditspp_stable_diffusion_xl as module
from parity_texts import POOLED, TEXTS

BETAS = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "steps_offset": 1}
UNET = {
    "sample_size": 32,
    "block_out_channels": (32, 64, 128),
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    "layers_per_block": 2,
    "attention_head_dim": (2, 4, 8),
    "transformer_layers_per_block": (1, 1, 1),
    "use_linear_projection": True,
    "cross_attention_dim": 64,
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 256,
    "projection_class_embeddings_input_dim": POOLED + 6 * 256,
}


class Absent(torch.nn.Module):
    """In the place of the VAE and the text encoder: what the pipeline asks them besides their work."""

    def __init__(self, unet):
        super().__init__()
        self.dtype, self.device = unet.dtype, unet.device
        pooled = unet.config.projection_class_embeddings_input_dim - 6 * 256
        self.config = SimpleNamespace(
            block_out_channels=(1,) * 4, force_upcast=False, scaling_factor=0.13025, projection_dim=pooled)

    def decode(self, z, **_):
        return (torch.zeros(len(z), 3, 8, 8),)


class Pipeline(LEditsPPPipelineStableDiffusionXL):
    """The pipeline with latents for images and given texts, by name, for encoded prompts."""

    texts = TEXTS

    def encode_image(self, image, **_):
        return image, None

    def encode_prompt(self, enable_edit_guidance=True, editing_prompt=None, **_):
        texts, zeros = [self.texts[name] for name in editing_prompt] if enable_edit_guidance else [], self.texts[""]
        if not texts:
            return zeros.context, None, zeros.pooled, None, 0
        contexts, pooled = torch.cat([t.context for t in texts]), torch.cat([t.pooled for t in texts])
        return zeros.context, contexts, zeros.pooled, pooled, [t.words for t in texts]

    def _get_add_time_ids(self, original_size, crops, target_size, **others):
        return super()._get_add_time_ids(original_size[::-1], crops, target_size[::-1], **others)


class _Torch:
    """The module torch, noting the conditions that its `where` is given: the pipeline's masks in their order."""

    def __init__(self):
        self.conditions = []

    def __getattr__(self, name):
        return getattr(torch, name)

    def where(self, condition, *values):
        self.conditions.append(condition.float())
        return torch.where(condition, *values)


@dataclass(frozen=True)
class Edited:
    """latent (1, 4, h, w); masks (N, K, h, w), zero where a concept did not act.

    `thresholded`: every M1 and M2 in order of use, (1, rows, columns). `trajectory`: the VP latent before each step.
    """

    latent: torch.Tensor
    masks: torch.Tensor | None
    thresholded: list
    trajectory: list


class Reference:
    """Pipelines over one UNet, each holding the inversion that it made; the small UNet and `TEXTS` unless told."""

    def __init__(self, unet=None, texts=TEXTS):
        torch.manual_seed(0)
        self.unet = (unet or UNet2DConditionModel(**UNET)).eval().requires_grad_(False)
        self.texts = texts

    def pipeline(self, scheduler=None):
        """A pipeline that has inverted nothing yet; without a scheduler, with SDXL's own as it is shipped."""
        absent = Absent(self.unet)
        pipe = Pipeline(
            vae=absent, text_encoder=None, text_encoder_2=absent, tokenizer=None, tokenizer_2=None, unet=self.unet,
            scheduler=scheduler or EulerDiscreteScheduler(timestep_spacing="leading", **BETAS), add_watermarker=False,
        )  # fmt: skip
        pipe.texts = self.texts
        pipe.set_progress_bar_config(disable=True)
        return pipe

    def invert(self, latent, steps, skip, zero, source=None, seed=7, scheduler=None, table=None):
        """A pipeline that holds the inversion of `latent` (1, 4, h, w).

        With `table`, sigmas (1000,), the levels are those and not the pipeline's own, which are rounded differently.
        """
        pipe = self.pipeline(scheduler)
        if table is not None:
            pipe.scheduler.alphas_cumprod = 1 / (1 + table.double() ** 2)
        pipe.invert(latent, source.name if source else "", num_inversion_steps=steps, skip=skip,
                    generator=torch.Generator().manual_seed(seed), num_zero_noise_steps=zero)  # fmt: skip
        return pipe

    def edit(self, pipe, prompts=(), mask="noise", **options):
        """Replay what `pipe` inverted, edited; storing processors of an earlier edit are taken out first."""
        self.unet.set_attn_processor(AttnProcessor())
        flags = {"use_cross_attn_mask": mask == "attention", "use_intersect_mask": mask == "intersect"}
        watched, trajectory = _Torch(), [pipe.init_latents]

        def follow(_, step, time, tensors):
            trajectory.append(tensors["latents"])
            return tensors

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(module, "torch", watched)
            out = pipe(editing_prompt=list(prompts) or None, output_type="latent", callback_on_step_end=follow, **flags, **options).images
        masks = pipe.activation_mask[:, :, 0, 0] if prompts else None
        thresholded = watched.conditions[:: 2 if mask == "noise" else 1]
        return Edited(out, masks, [m if m.ndim == 3 else m[:, 0] for m in thresholded], trajectory)

    def predict(self, x, t, text):
        """The noise that the UNet sees in a VP latent (1, 4, h, w) at an integer timestep."""
        height, width = 8 * x.shape[-2], 8 * x.shape[-1]
        sizes = torch.tensor([[height, width, 0, 0, height, width]], dtype=torch.float32)
        with torch.no_grad():
            return self.unet(x, t, text.context, added_cond_kwargs={"text_embeds": text.pooled, "time_ids": sizes})[0]


def ddim_scheduler():
    """DDIM as SDXL is run with it, ending at the lowest level."""
    return DDIMScheduler(timestep_spacing="leading", clip_sample=False, set_alpha_to_one=False, **BETAS)
