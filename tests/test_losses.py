"""Eq. 1 to 4 and the triplet loss against values worked by hand, slow loops and a named peer."""

import math

import pytest
import torch
from pytorch_metric_learning.distances import LpDistance
from pytorch_metric_learning.losses import TripletMarginLoss
from pytorch_metric_learning.miners import BatchHardMiner
from pytorch_metric_learning.reducers import MeanReducer

from reid_lib.losses import (
    batch_hard_triplet_loss,
    classification_loss,
    compact_loss,
    person_centres,
    scatter_loss,
    sq_radii,
    total_loss,
)

GEOMETRIC = [compact_loss, scatter_loss]


@pytest.fixture
def case():
    """12 codes of 4 persons in 5 dimensions, centres of their own, in float64."""
    generator = torch.Generator().manual_seed(0)
    codes = torch.randn(12, 5, dtype=torch.float64, generator=generator)
    centres = torch.randn(4, 5, dtype=torch.float64, generator=generator)
    labels = torch.arange(4).repeat(3)[torch.randperm(12, generator=generator)]
    return codes, labels, centres


def slow_compact(codes, labels, centres):
    total = 0.0
    for code, p in zip(codes.tolist(), labels.tolist(), strict=True):
        own = centres[p].tolist()
        d_min = min(math.dist(own, c.tolist()) for j, c in enumerate(centres) if j != p) / 2
        total += max(0.0, math.dist(code, own) ** 2 - d_min**2)
    return total / 2


def slow_scatter(codes, labels, centres):
    total = 0.0
    for code, p in zip(codes.tolist(), labels.tolist(), strict=True):
        total += sum(math.dist(code, c.tolist()) ** 2 for j, c in enumerate(centres) if j != p)
    return total / 2


def slow_triplet(codes, labels, margin, square=False):
    total, anchors = 0.0, 0
    for a, (code, p) in enumerate(zip(codes.tolist(), labels.tolist(), strict=True)):
        dist = [math.dist(code, other) ** (2 if square else 1) for other in codes.tolist()]
        same = [d for i, d in enumerate(dist) if labels[i] == p and i != a]
        if same:
            other = [d for i, d in enumerate(dist) if labels[i] != p]
            total, anchors = total + max(0.0, margin + max(same) - min(other)), anchors + 1
    return total / anchors


# --- values worked by hand ---


def test_compact_loss_charges_only_what_leaves_the_sphere():
    centres = torch.tensor([[0.0, 0.0], [4.0, 0.0], [0.0, 10.0]])  # d_min: 2, 2, 5
    codes = torch.tensor([[3.0, 0.0], [1.0, 0.0], [0.0, 17.0]])  # outside by 9 - 4, inside, 49 - 25
    loss = compact_loss(codes, torch.tensor([0, 0, 2]), centres)
    assert loss.item() == pytest.approx((5 + 0 + 24) / 2)


def test_radius_is_half_the_distance_to_the_nearest_other_centre():
    centres = torch.tensor([[0.0, 0.0], [4.0, 0.0], [0.0, 10.0]])
    assert sq_radii(centres).sqrt().tolist() == [2.0, 2.0, 5.0]


def test_one_centre_has_no_radius():
    with pytest.raises(ValueError, match=r"\(1, 3\); expected \(P, D\) with P >= 2"):
        sq_radii(torch.zeros(1, 3))


def test_losses_have_the_precision_of_the_codes(case):
    codes, labels, centres = (x.float() if x.is_floating_point() else x for x in case)
    for loss in (compact_loss, scatter_loss):
        assert loss(codes, labels, centres).dtype == torch.float32


def test_equal_centres_leave_a_radius_of_zero_and_no_less():
    centres = torch.randn(50, 1, 64, generator=torch.Generator().manual_seed(0)) * 30
    assert all((sq_radii(centre.repeat(2, 1)) == 0).all() for centre in centres)


def test_scatter_loss_sums_over_every_other_centre_but_the_own():
    centres = torch.tensor([[100.0, 0.0], [1.0, 0.0], [0.0, 2.0]])
    codes = torch.zeros(1, 2)
    assert scatter_loss(codes, torch.tensor([0]), centres).item() == pytest.approx((1 + 4) / 2)


