"""A whole report of invented numbers, small and the same every time; and a page as a test reads it."""

from html.parser import HTMLParser

import numpy as np

from holdfast.attacks.victim import ABSTAINED
from holdfast.evaluation.report import (
    auroc,
    cloud,
    detection_curve,
    difference,
    png,
    ranked,
    reliability,
    results,
    selective,
)
from holdfast.evaluation.report.results import Measured, Report
from holdfast.intervals import Counted, Rate
from holdfast.intervals import difference as paired_difference

VOID = {"meta", "img", "br", "link", "hr", "input", "base"}


def measured(successes, trials=40):
    return Measured.of(Rate(successes, trials))


def image(seed):
    return np.random.default_rng(seed).integers(0, 256, (6, 5, 3), dtype=np.uint8)


def check(name="monotone", *, passed=True):
    return results.SanityCheck(
        name=name, asks="it falls", measured="it rose by 9 points", passed=passed, why="the attack is broken"
    )


def checks_of(passed):
    return tuple(check(f"check {i}", passed=held) for i, held in enumerate(passed))


def threat(norm, epsilon, knowledge, found, inherited=0):
    stands, steps = 38 - inherited, []
    for number, count in enumerate(found):
        step = results.AttackResult(name=f"attack {number}", kind="white box", tried=stands, found=count, seconds=61.5)
        steps, stands = [*steps, step], stands - count
    rates = {"clean": measured(38), "robust": measured(stands), "dsr": measured(stands, 38)}
    return results.ThreatResult(
        norm=norm, epsilon=epsilon, knowledge=knowledge, inherited=inherited, steps=tuple(steps), **rates
    )


def curve(norm, counts):
    points = [results.CurvePoint(epsilon=0.1 * i, robust=measured(n)) for i, n in enumerate(counts)]
    return results.Curve(norm=norm, attack="PGD-10", points=tuple(points))


def example(number, names):
    near = tuple(results.Neighbour(exemplar=i, label=i % len(names), similarity=0.9 - i / 10) for i in range(4))
    clean, attacked = image(number), image(number + 50)
    return results.Example(
        image=number,
        label=number % len(names),
        clean_answer=number % len(names),
        attacked_answer=ABSTAINED if number == 2 else (number + 1) % len(names),
        clean_credibility=None if number == 1 else 0.5,
        attacked_credibility=0.01,
        found_by="attack 1",
        threat="L-inf 8/255",
        clean_png=png(clean),
        attacked_png=png(attacked),
        difference_png=png(difference(clean, attacked)),
        clean_neighbours=near,
        attacked_neighbours=near[::-1],
        neighbour_pngs={0: png(image(99)), 2: png(image(98))},
    )


def paired(condition, hardened, plain, trials):
    sides = [Counted(np.arange(trials) < right, np.ones(trials, dtype=bool)) for right in (hardened, plain)]
    apart = paired_difference(*sides)
    return results.PairedAccuracy(
        condition=condition,
        hardened=measured(hardened, trials),
        plain=measured(plain, trials),
        difference=apart.estimate,
        low=apart.low,
        high=apart.high,
    )


def subject(names, **changes):
    values = {
        "name": "made up",
        "encoder": "linear",
        "objective": "none, 3 steps",
        "training_command": "python -m trainer x",
        "training_seconds": 3725,
        "training_commit": "0" * 40,
        "parameters": 1234567,
        "encoder_bytes": 2048,
        "index_bytes": 3 * 2**20,
        "encoder_sha256": "a" * 64,
        "index_sha256": "b" * 64,
        "embedding_dim": 6,
        "exemplars": 4000,
        "vote": "k = 5, uniform weights",
        "class_names": names,
        "data": "none",
        "data_sha256": "c" * 64,
        "training_seed": 17,
        "index_command": "python -m index_build x",
        "abstain_below": 0.25,
    }
    return results.Subject(**(values | changes))


def provenance():
    return results.Provenance(
        command="python -m holdfast.evaluation x",
        commit="1" * 40 + "+changes",
        seed=23,
        created="2026-01-01T00:00:00Z",
        seconds=12.3,
        cpu="a CPU",
        cores=1,
        memory_bytes=2**34,
        accelerator="none",
        versions={"numpy": "1", "torch": "2"},
    )


