"""Attacks by an archive whose digests are all in order, refused with exactly these reasons.

`IN_STRUCTURE` are sound but for the component `facts`; `IN_MANIFEST` cannot even be opened.
"""

import json
from pathlib import Path
from typing import Any

from attacks.attack import Attack, Make, void
from milepost.checkpoint.record import CheckpointRecord, manifest_keys
from unit.archive.conftest import Forgery

# Some seconds of work where time grows with the length; hours or days where it grows with the square.
MANY = 200_000
# Python hashes integers by their remainder by this number.
MODULUS = 2**61 - 1
BOMB = b"[" + b"[]," * 8_000_000 + b"[]]"


def archive(*files: str, **changes: Any) -> Make:
    """Make a checkpoint with these empty files, one part of it replaced."""

    def make(path: Path, marker: Path) -> None:
        entries = [("options.yaml", b""), *((name, b"") for name in files)]
        keys = manifest_keys(CheckpointRecord(run_id="attack"))
        path.write_bytes(Forgery(**{"entries": entries, "manifest": keys, **changes}).bytes())

    return make


def facts(structure: bytes) -> Make:
    """Make a checkpoint whose component `facts` is this JSON."""
    return archive(entries=[("facts.json", structure), ("options.yaml", b"")], components=["facts"])


def listed(*parts: str) -> bytes:
    """Join the parts of an object or a list."""
    return ",".join(parts).encode()


TWICE = listed(*(f'"{number}":1' for number in range(MANY)), f'"{MANY - 1}":2')
COLLIDING = listed(*(f"[{number * MODULUS},1]" for number in range(1, MANY)))
LONG = 5 * MODULUS

IN_STRUCTURE = [
    Attack("key-twice", "the last of 200,000 keys is there twice, which a search for each key finds after hours",
           facts(b"{" + TWICE + b"}"), "the key '199999' occurs twice in one object"),
    Attack("colliding-keys", "200,000 integer keys share one hash, so that putting them into a dict takes hours",
           facts(b'{"$dict":[' + COLLIDING + b"]}"),
           f"expected integer keys of at most 64 bits in '$dict', found {hex(LONG)}"),
    Attack("list-bomb", "24 MB of empty lists, which take forty times as much memory",
           facts(BOMB), "expected at most 2097152 characters ',', '[' and '{' in JSON, found 16000002"),
    Attack("lists-in-a-text", "the same inside of a text, where they cost nothing but are counted all the same",
           facts(b'"' + BOMB + b'"'),
           "expected at most 2097152 characters ',', '[' and '{' in JSON, found 16000002"),
]  # fmt: skip
IN_MANIFEST = [
    Attack("key-twice-in-manifest", "so that listing a folder is enough",
           archive(manifest_text=b"{" + TWICE + b"}"),
           "manifest.json breaks the format: the key '199999' occurs twice in one object"),
    Attack("colliding-keys-in-manifest", "so that listing a folder is enough",
           archive(manifest={"metadata": json.loads(b'{"$dict":[' + COLLIDING + b"]}")}),
           "manifest.json breaks the format: expected integer keys of at most 64 bits in '$dict', "
           f"found {hex(LONG)}"),
    Attack("list-bomb-in-manifest", "so that listing a folder is enough", archive(manifest_text=BOMB),
           "manifest.json breaks the format: expected at most 2097152 characters ',', '[' and '{' in JSON, "
           "found 16000002"),
    Attack("file-and-folder", "a file has the name of another's folder: verified as sound, no program unpacks it",
           archive("source/x", "source/x/y.py"),
           "the names of two entries are refused: 'source/x' is a file and a folder of 'source/x/y.py': "
           "it can't be unpacked"),
    Attack("file-and-folder-by-case", "the same on systems that take X and x for one",
           archive("source/X", "source/x/y.py"),
           "the names of two entries are refused: 'source/X' is a file and a folder of 'source/x/y.py': "
           "it can't be unpacked"),
    Attack("case", "the second of two files replaces the first where it is unpacked on such a system",
           archive("source/Model.py", "source/model.py"),
           "the names of two entries are refused: 'source/Model.py' and 'source/model.py' differ only in case: "
           "they are one file on common systems"),
]  # fmt: skip
ARCHIVES = [*IN_STRUCTURE, *IN_MANIFEST]


def write(folder: Path) -> None:
    """Write each attack into a folder of its own."""
    for attack in ARCHIVES:
        (folder / attack.name).mkdir()
        void(attack.make(folder / attack.name / "attack.ckpt", folder / "marker"))