def test_the_forms_of_the_scatter_loss_without_a_scale(case):
    codes, labels, centres = case
    unit = [x / x.norm(dim=1, keepdim=True) for x in (codes, centres)]
    given = codes, labels, centres
    assert scatter_loss(*given, "unit").item() == pytest.approx(
        slow_scatter(unit[0], labels, unit[1])
    )
    assert scatter_loss(*given, "log").item() == pytest.approx(math.log(slow_scatter(*given)))
    larger = 7 * codes, labels, 7 * centres
    assert scatter_loss(*larger, "unit").item() == pytest.approx(scatter_loss(*given, "unit"))
    assert scatter_loss(*larger).item() == pytest.approx(49 * scatter_loss(*given).item())

    def pull(scale, form):
        grown = (scale * codes).requires_grad_()
        loss = scatter_loss(grown, labels, scale * centres, form)
        return torch.autograd.grad(loss, grown)[0].norm().item()

    assert pull(7, "sum") == pytest.approx(7 * pull(1, "sum"))
    assert pull(7, "log") == pytest.approx(pull(1, "log") / 7)


@pytest.mark.parametrize("at", range(3))
@pytest.mark.parametrize("shape", [(4,), (1,), (2, 1)])
def test_total_loss_combines_scalars_alone(at, shape):
    terms = [torch.tensor(1.0)] * 3
    terms[at] = torch.ones(shape)
    with pytest.raises(ValueError) as error:
        total_loss(*terms)
    assert f"{('l_sr', 'l_cl', 'l_sl')[at]} has shape {shape}; expected a scalar" in str(error)


def test_total_loss_subtracts_the_scatter_loss():
    one, two, three = torch.tensor(1.0), torch.tensor(2.0), torch.tensor(3.0)
    assert total_loss(one, two, three, beta=0.5, gamma=0.1).item() == pytest.approx(1.7)


def test_classification_loss_is_the_divergence_of_posterior_from_label():
    logits = torch.tensor([[0.0, math.log(3.0)], [0.0, 0.0]])
    labels = torch.tensor([1, 0])
    expected = -math.log(0.75) - math.log(0.5)
    assert classification_loss(logits, labels).item() == pytest.approx(expected / 2)
    assert classification_loss(logits, labels, "sum").item() == pytest.approx(expected)


def test_label_smoothing_spreads_a_part_of_the_label_over_all_persons():
    logits, labels = torch.tensor([[2.0, 0.0, -1.0]]), torch.tensor([1])
    nats = -logits.log_softmax(1)[0]
    expected = 0.7 * nats[1] + 0.3 * nats.mean()
    assert classification_loss(logits, labels, smoothing=0.3).item() == pytest.approx(
        expected.item()
    )


def test_triplet_loss_of_four_points_on_a_line():
    codes = torch.tensor([[0.0], [1.0], [3.0], [3.5]])
    # anchors: 0.3+1-3 < 0, 0.3+1-2 < 0, 0.3+0.5-2 < 0, 0.3+0.5-2.5 < 0; with margin 2: 0, 1, 0.5, 0
    labels = torch.tensor([0, 0, 1, 1])
    assert batch_hard_triplet_loss(codes, labels).item() == 0
    assert batch_hard_triplet_loss(codes, labels, margin=2.0).item() == pytest.approx(1.5 / 4)


# --- slow loops and a peer as oracles ---


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("persons", [2, 3, 9])
def test_losses_equal_the_slow_loops(seed, persons):
    generator = torch.Generator().manual_seed(seed)
    codes = 3 * torch.randn(16, 6, dtype=torch.float64, generator=generator)
    centres = torch.randn(persons, 6, dtype=torch.float64, generator=generator)
    labels = torch.randint(persons, (16,), generator=generator)
    arguments = codes, labels, centres
    assert compact_loss(*arguments).item() == pytest.approx(slow_compact(*arguments), rel=1e-12)
    assert scatter_loss(*arguments).item() == pytest.approx(slow_scatter(*arguments), rel=1e-12)
    if labels.unique().numel() > 1:
        for distance in ("euclidean", "squared"):
            fast = batch_hard_triplet_loss(codes, labels, 0.3, distance).item()
            slow = slow_triplet(codes, labels, 0.3, square=distance == "squared")
            assert fast == pytest.approx(slow, rel=1e-12)


