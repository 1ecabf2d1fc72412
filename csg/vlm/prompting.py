"""The prompts: plain text files with `$names` to fill in, and the fences around other people's text.

A file may begin with comment lines, `# name, version 1`; they are not sent. A researcher's own folder
replaces any of the files and leaves the others to the built-in ones.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from string import Template
from typing import Any

from .protocol import VLMError

BUILT_IN = Path(__file__).parent / "prompts"
NAMES = tuple(sorted(path.stem for path in BUILT_IN.glob("*.txt")))
MAX_DATA_CHARACTERS = 40_000
MAX_JSON_CHARACTERS = 200_000
MAX_FILE_CHARACTERS = 20_000

_INVISIBLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff\ud800-\udfff]")
_LOOK_ALIKES = str.maketrans("<>", "\u2039\u203a")


def fenced(text: str) -> str:
    """Return other people's text between two markers that nothing inside can imitate.

    Angle brackets, of which markers and the models' own control tokens are made, become look-alikes;
    control and invisible direction characters go; very long text is cut.
    """
    clean = _INVISIBLE.sub(" ", text).translate(_LOOK_ALIKES).strip()
    return f"<data>\n{clean[:MAX_DATA_CHARACTERS] or '(nothing)'}\n</data>"


def fenced_json(data: Any) -> str:
    """Return data as JSON between the same markers; angle brackets become JSON escapes.

    Raises VLMError for more than MAX_JSON_CHARACTERS: cut, it would be no JSON, and every question costs its length.
    """
    text = json.dumps(data, ensure_ascii=False)
    if len(text) > MAX_JSON_CHARACTERS:
        raise VLMError(
            f"The graph has {len(text)} characters for the model to read; at most {MAX_JSON_CHARACTERS} are sent. "
            "Shorten its descriptions and reasons."
        )
    escaped = _INVISIBLE.sub(" ", text).replace("<", "\\u003c").replace(">", "\\u003e")
    return f"<data>\n{escaped}\n</data>"


@dataclass(frozen=True)
class PromptBook:
    """The prompt texts of one folder, with the built-in ones behind them."""

    folder: Path = BUILT_IN

    def fill(self, name: str, values: Mapping[str, str]) -> str:
        """Return the prompt `name` with its `$names` filled in.

        Raises VLMError, naming the file, for one that cannot be read or has an unknown `$name`.
        """
        path = self._path(name)
        try:
            return Template(_body(path)).substitute(values)
        except KeyError as unknown:
            names = ", ".join(f"${key}" for key in values)
            raise VLMError(f"The prompt {path.name} asks for ${unknown.args[0]}; it can have: {names}.") from None
        except ValueError as error:
            raise VLMError(f"The prompt {path.name} has a stray $: {error}. Write $$ for a dollar sign.") from None

    def fingerprint(self, *names: str) -> str:
        """Return a text that differs whenever the text of one of the prompts `names`, or of the repair, differs."""
        digest = hashlib.sha256()
        for name in (*names, "repair"):
            digest.update(self._path(name).read_bytes() + b"\0")
        return digest.hexdigest()

    def _path(self, name: str) -> Path:
        path = self.folder / f"{name}.txt"
        return path if path.is_file() else BUILT_IN / f"{name}.txt"


def _body(path: Path) -> str:
    """Return a prompt file's text without its leading comment lines."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise VLMError(f"The prompt {path.name} cannot be read as UTF-8 text: {error}.") from None
    if len(text) > MAX_FILE_CHARACTERS:
        raise VLMError(f"The prompt {path.name} has {len(text)} characters; at most {MAX_FILE_CHARACTERS} are sent.")
    return re.sub(r"\A(?:#[^\n]*\n)+", "", text).strip()
