"""A model behind an OpenAI-compatible server: vLLM, Ollama, llama.cpp, LM Studio or a cloud."""
from __future__ import annotations

import base64
import io
import logging
import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from PIL.Image import Image

from . import access
from .protocol import Progress, Schema, VLMError, silent
from .streams import BrokenStream, Completion, read_stream, read_whole

RETRIES = 3
FIRST_PAUSE_S = 1.0
LONGEST_PAUSE_S = 30.0
POLL_S = 0.1
RETRIED_STATUS = (408, 409, 429, 500, 502, 503, 504, 529)
SENT_HEADERS = (
    "host", "accept", "accept-encoding", "connection", "content-type", "content-length", "transfer-encoding",
    "x-stainless-raw-response",  # the client itself looks for this one to hand the response over unread
)  # fmt: skip

log = logging.getLogger(__name__)


class _Retry(Exception):
    """A failure that may pass; its text is what to tell when it does not."""

    def __init__(self, message: str, pause_s: float | None = None) -> None:
        super().__init__(message)
        self.pause_s = pause_s


class _Refused(Exception):
    """The server refuses the form of the request (400 or 422)."""


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
        """Return the server's reply; see `VisionLanguageModel.ask`.

        A busy or failing server is asked again three times with growing pauses; a silent one is not.
        A setting that the server refuses, such as the schema, is left out from then on.
        """
        body = _body(self._model, prompt, images, schema, temperature, max_tokens, seed)
        progress = progress or self._progress
        progress(0, max_tokens)
        return self._with_retries(lambda: self._without_refused(body, max_tokens, progress), progress, max_tokens)

    def _with_retries(self, attempt: Callable[[], str], progress: Progress, total: int) -> str:
        for number in range(RETRIES + 1):
            try:
                return attempt()
            except _Retry as failure:
                if number == RETRIES:
                    raise VLMError(f"{failure} Asked {RETRIES + 1} times.") from None
                pause = min(failure.pause_s or FIRST_PAUSE_S * 2**number, LONGEST_PAUSE_S)
                log.info("%s Asking again in %.1f s.", failure, pause)
                _wait(pause, lambda: progress(0, total))
        raise AssertionError("unreachable")

    def _without_refused(self, body: dict[str, Any], total: int, progress: Progress) -> str:
        """Send the request, leaving out one refused setting after another."""
        while True:
            sent = _reduced(body, self._unsupported)
            try:
                return self._once(sent, total, progress)
            except _Refused as refusal:
                culprit = _culprit(str(refusal), sent)
                if culprit is None:
                    raise VLMError(f"The server at {self._base_url} refuses the request: {refusal}") from None
                log.info("The server refuses %s; going on without it.", culprit)
                self._unsupported.add(culprit)

    def _once(self, body: dict[str, Any], total: int, progress: Progress) -> str:
        """Make one request in a thread, so that an interrupt need not wait for the network."""
        completion, client = Completion(), self._client()
        events = _in_thread(lambda: self._read(client, body, completion))
        try:
            for _ in events:
                progress(min(completion.pieces, total), total)
        finally:
            client.close()
        return completion.reply

    def _client(self) -> Any:
        local = access.is_loopback(access.host_of(self._base_url))
        http = self._openai.DefaultHttpxClient(
            timeout=self._timeout_s,
            follow_redirects=False,
            trust_env=not local,
            event_hooks={"request": [self._strip]},
        )
        key = self._api_key or "none"
        return self._openai.OpenAI(base_url=self._base_url, api_key=key, max_retries=0, http_client=http)

    def _strip(self, request: Any) -> None:
        """Keep the client's environment (organisation, custom headers, other keys) out of the request."""
        kept = [(name, value) for name, value in request.headers.items() if name.lower() in SENT_HEADERS]
        key = [("authorization", f"Bearer {self._api_key}")] if self._api_key else []
        request.headers = type(request.headers)([*kept, *key])

    def _read(self, client: Any, body: dict[str, Any], completion: Completion) -> Iterator[None]:
        with self._told():
            create = client.chat.completions.with_streaming_response.create
            with create(**body, extra_body={"stream": True}) as response:
                kind = response.headers.get("content-type", "").partition(";")[0].strip()
                if kind not in ("text/event-stream", "application/json"):
                    raise VLMError(
                        f"The server at {self._base_url} answered with {kind or 'an unnamed type'}, not a chat "
                        "completion. Is base_url right? It usually ends with /v1."
                    )
                read = read_stream if kind == "text/event-stream" else read_whole
                yield from read(response.iter_bytes(), completion)

    def _told(self) -> _Telling:
        return _Telling(self._openai, self._base_url, self._model, self._timeout_s, self._api_key)


