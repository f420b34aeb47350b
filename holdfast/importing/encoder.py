"""A foreign image encoder, read and understood: file, preprocessing, graph and pooling as one torch module."""

from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path

from holdfast.importing.conversion import to_torch
from holdfast.importing.errors import EncoderImportError
from holdfast.importing.preprocessing import ForeignEncoder, InputOptions, Pool, Preprocessing, choose_pool, preprocessing_of
from holdfast.importing.source import OnnxSource, features_before, read_onnx


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

    """

    source: OnnxSource
    preprocessing: Preprocessing
    output: str
    pool: Pool
    encoder: ForeignEncoder
    features: str | None


def read_encoder(path: Path, options: EncoderOptions) -> ImportedEncoder:
    """Read a model and make a torch module of it.

    Raises:
        EncoderImportError: it is no image encoder, or something must be said of it; the message says what.
        OSError: it cannot be read.

    """
    if path.is_dir():
        raise EncoderImportError(f"{path} is a directory; an ONNX file is imported: export the model with torch.onnx.export")
    source = read_onnx(path)
    preprocessing = preprocessing_of(source, options.input)
    output = _output(source, options.output)
    graph, sizes = to_torch(source.model, output, preprocessing.shape, source.batch)
    pool = choose_pool(sizes, options.pool, output)
    encoder = ForeignEncoder(graph, preprocessing, pool, len(sizes)).eval()
    features = features_before(source.model, output) if pool == "none" and output in source.outputs else None
    return ImportedEncoder(source, preprocessing, output, pool, encoder, features)


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
