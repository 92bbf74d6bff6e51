"""YAML text → data, with the line of every value and every mistake of the text.

One document of mappings, lists and words; anchors, aliases and ``<<`` are understood, tags other than
``!!str`` are refused, so that nothing but data can be described. Words are typed by ``scalars.py``.
"""

from collections.abc import Callable, Iterator
from typing import Any, cast

import yaml

from milepost.options.draft import DEEPEST, DocumentError, Draft, is_unicode
from milepost.options.mistakes import Origin, Path
from milepost.options.model import JSON
from milepost.options.scalars import read_plain

MOST_VALUES = 200_000

_UNTAGGED = "untagged"
_TEXT = "tag:yaml.org,2002:str"
_ORDINARY = {_UNTAGGED, _TEXT, "tag:yaml.org,2002:map", "tag:yaml.org,2002:seq"}


def read_yaml(text: str, draft: Draft, place: Callable[[int], Origin]) -> JSON:
    """Return the data that a text describes; None for an empty one.

    ``place`` makes an origin of a line. The origin of every value and the mistakes that leave the rest
    readable are added to the draft; DocumentError is raised where nothing can be read.
    """
    if not is_unicode(text):
        raise DocumentError(1, "expected Unicode text, found half of a surrogate pair")
    node = _compose(text)
    return None if node is None else _Reader(draft, place).value(node, ())


class _Loader(yaml.SafeLoader):
    """Compose nodes without typing their words, and tell an untagged word from one tagged as text."""

    DEFAULT_SCALAR_TAG = _UNTAGGED


_Loader.yaml_implicit_resolvers = {}


_FastLoader: type[Any] = _Loader
if yaml.__with_libyaml__:
    # Twelve times faster; its messages are poorer, so that _Loader explains what it refuses.
    _FastLoader = type("_FastLoader", (yaml.CSafeLoader,), {**_Loader.__dict__})


def _compose(text: str) -> yaml.Node | None:
    try:
        return _node(_FastLoader, text)
    except yaml.YAMLError:
        pass
    try:
        return _node(_Loader, text)
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise DocumentError(line, f"expected text, found the character 0x{int(error.character):02x}") from None
    except yaml.MarkedYAMLError as error:
        raise _explained(error) from None


def _node(loader: type[Any], text: str) -> yaml.Node | None:
    # Composing is recursive, in C without a limit: events tell the depth before it overruns the stack.
    events = loader(text)
    depth = 0
    while events.check_event():
        event = events.get_event()
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > DEEPEST:
            raise DocumentError(event.start_mark.line + 1, f"expected at most {DEEPEST} levels of nesting")
    return loader(text).get_single_node()


