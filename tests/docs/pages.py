"""Find the fenced blocks of the project's pages, and the commands in them."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
FENCE = re.compile(r"^(?P<indent> *)```(?P<language>\w*)\n(?P<text>.*?)^ *```$", re.DOTALL | re.MULTILINE)
PART = "# part of options.yaml"
"""First line of a YAML block that is no whole file."""


@dataclass(frozen=True)
class Block:
    """Hold a fenced block: where it is, its language and its text."""

    where: str
    language: str
    text: str


def blocks(page: Path) -> Iterator[Block]:
    """List the fenced blocks of a page."""
    text = page.read_text(encoding="utf-8")
    for found in FENCE.finditer(text):
        line = text.count("\n", 0, found.start()) + 1
        lines = [row.removeprefix(found["indent"]) for row in found["text"].splitlines()]
        yield Block(f"{page.relative_to(ROOT)}:{line}", found["language"], "\n".join(lines) + "\n")


def all_blocks(*languages: str) -> list[Block]:
    """List the blocks in these languages on all pages."""
    return [block for page in PAGES for block in blocks(page) if block.language in languages]


def commands(block: Block, program: str) -> Iterator[list[str]]:
    """List the arguments of every call of a program in a block, up to a pipe or redirection."""
    for line in block.text.replace("\\\n", " ").splitlines():
        line = line.removeprefix("$ ").strip()
        words = shlex.split(line, comments=True)
        for start, word in enumerate(words):
            if word == program:
                rest = words[start + 1 :]
                ends = [i for i, other in enumerate(rest) if other in ("|", ">", "&&", "&", ";", "\\")]
                yield rest[: ends[0]] if ends else rest
                break
