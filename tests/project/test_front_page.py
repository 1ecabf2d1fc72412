"""The README and the pages that it leads to: their links end somewhere, their pictures are small, their commands exist."""

import re
from pathlib import Path
from urllib.parse import unquote

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = ["README.md", "CONTRIBUTING.md", *(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md"))]
LINK = re.compile(r"\]\(([^)#]+)[^)]*\)")


def links(page):
    """The files that a page names, by how it names them."""
    text = (ROOT / page).read_text(encoding="utf-8")
    return {target: (ROOT / page).parent / unquote(target) for target in LINK.findall(text) if "://" not in target}


@pytest.mark.parametrize("page", PAGES)
def test_every_link_ends_somewhere(page):
    assert links(page) and not [target for target, path in links(page).items() if not path.exists()]


def test_the_front_page_leads_to_how_it_works_and_its_pictures_are_small():
    assert (ROOT / "docs" / "how-it-works.md") in links("README.md").values()
    pictures = list((ROOT / "docs" / "how-it-works").iterdir())
    shown = {path.resolve() for path in links("docs/how-it-works.md").values() if path.suffix == ".webp"}
    assert shown == {path.resolve() for path in pictures} and sum(path.stat().st_size for path in pictures) < 300_000


def test_the_front_pages_commands_exist():
    readme, rules = (ROOT / "README.md").read_text(encoding="utf-8"), (ROOT / "Makefile").read_text(encoding="utf-8")
    commands = set(re.findall(r"^make (\w+) ", readme, re.M))
    assert {"demo", "test"} <= commands and not [name for name in commands if not re.search(rf"^{name}:", rules, re.M)]
