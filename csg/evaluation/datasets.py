"""Folders of pictures with captions in the formats in which data sets are published."""

from __future__ import annotations

import codecs
import json
import logging
import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

log = logging.getLogger(__name__)

PICTURES = (".jpg", ".jpeg", ".png", ".webp")
FORMATS = (
    "MS-COCO (captions_val2017.json), Multi-Modal-CelebA-HQ (the folder celeba-caption with 0.txt, 1.txt, ...), "
    'a JSON object {"picture": "caption"}, or JSON lines with file_name and text'
)


class DatasetError(ValueError):
    """Pictures or captions that cannot be used as they are."""


@dataclass(frozen=True)
class Sample:
    """One picture: its name without suffix, its file, and the caption, empty when there is none."""

    name: str
    path: Path
    caption: str


def pictures_in(folder: str | Path) -> list[Path]:
    """Every picture directly in the folder, hidden files aside, by name; numbers in their order, 2 before 10.

    Raises DatasetError where there is none, or where two names differ in their suffix alone.
    """
    there = sorted(Path(folder).iterdir()) if Path(folder).is_dir() else []
    pictures = [p for p in there if p.suffix.lower() in PICTURES and not p.name.startswith(".") and p.is_file()]
    if not pictures:
        raise DatasetError(f"There are no pictures in {folder}; {', '.join(PICTURES)} are read.")
    names: dict[str, str] = {}
    for picture in pictures:
        if (other := names.setdefault(picture.stem, picture.name)) != picture.name:
            raise DatasetError(f"{other} and {picture.name} in {folder} have the same name, by which results are kept. Rename one.")
    return sorted(pictures, key=lambda p: (0, int(p.stem), "") if p.stem.isdecimal() else (1, 0, p.name))


def read_captions(path: str | Path) -> dict[str, str]:
    """The first caption of every picture, by the picture's name without suffix. Raises DatasetError for another format."""
    path = Path(path)
    try:
        captions = _collected(_from_folder(path) if path.is_dir() else _from_file(path))
    except DatasetError:
        raise
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DatasetError(f"{path} holds no captions that can be read ({error}). Expected: {FORMATS}.") from error
    if not captions:
        raise DatasetError(f"{path} holds no captions. Expected: {FORMATS}.")
    return captions


def _collected(entries: Iterable[tuple[str, Any]]) -> dict[str, str]:
    """The first caption of every picture that has a text; DatasetError for one name in two folders."""
    captions: dict[str, str] = {}
    places: dict[str, str] = {}
    without = []
    for place, given in entries:
        texts = given if isinstance(given, list) else [given]
        caption = next((text.strip() for text in texts if isinstance(text, str) and text.strip()), None)
        name = PurePosixPath(place.replace("\\", "/")).stem
        if caption is None:
            without.append(place)
        elif places.setdefault(name, place) != place:
            raise DatasetError(
                f"{places[name]} and {place} have captions under one name, by which results are kept. "
                "Evaluate the two folders apart, or rename one."
            )
        else:
            captions.setdefault(name, caption)
    if without := [place for place in without if PurePosixPath(place).stem not in captions]:
        log.warning("%d pictures have no caption text and are left out, %s first.", len(without), without[0][:60])
    return captions


def _text(file: Path) -> str:
    """A text file in UTF-8 or, where a mark says so, UTF-16; DatasetError, naming the file, for another encoding."""
    content = file.read_bytes()
    try:
        return content.decode("utf-16" if content[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE) else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise DatasetError(f"{file} is no UTF-8 text (byte {error.start}); save it as UTF-8.") from None


def _from_folder(folder: Path) -> Iterator[tuple[str, Any]]:
    """Multi-Modal-CelebA-HQ: a text file per picture, a caption per line."""
    for file in sorted(folder.glob("*.txt")):
        if not file.name.startswith("."):
            yield file.name, _text(file).splitlines()


def _from_file(path: Path) -> Iterable[tuple[str, Any]]:
    text = _text(path)
    if path.suffix == ".jsonl":
        document = [json.loads(line) for line in text.split("\n") if line.strip()]
    else:
        document = json.loads(text)
    if isinstance(document, list):
        return [(row["file_name"], row["text"]) for row in document]
    if "annotations" in document and "images" in document:
        return _from_coco(document)
    return list(document.items())


def _from_coco(document: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """MS-COCO: five annotations per picture; of those with a text the one with the lowest id counts."""
    names = {image["id"]: image["file_name"] for image in document["images"]}
    for entry in sorted(document["annotations"], key=lambda entry: entry["id"]):
        if entry["image_id"] in names:  # annotations of a subset may name pictures that are not in it
            yield names[entry["image_id"]], entry["caption"]


def samples(folder: str | Path, captions: str | Path | None) -> list[Sample]:
    """The pictures that have a caption; without a captions file all of them, without captions."""
    pictures = pictures_in(folder)
    if captions is None:
        return [Sample(p.stem, p, "") for p in pictures]
    texts = read_captions(captions)
    paired = [Sample(p.stem, p, texts[p.stem]) for p in pictures if texts.get(p.stem)]
    if not paired:
        raise DatasetError(
            f"None of the {len(pictures)} pictures in {folder} has a caption in {captions}: they begin with "
            f"{pictures[0].stem!r}, the captions with {next(iter(texts))!r}. Are they of the same data set?"
        )
    return paired


def drawn(everything: Sequence[Sample], count: int | None, seed: int) -> list[Sample]:
    """`count` samples without replacement, the same for the same seed; a larger count only adds to a smaller one."""
    shuffled = sorted(everything, key=lambda sample: sample.name)
    random.Random(seed).shuffle(shuffled)
    if count is not None and count > len(shuffled):
        raise DatasetError(f"{count} pictures were asked for, but only {len(shuffled)} have a caption. Ask for fewer.")
    return shuffled[:count]
