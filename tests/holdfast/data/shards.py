"""Shards of small pictures, for the tests of how they are read."""

import io
import json
import tarfile
from pathlib import Path

from tests.holdfast.data.folders import picture


def tar(path, members):
    """A tar of {name: bytes}, as WebDataset's writer makes it."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for name, content in members.items():
            about = tarfile.TarInfo(name)
            about.size = len(content)
            archive.addfile(about, io.BytesIO(content))
    return Path(path)


def samples(labels, first=0, content=picture):
    """Members of samples with numbered names, each an image and its label in a .cls file."""
    members = {}
    for number, label in enumerate(labels, first):
        members[f"{number:04}.png"] = content(number)
        members[f"{number:04}.cls"] = str(label).encode()
    return members


def table(labels, *, names=None, nested=False):
    """An Arrow table of images and labels; `nested` and with `names` as Hugging Face's datasets write it."""
    import pyarrow as pa

    images = [picture(number) for number in range(len(labels))]
    cells = [{"bytes": image, "path": None} for image in images] if nested else images
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())]) if nested else pa.binary()
    made = pa.table({"image": pa.array(cells, kind), "label": labels})
    if names:
        features = {"image": {"_type": "Image"}, "label": {"names": names, "_type": "ClassLabel"}}
        made = made.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    return made
