"""Running workflows in a real ComfyUI: a server as a child process, and a client for any server.

    with ComfyServer() as server:
        run = server.client.run(prompt, on_progress=print)
        picture = server.client.images(run, "9")[0]

A prompt is ComfyUI's API format: `{node id: {"class_type": ..., "inputs": ...}}`.
"""

from __future__ import annotations

import asyncio
import ctypes
import json
import logging
import os
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Coroutine, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

log = logging.getLogger(__name__)

REPOSITORY = Path(__file__).resolve().parents[3]
PACK = "causal-semantic-guidance"
LOOPBACK = "127.0.0.1"
PR_SET_PDEATHSIG = 1  # of linux/prctl.h
Prompt = Mapping[str, Mapping[str, Any]]
Answer = TypeVar("Answer")


class ComfyError(RuntimeError):
    """ComfyUI is not there, refused a prompt, or a node failed."""


@dataclass(frozen=True)
class Progress:
    """Where a running prompt is: nodes done of all, and the fraction of the node at work."""

    finished: int
    total: int
    node: str
    fraction: float

    @property
    def overall(self) -> float:
        """The share of the whole prompt that is done, in [0, 1]; every node counts alike."""
        return min(1.0, (self.finished + self.fraction) / max(self.total, 1))


@dataclass(frozen=True)
class Run:
    """What a prompt left behind: per output node its ui entries, and the seconds from queueing to the end."""

    prompt_id: str
    outputs: Mapping[str, Mapping[str, Any]]
    seconds: float
    cached: frozenset[str] = frozenset()

    def text(self, node: str) -> str:
        """The text shown by a preview node."""
        return "".join(self.outputs[node]["text"])


class ComfyClient:
    """A client of one ComfyUI server, over HTTP and its websocket."""

    def __init__(self, url: str, timeout: float = 900.0) -> None:
        """`url` like http://127.0.0.1:8188; `timeout` in seconds holds for one whole prompt."""
        self.url, self.timeout = url.rstrip("/"), timeout
        self.client_id = uuid.uuid4().hex

    def get(self, path: str, **query: str) -> Any:
        """The JSON answer to a GET."""
        return json.loads(self.fetch(path, **query))

    def fetch(self, path: str, **query: str) -> bytes:
        """The raw answer to a GET."""
        return _waited_for(self._ask("GET", path, params=query))

    def post(self, path: str, value: Any) -> Any:
        """The JSON answer to a POST of a JSON value; None when it is empty."""
        return json.loads(_waited_for(self._ask("POST", path, json=value)) or "null")

    async def _ask(self, method: str, path: str, **options: Any) -> bytes:
        import aiohttp

        try:
            async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(60)) as session, \
                    session.request(method, self.url + path, **options) as answer:
                body = await answer.read()
        except (aiohttp.ClientError, asyncio.TimeoutError, OSError) as error:
            raise ComfyError(f"no ComfyUI answers at {self.url}: {error}. Is the server running?") from error
        if answer.status >= 400:
            raise ComfyError(_refusal(answer.status, body.decode(errors="replace")))
        return body

    def nodes(self) -> dict[str, Any]:
        """Every node type that the server offers, with its inputs and outputs."""
        return self.get("/object_info")

    def upload_image(self, path: str | Path) -> str:
        """Put an image into the server's input folder; returns the name that LoadImage takes."""
        path = Path(path)
        entry = json.loads(_waited_for(self._upload(path.name, path.read_bytes())))
        return "/".join(filter(None, (entry.get("subfolder"), entry["name"])))

    async def _upload(self, name: str, content: bytes) -> bytes:
        import aiohttp

        form = aiohttp.FormData(quote_fields=False)  # names with spaces or umlauts stay as they are
        form.add_field("image", content, filename=name, content_type="application/octet-stream")
        return await self._ask("POST", "/upload/image", data=form)

    def run(self, prompt: Prompt, on_progress: Callable[[Progress], None] | None = None) -> Run:
        """Queue a prompt and wait for its end. Raises ComfyError with the node and its message when one fails."""
        return _waited_for(self._run(prompt, on_progress))

    async def _run(self, prompt: Prompt, on_progress: Callable[[Progress], None] | None) -> Run:
        import aiohttp

        begin = time.monotonic()
        async with aiohttp.ClientSession() as session, \
                session.ws_connect(f"{self.url}/ws?clientId={self.client_id}", max_msg_size=0) as socket_:
            queued = json.loads(await self._ask("POST", "/prompt", json={"prompt": prompt, "client_id": self.client_id}))
            watch = _Watch(queued["prompt_id"], prompt, on_progress)
            try:
                await asyncio.wait_for(_follow(socket_, watch), self.timeout)
            except asyncio.TimeoutError:
                await self._ask("POST", "/interrupt", json={})
                raise ComfyError(f"the prompt did not end within {self.timeout:.0f} s and was interrupted") from None
        entry = json.loads(await self._ask("GET", f"/history/{watch.prompt_id}"))
        outputs = entry.get(watch.prompt_id, {}).get("outputs", {})
        return Run(watch.prompt_id, outputs, time.monotonic() - begin, frozenset(watch.cached))

    def images(self, run: Run, node: str) -> list[bytes]:
        """The encoded images that an output node saved or previewed."""
        entries = run.outputs.get(node, {}).get("images", [])
        keys = ("filename", "subfolder", "type")
        return [self.fetch("/view", **{key: entry[key] for key in keys}) for entry in entries]


