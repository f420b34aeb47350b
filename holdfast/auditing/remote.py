"""A running server as a function of images: every answer comes over gRPC, and is counted."""

import itertools
import math
import random
import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from holdfast.client import Answer, Client, ClientError, OverloadedError, UnreachableError
from holdfast.client.messages import Outcome
from holdfast.model.preprocess import Pixels

Scores = NDArray[np.float32]

MOST_PATIENT_S = 60.0
"""Seconds in a row that a server may have no room, or not be there, before that is an error."""

AT_ONCE = 64
"""Images of one call: few, so that other callers of the server get their turn."""

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.05, 2.0
"""Seconds between two tries of a call, where the server names none: doubled each time, up to the longest."""

AHEAD = 1e-6
"""By which the answered class leads where it shares the largest part of the vote: ties are the server's to break."""


class RemoteClassifier:
    """Labels and scores of a server, as its callers get them. Safe to share between threads, as the client is.

    A server that has no room is asked again, after the pause that it asks for: an attack takes hours, and what it was not
    told for a moment is not an answer.

    Attributes:
        queries: images that were answered.

    Args:
        client: connected to the server.
        patience: seconds in a row without an answer after which the error is raised.
        sleep: waits so many seconds.

    Raises:
        ClientError: the server does not say what it serves.

    """

    def __init__(
        self, client: Client, *, patience: float = MOST_PATIENT_S, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self._client, self._patience, self._sleep = client, patience, sleep
        self.info = client.model_info()
        self.queries = 0

    @property
    def classes(self) -> int:
        """How many classes there are."""
        return len(self.info.class_names)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of an image as the encoder takes it: images of this size are not resized by the server."""
        return self.info.input_shape[:2]

    def answers(self, images: Pixels) -> list[Answer]:
        """What the server answers to images uint8 [N, H, W, 3], N >= 0.

        Raises:
            ClientError: the server refused an image or the call, or had no room for too long.

        """
        parts = [self._ask(images[start : start + AT_ONCE]) for start in range(0, len(images), AT_ONCE)]
        return [answer for part in parts for answer in part]

    def labels(self, images: Pixels) -> NDArray[np.int64]:
        """The answered classes: uint8 [N, H, W, 3] -> int64 [N]."""
        return np.array([answer.index for answer in self.answers(images)], dtype=np.int64)

    def scores(self, images: Pixels, *, abstains: bool = False) -> Scores:
        """Shares of the vote: uint8 [N, H, W, 3] -> float32 [N, C], of which the answered class's is the largest.

        Args:
            images: what is asked about.
            abstains: add a last class, "no answer", whose score is 1 where the server abstains and 0 elsewhere.

        """
        answers = self.answers(images)
        scores = np.zeros((len(answers), self.classes + abstains), dtype=np.float32)
        for row, answer in zip(scores, answers, strict=True):
            if abstains and answer.abstain:
                row[-1] = 1.0
                continue
            row[: self.classes] = answer.probabilities
            if row.argmax() != answer.index or (row == row.max()).sum() > 1:
                row[answer.index] = row.max() + AHEAD
        return scores

    def _ask(self, images: Pixels) -> list[Answer]:
        """The answers of one call, which is tried again while there is no room for it."""
        began = time.monotonic()
        for tried in itertools.count():
            try:
                answers = [_answer_of(outcome) for outcome in self._client.classify_many(images)]
            except (OverloadedError, UnreachableError) as error:
                if time.monotonic() - began > self._patience:
                    raise
                self._sleep(_pause(error, tried))
            else:
                break
        self.queries += len(images)
        return answers


def _answer_of(outcome: Outcome) -> Answer:
    if isinstance(outcome, ClientError):
        raise outcome
    return outcome


def _pause(error: ClientError, tried: int) -> float:
    wanted = error.retry_after if isinstance(error, OverloadedError) else None
    if wanted is None:
        wanted = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * math.pow(2, min(tried, 30)))
    return wanted * random.uniform(1.0, 1.5)  # so that many auditors do not come back together
