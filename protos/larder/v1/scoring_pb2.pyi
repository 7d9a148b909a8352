import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
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
    STATUS_UNREADABLE: _ClassVar[Status]

class Source(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    SOURCE_UNSPECIFIED: _ClassVar[Source]
    SOURCE_USER_VECTOR: _ClassVar[Source]
    SOURCE_RECENT_LIKES: _ClassVar[Source]
    SOURCE_POPULAR: _ClassVar[Source]

class EventType(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    EVENT_TYPE_UNSPECIFIED: _ClassVar[EventType]
    EVENT_TYPE_IMPRESSION: _ClassVar[EventType]
    EVENT_TYPE_VIEW: _ClassVar[EventType]
    EVENT_TYPE_LIKE: _ClassVar[EventType]
    EVENT_TYPE_SHARE: _ClassVar[EventType]
    EVENT_TYPE_COMMENT: _ClassVar[EventType]
    EVENT_TYPE_RATING: _ClassVar[EventType]
STATUS_UNSPECIFIED: Status
STATUS_OK: Status
STATUS_UNKNOWN_CONTENT: Status
STATUS_INCOMPLETE: Status
STATUS_UNREADABLE: Status
SOURCE_UNSPECIFIED: Source
SOURCE_USER_VECTOR: Source
SOURCE_RECENT_LIKES: Source
SOURCE_POPULAR: Source
EVENT_TYPE_UNSPECIFIED: EventType
EVENT_TYPE_IMPRESSION: EventType
EVENT_TYPE_VIEW: EventType
EVENT_TYPE_LIKE: EventType
EVENT_TYPE_SHARE: EventType
EVENT_TYPE_COMMENT: EventType
EVENT_TYPE_RATING: EventType

class PredictRequest(_message.Message):
    __slots__ = ("predictors", "content_ids", "raw_contents", "user_id")
    PREDICTORS_FIELD_NUMBER: _ClassVar[int]
    CONTENT_IDS_FIELD_NUMBER: _ClassVar[int]
    RAW_CONTENTS_FIELD_NUMBER: _ClassVar[int]
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    predictors: _containers.RepeatedScalarFieldContainer[str]
    content_ids: _containers.RepeatedScalarFieldContainer[str]
    raw_contents: _containers.RepeatedCompositeFieldContainer[RawContent]
    user_id: str
    def __init__(self, predictors: _Optional[_Iterable[str]] = ..., content_ids: _Optional[_Iterable[str]] = ..., raw_contents: _Optional[_Iterable[_Union[RawContent, _Mapping]]] = ..., user_id: _Optional[str] = ...) -> None: ...

class RawContent(_message.Message):
    __slots__ = ("content_id", "title", "description", "tags", "language", "creator_id", "published_at", "image", "clip")
    CONTENT_ID_FIELD_NUMBER: _ClassVar[int]
    TITLE_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    TAGS_FIELD_NUMBER: _ClassVar[int]
    LANGUAGE_FIELD_NUMBER: _ClassVar[int]
    CREATOR_ID_FIELD_NUMBER: _ClassVar[int]
    PUBLISHED_AT_FIELD_NUMBER: _ClassVar[int]
    IMAGE_FIELD_NUMBER: _ClassVar[int]
    CLIP_FIELD_NUMBER: _ClassVar[int]
    content_id: str
    title: str
    description: str
    tags: _containers.RepeatedScalarFieldContainer[str]
    language: str
    creator_id: str
    published_at: _timestamp_pb2.Timestamp
    image: bytes
    clip: str
    def __init__(self, content_id: _Optional[str] = ..., title: _Optional[str] = ..., description: _Optional[str] = ..., tags: _Optional[_Iterable[str]] = ..., language: _Optional[str] = ..., creator_id: _Optional[str] = ..., published_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., image: _Optional[bytes] = ..., clip: _Optional[str] = ...) -> None: ...

class PredictResponse(_message.Message):
    __slots__ = ("release", "variant", "request_id", "content_ids", "results")
    RELEASE_FIELD_NUMBER: _ClassVar[int]
    VARIANT_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    CONTENT_IDS_FIELD_NUMBER: _ClassVar[int]
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    release: str
    variant: str
    request_id: str
    content_ids: _containers.RepeatedScalarFieldContainer[str]
    results: _containers.RepeatedCompositeFieldContainer[PredictorScores]
    def __init__(self, release: _Optional[str] = ..., variant: _Optional[str] = ..., request_id: _Optional[str] = ..., content_ids: _Optional[_Iterable[str]] = ..., results: _Optional[_Iterable[_Union[PredictorScores, _Mapping]]] = ...) -> None: ...

class PredictorScores(_message.Message):
    __slots__ = ("predictor", "version", "statuses", "scores", "class_count", "class_probabilities", "classes", "missing_features")
    PREDICTOR_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    STATUSES_FIELD_NUMBER: _ClassVar[int]
    SCORES_FIELD_NUMBER: _ClassVar[int]
    CLASS_COUNT_FIELD_NUMBER: _ClassVar[int]
    CLASS_PROBABILITIES_FIELD_NUMBER: _ClassVar[int]
    CLASSES_FIELD_NUMBER: _ClassVar[int]
    MISSING_FEATURES_FIELD_NUMBER: _ClassVar[int]
    predictor: str
    version: str
    statuses: _containers.RepeatedScalarFieldContainer[Status]
    scores: _containers.RepeatedScalarFieldContainer[float]
    class_count: int
    class_probabilities: _containers.RepeatedScalarFieldContainer[float]
    classes: _containers.RepeatedScalarFieldContainer[int]
    missing_features: _containers.RepeatedCompositeFieldContainer[MissingFeature]
    def __init__(self, predictor: _Optional[str] = ..., version: _Optional[str] = ..., statuses: _Optional[_Iterable[_Union[Status, str]]] = ..., scores: _Optional[_Iterable[float]] = ..., class_count: _Optional[int] = ..., class_probabilities: _Optional[_Iterable[float]] = ..., classes: _Optional[_Iterable[int]] = ..., missing_features: _Optional[_Iterable[_Union[MissingFeature, _Mapping]]] = ...) -> None: ...

class MissingFeature(_message.Message):
    __slots__ = ("name", "rows")
    NAME_FIELD_NUMBER: _ClassVar[int]
    ROWS_FIELD_NUMBER: _ClassVar[int]
    name: str
    rows: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, name: _Optional[str] = ..., rows: _Optional[_Iterable[int]] = ...) -> None: ...

class PredictStreamRequest(_message.Message):
    __slots__ = ("request",)
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    request: PredictRequest
    def __init__(self, request: _Optional[_Union[PredictRequest, _Mapping]] = ...) -> None: ...

class PredictStreamResponse(_message.Message):
    __slots__ = ("response", "failure")
    RESPONSE_FIELD_NUMBER: _ClassVar[int]
    FAILURE_FIELD_NUMBER: _ClassVar[int]
    response: PredictResponse
    failure: Failure
    def __init__(self, response: _Optional[_Union[PredictResponse, _Mapping]] = ..., failure: _Optional[_Union[Failure, _Mapping]] = ...) -> None: ...

class Failure(_message.Message):
    __slots__ = ("code", "message")
    CODE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    code: int
    message: str
    def __init__(self, code: _Optional[int] = ..., message: _Optional[str] = ...) -> None: ...

class Filter(_message.Message):
    __slots__ = ("field", "any_of", "none_of", "range")
    FIELD_FIELD_NUMBER: _ClassVar[int]
    ANY_OF_FIELD_NUMBER: _ClassVar[int]
    NONE_OF_FIELD_NUMBER: _ClassVar[int]
    RANGE_FIELD_NUMBER: _ClassVar[int]
    field: str
    any_of: TextSet
    none_of: TextSet
    range: NumberRange
    def __init__(self, field: _Optional[str] = ..., any_of: _Optional[_Union[TextSet, _Mapping]] = ..., none_of: _Optional[_Union[TextSet, _Mapping]] = ..., range: _Optional[_Union[NumberRange, _Mapping]] = ...) -> None: ...

class TextSet(_message.Message):
    __slots__ = ("values",)
    VALUES_FIELD_NUMBER: _ClassVar[int]
    values: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, values: _Optional[_Iterable[str]] = ...) -> None: ...

