"""A Hugging Face model in a folder on this machine, run by transformers.

Nothing is downloaded, no code from a model's folder runs, and weights are read from safetensors only.
The model is loaded at the first question. Its `Place` decides where it computes, and brings it to a device
before each question.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

import torch

from .protocol import Progress, Question, Schema, VLMError, silent

DTYPES = ("auto", "bfloat16", "float16", "float32", "8-bit", "4-bit")
ATTENTIONS = ("sdpa", "eager", "flash_attention_2")
ACTIVATION_BYTES = 512 * 2**20
CONFIG = "config.json"
ADAPTER = "adapter_config.json"
ROOM = {"8-bit": 0.6, "4-bit": 0.4}
"""What quantised weights take of the size of their files (16 bit); some layers are never quantised."""
FIRST_MOVABLE = (0, 48)
"""The first version of bitsandbytes whose 8-bit weights survive a move between devices."""

log = logging.getLogger(__name__)


class Place(Protocol):
    """Where a model computes."""

    def make_room(self, size: int) -> torch.device:
        """Free `size` bytes on the device where a model shall run, and return the device."""
        ...

    def bring(self, model: torch.nn.Module, beside: int) -> torch.device:
        """Bring a model to its device, with `beside` bytes free next to it, and return the device."""
        ...


class Here:
    """Leaves every model where it is; new ones come to torch's default device."""

    def make_room(self, size: int) -> torch.device:
        """Return torch's default device."""
        return torch.get_default_device()

    def bring(self, model: torch.nn.Module, beside: int) -> torch.device:
        """Return the device where the model is."""
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
    if (folder / ADAPTER).exists():
        raise VLMError(f"The folder {folder.name} holds an adapter, which fetches its model from elsewhere. Merge the two first.")
    if not any(folder.glob("*.safetensors")):
        raise VLMError(f"The folder {folder.name} has no *.safetensors file; other weight formats are not loaded.")


def _config(folder: Path) -> dict[str, Any]:
    try:
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise VLMError(f"The folder {folder.name} is no model folder: {CONFIG} cannot be read ({str(error)[:200]}).") from None
    return config if isinstance(config, dict) else {}


def _kinds_that_see() -> frozenset[str]:
    from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES

    return frozenset(MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES)


@dataclass
class _Loaded:
    model: Any
    processor: Any

    @cached_property
    def grammars(self) -> Any:
        """xgrammar's compiler for this model's tokens, which takes a while to make.

        None without the package, or when it does not know this kind of tokens.
        """
        try:
            import xgrammar
        except ImportError:
            return None
        size = self.model.config.get_text_config().vocab_size
        try:
            tokens = xgrammar.TokenizerInfo.from_huggingface(self.processor.tokenizer, vocab_size=size)
            return xgrammar.GrammarCompiler(tokens)
        except Exception as error:  # an answer without a grammar is worth more than none
            log.warning("Answers are not held to their form, since xgrammar cannot read the model's tokens: %s", error)
            return None


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
        place: Place = Here(),
        progress: Progress = silent,
    ) -> None:
        if attention not in ATTENTIONS:  # transformers takes other words for the name of a repository to fetch code from
            raise VLMError(f"Got the attention {attention[:40]!r}; expected one of {', '.join(ATTENTIONS)}.")
        check_folder(folder)
        self._folder = folder
        self._dtype = dtype
        self._attention = attention
        self._place = place
        self._progress = progress
        self._loaded: _Loaded | None = None

    def __repr__(self) -> str:
        return f"LocalVLM({self._folder.name!r}, {self._dtype!r})"

    def ask(self, question: Question, progress: Progress | None = None) -> str:
        """Return the model's reply; see `VisionLanguageModel.ask`.

        With the package xgrammar installed the reply is held to the schema while it is written. The
        global random state is left as it was.
        """
        progress = progress or self._progress
        progress(0, question.max_tokens)
        with _offline():
            return self._answer(self._load(), question, progress)

    def _answer(self, loaded: _Loaded, question: Question, progress: Progress) -> str:
        inputs = _inputs(loaded.processor, question)
        length = inputs["input_ids"].shape[1]
        cache = _cache_bytes(loaded.model, length + question.max_tokens)
        device = self._place.bring(loaded.model, cache + ACTIVATION_BYTES)
        with _seeded(question.seed, device), torch.inference_mode():
            ids = loaded.model.generate(
                **inputs.to(device, dtype=loaded.model.dtype),
                **_sampling(question),
                stopping_criteria=[_watcher(length, question.max_tokens, progress)],
                logits_processor=_grammar(loaded, question.schema),
            )
        return loaded.processor.decode(ids[0, length:], skip_special_tokens=True)

    def _load(self) -> _Loaded:
        if self._loaded is None:
            log.info("Loading the vision-language model %s.", self._folder.name)
            self._loaded = _Loaded(self._model(), self._processor())
        return self._loaded

    def _model(self) -> Any:
        from transformers import AutoModelForImageTextToText

        if self._attention == "flash_attention_2" and find_spec("flash_attn") is None:
            raise VLMError("flash_attention_2 needs the package flash-attn: pip install flash-attn, or choose sdpa.")
        options = {"attn_implementation": self._attention, **_precision(self._dtype)}
        if self._dtype in ROOM:  # such weights are made on the device itself, not moved there
            weights = sum(file.stat().st_size for file in self._folder.glob("*.safetensors"))
            options["device_map"] = {"": self._place.make_room(int(ROOM[self._dtype] * weights))}
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
        raise VLMError(f"Got the dtype {dtype[:40]!r}; expected one of {', '.join(DTYPES)}.")
    if dtype not in ROOM:
        return {"dtype": dtype if dtype == "auto" else getattr(torch, dtype)}
    try:
        version = metadata.version("bitsandbytes")
        metadata.version("accelerate")
    except metadata.PackageNotFoundError as missing:
        raise VLMError(
            f"{dtype} needs the package {missing.name}: pip install bitsandbytes accelerate, or choose bfloat16."
        ) from None
    if tuple(map(int, version.split(".")[:2])) < FIRST_MOVABLE:
        raise VLMError(f"{dtype} needs bitsandbytes 0.48 or newer, got {version}: pip install -U bitsandbytes.")
    return {"quantization_config": _quantisation(dtype)}


