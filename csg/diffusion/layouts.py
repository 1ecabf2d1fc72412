"""Families of transformers: where words stand in their sequences, and which of their layers tell places.

The rows follow ComfyUI's own networks (each checked by a test that nudges one token and one pixel and looks which
column and which row move). Layers, from 0, by the number of blocks in each list of the layout:

- SD3 medium 4, 5, 7, 8, 9 and SD3.5 large 16, 18, 20, 21, 24, Flux.1 11, 12, 14, 17, 18: the five best of Shin et al.
  (arXiv 2508.07519). SD3.5 medium, as deep as SD3 medium, has 5, 7, 8, 9, 10 there; four of the five are the same.
- Flux.2 klein with 8 double blocks: 5 to 7, ConceptAttention (arXiv 2502.04320).
- For the others no study is known: the middle half.
"""

from __future__ import annotations

from .joint_attention import TextLayout

FLUX1 = {(19, 38): (11, 12, 14, 17, 18)}
FLUX2 = {(8, 24): (5, 6, 7)}
SD3 = {(24,): (4, 5, 7, 8, 9), (38,): (16, 18, 20, 21, 24)}

LAYOUTS = {
    "SD3": TextLayout(("joint_blocks",), layers=SD3),
    "Flux": TextLayout(("double_blocks", "single_blocks"), layers=FLUX1),
    "Flux2": TextLayout(("double_blocks", "single_blocks"), left=512, layers=FLUX2),
    "Chroma": TextLayout(("double_blocks", "single_blocks")),
    "QwenImage": TextLayout(("transformer_blocks",)),
    "Lumina2": TextLayout(("layers",)),
    "AuraFlow": TextLayout(("double_layers", "single_layers"), registers=8),
    "HiDream": TextLayout(("double_stream_blocks", "single_stream_blocks"), picture_first=True, second_twice=True),
    "CosmosPredict2": TextLayout(("blocks",), separate=True),
    "Anima": TextLayout(("blocks",), separate=True),  # its adapter gives a text as many tokens as T5 cuts it into
    "WAN21": TextLayout(("blocks",), separate=True),
}
