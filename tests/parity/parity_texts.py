"""What both sides are given: prompts as random embeddings with their word counts, and a random latent."""

from dataclasses import dataclass

import torch

CONTEXT, POOLED, TOKENS = 64, 32, 77


@dataclass(frozen=True, eq=False)
class Text:
    """An encoded prompt: context (1, 77, 64), pooled (1, 32), and how many of its tokens are words."""

    name: str
    context: torch.Tensor
    pooled: torch.Tensor
    words: int

    @property
    def conditioning(self):
        """The same as ComfyUI's CONDITIONING."""
        return [[self.context, {"pooled_output": self.pooled}]]


def _text(seed, name):
    generator = torch.Generator().manual_seed(seed)
    shapes = ((1, TOKENS, CONTEXT), (1, POOLED))
    return Text(name, *(torch.randn(shape, generator=generator) for shape in shapes), len(name.split()))


SOURCE = _text(100, "a quiet street in summer")
CONCEPTS = tuple(_text(200 + n, name) for n, name in enumerate(["wet ground", "dark cloudy sky", "umbrella"]))
ZEROS = Text("", torch.zeros(1, TOKENS, CONTEXT), torch.zeros(1, POOLED), 0)
TEXTS = {text.name: text for text in (ZEROS, SOURCE, *CONCEPTS)}

SQUARE, WIDE = (16, 16), (8, 16)


def latent(size):
    """A latent (1, 4, h, w) in model space."""
    return torch.randn((1, 4, *size), generator=torch.Generator().manual_seed(5))


def user_mask(size):
    """A mask (1, 1, h, w) with hard and soft places that leaves most of the picture free."""
    mask = torch.ones(1, 1, *size)
    mask[..., : size[1] // 4] = 0.5
    mask[..., : size[0] // 4, :] = 0.0
    return mask