class NumberRange(_message.Message):
    __slots__ = ("at_least", "below")
    AT_LEAST_FIELD_NUMBER: _ClassVar[int]
    BELOW_FIELD_NUMBER: _ClassVar[int]
    at_least: float
    below: float
    def __init__(self, at_least: _Optional[float] = ..., below: _Optional[float] = ...) -> None: ...

class RecommendRequest(_message.Message):
    __slots__ = ("user_id", "predictor", "embedding", "k", "pool", "filters", "exclude_ids", "include_seen", "diversity")
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    PREDICTOR_FIELD_NUMBER: _ClassVar[int]
    EMBEDDING_FIELD_NUMBER: _ClassVar[int]
    K_FIELD_NUMBER: _ClassVar[int]
    POOL_FIELD_NUMBER: _ClassVar[int]
    FILTERS_FIELD_NUMBER: _ClassVar[int]
    EXCLUDE_IDS_FIELD_NUMBER: _ClassVar[int]
    INCLUDE_SEEN_FIELD_NUMBER: _ClassVar[int]
    DIVERSITY_FIELD_NUMBER: _ClassVar[int]
    user_id: str
    predictor: str
    embedding: str
    k: int
    pool: int
    filters: _containers.RepeatedCompositeFieldContainer[Filter]
    exclude_ids: _containers.RepeatedScalarFieldContainer[str]
    include_seen: bool
    diversity: float
    def __init__(self, user_id: _Optional[str] = ..., predictor: _Optional[str] = ..., embedding: _Optional[str] = ..., k: _Optional[int] = ..., pool: _Optional[int] = ..., filters: _Optional[_Iterable[_Union[Filter, _Mapping]]] = ..., exclude_ids: _Optional[_Iterable[str]] = ..., include_seen: _Optional[bool] = ..., diversity: _Optional[float] = ...) -> None: ...

