"""The container of checkpoints and packages: bytes, digests, durable commit.

Promise: what `write_archive` returned from is on disk whole; what `Archive` returns is what was written, bit
for bit.
Needs: blake3; torch only once a tensor is written or read. Format: docs/formats/archive.md.
"""

from milepost.archive.commit import Durability, atomic_write, is_draft
from milepost.archive.digest import digest_of
from milepost.archive.filesystem import FileSystem
from milepost.archive.manifest import Entry, Manifest
from milepost.archive.plan import ArchivePlan, plan_archive
from milepost.archive.reader import Archive, Damage, TensorRow, kind_of
from milepost.archive.tree import Tree
from milepost.archive.writer import write_archive, write_plan

__all__ = [
    "Archive",
    "ArchivePlan",
    "Damage",
    "Durability",
    "Entry",
    "FileSystem",
    "Manifest",
    "TensorRow",
    "Tree",
    "atomic_write",
    "digest_of",
    "is_draft",
    "kind_of",
    "plan_archive",
    "write_archive",
    "write_plan",
]