def full_report(names=("cat", "dog", "owl"), checks=(True, True), **changes):
    rng = np.random.default_rng(0)
    z = rng.normal(size=(2, 30, 6))
    credible, right = rng.integers(1, 11, 40) / 10, rng.random(40) < 0.8
    values = {
        "subject": subject(names),
        "provenance": provenance(),
        "clean": measured(930, 1000),
        "attacked_images": 40,
        "threats": (
            threat("l2", 0.5, "bank known", (1,)),
            threat("linf", 8 / 255, "bank unknown", (3,)),
            threat("linf", 8 / 255, "bank known", (4, 0, 2), inherited=5),
            threat("linf", 4 / 255, "bank known", (0,) * 14),
        ),
        "curves": (curve("linf", (38, 20, 3, 0)), curve("l2", (38, 0))),
        "sanity_checks": checks_of(checks),
        "detectors": (
            results.DetectorResult(
                name="loud",
                false_positives=measured(2),
                detected=measured(0, 0),
                evaded=measured(30),
                threat="L-inf 8/255",
                roc=detection_curve(rng.random(50), rng.random(0), rng.random(30) / 2),
                auroc_ignoring=None,
                auroc_aiming=0.25,
            ),
        ),
        "selective": (
            results.Selective(name="clean", points=selective(credible, right), images=1000),
            results.Selective(name="L-inf 8/255", points=selective(credible, ~right), attacker="aims at it", images=40),
        ),
        "aimed": (
            results.AimedThreat(
                threat="L-inf 8/255",
                wrong=measured(31),
                answered=measured(29),
                ignoring=measured(17),
                steps=(results.AttackResult(name="aimed attack", kind="white box", tried=40, found=28, seconds=7),),
            ),
        ),
        "rankings": tuple(
            results.Ranking(
                judgement="loudness",
                condition=condition,
                images=40,
                errors=int((~right).sum()),
                auroc=auroc(credible[right], credible[~right]),
                points=ranked(credible, right),
            )
            for condition in ("clean", "shifted", "attacked, L-inf 8/255")
        ),
        "shifts": tuple(
            results.ShiftResult(
                name=name, accuracy=measured(30), answered=measured(35), wrong=measured(4), flips=measured(flips)
            )
            for name, flips in (("clean", 0), ("noise", 7), ("another camera", 5))
        ),
        "sets": (
            results.PredictionSets(
                threat="L-inf 8/255",
                calibrated_on=20,
                images=40,
                results=tuple(
                    results.SetResult(calibration=on, condition=of, level=0.1, covered=measured(36), size=1.5)
                    for on in ("clean images", "attacked images")
                    for of in ("clean", "attacked, aimed at credibility")
                ),
            ),
        ),
        "hardened": results.HardenedIndex(
            exemplars=4000,
            attacked=1000,
            instead="the same images, not attacked",
            attack="PGD-10",
            accuracies=(paired("clean", 930, 935, 1000), paired("L-inf 8/255", 17, 12, 40)),
        ),
        "reliability": reliability(credible, right),
        "validity": tuple(
            results.ValidityPoint(level=level, true_labels=measured(4, 100), answers=measured(3, 100)) for level in (0.05, 0.1)
        ),
        "classes": tuple(
            results.ClassResult(
                label=label, exemplars=10**label, accuracy=measured(7), coverage=measured(9), precise=measured(6, 9 - label % 3)
            )
            for label in range(len(names))
        ),
        "examples": tuple(example(i, names) for i in range(3)),
        "cloud": cloud(z[0], z[1], np.arange(30) % len(names), rng.random(30) < 0.5, "L-inf 8/255"),
        "training": (
            results.TrainingCurve(
                stage="first", steps=(1, 2, 3), seconds=(1, 2, 3), values={"loss": (3, None, 1), "gone": (None, None, None)}
            ),
        ),
    }
    return Report(**(values | changes))


EMPTY = {
    "threats": (),
    "curves": (),
    "detectors": (),
    "selective": (),
    "aimed": (),
    "rankings": (),
    "shifts": (),
    "sets": (),
    "hardened": None,
    "reliability": (),
    "validity": (),
    "classes": (),
    "examples": (),
    "cloud": None,
    "training": (),
    "attacked_images": 0,
}


class Page(HTMLParser):
    """Holds the tags to be nested as they are opened, and keeps what tests ask for."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.open, self.tags, self.words = [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        assert len({name for name, _ in attrs}) == len(attrs), (tag, attrs)
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" not in self.open:
            self.words.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())

    def having(self, name):
        return [attrs[name] for _, attrs in self.tags if name in attrs]
