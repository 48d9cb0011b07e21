"""`train_step` against a slow step written from the paper's text, option by option.

The slow step loops over persons and images in float64 and shares nothing with the package but the
weights at the start. Three steps are compared: every value that a step returns, all weights.
"""

import copy
import functools
import itertools

import pandas as pd
import pytest
import torch
from torch import nn

from reid_lib import augment, model, training
from reid_lib.batches import batches
from reid_lib.config import SETTINGS, TERMS, RunConfig
from reid_lib.training import Data, start, train_epoch, train_step

PERSONS, VIEWS, WIDTH = 4, 4, 5
LABELS = torch.arange(PERSONS).repeat_interleave(VIEWS)
# Each batch lacks a person, and person 1 or 3 has one image less than the others.
BATCHES = [[0, 1, 2, 4, 5, 8, 9, 10], [4, 5, 6, 8, 9, 11, 12, 13], [0, 3, 2, 4, 7, 6, 13, 15]]


class Tiny(nn.Module):
    """Images of 8 x 4 pixels to codes; in training mode a tenth longer, as if by dropout."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, WIDTH, 3, bias=False)
        self.pool = nn.AdaptiveAvgPool2d(1)

    def forward(self, images):
        codes = self.pool(torch.tanh(self.conv(images))).flatten(1)
        return 4 * codes * (1.1 if self.training else 1.0)


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    monkeypatch.setattr(model, "_headless", lambda backbone: Tiny())


@functools.cache
def pixels():
    """Four views of each of four persons, who differ in brightness as the views do."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(80, (16, 3, 8, 4), generator=generator)
    images += torch.randint(100, (16, 1, 1, 1), generator=generator)
    return (images + 20 * LABELS[:, None, None, None]).byte()


def data(pixels):
    frame = pd.DataFrame({"pid": LABELS.numpy()})
    return Data(pixels, torch.arange(16), torch.arange(16), LABELS, frame, frame)


# --- the slow step ---


def mean(codes):
    return sum(codes) / len(codes)


def sq(a, b):
    return sum((x - y) ** 2 for x, y in zip(a, b, strict=True))


def slow_classification(config, logits, persons):
    """Eq. 1; the label is smoothed over all persons."""
    share = config.label_smoothing
    total = 0
    for row, person in zip(logits, persons, strict=True):
        posterior = row.exp() / row.exp().sum()
        for j in range(PERSONS):
            label = (1 - share) * (j == person) + share / PERSONS
            total = total - label * posterior[j].log()
    return total / len(persons) if config.sr_reduction == "mean" else total


def slow_radius(centres, p):
    """Half the distance from a centre to the nearest other centre, squared; None if none."""
    others = [sq(centres[p], centres[j]) for j in centres if j != p]
    return min(others) / 4 if others else None


def slow_compact(codes, persons, centres):
    """Eq. 2."""
    total = codes.sum() * 0
    for code, p in zip(codes, persons, strict=True):
        if p in centres and slow_radius(centres, p) is not None:
            outside = sq(code, centres[p]) - slow_radius(centres, p)
            total = total + max(outside, outside * 0)
    return total / 2


def slow_scatter(config, codes, persons, centres):
    """Eq. 3 and its two variants."""
    if config.scatter == "unit":
        codes = [code / code.norm() for code in codes]
        centres = {p: centre / centre.norm() for p, centre in centres.items()}
    total = codes[0].sum() * 0
    for code, p in zip(codes, persons, strict=True):
        if p in centres:
            for j in centres:
                if j != p:
                    total = total + sq(code, centres[j])
    return (total / 2).log() if config.scatter == "log" else total / 2


