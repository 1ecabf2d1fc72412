"""What the vision-language models need of ComfyUI: memory, folders, progress, its own text encoders."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import comfy.model_management
import comfy.model_patcher
import comfy.utils
import folder_paths
import torch
from comfy_execution.utils import get_executing_context
from server import PromptServer

from ..csg.images import to_tensor
from ..csg.town.weights import MODELS
from ..csg.vlm.access import HOSTS_VARIABLE, checked_url, key_for, listed_hosts
from ..csg.vlm.local import CONFIG, LocalVLM
from ..csg.vlm.prompting import PromptBook
from ..csg.vlm.protocol import Progress, Question, VLMError, silent
from ..csg.vlm.server import ServerVLM

FOLDER = "LLM"
NO_MODEL = "(no model in models/LLM)"
BUILT_IN_PROMPTS = "built-in"
PROMPTS_FOLDER = "csg_prompts"
HOSTS_FILE = "csg_vlm_hosts.txt"
TOP_P = 0.95
EMBEDDING = "embedding:"

log = logging.getLogger(__name__)

folder_paths.add_model_folder_path(FOLDER, str(Path(folder_paths.models_dir) / FOLDER))
folder_paths.add_model_folder_path(FOLDER, str(MODELS))  # what the pack itself brings: town-vlm


class TokenProgress:
    """Shows a model's tokens on ComfyUI's progress bar and passes on an interrupt."""

    def __init__(self) -> None:
        self._bar: Any = None

    def __call__(self, done: int, total: int) -> None:
        """Report `done` of at most `total` tokens."""
        comfy.model_management.throw_exception_if_processing_interrupted()
        if done == 0 or self._bar is None:
            self._bar = comfy.utils.ProgressBar(total)
        self._bar.update_absolute(done, total)


def tell(report: str, problems: Sequence[str] = ()) -> None:
    """Show a report on the node that is running, and warn in ComfyUI's log of what could not be read."""
    for problem in problems:
        log.warning("A model's reply could not be read whole: %s", problem)
    running, page = get_executing_context(), getattr(PromptServer, "instance", None)
    if running is not None and page is not None:
        page.send_progress_text(report, running.node_id)


# ----------------------------------------------------------------------------------------- folders


def model_folders() -> list[str]:
    """List the folders under models/LLM that hold a model, as names relative to it, and the one that the pack brings."""
    names = {name for root in folder_paths.get_folder_paths(FOLDER) for name in _models_in(Path(root))}
    return sorted(names) or [NO_MODEL]


def _models_in(root: Path) -> list[str]:
    configs = [*root.glob(f"*/{CONFIG}"), *root.glob(f"*/*/{CONFIG}")]
    return [config.parent.relative_to(root).as_posix() for config in configs]


def model_folder(name: str) -> Path:
    """Return the folder of a listed model; raises VLMError for any other name."""
    for root in map(Path, folder_paths.get_folder_paths(FOLDER)):
        if name in _models_in(root):
            return root / name
    raise VLMError(
        f"There is no model folder {name[:60]!r} in {FOLDER} among ComfyUI's models. Put a model's whole folder there, "
        f"with its {CONFIG} and *.safetensors files, such as Qwen3-VL-4B-Instruct."
    )


def prompt_folders() -> list[str]:
    """List the built-in prompts and the user's own prompt folders."""
    folder = _prompts_root()
    return [BUILT_IN_PROMPTS, *sorted(path.name for path in folder.glob("*") if path.is_dir())]


def prompt_book(name: str = BUILT_IN_PROMPTS) -> PromptBook:
    """Return the prompts of a listed folder; raises VLMError for any other name."""
    if name not in prompt_folders():
        raise VLMError(f"There is no prompt folder {name[:60]!r} in {PROMPTS_FOLDER}, in ComfyUI's user folder.")
    return PromptBook() if name == BUILT_IN_PROMPTS else PromptBook(_prompts_root() / name)


def _prompts_root() -> Path:
    return Path(folder_paths.get_user_directory()) / PROMPTS_FOLDER


def allowed_hosts() -> frozenset[str]:
    """Return the hosts that the user allows beside this machine."""
    return listed_hosts(hosts_list())


def hosts_list() -> str:
    """Return the user's list of hosts and their keys: from the environment and her own file."""
    path = Path(folder_paths.get_user_directory()) / HOSTS_FILE
    text = path.read_text(encoding="utf-8-sig", errors="replace") if path.is_file() else ""
    return f"{os.environ.get(HOSTS_VARIABLE, '')}\n{text}"


# ---------------------------------------------------------------------------------------- backends


