"""manifest.json: what a bundle is, in a schema with a version."""

import hashlib
import json
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from holdfast.bundle.migrations import FLAT, migrated
from holdfast.bundle.threat_model import Norm, ThreatModel
from holdfast.errors import HoldfastError, SchemaMismatchError
from holdfast.model.credibility import Calibration
from holdfast.model.preprocess import MAX_PIXELS, InputContract
from holdfast.model.retrieval.table import retriever_kind
from holdfast.model.vote import VoteParameters

SCHEMA_VERSION: Literal[5] = 5
"""Version 2 names the kind of the index, version 3 calibrates credibility by the shares of the vote that decides, version 4
says of what kind the input is, and in version 5 a bundle that listens names no ball of pixels. Older ones are read too: see
holdfast.bundle.migrations."""


MOST_BYTES = 32 * 2**20
"""Of the file. In memory it may become sixteen times as much; that of a million exemplars has less than one megabyte."""

MOST_FAULTS = 5
"""That an error names."""


class Record(BaseModel):
    """A part of the manifest: immutable, and nothing unknown in it."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class ThreatModelRecord(Record):
    """The threat model that the bundle is evaluated and probed under; epsilon in pixels of [0, 1].

    That there is one does not say that the encoder was trained for it: see `Manifest.hardened`.
    """

    norm: Norm
    epsilon: float = Field(ge=0)

    def model(self) -> ThreatModel:
        """As the value that attacks take."""
        return ThreatModel(self.norm, self.epsilon)


class DataRecord(Record):
    """The labelled set, so that the index builder reads the same one again.

    `label_noise` is the share of the training labels that were drawn anew, by `seed`; see holdfast.data.noise.
    `directory` is as it was typed, so a relative one is looked for from where one stands; elsewhere there is --data-dir.
    `labels` is how many labels of the training part were known, drawn by the seed; None if all were.
    """

    name: str
    directory: str | None = None
    sha256: str
    calibration: int = Field(ge=0)
    seed: int
    max_pixels: int = Field(default=MAX_PIXELS, ge=1)
    labels: int | None = Field(default=None, ge=1)
    label_noise: float = Field(default=0.0, ge=0, le=1)


class ContinuedRecord(Record):
    """What an encoder went on from, and what came in for it to learn from: holdfast train RUN --continue-with DIR.

    `parent` is the name of the bundle and `parent_sha256` the hash of its encoder. `images` of those that came in were learned
    from, which are the chunk of this number, from 0, of all that the encoder has learned from; `sha256` is the hash of these
    images and of those that came in before. Left out were as many as are `held_out` (nearly the same as an image that
    credibility is calibrated on, or that is kept to test), `repeated` (as an earlier one) and `outliers` (unlike what the
    parent knew).
    """

    parent: str = Field(min_length=1)
    parent_sha256: str
    images: int = Field(ge=2)
    chunk: int = Field(ge=1)
    sha256: str
    held_out: int = Field(ge=0)
    repeated: int = Field(ge=0)
    outliers: int = Field(ge=0)


class HardeningRecord(Record):
    """What an encoder that existed before was hardened by, and within which ball: holdfast robustify --from BUNDLE.

    `parent` is the name of that bundle and `parent_sha256` the hash of its encoder. `method` is what was minimised, under
    attacks within `norm` and `epsilon`, in pixels of [0, 1]. The first `frozen_layers` layers with weights stayed as they were;
    with `adapters` above 0 the others were changed by matrices of this rank alone.
    """

    parent: str = Field(min_length=1)
    parent_sha256: str
    method: Literal["fare", "deacl", "ssat", "trades"]
    norm: Norm
    epsilon: float = Field(ge=0)
    frozen_layers: int = Field(default=0, ge=0)
    adapters: int = Field(default=0, ge=0)


class TrainingRecord(Record):
    """How the encoder was trained here: from nothing, or, where `hardened_from` says so, from one that existed.

    `augmentations` says in words how the labelled set itself was changed before it was learned from, for instance recordings
    heard in rooms and in noise; "" where it was not. `hardened` says whether attacked images were learned from. Bundles of
    before do not say it, and are taken for hardened.
    """

    command: str
    seed: int
    commit: str
    objective: str
    encoder: str
    steps: int = Field(ge=0)
    seconds: float = Field(ge=0)
    data: DataRecord
    augmentations: str = ""
    hardened: bool = True
    continued: ContinuedRecord | None = None
    hardened_from: HardeningRecord | None = None


class ImportRecord(Record):
    """Where an encoder came from that was first trained elsewhere: holdfast import MODEL --out BUNDLE.

    `source` is the name of the file and `sha256` the hash of what was read. The graph takes (pixels * range - mean) / std, with
    channels in this order and layout, and its value `output` is the embedding, after `pool`. `weights` says what the bundle's
    graphs store: those of float16 were rounded. `largest_difference` is of any number of any embedding of unit length, between
    the bundle's encoder and the model as it came. `processor_difference` is the same where the model's own processor prepares
    pictures of other sizes, and `processor_levels` how far that is from ours, the mean over all pixels in grey levels; null
    where there is none to compare with.
    """

    command: str
    commit: str
    source: str = Field(min_length=1)
    sha256: str
    output: str
    pool: Literal["none", "cls", "mean", "flat"]
    layout: Literal["nchw", "nhwc"]
    channels: Literal["rgb", "bgr"]
    range: Literal[1, 255]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    weights: Literal["float32", "float16"] = "float32"
    largest_difference: float = Field(ge=0)
    processor_difference: float | None = Field(default=None, ge=0)
    processor_levels: float | None = Field(default=None, ge=0)


class IndexedSet(Record):
    """The labelled set that the exemplars are of, where it is not the encoder's own.

    `data` is the name of a built-in set, or an absolute path. `calibration` and `seed` say how it was split. `sha256` and
    `test_sha256` are of what was read; see holdfast.data.digest. Of a bundle whose exemplars come from several sets this is
    the last one, and `merged` is true: its test part is what the bundle is evaluated on. `already_there` counts its images that
    were exemplars before, and so were not added. `few_shot` says that nothing was held out but what the set itself holds out.
    """

    data: str
    directory: str | None = None
    sha256: str
    test_sha256: str
    test_images: int = Field(ge=0)
    calibration: int = Field(ge=0)
    seed: int
    max_pixels: int = Field(default=MAX_PIXELS, ge=1)
    merged: bool = False
    few_shot: bool = False
    already_there: int = Field(default=0, ge=0)


class VoteAgreement(Record):
    """Held-out images, and how many of them an index answers as an exact search of the same exemplars does."""

    alike: int = Field(ge=0)
    images: int = Field(ge=1)


class DoubtedLabels(Record):
    """Whose labels the exemplars have, how many of the given ones were doubted, and what was done about these."""

    labels: Literal["given", "audited", "adapted"]
    doubted: int = Field(ge=0)
    done: Literal["flagged", "relabelled", "left out"]


class IndexRecord(Record):
    """What holdfast index built, why, and what it measured of it.

    `kind` is one of holdfast.model.retrieval.table.RETRIEVERS, and `parameters` are what an index of that kind is opened with.
    `data` is what the exemplars are of; without it, the set of the training record. `renamed` gives the bundle's name of each
    class that the set calls otherwise; several may have become one. `next_id` is the id of the next exemplar that is added: one
    more than the largest that there ever was, of exemplars that are gone as well. Bundles of before do not say it. `labels`
    says what became of labels that were doubted, where somebody looked.
    """

    kind: str = Field(default=FLAT, min_length=1)
    exemplars: int = Field(ge=1)
    recall_at_k: float = Field(ge=0, le=1)
    disagreement_ratio: float = Field(ge=0, le=1)
    command: str
    parameters: dict[str, int | float | str] = Field(default_factory=dict)
    vote_agreement: VoteAgreement | None = None
    reason: str | None = None
    data: IndexedSet | None = None
    renamed: dict[str, str] = Field(default_factory=dict)
    next_id: int | None = Field(default=None, ge=0)
    labels: DoubtedLabels | None = None


class Accuracy(Record):
    """Measured on the answers as served. Fractions in [0, 1]; epsilon in pixels of [0, 1]."""

    clean: float = Field(ge=0, le=1)
    robust: float = Field(ge=0, le=1)
    norm: Norm
    epsilon: float = Field(ge=0)
    attack: str
    images: int = Field(ge=1)


class Manifest(Record):
    """The whole manifest."""

    schema_version: Literal[5] = SCHEMA_VERSION
    name: str = Field(min_length=1)
    created: str
    files: dict[str, str] = Field(default_factory=dict, description="relative path -> sha256, every file of the bundle")
    input: InputContract
    embedding_dim: int = Field(ge=1)
    metric: Literal["cosine"] = "cosine"
    class_names: tuple[str, ...] = Field(description="none of an imported or hardened encoder, until there is an index")
    vote: VoteParameters
    surrogate_tau: float = Field(default=0.05, gt=0)
    threat_model: ThreatModelRecord | None = Field(description="null where the input is speech")
    training: TrainingRecord | None = Field(default=None, description="null where the encoder was imported and left as it was")
    imported: ImportRecord | None = Field(default=None, description="null where the training began from nothing")
    index: IndexRecord | None = None
    calibration: Calibration | None = None
    uncalibrated: str | None = Field(default=None, description="why there is no calibration, for people")
    accuracy: Accuracy | None = None

    @model_validator(mode="after")
    def _consistent(self) -> "Manifest":
        if self.calibration is not None and self.uncalibrated is not None:
            raise ValueError("it holds a calibration, and says why there is none")
        if self.training is None and self.imported is None:
            raise ValueError("an encoder was trained, or imported, or both: there is a record of it")
        existed = self.imported is not None or (self.training is not None and self.training.hardened_from is not None)
        if len(self.class_names) < 2 and (self.class_names or not existed or self.index is not None):
            raise ValueError("there must be two classes or more")
        if len(set(self.class_names)) != len(self.class_names) or not all(self.class_names):
            raise ValueError("class names must be different from each other, and none empty")
        if len(self.vote.class_weights) not in {0, len(self.class_names)}:
            raise ValueError(f"the vote weighs {len(self.vote.class_weights)} classes of {len(self.class_names)}")
        if (self.threat_model is None) != (self.input.kind == "speech"):
            raise ValueError("a threat model is a ball of pixels: bundles that look at images have one, those that listen none")
        return self

    @property
    def ball(self) -> ThreatModel:
        """The threat model, of a bundle that looks at images.

        Raises:
            HoldfastError: it listens.

        """
        if self.threat_model is None:
            raise HoldfastError(f"{self.name} listens, and no attacker of sound is modelled: there is no ball of pixels for it")
        return self.threat_model.model()

    @property
    def hardened(self) -> bool:
        """Whether the encoder was trained to withstand attacks on pixels."""
        return self.threat_model is not None and self.training is not None and self.training.hardened

    @property
    def trained(self) -> TrainingRecord:
        """How the encoder was trained.

        Raises:
            HoldfastError: it was imported, and nobody here knows.

        """
        if self.training is None:
            source = self.imported.source if self.imported else "elsewhere"
            raise HoldfastError(
                f"the encoder of {self.name} was imported from {source}: there is no training set of its own; name a set by"
                " holdfast index BUNDLE --data DIR"
            )
        return self.training

    @property
    def abstain_below(self) -> float | None:
        """The credibility below which the server abstains; None without a calibration."""
        return self.calibration.abstain_below if self.calibration else None

    @property
    def index_kind(self) -> str:
        """The kind of the index; flat where nothing is recorded of it."""
        return self.index.kind if self.index else FLAT

    @property
    def index_files(self) -> tuple[str, ...]:
        """The names of the index's files. Raises BundleError where this holdfast has no such kind of index."""
        return retriever_kind(self.index_kind).files

    @property
    def index_sha256(self) -> str:
        """The hash of the index's file; where it has several, the hash of their hashes, as hexadecimal text, in order."""
        hashes = [self.files[name] for name in self.index_files]
        return hashes[0] if len(hashes) == 1 else hashlib.sha256("".join(hashes).encode()).hexdigest()

    def to_json(self) -> bytes:
        """UTF-8 JSON that a person can read, the same bytes for the same manifest."""
        return (json.dumps(self.model_dump(mode="json"), indent=2, ensure_ascii=False) + "\n").encode()

    @classmethod
    def from_json(cls, text: bytes, where: str) -> "Manifest":
        """Parse and validate. A manifest of an older schema comes out as one of this version; its file stays as it is.

        Raises:
            SchemaMismatchError: not JSON, a newer schema version, or a field that is missing, unknown or out of range.

        """
        try:
            values = json.loads(text)
            version = values.get("schema_version")
        except (ValueError, AttributeError, RecursionError):
            raise SchemaMismatchError(f"{where} is not a JSON object; the bundle is damaged, make it again") from None
        if type(version) is not int or version != SCHEMA_VERSION:
            text = json.dumps(migrated(values, SCHEMA_VERSION, where)).encode()
        try:
            return cls.model_validate_json(text, strict=True)
        except ValidationError as error:
            errors = error.errors(include_url=False, include_context=False, include_input=False)
            faults = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'manifest'}: {e['msg']}" for e in errors[:MOST_FAULTS])
            faults += f"; and {len(errors) - MOST_FAULTS} more" if len(errors) > MOST_FAULTS else ""
            raise SchemaMismatchError(f"{where} does not follow the schema: {faults}") from None