def slow_triplet(config, codes, persons):
    """Hermans et al. 2017: hardest positive, hardest negative, per anchor."""
    if config.triplet_normalise:
        codes = [code / code.norm() for code in codes]
    losses = []
    for a, p in enumerate(persons):
        positive, negative = [], []
        for b, other in enumerate(persons):
            if a != b:
                square = sq(codes[a], codes[b])
                dist = square if config.triplet_distance == "squared" else square.sqrt()
                (positive if other == p else negative).append(dist)
        if positive:
            value = config.margin + max(positive) - min(negative)
            losses.append(max(value, value * 0))
    return mean(losses)


def slow_related(config, codes, persons, learned):
    """The losses of section 2, each from its formula."""
    setting, margin, second = config.setting, config.margin, config.second_margin
    if setting == "xent_htri_centre":
        terms = [sq(code, learned[p]) for code, p in zip(codes, persons, strict=True)]
        for p in set(persons):
            own = [c.detach() for c, q in zip(codes, persons, strict=True) if q == p]
            learned[p] = learned[p] + 0.5 * 2 * sum(c - learned[p] for c in own) / len(codes)
        return config.second_weight * mean(terms)
    if setting == "aligned":
        return slow_aligned(config, codes, persons)
    if setting in ("circle", "arcface") or config.triplet_normalise:
        codes = [code / code.norm() for code in codes]
    if setting == "arcface":
        terms = []
        for code, p in zip(codes, persons, strict=True):
            cosines = code @ learned / learned.norm(dim=0)
            turned = (cosines[p].acos() + torch.tensor(margin).deg2rad()).cos()
            scores = [turned if j == p else cosines[j] for j in range(PERSONS)]
            terms.append(-(config.scale * torch.stack(scores)).log_softmax(0)[p])
        return mean(terms)
    if setting == "circle":
        return slow_circle(config, codes, persons)
    root = config.triplet_distance == "euclidean"
    images = range(len(codes))
    d = {(i, j): sq(codes[i], codes[j]) for i in images for j in images if i != j}
    d = {pair: square.sqrt() if root else square for pair, square in d.items()}
    own = {pair for pair in d if persons[pair[0]] == persons[pair[1]]}
    other = d.keys() - own
    if setting == "contrastive":
        return mean(
            [d[x] ** 2 / 2 if x in own else (margin - d[x]).clamp(min=0) ** 2 / 2 for x in d]
        )
    if setting == "msml":
        return (margin + max(d[x] for x in own) - min(d[x] for x in other)).clamp(min=0)
    if config.adaptive_margin:
        gap = (mean([d[x] for x in other]) - mean([d[x] for x in own])).item()
        margin, second = margin * gap, second * gap
    threes = [d[a, p] - d[b, n] + margin for a, p in own for b, n in other if a == b]
    threes = [value.clamp(min=0) for value in threes]
    if setting == "triplet_all":
        return mean([value for value in threes if value > 0])
    if setting == "triplet_improved":
        bound = mean([(d[x] - second).clamp(min=0) for x in own])
        return mean(threes) + config.second_weight * bound
    fours = [
        (d[a, p] - d[m, n] + second).clamp(min=0)
        for a, p in own
        for m, n in other
        if persons[a] not in (persons[m], persons[n])
    ]
    return mean(threes) + mean(fours)


def slow_circle(config, codes, persons):
    """Sun et al. 2020: a code's similarities weigh more the farther they are from their optimum."""
    terms = []
    for a, p in enumerate(persons):
        within, between = [], []
        for b, q in enumerate(persons):
            s = codes[a] @ codes[b]
            weight = 1 + config.margin - s.item() if p == q else s.item() + config.margin
            if p == q and a != b:
                within.append(-config.scale * max(weight, 0) * (s - 1 + config.margin))
            elif p != q:
                between.append(config.scale * max(weight, 0) * (s - config.margin))
        if within:
            both = torch.stack(within).logsumexp(0) + torch.stack(between).logsumexp(0)
            terms.append(nn.functional.softplus(both))
    return mean([term for term in terms if term > 0])