class _Telling:
    """Turns the client's exceptions into ours, each with one clear message."""

    def __init__(self, openai: Any, base_url: str, model: str, timeout_s: float, key: str | None) -> None:
        self._openai, self._where, self._model, self._timeout_s = openai, base_url, model, timeout_s
        self._key = key

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if error is None or isinstance(error, (VLMError, GeneratorExit)) or not isinstance(error, Exception):
            return
        raise self._translated(error) from None

    def _translated(self, error: Exception) -> Exception:
        names = {cls.__name__ for cls in type(error).__mro__}
        if isinstance(error, self._openai.APIStatusError):
            return self._of_status(error)
        if names & {"APITimeoutError", "TimeoutException"}:
            return VLMError(f"The server at {self._where} was silent for {self._timeout_s:g} s. Raise timeout_s, or look at it.")
        if isinstance(error, BrokenStream) or names & {"RemoteProtocolError", "ReadError"}:
            return _Retry(f"The server at {self._where} closed the connection before its answer was complete.")
        if names & {"APIConnectionError", "TransportError"}:
            return _Retry(f"No server answers at {self._where}. Is it running, and is the address right?")
        return VLMError(f"The answer of the server at {self._where} cannot be read: {type(error).__name__}: {str(error)[:200]}")

    def _of_status(self, error: Any) -> Exception:
        status, said = error.status_code, self._without_key(str(getattr(error, "message", error)))[:300]
        if 300 <= status < 400:
            to = error.response.headers.get("location", "another address")[:100]
            return VLMError(f"The server at {self._where} redirects to {to}. Redirects are not followed; set base_url itself.")
        if status in (400, 422):
            return _Refused(said)
        if status in (401, 403):
            return VLMError(f"The server at {self._where} does not accept the API key ({status}). Check api_key_env.")
        if status == 404:
            return VLMError(f"The server at {self._where} has no such page or no model {self._model!r} (404): {said}")
        if status in RETRIED_STATUS:
            return _Retry(f"The server at {self._where} is busy or failing ({status}): {said}", _asked_pause(error))
        return VLMError(f"The server at {self._where} answers {status}: {said}")

    def _without_key(self, text: str) -> str:
        return text.replace(self._key, "(the key)") if self._key else text


def _asked_pause(error: Any) -> float | None:
    try:
        return max(0.0, float(error.response.headers["retry-after"]))
    except (KeyError, ValueError):
        return None


def _openai() -> Any:
    try:
        import openai
    except ImportError:
        raise VLMError(
            "The VLM Server node needs the package openai. Install it where ComfyUI runs: pip install openai"
        ) from None
    return openai


def _body(
    model: str, prompt: str, images: Sequence[Image], schema: Schema | None, temperature: float, max_tokens: int, seed: int
) -> dict[str, Any]:
    content = [{"type": "image_url", "image_url": {"url": _data_url(image)}} for image in images]
    body = {
        "model": model,
        "messages": [{"role": "user", "content": [*content, {"type": "text", "text": prompt}]}],
        "temperature": temperature,
        "max_tokens": max_tokens,
        "seed": seed % 2**31,
    }
    if schema is not None:
        form = {"name": "reply", "schema": dict(schema), "strict": False}
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