class RecommendResponse(_message.Message):
    __slots__ = ("release", "variant", "request_id", "predictor", "predictor_version", "embedding", "recommendations", "source")
    RELEASE_FIELD_NUMBER: _ClassVar[int]
    VARIANT_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    PREDICTOR_FIELD_NUMBER: _ClassVar[int]
    PREDICTOR_VERSION_FIELD_NUMBER: _ClassVar[int]
    EMBEDDING_FIELD_NUMBER: _ClassVar[int]
    RECOMMENDATIONS_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    release: str
    variant: str
    request_id: str
    predictor: str
    predictor_version: str
    embedding: str
    recommendations: _containers.RepeatedCompositeFieldContainer[Recommendation]
    source: Source
    def __init__(self, release: _Optional[str] = ..., variant: _Optional[str] = ..., request_id: _Optional[str] = ..., predictor: _Optional[str] = ..., predictor_version: _Optional[str] = ..., embedding: _Optional[str] = ..., recommendations: _Optional[_Iterable[_Union[Recommendation, _Mapping]]] = ..., source: _Optional[_Union[Source, str]] = ...) -> None: ...

class Recommendation(_message.Message):
    __slots__ = ("content_id", "score", "title")
    CONTENT_ID_FIELD_NUMBER: _ClassVar[int]
    SCORE_FIELD_NUMBER: _ClassVar[int]
    TITLE_FIELD_NUMBER: _ClassVar[int]
    content_id: str
    score: float
    title: str
    def __init__(self, content_id: _Optional[str] = ..., score: _Optional[float] = ..., title: _Optional[str] = ...) -> None: ...

class SimilarRequest(_message.Message):
    __slots__ = ("content_id", "text", "image", "vector", "contents", "embeddings", "k", "include_self", "filters")
    CONTENT_ID_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    IMAGE_FIELD_NUMBER: _ClassVar[int]
    VECTOR_FIELD_NUMBER: _ClassVar[int]
    CONTENTS_FIELD_NUMBER: _ClassVar[int]
    EMBEDDINGS_FIELD_NUMBER: _ClassVar[int]
    K_FIELD_NUMBER: _ClassVar[int]
    INCLUDE_SELF_FIELD_NUMBER: _ClassVar[int]
    FILTERS_FIELD_NUMBER: _ClassVar[int]
    content_id: str
    text: str
    image: bytes
    vector: Vector
    contents: ContentIds
    embeddings: _containers.RepeatedCompositeFieldContainer[WeightedEmbedding]
    k: int
    include_self: bool
    filters: _containers.RepeatedCompositeFieldContainer[Filter]
    def __init__(self, content_id: _Optional[str] = ..., text: _Optional[str] = ..., image: _Optional[bytes] = ..., vector: _Optional[_Union[Vector, _Mapping]] = ..., contents: _Optional[_Union[ContentIds, _Mapping]] = ..., embeddings: _Optional[_Iterable[_Union[WeightedEmbedding, _Mapping]]] = ..., k: _Optional[int] = ..., include_self: _Optional[bool] = ..., filters: _Optional[_Iterable[_Union[Filter, _Mapping]]] = ...) -> None: ...

class ContentIds(_message.Message):
    __slots__ = ("ids",)
    IDS_FIELD_NUMBER: _ClassVar[int]
    ids: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, ids: _Optional[_Iterable[str]] = ...) -> None: ...

class WeightedEmbedding(_message.Message):
    __slots__ = ("name", "weight")
    NAME_FIELD_NUMBER: _ClassVar[int]
    WEIGHT_FIELD_NUMBER: _ClassVar[int]
    name: str
    weight: float
    def __init__(self, name: _Optional[str] = ..., weight: _Optional[float] = ...) -> None: ...

