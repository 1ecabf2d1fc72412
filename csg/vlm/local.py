"""A Hugging Face model in a folder on this machine, run by transformers.

Nothing is downloaded, no code from a model's folder runs, and weights are read from safetensors only.
The model is loaded at the first question. Where it computes is somebody else's business: before each
question `place` brings it to a device.
"""
from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL.Image import Image

from .protocol import Progress, Schema, VLMError, silent

DTYPES = ("auto", "bfloat16", "float16", "float32", "8-bit", "4-bit")
ATTENTIONS = ("sdpa", "eager", "flash_attention_2")
ACTIVATION_BYTES = 512 * 2**20
CONFIG = "config.json"

Place = Callable[[torch.nn.Module, int], torch.device]
"""Brings a model to the device where it shall run, with so many bytes beside it free, and returns that device."""

log = logging.getLogger(__name__)


def stay(model: torch.nn.Module, beside: int) -> torch.device:
    """Leave the model where it is."""
    return next(model.parameters()).device


def check_folder(folder: Path) -> None:
    """Raise VLMError, saying what is missing, unless the folder holds a model that sees and writes."""
    config = _config(folder)
    kind = str(config.get("model_type"))
    if kind not in _kinds_that_see():
        raise VLMError(
            f"The model in {folder.name} ({kind}) cannot look at pictures, or this version of transformers does not "
            "know it. Use a vision-language model, such as Qwen3-VL, or update transformers."
        )
    if not any(folder.glob("*.safetensors")):
        raise VLMError(f"The folder {folder.name} has no *.safetensors file; other weight formats are not loaded.")


def _config(folder: Path) -> dict[str, Any]:
    try:
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise VLMError(f"The folder {folder.name} is no model folder: {CONFIG} cannot be read ({error}).") from None
    return config if isinstance(config, dict) else {}


def _kinds_that_see() -> frozenset[str]:
    from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES

    return frozenset(MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES)


@dataclass
class _Loaded:
    model: Any
    processor: Any


class LocalVLM:
    """Asks a vision-language model in a folder.

    `dtype` is one of DTYPES; "8-bit" and "4-bit" need the package bitsandbytes. `attention` is one of
    ATTENTIONS. Raises VLMError at once when the folder cannot be used.
    """

    def __init__(
        self,
        folder: Path,
        *,
        dtype: str = "auto",
        attention: str = "sdpa",
        place: Place = stay,
        progress: Progress = silent,
    ) -> None:
        check_folder(folder)
        self._folder = folder
        self._dtype = dtype
        self._attention = attention
        self._place = place
        self._progress = progress
        self._loaded: _Loaded | None = None

    def __repr__(self) -> str:
        return f"LocalVLM({self._folder.name!r}, {self._dtype!r})"

    def ask(
        self,
        prompt: str,
        images: Sequence[Image],
        *,
        schema: Schema | None = None,
        temperature: float = 0.2,
        max_tokens: int = 2048,
        seed: int = 0,
        progress: Progress | None = None,
    ) -> str:
        """Return the model's reply; see `VisionLanguageModel.ask`.

        With the package xgrammar installed the reply is held to `schema` while it is written. The
        global random state is left as it was.
        """
        progress = progress or self._progress
        progress(0, max_tokens)
        loaded = self._load()
        inputs = _inputs(loaded.processor, prompt, images)
        length = inputs["input_ids"].shape[1]
        device = self._place(loaded.model, _cache_bytes(loaded.model, length + max_tokens) + ACTIVATION_BYTES)
        inputs = inputs.to(device, dtype=loaded.model.dtype)
        settings = {"do_sample": temperature > 0, "max_new_tokens": max_tokens}
        if temperature > 0:
            settings["temperature"] = temperature
        with _seeded(seed, device), torch.inference_mode():
            ids = loaded.model.generate(
                **inputs,
                **settings,
                stopping_criteria=[_watcher(length, max_tokens, progress)],
                logits_processor=_grammar(loaded, schema),
            )
        return loaded.processor.decode(ids[0, length:], skip_special_tokens=True)

    def _load(self) -> _Loaded:
        if self._loaded is None:
            log.info("Loading the vision-language model %s.", self._folder.name)
            self._loaded = _Loaded(self._model(), self._processor())
        return self._loaded

    def _model(self) -> Any:
        from transformers import AutoModelForImageTextToText

        options = {"attn_implementation": self._attention, **_precision(self._dtype)}
        return self._read(AutoModelForImageTextToText, use_safetensors=True, **options).eval()

    def _processor(self) -> Any:
        from transformers import AutoProcessor

        return self._read(AutoProcessor)

    def _read(self, kind: Any, **options: Any) -> Any:
        try:
            return kind.from_pretrained(self._folder, local_files_only=True, trust_remote_code=False, **options)
        except Exception as error:  # a loader meets anything in a damaged folder
            raise VLMError(f"The model in {self._folder.name} cannot be loaded: {str(error)[:500]}") from error


