"""Images in memory."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from prunella.core.errors import DataError
from prunella.data import ImageSet


def make(count: int = 5) -> ImageSet:
    generator = torch.Generator().manual_seed(0)
    return ImageSet(
        name="toy",
        images=torch.randint(0, 256, (count, 3, 4, 4), generator=generator).to(torch.uint8),
        labels=torch.arange(count) % 3,
        classes=("a", "b", "c"),
        mean=(0.1, 0.2, 0.3),
        std=(0.5, 0.25, 2.0),
    )


def test_loader_normalises_and_covers_all_in_order() -> None:
    images = make()
    batches = list(images.loader(2))
    assert [len(x) for x, _ in batches] == [2, 2, 1]
    got = torch.cat([x for x, _ in batches])
    assert got.dtype == torch.float32
    for c in range(3):
        want = (images.images[:, c].double() / 255 - images.mean[c]) / images.std[c]
        torch.testing.assert_close(got[:, c].double(), want, atol=1e-6, rtol=1e-6)
    assert torch.equal(torch.cat([y for _, y in batches]), images.labels)


def test_shuffling_follows_the_generator() -> None:
    images = make(64)
    images = replace(images, labels=torch.arange(64), classes=tuple(map(str, range(64))))

    def order(seed: int) -> list[int]:
        loader = images.loader(8, shuffle=True, generator=torch.Generator().manual_seed(seed))
        return torch.cat([y for _, y in loader]).tolist()

    assert sorted(order(1)) == list(range(64))
    assert order(1) == order(1)
    assert order(1) != order(2)
    assert order(1) != list(range(64))


def test_single_item() -> None:
    images = make()
    image, label = images.loader(2).dataset[3]
    assert image.shape == (3, 4, 4)
    assert label == images.labels[3]


def test_subset() -> None:
    images = make()
    part = images.subset([4, 0, 4], name="part")
    assert part.name == "part"
    assert part.labels.tolist() == [1, 0, 1]
    assert torch.equal(part.images[1], images.images[0])
    assert images.subset(torch.tensor([1])).name == "toy"
    assert len(images.subset([])) == 0


@pytest.mark.parametrize(
    ("indices", "what"),
    [
        (torch.tensor([True, False, True, False, False]), "mask"),
        (torch.tensor([0.0]), "float32"),
        (torch.tensor([[0]]), r"\(1, 1\)"),
        ([5], "run from 5 to 5"),
        ([-6], "run from -6"),
    ],
)
def test_subset_refuses(indices: torch.Tensor, what: str) -> None:
    with pytest.raises(DataError, match=what):
        make().subset(indices)


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"images": torch.zeros(5, 3, 4, 4)}, "float32"),
        ({"images": torch.zeros(5, 4, 4, dtype=torch.uint8)}, r"\(5, 4, 4\)"),
        ({"labels": torch.zeros(4, dtype=torch.int64)}, "one int64 label"),
        ({"labels": torch.zeros(5)}, "float32 labels"),
        ({"labels": torch.full((5,), 3)}, "from 3 to 3, expected 0 to 2"),
        ({"labels": torch.full((5,), -1)}, "from -1 to -1"),
        ({"mean": (0.0,)}, "one number for each channel"),
        ({"std": (1.0, 0.0, 1.0)}, "positive"),
    ],
)
def test_inconsistent_sets_are_refused(change: dict[str, object], what: str) -> None:
    with pytest.raises(DataError, match=f"toy: .*{what}"):
        replace(make(), **change)  # type: ignore[arg-type]


def test_empty_set_and_bad_batch_size() -> None:
    with pytest.raises(DataError, match="empty"):
        make().subset([]).loader(4)
    with pytest.raises(DataError, match="batch size must be at least 1, got 0"):
        make().loader(0)
