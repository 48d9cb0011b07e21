"""Batches: how many, of which images, in an order that the generator decides."""

import pandas as pd
import pytest
import torch

from reid_lib.batches import batches
from reid_lib.config import RunConfig
from reid_lib.dataset import check_batches


def drawn(labels, seed=0, **values):
    """The batches of one epoch."""
    values = {"row": "r", "setting": "set1", **values}
    generator = torch.Generator().manual_seed(seed)
    return list(batches(RunConfig(**values), labels, generator))


def test_random_batches_take_each_image_once_and_drop_the_incomplete_last():
    labels = torch.arange(10).repeat_interleave(5)
    config = RunConfig(row="r", setting="set1", batch_size=8)
    epoch = list(batches(config, labels, torch.Generator().manual_seed(0)))
    assert [len(b) for b in epoch] == [8] * 6
    assert torch.cat(epoch).unique().numel() == 48


def test_pk_batches_hold_k_images_of_p_persons():
    labels = torch.arange(37).repeat_interleave(16)
    config = RunConfig(row="r", setting="htri")
    epoch = list(batches(config, labels, torch.Generator().manual_seed(0)))
    assert len(epoch) == 18
    for batch in epoch:
        persons, counts = labels[batch].unique(return_counts=True)
        assert (len(persons), counts.tolist()) == (8, [4] * 8)
        assert batch.unique().numel() == 32
    assert torch.cat(epoch).unique().numel() == 18 * 32  # no image twice in an epoch


def test_images_that_fill_no_group_of_k_cost_no_batch():
    labels = torch.arange(2).repeat_interleave(13)  # three groups of four and one image over
    epoch = drawn(labels, setting="htri", batch_size=8)
    assert len(epoch) == 3 and len(torch.cat(epoch).unique()) == 24


def test_an_epoch_of_persons_takes_k_images_of_each_person_once():
    labels = torch.arange(37).repeat_interleave(16)
    reading = RunConfig(row="r", setting="set1", epoch="persons", batches="pk")
    epoch = list(batches(reading, labels, torch.Generator().manual_seed(0)))
    assert len(epoch) == 37 * 4 // 32
    images = torch.cat(epoch)
    assert len(images.unique()) == len(images)
    assert set(torch.bincount(labels[images], minlength=37).tolist()) == {0, 4}


def test_an_epoch_of_persons_with_random_batches_has_as_many_steps():
    labels = torch.arange(37).repeat_interleave(16)
    generator = torch.Generator().manual_seed(0)
    epoch = list(batches(RunConfig(row="r", setting="set1", epoch="persons"), labels, generator))
    assert len(epoch) == 37 * 4 // 32
    assert len(torch.cat(epoch).unique()) == 32 * len(epoch)


@pytest.mark.parametrize("kind", ["random", "pk"])
def test_the_generator_decides_the_batches_and_global_state_does_not(kind):
    labels = torch.arange(10).repeat_interleave(8)
    values = {"batches": kind, "batch_size": 16}
    first = torch.stack(drawn(labels, **values))
    torch.manual_seed(7)
    assert torch.equal(first, torch.stack(drawn(labels, **values)))
    assert not torch.equal(first, torch.stack(drawn(labels, seed=1, **values)))


def test_pk_batches_group_a_persons_images_at_random():
    labels = torch.arange(10).repeat_interleave(8)
    epochs = [drawn(labels, seed, batches="pk", batch_size=16) for seed in range(200)]
    partners, order = torch.zeros(8, 8), torch.zeros(8)
    for epoch in epochs:
        for batch in epoch:
            own = batch[labels[batch] == 3] - 24
            partners[own[:, None], own[None, :]] += 1
            order[own[:1]] += 1
    apart = partners[~torch.eye(8, dtype=torch.bool)]
    # Each pair of 8 images shares a group of 4 with probability 3/7; each is first in 1/4.
    shared = len(epochs) * 3 / 7
    assert (apart - shared).abs().max() < 5 * (shared * 4 / 7) ** 0.5
    assert (order - len(epochs) / 4).abs().max() < 5 * (len(epochs) * 3 / 16) ** 0.5


def test_pk_batches_combine_the_persons_at_random_and_use_all_of_them():
    labels = torch.arange(10).repeat_interleave(4)
    first = torch.zeros(10)
    for seed in range(400):
        epoch = drawn(labels, seed, batches="pk", batch_size=8)
        persons = [labels[batch].unique(return_counts=True) for batch in epoch]
        assert sorted(torch.cat([p for p, _ in persons]).tolist()) == list(range(10))
        assert all(counts.tolist() == [4, 4] for _, counts in persons)
        first[labels[epoch[0]].unique()] += 1
    assert (first - 80).abs().max() < 5 * (400 * 0.16) ** 0.5


def test_persons_with_more_images_come_first_so_that_most_images_are_used():
    labels = torch.tensor([0] * 12 + [1] * 4 + [2] * 4 + [3] * 4)
    for seed in range(20):
        epoch = drawn(labels, seed, batches="pk", batch_size=8)
        assert all(0 in labels[batch] for batch in epoch)
        assert len(epoch) == 3


def test_an_epoch_ends_when_too_few_persons_have_k_images_left():
    labels = torch.tensor([0] * 12 + [1] * 4)
    assert len(drawn(labels, batches="pk", batch_size=8)) == 1


def test_images_beyond_a_multiple_of_k_wait_for_another_epoch():
    labels = torch.arange(4).repeat_interleave(7)
    left = set()
    for seed in range(30):
        images = torch.cat(drawn(labels, seed, batches="pk", batch_size=8))
        assert torch.bincount(labels[images], minlength=4).max() == 4
        left |= set(range(28)) - set(images.tolist())
    assert left == set(range(28))


@pytest.mark.parametrize("values", [{}, {"batches": "pk"}, {"epoch": "persons"}])
def test_data_that_fill_exactly_one_batch_are_accepted(values):
    config = RunConfig(row="r", setting="set1", batch_size=8, images_per_person=4, **values)
    check_batches(config, pd.DataFrame({"pid": [1] * 4 + [2] * 4}))
    with pytest.raises(ValueError, match="only 7 images"):
        check_batches(config, pd.DataFrame({"pid": [1] * 4 + [2] * 3}))


def test_persons_with_too_few_images_are_refused_only_where_k_of_each_are_drawn():
    train = pd.DataFrame({"pid": [1] * 6 + [2] * 3})
    for values in ({"batches": "pk"}, {"epoch": "persons"}):
        config = RunConfig(row="r", setting="set1", batch_size=8, **values)
        with pytest.raises(ValueError, match="holds 2 persons with 4 images each, but only 1 of 2"):
            check_batches(config, train)
    check_batches(RunConfig(row="r", setting="set1", batch_size=8), train)
