"""What becomes of answers where images are not as they were, and nobody attacked them."""

from holdfast.evaluation.report.parts.base import Measured, ReportPart


class ShiftResult(ReportPart):
    """The attacked images, not attacked but under one shift.

    Attributes:
        name: of the shift, for instance "noise"; "clean" for none.
        accuracy: answered rightly, abstentions counted as they are labelled.
        answered: not abstained from.
        wrong: answered and wrong.
        flips: of another label than without the shift.

    """

    name: str
    accuracy: Measured
    answered: Measured
    wrong: Measured
    flips: Measured