def slow_aligned(config, codes, persons):
    """Zhang et al. 2018: the hardest images by the mean of the stripes, then stripe by stripe."""
    bodies = [code.view(-1, config.stripes).T for code in codes]
    whole = [mean(list(body)) for body in bodies]

    def aligned(one, two):
        units = [[stripe / stripe.norm() for stripe in body] for body in (one, two)]
        way = {}
        for i, u in enumerate(units[0]):
            for j, v in enumerate(units[1]):
                before = [way[x] for x in ((i - 1, j), (i, j - 1)) if x in way]
                grown = sq(u, v).sqrt().exp() if i != j or sq(u, v) > 0 else u.new_ones(())
                way[i, j] = (grown - 1) / (grown + 1) + (min(before) if before else 0)
        return way[config.stripes - 1, config.stripes - 1]

    terms = []
    for a, p in enumerate(persons):
        dist = [sq(whole[a], code) for code in whole]
        own = [b for b, q in enumerate(persons) if q == p and a != b]
        if own:
            far = max(own, key=lambda b: dist[b])
            near = min((b for b, q in enumerate(persons) if q != p), key=lambda b: dist[b])
            first = config.margin + dist[far].sqrt() - dist[near].sqrt()
            pair = (aligned(bodies[a], bodies[b]) for b in (far, near))
            second = config.margin + next(pair) - next(pair)
            terms.append(first.clamp(min=0) + second.clamp(min=0))
    return mean(terms)


