"""What can go wrong with a request to a server, and how it is told: one clear message for each."""

from __future__ import annotations

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
    """An answer with a status other than success; `said` is the beginning of its body."""

    def __init__(self, status: int, headers: Mapping[str, str], said: str) -> None:
        super().__init__(status)
        self.status, self.headers, self.said = status, headers, said


class Telling:
    """Turns what goes wrong with a request into one clear message, in which the key never stands."""

    def __init__(self, base_url: str, model: str, timeout_s: float, key: str | None) -> None:
        self._where, self._model, self._timeout_s, self._key = base_url, model, timeout_s, key

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if error is None or isinstance(error, GeneratorExit) or not isinstance(error, Exception):
            return
        raise self._translated(error) from None

    def _translated(self, error: Exception) -> Exception:
        for each in (error, error.__cause__):  # some versions of the client wrap what a hook raises
            if isinstance(each, Failed):
                return self._of_status(each)
        if isinstance(error, BadAnswer):
            return VLMError(error.complaint.format(said=self._quoted(error.said)))
        names = {cls.__name__ for cls in type(error).__mro__}
        if names & {"APITimeoutError", "TimeoutException"}:
            return VLMError(
                f"The server at {self._where} was silent for {self._timeout_s:g} s. Raise timeout_s, or look at it."
            )
        if isinstance(error, BrokenStream) or names & {"RemoteProtocolError", "ReadError"}:
            return Retry(f"The server at {self._where} closed the connection before its answer was complete.")
        if names & {"APIConnectionError", "TransportError"}:
            return self._of_connection(error)
        said = self._quoted(str(error))
        return VLMError(f"The answer of the server at {self._where} cannot be read: {type(error).__name__}: {said}")

    def _of_connection(self, error: Exception) -> Exception:
        why = self._quoted(str(error.__cause__ or error))
        if "SSL" in why or "certificate" in why.lower():
            return VLMError(
                f"There is no safe connection to {self._where}: {why}. Is its certificate valid, or is it a server that "
                "speaks http:// alone?"
            )
        return Retry(f"No server answers at {self._where} ({why}). Is it running, and is the address right?")

    def _of_status(self, failure: Failed) -> Exception:
        status, said = failure.status, self._quoted(failure.said)
        if 300 <= status < 400:
            to = self._quoted(failure.headers.get("location", "another address"))
            return VLMError(
                f"The server at {self._where} redirects to {to}. Redirects are not followed; set base_url itself."
            )
        if status in (400, 422, 501) or (status == 500 and ABOUT_THE_FORM.search(said)):
            return Refused(said)
        if status in (401, 403):
            return VLMError(f"The server at {self._where} does not accept the API key ({status}). Check api_key_env.")
        if status == 404:
            return VLMError(f"The server at {self._where} has no such page or no model {self._model!r} (404): {said}")
        if status in RETRIED_STATUS:
            return Retry(
                f"The server at {self._where} is busy or failing ({status}): {said}", _asked_pause(failure.headers)
            )
        return VLMError(f"The server at {self._where} answers {status}: {said}")

    def _quoted(self, text: str) -> str:
        """Return a server's words on one line, cut to length, the key taken out before that."""
        return plain(hidden(text, self._key), QUOTED_CHARACTERS) or "(nothing)"


def hidden(text: str, key: str | None) -> str:
    """Return a text without the key."""
    return text.replace(key, "(the key)") if key else text


def stop_at_failure(response: Any) -> None:
    """Read no more than the beginning of an answer that is no success."""
    if response.status_code < 300:
        return
    said = b""
    for chunk in response.iter_bytes():
        said += chunk
        if len(said) > MAX_FAILURE_BYTES:
            break
    raise Failed(
        response.status_code, dict(response.headers), _words(said[:MAX_FAILURE_BYTES].decode("utf-8", "replace"))
    )


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
