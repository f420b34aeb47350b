"""A foreign image encoder, read and understood: file, preprocessing, graph and pooling as one torch module."""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path

from holdfast.importing.conversion import to_torch
from holdfast.importing.errors import EncoderImportError
from holdfast.importing.preprocessing import ForeignEncoder, InputOptions, Pool, Preprocessing, choose_pool, preprocessing_of
from holdfast.importing.pretrained.files import find_pretrained, is_pretrained
from holdfast.importing.pretrained.processing import ModelProcessor, preprocessing_of_processor
from holdfast.importing.pretrained.towers import KEPT, ImageTower, TowerModel, export_tower, load_tower
from holdfast.importing.reference import SourceModel
from holdfast.importing.source import OnnxSource, features_before, read_onnx, understand


@dataclass(frozen=True, kw_only=True)
class EncoderOptions:
    """What a person says of a model.

    Attributes:
        input: of its input, where the file does not say it.
        output: the value that becomes the embedding; None for the only output.
        pool: how one vector comes of several; None where there is one.

    """

    input: InputOptions = field(default_factory=InputOptions)
    output: str | None = None
    pool: Pool | None = None


@dataclass(frozen=True)
class ImportedEncoder:
    """A foreign model, understood.

    Attributes:
        source: the file.
        preprocessing: in front of its graph.
        output: the value that becomes the embedding.
        pool: behind that.
        encoder: all of it: float [N, 3, H, W] in [0, 1] -> float [N, D]; on the CPU, frozen.
        features: a value that may be the better embedding, where `output` are the scores of classes.
        tower: of a model of transformers, with its processor; None of an ONNX file.

    """

    source: OnnxSource
    preprocessing: Preprocessing
    output: str
    pool: Pool
    encoder: ForeignEncoder
    features: str | None
    tower: tuple[ImageTower, ModelProcessor] | None = None

    def reference(self) -> AbstractContextManager[SourceModel | TowerModel]:
        """The model as it came, by the library that it came from: what a bundle's encoder is held against."""
        if self.tower is not None:
            return nullcontext(TowerModel(self.tower[0], self.preprocessing))
        return SourceModel(self.source, self.output, self.preprocessing, self.pool)


def read_encoder(path: Path, options: EncoderOptions) -> ImportedEncoder:
    """Read a model and make a torch module of it.

    Raises:
        EncoderImportError: it is no image encoder, or something must be said of it; the message says what.
        OSError: it cannot be read.

    """
    if is_pretrained(path):
        return _read_pretrained(path, options)
    source = read_onnx(path)
    preprocessing = preprocessing_of(source, options.input)
    output = _output(source, options.output)
    graph, sizes = to_torch(source.model, output, preprocessing.shape, source.batch)
    pool = choose_pool(sizes, options.pool, output)
    encoder = ForeignEncoder(graph, preprocessing, pool, len(sizes)).eval()
    features = features_before(source.model, output) if pool == "none" and output in source.outputs else None
    return ImportedEncoder(source, preprocessing, output, pool, encoder, features)


def _read_pretrained(path: Path, options: EncoderOptions) -> ImportedEncoder:
    files = find_pretrained(path)
    if options != EncoderOptions():
        raise EncoderImportError(
            f"{files.name} comes with its own processor and embedding: leave out --size, --layout, --channels, --range, --mean,"
            " --std, --resample, --crop, --output and --pool"
        )
    processor = ModelProcessor(files)
    preprocessing = preprocessing_of_processor(processor.values, files.name)
    tower = load_tower(files, preprocessing)
    source = understand(export_tower(tower, preprocessing), Path(files.name), files.sha256())
    (output,) = source.outputs
    graph, sizes = to_torch(source.model, output, preprocessing.shape, source.batch)
    encoder = ForeignEncoder(graph, preprocessing, "none", len(sizes)).eval()
    return ImportedEncoder(source, preprocessing, KEPT[tower.embedding], "none", encoder, None, (tower, processor))


def _output(source: OnnxSource, asked: str | None) -> str:
    names = ", ".join(source.outputs)
    if asked is None:
        if len(source.outputs) != 1:
            first = next(iter(source.outputs), "NAME")
            raise EncoderImportError(
                f"{source.path} has {len(source.outputs)} outputs ({names}): say which one is the embedding, for instance"
                f" --output {first}; of detection heads none is: name a value before them"
            )
        return next(iter(source.outputs))
    made = [name for node in source.model.graph.node for name in node.output if name]
    if asked not in made:
        alike = get_close_matches(asked, made, n=3) or made[-3:]
        raise EncoderImportError(
            f"{source.path} has no value {asked!r}; its outputs are {names}; near to it: {', '.join(alike)}"
        )
    return asked
