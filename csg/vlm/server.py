"""A model behind an OpenAI-compatible server: vLLM, Ollama, llama.cpp, LM Studio or a cloud."""

from __future__ import annotations

import asyncio
import logging
import queue
import threading
import time
import urllib.request
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from typing import Any

from ..images import to_data_url
from . import access
from .failures import Refused, Retry, Telling, hidden, stop_at_failure
from .protocol import Progress, Question, Reply, VLMError, silent
from .streams import BadAnswer, Completion, read_stream, read_whole

RETRIES = 3
FIRST_PAUSE_S = 1.0
LONGEST_PAUSE_S = 30.0
POLL_S = 0.1
WHOLE_ANSWER = 10  # times timeout_s: a server that sends a sign of life now and then is given up, too

log = logging.getLogger(__name__)


class ServerVLM:
    """Asks an OpenAI-compatible server for chat completions.

    `base_url` is the address up to and with `/v1`; it must have been checked with
    `access.checked_url`. `timeout_s` is the longest silence allowed, and ten times as long the longest answer. Redirects are
    not followed, packed answers are refused, and of this machine's environment nothing but `api_key` is sent.

    Raises VLMError when the package aiohttp, which ComfyUI brings, is missing.
    """

    def __init__(
        self,
        base_url: str,
        model: str,
        *,
        api_key: str | None = None,
        timeout_s: float = 120.0,
        progress: Progress = silent,
    ) -> None:
        self._aiohttp = _aiohttp()
        self._base_url = base_url
        self._model = model
        self._api_key = api_key
        self._timeout_s = timeout_s
        self._progress = progress
        self._unsupported: set[str] = set()

    def __repr__(self) -> str:
        return f"ServerVLM({self._base_url!r}, {self._model!r})"

    def ask(self, question: Question, progress: Progress | None = None) -> str:
        """Return the server's reply; see `VisionLanguageModel.ask`.

        A busy or failing server is asked again three times with growing pauses; a silent one is not.
        A setting that the server refuses, such as the schema, is left out from then on.
        """
        body, total = _body(self._model, question), question.max_tokens
        progress = progress or self._progress
        progress(0, total)
        return self._with_retries(lambda: self._without_refused(body, total, progress), progress, total)

    def _with_retries(self, attempt: Callable[[], str], progress: Progress, total: int) -> str:
        for number in range(RETRIES + 1):
            try:
                return attempt()
            except Retry as failure:
                if number == RETRIES:
                    raise VLMError(f"{failure} Asked {RETRIES + 1} times.") from None
                pause = min(failure.pause_s or FIRST_PAUSE_S * 2**number, LONGEST_PAUSE_S)
                log.info("%s Asking again in %.1f s.", failure, pause)
                _wait(pause, lambda: progress(0, total))
        raise AssertionError("unreachable")

    def _without_refused(self, body: dict[str, Any], total: int, progress: Progress) -> str:
        """Send the request, leaving out one refused setting after another; remember what helped."""
        left_out = set(self._unsupported)
        while True:
            sent = _reduced(body, left_out)
            try:
                reply = self._once(sent, total, progress)
            except Refused as refusal:
                culprit = _culprit(str(refusal), sent)
                if culprit is None:
                    raise VLMError(f"The server at {self._base_url} refuses the request: {refusal}") from None
                log.info("The server refuses %s; going on without it.", culprit)
                left_out.add(culprit)
            else:
                self._unsupported = left_out
                return reply

    def _once(self, body: dict[str, Any], total: int, progress: Progress) -> str:
        """Make one request in a thread, so that an interrupt need not wait for the network."""
        completion = Completion()
        for _ in _in_thread(lambda step: self._read(body, completion, step)):
            progress(min(completion.pieces, total), total)
        return Reply(hidden(completion.reply, self._api_key), completion.remark)

    async def _read(self, body: dict[str, Any], completion: Completion, step: Callable[[], None]) -> None:
        whole_s = WHOLE_ANSWER * self._timeout_s
        timeout = self._aiohttp.ClientTimeout(total=whole_s, sock_connect=self._timeout_s, sock_read=self._timeout_s)
        headers = {"accept": "text/event-stream, application/json", "accept-encoding": "identity"}
        headers |= {"authorization": f"Bearer {self._api_key}"} if self._api_key else {}
        url, body = f"{self._base_url}/chat/completions", body | {"stream": True}
        with Telling(self._base_url, self._model, self._timeout_s, whole_s, self._api_key):
            async with (
                self._aiohttp.ClientSession(
                    timeout=timeout, auto_decompress=False, skip_auto_headers=("User-Agent",), cookie_jar=self._aiohttp.DummyCookieJar()
                ) as session,
                session.post(url, json=body, headers=headers, allow_redirects=False, proxy=self._proxy()) as response,
            ):
                await stop_at_failure(response)
                read = read_stream if _kind(response.headers) == "text/event-stream" else read_whole
                async for _ in read(response.content.iter_any(), completion):
                    step()

    def _proxy(self) -> str | None:
        """The proxy that this machine names for the address; none for this machine itself."""
        host, scheme = access.host_of(self._base_url), self._base_url.partition(":")[0].lower()
        if access.is_loopback(host) or urllib.request.proxy_bypass(host):
            return None
        proxy = urllib.request.getproxies().get(scheme, "")
        return proxy if proxy.startswith("http") else None