def server(base_url: str, model: str, api_key_env: str, timeout_s: float) -> ServerVLM:
    """Return a model behind a server that this machine's user allows."""
    listed = hosts_list()
    url = checked_url(base_url, listed_hosts(listed))
    key = key_for(url, api_key_env, listed, os.environ)
    return ServerVLM(url, model.strip(), api_key=key, timeout_s=timeout_s, progress=TokenProgress())


def local(name: str, dtype: str, attention: str) -> LocalVLM:
    """Return a model from models/LLM that takes turns with ComfyUI's other models on the GPU."""
    return LocalVLM(model_folder(name), dtype=dtype, attention=attention, place=Residency(), progress=TokenProgress())


class Residency:
    """Brings a transformers model to the GPU under ComfyUI's memory management.

    Such a model cannot run when loaded in part: it is brought as a whole.
    """

    def __init__(self) -> None:
        self._patcher: comfy.model_patcher.ModelPatcher | None = None

    def make_room(self, size: int) -> torch.device:
        """Let ComfyUI unload what is in the way of `size` bytes, and return the device."""
        device = comfy.model_management.text_encoder_device()
        if device.type != "cpu":
            comfy.model_management.free_memory(size + comfy.model_management.minimum_inference_memory(), device)
        return device

    def bring(self, model: torch.nn.Module, beside: int) -> torch.device:
        """Load the model with `beside` bytes left free next to it, and return its device."""
        if self._patcher is None:
            self._patcher = _patcher(model)
        comfy.model_management.load_models_gpu([self._patcher], memory_required=beside, force_full_load=True)
        return self._patcher.load_device


class Holder(torch.nn.Module):
    """A plain module around a model of transformers, whose own classes refuse the marks that a ModelPatcher leaves."""

    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self.model = model

    def to(self, *args: Any, **kwargs: Any) -> Holder:
        """Move layer by layer: those quantised to 8 bit keep state that only their own `to` moves."""
        for layer in self.modules():
            if not any(True for _ in layer.children()):
                layer.to(*args, **kwargs)
        return super().to(*args, **kwargs)


def _patcher(model: torch.nn.Module) -> comfy.model_patcher.ModelPatcher:
    return comfy.model_patcher.ModelPatcher(
        Holder(model),
        load_device=comfy.model_management.text_encoder_device(),
        offload_device=comfy.model_management.text_encoder_offload_device(),
    )


class TextEncoderVLM:
    """Asks a text encoder of ComfyUI's own that can see and write, such as Qwen3-VL or Gemma.

    Raises VLMError for one that only encodes.
    """

    def __init__(self, clip: Any) -> None:  # noqa: ANN401 (ComfyUI's CLIP)
        if not _writes(clip):
            raise VLMError(
                "This text encoder cannot write. Load a text-generation model with Load CLIP, type stable_diffusion: "
                "qwen3vl_4b_fp8_scaled or qwen3vl_8b_fp8_scaled (Qwen3-VL), or gemma4_e4b_it_fp8_scaled (Gemma)."
            )
        self._clip = clip

    def ask(self, question: Question, progress: Progress | None = None) -> str:
        """Return the model's reply; see `VisionLanguageModel.ask`.

        ComfyUI itself shows each token and interrupts the writing; `progress` is called at the start
        alone. The schema is not enforced: ComfyUI's text generation has no constrained decoding.
        """
        comfy.model_management.throw_exception_if_processing_interrupted()
        (progress or silent)(0, question.max_tokens)
        ids = self._clip.generate(
            self._tokens(question),
            do_sample=question.temperature > 0,
            max_length=question.max_tokens,
            temperature=max(question.temperature, 0.01),
            top_k=0,
            top_p=TOP_P,
            seed=question.seed,
        )
        return self._clip.decode(ids)

    def _tokens(self, question: Question) -> dict[str, list]:
        picture = torch.cat([to_tensor(image) for image in question.images]) if question.images else None
        prompt = question.prompt.replace(EMBEDDING, "embedding :")  # else ComfyUI loads a file here and drops the words around it
        tokens = self._clip.tokenize(prompt, image=picture, skip_template=False, min_length=1, thinking=False)
        if question.images and not _has_picture(tokens):
            raise VLMError("This text encoder writes but cannot look at pictures. Use Qwen3-VL 4B or 8B, or Gemma.")
        return tokens


def _writes(clip: Any) -> bool:  # noqa: ANN401
    encoder = clip.cond_stage_model
    inner = getattr(encoder, getattr(encoder, "clip", None) or "", encoder)
    return hasattr(encoder, "generate") and hasattr(getattr(inner, "transformer", None), "generate")


def _has_picture(tokens: dict[str, list]) -> bool:
    return any(isinstance(token[0], dict) for batches in tokens.values() for batch in batches for token in batch)
