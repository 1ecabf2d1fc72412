"""Folders of pictures with captions in the formats in which data sets are published."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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
    """Every picture directly in the folder, by name; numbers in their order, 2 before 10.

    Raises DatasetError where there is none, or where two names differ in their suffix alone.
    """
    found = [p for p in sorted(Path(folder).iterdir()) if p.suffix.lower() in PICTURES] if Path(folder).is_dir() else []
    if not found:
        raise DatasetError(f"There are no pictures in {folder}; {', '.join(PICTURES)} are read.")
    names: dict[str, str] = {}
    for picture in found:
        if (other := names.setdefault(picture.stem, picture.name)) != picture.name:
            raise DatasetError(f"{other} and {picture.name} in {folder} have the same name, by which results are kept. Rename one.")
    return sorted(found, key=lambda p: (0, int(p.stem), "") if p.stem.isdecimal() else (1, 0, p.name))


def read_captions(path: str | Path) -> dict[str, str]:
    """The first caption of every picture, by the picture's name without suffix. Raises DatasetError for another format."""
    path = Path(path)
    try:
        captions = _from_folder(path) if path.is_dir() else _from_file(path)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DatasetError(f"{path} holds no captions that can be read ({error}). Expected: {FORMATS}.") from error
    if not captions:
        raise DatasetError(f"{path} holds no captions. Expected: {FORMATS}.")
    return captions


def _from_folder(folder: Path) -> dict[str, str]:
    """Multi-Modal-CelebA-HQ: a text file per picture, a caption per line."""
    return {file.stem: _first(file.read_text(encoding="utf-8").splitlines()) for file in folder.glob("*.txt")}


def _from_file(path: Path) -> dict[str, str]:
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".jsonl":
        rows = [json.loads(line) for line in text.splitlines() if line.strip()]
        return {Path(row["file_name"]).stem: str(row["text"]) for row in rows}
    document = json.loads(text)
    if "annotations" in document and "images" in document:
        return _from_coco(document)
    return {Path(name).stem: _first([value] if isinstance(value, str) else value) for name, value in document.items()}


def _from_coco(document: Mapping[str, Any]) -> dict[str, str]:
    """MS-COCO: five annotations per picture; the one with the lowest id counts."""
    names = {image["id"]: Path(image["file_name"]).stem for image in document["images"]}
    captions: dict[str, str] = {}
    for entry in sorted(document["annotations"], key=lambda entry: entry["id"]):
        captions.setdefault(names[entry["image_id"]], entry["caption"].strip())
    return captions


def _first(captions: Iterable[str]) -> str:
    return next((caption.strip() for caption in captions if caption.strip()), "")


def samples(folder: str | Path, captions: str | Path | None) -> list[Sample]:
    """The pictures that have a caption; without a captions file all of them, without captions."""
    pictures = pictures_in(folder)
    if captions is None:
        return [Sample(p.stem, p, "") for p in pictures]
    said = read_captions(captions)
    found = [Sample(p.stem, p, said[p.stem]) for p in pictures if said.get(p.stem)]
    if not found:
        raise DatasetError(
            f"None of the {len(pictures)} pictures in {folder} has a caption in {captions}: they begin with "
            f"{pictures[0].stem!r}, the captions with {next(iter(said))!r}. Are they of the same data set?"
        )
    return found


def drawn(everything: Sequence[Sample], count: int | None, seed: int) -> list[Sample]:
    """`count` samples without replacement, the same for the same seed; a larger count only adds to a smaller one."""
    shuffled = sorted(everything, key=lambda sample: sample.name)
    random.Random(seed).shuffle(shuffled)
    if count is not None and count > len(shuffled):
        raise DatasetError(f"{count} pictures were asked for, but only {len(shuffled)} have a caption. Ask for fewer.")
    return shuffled[:count]
