"""Batches are cut out of resident bytes, as they are or through maps, and kept examples give the same inputs."""

import pytest
import torch
from torch import Tensor

from image_files import labels, numbered
from milepost.images.augmentation import Augmentation
from milepost.images.dataset import ImagePart, ImageSet
from milepost.images.labelled import Labelled, labelled
from milepost.images.preprocessing import Preprocessing

COUNT, ROWS, COLUMNS = 12, 4, 5


def source(channels: int = 1) -> Labelled:
    images = numbered(COUNT * channels, ROWS, COLUMNS).reshape(COUNT, channels, ROWS, COLUMNS)
    return labelled(images, labels(COUNT), ("file", "labels"), ())


def made(maps: Tensor | None = None, augmentation: Augmentation | None = None, channels: int = 1) -> ImageSet:
    cpu = torch.device("cpu")
    return ImageSet.of(source(channels), Preprocessing(), torch.float32, cpu, maps, augmentation)


def some_maps() -> Tensor:
    """Return three maps, the second of which leaves two places blank."""
    maps = torch.stack([torch.randperm(ROWS * COLUMNS) for _ in range(3)])
    maps[1, [3, 7]] = ROWS * COLUMNS
    return maps


@pytest.mark.parametrize("channels", [1, 3])
def test_a_batch_is_images_between_0_and_1_and_their_labels(channels: int) -> None:
    whole, indices = made(channels=channels), torch.tensor([7, 0, 7])
    batch = whole.batch(indices)
    assert set(batch) == {"inputs", "labels"}
    assert batch["inputs"].dtype == torch.float32
    assert torch.equal(batch["inputs"], source(channels).images[indices] / 255)
    assert batch["labels"].tolist() == [7, 0, 7]
    assert batch["labels"].dtype == torch.int64
    assert len(whole) == COUNT


@pytest.mark.parametrize(
    "indices",
    [[12, 15, 23], [0, 11], [24], [1, 13, 25, 14, 35], [11, 12], list(range(36))],
    ids=["one task", "the first", "one example", "mixed", "neighbors", "all"],
)
def test_an_example_is_an_image_seen_through_the_map_of_its_task(indices: list[int]) -> None:
    maps, images = some_maps(), source().images
    whole = made(maps)
    batch = whole.batch(torch.tensor(indices))
    for row, index in enumerate(indices):
        task, image = divmod(index, COUNT)
        places = torch.cat([images[image].flatten(), torch.zeros(1, dtype=torch.uint8)])[maps[task]]
        assert torch.equal(batch["inputs"][row], places.view(1, ROWS, COLUMNS) / 255)
        assert int(batch["labels"][row]) == image % 10
    assert len(whole) == 3 * COUNT


def test_an_empty_batch_has_shapes() -> None:
    for maps in (None, some_maps()):
        assert made(maps).batch(torch.empty(0, dtype=torch.long))["inputs"].shape == (0, 1, ROWS, COLUMNS)


@pytest.mark.parametrize("mapped", [False, True])
def test_examples_that_were_kept_need_no_data_set(mapped: bool) -> None:
    whole, indices = made(some_maps() if mapped else None), torch.tensor([3, 11, 5])
    kept = whole.examples(indices)
    assert {name: value.dtype for name, value in kept.items() if isinstance(value, Tensor)} == {
        "images": torch.uint8,
        "labels": torch.int64,
    }
    other = made(torch.zeros((1, ROWS * COLUMNS), dtype=torch.long) if mapped else None)
    batch, again = whole.batch(indices), other.collate(kept, 4)
    assert torch.equal(batch["inputs"], again["inputs"])
    assert torch.equal(batch["labels"], again["labels"])


def test_recalled_outputs_come_along_and_nothing_else() -> None:
    whole, logits = made(), torch.randn(2, 10)
    kept = dict(whole.examples(torch.tensor([1, 2]))) | {"recalled.logits": logits, "task": torch.zeros(2)}
    batch = whole.collate(kept)
    assert set(batch) == {"inputs", "labels", "recalled.logits"}
    assert batch["recalled.logits"] is logits


def test_a_list_of_images_is_refused() -> None:
    kept = {"images": [torch.zeros(1, 4, 5, dtype=torch.uint8)], "labels": torch.zeros(1)}
    with pytest.raises(TypeError, match="expected images and labels as tensors"):
        made().collate(kept)


def test_variation_follows_from_epoch_and_example_or_from_draw_and_row() -> None:
    augmentation, indices = Augmentation(0, padding=1), torch.arange(COUNT)
    whole, images = made(augmentation=augmentation), source().images
    assert torch.equal(whole.batch(indices, 2)["inputs"], augmentation.seen(images, indices, 2) / 255)
    assert not torch.equal(whole.batch(indices, 2)["inputs"], whole.batch(indices, 3)["inputs"])
    kept = whole.examples(indices)
    assert torch.equal(kept["images"], images)  # type: ignore[arg-type]
    assert torch.equal(whole.collate(kept, 5)["inputs"], augmentation.replayed(images, 5) / 255)


def test_a_part_shows_its_examples_as_they_are() -> None:
    whole = made(augmentation=Augmentation(0, padding=1))
    part = ImagePart(whole, torch.tensor([9, 2, 4]), (2, 4, 9))
    assert len(part) == 3
    assert torch.equal(part.batch(torch.tensor([2, 0]), 7)["inputs"], source().images[[4, 9]] / 255)
    assert part.batch(torch.tensor([2, 0]))["labels"].tolist() == [4, 9]
    assert part.describe(torch.tensor([1])) == "file, image 2"
    assert torch.equal(part.examples(torch.tensor([1]))["images"], source().images[[2]])  # type: ignore[arg-type]
    kept = part.examples(torch.tensor([0, 1]))
    assert torch.equal(part.collate(kept, 1)["inputs"], whole.collate(kept, 1)["inputs"])


def test_examples_are_named_by_file_and_task() -> None:
    assert made().describe(torch.tensor([0, 11])) == "file, image 0; file, image 11"
    assert made(some_maps()).describe(torch.tensor([25])) == "file, image 1, as task 2 shows it"


def test_precision_is_that_of_the_run() -> None:
    whole = ImageSet.of(source(), Preprocessing(), torch.float64, torch.device("cpu"))
    assert whole.batch(torch.tensor([0]))["inputs"].dtype == torch.float64
