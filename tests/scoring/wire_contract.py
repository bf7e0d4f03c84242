"""What a client was compiled against: every name, number and type of the proto, one readable line each.

`python -m tests.scoring.wire_contract > tests/golden/scoring_v1.txt` writes it at a release.
"""

from collections.abc import Iterable, Iterator

from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
)

from scoring.v1 import scoring_pb2 as wire

_TYPES = FieldDescriptorProto.Type
_REPEATED = FieldDescriptorProto.LABEL_REPEATED


def lines(file: FileDescriptorProto) -> list[str]:
    """The contract of a file: methods, fields by message and number, values by enum."""
    made = [f"package {file.package}"]
    for service in file.service:
        for method in service.method:
            streams = f"{' stream in' * method.client_streaming}{' stream out' * method.server_streaming}"
            made.append(f"rpc {service.name}.{method.name}: {method.input_type} -> {method.output_type}{streams}")
    made.extend(_enum_lines(file.enum_type, ""))
    for message in file.message_type:
        made.extend(_message_lines(message, ""))
    return made


def broken(released: Iterable[str], now: Iterable[str]) -> list[str]:
    """What of a released contract does not hold any more, one sentence each; additions break nothing."""
    held = set(now)
    by_place = {_place(line): line for line in held}
    sentences = []
    for line in released:
        if line in held:
            continue
        other = by_place.get(_place(line))
        sentences.append(
            f"`{line}` is released and is gone; restore it: clients that were compiled with it send and read it"
            if other is None
            else f"`{line}` is released and has become `{other}`; restore it, and add what is new under a new number"
        )
    return sentences


def _message_lines(message: DescriptorProto, within: str) -> Iterator[str]:
    name = f"{within}{message.name}"
    for field in sorted(message.field, key=lambda each: each.number):
        repeated = "repeated " if field.label == _REPEATED else ""
        typed = field.type_name or _TYPES.Name(field.type).removeprefix("TYPE_").lower()
        one_of = f" of {message.oneof_decl[field.oneof_index].name}" if field.HasField("oneof_index") else ""
        yield f"field {name} {field.number}: {repeated}{typed} {field.name}{one_of}"
    yield from _enum_lines(message.enum_type, f"{name}.")
    for inner in message.nested_type:
        yield from _message_lines(inner, f"{name}.")


def _enum_lines(enums: Iterable[EnumDescriptorProto], within: str) -> Iterator[str]:
    for enum in enums:
        for value in enum.value:
            yield f"enum {within}{enum.name} {value.number}: {value.name}"


def _place(line: str) -> str:
    return line.partition(":")[0]


def current() -> FileDescriptorProto:
    """The proto as it is compiled now."""
    return FileDescriptorProto.FromString(wire.DESCRIPTOR.serialized_pb)


if __name__ == "__main__":
    print(*lines(current()), sep="\n")
