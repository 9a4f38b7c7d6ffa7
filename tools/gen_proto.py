"""Write Python message classes from .proto files, each in a private descriptor pool.

protoc's own Python output registers every file in protobuf's default pool and asks for a runtime
at least as new as itself. This output does neither: it holds the file descriptor and asks the
installed protobuf for the classes. Types are in the ``.pyi`` beside it, written by protoc.

Run: python tools/gen_proto.py [--check] FILE.proto ...
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import textwrap
from pathlib import Path

from google.protobuf import descriptor_pb2
from grpc_tools import protoc

TEMPLATE = '''\
"""Generated from {name}.proto by tools/gen_proto.py. Do not edit."""

from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass

_POOL = DescriptorPool()
_POOL.AddSerializedFile(
{blob}
)

{classes}
'''


def generate(proto: Path) -> dict[Path, str]:
    """Give the text of the files that belong beside a .proto file."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        arguments = [
            "protoc",
            f"-I{proto.parent}",
            f"--descriptor_set_out={out / 'set'}",
            f"--pyi_out={out}",
            str(proto),
        ]
        if protoc.main(arguments) != 0:
            sys.exit(f"protoc refused {proto}")
        files = descriptor_pb2.FileDescriptorSet.FromString((out / "set").read_bytes())
        stub = (out / f"{proto.stem}_pb2.pyi").read_text()
    (file,) = files.file
    if file.dependency:
        sys.exit(f"{proto}: imports are not supported, since each file has a pool of its own")
    prefix = f"{file.package}." if file.package else ""
    classes = "\n".join(
        f'{message.name} = GetMessageClass(_POOL.FindMessageTypeByName("{prefix}{message.name}"))'
        for message in file.message_type
    )
    lines = [file.SerializeToString()[i : i + 20] for i in range(0, file.ByteSize(), 20)]
    blob = textwrap.indent("\n".join(repr(line) for line in lines), "    ")
    module = TEMPLATE.format(name=proto.stem, blob=blob, classes=classes)
    return {
        proto.with_name(f"{proto.stem}_pb2.py"): module,
        proto.with_name(f"{proto.stem}_pb2.pyi"): stub,
    }


def main() -> int:
    """Write the files, or compare them with what is there."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="compare instead of writing")
    parser.add_argument("protos", nargs="+", type=Path)
    options = parser.parse_args()
    stale = []
    for proto in options.protos:
        for path, text in generate(proto).items():
            if options.check and (not path.exists() or path.read_text() != text):
                stale.append(path)
            elif not options.check:
                path.write_text(text)
    for path in stale:
        print(f"{path} is not what its .proto gives: run `make proto`", file=sys.stderr)
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
