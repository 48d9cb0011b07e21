"""The losses of section 2: values worked by hand, slow loops, a peer, gradients, bad input."""

import itertools
import math
import sys

import pytest
import torch
from pytorch_metric_learning.distances import LpDistance
from pytorch_metric_learning.losses import ArcFaceLoss, CircleLoss, ContrastiveLoss
from torch.nn import functional

from reid_lib import related
from reid_lib.aligned import aligned_distance, aligned_loss, shortest_path
from reid_lib.cli import EXTRAS
from reid_lib.config import SETTINGS, TERMS, RunConfig
from reid_lib.losses import batch_hard_triplet_loss, hardest_pairs
from reid_lib.related import (
    LearnedCentres,
    centre_loss,
    contrastive_loss,
    improved_triplet_loss,
    learned_module,
    msml_loss,
    quadruplet_loss,
    related_loss,
    triplet_all_loss,
)

RIVALS = [setting for setting in SETTINGS if "rel" in TERMS[setting]]
LINE, LABELS = torch.tensor([[0.0], [1.0], [3.0], [3.5]]), torch.tensor([0, 0, 1, 2])


def drawn(seed=0, persons=4, images=12, width=6):
    """Codes in float64, some persons more often than others, nobody missing."""
    generator = torch.Generator().manual_seed(seed)
    codes = torch.randn(images, width, dtype=torch.float64, generator=generator)
    more = torch.randint(persons, (images - persons - 1,), generator=generator)
    labels = torch.cat([torch.arange(persons), torch.tensor([0]), more])
    return codes, labels[torch.randperm(images, generator=generator)]


def distances(codes, square):
    rows = codes.tolist()
    return [[math.dist(a, b) ** (2 if square else 1) for b in rows] for a in rows]


def triplets(labels):
    for a, p, n in itertools.product(range(len(labels)), repeat=3):
        if a != p and labels[a] == labels[p] != labels[n]:
            yield a, p, n


def mean(values):
    values = list(values)
    return sum(values) / max(len(values), 1)


# --- slow loops ---


def slow_contrastive(codes, labels, margin):
    d = distances(codes, square=False)
    total = []
    for i, j in itertools.combinations(range(len(labels)), 2):
        same = labels[i] == labels[j]
        total.append(d[i][j] ** 2 / 2 if same else max(0, margin - d[i][j]) ** 2 / 2)
    return mean(total)


def slow_triplet_all(codes, labels, margin, square):
    d = distances(codes, square)
    losses = [d[a][p] - d[a][n] + margin for a, p, n in triplets(labels)]
    return mean(x for x in losses if x > 0)


def slow_improved(codes, labels, margin, bound, weight, square):
    d = distances(codes, square)
    first = mean(max(0, d[a][p] - d[a][n] + margin) for a, p, n in triplets(labels))
    pairs = itertools.permutations(range(len(labels)), 2)
    own = [d[a][p] for a, p in pairs if labels[a] == labels[p]]
    return first + weight * mean(max(0, x - bound) for x in own)


def slow_quadruplet(codes, labels, margin, second, adaptive, square):
    d, persons = distances(codes, square), labels.tolist()
    pairs = list(itertools.combinations(range(len(persons)), 2))
    own = [(i, j) for i, j in pairs if persons[i] == persons[j]]
    other = [(i, j) for i, j in pairs if persons[i] != persons[j]]
    if adaptive:
        gap = mean(d[i][j] for i, j in other) - mean(d[i][j] for i, j in own)
        margin, second = margin * gap, second * gap
    first = mean(max(0, d[a][p] - d[a][n] + margin) for a, p, n in triplets(labels))
    return first + mean(
        max(0, d[a][p] - d[k][m] + second)
        for (a, p), (k, m) in itertools.product(own, other)
        if persons[a] not in (persons[k], persons[m])
    )


def slow_msml(codes, labels, margin, square):
    d = distances(codes, square)
    pairs = list(itertools.combinations(range(len(labels)), 2))
    far = max(d[i][j] for i, j in pairs if labels[i] == labels[j])
    near = min(d[i][j] for i, j in pairs if labels[i] != labels[j])
    return max(0, margin + far - near)


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("persons", [2, 3, 5])
def test_losses_equal_the_slow_loops(seed, persons):
    codes, labels = drawn(seed, persons)
    near = pytest.approx

    assert contrastive_loss(codes, labels, 2.0).item() == near(slow_contrastive(codes, labels, 2.0))
    for distance in ("euclidean", "squared"):
        square = distance == "squared"
        given = codes, labels, 0.7
        found = triplet_all_loss(*given, distance).item()
        assert found == near(slow_triplet_all(*given, square), rel=1e-6)
        found = improved_triplet_loss(*given, 2.5, 0.3, distance).item()
        assert found == near(slow_improved(*given, 2.5, 0.3, square))
        for adaptive in (False, True):
            found = quadruplet_loss(*given, 0.4, adaptive, distance).item()
            assert found == near(slow_quadruplet(*given, 0.4, adaptive, square))
        assert msml_loss(*given, distance).item() == near(slow_msml(*given, square))


