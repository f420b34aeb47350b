"""Between the wire's messages and plain values."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import repeat
from math import nan
from pathlib import Path
from typing import Self, TypedDict

import numpy as np
from numpy.typing import NDArray

from holdfast.client.errors import ClientError, from_status
from holdfast.client.results import Accuracy, Answer, Certificates, ModelInfo, Neighbour, Smoothing
from holdfast.protos.holdfast.v1 import answer_pb2, holdfast_pb2, image_pb2, model_pb2

ImageLike = bytes | Path | NDArray[np.uint8]
"""An image: the bytes of a PNG, JPEG or WebP file, the path of one, or pixels uint8 [H, W] or [H, W, 1 or 3]. For
a model that listens, a recording: the bytes of a WAV file, or the path of one."""

Outcome = Answer | ClientError
"""What became of one image among many: the answer, or the error that a call for it alone would have raised."""

CALL_BYTES = 3_000_000
"""Image bytes in one call: below gRPC's own default of 4 MB for a message, which a server may not have raised."""

CALL_OVERHEAD, IMAGE_OVERHEAD = 16, 6
"""Bytes, at most, of a call beside its images, and of what stands before each image."""


@dataclass(frozen=True)
class CallLimits:
    """What a server takes in one call, as far as it says so.

    Attributes:
        images: how many, at least 1.
        bytes: of the message, at most CALL_BYTES. An image that is larger goes alone, and fails alone.
        passes: forward passes of a call that certifies; 0 where the server certifies nothing, or says nothing of it.

    """

    images: int = 2**31 - 1
    bytes: int = CALL_BYTES
    passes: int = 0

    @classmethod
    def of(cls, images: int, message_bytes: int, passes: int = 0) -> Self:
        """From the limits of a server; 0 where it says nothing."""
        return cls(images or cls.images, min(message_bytes or CALL_BYTES, CALL_BYTES), passes)

    def per_call(self, wanted: int, certify: int) -> int:
        """How many of the wanted images one call takes where each is smoothed by so many draws; 1 at least."""
        return max(1, min(wanted, self.passes // (FIRST_DRAWS + certify))) if certify else wanted


NO_LIMITS = CallLimits()

MOST_NEIGHBOURS = 2**31 - 1

HARDENED = {model_pb2.HARDENING_TRAINED: True, model_pb2.HARDENING_NONE: False}

FIRST_DRAWS = 32
"""Draws that a server adds to those that are asked for, for each image."""

SIGMA = 0.25
"""Standard deviation of the noise of certificates, in pixels of [0, 1], where nobody says."""

PACKED_FROM = 12
"""Neighbours from which on they are asked for packed: the names of all classes come with them, once in a reply."""


def to_image(image: ImageLike) -> image_pb2.Image:
    """Wraps one image. Raises OSError for an unreadable path and TypeError for pixels that are not uint8."""
    named_so = isinstance(image, Path) and image.suffix.lower() == ".wav"  # be it empty, or something else
    if isinstance(image, Path):
        image = image.read_bytes()
    if isinstance(image, bytes):
        return image_pb2.Image(audio=image) if named_so or is_recording(image) else image_pb2.Image(encoded=image)
    if isinstance(image, np.ndarray) and image.dtype == np.uint8:
        raw = image_pb2.RawImage(data=image.tobytes(), shape=image.shape, dtype=image_pb2.DATA_TYPE_UINT8)
        return image_pb2.Image(raw=raw)
    given = f"an array of {image.dtype}" if isinstance(image, np.ndarray) else type(image).__name__
    raise TypeError(f"{given} is no image: give bytes of a file, a Path, or a uint8 array [H, W] or [H, W, 3]")


def is_recording(encoded: bytes) -> bool:
    """Whether bytes begin as a WAV file does, of whatever kind; a WebP image begins otherwise."""
    return encoded[:4] in {b"RIFF", b"RIFX", b"RF64"} and encoded[8:12] == b"WAVE"


def number_of_neighbours(neighbours: int) -> int:
    """The number as a message holds it; no server has as many as it could not hold. Raises ValueError below 0."""
    if neighbours < 0:
        raise ValueError(f"neighbours must be at least 0, not {neighbours}; 0 asks for none")
    return min(neighbours, MOST_NEIGHBOURS)


class Wanted(TypedDict):
    """What is asked for beside labels and figures: fields of both kinds of request."""

    neighbours: int
    packed_neighbours: bool
    certificates: bool
    certify: int
    certify_sigma: float


def wanted_of(neighbours: int, certificates: bool, certify: int, sigma: float) -> Wanted:
    """The fields. Raises ValueError for numbers below 0."""
    if certify < 0:
        raise ValueError(f"certify must be at least 0 draws, not {certify}; 0 asks for none")
    count = number_of_neighbours(neighbours)
    return Wanted(
        neighbours=count,
        packed_neighbours=count >= PACKED_FROM,
        certificates=certificates,
        certify=certify,
        certify_sigma=sigma if certify else 0.0,
    )


def in_calls(images: Iterable[ImageLike], per_call: int, limits: CallLimits = NO_LIMITS) -> Iterator[list[image_pb2.Image]]:
    """Parts images into calls of at most `per_call` images that the server takes, in order, reading as it goes."""
    call: list[image_pb2.Image] = []
    size, most = CALL_OVERHEAD, min(per_call, limits.images)
    for image in images:
        message = to_image(image)
        weight = message.ByteSize() + IMAGE_OVERHEAD
        if call and (len(call) == most or size + weight > limits.bytes):
            yield call
            call, size = [], CALL_OVERHEAD
        call.append(message)
        size += weight
    if call:
        yield call


def to_answer(message: answer_pb2.Classification, class_names: Sequence[str] = ()) -> Answer:
    """One answer; `class_names` are those of the reply, for packed neighbours."""
    return Answer(
        label=message.label.name,
        index=message.label.index,
        probabilities=np.array(message.probabilities, dtype=np.float32),
        credibility=message.credibility if message.HasField("credibility") else nan,
        confidence=message.confidence if message.HasField("confidence") else nan,
        abstain=message.abstain,
        soft_margin=message.soft_margin,
        kth_distance=message.kth_neighbour_distance,
        neighbours=tuple(map(to_neighbour, message.neighbours)) or unpacked(message.packed_neighbours, class_names),
        kth_distance_p_value=(
            message.kth_neighbour_distance_p_value if message.HasField("kth_neighbour_distance_p_value") else nan
        ),
        softmax_response=message.softmax_response if message.HasField("softmax_response") else nan,
        certificates=to_certificates(message.certificates) if message.HasField("certificates") else None,
        smoothing=to_smoothing(message.smoothing) if message.HasField("smoothing") else None,
    )


def to_certificates(message: answer_pb2.Certificates) -> Certificates:
    """What it would take to change an answer."""
    return Certificates(
        message.poison_tolerance if message.HasField("poison_tolerance") else None,
        message.feature_shift if message.HasField("feature_shift") else None,
    )


def to_smoothing(message: answer_pb2.Smoothing) -> Smoothing:
    """What noise makes of an answer."""
    return Smoothing(
        message.label.name,
        message.label.index,
        message.hits,
        message.draws,
        message.sigma,
        message.share_bound,
        message.alpha,
        message.radius if message.HasField("radius") else None,
    )


def unpacked(packed: answer_pb2.PackedNeighbours, class_names: Sequence[str]) -> tuple[Neighbour, ...]:
    """Neighbours that came as columns."""
    names, sources = map(class_names.__getitem__, packed.labels), packed.sources or repeat(None)
    return tuple(map(Neighbour, packed.ids, names, packed.similarities, sources))


def to_neighbour(message: answer_pb2.Neighbour) -> Neighbour:
    """One of its neighbours."""
    source = message.source if message.HasField("source") else None
    return Neighbour(message.id, message.label.name, message.similarity, source)


def to_outcomes(reply: holdfast_pb2.ClassifyResponse | holdfast_pb2.ClassifyStreamResponse, address: str) -> list[Outcome]:
    """One outcome per image, in their order."""
    names = list(reply.class_names)
    return [
        to_answer(r.answer, names) if r.WhichOneof("outcome") == "answer" else from_status(r.error, address)
        for r in reply.results
    ]


def to_embeddings(response: holdfast_pb2.EmbedResponse, address: str) -> NDArray[np.float32]:
    """float32 [N, D]; raises the first image's error if there is one."""
    for result in response.results:
        if result.WhichOneof("outcome") == "error":
            raise from_status(result.error, address)
    return np.array([r.embedding.values for r in response.results], dtype=np.float32)


def to_model_info(message: holdfast_pb2.GetModelInfoResponse) -> ModelInfo:
    """What is served."""
    shape, vote, limits = message.input, message.vote, message.limits
    return ModelInfo(
        name=message.name,
        created=message.created,
        encoder_sha256=message.encoder_sha256,
        input_shape=(shape.height, shape.width, shape.channels),
        embedding_dim=message.embedding_dim,
        class_names=tuple(message.class_names),
        exemplars=message.exemplars,
        k=vote.k,
        weighting=_word(model_pb2.VoteWeighting.Name(vote.weighting), "VOTE_WEIGHTING_"),
        temperature=vote.temperature,
        abstain_below=message.abstain_below,
        norm=_norm(message.threat_model.norm) if message.HasField("threat_model") else "",
        epsilon=message.threat_model.epsilon,
        accuracy=_accuracy(message.accuracy) if message.HasField("accuracy") else None,
        images_per_call=limits.images_per_call,
        message_bytes=limits.message_bytes,
        pixels_per_image=limits.pixels_per_image,
        exemplars_revision=message.exemplars_revision,
        calibration_stale=message.calibration_stale,
        changed_share=message.changed_share,
        certify_passes=limits.certify_passes,
        input_kind="speech" if message.input_kind == model_pb2.INPUT_KIND_SPEECH else "image",
        seconds_per_recording=limits.seconds_per_recording,
        bytes_per_recording=limits.bytes_per_recording,
        hardened=HARDENED.get(message.hardening),
        imported_from=message.imported_from,
    )


def _accuracy(message: model_pb2.Accuracy) -> Accuracy:
    norm = _norm(message.norm)
    return Accuracy(message.clean, message.robust, norm, message.epsilon, message.attack, message.images)


def _norm(norm: model_pb2.Norm) -> str:
    return _word(model_pb2.Norm.Name(norm), "NORM_")


def _word(name: str, prefix: str) -> str:
    return name.removeprefix(prefix).lower()