class Vector(_message.Message):
    __slots__ = ("values",)
    VALUES_FIELD_NUMBER: _ClassVar[int]
    values: _containers.RepeatedScalarFieldContainer[float]
    def __init__(self, values: _Optional[_Iterable[float]] = ...) -> None: ...

class SimilarResponse(_message.Message):
    __slots__ = ("release", "request_id", "indexes", "neighbours")
    RELEASE_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    INDEXES_FIELD_NUMBER: _ClassVar[int]
    NEIGHBOURS_FIELD_NUMBER: _ClassVar[int]
    release: str
    request_id: str
    indexes: _containers.RepeatedCompositeFieldContainer[SearchedIndex]
    neighbours: _containers.RepeatedCompositeFieldContainer[Neighbour]
    def __init__(self, release: _Optional[str] = ..., request_id: _Optional[str] = ..., indexes: _Optional[_Iterable[_Union[SearchedIndex, _Mapping]]] = ..., neighbours: _Optional[_Iterable[_Union[Neighbour, _Mapping]]] = ...) -> None: ...

class SearchedIndex(_message.Message):
    __slots__ = ("embedding", "version", "weight")
    EMBEDDING_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    WEIGHT_FIELD_NUMBER: _ClassVar[int]
    embedding: str
    version: str
    weight: float
    def __init__(self, embedding: _Optional[str] = ..., version: _Optional[str] = ..., weight: _Optional[float] = ...) -> None: ...

class Neighbour(_message.Message):
    __slots__ = ("content_id", "score", "title")
    CONTENT_ID_FIELD_NUMBER: _ClassVar[int]
    SCORE_FIELD_NUMBER: _ClassVar[int]
    TITLE_FIELD_NUMBER: _ClassVar[int]
    content_id: str
    score: float
    title: str
    def __init__(self, content_id: _Optional[str] = ..., score: _Optional[float] = ..., title: _Optional[str] = ...) -> None: ...

class LogInteractionRequest(_message.Message):
    __slots__ = ("offset", "interactions")
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    INTERACTIONS_FIELD_NUMBER: _ClassVar[int]
    offset: int
    interactions: _containers.RepeatedCompositeFieldContainer[Interaction]
    def __init__(self, offset: _Optional[int] = ..., interactions: _Optional[_Iterable[_Union[Interaction, _Mapping]]] = ...) -> None: ...

class Interaction(_message.Message):
    __slots__ = ("event_id", "user_id", "content_id", "event", "timestamp", "value", "request_id")
    EVENT_ID_FIELD_NUMBER: _ClassVar[int]
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    CONTENT_ID_FIELD_NUMBER: _ClassVar[int]
    EVENT_FIELD_NUMBER: _ClassVar[int]
    TIMESTAMP_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    event_id: str
    user_id: str
    content_id: str
    event: EventType
    timestamp: _timestamp_pb2.Timestamp
    value: float
    request_id: str
    def __init__(self, event_id: _Optional[str] = ..., user_id: _Optional[str] = ..., content_id: _Optional[str] = ..., event: _Optional[_Union[EventType, str]] = ..., timestamp: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., value: _Optional[float] = ..., request_id: _Optional[str] = ...) -> None: ...

class LogInteractionResponse(_message.Message):
    __slots__ = ("offset", "accepted", "duplicates", "rejected")
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    ACCEPTED_FIELD_NUMBER: _ClassVar[int]
    DUPLICATES_FIELD_NUMBER: _ClassVar[int]
    REJECTED_FIELD_NUMBER: _ClassVar[int]
    offset: int
    accepted: int
    duplicates: int
    rejected: _containers.RepeatedCompositeFieldContainer[RejectedInteraction]
    def __init__(self, offset: _Optional[int] = ..., accepted: _Optional[int] = ..., duplicates: _Optional[int] = ..., rejected: _Optional[_Iterable[_Union[RejectedInteraction, _Mapping]]] = ...) -> None: ...

class RejectedInteraction(_message.Message):
    __slots__ = ("event_id", "reason")
    EVENT_ID_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    event_id: str
    reason: str
    def __init__(self, event_id: _Optional[str] = ..., reason: _Optional[str] = ...) -> None: ...

class ExplainRequest(_message.Message):
    __slots__ = ("predictor", "content_id", "user_id", "top")
    PREDICTOR_FIELD_NUMBER: _ClassVar[int]
    CONTENT_ID_FIELD_NUMBER: _ClassVar[int]
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    TOP_FIELD_NUMBER: _ClassVar[int]
    predictor: str
    content_id: str
    user_id: str
    top: int
    def __init__(self, predictor: _Optional[str] = ..., content_id: _Optional[str] = ..., user_id: _Optional[str] = ..., top: _Optional[int] = ...) -> None: ...

