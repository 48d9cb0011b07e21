"""Person centres and the memory of codes behind them; `test_oracle_step.py` holds the readings."""

import math

import pytest
import torch

from reid_lib.losses import CentreMemory, person_centres


def test_person_centres_are_means_and_nan_without_an_image():
    codes = torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 5.0]])
    centres = person_centres(codes, torch.tensor([0, 0, 2]), 3)
    assert centres[0].tolist() == [2.0, 3.0]
    assert centres[1].isnan().all()
    assert centres[2].tolist() == [5.0, 5.0]


def test_memory_holds_the_latest_code_of_each_image_without_its_gradient():
    memory = CentreMemory(torch.tensor([0, 0, 1]), width=2)
    assert memory.centres().isnan().all()
    first = torch.tensor([[1.0, 1.0], [3.0, 3.0], [5.0, 5.0]], requires_grad=True)
    memory.update(torch.arange(3), first)
    assert memory.centres().tolist() == [[2.0, 2.0], [5.0, 5.0]]
    memory.update(torch.tensor([1]), torch.tensor([[7.0, 7.0]]))
    assert memory.centres().tolist() == [[4.0, 4.0], [5.0, 5.0]]
    assert not memory.centres().requires_grad


@pytest.mark.parametrize("shape", [(3, 1), (1, 5), (5,), (3, 6)])
def test_the_memory_refuses_codes_of_another_shape(shape):
    memory = CentreMemory(torch.arange(4), 5)
    with pytest.raises(ValueError, match=r"expected \(B, 5\) and \(B,\)"):
        memory.update(torch.arange(3), torch.zeros(shape))
    assert memory.codes.isnan().all()


def test_codes_that_are_not_known_are_left_out_of_their_persons_centre():
    codes = torch.tensor([[1.0, 2.0], [math.nan, math.nan], [3.0, 4.0], [math.nan, math.nan]])
    centres = person_centres(codes, torch.tensor([0, 0, 0, 1]), 2)
    assert centres[0].tolist() == [2.0, 3.0]
    assert centres[1].isnan().all()


def test_the_memory_takes_codes_of_another_type_but_only_one_per_image():
    memory = CentreMemory(torch.arange(4), 5)
    memory.update(torch.arange(2), torch.ones(2, 5, dtype=torch.float64))
    assert memory.codes.dtype == torch.float32
    assert memory.codes[:2].eq(1).all() and memory.codes[2:].isnan().all()
    with pytest.raises(ValueError, match=r"images \(2, 1\); expected \(B, 5\) and \(B,\)"):
        memory.update(torch.arange(2)[:, None], torch.ones(2, 1, 5))


@pytest.mark.parametrize(
    "labels, width, message",
    [
        ([0, 1], 5, "labels are list; expected a torch tensor"),
        (torch.zeros(2), 5, r"labels are torch.float32; expected torch.int64: labels.long\(\)"),
        (torch.zeros(2, 2, dtype=int), 5, r"labels \(2, 2\); expected \(B, D\) and \(B,\)"),
        (torch.zeros(0, dtype=int), 5, "expected at least one row"),
        (torch.tensor([-1, 0]), 5, "labels run from -1 to 0, but there are 1 persons"),
        (torch.arange(2), 0, "width is 0; expected a whole number of 1 or more"),
    ],
)
def test_a_memory_of_wrong_labels_or_width_is_refused_by_name(labels, width, message):
    with pytest.raises(ValueError, match=message):
        CentreMemory(labels, width)


@pytest.mark.parametrize(
    "images, message",
    [
        ([0, 1], "images are list; expected a torch tensor"),
        (torch.tensor([0.0, 1.0]), r"images are torch.float32; expected torch.int64"),
        (torch.tensor([0, 4]), "images run from 0 to 4, but there are 4 training images; .* 3$"),
        (torch.tensor([-1, 0]), "images run from -1 to 0"),
    ],
)
def test_the_memory_refuses_images_that_it_does_not_have(images, message):
    memory = CentreMemory(torch.arange(4), 5)
    with pytest.raises(ValueError, match=message):
        memory.update(images, torch.zeros(2, 5))
    with pytest.raises(ValueError, match="codes are list; expected a torch tensor"):
        memory.update(torch.arange(2), [[0.0] * 5] * 2)
    assert memory.codes.isnan().all()
