from google.rpc import status_pb2 as _status_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Label(_message.Message):
    __slots__ = ("index", "name")
    INDEX_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    index: int
    name: str
    def __init__(self, index: _Optional[int] = ..., name: _Optional[str] = ...) -> None: ...

class Neighbour(_message.Message):
    __slots__ = ("id", "label", "similarity", "source")
    ID_FIELD_NUMBER: _ClassVar[int]
    LABEL_FIELD_NUMBER: _ClassVar[int]
    SIMILARITY_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    id: int
    label: Label
    similarity: float
    source: str
    def __init__(self, id: _Optional[int] = ..., label: _Optional[_Union[Label, _Mapping[str, object]]] = ..., similarity: _Optional[float] = ..., source: _Optional[str] = ...) -> None: ...

class PackedNeighbours(_message.Message):
    __slots__ = ("ids", "labels", "similarities", "sources")
    IDS_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    SIMILARITIES_FIELD_NUMBER: _ClassVar[int]
    SOURCES_FIELD_NUMBER: _ClassVar[int]
    ids: _containers.RepeatedScalarFieldContainer[int]
    labels: _containers.RepeatedScalarFieldContainer[int]
    similarities: _containers.RepeatedScalarFieldContainer[float]
    sources: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, ids: _Optional[_Iterable[int]] = ..., labels: _Optional[_Iterable[int]] = ..., similarities: _Optional[_Iterable[float]] = ..., sources: _Optional[_Iterable[str]] = ...) -> None: ...

class Certificates(_message.Message):
    __slots__ = ("poison_tolerance", "feature_shift")
    POISON_TOLERANCE_FIELD_NUMBER: _ClassVar[int]
    FEATURE_SHIFT_FIELD_NUMBER: _ClassVar[int]
    poison_tolerance: int
    feature_shift: float
    def __init__(self, poison_tolerance: _Optional[int] = ..., feature_shift: _Optional[float] = ...) -> None: ...

class Smoothing(_message.Message):
    __slots__ = ("label", "hits", "draws", "sigma", "share_bound", "alpha", "radius")
    LABEL_FIELD_NUMBER: _ClassVar[int]
    HITS_FIELD_NUMBER: _ClassVar[int]
    DRAWS_FIELD_NUMBER: _ClassVar[int]
    SIGMA_FIELD_NUMBER: _ClassVar[int]
    SHARE_BOUND_FIELD_NUMBER: _ClassVar[int]
    ALPHA_FIELD_NUMBER: _ClassVar[int]
    RADIUS_FIELD_NUMBER: _ClassVar[int]
    label: Label
    hits: int
    draws: int
    sigma: float
    share_bound: float
    alpha: float
    radius: float
    def __init__(self, label: _Optional[_Union[Label, _Mapping[str, object]]] = ..., hits: _Optional[int] = ..., draws: _Optional[int] = ..., sigma: _Optional[float] = ..., share_bound: _Optional[float] = ..., alpha: _Optional[float] = ..., radius: _Optional[float] = ...) -> None: ...

class Classification(_message.Message):
    __slots__ = ("label", "probabilities", "credibility", "confidence", "abstain", "soft_margin", "kth_neighbour_distance", "neighbours", "packed_neighbours", "kth_neighbour_distance_p_value", "softmax_response", "certificates", "smoothing")
    LABEL_FIELD_NUMBER: _ClassVar[int]
    PROBABILITIES_FIELD_NUMBER: _ClassVar[int]
    CREDIBILITY_FIELD_NUMBER: _ClassVar[int]
    CONFIDENCE_FIELD_NUMBER: _ClassVar[int]
    ABSTAIN_FIELD_NUMBER: _ClassVar[int]
    SOFT_MARGIN_FIELD_NUMBER: _ClassVar[int]
    KTH_NEIGHBOUR_DISTANCE_FIELD_NUMBER: _ClassVar[int]
    NEIGHBOURS_FIELD_NUMBER: _ClassVar[int]
    PACKED_NEIGHBOURS_FIELD_NUMBER: _ClassVar[int]
    KTH_NEIGHBOUR_DISTANCE_P_VALUE_FIELD_NUMBER: _ClassVar[int]
    SOFTMAX_RESPONSE_FIELD_NUMBER: _ClassVar[int]
    CERTIFICATES_FIELD_NUMBER: _ClassVar[int]
    SMOOTHING_FIELD_NUMBER: _ClassVar[int]
    label: Label
    probabilities: _containers.RepeatedScalarFieldContainer[float]
    credibility: float
    confidence: float
    abstain: bool
    soft_margin: float
    kth_neighbour_distance: float
    neighbours: _containers.RepeatedCompositeFieldContainer[Neighbour]
    packed_neighbours: PackedNeighbours
    kth_neighbour_distance_p_value: float
    softmax_response: float
    certificates: Certificates
    smoothing: Smoothing
    def __init__(self, label: _Optional[_Union[Label, _Mapping[str, object]]] = ..., probabilities: _Optional[_Iterable[float]] = ..., credibility: _Optional[float] = ..., confidence: _Optional[float] = ..., abstain: _Optional[bool] = ..., soft_margin: _Optional[float] = ..., kth_neighbour_distance: _Optional[float] = ..., neighbours: _Optional[_Iterable[_Union[Neighbour, _Mapping[str, object]]]] = ..., packed_neighbours: _Optional[_Union[PackedNeighbours, _Mapping[str, object]]] = ..., kth_neighbour_distance_p_value: _Optional[float] = ..., softmax_response: _Optional[float] = ..., certificates: _Optional[_Union[Certificates, _Mapping[str, object]]] = ..., smoothing: _Optional[_Union[Smoothing, _Mapping[str, object]]] = ...) -> None: ...

class ClassifyResult(_message.Message):
    __slots__ = ("answer", "error")
    ANSWER_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    answer: Classification
    error: _status_pb2.Status
    def __init__(self, answer: _Optional[_Union[Classification, _Mapping[str, object]]] = ..., error: _Optional[_Union[_status_pb2.Status, _Mapping[str, object]]] = ...) -> None: ...

class Embedding(_message.Message):
    __slots__ = ("values",)
    VALUES_FIELD_NUMBER: _ClassVar[int]
    values: _containers.RepeatedScalarFieldContainer[float]
    def __init__(self, values: _Optional[_Iterable[float]] = ...) -> None: ...

class EmbedResult(_message.Message):
    __slots__ = ("embedding", "error")
    EMBEDDING_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    embedding: Embedding
    error: _status_pb2.Status
    def __init__(self, embedding: _Optional[_Union[Embedding, _Mapping[str, object]]] = ..., error: _Optional[_Union[_status_pb2.Status, _Mapping[str, object]]] = ...) -> None: ...