def _waited_for(work: Coroutine[Any, Any, Answer]) -> Answer:
    """What a coroutine returns, from a loop of its own: the caller may have one running."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, work).result()


@dataclass
class _Watch:
    """The state of one prompt while its events come in."""

    prompt_id: str
    prompt: Prompt
    on_progress: Callable[[Progress], None] | None
    cached: set[str] = field(default_factory=set)

    def take(self, kind: str, data: Mapping[str, Any]) -> bool:
        """Work one event in; True at the prompt's end."""
        if data.get("prompt_id") != self.prompt_id:
            return False
        if kind == "execution_cached":
            self.cached.update(data["nodes"])
        elif kind == "progress_state":
            self._tell(data["nodes"])
        elif kind == "execution_error":
            raise ComfyError(_failure(data))
        elif kind == "execution_interrupted":
            raise ComfyError(f"the prompt was interrupted at node {data['node_id']} ({data['node_type']})")
        return kind == "executing" and data["node"] is None  # sent once the history holds the outputs

    def _tell(self, nodes: Mapping[str, Mapping[str, Any]]) -> None:
        if self.on_progress is None:
            return
        done = self.cached | {node for node, state in nodes.items() if state["state"] == "finished"}
        at_work = {node: state for node, state in nodes.items() if state["state"] == "running"}
        node, state = next(iter(at_work.items()), ("", {"value": 0, "max": 1}))
        self.on_progress(Progress(len(done), len(self.prompt), node, state["value"] / max(state["max"], 1)))


async def _follow(events: Any, watch: _Watch) -> None:
    """Read the websocket until the prompt ends."""
    async for message in events:
        if message.type.name == "TEXT":
            event = json.loads(message.data)
            if watch.take(event["type"], event["data"]):
                return
    raise ComfyError("the server closed the connection before the prompt ended; its log tells more")


def _failure(data: Mapping[str, Any]) -> str:
    message = str(data["exception_message"]).strip()
    return f"node {data['node_id']} ({data['node_type']}) failed: {message}"


def _refusal(code: int, body: str) -> str:
    """One readable text for a refused request; for a refused prompt every node's complaints, a line each."""
    try:
        answer = json.loads(body)
    except ValueError:
        return f"ComfyUI answered {code}: {body[:300]}"
    lines = [
        f"node {node} ({entry.get('class_type')}): {error['message']}: {error.get('details', '')}"
        for node, entry in (answer.get("node_errors") or {}).items() for error in entry["errors"]
    ]
    error = answer.get("error")
    head = error.get("message", error) if isinstance(error, dict) else error
    return "\n".join([f"ComfyUI refused the request ({code}): {head}", *lines])


def find_comfyui() -> Path:
    """ComfyUI's folder: COMFYUI_PATH, or the one that the set-up made."""
    home = Path(os.environ.get("COMFYUI_PATH") or REPOSITORY / ".comfy" / "ComfyUI").resolve()
    if not (home / "main.py").is_file():
        raise ComfyError(f"no ComfyUI at {home}: run a make target once, or set COMFYUI_PATH to ComfyUI's folder")
    return home


def free_port() -> int:
    """A port of the loopback interface that nothing listens on."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return probe.getsockname()[1]


def has_accelerator() -> bool:
    """Whether torch has a device faster than the CPU."""
    import torch

    return torch.accelerator.is_available()


def pack_link(workspace: Path) -> Path:
    """The pack under its published name in a folder of its own, as ComfyUI expects custom nodes; made when missing."""
    link = workspace / "nodes" / PACK
    link.parent.mkdir(parents=True, exist_ok=True)
    if not link.is_symlink():
        link.symlink_to(REPOSITORY, target_is_directory=True)
    return link


def server_command(
    port: int, workspace: Path, output: Path | None = None, *, only_this_pack: bool = True, extra: Sequence[str] = ()
) -> list[str]:
    """The command line of a ComfyUI that has this pack and keeps all it writes inside `workspace` and `output`."""
    home = find_comfyui()
    folders = {name: workspace / name for name in ("user", "temp", "input")} | {"output": output or workspace / "output"}
    for folder in folders.values():
        folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, str(home / "main.py"), "--listen", LOOPBACK, "--port", str(port)]
    command += [part for name, folder in folders.items() for part in (f"--{name}-directory", str(folder.resolve()))]
    # on a CPU ComfyUI would choose an attention of its own, which takes a fifth longer in bfloat16
    command += [] if has_accelerator() else ["--cpu", "--use-pytorch-cross-attention"]
    command += ["--disable-all-custom-nodes", "--whitelist-custom-nodes", PACK] if only_this_pack else []
    return [*command, *_search_path(home, workspace), *extra]


def _search_path(home: Path, workspace: Path) -> list[str]:
    """Arguments that make ComfyUI find the pack, none when it already lies among its custom nodes."""
    if any(entry.resolve() == REPOSITORY for entry in (home / "custom_nodes").glob("*")):
        return []
    config = workspace / "extra_paths.yaml"
    config.write_text(json.dumps({"csg": {"custom_nodes": str(pack_link(workspace).parent.absolute())}}))
    return ["--extra-model-paths-config", str(config.resolve())]


def _end_with_parent() -> None:
    """Ask Linux to end this child when the process that started it is gone, however that ended."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


