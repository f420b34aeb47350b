"""What lies in a directory that transformers saved, looked at before any of it is loaded. Nothing is fetched from elsewhere."""

import hashlib
import json
import logging
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from holdfast.importing.errors import EncoderImportError

CONFIG, WEIGHTS, WEIGHTS_INDEX = "config.json", "model.safetensors", "model.safetensors.index.json"
PROCESSORS = ("preprocessor_config.json", "processor_config.json")

MISSING_EXTRA = "models of transformers need the extra 'transformers': pip install 'holdfast[transformers]'"

EXAMPLE = (
    '{"image_processor_type": "CLIPImageProcessor", "size": {"shortest_edge": 224}, "do_center_crop": true,'
    ' "crop_size": {"height": 224, "width": 224}, "resample": 3, "image_mean": [0.4815, 0.4578, 0.4082],'
    ' "image_std": [0.2686, 0.2613, 0.2758]}'
)

PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.h5", "*.msgpack")

_HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")


@dataclass(frozen=True)
class PretrainedFiles:
    """A directory of transformers.

    Attributes:
        folder: where its files lie.
        name: as a person calls it.
        config: of the model, as config.json has it.
        processor: of its images, as preprocessor_config.json has it.
        weights: files of safetensors, whole as far as their headers tell.
        read: all files that say what the encoder computes.

    """

    folder: Path
    name: str
    config: Mapping[str, Any]
    processor: Mapping[str, Any]
    weights: tuple[Path, ...]
    read: tuple[Path, ...]

    @property
    def kind(self) -> str:
        """The model's kind, as transformers calls it: clip, vit, dinov2; "" where config.json does not say."""
        return str(self.config.get("model_type", ""))

    def sha256(self) -> str:
        """Of all that was read, one file after the other."""
        digest = hashlib.sha256()
        for path in self.read:
            with path.open("rb") as file:
                while block := file.read(2**20):
                    digest.update(block)
        return digest.hexdigest()


def is_pretrained(path: Path) -> bool:
    """Whether this is meant to be a model of transformers: a directory, or ORGANISATION/NAME of which there is no file."""
    return path.is_dir() or (not path.exists() and path.suffix != ".onnx" and _HUB_NAME.fullmatch(path.as_posix()) is not None)


def find_pretrained(path: Path) -> PretrainedFiles:
    """Look at a directory, or at a model of that name in the local cache.

    Raises:
        EncoderImportError: it is no model of transformers, lacks a file, or has its weights in pickles, which are never loaded.
        OSError: it cannot be read.

    """
    folder = path if path.is_dir() else _cached(path.as_posix())
    if not (folder / CONFIG).is_file():
        raise EncoderImportError(
            f"{path} is a directory without {CONFIG}: neither an ONNX file nor what save_pretrained of transformers writes"
        )
    weights = _weights(folder)
    processor, read = _processor(folder, path)
    return PretrainedFiles(
        folder=folder,
        name=path.name or str(path.resolve().name) if path.is_dir() else path.as_posix(),
        config=_object(folder / CONFIG),
        processor=processor,
        weights=weights,
        read=(folder / CONFIG, read, *weights),
    )


def _cached(name: str) -> Path:
    try:
        from huggingface_hub import snapshot_download  # noqa: PLC0415 - an extra
        from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError  # noqa: PLC0415
    except ImportError:
        raise EncoderImportError(f"there is no file {name}, and {MISSING_EXTRA}") from None
    try:
        return Path(snapshot_download(name, local_files_only=True))
    except (LocalEntryNotFoundError, HFValidationError, OSError):
        raise EncoderImportError(
            f"there is no file {name}, and no model of that name in the local cache; nothing is downloaded: run hf download"
            f" {name} where there is a network, or name a directory"
        ) from None


def _object(path: Path) -> Mapping[str, Any]:
    try:
        found = json.loads(path.read_bytes())
    except ValueError as error:
        raise EncoderImportError(f"{path} is no JSON: {error}") from None
    if not isinstance(found, dict):
        raise EncoderImportError(f"{path} holds no JSON object")
    return found


def _processor(folder: Path, path: Path) -> tuple[Mapping[str, Any], Path]:
    for name in PROCESSORS:
        if not (folder / name).is_file():
            continue
        found = _object(folder / name)
        inner = found.get("image_processor")
        return inner if isinstance(inner, dict) else found, folder / name
    raise EncoderImportError(
        f"{path} does not say how pictures are resized and scaled: it has no {PROCESSORS[0]}; copy it from where the model came"
        f" from, or write one, such as {EXAMPLE}"
    )


def _weights(folder: Path) -> tuple[Path, ...]:
    if (folder / WEIGHTS).is_file():
        found: tuple[Path, ...] = (folder / WEIGHTS,)
    elif (folder / WEIGHTS_INDEX).is_file():
        found = _parts(folder)
    else:
        pickled = sorted(path.name for pattern in PICKLES for path in folder.glob(pattern))
        if not pickled:
            raise EncoderImportError(f"{folder} has no weights: {WEIGHTS} is not there")
        raise EncoderImportError(
            f"{folder} has its weights in {pickled[0]}, of which loading can run code, so it is never loaded: where you trust"
            " it, save it as safetensors, for instance by AutoModel.from_pretrained(DIR).save_pretrained(NEW)"
        )
    for path in found:
        _check_whole(path)
    return found


def _parts(folder: Path) -> tuple[Path, ...]:
    index = folder / WEIGHTS_INDEX
    names = _object(index).get("weight_map")
    if not isinstance(names, dict) or not names:
        raise EncoderImportError(f"{index} names no files of weights")
    found = tuple(folder / str(name) for name in sorted(set(map(str, names.values()))))
    for path in found:
        if path.name != path.relative_to(folder).as_posix() or path.suffix != ".safetensors":
            raise EncoderImportError(f"{index} names {path.name!r}, which is no file of safetensors beside it")
        if not path.is_file():
            raise EncoderImportError(f"{index} names {path.name}, which is not in {folder}: copy it there")
    return found


def _check_whole(path: Path) -> None:
    try:
        from safetensors import SafetensorError, safe_open  # noqa: PLC0415 - with torch it takes a while
    except ImportError:
        raise EncoderImportError(MISSING_EXTRA) from None
    try:
        with safe_open(path, "numpy"):
            pass
    except SafetensorError as error:
        raise EncoderImportError(f"{path} is damaged or was cut short: {error}") from None


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Keep progress bars and notes of transformers from standing between ours; what is wrong is raised."""
    from transformers.utils import logging as notes  # noqa: PLC0415 - an extra

    verbosity, bars = notes.get_verbosity(), notes.is_progress_bar_enabled()
    notes.set_verbosity(logging.CRITICAL)
    notes.disable_progress_bar()
    try:
        yield
    finally:
        notes.set_verbosity(verbosity)
        if bars:
            notes.enable_progress_bar()
