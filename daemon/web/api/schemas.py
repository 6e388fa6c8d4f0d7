"""JSON Schemas of views and bodies, made from their classes."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Literal

from pydantic import TypeAdapter
from pydantic.json_schema import GenerateJsonSchema

if TYPE_CHECKING:
    from pydantic_core import core_schema

Schema = dict[str, Any]
Mode = Literal["serialization", "validation"]


class _Generator(GenerateJsonSchema):
    """Schemas of what `Site.json` writes: all fields, and durations in seconds."""

    def field_is_required(
        self,
        field: "core_schema.ModelField | core_schema.DataclassField | core_schema.TypedDictField",
        total: bool,
    ) -> bool:
        """Return True for an answer: it has every field."""
        return self.mode == "serialization" or super().field_is_required(field, total)

    def timedelta_schema(self, schema: "core_schema.TimedeltaSchema") -> Schema:
        """Return the schema of a duration."""
        return {"type": "number", "description": "seconds"}


def schemas_of(
    views: Iterable[Any], bodies: Iterable[Any]
) -> tuple[Mapping[tuple[Any, Mode], Schema], Schema]:
    """Return the schema of each class of an answer or body, and the schemas that they refer to.

    The keys are the class and `serialization` for a view, `validation` for a body.
    """
    modes: list[tuple[Any, Mode]] = [(view, "serialization") for view in dict.fromkeys(views)]
    modes += [(body, "validation") for body in dict.fromkeys(bodies)]
    inputs = [(str(place), mode, TypeAdapter(kind)) for place, (kind, mode) in enumerate(modes)]
    found, shared = TypeAdapter.json_schemas(
        inputs, ref_template="#/components/schemas/{model}", schema_generator=_Generator
    )
    by_class = {modes[int(place)]: dict(schema) for (place, _), schema in found.items()}
    return by_class, dict(shared.get("$defs", {}))
