"""One changed bit anywhere is seen, and the damaged tensor is named."""

import os
import random
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from milepost.archive import Archive, kind_of, write_archive
from milepost.errors import ArchiveError, DamagedArchiveError


def is_seen(path: Path) -> bool:
    try:
        with Archive.open(path) as archive:
            return archive.verify() != []
    except ArchiveError:
        return True


def flip(path: Path, offset: int, bit: int = 0) -> None:
    with path.open("r+b", buffering=0) as file:
        byte = os.pread(file.fileno(), 1, offset)[0]
        os.pwrite(file.fileno(), bytes([byte ^ 1 << bit]), offset)


def test_a_flipped_bit_at_every_byte_is_seen(small: Path):
    assert not is_seen(small)
    unseen: list[int] = []
    for offset in range(small.stat().st_size):
        bit = offset * 5 % 8
        flip(small, offset, bit)
        if not is_seen(small):
            unseen.append(offset)
        flip(small, offset, bit)
    assert unseen == []
    assert not is_seen(small)


def test_truncation_at_every_byte_is_seen(small: Path):
    assert not is_seen(small)
    for size in reversed(range(small.stat().st_size)):
        os.truncate(small, size)
        assert is_seen(small), size


@pytest.mark.parametrize("added", [b"\0", b"x" * 64, b"PK\x05\x06" + bytes(18)])
def test_bytes_added_at_either_end_are_seen(small: Path, added: bytes):
    content = small.read_bytes()
    for changed in (content + added, added + content):
        small.write_bytes(changed)
        assert is_seen(small)


def test_the_damaged_tensor_is_named_and_the_others_load(small: Path):
    with Archive.open(small) as archive:
        stored, base = archive._tensors("model")
        place = next(tensor for tensor in stored if tensor.name == "weight")
    flip(small, base + place.begin + 5)
    with Archive.open(small) as archive:
        (damage,) = archive.verify()
        assert (damage.entry, damage.tensor) == ("model.safetensors", "weight")
        assert str(damage).startswith("model.safetensors, tensor 'weight': expected digest ")
        with pytest.raises(DamagedArchiveError) as caught:
            archive.tree("model")
        assert f"could not load component 'model' of '{small}'" in str(caught.value)
        assert "model.safetensors, tensor 'weight': expected digest" in str(caught.value)
        assert "Use an earlier file or another copy." in str(caught.value)
        with pytest.raises(DamagedArchiveError, match="tensor 'weight'"):
            archive.file("model.safetensors")
        assert archive.tree("model", verify=False)["bias"].tolist() == [1.0, 1.0]
        assert archive.file("options.yaml") == b"seed: 1\n"


def test_every_damaged_place_is_listed(tmp_path: Path):
    path = tmp_path / "x"
    tree = {"a": torch.zeros(40), "b": torch.zeros(40)}
    write_archive(path, kind="k", components={"m": tree, "n": [1]}, files={"f": b"123"})
    with Archive.open(path) as archive:
        base = archive._tensors("m")[1]
        offsets = [
            base,
            base + 160,
            archive._records["n.json"].data_offset,
            archive._records["f"].offset + 40,
        ]
    for offset in offsets:
        flip(path, offset)
    with Archive.open(path) as archive:
        found = [(damage.entry, damage.tensor) for damage in archive.verify()]
    assert found == [("m.safetensors", "a"), ("m.safetensors", "b"), ("n.json", None), ("f", None)]


def test_a_damaged_structure_is_never_used_even_unverified(small: Path):
    with Archive.open(small) as archive:
        offset = archive._records["model.json"].data_offset
    flip(small, offset + 3)
    with (
        Archive.open(small) as archive,
        pytest.raises(DamagedArchiveError, match=r"model\.json: expected digest"),
    ):
        archive.tree("model", verify=False)


def test_a_file_cut_while_it_is_open_is_an_error(small: Path):
    with Archive.open(small) as archive:
        os.truncate(small, 300)
        with pytest.raises(DamagedArchiveError, match="found its end"):
            archive.tree("model")


def test_a_truncated_archive_is_damaged_and_not_another_kind_of_file(small: Path):
    os.truncate(small, small.stat().st_size - 1)
    with pytest.raises(DamagedArchiveError, match=rf"could not open '{small}': its last bytes are missing"):
        Archive.open(small)
    with pytest.raises(DamagedArchiveError):
        kind_of(small)
    os.truncate(small, 20)
    with pytest.raises(DamagedArchiveError, match="its last bytes are missing"):
        Archive.open(small)


def test_damaged_first_bytes_are_seen_when_it_is_opened(small: Path):
    flip(small, 70)
    with pytest.raises(DamagedArchiveError, match="its first bytes are not those of an archive"):
        Archive.open(small)


def test_a_damaged_manifest_is_named(small: Path):
    with Archive.open(small) as archive:
        offset = archive._records["manifest.json"].data_offset
    flip(small, offset + 10)
    with pytest.raises(DamagedArchiveError, match=r"manifest\.json: expected digest [0-9a-f]{64}, found"):
        Archive.open(small)


