"""The files that Town ships: the diffusion model, the attribute readers, and a small vision-language model."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

FOLDER = Path(__file__).resolve().parent / "weights"
CHECKPOINT = FOLDER / "town.safetensors"
TRANSFORMER = FOLDER / "town_transformer.safetensors"
READERS = FOLDER / "readers.safetensors"
MODELS = FOLDER.parent / "models"
"""Whole Hugging Face folders, which the pack shows to its loader beside ComfyUI's own."""
VLM_FOLDER = MODELS / "town-vlm"
VOCABULARY_SIZE = 49408

UNET, TEXT_L, TEXT_G, VAE = "model.diffusion_model.", "conditioner.embedders.0.", "conditioner.embedders.1.", "first_stage_model."
TABLE = "text_model.embeddings.token_embedding.weight"
VOCABULARY = "vocabulary"


class MissingWeights(FileNotFoundError):
    """A file of Town's is not where it should be."""


def read(path: Path) -> dict[str, Tensor]:
    """A safetensors file; MissingWeights with what to do when it is absent or cut short."""
    if not path.is_file():
        raise MissingWeights(f"Town's weights are missing: {path.name} is not in {path.parent}. Install the pack again, completely.")
    try:
        return load_file(path)
    except Exception as error:
        raise MissingWeights(f"Town's weights cannot be read: {path.name} is damaged ({error}). Install the pack again.") from error


def part(state: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The entries below a prefix, without it."""
    return {k[len(prefix) :]: v for k, v in state.items() if k.startswith(prefix)}


def full_table(table: Tensor, vocabulary: Tensor) -> Tensor:
    """Embeddings of the whole CLIP vocabulary (49408, c): words that Town never saw share the mean of those it knows."""
    full = table.float().mean(0).expand(VOCABULARY_SIZE, -1).clone()
    full[vocabulary.long()] = table.float()
    return full


@cache
def checkpoint() -> dict[str, Tensor]:
    """Town's diffusion checkpoint."""
    return read(CHECKPOINT)


def save_checkpoint(unet: dict, text: dict, vocabulary: list[int], vae: dict, notes: dict[str, str]) -> None:
    """Write the shipped checkpoint in half precision, under SDXL's key prefixes."""
    state = {UNET + k: v for k, v in unet.items()}
    state |= {TEXT_L + k[2:]: v for k, v in text.items() if k.startswith("l.")}
    state |= {TEXT_G + k[2:]: v for k, v in text.items() if k.startswith("g.")}
    state |= {VAE + k: v for k, v in vae.items()}
    halves = {k: v.detach().half().contiguous() for k, v in state.items()}
    FOLDER.mkdir(exist_ok=True)
    save_file(halves | {VOCABULARY: torch.tensor(vocabulary, dtype=torch.int32)}, CHECKPOINT, notes)


def save_transformer(network: dict[str, Tensor], path: Path, notes: dict[str, str]) -> None:
    """Write a transformer that draws Town, without text encoders and autoencoder, in half precision."""
    save_file({UNET + k: v.detach().half().contiguous() for k, v in network.items()}, path, notes)
