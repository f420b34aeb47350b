"""The encoder that is hardened, as a bundle brings it and as a run keeps it: the bundle may be gone when the run is resumed."""

from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from pathlib import Path

from holdfast.bundle.manifest import HardeningRecord, ImportRecord, Manifest, Record
from holdfast.bundle.reader import ENCODER, Bundle
from holdfast.errors import HoldfastError
from holdfast.files import write_atomically
from holdfast.importing.encoder import EncoderOptions, read_encoder
from holdfast.importing.source import read_onnx
from holdfast.trainer.config import TrainConfig
from holdfast.trainer.encoders import GraphConfig
from holdfast.trainer.encoders.recorded import SOURCE
from holdfast.trainer.encoders.weight_layers import graph_of, layers_of
from holdfast.trainer.state.checkpoint import resumes

RECORD = Path("checkpoint") / "source.json"


class HardenedSource(Record):
    """What a run keeps of where its encoder came from: what is hardened how, and its import where it was imported."""

    record: HardeningRecord
    imported: ImportRecord | None = None


@dataclass(frozen=True)
class ParentBundle:
    """A bundle whose encoder is to be hardened.

    Attributes:
        directory: where it lies.
        manifest: of the bundle.

    """

    directory: Path
    manifest: Manifest

    @classmethod
    def open(cls, directory: Path) -> "ParentBundle":
        """Open and verify. Raises BundleError where it is damaged, and HoldfastError where it cannot be hardened."""
        manifest = Bundle.open_encoder(directory).manifest
        if manifest.input.kind == "speech":
            raise HoldfastError(
                f"{directory} listens: pictures of sound are not attacked, so there is nothing to harden against"
            )
        return cls(directory, manifest)

    @property
    def encoder_sha256(self) -> str:
        """Of its encoder.onnx as it lies there."""
        return self.manifest.files[ENCODER]

    @cached_property
    def layers(self) -> int:
        """How many layers with weights its encoder has."""
        return len(layers_of(graph_of(read_encoder(self.directory / ENCODER, EncoderOptions()).encoder)))

    @cached_property
    def graph(self) -> bytes:
        """Its encoder.onnx in one file, with all weights inside; the same bytes each time."""
        content: bytes = read_onnx(self.directory / ENCODER).model.SerializeToString(deterministic=True)
        return content

    def config(self, out: Path, *, frozen_layers: int = 0, adapters: int = 0, segments: int = 0) -> GraphConfig:
        """The encoder of a run into `out`, where `keep` will have left the graph."""
        fitting = self.manifest.input.fitting
        return GraphConfig(
            out / SOURCE,
            sha256(self.graph).hexdigest(),
            self.manifest.embedding_dim,
            **fitting._asdict(),
            frozen_layers=frozen_layers,
            adapters=adapters,
            segments=segments,
        )

    def keep(self, config: TrainConfig, hardened: HardeningRecord) -> None:
        """Leave in a run's directory what it begins with; what a run that is resumed began with stays."""
        if resumes(config) and (config.out / SOURCE).is_file():
            return
        write_atomically(config.out / SOURCE, self.graph)
        kept = HardenedSource(record=hardened, imported=self.manifest.imported)
        write_atomically(config.out / RECORD, (kept.model_dump_json(indent=2) + "\n").encode())


def hardened_source(config: TrainConfig) -> HardenedSource | None:
    """What the run in `config.out` hardens; None where it trains an encoder from nothing.

    Raises:
        HoldfastError: the record is not there or damaged.

    """
    if not isinstance(config.encoder, GraphConfig):
        return None
    path = config.out / RECORD
    try:
        return HardenedSource.model_validate_json(path.read_bytes())
    except (OSError, ValueError) as error:
        raise HoldfastError(
            f"{path} is damaged or gone: {error}; the same holdfast robustify command writes it again"
        ) from None
