from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ServiceStatus(_message.Message):
    __slots__ = ("service_name", "available", "message", "service_type", "response_time", "agent_id", "poller_id", "partition", "source", "kv_store_id")
    SERVICE_NAME_FIELD_NUMBER: _ClassVar[int]
    AVAILABLE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    SERVICE_TYPE_FIELD_NUMBER: _ClassVar[int]
    RESPONSE_TIME_FIELD_NUMBER: _ClassVar[int]
    AGENT_ID_FIELD_NUMBER: _ClassVar[int]
    POLLER_ID_FIELD_NUMBER: _ClassVar[int]
    PARTITION_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    KV_STORE_ID_FIELD_NUMBER: _ClassVar[int]
    service_name: str
    available: bool
    message: bytes
    service_type: str
    response_time: int
    agent_id: str
    poller_id: str
    partition: str
    source: str
    kv_store_id: str
    def __init__(self, service_name: _Optional[str] = ..., available: _Optional[bool] = ..., message: _Optional[bytes] = ..., service_type: _Optional[str] = ..., response_time: _Optional[int] = ..., agent_id: _Optional[str] = ..., poller_id: _Optional[str] = ..., partition: _Optional[str] = ..., source: _Optional[str] = ..., kv_store_id: _Optional[str] = ...) -> None: ...

class PollerStatusRequest(_message.Message):
    __slots__ = ("services", "poller_id", "agent_id", "timestamp", "partition", "source_ip", "kv_store_id")
    SERVICES_FIELD_NUMBER: _ClassVar[int]
    POLLER_ID_FIELD_NUMBER: _ClassVar[int]
    AGENT_ID_FIELD_NUMBER: _ClassVar[int]
    TIMESTAMP_FIELD_NUMBER: _ClassVar[int]
    PARTITION_FIELD_NUMBER: _ClassVar[int]
    SOURCE_IP_FIELD_NUMBER: _ClassVar[int]
    KV_STORE_ID_FIELD_NUMBER: _ClassVar[int]
    services: _containers.RepeatedCompositeFieldContainer[ServiceStatus]
    poller_id: str
    agent_id: str
    timestamp: int
    partition: str
    source_ip: str
    kv_store_id: str
    def __init__(self, services: _Optional[_Iterable[_Union[ServiceStatus, _Mapping]]] = ..., poller_id: _Optional[str] = ..., agent_id: _Optional[str] = ..., timestamp: _Optional[int] = ..., partition: _Optional[str] = ..., source_ip: _Optional[str] = ..., kv_store_id: _Optional[str] = ...) -> None: ...

class PollerStatusChunk(_message.Message):
    __slots__ = ("services", "poller_id", "agent_id", "timestamp", "partition", "source_ip", "is_final", "chunk_index", "total_chunks", "kv_store_id")
    SERVICES_FIELD_NUMBER: _ClassVar[int]
    POLLER_ID_FIELD_NUMBER: _ClassVar[int]
    AGENT_ID_FIELD_NUMBER: _ClassVar[int]
    TIMESTAMP_FIELD_NUMBER: _ClassVar[int]
    PARTITION_FIELD_NUMBER: _ClassVar[int]
    SOURCE_IP_FIELD_NUMBER: _ClassVar[int]
    IS_FINAL_FIELD_NUMBER: _ClassVar[int]
    CHUNK_INDEX_FIELD_NUMBER: _ClassVar[int]
    TOTAL_CHUNKS_FIELD_NUMBER: _ClassVar[int]
    KV_STORE_ID_FIELD_NUMBER: _ClassVar[int]
    services: _containers.RepeatedCompositeFieldContainer[ServiceStatus]
    poller_id: str
    agent_id: str
    timestamp: int
    partition: str
    source_ip: str
    is_final: bool
    chunk_index: int
    total_chunks: int
    kv_store_id: str
    def __init__(self, services: _Optional[_Iterable[_Union[ServiceStatus, _Mapping]]] = ..., poller_id: _Optional[str] = ..., agent_id: _Optional[str] = ..., timestamp: _Optional[int] = ..., partition: _Optional[str] = ..., source_ip: _Optional[str] = ..., is_final: _Optional[bool] = ..., chunk_index: _Optional[int] = ..., total_chunks: _Optional[int] = ..., kv_store_id: _Optional[str] = ...) -> None: ...

class PollerStatusResponse(_message.Message):
    __slots__ = ("received",)
    RECEIVED_FIELD_NUMBER: _ClassVar[int]
    received: bool
    def __init__(self, received: _Optional[bool] = ...) -> None: ...
