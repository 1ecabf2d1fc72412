"""What can go wrong with a request to a server, and one clear message for each case."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Mapping
from typing import Any

from .protocol import VLMError
from .schemas import plain
from .streams import BadAnswer, BrokenStream, message_in

RETRIED_STATUS = (408, 409, 429, 500, 502, 503, 504, 529)
ABOUT_THE_FORM = re.compile(r"response_format|json.?schema|grammar|required for format", re.IGNORECASE)
"""Words of a server (status 500) that breaks over the schema instead of refusing it."""
MAX_FAILURE_BYTES = 65_536
QUOTED_CHARACTERS = 300


class Retry(Exception):
    """A failure that may pass; its text is what to tell when it does not."""

    def __init__(self, message: str, pause_s: float | None = None) -> None:
        super().__init__(message)
        self.pause_s = pause_s


class Refused(Exception):
    """The server refuses the form of the request, or breaks over it."""


class Failed(Exception):
    """An answer with a status other than success; `body` is its beginning."""

    def __init__(self, status: int, headers: Mapping[str, str], body: str) -> None:
        super().__init__(status)
        self.status, self.headers, self.body = status, headers, body


class Telling:
    """Turns what goes wrong with a request into one clear message, in which the key never stands.

    `timeout_s` bounds the silence, `whole_s` the whole answer.
    """

    def __init__(self, base_url: str, model: str, timeout_s: float, whole_s: float, key: str | None) -> None:
        self._where, self._model, self._timeout_s, self._whole_s, self._key = base_url[:100], model[:60], timeout_s, whole_s, key

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if error is None or isinstance(error, GeneratorExit) or not isinstance(error, Exception):
            return
        raise self._translated(error) from None

    def _translated(self, error: Exception) -> Exception:
        import aiohttp

        if isinstance(error, Failed):
            return self._of_status(error)
        if isinstance(error, BadAnswer):
            return VLMError(error.complaint.format(answer=self._quoted(error.answer)))
        if isinstance(error, aiohttp.ServerTimeoutError):
            return VLMError(f"The server at {self._where} was silent for {self._timeout_s:g} s. Raise timeout_s, or look at it.")
        if isinstance(error, asyncio.TimeoutError):
            return VLMError(
                f"The server at {self._where} has not finished its answer after {self._whole_s:g} s. Raise timeout_s, or look at it."
            )
        if isinstance(error, aiohttp.ClientSSLError | aiohttp.ServerFingerprintMismatch):
            return VLMError(
                f"There is no safe connection to {self._where}: {self._quoted(str(error))}. Is its certificate valid, or is it a server "
                "that speaks http:// alone?"
            )
        if isinstance(error, aiohttp.ClientConnectorError):
            why = self._quoted(str(error.os_error))
            return Retry(f"No server answers at {self._where} ({why}). Is it running, and is the address right?")
        if isinstance(error, BrokenStream | aiohttp.ClientPayloadError | aiohttp.ClientConnectionError):
            return Retry(f"The server at {self._where} closed the connection before its answer was complete.")
        text = self._quoted(str(error))
        return VLMError(f"The answer of the server at {self._where} cannot be read: {type(error).__name__}: {text}")

    def _of_status(self, failure: Failed) -> Exception:
        status, body = failure.status, self._quoted(failure.body)
        if 300 <= status < 400:
            to = self._quoted(failure.headers.get("location", "another address"))
            return VLMError(
                f"The server at {self._where} redirects to {to}. Redirects are not followed; set base_url itself."
            )
        if status in (400, 422, 501) or (status == 500 and ABOUT_THE_FORM.search(body)):
            return Refused(body)
        if status in (401, 403):
            return VLMError(f"The server at {self._where} does not accept the API key ({status}). Check api_key_env.")
        if status == 404:
            return VLMError(f"The server at {self._where} has no such page or no model {self._model!r} (404): {body}")
        if status in RETRIED_STATUS:
            return Retry(
                f"The server at {self._where} is busy or failing ({status}): {body}", _asked_pause(failure.headers)
            )
        return VLMError(f"The server at {self._where} answers {status}: {body}")

    def _quoted(self, text: str) -> str:
        """Return a server's words on one line, cut to length, the key taken out before that."""
        return plain(hidden(text, self._key), QUOTED_CHARACTERS) or "(nothing)"


def hidden(text: str, key: str | None) -> str:
    """Return a text without the key, however it is written: some parts of an answer come in lower case."""
    return re.sub(re.escape(key), "(the key)", text, flags=re.IGNORECASE) if key else text


async def stop_at_failure(response: Any) -> None:
    """Read no more than the beginning of an answer that is no success."""
    if response.status < 300:
        return
    body = b""
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > MAX_FAILURE_BYTES:
            break
    headers = {name.lower(): value for name, value in response.headers.items()}
    raise Failed(response.status, headers, _words(body[:MAX_FAILURE_BYTES].decode("utf-8", "replace")))


def _words(body: str) -> str:
    try:
        return message_in(json.loads(body))
    except (ValueError, RecursionError):
        return body


def _asked_pause(headers: Mapping[str, str]) -> float | None:
    try:
        return max(0.0, float(headers["retry-after"]))
    except (KeyError, ValueError):
        return None
