from google.rpc import status_pb2 as _status_pb2
from holdfast.protos.holdfast.v1 import answer_pb2 as _answer_pb2
from holdfast.protos.holdfast.v1 import image_pb2 as _image_pb2
from holdfast.protos.holdfast.v1 import model_pb2 as _model_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ClassifyRequest(_message.Message):
    __slots__ = ("images", "neighbours", "packed_neighbours", "certificates", "certify", "certify_sigma")
    IMAGES_FIELD_NUMBER: _ClassVar[int]
    NEIGHBOURS_FIELD_NUMBER: _ClassVar[int]
    PACKED_NEIGHBOURS_FIELD_NUMBER: _ClassVar[int]
    CERTIFICATES_FIELD_NUMBER: _ClassVar[int]
    CERTIFY_FIELD_NUMBER: _ClassVar[int]
    CERTIFY_SIGMA_FIELD_NUMBER: _ClassVar[int]
    images: _containers.RepeatedCompositeFieldContainer[_image_pb2.Image]
    neighbours: int
    packed_neighbours: bool
    certificates: bool
    certify: int
    certify_sigma: float
    def __init__(self, images: _Optional[_Iterable[_Union[_image_pb2.Image, _Mapping[str, object]]]] = ..., neighbours: _Optional[int] = ..., packed_neighbours: _Optional[bool] = ..., certificates: _Optional[bool] = ..., certify: _Optional[int] = ..., certify_sigma: _Optional[float] = ...) -> None: ...

class ClassifyResponse(_message.Message):
    __slots__ = ("results", "class_names")
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    CLASS_NAMES_FIELD_NUMBER: _ClassVar[int]
    results: _containers.RepeatedCompositeFieldContainer[_answer_pb2.ClassifyResult]
    class_names: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, results: _Optional[_Iterable[_Union[_answer_pb2.ClassifyResult, _Mapping[str, object]]]] = ..., class_names: _Optional[_Iterable[str]] = ...) -> None: ...

class ClassifyStreamRequest(_message.Message):
    __slots__ = ("sequence", "images", "neighbours", "packed_neighbours", "certificates", "certify", "certify_sigma")
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    IMAGES_FIELD_NUMBER: _ClassVar[int]
    NEIGHBOURS_FIELD_NUMBER: _ClassVar[int]
    PACKED_NEIGHBOURS_FIELD_NUMBER: _ClassVar[int]
    CERTIFICATES_FIELD_NUMBER: _ClassVar[int]
    CERTIFY_FIELD_NUMBER: _ClassVar[int]
    CERTIFY_SIGMA_FIELD_NUMBER: _ClassVar[int]
    sequence: int
    images: _containers.RepeatedCompositeFieldContainer[_image_pb2.Image]
    neighbours: int
    packed_neighbours: bool
    certificates: bool
    certify: int
    certify_sigma: float
    def __init__(self, sequence: _Optional[int] = ..., images: _Optional[_Iterable[_Union[_image_pb2.Image, _Mapping[str, object]]]] = ..., neighbours: _Optional[int] = ..., packed_neighbours: _Optional[bool] = ..., certificates: _Optional[bool] = ..., certify: _Optional[int] = ..., certify_sigma: _Optional[float] = ...) -> None: ...

class ClassifyStreamResponse(_message.Message):
    __slots__ = ("sequence", "results", "error", "class_names")
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    CLASS_NAMES_FIELD_NUMBER: _ClassVar[int]
    sequence: int
    results: _containers.RepeatedCompositeFieldContainer[_answer_pb2.ClassifyResult]
    error: _status_pb2.Status
    class_names: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, sequence: _Optional[int] = ..., results: _Optional[_Iterable[_Union[_answer_pb2.ClassifyResult, _Mapping[str, object]]]] = ..., error: _Optional[_Union[_status_pb2.Status, _Mapping[str, object]]] = ..., class_names: _Optional[_Iterable[str]] = ...) -> None: ...

