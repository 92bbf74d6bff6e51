"""Fixtures: a small archive, and a forger that breaks one rule of the format with all digests in order."""

import json
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch

from milepost.archive import digest_of, layout, write_archive


@dataclass
class Forgery:
    """Build an archive from parts; each part may be replaced by a lie."""

    entries: list[tuple[str, bytes]]
    components: list[Any] = field(default_factory=list)
    tensors: dict[str, dict[str, str]] = field(default_factory=dict)
    manifest: dict[str, Any] = field(default_factory=dict)
    manifest_text: bytes | None = None
    record: Callable[[layout.Record], layout.Record] = lambda record: record
    directory: Callable[[bytes], bytes] = lambda data: data
    comment_version: int = 1

    def bytes(self) -> bytes:
        entries = [("mimetype", layout.MIMETYPE_CONTENT), *self.entries]
        entries.append(("manifest.json", self.manifest_text or self._manifest(entries)))
        data, records = b"", []
        for name, content in entries:
            record = layout.Record(name, len(content), zlib.crc32(content), len(data))
            data += layout.local_header(record) + content
            records.append(self.record(record))
        directory = self.directory(layout.central_directory(records))
        end = layout.tail(len(records), len(directory), len(data), digest_of(entries[-1][1]))
        return data + directory + end.replace(b"archive 0001", b"archive %04d" % self.comment_version)

    def _manifest(self, entries: list[tuple[str, bytes]]) -> bytes:
        rows: dict[str, Any] = {}
        for name, content in entries:
            length = 8 + int.from_bytes(content[:8], "little")
            header = content[:length] if name in self.tensors else content
            rows[name] = {
                "size": len(content),
                "crc32": f"{zlib.crc32(content):08x}",
                "digest": digest_of(header),
            }
            if name in self.tensors:
                rows[name]["tensors"] = self.tensors[name]
        fields = {
            "format": "milepost-archive",
            "format_version": 1,
            "digest_algorithm": "blake3",
            "kind": "checkpoint",
            "components": self.components,
            "entries": rows,
        }
        return json.dumps(fields | self.manifest).encode()


def tensor_component(header: dict[str, Any] | bytes, data: bytes, structure: bytes | None = None) -> Forgery:
    """Forge a component `m`; the digests are right for what the header says."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    table = {} if isinstance(header, bytes) else header
    digests = {}
    for name, row in table.items():
        begin, end = row.get("data_offsets", (0, 0))[:2]
        digests[name] = digest_of(data[max(begin, 0) : max(end, 0)])
    tree = json.dumps({name: {"$tensor": name} for name in table}).encode()
    entry = len(text).to_bytes(8, "little") + text + data
    return Forgery(
        [("m.json", structure or tree), ("m.safetensors", entry)],
        components=["m"],
        tensors={"m.safetensors": digests},
    )


@pytest.fixture
def forge(tmp_path: Path) -> Callable[[Forgery], Path]:
    """Write a forgery to a file."""

    def write(forgery: Forgery) -> Path:
        path = tmp_path / "forged.ckpt"
        path.write_bytes(forgery.bytes())
        return path

    return write


@pytest.fixture
def forgery() -> type[Forgery]:
    """Give the forger."""
    return Forgery


@pytest.fixture
def forge_tensors(forge: Callable[[Forgery], Path]) -> Callable[..., Path]:
    """Write a forged component `m`."""
    return lambda *args, **kwargs: forge(tensor_component(*args, **kwargs))


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """Write a small archive with two tensors, a structure and a file."""
    path = tmp_path / "small.ckpt"
    tree = {"weight": torch.arange(6, dtype=torch.float32).reshape(2, 3), "bias": torch.ones(2), "step": 7}
    write_archive(
        path,
        kind="checkpoint",
        components={"model": tree},
        files={"options.yaml": b"seed: 1\n"},
        manifest={"run_id": "r"},
    )
    return path
