"""Links between the project's pages lead somewhere, and every page can be reached from the map."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted([ROOT / "README.md", ROOT / "CHANGELOG.md", *DOCS.rglob("*.md")])
LINK = re.compile(r"\[[^\]]+\]\(([^)#\s]+)(?:#[^)]*)?\)")


def targets(text: str) -> list[str]:
    """List the files that a page links to, without those elsewhere."""
    return [target for target in LINK.findall(text) if "://" not in target]


def test_there_are_pages_to_check() -> None:
    assert len(PAGES) > 4


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    assert [t for t in targets(page.read_text("utf-8")) if not (page.parent / t).exists()] == []


def test_every_page_is_on_the_map() -> None:
    index = DOCS / "index.md"
    linked = {(DOCS / target).resolve() for target in targets(index.read_text("utf-8"))}
    missing = {page for page in DOCS.rglob("*.md") if page != index} - linked
    assert {str(page.relative_to(ROOT)) for page in missing} == set()


def test_links_are_read() -> None:
    text = "[a](b.md) and [`c`](d/e.md#f), [away](https://example.org/g.md), [here](#h)"
    assert targets(text) == ["b.md", "d/e.md"]