class SlowStep:
    """Weights, Adam and the memory of each image's latest code, as the paper's text needs them."""

    def __init__(self, config, net, pixels):
        self.config, self.net = config, copy.deepcopy(net).double().train()
        scaled = pixels.double() / 255
        mean_std = (torch.tensor(x).double() for x in (augment.IMAGENET_MEAN, augment.IMAGENET_STD))
        means, stds = (x[:, None, None] for x in mean_std)
        self.images = (scaled - means) / stds
        self.memory = {}  # image -> code
        if config.memory_start == "encoded" and config.centres == "memory":
            self.memory = self.encoded()
        zeros = {name: torch.zeros_like(w) for name, w in self.net.named_parameters()}
        self.first, self.second, self.steps = zeros, dict(zeros), 0

    def encoded(self):
        """All training images in evaluation mode, without augmentation."""
        backbone = copy.deepcopy(self.net.backbone).eval()
        return dict(enumerate(backbone(self.images).detach()))

    def start_epoch(self):
        if self.config.centres == "memory" and self.config.memory_update == "epoch":
            self.memory = self.encoded()

    def centres(self, batch, codes):
        """Person -> centre, of the persons who take part in the sums."""
        config, batch_codes = self.config, dict(zip(batch, codes.detach(), strict=True))
        if config.centres == "batch":
            views = dict(zip(batch, codes, strict=True)) if config.centres_gradient else batch_codes
        elif config.centres == "all":
            views = self.encoded()
        else:
            if config.memory_update == "before":
                self.memory.update(batch_codes)
            views = dict(self.memory)
            if config.memory_update == "after":
                self.memory.update(batch_codes)
        centres = {}
        for p in range(PERSONS):
            own = [code for image, code in views.items() if LABELS[image] == p]
            in_batch = any(LABELS[image] == p for image in batch)
            if own and (in_batch or config.persons_in_sums == "all"):
                centres[p] = mean(own)
        return centres

    def losses(self, batch):
        """codes, logits, and each term with its sign and weight."""
        config, persons = self.config, [int(LABELS[image]) for image in batch]
        codes = self.net.backbone(self.images[batch])
        fed = codes
        if config.setting == "aligned":  # the classifier sees the mean over the stripes alone
            fed = codes.view(len(batch), -1, config.stripes).mean(2)
        if config.neck == "batchnorm":
            variance = fed.var(0, unbiased=False)
            neck = self.net.neck
            fed = (fed - fed.mean(0)) / (variance + neck.eps).sqrt() * neck.weight + neck.bias
        logits = fed @ self.net.classifier.weight.T + self.net.classifier.bias
        terms = {}
        softmax = ("xent_htri", "xent_htri_centre", "aligned", "set1", "set2", "set3")
        if config.setting in softmax:
            terms["sr"] = slow_classification(config, logits, persons), 1
        if config.setting in ("htri", "xent_htri", "xent_htri_centre", "htri_cl"):
            terms["tri"] = slow_triplet(config, codes, persons), 1
        if config.setting in ("htri_cl", "set2", "set3"):
            centres = self.centres(batch, codes)
            terms["cl"] = slow_compact(codes, persons, centres), config.beta
        if config.setting == "set3":
            terms["sl"] = slow_scatter(config, codes, persons, centres), -config.gamma
        if config.setting in RIVALS:
            learned = {"arcface": "W", "xent_htri_centre": "centres"}.get(config.setting)
            learned = getattr(self.net.learned, learned) if learned else None
            terms["rel"] = slow_related(config, codes, persons, learned), 1
        return codes, logits, terms

    def __call__(self, batch):
        codes, logits, terms = self.losses(batch)
        loss = sum(weight * term for term, weight in terms.values())  # Eq. 4
        values = {"loss": loss.item(), "code_norm": mean([c.norm().item() for c in codes])}
        for name, (term, weight) in terms.items():
            (gradient,) = torch.autograd.grad(weight * term, codes, retain_graph=True)
            values |= {f"l_{name}": term.item(), f"grad_{name}": gradient.norm().item()}
        if "sr" in terms:
            right = [row.argmax() == LABELS[i] for row, i in zip(logits, batch, strict=True)]
            values["train_accuracy"] = mean(right).item()
        self.adam(loss)
        return values

    def adam(self, loss, beta_1=0.9, beta_2=0.999, eps=1e-8):
        """Kingma and Ba 2015, with L2 weight decay added to the gradient."""
        self.steps += 1
        names, weights = zip(*self.net.named_parameters(), strict=True)
        gradients = torch.autograd.grad(loss, weights, allow_unused=True)
        for name, weight, gradient in zip(names, weights, gradients, strict=True):
            if gradient is None:  # torch leaves these alone, without decay
                continue
            g = gradient + self.config.weight_decay * weight.detach()
            self.first[name] = beta_1 * self.first[name] + (1 - beta_1) * g
            self.second[name] = beta_2 * self.second[name] + (1 - beta_2) * g**2
            m = self.first[name] / (1 - beta_1**self.steps)
            v = self.second[name] / (1 - beta_2**self.steps)
            with torch.no_grad():
                weight -= self.config.lr * m / (v.sqrt() + eps)


# --- the cases ---


def config(**values):
    """Weights of Eq. 4 that make each term about as large as the others on codes of width 5."""
    setting = values.get("setting", "set3")
    weights = {"beta": 0.3} if setting in ("htri_cl", "set2", "set3") else {}
    weights |= {"gamma": 0.01} if setting == "set3" else {}
    usual = {"row": "r", "setting": setting, "batch_size": 8, "images_per_person": 2}
    usual |= {"lr": 0.01, "weight_decay": 0.05}
    usual |= {"stripes": 2} if setting == "aligned" else {}
    return RunConfig(**{**usual, **weights, **values})


