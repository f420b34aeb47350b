"""Between holdfast.v1's messages and the core's values."""

from collections.abc import Iterable

from holdfast.bundle.manifest import Accuracy
from holdfast.protos.holdfast.v1 import answer_pb2, holdfast_pb2, image_pb2, model_pb2
from holdfast.server.core.description import ModelDescription
from holdfast.server.core.request import RawImage, Recording, Source
from holdfast.server.settings import Settings

_NORMS = {"linf": model_pb2.NORM_LINF, "l2": model_pb2.NORM_L2}
_WEIGHTINGS = {
    "uniform": model_pb2.VOTE_WEIGHTING_UNIFORM,
    "exponential": model_pb2.VOTE_WEIGHTING_EXPONENTIAL,
}


class Labels:
    """The classes of a model as messages, which replies copy. Made anew for each model that answers with other classes."""

    def __init__(self) -> None:
        self._names: tuple[str, ...] = ()
        self._messages: list[answer_pb2.Label] = []

    def of(self, model: ModelDescription) -> list[answer_pb2.Label]:
        """By class."""
        if model.class_names is not self._names:  # exemplars may change many times a second, and classes hardly ever
            if model.class_names != self._names:
                self._messages = [answer_pb2.Label(index=i, name=name) for i, name in enumerate(model.class_names)]
            self._names = model.class_names
        return self._messages


def sources_of(images: Iterable[image_pb2.Image]) -> list[Source]:
    """Images of a request as the core takes them."""
    return [source_of(image) for image in images]


def model_info(model: ModelDescription, settings: Settings) -> holdfast_pb2.GetModelInfoResponse:
    """What is served, and what one call may carry."""
    contract, vote, threat = model.contract, model.vote, model.threat_model
    listens = contract.kind == "speech"
    return holdfast_pb2.GetModelInfoResponse(
        name=model.name,
        created=model.created,
        encoder_sha256=model.encoder_sha256,
        input=model_pb2.ImageShape(height=contract.height, width=contract.width, channels=contract.channels),
        embedding_dim=model.embedding_dim,
        class_names=model.class_names,
        exemplars=model.exemplars,
        exemplars_revision=model.exemplars_revision,
        calibration_stale=model.calibration_stale,
        changed_share=model.changed_share,
        vote=model_pb2.Vote(k=vote.k, weighting=_WEIGHTINGS[vote.weighting], temperature=vote.temperature),
        abstain_below=model.abstain_below,
        threat_model=None if threat is None else model_pb2.ThreatModel(norm=_NORMS[threat.norm], epsilon=threat.epsilon),
        limits=model_pb2.Limits(
            images_per_call=settings.max_images,
            message_bytes=settings.max_message_bytes,
            pixels_per_image=settings.max_pixels,
            certify_passes=0 if listens else settings.certify_passes,
            seconds_per_recording=settings.audio_seconds if listens else 0.0,
            bytes_per_recording=min(settings.audio_bytes, settings.max_message_bytes) if listens else 0,
        ),
        input_kind=model_pb2.INPUT_KIND_SPEECH if listens else model_pb2.INPUT_KIND_IMAGE,
        hardening=model_pb2.HARDENING_TRAINED if model.hardened else model_pb2.HARDENING_NONE,
        imported_from=model.imported_from,
        accuracy=_accuracy(model.accuracy) if model.accuracy is not None else None,
    )


def _accuracy(accuracy: Accuracy) -> model_pb2.Accuracy:
    return model_pb2.Accuracy(
        clean=accuracy.clean,
        robust=accuracy.robust,
        norm=_NORMS[accuracy.norm],
        epsilon=accuracy.epsilon,
        attack=accuracy.attack,
        images=accuracy.images,
    )


def printable(name: str | None) -> str:
    """A name as a message can carry it: file names may hold bytes that are no UTF-8."""
    return (name or "").encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def source_of(image: image_pb2.Image) -> Source:
    """One image or recording as the core takes it."""
    match image.WhichOneof("source"):
        case "encoded":
            return image.encoded
        case "raw":
            raw = image.raw
            known = raw.dtype == image_pb2.DATA_TYPE_UINT8
            return RawImage(raw.data, tuple(raw.shape), "uint8" if known else f"data type {raw.dtype}")
        case "audio":
            return Recording(image.audio)
        case _:
            return None
