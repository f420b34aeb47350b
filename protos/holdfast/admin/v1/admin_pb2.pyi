from holdfast.protos.holdfast.admin.v1 import exemplar_pb2 as _exemplar_pb2
from holdfast.protos.holdfast.admin.v1 import version_pb2 as _version_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class AddExemplarsRequest(_message.Message):
    __slots__ = ("exemplars", "request_id", "on_bad_image")
    EXEMPLARS_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    ON_BAD_IMAGE_FIELD_NUMBER: _ClassVar[int]
    exemplars: _containers.RepeatedCompositeFieldContainer[_exemplar_pb2.NewExemplar]
    request_id: str
    on_bad_image: _exemplar_pb2.OnBadImage
    def __init__(self, exemplars: _Optional[_Iterable[_Union[_exemplar_pb2.NewExemplar, _Mapping[str, object]]]] = ..., request_id: _Optional[str] = ..., on_bad_image: _Optional[_Union[_exemplar_pb2.OnBadImage, str]] = ...) -> None: ...

class AddExemplarsResponse(_message.Message):
    __slots__ = ("sequence", "results", "already_applied")
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    ALREADY_APPLIED_FIELD_NUMBER: _ClassVar[int]
    sequence: int
    results: _containers.RepeatedCompositeFieldContainer[_exemplar_pb2.AddResult]
    already_applied: bool
    def __init__(self, sequence: _Optional[int] = ..., results: _Optional[_Iterable[_Union[_exemplar_pb2.AddResult, _Mapping[str, object]]]] = ..., already_applied: _Optional[bool] = ...) -> None: ...

class UpdateExemplarsRequest(_message.Message):
    __slots__ = ("updates", "request_id")
    UPDATES_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    updates: _containers.RepeatedCompositeFieldContainer[_exemplar_pb2.ExemplarUpdate]
    request_id: str
    def __init__(self, updates: _Optional[_Iterable[_Union[_exemplar_pb2.ExemplarUpdate, _Mapping[str, object]]]] = ..., request_id: _Optional[str] = ...) -> None: ...

class UpdateExemplarsResponse(_message.Message):
    __slots__ = ("sequence", "already_applied", "states")
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    ALREADY_APPLIED_FIELD_NUMBER: _ClassVar[int]
    STATES_FIELD_NUMBER: _ClassVar[int]
    sequence: int
    already_applied: bool
    states: _containers.RepeatedScalarFieldContainer[_exemplar_pb2.ExemplarState]
    def __init__(self, sequence: _Optional[int] = ..., already_applied: _Optional[bool] = ..., states: _Optional[_Iterable[_Union[_exemplar_pb2.ExemplarState, str]]] = ...) -> None: ...

class DeleteExemplarsRequest(_message.Message):
    __slots__ = ("ids", "request_id")
    IDS_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    ids: _containers.RepeatedScalarFieldContainer[int]
    request_id: str
    def __init__(self, ids: _Optional[_Iterable[int]] = ..., request_id: _Optional[str] = ...) -> None: ...

class DeleteExemplarsResponse(_message.Message):
    __slots__ = ("sequence", "already_applied")
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    ALREADY_APPLIED_FIELD_NUMBER: _ClassVar[int]
    sequence: int
    already_applied: bool
    def __init__(self, sequence: _Optional[int] = ..., already_applied: _Optional[bool] = ...) -> None: ...

class ApproveExemplarsRequest(_message.Message):
    __slots__ = ("ids", "request_id")
    IDS_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    ids: _containers.RepeatedScalarFieldContainer[int]
    request_id: str
    def __init__(self, ids: _Optional[_Iterable[int]] = ..., request_id: _Optional[str] = ...) -> None: ...

class ApproveExemplarsResponse(_message.Message):
    __slots__ = ("sequence", "already_applied")
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    ALREADY_APPLIED_FIELD_NUMBER: _ClassVar[int]
    sequence: int
    already_applied: bool
    def __init__(self, sequence: _Optional[int] = ..., already_applied: _Optional[bool] = ...) -> None: ...

class DropExemplarsRequest(_message.Message):
    __slots__ = ("ids", "request_id")
    IDS_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    ids: _containers.RepeatedScalarFieldContainer[int]
    request_id: str
    def __init__(self, ids: _Optional[_Iterable[int]] = ..., request_id: _Optional[str] = ...) -> None: ...

class DropExemplarsResponse(_message.Message):
    __slots__ = ("sequence", "already_applied")
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    ALREADY_APPLIED_FIELD_NUMBER: _ClassVar[int]
    sequence: int
    already_applied: bool
    def __init__(self, sequence: _Optional[int] = ..., already_applied: _Optional[bool] = ...) -> None: ...

class ListExemplarsRequest(_message.Message):
    __slots__ = ("label", "state", "after_id", "page_size")
    LABEL_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    AFTER_ID_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    label: str
    state: _exemplar_pb2.ExemplarState
    after_id: int
    page_size: int
    def __init__(self, label: _Optional[str] = ..., state: _Optional[_Union[_exemplar_pb2.ExemplarState, str]] = ..., after_id: _Optional[int] = ..., page_size: _Optional[int] = ...) -> None: ...

