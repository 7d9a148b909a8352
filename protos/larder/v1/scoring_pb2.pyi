from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Status(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    STATUS_UNSPECIFIED: _ClassVar[Status]
    STATUS_OK: _ClassVar[Status]
    STATUS_UNKNOWN_CONTENT: _ClassVar[Status]
    STATUS_INCOMPLETE: _ClassVar[Status]
STATUS_UNSPECIFIED: Status
STATUS_OK: Status
STATUS_UNKNOWN_CONTENT: Status
STATUS_INCOMPLETE: Status

class PredictRequest(_message.Message):
    __slots__ = ("predictor", "content_ids", "user_id")
    PREDICTOR_FIELD_NUMBER: _ClassVar[int]
    CONTENT_IDS_FIELD_NUMBER: _ClassVar[int]
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    predictor: str
    content_ids: _containers.RepeatedScalarFieldContainer[str]
    user_id: str
    def __init__(self, predictor: _Optional[str] = ..., content_ids: _Optional[_Iterable[str]] = ..., user_id: _Optional[str] = ...) -> None: ...

class PredictResponse(_message.Message):
    __slots__ = ("release", "predictor", "predictor_version", "content_ids", "statuses", "scores", "class_count", "class_probabilities", "classes", "missing_features")
    RELEASE_FIELD_NUMBER: _ClassVar[int]
    PREDICTOR_FIELD_NUMBER: _ClassVar[int]
    PREDICTOR_VERSION_FIELD_NUMBER: _ClassVar[int]
    CONTENT_IDS_FIELD_NUMBER: _ClassVar[int]
    STATUSES_FIELD_NUMBER: _ClassVar[int]
    SCORES_FIELD_NUMBER: _ClassVar[int]
    CLASS_COUNT_FIELD_NUMBER: _ClassVar[int]
    CLASS_PROBABILITIES_FIELD_NUMBER: _ClassVar[int]
    CLASSES_FIELD_NUMBER: _ClassVar[int]
    MISSING_FEATURES_FIELD_NUMBER: _ClassVar[int]
    release: str
    predictor: str
    predictor_version: str
    content_ids: _containers.RepeatedScalarFieldContainer[str]
    statuses: _containers.RepeatedScalarFieldContainer[Status]
    scores: _containers.RepeatedScalarFieldContainer[float]
    class_count: int
    class_probabilities: _containers.RepeatedScalarFieldContainer[float]
    classes: _containers.RepeatedScalarFieldContainer[int]
    missing_features: _containers.RepeatedCompositeFieldContainer[MissingFeature]
    def __init__(self, release: _Optional[str] = ..., predictor: _Optional[str] = ..., predictor_version: _Optional[str] = ..., content_ids: _Optional[_Iterable[str]] = ..., statuses: _Optional[_Iterable[_Union[Status, str]]] = ..., scores: _Optional[_Iterable[float]] = ..., class_count: _Optional[int] = ..., class_probabilities: _Optional[_Iterable[float]] = ..., classes: _Optional[_Iterable[int]] = ..., missing_features: _Optional[_Iterable[_Union[MissingFeature, _Mapping]]] = ...) -> None: ...

class MissingFeature(_message.Message):
    __slots__ = ("name", "rows")
    NAME_FIELD_NUMBER: _ClassVar[int]
    ROWS_FIELD_NUMBER: _ClassVar[int]
    name: str
    rows: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, name: _Optional[str] = ..., rows: _Optional[_Iterable[int]] = ...) -> None: ...

class SimilarRequest(_message.Message):
    __slots__ = ("content_id", "text", "image", "vector", "embedding", "k", "include_self")
    CONTENT_ID_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    IMAGE_FIELD_NUMBER: _ClassVar[int]
    VECTOR_FIELD_NUMBER: _ClassVar[int]
    EMBEDDING_FIELD_NUMBER: _ClassVar[int]
    K_FIELD_NUMBER: _ClassVar[int]
    INCLUDE_SELF_FIELD_NUMBER: _ClassVar[int]
    content_id: str
    text: str
    image: bytes
    vector: Vector
    embedding: str
    k: int
    include_self: bool
    def __init__(self, content_id: _Optional[str] = ..., text: _Optional[str] = ..., image: _Optional[bytes] = ..., vector: _Optional[_Union[Vector, _Mapping]] = ..., embedding: _Optional[str] = ..., k: _Optional[int] = ..., include_self: _Optional[bool] = ...) -> None: ...

class Vector(_message.Message):
    __slots__ = ("values",)
    VALUES_FIELD_NUMBER: _ClassVar[int]
    values: _containers.RepeatedScalarFieldContainer[float]
    def __init__(self, values: _Optional[_Iterable[float]] = ...) -> None: ...

