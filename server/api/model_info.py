"""What GetModelInfo answers."""

from holdfast.bundle.reader import Bundle
from holdfast.protos.holdfast.v1 import holdfast_pb2, model_pb2
from holdfast.server.settings import Settings

_NORMS = {"linf": model_pb2.NORM_LINF, "l2": model_pb2.NORM_L2}
_WEIGHTINGS = {
    "uniform": model_pb2.VOTE_WEIGHTING_UNIFORM,
    "exponential": model_pb2.VOTE_WEIGHTING_EXPONENTIAL,
}


def model_info(bundle: Bundle, settings: Settings) -> holdfast_pb2.GetModelInfoResponse:
    """What GetModelInfo answers."""
    manifest = bundle.manifest
    shape, vote, threat = manifest.input, manifest.vote, manifest.threat_model
    info = holdfast_pb2.GetModelInfoResponse(
        name=manifest.name,
        created=manifest.created,
        encoder_sha256=manifest.files["encoder.onnx"],
        input=model_pb2.ImageShape(height=shape.height, width=shape.width, channels=shape.channels),
        embedding_dim=manifest.embedding_dim,
        class_names=manifest.class_names,
        exemplars=bundle.index.size,
        vote=model_pb2.Vote(k=vote.k, weighting=_WEIGHTINGS[vote.weighting], temperature=vote.temperature),
        abstain_below=manifest.calibration.abstain_below if manifest.calibration else 0.0,
        threat_model=model_pb2.ThreatModel(norm=_NORMS[threat.norm], epsilon=threat.epsilon),
        limits=model_pb2.Limits(
            images_per_call=settings.max_images,
            message_bytes=settings.max_message_bytes,
            pixels_per_image=settings.max_pixels,
        ),
    )
    if (accuracy := manifest.accuracy) is not None:
        info.accuracy.CopyFrom(
            model_pb2.Accuracy(
                clean=accuracy.clean,
                robust=accuracy.robust,
                norm=_NORMS[accuracy.norm],
                epsilon=accuracy.epsilon,
                attack=accuracy.attack,
                images=accuracy.images,
            )
        )
    return info