@pytest.mark.parametrize("normalise", [False, True])
@pytest.mark.parametrize("power", [1, 2])
def test_triplet_loss_and_gradient_equal_pytorch_metric_learning(normalise, power):
    generator = torch.Generator().manual_seed(3)
    ours = torch.randn(32, 16, generator=generator, dtype=torch.float64).requires_grad_()
    theirs = ours.detach().clone().requires_grad_()
    labels = torch.arange(8).repeat_interleave(4)
    distance = LpDistance(normalize_embeddings=normalise, power=power)
    peer = TripletMarginLoss(margin=0.3, distance=distance, reducer=MeanReducer())
    expected = peer(theirs, labels, BatchHardMiner(distance=distance)(theirs, labels))
    name = "squared" if power == 2 else "euclidean"
    found = batch_hard_triplet_loss(ours, labels, 0.3, name, normalise)
    assert found.item() == pytest.approx(expected.item(), rel=1e-9)
    found.backward()
    expected.backward()
    torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-6, atol=1e-9)


def test_scatter_gradient_is_pure_expansion(case):
    codes, labels, centres = case
    codes.requires_grad_()
    scatter_loss(codes, labels, centres).backward()
    others = torch.stack([centres.sum(0) - centres[p] for p in labels])
    torch.testing.assert_close(codes.grad, (len(centres) - 1) * codes.detach() - others)


# --- properties ---


@pytest.mark.parametrize("loss", GEOMETRIC)
def test_the_order_of_the_batch_and_the_names_of_persons_do_not_matter(case, loss):
    codes, labels, centres = case
    generator = torch.Generator().manual_seed(1)
    order, names = (torch.randperm(n, generator=generator) for n in (len(codes), len(centres)))
    renamed = torch.empty_like(centres)
    renamed[names] = centres
    expected = loss(codes, labels, centres)
    torch.testing.assert_close(loss(codes[order], labels[order], centres), expected)
    torch.testing.assert_close(loss(codes, names[labels], renamed), expected)


@pytest.mark.parametrize("loss", GEOMETRIC)
def test_only_the_geometry_counts(case, loss):
    codes, labels, centres = case
    generator = torch.Generator().manual_seed(2)
    rotation = torch.linalg.qr(torch.randn(5, 5, dtype=torch.float64, generator=generator))[0]
    shift = torch.randn(5, dtype=torch.float64, generator=generator)
    expected = loss(codes, labels, centres)
    torch.testing.assert_close(loss(codes @ rotation, labels, centres @ rotation), expected)
    torch.testing.assert_close(loss(codes + shift, labels, centres + shift), expected)
    torch.testing.assert_close(loss(3 * codes, labels, 3 * centres), 9 * expected)


@pytest.mark.parametrize("loss", GEOMETRIC)
def test_doubling_the_batch_doubles_a_sum(case, loss):
    codes, labels, centres = case
    doubled = loss(codes.repeat(2, 1), labels.repeat(2), centres)
    torch.testing.assert_close(doubled, 2 * loss(codes, labels, centres))


@pytest.mark.parametrize("loss", GEOMETRIC)
def test_gradients_are_right_with_and_without_a_gradient_through_the_centres(case, loss):
    codes, labels, centres = case
    codes.requires_grad_()
    assert torch.autograd.gradcheck(lambda c: loss(c, labels, centres), (codes,))
    centres.requires_grad_()
    assert torch.autograd.gradcheck(lambda c, m: loss(c, labels, m), (codes, centres))
    assert torch.autograd.gradcheck(
        lambda c: loss(c, labels, person_centres(c, labels, 4)), (codes,)
    )


def test_triplet_gradient_is_right(case):
    codes, labels, _ = case
    assert torch.autograd.gradcheck(
        lambda c: batch_hard_triplet_loss(c, labels, 2.0), (codes.requires_grad_(),)
    )