RIVALS = [setting for setting in SETTINGS if "rel" in TERMS[setting]]
OF_DISTANCES = ("triplet_all", "triplet_improved", "quadruplet", "msml")
BATCH = {"centres": "batch", "persons_in_sums": "batch"}
CENTRES = [
    {"centres": "batch"},
    {"centres": "batch", "centres_gradient": True},
    *({"centres": "all", "persons_in_sums": persons} for persons in ("all", "batch")),
    *(
        {"memory_start": begin, "memory_update": update, "persons_in_sums": persons}
        for begin, update, persons in itertools.product(
            ("encoded", "empty"), ("before", "after", "epoch"), ("all", "batch")
        )
        if (begin, update) != ("empty", "epoch")
    ),
]
CASES = [
    *({"setting": setting} for setting in SETTINGS),
    *({"setting": setting, "neck": "batchnorm"} for setting in SETTINGS),
    *({"setting": setting, **c} for setting in ("htri_cl", "set2", "set3") for c in CENTRES),
    *({"setting": s, "sr_reduction": "sum"} for s in ("set1", "set3", "xent_htri")),
    *({"setting": s, "label_smoothing": 0.3} for s in ("set1", "set3", "xent_htri")),
    *(
        {"scatter": form, **c}
        for form in ("log", "unit")
        for c in ({}, BATCH, BATCH | {"centres_gradient": True}, {"memory_start": "empty"})
    ),
    *(
        {"setting": s, **option}
        for s in ("htri", "xent_htri", "htri_cl")
        for option in (
            {"margin": 0.0},
            {"margin": 1.5},
            {"triplet_distance": "squared"},
            {"triplet_normalise": True},
            {"triplet_distance": "squared", "triplet_normalise": True},
        )
    ),
    *({"setting": s, "margin": 0.7} for s in RIVALS if "margin" in SETTINGS[s]),
    *({"setting": s, "triplet_normalise": False} for s in ("contrastive", *OF_DISTANCES)),
    *(
        {"setting": s, "triplet_distance": d}
        for s in OF_DISTANCES
        for d in ("euclidean", "squared")
        if d != SETTINGS[s].get("triplet_distance", "euclidean")
    ),
    {"setting": "triplet_improved", "second_margin": 0.6, "second_weight": 0.5},
    {"setting": "triplet_improved", "second_weight": 0.5},
    {"setting": "quadruplet", "second_margin": 2.0},
    {"setting": "quadruplet", "adaptive_margin": True},
    {"setting": "xent_htri_centre", "second_weight": 0.3},
    {"setting": "aligned", "stripes": 4},
    {"setting": "aligned", "margin": 1.5},
    *({"setting": s, "scale": 5.0} for s in ("circle", "arcface")),
    *({"setting": s, "stripes": 2} for s in ("set3", "htri", "msml")),
    *({"setting": s, "weight_decay": decay} for s in ("set1", "set3") for decay in (0.0, 0.5)),
    {"lr": 1e-3},
    {"setting": "htri_cl", "beta": 0.9},
    {"setting": "set2", "beta": 0.0},
    {"setting": "set2", "beta": 0.9},
    {"beta": 0.9},
    {"gamma": 0.0},
    {"gamma": 0.05},
]


def name(case):
    return "-".join(f"{value}" for value in case.values())


def numbered():
    """The three batches and whether each begins an epoch: one of two steps, and a second one."""
    return zip(BATCHES, (True, False, True), strict=True)


@functools.cache
def slow_course(number):
    """The values of each step of a case, the weights after it, and the memory at the end."""
    chosen = config(**CASES[number])
    slow = SlowStep(chosen, start(chosen, data(pixels())).net, pixels())
    values, weights = [], []
    for images, begins in numbered():
        if begins:
            slow.start_epoch()
        values.append(slow(images))
        weights.append({key: w.detach().clone() for key, w in slow.net.named_parameters()})
    return values, weights, slow.memory


