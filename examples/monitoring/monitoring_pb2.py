"""Generated from monitoring.proto by tools/gen_proto.py. Do not edit."""

from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass

_POOL = DescriptorPool()
_POOL.AddSerializedFile(
    b'\n\x10monitoring.proto\x12\n'
    b'monitoring"\xc0\x02\n\rServi'
    b'ceStatus\x12!\n\x0cservice_'
    b'name\x18\x01 \x01(\tR\x0bserviceN'
    b'ame\x12\x1c\n\tavailable\x18\x02 \x01'
    b'(\x08R\tavailable\x12\x18\n\x07mes'
    b'sage\x18\x03 \x01(\x0cR\x07message\x12'
    b'!\n\x0cservice_type\x18\x04 \x01('
    b'\tR\x0bserviceType\x12#\n\rre'
    b'sponse_time\x18\x05 \x01(\x03R\x0cr'
    b'esponseTime\x12\x19\n\x08agent'
    b'_id\x18\x06 \x01(\tR\x07agentId\x12\x1b'
    b'\n\tpoller_id\x18\x07 \x01(\tR\x08p'
    b'ollerId\x12\x1c\n\tpartition'
    b'\x18\x08 \x01(\tR\tpartition\x12\x16\n'
    b'\x06source\x18\t \x01(\tR\x06sourc'
    b'e\x12\x1e\n\x0bkv_store_id\x18\n \x01'
    b'(\tR\tkvStoreId"\xfd\x01\n\x13Po'
    b'llerStatusRequest\x125\n'
    b'\x08services\x18\x01 \x03(\x0b2\x19.mo'
    b'nitoring.ServiceStat'
    b'usR\x08services\x12\x1b\n\tpoll'
    b'er_id\x18\x02 \x01(\tR\x08pollerI'
    b'd\x12\x19\n\x08agent_id\x18\x03 \x01(\tR'
    b'\x07agentId\x12\x1c\n\ttimestam'
    b'p\x18\x04 \x01(\x03R\ttimestamp\x12\x1c'
    b'\n\tpartition\x18\x05 \x01(\tR\tp'
    b'artition\x12\x1b\n\tsource_i'
    b'p\x18\x06 \x01(\tR\x08sourceIp\x12\x1e\n'
    b'\x0bkv_store_id\x18\x07 \x01(\tR\t'
    b'kvStoreId"\xda\x02\n\x11Poller'
    b'StatusChunk\x125\n\x08servi'
    b'ces\x18\x01 \x03(\x0b2\x19.monitori'
    b'ng.ServiceStatusR\x08se'
    b'rvices\x12\x1b\n\tpoller_id\x18'
    b'\x02 \x01(\tR\x08pollerId\x12\x19\n\x08a'
    b'gent_id\x18\x03 \x01(\tR\x07agent'
    b'Id\x12\x1c\n\ttimestamp\x18\x04 \x01('
    b'\x03R\ttimestamp\x12\x1c\n\tpart'
    b'ition\x18\x05 \x01(\tR\tpartiti'
    b'on\x12\x1b\n\tsource_ip\x18\x06 \x01('
    b'\tR\x08sourceIp\x12\x19\n\x08is_fi'
    b'nal\x18\x07 \x01(\x08R\x07isFinal\x12\x1f'
    b'\n\x0bchunk_index\x18\x08 \x01(\x05R'
    b'\nchunkIndex\x12!\n\x0ctotal'
    b'_chunks\x18\t \x01(\x05R\x0btotal'
    b'Chunks\x12\x1e\n\x0bkv_store_i'
    b'd\x18\n \x01(\tR\tkvStoreId"2'
    b'\n\x14PollerStatusRespon'
    b'se\x12\x1a\n\x08received\x18\x01 \x01(\x08'
    b'R\x08receivedb\x06proto3'
)

ServiceStatus = GetMessageClass(_POOL.FindMessageTypeByName("monitoring.ServiceStatus"))
PollerStatusRequest = GetMessageClass(_POOL.FindMessageTypeByName("monitoring.PollerStatusRequest"))
PollerStatusChunk = GetMessageClass(_POOL.FindMessageTypeByName("monitoring.PollerStatusChunk"))
PollerStatusResponse = GetMessageClass(_POOL.FindMessageTypeByName("monitoring.PollerStatusResponse"))