def _kind(headers: Any) -> str:
    """The type of an answer; BadAnswer for one that is no chat completion, or packed."""
    if (packed := headers.get("content-encoding", "identity").strip().lower()) != "identity":
        raise BadAnswer("The server packs its answer ({answer}), though it was asked not to; only plain answers are read.", packed)
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in ("text/event-stream", "application/json"):
        complaint = "The server answered with {answer}, not a chat completion. Is base_url right? It usually ends with /v1."
        raise BadAnswer(complaint, kind or "an unnamed type")
    return kind


def _aiohttp() -> Any:
    try:
        import aiohttp
    except ImportError:
        raise VLMError(
            "The VLM Server node needs the package aiohttp, which ComfyUI brings. Install it where this runs: pip install aiohttp"
        ) from None
    return aiohttp


def _body(model: str, question: Question) -> dict[str, Any]:
    content = [{"type": "image_url", "image_url": {"url": to_data_url(image)}} for image in question.images]
    body = {
        "model": model,
        "messages": [{"role": "user", "content": [*content, {"type": "text", "text": question.prompt}]}],
        "temperature": question.temperature,
        "max_tokens": question.max_tokens,
        "seed": question.seed % 2**31,
    }
    if question.schema is not None:
        form = {"name": "reply", "schema": dict(question.schema), "strict": False}
        body["response_format"] = {"type": "json_schema", "json_schema": form}
    return body


_REDUCIBLE = ("response_format", "seed", "temperature", "max_tokens")


def _reduced(body: dict[str, Any], unsupported: set[str]) -> dict[str, Any]:
    reduced = {key: value for key, value in body.items() if key not in unsupported}
    if "max_tokens" in unsupported:
        reduced["max_completion_tokens"] = body["max_tokens"]
    return reduced


def _culprit(refusal: str, sent: dict[str, Any]) -> str | None:
    """Return the setting that a refusal is about: one it names, else the schema."""
    named = next((key for key in _REDUCIBLE if key in sent and key in refusal), None)
    return named or ("response_format" if "response_format" in sent else None)


def _in_thread(work: Callable[[Callable[[], None]], Awaitable[None]]) -> Iterator[None]:
    """Run `work(step)` in a thread with a loop of its own; yield at its every step and at least ten times a second.

    Whoever stops asking ends the work at once, its connection included.
    """
    steps: queue.Queue[Any] = queue.Queue()
    loop = asyncio.new_event_loop()
    task = loop.create_task(work(lambda: steps.put(None)))

    def run() -> None:
        try:
            loop.run_until_complete(task)
            steps.put(StopIteration())
        except (Exception, asyncio.CancelledError) as error:
            steps.put(error)
        finally:
            loop.close()

    threading.Thread(target=run, name="csg-vlm-server", daemon=True).start()
    try:
        while True:
            try:
                step = steps.get(timeout=POLL_S)
            except queue.Empty:
                step = None
            if isinstance(step, StopIteration):
                return
            if isinstance(step, Exception):
                raise step
            yield
    finally:
        with suppress(RuntimeError):  # the loop is closed: the work has ended
            loop.call_soon_threadsafe(task.cancel)


def _wait(seconds: float, meanwhile: Callable[[], None]) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        meanwhile()
        time.sleep(min(POLL_S, max(0.0, end - time.monotonic())))