@pytest.mark.parametrize("distance", ["euclidean", "squared"])
def test_equal_codes_give_finite_gradients(distance):
    codes = torch.ones(4, 3, requires_grad=True)
    labels = torch.tensor([0, 0, 1, 1])
    centres = torch.ones(2, 3, requires_grad=True)
    loss = batch_hard_triplet_loss(codes, labels, 0.3, distance)
    assert loss.item() == pytest.approx(0.3)
    (loss + compact_loss(codes, labels, centres) + scatter_loss(codes, labels, centres)).backward()
    assert codes.grad.isfinite().all() and centres.grad.isfinite().all()


@pytest.mark.parametrize("loss, slow", [(compact_loss, slow_compact), (scatter_loss, slow_scatter)])
def test_codes_far_from_the_origin_do_not_cancel(loss, slow):
    generator = torch.Generator().manual_seed(4)
    labels = torch.arange(3).repeat(4)
    centres = 1000 + torch.randn(3, 8, generator=generator)
    codes = centres[labels] + torch.randn(12, 8, generator=generator)
    expected = slow(codes.double(), labels, centres.double())
    assert loss(codes, labels, centres).item() == pytest.approx(expected, rel=1e-4)


# --- bad input ---


@pytest.mark.parametrize("loss", GEOMETRIC)
def test_bad_input_is_refused_by_name(case, loss):
    codes, labels, centres = case
    with pytest.raises(ValueError, match=r"P >= 2"):
        loss(codes, labels * 0, centres[:1])
    with pytest.raises(ValueError, match=r"labels run from 0 to 3, but there are 3 centres"):
        loss(codes, labels, centres[:3])
    with pytest.raises(ValueError, match=r"labels \(11,\)"):
        loss(codes, labels[1:], centres)
    with pytest.raises(ValueError, match=r"\(P, 5\)"):
        loss(codes, labels, centres[:, :4])
    with pytest.raises(ValueError, match=r"empty"):
        loss(codes[:0], labels[:0], centres)


@pytest.mark.parametrize(
    "change, words",
    [
        (lambda c, y: (c.numpy(), y), "codes are ndarray; expected a torch tensor"),
        (lambda c, y: (c, y.tolist()), "labels are list; expected a torch tensor"),
        (lambda c, y: (c.int(), y), r"codes are torch.int32.*codes\.float\(\)"),
        (lambda c, y: (c, y.float()), r"labels are torch.float32.*labels\.long\(\)"),
        (lambda c, y: (c, y + 1), r"labels run from 1 to 4.*expected 0 to 3.*from 0"),
    ],
)
def test_input_of_another_type_is_refused_with_the_way_out(case, change, words):
    codes, labels, centres = case
    codes, labels = change(codes, labels)
    for loss in (compact_loss, scatter_loss):
        with pytest.raises(ValueError, match=words):
            loss(codes, labels, centres)
    with pytest.raises(ValueError, match=words):
        person_centres(codes, labels, 4)


def test_bad_triplets_weights_and_options_are_refused_by_name(case):
    codes, labels, _ = case
    with pytest.raises(ValueError, match="one person"):
        batch_hard_triplet_loss(codes, labels * 0)
    with pytest.raises(ValueError, match="none of the 12 codes"):
        batch_hard_triplet_loss(codes, torch.arange(12))
    with pytest.raises(ValueError, match="'cosine'"):
        batch_hard_triplet_loss(codes, labels, distance="cosine")
    with pytest.raises(ValueError, match="'none'"):
        classification_loss(codes, labels, reduction="none")
    with pytest.raises(ValueError, match="beta is -1"):
        total_loss(codes.sum(), codes.sum(), codes.sum(), beta=-1, gamma=0)


@pytest.mark.parametrize("loss", GEOMETRIC)
@pytest.mark.parametrize("unknown", [[2], [0, 3], [0, 1, 2], [0, 1, 2, 3]])
def test_a_person_without_a_centre_takes_part_in_no_sum(loss, unknown, case):
    codes, labels, centres = case
    known = torch.ones(4, dtype=torch.bool)
    known[unknown] = False
    chosen = known[labels]
    place = known.cumsum(0) - 1
    with_gap = centres.clone()
    with_gap[unknown] = torch.nan
    gradients = []
    for given in (codes.clone().requires_grad_(), codes.clone().requires_grad_()):
        if not gradients:
            value = loss(given, labels, with_gap)
        elif known.sum() < 2:  # no other centre: no radius and nothing to be far from
            value = given.sum() * 0
        else:
            value = loss(given[chosen], place[labels[chosen]], centres[known])
        value.backward()
        gradients.append((value.detach(), given.grad))
    torch.testing.assert_close(*gradients, rtol=1e-12, atol=1e-12)
    assert gradients[0][1].isfinite().all()


