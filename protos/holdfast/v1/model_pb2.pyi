from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Norm(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    NORM_UNSPECIFIED: _ClassVar[Norm]
    NORM_LINF: _ClassVar[Norm]
    NORM_L2: _ClassVar[Norm]

class VoteWeighting(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    VOTE_WEIGHTING_UNSPECIFIED: _ClassVar[VoteWeighting]
    VOTE_WEIGHTING_UNIFORM: _ClassVar[VoteWeighting]
    VOTE_WEIGHTING_EXPONENTIAL: _ClassVar[VoteWeighting]

class InputKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    INPUT_KIND_UNSPECIFIED: _ClassVar[InputKind]
    INPUT_KIND_IMAGE: _ClassVar[InputKind]
    INPUT_KIND_SPEECH: _ClassVar[InputKind]

class Hardening(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    HARDENING_UNSPECIFIED: _ClassVar[Hardening]
    HARDENING_TRAINED: _ClassVar[Hardening]
    HARDENING_NONE: _ClassVar[Hardening]
NORM_UNSPECIFIED: Norm
NORM_LINF: Norm
NORM_L2: Norm
VOTE_WEIGHTING_UNSPECIFIED: VoteWeighting
VOTE_WEIGHTING_UNIFORM: VoteWeighting
VOTE_WEIGHTING_EXPONENTIAL: VoteWeighting
INPUT_KIND_UNSPECIFIED: InputKind
INPUT_KIND_IMAGE: InputKind
INPUT_KIND_SPEECH: InputKind
HARDENING_UNSPECIFIED: Hardening
HARDENING_TRAINED: Hardening
HARDENING_NONE: Hardening

class ImageShape(_message.Message):
    __slots__ = ("height", "width", "channels")
    HEIGHT_FIELD_NUMBER: _ClassVar[int]
    WIDTH_FIELD_NUMBER: _ClassVar[int]
    CHANNELS_FIELD_NUMBER: _ClassVar[int]
    height: int
    width: int
    channels: int
    def __init__(self, height: _Optional[int] = ..., width: _Optional[int] = ..., channels: _Optional[int] = ...) -> None: ...

class ThreatModel(_message.Message):
    __slots__ = ("norm", "epsilon")
    NORM_FIELD_NUMBER: _ClassVar[int]
    EPSILON_FIELD_NUMBER: _ClassVar[int]
    norm: Norm
    epsilon: float
    def __init__(self, norm: _Optional[_Union[Norm, str]] = ..., epsilon: _Optional[float] = ...) -> None: ...

class Vote(_message.Message):
    __slots__ = ("k", "weighting", "temperature")
    K_FIELD_NUMBER: _ClassVar[int]
    WEIGHTING_FIELD_NUMBER: _ClassVar[int]
    TEMPERATURE_FIELD_NUMBER: _ClassVar[int]
    k: int
    weighting: VoteWeighting
    temperature: float
    def __init__(self, k: _Optional[int] = ..., weighting: _Optional[_Union[VoteWeighting, str]] = ..., temperature: _Optional[float] = ...) -> None: ...

class Accuracy(_message.Message):
    __slots__ = ("clean", "robust", "norm", "epsilon", "attack", "images")
    CLEAN_FIELD_NUMBER: _ClassVar[int]
    ROBUST_FIELD_NUMBER: _ClassVar[int]
    NORM_FIELD_NUMBER: _ClassVar[int]
    EPSILON_FIELD_NUMBER: _ClassVar[int]
    ATTACK_FIELD_NUMBER: _ClassVar[int]
    IMAGES_FIELD_NUMBER: _ClassVar[int]
    clean: float
    robust: float
    norm: Norm
    epsilon: float
    attack: str
    images: int
    def __init__(self, clean: _Optional[float] = ..., robust: _Optional[float] = ..., norm: _Optional[_Union[Norm, str]] = ..., epsilon: _Optional[float] = ..., attack: _Optional[str] = ..., images: _Optional[int] = ...) -> None: ...

class Limits(_message.Message):
    __slots__ = ("images_per_call", "message_bytes", "pixels_per_image", "certify_passes", "seconds_per_recording", "bytes_per_recording")
    IMAGES_PER_CALL_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_BYTES_FIELD_NUMBER: _ClassVar[int]
    PIXELS_PER_IMAGE_FIELD_NUMBER: _ClassVar[int]
    CERTIFY_PASSES_FIELD_NUMBER: _ClassVar[int]
    SECONDS_PER_RECORDING_FIELD_NUMBER: _ClassVar[int]
    BYTES_PER_RECORDING_FIELD_NUMBER: _ClassVar[int]
    images_per_call: int
    message_bytes: int
    pixels_per_image: int
    certify_passes: int
    seconds_per_recording: float
    bytes_per_recording: int
    def __init__(self, images_per_call: _Optional[int] = ..., message_bytes: _Optional[int] = ..., pixels_per_image: _Optional[int] = ..., certify_passes: _Optional[int] = ..., seconds_per_recording: _Optional[float] = ..., bytes_per_recording: _Optional[int] = ...) -> None: ...