class ComfyServer:
    """A ComfyUI server: a child process on a free loopback port, or one that runs already at `url`.

    Use it as a context manager: entering waits until it answers, leaving ends the process that entering started.
    """

    def __init__(
        self, url: str | None = None, *, workspace: str | Path = REPOSITORY / ".comfy", output: str | Path | None = None,
        threads: int | None = None, extra: Sequence[str] = (), start_timeout: float = 180.0,
    ) -> None:
        """`threads` is what OpenMP may use (default: OMP_NUM_THREADS, else all cores); `extra` goes to main.py."""
        self.url, self.workspace = url, Path(workspace)
        self.output = Path(output) if output else None
        self.threads = threads or int(os.environ.get("OMP_NUM_THREADS") or os.cpu_count() or 1)
        self.extra, self.start_timeout = tuple(extra), start_timeout
        self.log_file = self.workspace / "server.log"
        self._process: subprocess.Popen | None = None

    @property
    def client(self) -> ComfyClient:
        """A client of its own for this server."""
        if self.url is None:
            raise ComfyError("the server is not running: use it in a with statement")
        return ComfyClient(self.url)

    def __enter__(self) -> ComfyServer:
        if self.url is None:
            self._start()
        self._wait_ready()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.stop()

    def _start(self) -> None:
        port = free_port()
        self.workspace.mkdir(parents=True, exist_ok=True)
        extra = ("--database-url", "sqlite:///:memory:", "--disable-api-nodes", *self.extra)
        command = server_command(port, self.workspace, self.output, extra=extra)
        environment = os.environ | {"PYTHONUNBUFFERED": "1", "OMP_NUM_THREADS": str(self.threads),
                                    "OMP_WAIT_POLICY": "PASSIVE"}  # spinning threads starve each other on a busy machine
        log.info("starting ComfyUI on port %d, log in %s", port, self.log_file)
        with self.log_file.open("wb") as out:
            self._process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, env=environment,
                                             cwd=find_comfyui(), start_new_session=True,
                                             preexec_fn=_end_with_parent if sys.platform == "linux" else None)
        self.url = f"http://{LOOPBACK}:{port}"

    def _wait_ready(self) -> None:
        deadline = time.monotonic() + self.start_timeout
        try:
            while not self._answers():
                self._check_alive(deadline)
                time.sleep(0.2)
            self._check_pack()
        except BaseException:
            self.stop()
            raise

    def _answers(self) -> bool:
        try:
            return bool(ComfyClient(str(self.url)).get("/system_stats"))
        except ComfyError:
            return False

    def _check_alive(self, deadline: float) -> None:
        if self._process is not None and self._process.poll() is not None:
            raise ComfyError(f"ComfyUI ended while starting:\n{self.log_tail()}")
        if time.monotonic() > deadline:
            raise ComfyError(f"no ComfyUI answered at {self.url} within {self.start_timeout:.0f} s\n{self.log_tail()}")

    def _check_pack(self) -> None:
        """ComfyUI only logs it when a pack does not load; here that is an error."""
        if self._process is None:
            return
        lines = self.log_file.read_text(errors="replace").splitlines()
        if any(PACK in line and ("IMPORT FAILED" in line or "Error while calling" in line) for line in lines):
            reasons = [line for line in lines if "Error while calling" in line or "Cannot import" in line]
            raise ComfyError("ComfyUI could not load this pack:\n" + "\n".join(reasons[:5]))

    def log_tail(self, lines: int = 15) -> str:
        """The last lines that the server wrote."""
        if not self.log_file.is_file():
            return ""
        return "\n".join(self.log_file.read_text(errors="replace").splitlines()[-lines:])

    def stop(self) -> None:
        """End the process that was started, with everything it started; an attached server is left alone."""
        process, self._process = self._process, None
        if process is None:
            return
        self.url = None
        for sign, patience in ((signal.SIGTERM, 10), (signal.SIGKILL, 10)):
            try:
                os.killpg(process.pid, sign)
                process.wait(patience)
                return
            except ProcessLookupError:
                process.wait()
                return
            except subprocess.TimeoutExpired:
                log.warning("ComfyUI did not end within %d s of %s", patience, sign.name)
