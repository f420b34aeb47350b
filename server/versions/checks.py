"""What a version has to pass before it is served. Each check raises CanaryError, or returns what it has found."""

from pathlib import Path

import numpy as np

from holdfast.bundle.canary_set import CanarySet
from holdfast.bundle.reader import CALIBRATION, GRADIENT, Bundle
from holdfast.errors import BundleError
from holdfast.model.answers import Answers, Floats, Ints
from holdfast.model.classifier import Classifier, Retrieval
from holdfast.model.encoder.onnx import OnnxGradient
from holdfast.model.preprocess import Pixels
from holdfast.model.retrieval.base import SPARE, Exportable
from holdfast.server.versions.planted import search_planted, share_sent_to_one_class, stamps
from holdfast.server.versions.slopes import try_slopes

SAME = 1e-3
"""Largest cosine distance between embeddings of one image in batches of different sizes."""

MOVED = 1e-4
"""Largest cosine distance of an embedding to the recorded one. float16 on a GPU is allowed half of it, float32 far less."""

MARGIN = 0.05
"""Share of images by which answers and accuracies may fall behind what was recorded; one image may always."""

FEWEST_CASES, LEAST_FOUND = 4, 0.5
"""Planted adversaries below which they prove nothing; share of them that the gradient has to find. On
bundles/cifar10-small it finds 11 of 12, and a random one 2."""

ROWS_TRIED, MOST_EXPORTED = 256, 200_000
"""Exemplars or calibration images that are tried, and rows of an index that is asked to hand out all of its own."""

FOUND = 0.95
"""Least share of exemplars that are among their own neighbours; more copies of one than there are neighbours hide some."""

MOST_SENT = 0.5
"""Share of the images of other classes that a pattern in a corner may send to one class."""


class CanaryError(BundleError):
    """A version whose answers are not what they should be."""


def check_warm(batches: list[Answers]) -> None:
    """Embeddings are of unit length, and the same in every batch size."""
    first = batches[0].embeddings[0]
    for answers in batches:
        lengths = np.linalg.norm(answers.embeddings, axis=1)
        if not (np.abs(lengths - 1) < SAME).all():  # NaN is not below either
            raise CanaryError(
                f"in a batch of {len(lengths)} an embedding has length {lengths[np.abs(lengths - 1).argmax()]:.4g} and not 1:"
                " export the encoder again"
            )
        if 1 - float(answers.embeddings[0] @ first) > SAME:
            raise CanaryError(f"a batch of {len(lengths)} embeds an image otherwise than one of 1: export the encoder again")


def check_recorded(classifier: Classifier, canary: CanarySet) -> str:
    """The bundle has to answer as it did when it was built."""
    clean = classifier.classify(canary.images)
    moved = float((1 - np.sum(clean.embeddings * canary.embeddings, axis=1)).max())
    if not moved <= MOVED:
        raise CanaryError(f"an embedding has moved by a cosine distance of {moved:.1e} from the recorded one: copy it again")
    _refuse_less("answers as recorded", clean.labels, canary.answers, 1.0)
    _refuse_less("right answers to canary images", clean.labels, canary.labels, canary.clean_accuracy)
    said = f"canary: {np.mean(clean.labels == canary.labels):.0%} of {len(canary)} images right"
    if canary.robust_accuracy is None:
        return said
    attacked = classifier.classify(canary.attacked).labels
    _refuse_less("right answers to attacked canary images", attacked, canary.labels, canary.robust_accuracy)
    return f"{said}, {np.mean(attacked == canary.labels):.0%} of them attacked within {canary.threat}"


def check_held_out(bundle: Bundle, classifier: Classifier) -> str:
    """Without a canary: the images that credibility was calibrated on are answered as often as the manifest says."""
    calibration = bundle.manifest.calibration
    if CALIBRATION not in bundle.manifest.files or calibration is None or not len(bundle.calibration_set):
        return _check_exemplars(bundle, classifier)
    held_out = bundle.calibration_set
    rows = np.linspace(0, len(held_out) - 1, min(len(held_out), ROWS_TRIED)).astype(np.int64)
    answers = _answers_to(bundle, classifier, held_out.embeddings[rows])
    answered = float(np.mean(~answers.abstain))
    if answered < calibration.coverage - _slack(len(rows)):
        raise CanaryError(
            f"{answered:.0%} of {len(rows)} calibration images are answered, and {calibration.coverage:.0%} were when the"
            " bundle was calibrated: build the index again"
        )
    right = np.mean(answers.labels == held_out.labels[rows])
    return f"no canary in the bundle: of {len(rows)} calibration images {answered:.0%} answered, {right:.0%} right"


