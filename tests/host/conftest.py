"""The real ComfyUI inside the test process: its node registry, its validation, its executor.

`nodes` must mean ComfyUI's module here, so ComfyUI's folder goes first on the path and the repository leaves it; the
pack is then loaded the way ComfyUI loads it. Tests reach its modules through `comfy.module("csg.causal.graph")`.
"""

import asyncio
import copy
import importlib
import logging
import os
import sys
import uuid
from dataclasses import dataclass
from pathlib import Path

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")
ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
from csg.evaluation.runner.comfy_client import find_comfyui, has_accelerator, pack_link  # noqa: E402

COMFYUI = find_comfyui()
sys.path[:] = [str(COMFYUI)] + [entry for entry in sys.path if Path(entry or ".").resolve() != ROOT]
EXTRAS = ("nodes_custom_sampler", "nodes_mask", "nodes_images", "nodes_preview_any", "nodes_advanced_samplers",
          "nodes_compositing")


class SilentServer:
    """The part of ComfyUI's server that its executor speaks to; it keeps the events that a browser would be sent."""

    def __init__(self):
        self.client_id, self.last_node_id, self.sockets_metadata, self.events = "tests", None, {}, []

    def send_sync(self, event, data, client_id=None):
        self.events.append((event, data))


@dataclass(frozen=True)
class Outcome:
    """A prompt's end: values and ui per node, messages of refused and failed nodes, nodes taken from the cache."""

    values: dict
    ui: dict
    errors: dict
    cached: frozenset
    events: tuple

    def value(self, node, index=0):
        """The single value of one output of a node."""
        assert not self.errors, f"the prompt failed: {self.errors}"
        return self.values[str(node)][index][0]


class Comfy:
    """Runs API prompts through ComfyUI's validation and executor; its cache lives on between runs."""

    def __init__(self, pack):
        import execution
        import nodes

        self.pack, self.nodes, self._execution = pack, nodes, execution
        self.forget()

    def forget(self):
        """Start again with an empty cache."""
        self.server = SilentServer()
        settings = {"lru": 0, "ram": 0.0, "ram_inactive": 0.0}
        self.executor = self._execution.PromptExecutor(
            self.server, cache_type=self._execution.CacheType.CLASSIC, cache_args=settings)

    def module(self, name):
        """A module of the pack as loaded by ComfyUI, such as "csg.causal.graph"."""
        return importlib.import_module(f"{self.pack}.{name}")

    def run(self, prompt, outputs=None):
        """Run a prompt {id: {"class_type", "inputs"}}. `outputs` names the nodes wanted; default: its output nodes.

        A node that is no output node cannot be asked for by ComfyUI, so its values are watched through PreviewAny.
        """
        prompt = copy.deepcopy({str(node): entry for node, entry in prompt.items()})
        watched = [str(node) for node in outputs or []]
        prompt |= {f"watch-{node}": {"class_type": "PreviewAny", "inputs": {"source": [node, 0]}} for node in watched}
        prompt_id = str(uuid.uuid4())
        valid, error, good, node_errors = asyncio.run(self._execution.validate_prompt(prompt_id, prompt, None))
        if not valid or node_errors:
            return Outcome({}, {}, self._refusals(error, node_errors), frozenset(), ())
        self.server.events.clear()
        self.executor.execute(prompt, prompt_id, {"client_id": "tests"}, good)
        return self._outcome(prompt)

    def _refusals(self, error, node_errors):
        found = {node: "; ".join(f"{one['message']}: {one['details']}" for one in entry["errors"])
                 for node, entry in node_errors.items()}
        return found or {"prompt": f"{error['message']}: {error['details']}"}

    def _outcome(self, prompt):
        messages = dict(self.executor.status_messages)
        failure = messages.get("execution_error")
        errors = {failure["node_id"]: failure["exception_message"].strip()} if failure else {}
        values = {node: entry.outputs for node in prompt if (entry := self._cached(node)) is not None}
        cached = frozenset(messages.get("execution_cached", {}).get("nodes", ()))
        return Outcome(values, self.executor.history_result["outputs"], errors, cached, tuple(self.server.events))

    def _cached(self, node):
        return asyncio.run(self.executor.caches.outputs.get(node))


def _prepare_folders(base):
    import folder_paths

    for name in ("input", "output", "temp", "user"):
        folder = base / name
        folder.mkdir()
        getattr(folder_paths, f"set_{name}_directory")(str(folder))


async def _load_pack(pack):
    import nodes

    for extra in EXTRAS:
        await nodes.load_custom_node(str(COMFYUI / "comfy_extras" / f"{extra}.py"), module_parent="comfy_extras")
    return await nodes.load_custom_node(str(pack), set(nodes.NODE_CLASS_MAPPINGS))


@pytest.fixture(scope="session")
def comfy(tmp_path_factory):
    """ComfyUI with this pack, loaded as ComfyUI loads it; fails with ComfyUI's own words when a node does not load."""
    from comfy.cli_args import args

    args.cpu = not has_accelerator()
    base = tmp_path_factory.mktemp("comfyui")
    _prepare_folders(base)
    pack = pack_link(base).absolute()  # this checkout, whichever one a shared .comfy names
    words = []
    listener = logging.Handler(logging.WARNING)
    listener.emit = lambda record: words.append(record.getMessage())
    logging.getLogger().addHandler(listener)
    loaded = asyncio.run(_load_pack(pack))
    logging.getLogger().removeHandler(listener)
    if not loaded:
        pytest.fail("the pack does not load:\n" + "\n".join(words))
    return Comfy(str(pack).replace(".", "_x_"))


@pytest.fixture(scope="module")
def lab(comfy):
    """The sampling nodes on a tiny random model."""
    from tests.host.tiny_lab import Lab

    return Lab(comfy)


@pytest.fixture(scope="module")
def inversion(lab):
    """A picture inverted by that model with a source prompt."""
    return lab.invert(source=lab.source)[0]


@pytest.fixture
def input_file(comfy):
    """Writes a file into ComfyUI's input folder and returns its name."""
    import folder_paths

    def write(name, content):
        path = Path(folder_paths.get_input_directory()) / name
        path.write_bytes(content) if isinstance(content, bytes) else path.write_text(content)
        return name

    return write
