"""Every choice that a score depends on, as the fields of one object."""

from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

_WORDS = {  # field -> its choices, and how `str(protocol)` words them
    "match": {
        "any": "any match of the person among the first k",
        "single": "one image of each gallery person, expectation over the draw",
    },
    "ap": {
        "plain": "non-interpolated",
        "market": "trapezoidal rule (Market-1501's evaluation code)",
    },
    "unmatched": {
        "drop": "left out of every score",
        "zero": "counted as 0 in every score",
        "raise": "an error",
    },
    "codes": {"raw": "as they are", "unit": "divided by their L2 norm"},
}


@dataclass(frozen=True)
class Protocol:
    """How a ranked gallery is scored. Scores are comparable only under equal protocols.

    Args:
        ranks: the k of rank-k, ascending. A k beyond the gallery counts the whole gallery.
        ap: which average precision `mAP` averages. With a match at rank n_j as the j-th of M,
            "plain" is the non-interpolated 1/M sum_j j / n_j; "market" is the trapezoidal rule of
            Market-1501's evaluation code, 1/M sum_j (j / n_j + (j - 1) / (n_j - 1)) / 2, where the
            second term is 1 at n_j = 1.
        match: "any" counts a hit if any of the person's images is among the first k. "single"
            keeps one random image of each gallery person (the single-shot gallery) and gives the
            exact expectation over all draws; nothing is sampled.
        same_camera_junk: images of the query's person from the query's camera are neither match
            nor wrong: they are removed from the ranking.
        junk_pids: gallery images with these ids are removed from every ranking. -1 is
            Market-1501's junk; its distractors, id 0, stay and are wrong answers.
        unmatched: how a query without a match in the gallery counts. "raise" is the default
            because such a query is usually an error in the split or in the camera ids. "drop"
            leaves the query out of rank-k, mAP and mINP alike; "zero" counts it as 0 in each of
            them, so CMC and mAP always share one denominator. If no query has a match, every
            choice raises.
        codes: "raw" compares codes as they are; "unit" divides each by its L2 norm first, so that
            only directions count (a code of zeros stays as it is).
        tolerance: distances that differ only by rounding count as tied. An image is tied with a
            match if its squared distance differs from that of the match by at most
            t = max(tolerance * d, (tolerance * r)^2), where d is the query's mean squared distance
            to the gallery and r is the root mean square norm of the codes. The second term covers
            codes that are equal up to rounding. Matches whose ranges overlap are tied with each
            other. In float32 a squared distance has an error of up to 2.4e-7 of the mean, so the
            difference of two has up to twice that, hence the default. Rank-k and plain AP are
            expectations over a random order of tied images; market AP, INP and the rank of the
            first match assume the worst order. A network whose codes are all equal therefore gets
            the scores of a random ranking.
    Raises:
        ValueError: a field has an unsupported value.
    Example:
        >>> Protocol(ranks=(1, 5), ap="market").ap
        'market'
        >>> print(str(Protocol(unmatched="drop")).splitlines()[-1])
        query without a match: left out of every score
    """

    ranks: tuple[int, ...] = (1, 5, 10, 20)
    ap: Literal["plain", "market"] = "plain"
    match: Literal["any", "single"] = "any"
    same_camera_junk: bool = True
    junk_pids: tuple[int, ...] = (-1,)
    unmatched: Literal["drop", "zero", "raise"] = "raise"
    codes: Literal["raw", "unit"] = "raw"
    tolerance: float = 5e-7

    def __post_init__(self):
        object.__setattr__(self, "ranks", tuple(int(k) for k in self.ranks))
        object.__setattr__(self, "junk_pids", tuple(int(pid) for pid in self.junk_pids))
        for name, choices in _WORDS.items():
            value = getattr(self, name)
            if value not in tuple(choices):
                raise ValueError(f"Protocol.{name} is {value!r}; choose one of {tuple(choices)}.")
        if not self.ranks or self.ranks[0] < 1 or any(a >= b for a, b in pairwise(self.ranks)):
            raise ValueError(
                f"Protocol.ranks is {self.ranks}; give ascending ranks from 1 up, as (1, 5, 10)."
            )
        if not 0 <= self.tolerance < 1:
            raise ValueError(f"Protocol.tolerance is {self.tolerance}; it must be in [0, 1).")

    def __str__(self) -> str:
        words = {name: choices[getattr(self, name)] for name, choices in _WORDS.items()}
        junk = ["images of the query's person from the query's camera"] * self.same_camera_junk
        junk += [f"images with person id {pid}" for pid in self.junk_pids]
        lines = [
            f"rank-k: {words['match']}, k = {', '.join(map(str, self.ranks))}; AP: {words['ap']}",
            "gallery: images of all gallery cameras; excluded from the ranking (junk): "
            f"{', '.join(junk) or 'none'}",
            f"ties (squared distances that differ by at most {self.tolerance:g} of their mean): "
            "rank-k and non-interpolated AP are expectations over random order, all other scores "
            "assume the worst order",
            f"query without a match: {words['unmatched']}",
        ]
        return "\n".join(lines + [f"codes: {words['codes']}"] * (self.codes == "unit"))
