"""Generated from workload.proto by tools/gen_proto.py. Do not edit."""

from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass

_POOL = DescriptorPool()
_POOL.AddSerializedFile(
    b'\n\x0eworkload.proto"\x11\n\x0f'
    b'X509SVIDRequest"\xe0\x01\n\x10'
    b'X509SVIDResponse\x12\x1f\n\x05'
    b'svids\x18\x01 \x03(\x0b2\t.X509SV'
    b'IDR\x05svids\x12\x10\n\x03crl\x18\x02 \x03'
    b'(\x0cR\x03crl\x12T\n\x11federated'
    b"_bundles\x18\x03 \x03(\x0b2'.X50"
    b'9SVIDResponse.Federa'
    b'tedBundlesEntryR\x10fed'
    b'eratedBundles\x1aC\n\x15Fed'
    b'eratedBundlesEntry\x12\x10'
    b'\n\x03key\x18\x01 \x01(\tR\x03key\x12\x14\n\x05'
    b'value\x18\x02 \x01(\x0cR\x05value:\x02'
    b'8\x01"\x94\x01\n\x08X509SVID\x12\x1b\n\ts'
    b'piffe_id\x18\x01 \x01(\tR\x08spif'
    b'feId\x12\x1b\n\tx509_svid\x18\x02 '
    b'\x01(\x0cR\x08x509Svid\x12"\n\rx50'
    b'9_svid_key\x18\x03 \x01(\x0cR\x0bx5'
    b'09SvidKey\x12\x16\n\x06bundle\x18'
    b'\x04 \x01(\x0cR\x06bundle\x12\x12\n\x04hin'
    b't\x18\x05 \x01(\tR\x04hintb\x06proto'
    b'3'
)

X509SVIDRequest = GetMessageClass(_POOL.FindMessageTypeByName("X509SVIDRequest"))
X509SVIDResponse = GetMessageClass(_POOL.FindMessageTypeByName("X509SVIDResponse"))
X509SVID = GetMessageClass(_POOL.FindMessageTypeByName("X509SVID"))
