"""Payloads of Sparkplug B: the messages of its published schema, as far as they are used here.

The schema (sparkplug_b.proto, Sparkplug 3.0, section 6.4) is built from its field numbers when it is first needed.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

_PACKAGE = "org.eclipse.tahu.protobuf"
# Sparkplug 3.0, section 6.4.16: the number of a data type, and the field that carries its value.
TYPES: Final = {
    "Int64": (4, "long_value"),
    "UInt32": (7, "int_value"),
    "Double": (10, "double_value"),
    "Boolean": (11, "boolean_value"),
    "String": (12, "string_value"),
    "DateTime": (13, "long_value"),
}
# Name, number and type (of FieldDescriptorProto) of each field; what is not named here is skipped by a reader.
_PAYLOAD_FIELDS = (("timestamp", 1, "UINT64"), ("seq", 3, "UINT64"))
_METRIC_FIELDS = (("name", 1, "STRING"), ("timestamp", 3, "UINT64"), ("datatype", 4, "UINT32"), ("is_null", 7, "BOOL"))
_METRIC_VALUES = (
    ("int_value", 10, "UINT32"),
    ("long_value", 11, "UINT64"),
    ("float_value", 12, "FLOAT"),
    ("double_value", 13, "DOUBLE"),
    ("boolean_value", 14, "BOOL"),
    ("string_value", 15, "STRING"),
)


@dataclass(frozen=True, slots=True)
class Metric:
    """One value of a payload.

    Attributes:
        name: such as ``Part/Verdict``.
        type: a key of ``TYPES``.
        value: of that type, a ``DateTime`` in milliseconds since 1970; None for null.
    """

    name: str
    type: str
    value: Any


def encode(metrics: Iterable[Metric], at_ms: int, seq: int | None) -> bytes:
    """A payload as bytes.

    Args:
        metrics: what it says.
        at_ms: when, milliseconds since 1970.
        seq: 0 to 255; None for a death, which must not have one.
    """
    payload = _payload_class()()
    payload.timestamp = at_ms
    if seq is not None:
        payload.seq = seq
    for metric in metrics:
        number, field = TYPES[metric.type]
        entry = payload.metrics.add(name=metric.name, timestamp=at_ms, datatype=number)
        if metric.value is None:
            entry.is_null = True
        else:
            setattr(entry, field, metric.value)
    return bytes(payload.SerializeToString())


def decode(data: bytes) -> tuple[dict[str, Any], int | None]:
    """The metrics of a payload, by name, and its ``seq``.

    Raises:
        ValueError: if it is no such payload.
    """
    from google.protobuf.message import DecodeError  # noqa: PLC0415

    payload = _payload_class()()
    try:
        payload.ParseFromString(data)
    except DecodeError as error:
        raise ValueError(f"expected a Sparkplug B payload, got {len(data)} bytes: {error}") from error
    metrics = {}
    for metric in payload.metrics:
        field = metric.WhichOneof("value")
        metrics[metric.name] = None if field is None or metric.is_null else getattr(metric, field)
    return metrics, payload.seq if payload.HasField("seq") else None


@cache
def _payload_class() -> Any:  # noqa: ANN401 - made at run time
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory  # noqa: PLC0415 - an extra

    kinds = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="sparkplug_b_in_part.proto", package=_PACKAGE, syntax="proto2")
    payload = file.message_type.add(name="Payload")
    metric = payload.nested_type.add(name="Metric")
    metric.oneof_decl.add(name="value")
    for message, fields in ((payload, _PAYLOAD_FIELDS), (metric, _METRIC_FIELDS + _METRIC_VALUES)):
        for name, number, kind in fields:
            field = message.field.add(name=name, number=number, label=kinds.LABEL_OPTIONAL)
            field.type = getattr(kinds, f"TYPE_{kind}")
            if (name, number, kind) in _METRIC_VALUES:
                field.oneof_index = 0
    payload.field.add(
        name="metrics",
        number=2,
        label=kinds.LABEL_REPEATED,
        type=kinds.TYPE_MESSAGE,
        type_name=f".{_PACKAGE}.Payload.Metric",
    )
    pool = descriptor_pool.DescriptorPool()  # its own: another library may have the whole schema in the common one
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.Payload"))
