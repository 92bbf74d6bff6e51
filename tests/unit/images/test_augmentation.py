"""Each variation is a crop out of a black frame, mirrored or not, and a function of the example alone."""

import torch
import torch.nn.functional as F

from milepost.images.augmentation import Augmentation

IMAGES = torch.randint(1, 256, (200, 3, 6, 7), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
EXAMPLES = torch.arange(200)


def found_as(varied: torch.Tensor, image: torch.Tensor, padding: int) -> list[tuple[int, int, bool]]:
    """List the crops (down, right, mirrored) of an image that look like this."""
    frame = F.pad(image, (padding,) * 4)
    _, rows, columns = image.shape
    places = [(down, right) for down in range(2 * padding + 1) for right in range(2 * padding + 1)]
    crops = {place: frame[:, place[0] : place[0] + rows, place[1] : place[1] + columns] for place in places}
    flips = ((False, varied), (True, varied.flip(2)))
    return [(*place, m) for place, crop in crops.items() for m, view in flips if torch.equal(crop, view)]


def test_what_is_seen_is_a_crop_out_of_a_black_frame() -> None:
    varied = Augmentation(0, padding=2).seen(IMAGES, EXAMPLES, 0)
    found = [found_as(one, image, 2) for one, image in zip(varied, IMAGES, strict=True)]
    assert {len(each) for each in found} == {1}
    crops = [each[0] for each in found]
    # 200 draws of 25 places: one that never comes has a chance of 25 · 0.96^200 = 0.7 %.
    assert {(down, right) for down, right, _ in crops} == {(d, r) for d in range(5) for r in range(5)}
    assert 70 < sum(mirrored for _, _, mirrored in crops) < 130


def test_it_does_not_matter_which_others_are_in_the_batch() -> None:
    augmentation, order = Augmentation(7), torch.randperm(200)
    whole = augmentation.seen(IMAGES, EXAMPLES, 3)
    assert torch.equal(augmentation.seen(IMAGES[order], EXAMPLES[order], 3), whole[order])
    assert torch.equal(augmentation.seen(IMAGES[5:6], EXAMPLES[5:6], 3), whole[5:6])


def test_seed_epoch_and_kind_vary_it() -> None:
    views = [
        Augmentation(0).seen(IMAGES, EXAMPLES, 0),
        Augmentation(0).seen(IMAGES, EXAMPLES, 1),
        Augmentation(1).seen(IMAGES, EXAMPLES, 0),
        Augmentation(0).replayed(IMAGES, 0),
        Augmentation(0).replayed(IMAGES, 1),
    ]
    assert all(not torch.equal(a, b) for i, a in enumerate(views) for b in views[:i])
    assert torch.equal(views[3], Augmentation(0).replayed(IMAGES, 0))


def test_nothing_is_drawn_from_a_global_generator() -> None:
    before = torch.get_rng_state()
    Augmentation(0).seen(IMAGES, EXAMPLES, 0)
    assert torch.equal(torch.get_rng_state(), before)
    assert IMAGES.min() > 0