def _precision(dtype: str) -> dict[str, Any]:
    if dtype not in DTYPES:
        raise VLMError(f"Got the dtype {dtype!r}; expected one of {', '.join(DTYPES)}.")
    if not dtype.endswith("-bit"):
        return {"dtype": dtype if dtype == "auto" else getattr(torch, dtype)}
    try:
        import bitsandbytes  # noqa: F401
        from transformers import BitsAndBytesConfig
    except ImportError:
        raise VLMError(f"{dtype} needs the package bitsandbytes: pip install bitsandbytes, or choose bfloat16.") from None
    return {"quantization_config": BitsAndBytesConfig(load_in_8bit=dtype == "8-bit", load_in_4bit=dtype == "4-bit")}


def _inputs(processor: Any, prompt: str, images: Sequence[Image]) -> Any:
    content = [{"type": "image", "image": image} for image in images] + [{"type": "text", "text": prompt}]
    return processor.apply_chat_template(
        [{"role": "user", "content": content}],
        add_generation_prompt=True,
        tokenize=True,
        return_dict=True,
        return_tensors="pt",
    )


def _cache_bytes(model: Any, tokens: int) -> int:
    """Estimate the key-value cache of so many tokens."""
    text = model.config.get_text_config()
    heads = getattr(text, "num_key_value_heads", None) or text.num_attention_heads
    width = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    return 2 * text.num_hidden_layers * heads * width * tokens * torch.finfo(model.dtype).bits // 8


def _watcher(start: int, total: int, progress: Progress) -> Any:
    """Report each token; an interrupt raised by `progress` ends the writing."""
    from transformers import StoppingCriteria

    class Watcher(StoppingCriteria):
        def __call__(self, ids: torch.Tensor, scores: Any, **_: Any) -> torch.Tensor:
            progress(min(ids.shape[1] - start, total), total)
            return torch.zeros(ids.shape[0], dtype=torch.bool, device=ids.device)

    return Watcher()


@contextmanager
def _seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Seed the random numbers of the CPU and of `device`, and put them back afterwards."""
    on_cpu = device.type == "cpu"
    with torch.random.fork_rng([] if on_cpu else [device], device_type="cuda" if on_cpu else device.type):
        torch.manual_seed(seed % 2**63)
        yield


def _grammar(loaded: _Loaded, schema: Schema | None) -> list[Any]:
    """Return what holds the reply to the schema, when the package xgrammar is there."""
    if schema is None:
        return []
    try:
        import xgrammar
        from xgrammar.contrib.hf import LogitsProcessor
    except ImportError:
        return []
    size = loaded.model.config.get_text_config().vocab_size
    tokens = xgrammar.TokenizerInfo.from_huggingface(loaded.processor.tokenizer, vocab_size=size)
    return [LogitsProcessor(xgrammar.GrammarCompiler(tokens).compile_json_schema(json.dumps(schema)))]
