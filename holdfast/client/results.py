"""What a call returns, as plain values."""

from dataclasses import dataclass
from math import nan

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A labelled image that voted: its id in the bundle, its class, and the cosine similarity, -1 to 1.

    `source` is where its image came from, such as a file's path; None where the server does not tell.
    """

    id: int
    label: str
    similarity: float
    source: str | None = None


@dataclass(frozen=True, slots=True)
class Certificates:
    """What it would take to change an answer; None where the server cannot tell, as with an index that may miss neighbours.

    Attributes:
        poison_tolerance: exemplars that somebody could insert into the index without changing it; one more is enough.
        feature_shift: how far the embedding can surely move without changing it, a Euclidean distance between vectors of length
            1; it bounds no change of pixels.

    """

    poison_tolerance: int | None
    feature_shift: float | None


@dataclass(frozen=True, slots=True)
class Smoothing:
    """What the smoothed classifier answers: the class that noise is answered with most often. No certificate of the answer.

    Attributes:
        label: the class's name; index: its position in ModelInfo.class_names.
        hits: of the fresh draws that were answered so.
        draws: fresh ones.
        sigma: standard deviation of the noise, in pixels of [0, 1].
        share_bound: lower bound of the label's share under noise.
        alpha: the probability with which bound and radius may be wrong.
        radius: no change of a smaller L2 length, in pixels of [0, 1], changes the smoothed classifier's answer; None where it
            abstains.

    """

    label: str
    index: int
    hits: int
    draws: int
    sigma: float
    share_bound: float
    alpha: float
    radius: float | None


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """What the server holds an image to be, and how far to trust that.

    Attributes:
        label: the class's name; index: its position in ModelInfo.class_names.
        probabilities: float32 [C], each class's share of the vote.
        credibility: conformal p-value of the label, in (0, 1]; NaN where the bundle is not calibrated.
        confidence: one minus the largest p-value of the other labels; NaN likewise.
        abstain: credibility is below the bundle's threshold: do not rely on the label.
        soft_margin: lead over the best other class, in nats; small or negative: easily flipped.
        kth_distance: cosine distance to the k-th neighbour; large: unlike anything in the index.
        neighbours: the nearest exemplars, as many as were asked for.
        kth_distance_p_value: its conformal p-value, in (0, 1]: calling images of at most a unlike anything in the index is
            wrong for at most a share a of those that are like it and not attacked; NaN where the bundle lacks its calibration.
        softmax_response: the label's probability in the soft vote of the whole index; NaN where there is none.
        certificates: what it would take to change the answer, where they were asked for.
        smoothing: what noise makes of the answer, where that was asked for.

    """

    label: str
    index: int
    probabilities: NDArray[np.float32]
    credibility: float
    confidence: float
    abstain: bool
    soft_margin: float
    kth_distance: float
    neighbours: tuple[Neighbour, ...] = ()
    kth_distance_p_value: float = nan
    softmax_response: float = nan
    certificates: Certificates | None = None
    smoothing: Smoothing | None = None

    @property
    def probability(self) -> float:
        """The label's own share of the vote."""
        return float(self.probabilities[self.index])


@dataclass(frozen=True, slots=True)
class Accuracy:
    """What was measured when the bundle was evaluated; shares in [0, 1], epsilon in pixels of [0, 1]."""

    clean: float
    robust: float
    norm: str
    epsilon: float
    attack: str
    images: int


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """What the server serves, and what one call may carry. `input_shape` is (height, width, channels).

    `exemplars_revision` grows with each change of the exemplars. `calibration_stale` says that more of them have changed since
    credibility was calibrated than the operator allows, `changed_share` how many, for each that it was calibrated with.
    `norm` and `epsilon` are the attacker that evaluations and probes look for; "" and 0 of a model that listens, which knows of
    none. `hardened` says whether the encoder was trained to withstand it; None where the server is too old to say.
    `imported_from` is what the encoder was imported from; "" where it was trained from nothing.
    `certify_passes` are the most forward passes of one call that certifies; 0 where the server does not. `input_kind` is
    "image" or "speech"; `seconds_per_recording` and `bytes_per_recording` are limits of a recording, 0 where images are taken.
    """

    name: str
    created: str
    encoder_sha256: str
    input_shape: tuple[int, int, int]
    embedding_dim: int
    class_names: tuple[str, ...]
    exemplars: int
    k: int
    weighting: str
    temperature: float
    abstain_below: float
    norm: str
    epsilon: float
    accuracy: Accuracy | None
    images_per_call: int
    message_bytes: int
    pixels_per_image: int
    exemplars_revision: int = 0
    calibration_stale: bool = False
    changed_share: float = 0.0
    certify_passes: int = 0
    input_kind: str = "image"
    seconds_per_recording: float = 0.0
    bytes_per_recording: int = 0
    hardened: bool | None = None
    imported_from: str = ""
