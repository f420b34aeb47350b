"""A set embedded shard by shard, on as many machines as there are: `holdfast index --shard I/N`, `holdfast index merge`."""

import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from holdfast.bundle.beside import bundle_beside
from holdfast.bundle.manifest import Manifest
from holdfast.bundle.reader import ENCODER, read_manifest
from holdfast.console import Console
from holdfast.data.streamed import StreamedSplits
from holdfast.index_build.adapting.adaptation import Adaptation, IndexChanges
from holdfast.index_build.adapting.run import Parts, SetOptions, open_bundle, publish
from holdfast.index_build.build import job_of, open_for
from holdfast.index_build.options import IndexBuildError, IndexOptions
from holdfast.index_build.streaming.gather import refuse_unreadable
from holdfast.index_build.streaming.parts import PartsFolder, RowRange
from holdfast.index_build.streaming.run import embed_missing, header_of, pieces_in
from holdfast.index_build.streaming.unchanged import changed_rows


def embed_shard(directory: Path, work: Path, chosen: SetOptions, shard: tuple[int, int], options: IndexOptions) -> int:
    """Embed one shard of a set into a folder; what is done there already is not done again.

    Args:
        directory: the bundle that has the encoder.
        work: the folder. Shards may share one where they share a file system.
        chosen: the set, the same for all shards.
        shard: (i, n): the i-th of n, counted from 1.
        options: of the index; the same for all shards.

    Returns:
        How many images there are in the shard.

    Raises:
        IndexBuildError: there is no such shard, or `work` holds something else.
        BundleError, DataError: the bundle or the set cannot be read.

    """
    number, shards = shard
    if not 1 <= number <= shards:
        raise IndexBuildError(f"--shard {number}/{shards}: shards run from 1/{shards} to {shards}/{shards}")
    if options.hardening or options.choose_vote:
        raise IndexBuildError("hardening and choosing a vote need the whole set: say so to holdfast index merge")
    bundle = open_for(directory, options.checked())
    splits = chosen.open(bundle.manifest.input, quiet=options.quiet).splits
    about = {"bundle": str(directory.resolve()), "set": _as_json(chosen), "shards": shards}
    header = header_of(bundle, splits, half=options.half, about=about)
    if work.exists() and (not work.is_dir() or any(work.iterdir())):
        there = PartsFolder.open(work).header
        if there.identity != json.loads(json.dumps(header.identity)) or there.about["shards"] != shards:
            raise IndexBuildError(
                f"{work} holds a shard of another set, encoder or number of shards: name another folder by --out, or remove it"
            )
    folder = PartsFolder.begin(work, header)
    pieces = pieces_in(splits)[number - 1 :: shards]
    embed_missing(folder, job_of(bundle, splits, options), pieces, options.launcher, quiet=options.quiet)
    if not chosen.skip_unreadable:
        refuse_unreadable(folder, pieces)
    return sum(piece.stop - piece.start for piece in pieces)


def merge_shards(
    works: Sequence[Path], out: Path, changes: IndexChanges, options: IndexOptions, *, directory: Path | None = None
) -> Manifest:
    """Write the bundle that shards were embedded for; see `adapt_index`.

    Of the set, names are read again, sizes and times of files, and those images alone of which these differ.

    Args:
        works: folders that `embed_shard` wrote; together they hold all shards.
        out: where the new bundle will be.
        changes: as of `adapt_index`.
        options: likewise.
        directory: the old bundle, if not where it was.

    Raises:
        IndexBuildError: shards of several sets or encoders, a shard that is not there or not finished, or an image that has
            changed since it was embedded.
        BundleError, DataError: a bundle or the set cannot be read.

    """
    folders = [PartsFolder.open(work) for work in works]
    header = folders[0].header
    for folder in folders[1:]:
        _refuse_other(folder, folders[0])
    old = directory or Path(header.about["bundle"])
    if read_manifest(old).files.get(ENCODER) != header.identity["encoder"]:
        raise IndexBuildError(f"the shards in {works[0]} are of another encoder than that of {old}: name theirs by --bundle")
    options = replace(options, half=header.identity["half"]).checked()
    parts = _complete(folders)
    chosen = _from_json(header.about["set"])
    with bundle_beside(old, out) as beside:
        bundle = open_bundle(old, options, keeps=changes.merge)
        new = chosen.open(bundle.manifest.input, quiet=True)
        identity = json.loads(json.dumps(header_of(bundle, new.splits, half=options.half).identity))
        if identity["set"] != header.identity["set"]:
            raise IndexBuildError(
                f"{chosen.data} is no longer the set that the shards are of: names or labels changed; embed the shards again"
            )
        _refuse_changed(parts, new.splits, header.about["shards"])
        adaptation = Adaptation(bundle, changes, new)
        plan = adaptation.plan(options.prior_correction)
        if not options.quiet:
            Console(stderr=True).print(plan.table(f"{out}: what goes into it"))
        return publish(beside, adaptation, parts, options)


def _refuse_other(folder: PartsFolder, first: PartsFolder) -> None:
    differing = [name for name, value in folder.header.identity.items() if first.header.identity.get(name) != value]
    if differing:
        what = "encoder" if "encoder" in differing else "device" if differing == ["device"] else "set"
        raise IndexBuildError(f"{folder.path} holds a shard of another {what} than {first.path}: merge shards of one")


def _refuse_changed(parts: Parts, splits: StreamedSplits, shards: int) -> None:
    """Raises IndexBuildError where an image is no longer the one that was embedded."""
    for folder, pieces in parts:
        for piece, part in zip(pieces, folder.parts(pieces), strict=True):
            source = splits.part(piece.split)
            for row in changed_rows(part, piece, source):
                shard = f"{piece.number % shards + 1}/{shards}"
                raise IndexBuildError(
                    f"{source.sources[row]} has changed since shard {shard} was embedded: run holdfast index ... --shard"
                    f" {shard} for it again, which embeds what has changed"
                )


def _complete(folders: Sequence[PartsFolder]) -> list[tuple[PartsFolder, list[RowRange]]]:
    """Which pieces to take from which folder. Raises IndexBuildError where one is in none of them."""
    header = folders[0].header
    left = list(header.pieces)
    taken = []
    for folder in folders:
        missing = {piece.number for piece in folder.missing(left)}
        taken.append((folder, [piece for piece in left if piece.number not in missing]))
        left = [piece for piece in left if piece.number in missing]
    if left:
        shards = header.about["shards"]
        unfinished = sorted({piece.number % shards + 1 for piece in left})
        names = ", ".join(f"{number}/{shards}" for number in unfinished[:20])
        raise IndexBuildError(
            f"{len(left)} of {len(header.pieces)} parts are not there, or damaged: shard {names} is not finished; run"
            " holdfast index ... --shard for it again, and name its folder here"
        )
    return taken


def _as_json(chosen: SetOptions) -> dict[str, Any]:
    values = asdict(chosen)
    return values | {"directory": None if chosen.directory is None else str(chosen.directory.resolve()), "data": chosen.path}


def _from_json(values: dict[str, Any]) -> SetOptions:
    directory = values["directory"]
    return SetOptions(**(values | {"directory": None if directory is None else Path(directory)}))
