"""The labelled set that a bundle's manifest names, read again."""

from pathlib import Path

from holdfast.bundle.manifest import Manifest
from holdfast.data.labelled import DataError, Splits
from holdfast.data.sets import load


def load_recorded(manifest: Manifest, directory: Path | None = None) -> Splits:
    """Read and split the set that an encoder was trained on, as the trainer did.

    The caller holds `Splits.sha256` against the manifest's, and decides what to do where these are other images.

    Args:
        manifest: of the bundle.
        directory: where the set lies, if not where the trainer found it.

    Raises:
        DataError: the set is not there, or the encoder does not take the squares that sets are read as.

    """
    record, contract = manifest.training.data, manifest.input
    recorded = Path(record.directory) if record.directory is not None else None
    if contract.height != contract.width:
        raise DataError(f"data sets are read as squares, the encoder takes {contract.shape}")
    return load(
        record.name,
        # A bundle may have come from elsewhere: what is not here may still be downloaded, or the loader says what it needs.
        directory=directory or (recorded if recorded and recorded.is_dir() else None),
        size=contract.height,
        calibration=record.calibration,
        seed=record.seed,
        # Whether the trainer skipped unreadable files or there were none, the hash says if these are the same images.
        skip_unreadable=True,
        max_pixels=record.max_pixels,
    )
