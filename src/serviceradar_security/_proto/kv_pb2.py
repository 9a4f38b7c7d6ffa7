"""Generated from kv.proto by tools/gen_proto.py. Do not edit."""

from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass

_POOL = DescriptorPool()
_POOL.AddSerializedFile(
    b'\n\x08kv.proto\x12\x05proto"\x1e\n'
    b'\nGetRequest\x12\x10\n\x03key\x18\x01'
    b' \x01(\tR\x03key"U\n\x0bGetResp'
    b'onse\x12\x14\n\x05value\x18\x01 \x01(\x0cR'
    b'\x05value\x12\x14\n\x05found\x18\x02 \x01('
    b'\x08R\x05found\x12\x1a\n\x08revision'
    b'\x18\x03 \x01(\x04R\x08revision" \n\x0c'
    b'WatchRequest\x12\x10\n\x03key\x18'
    b'\x01 \x01(\tR\x03key"%\n\rWatchR'
    b'esponse\x12\x14\n\x05value\x18\x01 \x01'
    b'(\x0cR\x05valueb\x06proto3'
)

GetRequest = GetMessageClass(_POOL.FindMessageTypeByName("proto.GetRequest"))
GetResponse = GetMessageClass(_POOL.FindMessageTypeByName("proto.GetResponse"))
WatchRequest = GetMessageClass(_POOL.FindMessageTypeByName("proto.WatchRequest"))
WatchResponse = GetMessageClass(_POOL.FindMessageTypeByName("proto.WatchResponse"))
