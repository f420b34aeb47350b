"""How a folder of images is laid out: DIR/CLASS/*, DIR/{train,val,test}/CLASS/* or DIR/CLASS/{train,val,test}/*.

Beside class folders, or beside the parts, DIR/unlabelled/* may hold images whose class is not known.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from holdfast.bundle.printable import printable
from holdfast.data.labelled import UNKNOWN, DataError
from holdfast.data.listing.left_out import LeftOut
from holdfast.data.listing.parts import Part, fold, is_unlabelled, part_named, parts_among
from holdfast.data.listing.tree import Folder, join

NAMED = 5


@dataclass(frozen=True, eq=False)
class Layout:
    """Where the images of each class and part lie.

    how: in a few words. folders: part and class of each folder that holds images. class_names: in their order.
    """

    how: str
    folders: list[tuple[Part, int, Folder]]
    class_names: tuple[str, ...]

    def rows(self) -> Iterator[tuple[bytes, int, Part]]:
        """Path, label and part of each image, ordered by part, label and path."""
        for part, label, folder in sorted(self.folders, key=lambda held: held[:2]):
            for path in sorted(folder.files(), key=lambda path: path.split(b"/")):
                yield path, label, part


def find_layout(title: str, top: Folder, left_out: LeftOut, least_classes: int = 2) -> Layout:
    """Find parts and classes in a folder's tree; `title` is its name for messages.

    Raises:
        DataError: they cannot be told, or there are fewer than `least_classes`.

    """
    root = _unwrapped(top)
    where = f"{title.rstrip('/')}/{printable(root.path)}" if root.path else title
    unlabelled = _take_unlabelled(where, root)
    if root.images:
        _leave_outside(root, left_out)
    _leave_empty(root, left_out)
    parts = _parts(where, root, left_out)
    layout = _of_parts(where, parts, left_out) if parts else _of_classes(where, root)
    if len(layout.class_names) < least_classes:
        raise DataError(_one_class(where, root, layout))
    if len(set(layout.class_names)) < len(layout.class_names):
        raise DataError(f"{where}: two class folders have the same name once it is written as text: rename one")
    if unlabelled is None:
        return layout
    how = f"{layout.how}, and {printable(unlabelled.name)}/"
    return Layout(how, [*layout.folders, (Part.UNLABELLED, UNKNOWN, unlabelled)], layout.class_names)


def join_name(folder: Folder) -> bytes:
    """Return a folder's path as one names it: "." for the data set's own."""
    return folder.path + b"/" if folder.path else b"."


def _unwrapped(folder: Folder) -> Folder:
    """Step into folders that hold nothing but one folder of folders, as archives make them."""
    while not folder.images and len(filled := folder.filled) == 1 and filled[0].filled and part_named(filled[0].name) is None:
        folder = filled[0]
    return folder


def _take_unlabelled(where: str, root: Folder) -> Folder | None:
    """Take the folder of images without labels out of a folder; None if it has none."""
    found = [folder for folder in root.folders if is_unlabelled(folder.name)]
    if len(found) > 1:
        raise DataError(f"{where}: {_names(found)} both hold images without labels: move all into one")
    if found and not found[0].below:
        raise DataError(
            f"{where}: {printable(found[0].name)}/ holds no images: it is for those whose class is not known; put some in, or"
            " remove the folder"
        )
    root.folders = [folder for folder in root.folders if folder not in found]
    return found[0] if found else None


def _parts(where: str, root: Folder, left_out: LeftOut) -> dict[Part, Folder]:
    """Return the folders of the parts, none if there are only classes."""
    named = parts_among(folder.name for folder in root.filled)
    held = [folder for folder in root.filled if folder.name in named and folder.filled]
    flat = [folder for folder in root.filled if folder.name in named and not folder.filled]
    others = [folder for folder in root.filled if folder.name not in named]
    found = {named[folder.name]: folder for folder in held}
    if Part.TRAIN not in found:
        if named and not others:
            if flat:
                raise DataError(
                    f"{where}: {_names(flat)} hold images but no class folders: put those of each class in a folder"
                )
            raise DataError(f"{where} has {_names(held)} but no train/: add it, or name the folder below it as the data set")
        return {}
    if len(found) < len(held):
        raise DataError(f"{where}: of {_names(held)} two are the same part of the set: rename or move one")
    if others and len(found) == 1:
        raise DataError(
            f"{where} holds {_names([*held, *others])}: whether {printable(held[0].name)}/ is a class or the training part"
            " cannot be told. Move the others into it, or rename it"
        )
    for folder in flat:
        left_out.add("images without a class", join_name(folder), folder.below)
    for folder in others:
        left_out.add("images in folders beside the parts", join_name(folder), folder.below)
    return found


def _of_parts(where: str, parts: dict[Part, Folder], left_out: LeftOut) -> Layout:
    train = _unwrapped(parts[Part.TRAIN])
    if astray := [folder for folder in train.folders if is_unlabelled(folder.name)]:
        raise DataError(
            f"{where}: {_names(astray)} lies among the classes of {printable(train.name)}/: move it beside the parts"
        )
    classes = [folder.name for folder in train.filled]
    labels = {name: label for label, name in enumerate(classes)}
    held = []
    for part, outer in parts.items():
        folder = outer if any(_label(labels, below.name) is not None for below in outer.filled) else _unwrapped(outer)
        _leave_empty(folder, left_out)
        if folder.images:
            _leave_outside(folder, left_out)
        found = [(_label(labels, below.name), below) for below in folder.filled]
        if unknown := [below for label, below in found if label is None]:
            raise DataError(
                f"{where}: {printable(folder.name)}/ has classes that {printable(train.name)}/ has not: {_names(unknown)}."
                " Give both the same class folders"
            )
        held += [(part, label, below) for label, below in found if label is not None]
    how = f"{_names(parts.values())} of class folders"
    return Layout(how, held, tuple(map(printable, classes)))


def _label(labels: dict[bytes, int], name: bytes) -> int | None:
    """Return the label of a class folder of another part, whose name may be written in another case."""
    if name in labels:
        return labels[name]
    alike = [label for known, label in labels.items() if fold(known) == fold(name)]
    return alike[0] if len(alike) == 1 else None


def _of_classes(where: str, root: Folder) -> Layout:
    classes = root.filled
    names = tuple(printable(folder.name) for folder in classes)
    below = [{folder: part_named(folder.name) for folder in held.filled} for held in classes]
    split = classes and all(
        not held.images and parts and None not in parts.values() for held, parts in zip(classes, below, strict=True)
    )
    if not split:
        return Layout("class folders", [(Part.TRAIN, label, folder) for label, folder in enumerate(classes)], names)
    held = []
    for label, parts in enumerate(below):
        if Part.TRAIN not in parts.values():
            raise DataError(f"{where}: the class folder {names[label]}/ has parts, but no train/ among them")
        held += [(part, label, folder) for folder, part in parts.items() if part is not None]
    return Layout("class folders, each with its own parts", held, names)


def _leave_outside(folder: Folder, left_out: LeftOut) -> None:
    for image in folder.images:
        left_out.add("images that lie outside of all class folders", join(folder.path, image))


def _leave_empty(folder: Folder, left_out: LeftOut) -> None:
    for below in folder.folders:
        if not below.below:
            left_out.add("folders without images", join_name(below))


def _names(folders: Iterable[Folder]) -> str:
    names = sorted(printable(folder.name) + "/" for folder in folders)
    shown = names[:NAMED] + ([f"{len(names) - NAMED} more"] if len(names) > NAMED else [])
    return " and ".join([", ".join(shown[:-1]), shown[-1]] if len(shown) > 1 else shown)


def _one_class(where: str, root: Folder, layout: Layout) -> str:
    found = f"one class folder with images, {layout.class_names[0]}/" if layout.class_names else "no class folders with images"
    loose = f", and {len(root.images):,} images in no class folder" if root.images else ""
    return (
        f"{where} holds {found}{loose}: a classifier needs at least two classes. Put the images of each class in a folder of"
        " their own, or name a .csv file with the columns path and label"
    )