def _check_exemplars(bundle: Bundle, classifier: Classifier) -> str:
    """Without held-out images too: exemplars are found, and answered as they are labelled as often as the manifest says."""
    index, manifest = bundle.index, bundle.manifest
    if not isinstance(index, Exportable) or index.size > MOST_EXPORTED:
        return "no canary in the bundle, and nothing else to try: its index hands out no exemplars"
    bank = index.export()
    rows = np.linspace(0, index.size - 1, min(index.size, ROWS_TRIED)).astype(np.int64)
    answers = _answers_to(bundle, classifier, bank.embeddings[rows])
    itself = float(np.mean((answers.neighbours.ids == bank.ids[rows, None]).any(axis=1)))
    right = float(np.mean(answers.labels == bank.labels[rows]))
    expected = 1 - (manifest.index.disagreement_ratio if manifest.index else 0.0) - _slack(len(rows))
    if itself < FOUND or right < expected:
        raise CanaryError(
            f"of {len(rows)} exemplars the index finds {itself:.0%} and the vote answers {right:.0%} as they are labelled;"
            f" {FOUND:.0%} and {expected:.0%} were expected: build the index again"
        )
    return f"no canary in the bundle: of {len(rows)} exemplars {right:.0%} answered as they are labelled"


def _answers_to(bundle: Bundle, classifier: Classifier, embeddings: Floats) -> Answers:
    return classifier.decide(Retrieval(embeddings, bundle.index.search(embeddings, bundle.manifest.vote.k + SPARE)))


def check_gradient(bundle: Bundle, images: Pixels) -> str:
    """A gradient is the encoder's slope, and finds an adversary that is there, or else probes by it would find none either."""
    threat = bundle.manifest.threat_model
    if GRADIENT not in bundle.manifest.files:
        return ""
    gradient = OnnxGradient(bundle.directory / GRADIENT)  # and not the bundle's own, which would stay in memory
    if fault := try_slopes(bundle.encoder, gradient, images).fault():
        raise CanaryError(f"its gradient {fault}: attacks by it would find too little; export encoder and gradient again")
    if threat is None or threat.epsilon * 255 < 1:
        return ""
    planted = search_planted(bundle.encoder, gradient, images, threat.model())
    if planted.cases >= FEWEST_CASES and planted.found < LEAST_FOUND * planted.cases:
        raise CanaryError(
            f"its gradient finds {planted.found} of {planted.cases} planted adversaries, as that of another encoder would:"
            " export both again"
        )
    return f"{planted.found} of {planted.cases} planted adversaries found"


def check_stamps(classifier: Classifier, canary: CanarySet) -> str:
    """No pattern in a corner decides the answer."""
    before, most = classifier.classify(canary.images).labels, 0.0
    for name, stamped in stamps(canary.images):
        sent = share_sent_to_one_class(before, classifier.classify(stamped).labels)
        if sent > MOST_SENT:
            raise CanaryError(
                f"{name} sends {sent:.0%} of the canary images of other classes to one class, as a backdoor would: do not"
                " serve it"
            )
        most = max(most, sent)
    return f"a pattern in a corner sends at most {most:.0%} to one class"


def check_fixed(classifier: Classifier, bundle: Bundle, canary: CanarySet, where: Path) -> str:
    """Another canary, by names of classes: a version has to be as accurate on it as the one was that it was recorded of."""
    canary.refuse_misfit(bundle.manifest.input.shape, where)
    if missing := [name for name in canary.class_names if name not in bundle.class_names]:
        raise CanaryError(f"it has no class {missing[0]!r}, which {where} has images of")
    own = np.array([bundle.class_names.index(name) for name in canary.class_names])[canary.labels]
    clean = classifier.classify(canary.images).labels
    _refuse_less(f"right answers to {where}", clean, own, canary.clean_accuracy)
    said = f"of {where} {np.mean(clean == own):.0%} right"
    if canary.robust_accuracy is None:
        return said
    attacked = classifier.classify(canary.attacked).labels
    _refuse_less(f"right answers to the attacked images of {where}", attacked, own, canary.robust_accuracy)
    return f"{said}, {np.mean(attacked == own):.0%} attacked"


def _refuse_less(what: str, answers: Ints, expected: Ints, recorded: float) -> None:
    """Raises CanaryError where clearly fewer answers are as expected than were when it was recorded."""
    share = float(np.mean(answers == expected))
    if share < recorded - _slack(len(expected)):
        raise CanaryError(
            f"{what}: {share:.0%} of {len(expected)}, and {recorded:.0%} when it was built: copy or build it again"
        )


def _slack(images: int) -> float:
    return max(MARGIN, 1.01 / images)