@pytest.mark.parametrize("loss", GEOMETRIC)
def test_single_precision_holds_far_from_the_origin(loss, case):
    codes, labels, centres = case
    expected = loss(codes, labels, centres)
    far = loss(codes.float() + 1000, labels, centres.float() + 1000)
    assert far.item() == pytest.approx(expected.item(), rel=1e-3)
    near_twins = centres.clone()
    near_twins[1] = centres[0] + 1e-3  # products of single precision would call them equal
    expected = loss(codes, labels, near_twins)
    found = loss(codes.float(), labels, near_twins.float())
    assert found.item() == pytest.approx(expected.item(), rel=1e-5)


@pytest.mark.parametrize("smoothing", [-0.1, 1.0])
def test_a_share_of_the_label_outside_its_range_is_refused(smoothing):
    with pytest.raises(ValueError, match=f"smoothing is {smoothing}"):
        classification_loss(torch.zeros(2, 3), torch.tensor([0, 1]), smoothing=smoothing)


def test_labels_below_zero_and_logits_of_another_shape_are_refused(case):
    codes, labels, centres = case
    for loss in (compact_loss, scatter_loss):
        with pytest.raises(ValueError, match=r"labels run from -1 to 2, but there are 4 centres"):
            loss(codes, labels - 1, centres)
    with pytest.raises(ValueError, match=r"labels run from -1 to 2, but there are 5 classes"):
        classification_loss(codes, labels - 1)
    with pytest.raises(ValueError, match=r"logits have shape \(5,\).*expected \(B, P\) and \(B,\)"):
        classification_loss(codes[0], labels)
    with pytest.raises(ValueError, match=r"codes have shape \(5,\).*expected \(B, D\) and \(B,\)"):
        compact_loss(codes[0], labels, centres)
    with pytest.raises(ValueError, match=r"expected \(P, D\) with P >= 2"):
        sq_radii(centres[0])


def test_the_weights_of_eq_4_are_the_papers_unless_given_and_may_be_zero():
    terms = torch.tensor(1.0), torch.tensor(2e4), torch.tensor(3e5)
    assert total_loss(*terms).item() == pytest.approx(1 + 5e-5 * 2e4 - 1e-6 * 3e5)
    assert total_loss(*terms, beta=0, gamma=0).item() == 1
    assert total_loss(terms[0]).item() == 1
    with pytest.raises(ValueError, match="gamma is -1"):
        total_loss(*terms, gamma=-1)


def test_the_scatter_loss_refuses_an_unknown_form(case):
    with pytest.raises(ValueError, match="form is 'square'; expected 'sum', 'log' or 'unit'"):
        scatter_loss(*case, "square")


def test_the_triplet_loss_of_equal_codes_compares_no_other_person():
    codes = torch.tensor([[5.0], [5.1], [0.0], [0.0]])
    labels = torch.tensor([0, 0, 1, 1])
    assert batch_hard_triplet_loss(codes, labels).item() == 0


def test_an_anchor_without_a_second_image_is_left_out_of_the_mean():
    codes = torch.tensor([[0.0], [1.0], [0.9]])
    # Anchor 0: 0.3 + 1 - 0.9; anchor 1: 0.3 + 1 - 0.1; anchor 2 forms no triplet.
    loss = batch_hard_triplet_loss(codes, torch.tensor([0, 0, 1]))
    assert loss.item() == pytest.approx(0.8)


def test_the_triplet_loss_refuses_labels_of_another_length_or_type(case):
    codes, labels, _ = case
    with pytest.raises(ValueError, match=r"labels \(11,\)"):
        batch_hard_triplet_loss(codes, labels[1:])
    with pytest.raises(ValueError, match=r"labels are torch.float32"):
        batch_hard_triplet_loss(codes, labels.float())