def test_a_moved_and_renamed_file_is_the_same(small: Path, tmp_path: Path):
    moved = tmp_path / "elsewhere" / "名前.zip"
    moved.parent.mkdir()
    shutil.move(small, moved)
    with Archive.open(moved) as archive:
        assert archive.verify() == []
        assert archive.tree("model")["step"] == 7
    assert kind_of(moved) == "checkpoint"


@dataclass(frozen=True)
class Part:
    """Bytes of a file that belong together; `tensor` is empty where they are no tensor's data."""

    entry: str
    tensor: str
    begin: int
    end: int


@pytest.fixture(scope="module")
def sizeable(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write an archive like a checkpoint: a model, an optimizer, counters, options and code; some 280 kB."""
    path = tmp_path_factory.mktemp("sizeable") / "sizeable.ckpt"
    model = {f"layers.{number}.weight": torch.randn(60, 60) for number in range(5)}
    model["head"] = torch.randn(3).double()
    write_archive(
        path,
        kind="checkpoint",
        components={
            "model": model,
            "optimizer": {name: {"first": value * 2, "second": value**2, "step": 7} for name, value in model.items()},
            "position": {"step": 7, "sums": [1.5, float("nan")], "flags": (True, None)},
            "mask": torch.ones(1000, dtype=torch.bool),
        },
        files={"options.yaml": b"seed: 1\n" * 50, "source/model.py": b"import torch\n" * 30},
        manifest={"run_id": "r", "step": 7},
    )
    return path


@pytest.fixture
def changeable(sizeable: Path, tmp_path: Path) -> Path:
    """Give a copy that may be damaged."""
    return Path(shutil.copy(sizeable, tmp_path / "copy.ckpt"))


def data_of_tensors(path: Path) -> list[Part]:
    with Archive.open(path) as archive:
        return [
            Part(f"{component}.safetensors", tensor.name, base + tensor.begin, base + tensor.end)
            for component in archive.manifest.components
            for stored, base in [archive._tensors(component)]
            for tensor in stored
        ]


def damages(path: Path) -> list[tuple[str, str]]:
    """Return entry and tensor of each damage; the entry is "" where the file could not even be opened."""
    try:
        with Archive.open(path) as archive:
            return [(damage.entry, damage.tensor or "") for damage in archive.verify()]
    except ArchiveError:
        return [("", "")]


def test_a_flipped_bit_at_every_byte_that_is_no_tensors_is_seen_and_named(changeable: Path):
    """Local headers, padding, headers of tensors, structures, files, manifest, directory, end records."""
    tensors = data_of_tensors(changeable)
    with Archive.open(changeable) as archive:
        parts = [(r.name, r.offset, r.end) for r in archive._records.values()]
    of_tensors = {offset for part in tensors for offset in range(part.begin, part.end)}
    behind = parts[-1][2]
    ends = [*parts, ("", behind, changeable.stat().st_size)]
    wrong: list[tuple[int, object]] = []
    flipped = 0
    for name, begin, end in ends:
        for offset in (offset for offset in range(begin, end) if offset not in of_tensors):
            flip(changeable, offset, bit := offset * 5 % 8)
            found = damages(changeable)
            flip(changeable, offset, bit)
            flipped += 1
            if found not in ([(name, "")], [("", "")]):
                wrong.append((offset, found))
    assert wrong == []
    assert flipped > 8000
    assert damages(changeable) == []


def test_a_flipped_bit_at_10000_random_places_is_seen_and_its_tensor_named(changeable: Path):
    """Ten at a time, each in a tensor of its own: each is named for itself."""
    tensors = data_of_tensors(changeable)
    rng = random.Random(0)
    wrong: list[object] = []
    for _ in range(1000):
        hit = sorted(rng.sample(tensors, 10), key=lambda part: part.begin)
        flips = [(rng.randrange(part.begin, part.end), rng.randrange(8)) for part in hit]
        for offset, bit in flips:
            flip(changeable, offset, bit)
        found = damages(changeable)
        for offset, bit in flips:
            flip(changeable, offset, bit)
        if found != [(part.entry, part.tensor) for part in hit]:
            wrong.append((flips, found))
    assert wrong == []
    assert damages(changeable) == []


def test_truncation_at_every_4096_bytes_is_seen(changeable: Path):
    size = changeable.stat().st_size
    cuts = list(range(size // 4096 * 4096, -1, -4096))
    assert len(cuts) > 50
    for cut in cuts:
        os.truncate(changeable, cut)
        assert is_seen(changeable), cut
        with pytest.raises(ArchiveError, match=r"its last bytes are missing or changed|it is empty"):
            Archive.open(changeable)


def test_a_page_of_zeros_anywhere_is_seen(changeable: Path):
    """What a power cut leaves of a page that was never written."""
    content = changeable.read_bytes()
    for begin in range(0, len(content), 4096):
        changeable.write_bytes(content[:begin] + bytes(len(content[begin : begin + 4096])) + content[begin + 4096 :])
        assert is_seen(changeable), begin
