import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.rpc import status_pb2 as _status_pb2
from holdfast.protos.holdfast.v1 import image_pb2 as _image_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ExemplarState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    EXEMPLAR_STATE_UNSPECIFIED: _ClassVar[ExemplarState]
    EXEMPLAR_STATE_SERVED: _ClassVar[ExemplarState]
    EXEMPLAR_STATE_QUARANTINED: _ClassVar[ExemplarState]
    EXEMPLAR_STATE_DELETED: _ClassVar[ExemplarState]

class ExemplarFlag(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    EXEMPLAR_FLAG_UNSPECIFIED: _ClassVar[ExemplarFlag]
    EXEMPLAR_FLAG_DISAGREES: _ClassVar[ExemplarFlag]
    EXEMPLAR_FLAG_ATTACKED: _ClassVar[ExemplarFlag]
    EXEMPLAR_FLAG_DOUBTED: _ClassVar[ExemplarFlag]
    EXEMPLAR_FLAG_PSEUDO: _ClassVar[ExemplarFlag]

class OnBadImage(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ON_BAD_IMAGE_UNSPECIFIED: _ClassVar[OnBadImage]
    ON_BAD_IMAGE_REFUSE_ALL: _ClassVar[OnBadImage]
    ON_BAD_IMAGE_KEEP_REST: _ClassVar[OnBadImage]
EXEMPLAR_STATE_UNSPECIFIED: ExemplarState
EXEMPLAR_STATE_SERVED: ExemplarState
EXEMPLAR_STATE_QUARANTINED: ExemplarState
EXEMPLAR_STATE_DELETED: ExemplarState
EXEMPLAR_FLAG_UNSPECIFIED: ExemplarFlag
EXEMPLAR_FLAG_DISAGREES: ExemplarFlag
EXEMPLAR_FLAG_ATTACKED: ExemplarFlag
EXEMPLAR_FLAG_DOUBTED: ExemplarFlag
EXEMPLAR_FLAG_PSEUDO: ExemplarFlag
ON_BAD_IMAGE_UNSPECIFIED: OnBadImage
ON_BAD_IMAGE_REFUSE_ALL: OnBadImage
ON_BAD_IMAGE_KEEP_REST: OnBadImage

class NewExemplar(_message.Message):
    __slots__ = ("image", "label", "source")
    IMAGE_FIELD_NUMBER: _ClassVar[int]
    LABEL_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    image: _image_pb2.Image
    label: str
    source: str
    def __init__(self, image: _Optional[_Union[_image_pb2.Image, _Mapping[str, object]]] = ..., label: _Optional[str] = ..., source: _Optional[str] = ...) -> None: ...

class AddedExemplar(_message.Message):
    __slots__ = ("id", "state", "reason")
    ID_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    id: int
    state: ExemplarState
    reason: str
    def __init__(self, id: _Optional[int] = ..., state: _Optional[_Union[ExemplarState, str]] = ..., reason: _Optional[str] = ...) -> None: ...

class AddResult(_message.Message):
    __slots__ = ("added", "error")
    ADDED_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    added: AddedExemplar
    error: _status_pb2.Status
    def __init__(self, added: _Optional[_Union[AddedExemplar, _Mapping[str, object]]] = ..., error: _Optional[_Union[_status_pb2.Status, _Mapping[str, object]]] = ...) -> None: ...

class ExemplarUpdate(_message.Message):
    __slots__ = ("id", "label")
    ID_FIELD_NUMBER: _ClassVar[int]
    LABEL_FIELD_NUMBER: _ClassVar[int]
    id: int
    label: str
    def __init__(self, id: _Optional[int] = ..., label: _Optional[str] = ...) -> None: ...

class Exemplar(_message.Message):
    __slots__ = ("id", "label", "source", "state", "flags", "reason", "author", "time", "revision", "believed")
    ID_FIELD_NUMBER: _ClassVar[int]
    LABEL_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    FLAGS_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    AUTHOR_FIELD_NUMBER: _ClassVar[int]
    TIME_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    BELIEVED_FIELD_NUMBER: _ClassVar[int]
    id: int
    label: str
    source: str
    state: ExemplarState
    flags: _containers.RepeatedScalarFieldContainer[ExemplarFlag]
    reason: str
    author: str
    time: _timestamp_pb2.Timestamp
    revision: int
    believed: str
    def __init__(self, id: _Optional[int] = ..., label: _Optional[str] = ..., source: _Optional[str] = ..., state: _Optional[_Union[ExemplarState, str]] = ..., flags: _Optional[_Iterable[_Union[ExemplarFlag, str]]] = ..., reason: _Optional[str] = ..., author: _Optional[str] = ..., time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping[str, object]]] = ..., revision: _Optional[int] = ..., believed: _Optional[str] = ...) -> None: ...

class LabelSummary(_message.Message):
    __slots__ = ("index", "name", "exemplars")
    INDEX_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    EXEMPLARS_FIELD_NUMBER: _ClassVar[int]
    index: int
    name: str
    exemplars: int
    def __init__(self, index: _Optional[int] = ..., name: _Optional[str] = ..., exemplars: _Optional[int] = ...) -> None: ...
