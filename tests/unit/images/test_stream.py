"""A stream gives every example to one task and one set, as options, seed and files say."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from image_files import labels, numbered, records, write_idx, write_mnist
from milepost.errors import DataError, ResumeError
from milepost.images.dataset import ImagePart
from milepost.images.finding import LAYOUTS, VARIABLE
from milepost.images.maps import task_maps
from milepost.images.options import ImagesOptions
from milepost.images.preprocessing import NORMALIZED
from milepost.images.stream import Stream, make_stream
from milepost.run.splits import check_split


def stream(tasks: Any, folder: Path = Path(), seed: int = 0) -> Stream:
    options = ImagesOptions.model_validate({"architecture": {"name": "mlp"}, "seed": seed, "tasks": tasks})
    return make_stream(options, folder, torch.float32, torch.device("cpu"))


def held_out(found: Stream, task: int, name: str = "test") -> ImagePart:
    part = found.tasks[task].held_out[name]
    assert isinstance(part, ImagePart)
    return part


def labels_of(found: Stream, task: int) -> set[int]:
    return set(found.training.batch(found.tasks[task].training)["labels"].tolist())


@pytest.mark.skipif(
    not Path(LAYOUTS["fashion-mnist"].system[0]).is_dir(),
    reason="Debian's package dataset-fashion-mnist is not installed",
)
def test_fashion_mnist_comes_from_debian_s_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    found = stream({"benchmark": "seq-fashion-mnist"}, tmp_path)
    assert [task.name for task in found.tasks] == [
        "T-shirt/top-Trouser", "Pullover-Dress", "Coat-Sandal", "Shirt-Sneaker", "Bag-Ankle boot"
    ]  # fmt: skip
    assert found.training.shape == (1, 28, 28)
    for number, task in enumerate(found.tasks):
        assert (len(task.training), len(held_out(found, number))) == (12_000, 2_000)
        assert labels_of(found, number) == set(task.classes) == {2 * number, 2 * number + 1}


def test_the_default_is_digits_two_at_a_time() -> None:
    found = stream({})
    assert [task.name for task in found.tasks] == ["0-1", "2-3", "4-5", "6-7", "8-9"]
    assert [task.classes for task in found.tasks] == [(0, 1), (2, 3), (4, 5), (6, 7), (8, 9)]
    for number, task in enumerate(found.tasks):
        assert labels_of(found, number) == set(task.classes)
        part = held_out(found, number)
        assert set(part.batch(torch.arange(len(part)))["labels"].tolist()) == set(task.classes)
        assert part.classes == task.classes
    assert torch.cat([task.training for task in found.tasks]).sort().values.tolist() == list(range(1442))
    assert len(found.test) == 355
    assert len(found.validation) == 0
    assert found.names == tuple("0123456789")


def test_classes_are_learned_in_the_order_that_is_given_under_their_own_numbers() -> None:
    order = [9, 3, 5, 1, 0, 2, 4, 6, 8, 7]
    found = stream({"class_order": order, "classes_per_task": 5})
    assert [task.classes for task in found.tasks] == [(9, 3, 5, 1, 0), (2, 4, 6, 8, 7)]
    assert [task.name for task in found.tasks] == ["task 0", "task 1"]
    assert labels_of(found, 0) == {0, 1, 3, 5, 9}


@pytest.mark.parametrize("benchmark", ["seq-digits", "perm-digits", "digits"])
def test_validation_images_are_no_task_s_to_train_on(benchmark: str) -> None:
    found = stream({"benchmark": benchmark, "validation": 0.25})
    count = 1442
    trained = {int(number) % count for task in found.tasks for number in task.training}
    held = {int(n) % count for t in range(len(found.tasks)) for n in held_out(found, t, "validation").numbers}
    assert len(held) == round(0.25 * count)
    assert trained | held == set(range(count))
    assert not trained & held
    repeated = 1 if benchmark == "seq-digits" else len(found.tasks)
    assert len(found.validation) == repeated * len(held)


def test_another_seed_holds_out_other_images() -> None:
    one, same, other = (stream({"validation": 0.25}, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(one.validation.numbers, same.validation.numbers)
    assert not torch.equal(one.validation.numbers, other.validation.numbers)


@pytest.mark.parametrize(("benchmark", "division"), [("perm-digits", "permuted"), ("rot-digits", "rotated")])
def test_every_task_shows_all_images_through_its_map(benchmark: str, division: Any) -> None:
    found, plain = stream({"benchmark": benchmark, "count": 3}, seed=4), stream("digits")
    maps = task_maps(division, 4, 3, 8, 8)
    assert maps is not None
    for number, task in enumerate(found.tasks):
        assert task.classes == tuple(range(10))
        for seen, original in (
            (found.training.batch(task.training), plain.training.batch(torch.arange(1442))),
            (held_out(found, number).batch(torch.arange(355)), plain.test.batch(torch.arange(355))),
        ):
            flat = torch.nn.functional.pad(original["inputs"].flatten(1), (0, 1))
            assert torch.equal(seen["inputs"].flatten(1), flat[:, maps[number]])
            assert torch.equal(seen["labels"], original["labels"])
    assert len(found.test) == 3 * 355


def test_files_are_read_from_the_folder_that_is_given(tmp_path: Path) -> None:
    write_mnist(tmp_path / "here")
    found = stream({"benchmark": "seq-mnist", "data_dir": "here"}, tmp_path)
    assert [len(task.training) for task in found.tasks] == [8, 8, 8, 8, 8]
    assert torch.equal(found.training.batch(torch.arange(40))["inputs"][:, 0], torch.from_numpy(numbered(40)) / 255)
    assert list(found.record["files"]["training"]) == [
        "0:train-images-idx3-ubyte.gz",
        "1:train-labels-idx1-ubyte.gz",
    ]


def test_cifar_is_normalized_and_varied_where_it_is_trained_on(tmp_path: Path) -> None:
    for number, name in enumerate(LAYOUTS["cifar10"].files):
        (tmp_path / name).write_bytes(records(np.arange(10)[:, None], seed=number)[0])
    found = stream({"benchmark": "seq-cifar10", "data_dir": ".", "validation": 0.5}, tmp_path)
    plain = NORMALIZED["cifar10"](found.training.images)
    everything = torch.arange(50)
    assert not torch.equal(found.training.batch(everything)["inputs"], plain)
    assert torch.equal(found.validation.batch(torch.arange(25))["inputs"], plain[found.validation.numbers])
    tested = NORMALIZED["cifar10"](found.test.whole.images)
    assert torch.equal(found.test.batch(torch.arange(10))["inputs"], tested[found.test.numbers])


def files(folder: Path, name: str, count: int, rows: int = 4, classes: int = 10, seed: int = 0) -> dict[str, str]:
    write_idx(folder / f"{name}-images", numbered(count, rows, seed=seed))
    write_idx(folder / f"{name}-labels", labels(count, classes))
    return {"images": f"{name}-images", "labels": f"{name}-labels"}


def test_tasks_of_ones_own_follow_one_another(tmp_path: Path) -> None:
    tasks = [
        {"name": "a", "training_set": files(tmp_path, "a", 6, classes=2), "test_set": files(tmp_path, "at", 4)},
        {
            "name": "b",
            "training_set": files(tmp_path, "b", 9, classes=3, seed=5),
            "validation_set": files(tmp_path, "bv", 2, seed=6),
            "test_set": files(tmp_path, "bt", 3, seed=7),
        },
    ]
    found = stream(tasks, tmp_path)
    assert [task.training.tolist() for task in found.tasks] == [list(range(6)), list(range(6, 15))]
    assert [task.classes for task in found.tasks] == [(0, 1, 2, 3), (0, 1, 2)]
    assert [sorted(task.held_out) for task in found.tasks] == [["test"], ["test", "validation"]]
    own = found.training.batch(found.tasks[1].training)["inputs"][:, 0]
    assert torch.equal(own, torch.from_numpy(numbered(9, seed=5)) / 255)
    tested = held_out(found, 1).batch(torch.arange(3))["inputs"][:, 0]
    assert torch.equal(tested, torch.from_numpy(numbered(3, seed=7)) / 255)
    assert len(found.validation) == 2
    assert found.names == ("0", "1", "2", "3")
    assert found.training.describe(torch.tensor([7])) == "b-images, image 1"


def test_the_same_file_name_in_two_folders_is_two_files(tmp_path: Path) -> None:
    tasks = []
    for number in range(2):
        own = files(tmp_path, f"{number}/x", 4, seed=number)
        tasks.append({"name": str(number), "training_set": own, "test_set": own})
    recorded = stream(tasks, tmp_path).record["files"]["training"]
    assert list(recorded) == ["0:x-images", "1:x-labels", "2:x-images", "3:x-labels"]
    assert recorded["0:x-images"] != recorded["2:x-images"]


def test_images_of_another_shape_are_refused(tmp_path: Path) -> None:
    own, other = files(tmp_path, "a", 4), files(tmp_path, "b", 4, rows=6)
    with pytest.raises(DataError, match="expected images of one shape"):
        stream([{"name": "a", "training_set": own, "test_set": other}], tmp_path)


def test_a_task_without_images_is_refused(tmp_path: Path) -> None:
    write_mnist(tmp_path)
    write_idx(tmp_path / "t10k-labels-idx1-ubyte.gz", labels(20, classes=9))
    options = {"benchmark": "mnist", "data_dir": "."}
    assert len(stream(options, tmp_path).tasks) == 1
    with pytest.raises(DataError, match="could not form the task '9': expected at least 1 test image, found none"):
        stream({**options, "benchmark": "seq-mnist", "classes_per_task": 1}, tmp_path)


@pytest.mark.parametrize(
    ("change", "part"),
    [
        ({"class_order": [1, 0, *range(2, 10)]}, "tasks"),
        ({"validation": 0.1}, "tasks"),
        ({"benchmark": "perm-digits"}, "maps"),
        ({}, None),
    ],
)
def test_the_record_tells_streams_apart(change: dict[str, Any], part: str | None) -> None:
    before, after = stream("seq-digits").record, stream(change).record
    different = {key for key in {*before, *after} if before.get(key) != after.get(key)}
    assert different == (set() if part is None else {part} | ({"tasks"} if part == "maps" else set()))


def test_the_record_knows_the_seed_of_the_maps() -> None:
    one, other = (stream("perm-digits", seed=seed).record for seed in (0, 1))
    assert one["tasks"] == other["tasks"]
    assert one["maps"] != other["maps"]


def test_a_run_goes_on_with_files_that_were_unpacked_and_not_with_others(tmp_path: Path) -> None:
    for folder, suffix, seed in (("packed", ".gz", 0), ("plain", "", 0), ("other", ".gz", 5)):
        write_mnist(tmp_path / folder, suffix=suffix, seed=seed)
    packed, plain, other = (
        stream({"benchmark": "rot-mnist", "count": 2, "data_dir": name}, tmp_path).record
        for name in ("packed", "plain", "other")
    )
    renamed = check_split(packed, plain, tmp_path)
    assert len(renamed) == 4
    assert "the file 'train-images-idx3-ubyte.gz' is now called 'train-images-idx3-ubyte'" in renamed[0]
    with pytest.raises(ResumeError, match=r"the training set: 'train-images-idx3-ubyte\.gz': expected the content"):
        check_split(packed, other, tmp_path)
