"""A model behind an OpenAI-compatible server: vLLM, Ollama, llama.cpp, LM Studio or a cloud."""

from __future__ import annotations

import base64
import io
import logging
import queue
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from PIL.Image import Image

from . import access
from .failures import Refused, Retry, Telling, hidden, stop_at_failure
from .protocol import Progress, Question, Reply, VLMError, silent
from .streams import BadAnswer, Completion, read_stream, read_whole

RETRIES = 3
FIRST_PAUSE_S = 1.0
LONGEST_PAUSE_S = 30.0
POLL_S = 0.1
SENT_HEADERS = (
    "host", "accept", "accept-encoding", "connection", "content-type", "content-length", "transfer-encoding",
    "x-stainless-raw-response",  # the client itself looks for this one to hand the response over unread
)  # fmt: skip

log = logging.getLogger(__name__)


class ServerVLM:
    """Asks an OpenAI-compatible server for chat completions.

    `base_url` is the address up to and with `/v1`; it must have been checked with
    `access.checked_url`. `timeout_s` is the longest silence allowed. Redirects are not followed, and
    of this machine's environment nothing but `api_key` is sent.

    Raises VLMError when the package openai is missing.
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
        self._openai = _openai()
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
        completion, client = Completion(), self._client()
        events = _in_thread(lambda: self._read(client, body, completion))
        try:
            for _ in events:
                progress(min(completion.pieces, total), total)
        finally:
            client.close()
        return Reply(hidden(completion.reply, self._api_key), completion.remark)

    def _client(self) -> Any:
        local = access.is_loopback(access.host_of(self._base_url))
        http = self._openai.DefaultHttpxClient(
            timeout=self._timeout_s,
            follow_redirects=False,
            trust_env=not local,
            event_hooks={"request": [self._strip], "response": [stop_at_failure]},
        )
        key = self._api_key or "none"
        return self._openai.OpenAI(base_url=self._base_url, api_key=key, max_retries=0, http_client=http)

    def _strip(self, request: Any) -> None:
        """Keep the client's environment (organisation, custom headers, other keys) out of the request."""
        kept = [(name, value) for name, value in request.headers.items() if name.lower() in SENT_HEADERS]
        key = [("authorization", f"Bearer {self._api_key}")] if self._api_key else []
        request.headers = type(request.headers)([*kept, *key])

    def _read(self, client: Any, body: dict[str, Any], completion: Completion) -> Iterator[None]:
        with Telling(self._base_url, self._model, self._timeout_s, self._api_key):
            create = client.chat.completions.with_streaming_response.create
            with create(**body, extra_body={"stream": True}) as response:
                kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
                if kind not in ("text/event-stream", "application/json"):
                    complaint = "The server answered with {said}, not a chat completion. Is base_url right? It usually ends with /v1."
                    raise BadAnswer(complaint, kind or "an unnamed type")
                read = read_stream if kind == "text/event-stream" else read_whole
                yield from read(response.iter_bytes(), completion)


def _openai() -> Any:
    try:
        import openai
    except ImportError:
        raise VLMError(
            "The VLM Server node needs the package openai. Install it where ComfyUI runs: pip install openai"
        ) from None
    return openai


def _body(model: str, question: Question) -> dict[str, Any]:
    content = [{"type": "image_url", "image_url": {"url": _data_url(image)}} for image in question.images]
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


def _data_url(image: Image) -> str:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


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


def _in_thread(work: Callable[[], Iterator[None]]) -> Iterator[None]:
    """Run an iterator in a thread; yield at its every step and at least ten times a second."""
    steps: queue.Queue[Any] = queue.Queue()

    def run() -> None:
        try:
            for _ in work():
                steps.put(None)
            steps.put(StopIteration())
        except Exception as error:
            steps.put(error)

    threading.Thread(target=run, name="csg-vlm-server", daemon=True).start()
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


def _wait(seconds: float, meanwhile: Callable[[], None]) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        meanwhile()
        time.sleep(min(POLL_S, max(0.0, end - time.monotonic())))