def _quantisation(dtype: str) -> Any:
    from transformers import BitsAndBytesConfig

    if dtype == "8-bit":
        return BitsAndBytesConfig(load_in_8bit=True)
    return BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=torch.bfloat16)


def _inputs(processor: Any, question: Question) -> Any:
    if not getattr(processor, "chat_template", None):
        raise VLMError("The model's folder has no chat template, so it cannot be asked. Use an instruct model.")
    content = [{"type": "image", "image": image} for image in question.images]
    content.append({"type": "text", "text": question.prompt})
    try:
        return processor.apply_chat_template(
            [{"role": "user", "content": content}],
            add_generation_prompt=True,
            tokenize=True,
            return_dict=True,
            return_tensors="pt",
        )
    except Exception as error:  # a template is a program of the folder's, and may do anything wrong
        raise VLMError(
            f"The model's chat template fails ({type(error).__name__}: {str(error)[:200]}). The folder may be damaged: download it again."
        ) from error


def _sampling(question: Question) -> dict[str, Any]:
    """Return how transformers shall choose tokens: greedily at temperature 0."""
    settings = {"max_new_tokens": question.max_tokens, "do_sample": question.temperature > 0}
    return settings | ({"temperature": question.temperature} if question.temperature > 0 else {})


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
def _offline() -> Iterator[None]:
    """Let nothing be fetched meanwhile: for some models transformers gets kernels, which are code, from its hub."""
    from huggingface_hub import constants

    before, constants.HF_HUB_OFFLINE = constants.HF_HUB_OFFLINE, True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


@contextmanager
def _seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Seed the random numbers of the CPU and of `device`, and put them back afterwards.

    Of other devices than these two kinds the random state cannot be put back.
    """
    forked = [device] if device.type in ("cuda", "xpu") else []
    with torch.random.fork_rng(forked, device_type=device.type if forked else "cuda"):
        torch.manual_seed(seed % 2**63)
        yield


def _grammar(loaded: _Loaded, schema: Schema | None) -> list[Any]:
    """Return what holds the reply to the schema, when the package xgrammar is there."""
    if schema is None or loaded.grammars is None:
        return []
    from xgrammar.contrib.hf import LogitsProcessor

    return [LogitsProcessor(loaded.grammars.compile_json_schema(json.dumps(schema)))]