class _Reader:
    def __init__(self, draft: Draft, place: Callable[[int], Origin]) -> None:
        self._draft = draft
        self._place = place
        self._open: list[yaml.Node] = []
        self._values = 0

    def value(self, node: yaml.Node, path: Path) -> JSON:
        self._check_size(node)
        if node.tag not in _ORDINARY:
            tag = node.tag.replace("tag:yaml.org,2002:", "!!")
            self._draft.give_up(path, f"expected a plain value, found the tag {tag}")
            return None
        self._open.append(node)
        value = self._contents(node, path)
        self._open.pop()
        return value

    def _check_size(self, node: yaml.Node) -> None:
        line = node.start_mark.line + 1
        if any(node is around for around in self._open):
            raise DocumentError(line, "an alias stands inside the value that it repeats")
        if len(self._open) > DEEPEST:
            raise DocumentError(line, f"expected at most {DEEPEST} levels of nesting")
        if self._values > MOST_VALUES:
            raise DocumentError(line, f"expected at most {MOST_VALUES} values, aliases written out")

    def _contents(self, node: yaml.Node, path: Path) -> JSON:
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path)
        if isinstance(node, yaml.SequenceNode):
            return self._list(node, path)
        return self._word(cast(yaml.ScalarNode, node), path)

    def _mapping(self, node: yaml.MappingNode, path: Path) -> dict[str, JSON]:
        data: dict[str, JSON] = {}
        lines: dict[str, int] = {}
        for key_node, value_node, merged in self._entries(node):
            # Counted before it is known whether the key is new: merges of merges multiply, too.
            self._values += 1
            self._check_size(key_node)
            line = key_node.start_mark.line + 1
            key = _key(key_node)
            if key is None:
                self._draft.blame(path, "expected a text as the key, found something else", self._place(line))
            elif key not in lines:
                lines[key] = line
                self._draft.origins.record((*path, key), self._place(line))
                data[key] = self.value(value_node, (*path, key))
            elif not merged:
                text = f"given twice: here and on line {lines[key]}"
                self._draft.blame((*path, key), text, self._place(line))
        return data

    def _entries(
        self, node: yaml.MappingNode, around: tuple[yaml.Node, ...] = ()
    ) -> Iterator[tuple[yaml.Node, yaml.Node, bool]]:
        """Yield keys and values, the mapping's own before those that ``<<`` merges into it."""
        merges = [pair for pair in node.value if pair[0].value == "<<" and not pair[0].style]
        for key, value in node.value:
            if (key, value) not in merges:
                yield key, value, bool(around)
        for key, value in merges:
            for source in value.value if isinstance(value, yaml.SequenceNode) else [value]:
                if not isinstance(source, yaml.MappingNode) or source in (node, *around):
                    line = key.start_mark.line + 1
                    raise DocumentError(line, "expected the alias of another mapping after '<<'")
                yield from self._entries(source, (*around, node))

    def _list(self, node: yaml.SequenceNode, path: Path) -> list[JSON]:
        data: list[JSON] = []
        for index, item in enumerate(node.value):
            self._draft.origins.record((*path, index), self._place(item.start_mark.line + 1))
            self._values += 1
            data.append(self.value(item, (*path, index)))
        return data

    def _word(self, node: yaml.ScalarNode, path: Path) -> JSON:
        if not is_unicode(node.value):
            self._draft.give_up(path, "expected text, found half of a surrogate pair")
            return None
        if node.tag == _UNTAGGED and not node.style:
            return read_plain(node.value)
        return str(node.value)


def _key(node: yaml.Node) -> str | None:
    """Return a key as it is written, so that 1 and '1' are the same; None for what can't be a key."""
    if not isinstance(node, yaml.ScalarNode) or not is_unicode(node.value) or node.tag not in _ORDINARY:
        return None
    return None if not node.style and node.value in ("", "~") else str(node.value)


_TRANSLATIONS = {
    "mapping values are not allowed here": "found ':' within a value; check the indentation here and "
    "on the line above, or quote the text",
    "could not find expected ':'": "expected 'key: value', found no ':'",
    "but found another document": "expected one document, found a second one after '---'",
    "found unexpected end of stream": "expected the closing quote, found the end",
}
_TOKENS = ("<block", "<document", "<scalar")


def _explained(error: yaml.MarkedYAMLError) -> DocumentError:
    """Say where and why YAML stops, in the words of an editor's user."""
    problem = error.problem or "broken"
    mark = error.problem_mark or error.context_mark
    if problem in ("could not find expected ':'", "found unexpected end of stream"):
        mark = error.context_mark or mark  # Where the text begins; the end is lines below.
    line = mark.line if mark else 0
    column = mark.column if mark else 0
    if "'\\t'" in problem:
        return DocumentError(line + 1, "found a tab; indent with spaces")
    if problem.startswith("expected") and any(token in problem for token in _TOKENS):
        problem = "the indentation does not fit the lines above"
    shown = _TRANSLATIONS.get(problem, problem.replace("'<stream end>'", "the end"))
    return DocumentError(line + 1, f"broken YAML at column {column + 1}: {shown}")