class EmbedRequest(_message.Message):
    __slots__ = ("images",)
    IMAGES_FIELD_NUMBER: _ClassVar[int]
    images: _containers.RepeatedCompositeFieldContainer[_image_pb2.Image]
    def __init__(self, images: _Optional[_Iterable[_Union[_image_pb2.Image, _Mapping[str, object]]]] = ...) -> None: ...

class EmbedResponse(_message.Message):
    __slots__ = ("results",)
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    results: _containers.RepeatedCompositeFieldContainer[_answer_pb2.EmbedResult]
    def __init__(self, results: _Optional[_Iterable[_Union[_answer_pb2.EmbedResult, _Mapping[str, object]]]] = ...) -> None: ...

class GetModelInfoRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetModelInfoResponse(_message.Message):
    __slots__ = ("name", "created", "encoder_sha256", "input", "embedding_dim", "class_names", "exemplars", "vote", "abstain_below", "threat_model", "accuracy", "limits", "exemplars_revision", "calibration_stale", "changed_share", "input_kind", "hardening", "imported_from")
    NAME_FIELD_NUMBER: _ClassVar[int]
    CREATED_FIELD_NUMBER: _ClassVar[int]
    ENCODER_SHA256_FIELD_NUMBER: _ClassVar[int]
    INPUT_FIELD_NUMBER: _ClassVar[int]
    EMBEDDING_DIM_FIELD_NUMBER: _ClassVar[int]
    CLASS_NAMES_FIELD_NUMBER: _ClassVar[int]
    EXEMPLARS_FIELD_NUMBER: _ClassVar[int]
    VOTE_FIELD_NUMBER: _ClassVar[int]
    ABSTAIN_BELOW_FIELD_NUMBER: _ClassVar[int]
    THREAT_MODEL_FIELD_NUMBER: _ClassVar[int]
    ACCURACY_FIELD_NUMBER: _ClassVar[int]
    LIMITS_FIELD_NUMBER: _ClassVar[int]
    EXEMPLARS_REVISION_FIELD_NUMBER: _ClassVar[int]
    CALIBRATION_STALE_FIELD_NUMBER: _ClassVar[int]
    CHANGED_SHARE_FIELD_NUMBER: _ClassVar[int]
    INPUT_KIND_FIELD_NUMBER: _ClassVar[int]
    HARDENING_FIELD_NUMBER: _ClassVar[int]
    IMPORTED_FROM_FIELD_NUMBER: _ClassVar[int]
    name: str
    created: str
    encoder_sha256: str
    input: _model_pb2.ImageShape
    embedding_dim: int
    class_names: _containers.RepeatedScalarFieldContainer[str]
    exemplars: int
    vote: _model_pb2.Vote
    abstain_below: float
    threat_model: _model_pb2.ThreatModel
    accuracy: _model_pb2.Accuracy
    limits: _model_pb2.Limits
    exemplars_revision: int
    calibration_stale: bool
    changed_share: float
    input_kind: _model_pb2.InputKind
    hardening: _model_pb2.Hardening
    imported_from: str
    def __init__(self, name: _Optional[str] = ..., created: _Optional[str] = ..., encoder_sha256: _Optional[str] = ..., input: _Optional[_Union[_model_pb2.ImageShape, _Mapping[str, object]]] = ..., embedding_dim: _Optional[int] = ..., class_names: _Optional[_Iterable[str]] = ..., exemplars: _Optional[int] = ..., vote: _Optional[_Union[_model_pb2.Vote, _Mapping[str, object]]] = ..., abstain_below: _Optional[float] = ..., threat_model: _Optional[_Union[_model_pb2.ThreatModel, _Mapping[str, object]]] = ..., accuracy: _Optional[_Union[_model_pb2.Accuracy, _Mapping[str, object]]] = ..., limits: _Optional[_Union[_model_pb2.Limits, _Mapping[str, object]]] = ..., exemplars_revision: _Optional[int] = ..., calibration_stale: _Optional[bool] = ..., changed_share: _Optional[float] = ..., input_kind: _Optional[_Union[_model_pb2.InputKind, str]] = ..., hardening: _Optional[_Union[_model_pb2.Hardening, str]] = ..., imported_from: _Optional[str] = ...) -> None: ...