def slow_path(cost):
    """The cheapest of all ways right or down, tried one by one."""
    rows, columns = len(cost), len(cost[0])
    ways = []
    for downs in itertools.combinations(range(rows + columns - 2), rows - 1):
        i = j = 0
        total = cost[0][0]
        for step in range(rows + columns - 2):
            i, j = (i + 1, j) if step in downs else (i, j + 1)
            total += cost[i][j]
        ways.append(total)
    return min(ways)


@pytest.mark.parametrize("shape", [(1, 1), (1, 4), (4, 1), (2, 2), (3, 5), (4, 4)])
def test_the_shortest_path_is_the_cheapest_of_all_ways(shape):
    cost = torch.rand(3, 2, *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    found = shortest_path(cost)
    assert found.shape == (3, 2)
    for i, j in itertools.product(range(3), range(2)):
        assert found[i, j].item() == pytest.approx(slow_path(cost[i, j].tolist()))


def test_the_aligned_loss_compares_stripes_of_the_globally_hardest_images():
    codes, labels = drawn(3, persons=3, images=9, width=5 * 4)
    local = codes.view(9, 5, 4)
    whole = [sum(code[:, s] for s in range(4)) / 4 for code in local]

    def slow_distance(a, b):
        unit = [[x[:, s] / x[:, s].norm() for s in range(4)] for x in (a, b)]
        d = [[(u - v).norm().item() for v in unit[1]] for u in unit[0]]
        return slow_path([[(math.exp(x) - 1) / (math.exp(x) + 1) for x in row] for row in d])

    first, second = [], []
    for a in range(9):
        own = [b for b in range(9) if b != a and labels[a] == labels[b]]
        others = [b for b in range(9) if labels[a] != labels[b]]
        if own:
            d = [(whole[a] - code).norm().item() for code in whole]
            p, n = max(own, key=d.__getitem__), min(others, key=d.__getitem__)
            first.append(max(0, 0.3 + d[p] - d[n]))
            near, far = (slow_distance(local[a], local[b]) for b in (p, n))
            second.append(max(0, 0.3 + near - far))
    wanted = mean(first) + mean(second)
    assert aligned_loss(codes, labels, 4).item() == pytest.approx(wanted)
    assert mean(second) > 0


def test_a_body_one_stripe_lower_costs_no_more_than_the_same_body():
    body = torch.eye(4, dtype=torch.float64)[None]
    lower = body[:, :, [0, 0, 1, 2]]
    step = math.tanh(math.sqrt(2) / 2)  # between unequal stripes; a path cannot avoid three
    for other, wanted in ((body, 3 * step), (lower, 3 * step), (body.flip(2), 6 * step)):
        assert aligned_distance(body, other).item() == pytest.approx(wanted)
        assert aligned_distance(other, body).item() == pytest.approx(wanted)


# --- values worked by hand ---


def test_values_of_four_points_on_a_line():
    # distances: 0-1 1 (one person); 0-2 3, 0-3 3.5, 1-2 2, 1-3 2.5, 2-3 0.5
    assert contrastive_loss(LINE, LABELS).item() == pytest.approx((1 / 2 + 0.5**2 / 2) / 6)
    # squared: 1 - 9, 1 - 12.25, 1 - 4, 1 - 6.25, all below -1: no triplet violates the margin 1
    assert triplet_all_loss(LINE, LABELS).item() == 0
    assert triplet_all_loss(LINE, LABELS, 4.0).item() == pytest.approx(1.0)  # 4 + 1 - 4 alone
    assert improved_triplet_loss(LINE, LABELS).item() == pytest.approx(0.002 * 0.99)
    assert improved_triplet_loss(LINE, LABELS, 4.0, 2.0).item() == pytest.approx(1 / 4)
    assert quadruplet_loss(LINE, LABELS).item() == pytest.approx(1 - 0.25 + 0.5)
    # mean between (9 + 12.25 + 4 + 6.25 + 0.25) / 5 = 6.35, within 1: the gap is 5.35
    second = 1 - 0.25 + 0.5 * 5.35
    first = (0 + 0 + (5.35 + 1 - 4) + (5.35 + 1 - 6.25)) / 4
    assert quadruplet_loss(LINE, LABELS, adaptive=True).item() == pytest.approx(first + second)
    assert msml_loss(LINE, LABELS).item() == pytest.approx(0.6 + 1 - 0.5)
    assert msml_loss(LINE, LABELS, -1.0).item() == 0
    centres = torch.tensor([[0.0], [1.0], [3.5]])
    assert centre_loss(LINE, LABELS, centres).item() == pytest.approx((0 + 1 + 4 + 0) / 4)


def test_with_two_persons_there_is_no_quadruplet():
    labels = torch.tensor([0, 0, 1, 1])
    assert quadruplet_loss(LINE, labels, 0.0, 9.0).item() == 0


def test_at_most_four_codes_have_a_gradient_of_msml():
    codes, labels = drawn(2)
    (gradient,) = torch.autograd.grad(msml_loss(codes.requires_grad_(), labels, 9.0), codes)
    assert 3 <= (gradient.abs().sum(1) > 0).sum() <= 4


def test_the_second_term_draws_a_person_together_where_the_triplet_loss_rests():
    codes = LINE.clone().requires_grad_()
    (rest,) = torch.autograd.grad(improved_triplet_loss(codes, LABELS, weight=0.0), codes)
    (drawn_in,) = torch.autograd.grad(improved_triplet_loss(codes, LABELS), codes)
    assert not rest.any()
    assert drawn_in[0] < 0 < drawn_in[1]


def test_an_adaptive_margin_has_no_gradient_of_its_own():
    codes, labels = drawn(4)
    codes.requires_grad_()
    d = related._distances(codes, "squared").detach()
    own, other = related._pairs(codes, labels)
    gap = (d[other].mean() - d[own].mean()).item()
    pair = [
        torch.autograd.grad(quadruplet_loss(codes, labels, *given), codes)[0]
        for given in ((1.0, 0.5, True), (gap, 0.5 * gap, False))
    ]
    assert torch.allclose(*pair)


# --- learned parts ---


def test_learned_centres_take_a_step_of_gradient_descent_whatever_the_weight():
    torch.manual_seed(0)
    learned = LearnedCentres(3, 2)
    before = learned.centres.clone().requires_grad_()
    codes, labels = torch.randn(5, 2, requires_grad=True), torch.tensor([0, 0, 2, 2, 2])
    loss = 7 * learned(codes, labels)
    (step,) = torch.autograd.grad(centre_loss(codes.detach(), labels, before), before)
    assert torch.allclose(learned.centres, before - 0.5 * step, atol=1e-6)
    assert torch.equal(learned.centres[1], before[1])
    (gradient,) = torch.autograd.grad(loss, codes)  # of the centres before the step
    assert torch.allclose(gradient, 7 * 2 * (codes - before[labels]) / 5, atol=1e-6)


def test_each_setting_has_the_learned_part_that_its_loss_has():
    for setting in SETTINGS:
        learned = learned_module(RunConfig(row="r", setting=setting), 5, 3)
        names = [name for name, _ in learned.state_dict().items()] if learned else []
        assert names == {"xent_htri_centre": ["centres"], "arcface": ["W"]}.get(setting, [])


# --- what training calls ---


def config(setting, **values):
    return RunConfig(row="r", setting=setting, **values)


def called(chosen, codes, labels):
    torch.manual_seed(5)
    learned = learned_module(chosen, 4, codes.shape[1])
    if learned is not None:
        learned.to(codes.dtype)
    return related_loss(chosen, codes, labels, learned)


def test_the_one_call_has_the_constants_of_the_sources():
    codes, labels = drawn(6, width=8)
    unit = functional.normalize(codes, dim=1)
    torch.manual_seed(5)
    centres = torch.randn(4, 8).double()
    torch.manual_seed(5)
    arcface = ArcFaceLoss(4, 8, margin=28.6, scale=64)
    wanted = {
        "contrastive": contrastive_loss(unit, labels, 1.0),
        "triplet_all": triplet_all_loss(unit, labels, 1.0, "squared"),
        "triplet_improved": improved_triplet_loss(unit, labels, 1.0, 0.01, 0.002, "squared"),
        "quadruplet": quadruplet_loss(unit, labels, 1.0, 0.5, False, "squared"),
        "msml": msml_loss(unit, labels, 0.6, "euclidean"),
        "xent_htri_centre": 5e-4 * centre_loss(codes, labels, centres),
        "aligned": aligned_loss(codes, labels, 8, 0.3),
        "circle": CircleLoss(m=0.4, gamma=80)(codes, labels),
        "arcface": arcface(codes, labels),
    }
    assert list(wanted) == RIVALS
    for setting, value in wanted.items():
        assert called(config(setting), codes, labels).item() == pytest.approx(value.item()), setting
    with pytest.raises(ValueError, match=r"setting set1 has no loss in reid_lib\.related"):
        related_loss(config("set1"), codes, labels)


def test_the_peers_contrastive_loss_is_ours_without_the_squares():
    codes, labels = drawn(7)
    pair = ContrastiveLoss(
        pos_margin=0, neg_margin=2, distance=LpDistance(normalize_embeddings=False)
    )
    d = related._distances(codes)
    own, other = related._pairs(codes, labels)
    apart = (2 - d[other]).clamp(min=0)
    wanted = d[own].mean() + apart[apart > 0].mean()
    assert pair(codes, labels).item() == pytest.approx(wanted.item())


@pytest.mark.parametrize("setting", RIVALS)
def test_gradients_are_right_and_images_may_come_in_any_order(setting):
    codes, labels = drawn(8, persons=4, images=9, width=16)
    codes, chosen = 0.5 * codes, config(setting)

    def loss(x):
        return called(chosen, x, labels)

    if setting != "circle":  # whose weights count as constants, in the paper and in the library
        assert torch.autograd.gradcheck(loss, codes.clone().requires_grad_())
    order = torch.randperm(9, generator=torch.Generator().manual_seed(0))
    found = called(chosen, codes[order], labels[order])
    assert found.item() == pytest.approx(loss(codes).item())
    if setting not in ("xent_htri_centre", "arcface"):  # these know persons by their numbers
        assert called(chosen, codes, 3 - labels).item() == pytest.approx(loss(codes).item())


@pytest.mark.parametrize("setting", RIVALS)
def test_equal_codes_have_a_finite_gradient(setting):
    codes = torch.ones(6, 8, requires_grad=True)
    loss = called(config(setting), codes, torch.tensor([0, 0, 1, 1, 2, 2]))
    loss.backward()
    assert loss.isfinite() and codes.grad.isfinite().all()


@pytest.mark.parametrize("change", [1.0, -3.0])
def test_distances_do_not_depend_on_where_the_codes_lie(change):
    codes, labels = drawn(9)
    for loss in (contrastive_loss, improved_triplet_loss, quadruplet_loss, msml_loss):
        assert loss(codes + change, labels).item() == pytest.approx(loss(codes, labels).item())


# --- bad input ---


@pytest.mark.parametrize(
    "loss", [contrastive_loss, improved_triplet_loss, quadruplet_loss, msml_loss, triplet_all_loss]
)
@pytest.mark.parametrize(
    "codes, labels, message",
    [
        (torch.zeros(3, 2), torch.tensor([0, 1]), r"expected \(B, D\) and \(B,\)"),
        (torch.zeros(3, 2), torch.tensor([4, 4, 4]), "codes are of 1 persons; expected two"),
        (torch.zeros(3, 2), torch.tensor([0, 1, 2]), "codes are of 3 persons; .*at least twice"),
        (torch.zeros(2, 2), torch.tensor([0.0, 0.0]), "labels are torch.float32"),
        (torch.zeros(2, 2, dtype=int), torch.tensor([0, 0]), "codes are torch.int64"),
    ],
)
def test_bad_batches_are_refused_by_name(loss, codes, labels, message):
    with pytest.raises(ValueError, match=message):
        loss(codes, labels)


def test_other_bad_input_is_refused_by_name():
    codes, labels = drawn()
    for loss in (improved_triplet_loss, quadruplet_loss, msml_loss, triplet_all_loss):
        with pytest.raises(ValueError, match="distance is 'cosine'; expected 'euclidean' or"):
            loss(codes, labels, distance="cosine")
    with pytest.raises(ValueError, match="there are 2 centres"):
        centre_loss(codes, labels, torch.zeros(2, 6))
    with pytest.raises(ValueError, match="are of one person"):
        aligned_loss(codes, torch.zeros(12, dtype=int), 2)


@pytest.mark.parametrize("setting", ["triplet_all", "circle", "arcface"])
def test_without_the_library_a_setting_that_needs_it_says_so_before_training(setting, monkeypatch):
    monkeypatch.setitem(sys.modules, "pytorch_metric_learning.losses", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'reid_lib\[notebooks\]'") as error:
        learned_module(config(setting), 3, 2)
    assert error.value.name in EXTRAS  # the command says it in one sentence
    assert learned_module(config("msml"), 3, 2) is None


def test_the_hardest_pairs_are_those_of_the_batch_hard_loss():
    codes, labels = drawn(1)
    same, other, anchors = hardest_pairs(codes, labels)
    d = related._distances(codes)
    rows = torch.arange(12)
    value = functional.relu(0.3 + d[rows, same] - d[rows, other])[anchors].mean()
    assert batch_hard_triplet_loss(codes, labels).item() == pytest.approx(value.item())