class ExplainResponse(_message.Message):
    __slots__ = ("release", "request_id", "predictor", "predictor_version", "score", "method", "base", "contributions", "modalities")
    class ModalitiesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    RELEASE_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    PREDICTOR_FIELD_NUMBER: _ClassVar[int]
    PREDICTOR_VERSION_FIELD_NUMBER: _ClassVar[int]
    SCORE_FIELD_NUMBER: _ClassVar[int]
    METHOD_FIELD_NUMBER: _ClassVar[int]
    BASE_FIELD_NUMBER: _ClassVar[int]
    CONTRIBUTIONS_FIELD_NUMBER: _ClassVar[int]
    MODALITIES_FIELD_NUMBER: _ClassVar[int]
    release: str
    request_id: str
    predictor: str
    predictor_version: str
    score: float
    method: str
    base: float
    contributions: _containers.RepeatedCompositeFieldContainer[Contribution]
    modalities: _containers.ScalarMap[str, float]
    def __init__(self, release: _Optional[str] = ..., request_id: _Optional[str] = ..., predictor: _Optional[str] = ..., predictor_version: _Optional[str] = ..., score: _Optional[float] = ..., method: _Optional[str] = ..., base: _Optional[float] = ..., contributions: _Optional[_Iterable[_Union[Contribution, _Mapping]]] = ..., modalities: _Optional[_Mapping[str, float]] = ...) -> None: ...

class Contribution(_message.Message):
    __slots__ = ("name", "value")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    name: str
    value: float
    def __init__(self, name: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...

class DescribeRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class DescribeResponse(_message.Message):
    __slots__ = ("release", "predictors", "embeddings", "indexes", "limits", "variants")
    RELEASE_FIELD_NUMBER: _ClassVar[int]
    PREDICTORS_FIELD_NUMBER: _ClassVar[int]
    EMBEDDINGS_FIELD_NUMBER: _ClassVar[int]
    INDEXES_FIELD_NUMBER: _ClassVar[int]
    LIMITS_FIELD_NUMBER: _ClassVar[int]
    VARIANTS_FIELD_NUMBER: _ClassVar[int]
    release: str
    predictors: _containers.RepeatedCompositeFieldContainer[Predictor]
    embeddings: _containers.RepeatedCompositeFieldContainer[Embedding]
    indexes: _containers.RepeatedCompositeFieldContainer[Index]
    limits: Limits
    variants: _containers.RepeatedCompositeFieldContainer[Variant]
    def __init__(self, release: _Optional[str] = ..., predictors: _Optional[_Iterable[_Union[Predictor, _Mapping]]] = ..., embeddings: _Optional[_Iterable[_Union[Embedding, _Mapping]]] = ..., indexes: _Optional[_Iterable[_Union[Index, _Mapping]]] = ..., limits: _Optional[_Union[Limits, _Mapping]] = ..., variants: _Optional[_Iterable[_Union[Variant, _Mapping]]] = ...) -> None: ...

class Variant(_message.Message):
    __slots__ = ("name", "release", "share")
    NAME_FIELD_NUMBER: _ClassVar[int]
    RELEASE_FIELD_NUMBER: _ClassVar[int]
    SHARE_FIELD_NUMBER: _ClassVar[int]
    name: str
    release: str
    share: float
    def __init__(self, name: _Optional[str] = ..., release: _Optional[str] = ..., share: _Optional[float] = ...) -> None: ...

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
    __slots__ = ("candidates", "k", "text_characters", "payload_bytes", "raw_contents", "pool", "events")
    CANDIDATES_FIELD_NUMBER: _ClassVar[int]
    K_FIELD_NUMBER: _ClassVar[int]
    TEXT_CHARACTERS_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_BYTES_FIELD_NUMBER: _ClassVar[int]
    RAW_CONTENTS_FIELD_NUMBER: _ClassVar[int]
    POOL_FIELD_NUMBER: _ClassVar[int]
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    candidates: int
    k: int
    text_characters: int
    payload_bytes: int
    raw_contents: int
    pool: int
    events: int
    def __init__(self, candidates: _Optional[int] = ..., k: _Optional[int] = ..., text_characters: _Optional[int] = ..., payload_bytes: _Optional[int] = ..., raw_contents: _Optional[int] = ..., pool: _Optional[int] = ..., events: _Optional[int] = ...) -> None: ...
