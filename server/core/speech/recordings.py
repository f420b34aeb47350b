"""What a caller sends as a recording: its windows go through the model as images do, and their answers become one."""

from collections.abc import Sequence

import numpy as np

from holdfast.errors import ImageError
from holdfast.model.answers import Answers, Floats, Neighbours
from holdfast.model.images.pixels import Pixels
from holdfast.model.judgement.poison import NOT_KNOWN
from holdfast.model.speech import recordings
from holdfast.model.speech.pictures import RATE, WINDOW
from holdfast.model.speech.wav import FIELD, WavHeader, read_header
from holdfast.server.core.description import ModelDescription
from holdfast.server.core.result import Answer, AnsweredBatch
from holdfast.server.decode_settings import DecodeSettings

WRONG_KIND = {
    "image": ImageError(FIELD, "is a recording, and this model looks at images: send encoded bytes or raw pixels"),
    "speech": ImageError("source", "is an image, and this model listens to recordings: send the bytes of a WAV file as audio"),
}
"""What is wrong with a source of the other kind, by the kind of input."""


def read_recording(wav: bytes, settings: DecodeSettings) -> WavHeader:
    """Look at a recording's header. Raises ImageError where it is none, or longer than the settings allow."""
    header = read_header(wav)
    recordings.check_length(wav, header, max_seconds=settings.audio_seconds, max_bytes=settings.audio_bytes)
    return header


def decode_recording(wav: bytes) -> Pixels:
    """All windows of a recording whose header was looked at: uint8 [W, 64, 64, 3]. Raises ImageError."""
    return recordings.decode_recording(wav, max_seconds=np.inf, max_bytes=len(wav))


def one_window(decoded: Pixels) -> Pixels:
    """An image uint8 [H, W, 3], or a recording's only window. Raises ImageError where a recording has several."""
    if decoded.ndim == 3:
        return decoded
    if len(decoded) > 1:
        raise ImageError(FIELD, f"is of {len(decoded)} windows; an exemplar is of one, {WINDOW / RATE:.3f} s at most: cut it")
    only: Pixels = decoded[0]
    return only


def voted_together(model: ModelDescription, windows: Sequence[Answer]) -> Answer:
    """The answer to a recording, of the answers to its windows.

    Shares of the vote are means, and the label has the largest. A label's p-value is twice the mean of its p-values, 1 at most,
    which is a p-value however the windows hang together (Vovk and Wang, Combining p-values via averaging, 2020). Of labels that
    a window did not answer only a bound of the p-value is known, one minus its confidence, and the bound counts. The recording
    abstains where at least half of its windows do. Margins, distances and responses are means. Neighbours are the nearest of
    all windows, and the embedding is their mean, at unit length. What it would take to change such a vote is not known.
    """
    first = windows[0]
    if len(windows) == 1:
        return first
    shares = np.array([window.probabilities for window in windows], dtype=np.float64).mean(axis=0)
    label = int(np.argmax(shares))
    others = {window.label for window in windows} - {label}
    rest = max([_p_value(windows, other) for other in others] + [_p_value(windows, None)])
    answers = Answers(
        embeddings=_embedding(windows),
        labels=np.array([label]),
        probabilities=shares[None].astype(np.float32),
        credibility=np.array([_p_value(windows, label)]),
        confidence=np.array([1 - rest]),
        abstain=np.array([2 * sum(window.abstain for window in windows) >= len(windows)]),
        soft_margin=np.array([_mean(windows, "soft_margin")], np.float32),
        kth_distance=np.array([_mean(windows, "kth_distance")], np.float32),
        kth_distance_p_value=np.array([np.minimum(1.0, 2 * _mean(windows, "kth_distance_p_value"))]),
        softmax_response=np.array([_mean(windows, "softmax_response")], np.float32),
        poison_tolerance=np.array([NOT_KNOWN]),
        feature_shift=np.array([np.nan]),
        neighbours=_nearest(windows),
    )
    (answer,) = AnsweredBatch(model, answers, first.sources).one_by_one
    return answer


def _p_value(windows: Sequence[Answer], label: int | None) -> float:
    """Twice the mean of a label's p-values, or of their bounds; None for a label that no window answered. NaN stays NaN."""
    values = [window.credibility if window.label == label else 1 - window.confidence for window in windows]
    return float(np.minimum(1.0, 2 * np.mean(values)))


def _mean(windows: Sequence[Answer], name: str) -> float:
    return float(np.mean([getattr(window, name) for window in windows]))


def _embedding(windows: Sequence[Answer]) -> Floats:
    """float32 [1, D]; D is 0 where embeddings were not asked for."""
    mean = np.array([window.embedding for window in windows], dtype=np.float64).mean(axis=0, keepdims=True)
    unit: Floats = (mean / max(float(np.linalg.norm(mean)), 1e-12)).astype(np.float32)
    return unit


def _nearest(windows: Sequence[Answer]) -> Neighbours:
    """The k most similar exemplars of all windows, each once: [1, k]; k is 0 where they were not asked for."""
    near = [(window.batch.neighbours, window.row) for window in windows]
    ids = np.concatenate([each.ids[row] for each, row in near])
    labels = np.concatenate([each.labels[row] for each, row in near])
    similarities = np.concatenate([each.similarities[row] for each, row in near])
    order = np.lexsort((ids, -similarities))
    _, once = np.unique(ids[order], return_index=True)
    kept = order[np.sort(once)]
    kept = kept[np.argsort(ids[kept] < 0, kind="stable")][: len(ids) // len(windows)]  # nobody stands at the end
    return Neighbours(ids[kept][None], labels[kept][None], similarities[kept][None])
