"""New exemplars are judged before they vote: a doubtful one is stored, and waits in quarantine for an operator.

Three questions, in this order; the first that is answered with yes is the reason:

1. Is it one of a burst of near-duplicates? A single image, sent again and again with small changes, would outvote others.
2. Do its neighbours say otherwise? In a class that has as many exemplars as there are voters, its label's conformal p-value is
   asked for, so that at most a share `doubt` of honest exemplars is held back (as far as they are like the calibration images).
   This is deep kNN against poison (Peri et al. 2019, arXiv 1909.13374) with the evidence of a calibrated vote instead of a bare
   plurality, which would hold back every honest image that the vote gets wrong.
   A class that is new or small cannot win a vote. There, an exemplar has to be nearer to the mean of its own class, its batch
   included, than to any other class's, as in prototypical networks (Snell et al. 2017, arXiv 1703.05175). The first one of a
   class, which has no company, has to lie apart from all other classes.
3. Would it change recent answers? What was added lately is taken out of them, and put in again with the new rows: where more
   than a share `changed` of the labels differ, the rows that did it are held back. This counts what many small changes come to.
   See Jia et al. 2020, arXiv 2012.03765, for how many insertions a vote bears.

What is not judged: pixels, who sends them, and an encoder that was itself trained on poisoned data. Recent answers are a
sample, so a poison that is aimed at one image which nobody asks for passes the third question, and has to fail the second.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from holdfast.model.answers import Answers, Floats, Ints
from holdfast.server.core.snapshot import ModelSnapshot
from holdfast.server.store.judging.disagreement import by_prototypes, by_vote
from holdfast.server.store.judging.geometry import NEAR_DUPLICATE, ClassGeometry, geometry_of
from holdfast.server.store.judging.impact import Impact, Rows, impact_of
from holdfast.server.store.records import JudgedRows, Judgement


@dataclass(frozen=True)
class JudgeParameters:
    """What counts as doubtful.

    Attributes:
        doubt: largest conformal p-value of its own label with which an exemplar is held back, in (0, 1).
        burst: near-duplicates within the window from which on they are held back.
        window: rows added lately that are remembered.
        changed: largest share of recent answers that rows added lately may change, in [0, 1].
        least_changed: answers that have to change at least, however small the sample is.

    """

    doubt: float = 0.05
    burst: int = 5
    window: int = 1000
    changed: float = 0.05
    least_changed: int = 5


class NeighbourJudge:
    """Judges new exemplars by their neighbours, by each other, and by what they would do to recent answers.

    It remembers the rows of late in memory alone: after a restart the window begins anew. Belongs to the store's thread.
    """

    def __init__(self, parameters: JudgeParameters | None = None) -> None:
        self._parameters = parameters or JudgeParameters()
        self._bundle = ""
        self._geometry: ClassGeometry | None = None
        self._lately: Rows | None = None
        self._changed: dict[bytes, bool] = {}
        self._voting = np.zeros(0, dtype=np.bool_)  # which of these were not held back

    def __call__(self, rows: JudgedRows, snapshot: ModelSnapshot, recent: Answers | None) -> Sequence[Judgement]:
        """One judgement a row; see holdfast.server.store.records.Judge."""
        if not len(rows):
            return []
        self._follow(snapshot, rows.embeddings)
        self._forget(rows.ids)
        reasons = self._bursts(rows.embeddings)
        self._hold_back(reasons, self._disagreements(rows, reasons, snapshot))
        if recent is not None and recent.embeddings.shape[1] == rows.embeddings.shape[1]:
            self._hold_back(reasons, self._changes(rows, reasons, snapshot, recent))
        self._remember(rows, reasons)
        return [Judgement(bool(reason), reason) for reason in reasons]

    def _follow(self, snapshot: ModelSnapshot, embeddings: Floats) -> None:
        """Look at the index anew where it is another one, or has changed by more than a little."""
        model, lately = snapshot.description, self._lately
        other = self._bundle != model.bundle_version
        if lately is None or other:
            self._lately = Rows(embeddings[:0], np.zeros(0, np.int64), np.zeros(0, np.int64))
            self._voting = np.zeros(0, dtype=np.bool_)
            self._changed = {}
        if self._geometry is None or other or self._geometry.is_stale(model.exemplars, len(model.class_names)):
            self._geometry = geometry_of(snapshot.classifier.retriever, len(model.class_names))
        self._bundle = model.bundle_version

    def _forget(self, ids: Ints) -> None:
        """Rows that come again under their ids: they were relabelled, or were not added after all."""
        others = ~np.isin(self._known.ids, ids)
        self._lately, self._voting = self._known.take(others), self._voting[others]

    def _bursts(self, embeddings: Floats) -> list[str]:
        distance = self._geometry.near_duplicate if self._geometry is not None else NEAR_DUPLICATE
        both = np.concatenate([self._known.embeddings, embeddings])
        alike = (embeddings @ both.T >= 1 - distance).sum(axis=1)
        burst = self._parameters.burst
        return [f"one of {n} nearly identical images that came lately" if n >= burst else "" for n in alike.tolist()]

    def _disagreements(self, rows: JudgedRows, reasons: Sequence[str], snapshot: ModelSnapshot) -> list[str]:
        names, k, geometry = snapshot.description.class_names, snapshot.description.vote.k, self._geometry
        passed = np.array([not reason for reason in reasons])
        grown = rows.labels < len(names)
        if geometry is not None:
            # Those that came lately do not vote here, so a class that consists of them is a small one still.
            lately = (self._known.labels[self._voting] == rows.labels[:, np.newaxis]).sum(axis=1)
            grown &= rows.served - lately >= k
        found = by_vote(rows.take(passed & grown), snapshot, self._parameters.doubt, self._known.ids[self._voting])
        said = np.full(len(rows), "", dtype=object)
        said[passed & grown] = found
        if geometry is not None:
            said[passed & ~grown] = by_prototypes(rows.take(passed & ~grown), geometry, names)
        return [str(reason) for reason in said]

    def _changes(self, rows: JudgedRows, reasons: Sequence[str], snapshot: ModelSnapshot, recent: Answers) -> list[str]:
        names, parameters = snapshot.description.class_names, self._parameters
        passed = np.array([not reason for reason in reasons])
        asked, said = len(recent.labels), np.full(len(rows), "", dtype=object)
        new = rows.take(passed)
        voting = self._known.take(self._voting)
        impact = impact_of(Rows(new.embeddings, new.labels, new.ids), voting, recent, snapshot.description.vote)
        now = self._now_changed(recent, impact)
        changed = sum(now.values())
        if changed >= parameters.least_changed and changed > parameters.changed * asked:
            begin = f"with others that came lately, it changes {changed} of {asked} recent answers, to"
            said[passed] = [
                f"{begin} {names[label] if label < len(names) else 'a new class'}" if guilty else ""
                for guilty, label in zip(impact.guilty, new.labels.tolist(), strict=True)
            ]
        else:
            self._changed = now  # where rows are held back, nothing changes
        return [str(reason) for reason in said]

    def _now_changed(self, recent: Answers, impact: Impact) -> dict[bytes, bool]:
        """Of each recent answer, by its embedding, whether rows of late change it. Only those reached are looked at anew."""
        answers = [row.tobytes() for row in recent.embeddings]
        now = {answer: self._changed.get(answer, False) for answer in answers}
        now.update({answers[place]: bool(is_) for place, is_ in zip(impact.reached, impact.changed, strict=True)})
        return now

    @property
    def _known(self) -> Rows:
        assert self._lately is not None  # noqa: S101 - set by _follow
        return self._lately

    def _hold_back(self, reasons: list[str], more: Sequence[str]) -> None:
        for row, reason in enumerate(more):
            reasons[row] = reasons[row] or reason

    def _remember(self, rows: JudgedRows, reasons: Sequence[str]) -> None:
        passed, window = np.array([not reason for reason in reasons]), self._parameters.window
        if self._geometry is not None:
            self._geometry.add(rows.embeddings[passed], rows.labels[passed])
        self._lately = self._known.followed_by(Rows(rows.embeddings, rows.labels, rows.ids)).latest(window)
        self._voting = np.concatenate([self._voting, passed])[-window:]
