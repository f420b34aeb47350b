"""What APIs, metrics and worker processes know about a served model."""

from functools import cached_property
from typing import Literal

from pydantic import BaseModel, ConfigDict

from holdfast.bundle.manifest import Accuracy, ThreatModelRecord
from holdfast.model.preprocess import InputContract
from holdfast.model.vote import VoteParameters


class PlacementRecord(BaseModel):
    """Where a model runs: the device, the GPU's name and why it is not the GPU ("" where there is nothing to say)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    device: Literal["cpu", "cuda"]
    gpu: str = ""
    text: str


class ModelDescription(BaseModel):
    """The description of one snapshot. It holds no array and no session, and travels to other processes as JSON.

    Attributes:
        version: the snapshot's; a larger one was published later.
        bundle_version: which bundle it is of: the name of its directory, and the begin of its manifest's SHA-256. Snapshots of
            one bundle that differ in their exemplars share it. "" where nobody has said.
        name, created, encoder_sha256: of the bundle; `created` is ISO 8601.
        contract: what images are decoded to.
        embedding_dim: D, the length of an embedding.
        class_names: by label.
        exemplars: labelled images in the index.
        exemplars_revision: sequence of the latest change of the exemplars that it has seen; 0 where none was made.
        calibration_stale: whether more exemplars have changed since credibility was calibrated than the operator allows.
        changed_share: exemplars changed since then, for each that it was calibrated with.
        vote: how neighbours become a label.
        abstain_below: the credibility below which an answer abstains, in [0, 1].
        threat_model: the attacker that evaluations and probes look for; epsilon in pixels of [0, 1]. None where it listens.
        hardened: whether the encoder was trained to withstand attacks.
        imported_from: what the encoder was imported from, as it was called; "" where it was trained from nothing.
        accuracy: as it was measured; None where the bundle was never evaluated.
        disagreement_ratio: share of exemplars whose own neighbours have another label, in [0, 1]; None where not measured.
        placement: where it runs.

    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: int
    bundle_version: str = ""
    name: str
    created: str
    encoder_sha256: str
    contract: InputContract
    embedding_dim: int
    class_names: tuple[str, ...]
    exemplars: int
    exemplars_revision: int = 0
    calibration_stale: bool = False
    changed_share: float = 0.0
    vote: VoteParameters
    abstain_below: float
    threat_model: ThreatModelRecord | None
    hardened: bool = True
    imported_from: str = ""
    accuracy: Accuracy | None
    disagreement_ratio: float | None
    placement: PlacementRecord

    @cached_property
    def longest_class_name(self) -> int:
        """Characters."""
        return max(map(len, self.class_names), default=0)

    def is_of_bundle_of(self, other: "ModelDescription") -> bool:
        """Whether both are known to be of one bundle, and differ in their exemplars at most."""
        return self.bundle_version != "" and self.bundle_version == other.bundle_version
