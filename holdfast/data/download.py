"""Fetching a published archive once, with its published checksum and a progress bar, into the user's cache."""

from pathlib import Path
from typing import Any

from rich.progress import BarColumn, DownloadColumn, TransferSpeedColumn

from holdfast.console import Progress, TextColumn
from holdfast.data.labelled import DataError


class _Bar:
    """What pooch asks of a progress bar (`total`, update, reset, close), shown by rich."""

    def __init__(self, progress: Progress, name: str) -> None:
        self._progress = progress
        self._task = progress.add_task(name, total=None)

    @property
    def total(self) -> float | None:
        return self._progress.tasks[self._task].total

    @total.setter
    def total(self, size: float) -> None:
        self._progress.update(self._task, total=size or None)

    def update(self, advance: int) -> None:
        self._progress.advance(self._task, advance)

    def reset(self) -> None:
        self._progress.update(self._task, completed=0)

    def close(self) -> None:
        pass


def retrieve_archive(url: str, checksum: str, instead: str) -> Path:
    """Return the folder in the user's cache that holds the unpacked archive, downloading it at the first call.

    checksum: "algorithm:hexadecimal". instead: what the user can do if this fails, for the message.

    Raises:
        DataError: no network, wrong checksum, or pooch is not installed.

    """
    try:
        import pooch  # noqa: PLC0415 - only a download needs it
    except ImportError as error:
        raise DataError(f"downloading {url} needs pooch: pip install pooch. {instead}") from error
    cache = Path(pooch.os_cache("holdfast"))
    columns: tuple[Any, ...] = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, transient=True) as progress:
        downloader = pooch.HTTPDownloader(progressbar=_Bar(progress, url.rsplit("/", 1)[-1]), timeout=30)
        try:
            pooch.retrieve(
                url,
                checksum,
                path=cache,
                fname=url.rsplit("/", 1)[-1],
                downloader=downloader,
                processor=pooch.Untar(extract_dir="."),
            )
        # A refused connection and a full disk are OSErrors (requests derives from it), a wrong checksum a ValueError.
        except (OSError, ValueError) as error:
            raise DataError(f"could not download {url} ({type(error).__name__}: {error}). {instead}") from error
    return cache