@pytest.mark.parametrize("number", range(len(CASES)), ids=[name(case) for case in CASES])
def test_three_steps_equal_those_of_the_slow_step(number):
    chosen = config(**CASES[number])
    state = start(chosen, data(pixels()))
    state.net.train()
    course, weights, memory = slow_course(number)
    for step, (images, begins) in enumerate(numbered()):
        if begins and state.centres:
            state.centres.start_epoch()
        batch = torch.tensor(images)
        inputs = augment.normalise(pixels()[batch])
        values = train_step(chosen, state, inputs, batch, LABELS[batch])
        assert values.keys() == course[step].keys()
        for key, value in course[step].items():
            assert values[key].item() == pytest.approx(value, rel=2e-4, abs=1e-5), (step, key)
        own = dict(state.net.named_parameters())
        for key, weight in weights[step].items():
            assert torch.allclose(own[key].double(), weight, rtol=1e-4, atol=2e-5), (step, key)
    if state.memory is not None:
        unknown = torch.full((WIDTH,), torch.nan, dtype=torch.float64)
        expected = torch.stack([memory.get(image, unknown) for image in range(16)])
        found = state.memory.double()
        assert torch.allclose(found, expected, rtol=1e-3, atol=1e-5, equal_nan=True)


def test_the_slow_step_tells_the_cases_apart():
    """Otherwise an option that does nothing in both steps would pass."""
    found = {}
    for number, case in enumerate(CASES):
        values, weights, _ = slow_course(number)
        numbers = [torch.tensor(list(v.values()), dtype=torch.float64) for v in values]
        numbers += [w.flatten() for after in weights for w in after.values()]
        found.setdefault(config(**case).model_dump_json(), (case, torch.cat(numbers)))
    for (one, a), (two, b) in itertools.combinations(found.values(), 2):
        if len(a) == len(b):
            assert not torch.allclose(a, b, rtol=1e-3, atol=1e-4), (one, two)


# --- the epoch around the step ---


@pytest.mark.parametrize("kind", ["random", "pk"])
def test_an_epoch_feeds_each_step_its_images_persons_and_batch(kind):
    chosen = config(setting="set1", batches=kind, flip=False, crop="none", schedule="cosine")
    rows = torch.randperm(16, generator=torch.Generator().manual_seed(1))
    labels = LABELS[rows]  # the training images lie anywhere among all images
    given = data(pixels())._replace(train_rows=rows, labels=labels)
    state = start(chosen, given)
    seen, training_mode = [], []

    def step(config, state, images, batch, persons):
        seen.append((images, batch, persons))
        training_mode.append(state.net.training)
        state.optimiser.step()
        one = torch.tensor(1.0)
        return {"loss": one * len(seen), "l_sr": one, "code_norm": one}

    state.net.eval()
    line = train_epoch(chosen, state, given, step)
    wanted = list(batches(chosen, labels, torch.Generator().manual_seed(chosen.seed)))
    assert len(seen) == len(wanted) == 2
    for (images, batch, persons), expected in zip(seen, wanted, strict=True):
        assert torch.equal(batch, expected)
        assert torch.equal(persons, LABELS[rows[batch]])
        assert torch.equal(images, augment.normalise(pixels()[rows[batch]]))
    assert training_mode == [True, True]
    assert line == {"loss": 1.5, "l_sr": 1.0, "code_norm": 1.0}
    assert state.optimiser.param_groups[0]["lr"] < chosen.lr  # the schedule took its step


def test_an_epoch_begins_by_encoding_where_the_memory_is_updated_once_per_epoch():
    chosen = config(memory_update="epoch", flip=False, crop="none")
    state = start(chosen, data(pixels()))
    with torch.no_grad():
        state.memory.zero_()
    expected = model.encode(state.net, pixels())
    train_epoch(chosen, state, data(pixels()))
    assert torch.equal(state.memory, expected)


def test_an_epoch_augments_what_a_step_is_given(monkeypatch):
    seen = []
    monkeypatch.setattr(training, "augment", lambda config, images, generator: seen.append(images))
    chosen = config(setting="set1")

    def step(config, state, images, batch, persons):
        assert images is None
        state.optimiser.step()
        return {"loss": torch.tensor(1.0), "code_norm": torch.tensor(1.0)}

    train_epoch(chosen, start(chosen, data(pixels())), data(pixels()), step)
    assert [images.dtype for images in seen] == [torch.uint8] * 2