class SimilarResponse(_message.Message):
    __slots__ = ("release", "embedding", "index_version", "neighbours")
    RELEASE_FIELD_NUMBER: _ClassVar[int]
    EMBEDDING_FIELD_NUMBER: _ClassVar[int]
    INDEX_VERSION_FIELD_NUMBER: _ClassVar[int]
    NEIGHBOURS_FIELD_NUMBER: _ClassVar[int]
    release: str
    embedding: str
    index_version: str
    neighbours: _containers.RepeatedCompositeFieldContainer[Neighbour]
    def __init__(self, release: _Optional[str] = ..., embedding: _Optional[str] = ..., index_version: _Optional[str] = ..., neighbours: _Optional[_Iterable[_Union[Neighbour, _Mapping]]] = ...) -> None: ...

class Neighbour(_message.Message):
    __slots__ = ("content_id", "score", "title")
    CONTENT_ID_FIELD_NUMBER: _ClassVar[int]
    SCORE_FIELD_NUMBER: _ClassVar[int]
    TITLE_FIELD_NUMBER: _ClassVar[int]
    content_id: str
    score: float
    title: str
    def __init__(self, content_id: _Optional[str] = ..., score: _Optional[float] = ..., title: _Optional[str] = ...) -> None: ...

class DescribeRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class DescribeResponse(_message.Message):
    __slots__ = ("release", "predictors", "embeddings", "indexes", "limits")
    RELEASE_FIELD_NUMBER: _ClassVar[int]
    PREDICTORS_FIELD_NUMBER: _ClassVar[int]
    EMBEDDINGS_FIELD_NUMBER: _ClassVar[int]
    INDEXES_FIELD_NUMBER: _ClassVar[int]
    LIMITS_FIELD_NUMBER: _ClassVar[int]
    release: str
    predictors: _containers.RepeatedCompositeFieldContainer[Predictor]
    embeddings: _containers.RepeatedCompositeFieldContainer[Embedding]
    indexes: _containers.RepeatedCompositeFieldContainer[Index]
    limits: Limits
    def __init__(self, release: _Optional[str] = ..., predictors: _Optional[_Iterable[_Union[Predictor, _Mapping]]] = ..., embeddings: _Optional[_Iterable[_Union[Embedding, _Mapping]]] = ..., indexes: _Optional[_Iterable[_Union[Index, _Mapping]]] = ..., limits: _Optional[_Union[Limits, _Mapping]] = ...) -> None: ...

class Predictor(_message.Message):
    __slots__ = ("name", "version", "service", "features", "class_count", "metrics")
    class MetricsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    NAME_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    SERVICE_FIELD_NUMBER: _ClassVar[int]
    FEATURES_FIELD_NUMBER: _ClassVar[int]
    CLASS_COUNT_FIELD_NUMBER: _ClassVar[int]
    METRICS_FIELD_NUMBER: _ClassVar[int]
    name: str
    version: str
    service: str
    features: _containers.RepeatedScalarFieldContainer[str]
    class_count: int
    metrics: _containers.ScalarMap[str, float]
    def __init__(self, name: _Optional[str] = ..., version: _Optional[str] = ..., service: _Optional[str] = ..., features: _Optional[_Iterable[str]] = ..., class_count: _Optional[int] = ..., metrics: _Optional[_Mapping[str, float]] = ...) -> None: ...

class Embedding(_message.Message):
    __slots__ = ("name", "dim", "spec_digest", "query_modalities")
    NAME_FIELD_NUMBER: _ClassVar[int]
    DIM_FIELD_NUMBER: _ClassVar[int]
    SPEC_DIGEST_FIELD_NUMBER: _ClassVar[int]
    QUERY_MODALITIES_FIELD_NUMBER: _ClassVar[int]
    name: str
    dim: int
    spec_digest: str
    query_modalities: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, name: _Optional[str] = ..., dim: _Optional[int] = ..., spec_digest: _Optional[str] = ..., query_modalities: _Optional[_Iterable[str]] = ...) -> None: ...

class Index(_message.Message):
    __slots__ = ("embedding", "version", "kind", "count", "recall")
    EMBEDDING_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    RECALL_FIELD_NUMBER: _ClassVar[int]
    embedding: str
    version: str
    kind: str
    count: int
    recall: float
    def __init__(self, embedding: _Optional[str] = ..., version: _Optional[str] = ..., kind: _Optional[str] = ..., count: _Optional[int] = ..., recall: _Optional[float] = ...) -> None: ...

class Limits(_message.Message):
    __slots__ = ("candidates", "k", "text_characters", "payload_bytes")
    CANDIDATES_FIELD_NUMBER: _ClassVar[int]
    K_FIELD_NUMBER: _ClassVar[int]
    TEXT_CHARACTERS_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_BYTES_FIELD_NUMBER: _ClassVar[int]
    candidates: int
    k: int
    text_characters: int
    payload_bytes: int
    def __init__(self, candidates: _Optional[int] = ..., k: _Optional[int] = ..., text_characters: _Optional[int] = ..., payload_bytes: _Optional[int] = ...) -> None: ...