class ListExemplarsResponse(_message.Message):
    __slots__ = ("exemplars", "next_after_id")
    EXEMPLARS_FIELD_NUMBER: _ClassVar[int]
    NEXT_AFTER_ID_FIELD_NUMBER: _ClassVar[int]
    exemplars: _containers.RepeatedCompositeFieldContainer[_exemplar_pb2.Exemplar]
    next_after_id: int
    def __init__(self, exemplars: _Optional[_Iterable[_Union[_exemplar_pb2.Exemplar, _Mapping[str, object]]]] = ..., next_after_id: _Optional[int] = ...) -> None: ...

class ListLabelsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListLabelsResponse(_message.Message):
    __slots__ = ("labels",)
    LABELS_FIELD_NUMBER: _ClassVar[int]
    labels: _containers.RepeatedCompositeFieldContainer[_exemplar_pb2.LabelSummary]
    def __init__(self, labels: _Optional[_Iterable[_Union[_exemplar_pb2.LabelSummary, _Mapping[str, object]]]] = ...) -> None: ...

class GetExemplarRequest(_message.Message):
    __slots__ = ("id",)
    ID_FIELD_NUMBER: _ClassVar[int]
    id: int
    def __init__(self, id: _Optional[int] = ...) -> None: ...

class GetExemplarResponse(_message.Message):
    __slots__ = ("exemplar", "thumbnail")
    EXEMPLAR_FIELD_NUMBER: _ClassVar[int]
    THUMBNAIL_FIELD_NUMBER: _ClassVar[int]
    exemplar: _exemplar_pb2.Exemplar
    thumbnail: bytes
    def __init__(self, exemplar: _Optional[_Union[_exemplar_pb2.Exemplar, _Mapping[str, object]]] = ..., thumbnail: _Optional[bytes] = ...) -> None: ...

class ExportExemplarsRequest(_message.Message):
    __slots__ = ("label", "state")
    LABEL_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    label: str
    state: _exemplar_pb2.ExemplarState
    def __init__(self, label: _Optional[str] = ..., state: _Optional[_Union[_exemplar_pb2.ExemplarState, str]] = ...) -> None: ...

class ExportExemplarsResponse(_message.Message):
    __slots__ = ("exemplar", "thumbnail")
    EXEMPLAR_FIELD_NUMBER: _ClassVar[int]
    THUMBNAIL_FIELD_NUMBER: _ClassVar[int]
    exemplar: _exemplar_pb2.Exemplar
    thumbnail: bytes
    def __init__(self, exemplar: _Optional[_Union[_exemplar_pb2.Exemplar, _Mapping[str, object]]] = ..., thumbnail: _Optional[bytes] = ...) -> None: ...

class ReloadRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class ReloadResponse(_message.Message):
    __slots__ = ("version",)
    VERSION_FIELD_NUMBER: _ClassVar[int]
    version: _version_pb2.Version
    def __init__(self, version: _Optional[_Union[_version_pb2.Version, _Mapping[str, object]]] = ...) -> None: ...

class RollbackRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class RollbackResponse(_message.Message):
    __slots__ = ("version",)
    VERSION_FIELD_NUMBER: _ClassVar[int]
    version: _version_pb2.Version
    def __init__(self, version: _Optional[_Union[_version_pb2.Version, _Mapping[str, object]]] = ...) -> None: ...

class ListVersionsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListVersionsResponse(_message.Message):
    __slots__ = ("versions",)
    VERSIONS_FIELD_NUMBER: _ClassVar[int]
    versions: _containers.RepeatedCompositeFieldContainer[_version_pb2.Version]
    def __init__(self, versions: _Optional[_Iterable[_Union[_version_pb2.Version, _Mapping[str, object]]]] = ...) -> None: ...

class GetStatusRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class AdminLimits(_message.Message):
    __slots__ = ("images_per_call", "message_bytes", "pixels_per_image")
    IMAGES_PER_CALL_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_BYTES_FIELD_NUMBER: _ClassVar[int]
    PIXELS_PER_IMAGE_FIELD_NUMBER: _ClassVar[int]
    images_per_call: int
    message_bytes: int
    pixels_per_image: int
    def __init__(self, images_per_call: _Optional[int] = ..., message_bytes: _Optional[int] = ..., pixels_per_image: _Optional[int] = ...) -> None: ...

class GetStatusResponse(_message.Message):
    __slots__ = ("name", "model_version", "exemplars", "quarantined", "classes", "keeps_store", "sequence", "limits")
    NAME_FIELD_NUMBER: _ClassVar[int]
    MODEL_VERSION_FIELD_NUMBER: _ClassVar[int]
    EXEMPLARS_FIELD_NUMBER: _ClassVar[int]
    QUARANTINED_FIELD_NUMBER: _ClassVar[int]
    CLASSES_FIELD_NUMBER: _ClassVar[int]
    KEEPS_STORE_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    LIMITS_FIELD_NUMBER: _ClassVar[int]
    name: str
    model_version: int
    exemplars: int
    quarantined: int
    classes: int
    keeps_store: bool
    sequence: int
    limits: AdminLimits
    def __init__(self, name: _Optional[str] = ..., model_version: _Optional[int] = ..., exemplars: _Optional[int] = ..., quarantined: _Optional[int] = ..., classes: _Optional[int] = ..., keeps_store: _Optional[bool] = ..., sequence: _Optional[int] = ..., limits: _Optional[_Union[AdminLimits, _Mapping[str, object]]] = ...) -> None: ...
