"""An original, its edited picture and masks: checked, and brought to one batch.

Pictures are IMAGE tensors (B, H, W, 3), float in [0, 1]; masks are MASK tensors (N, h, w) in [0, 1].
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

CHANNELS = 3


def checked(image: Tensor, name: str) -> Tensor:
    """The picture as float; raises ValueError, calling it `name`, unless it is RGB with numbers everywhere."""
    if image.ndim != 4 or 0 in image.shape:
        raise ValueError(f"The {name} picture has the shape {tuple(image.shape)}; (batch, height, width, 3) is expected, nothing empty.")
    if image.shape[-1] != CHANNELS:
        hint = " Take the transparency off first, with Split Image with Alpha." if image.shape[-1] == 4 else ""
        raise ValueError(f"The {name} picture has {image.shape[-1]} channels; {CHANNELS} (red, green, blue) are expected.{hint}")
    if wrong := int((~image.isfinite()).sum()):
        raise ValueError(
            f"The {name} picture has {wrong} values that are not numbers, as a failed decoding leaves them; "
            "decode it again, in float32 if the VAE overflows."
        )
    return image.float()


def one_batch(original: Tensor, edited: Tensor) -> tuple[Tensor, Tensor]:
    """Both with as many pictures as `edited`: one original serves every edit; raises ValueError for another number."""
    original, edited = checked(original, "original"), checked(edited, "edited")
    if len(original) not in (1, len(edited)):
        raise ValueError(
            f"There are {len(original)} originals and {len(edited)} edited pictures; one original for all, or one for each, is expected."
        )
    return original.to(edited.device).expand(len(edited), -1, -1, -1), edited


def same_size(original: Tensor, edited: Tensor) -> None:
    """Raise ValueError unless both pictures have the same height and width."""
    if original.shape[1:3] != edited.shape[1:3]:
        raise ValueError(
            f"The original is {size_text(original)} and the edited picture {size_text(edited)}; the same size is expected. "
            "Undo Drift fits a picture of another size to the original."
        )


def size_text(image: Tensor) -> str:
    """Width and height of a picture, as "640 x 480"."""
    return f"{image.shape[2]} x {image.shape[1]}"


def union(masks: Tensor, count: int, size: tuple[int, int]) -> Tensor:
    """The masks of all concepts in one per picture: (N, h, w) -> (count, *size), the largest value at each place.

    N is 1 (one mask for every picture) or a multiple of `count`, concept by concept as CSG Sampler gives them. Raises
    ValueError for another number, another shape, or values that are not numbers.
    """
    masks = masks[None] if masks.ndim == 2 else masks
    if masks.ndim != 3 or 0 in masks.shape:
        raise ValueError(f"The masks have the shape {tuple(masks.shape)}; (masks, height, width) is expected, nothing empty.")
    if not masks.isfinite().all():
        raise ValueError("The masks have values that are not numbers; values from 0 to 1 are expected.")
    if len(masks) > 1 and len(masks) % count:
        raise ValueError(
            f"There are {len(masks)} masks for {count} pictures; one mask for all, or the same number for each picture, is expected."
        )
    merged = masks.float().reshape(-1, min(count, len(masks)), *masks.shape[1:]).amax(0)
    if merged.shape[1:] != size:
        merged = F.interpolate(merged[None], size, mode="nearest-exact")[0]
    return merged.clamp(0, 1).expand(count, -1, -1)
