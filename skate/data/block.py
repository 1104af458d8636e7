"""Blocks: the tables that datasets are made of, and how rows and columns of Python become one.

A block is a `pyarrow.Table`. What Arrow has no type for gets an extension type here: arrays of more than one dimension whose
shapes differ (`TensorType`; equal shapes are Arrow's own fixed-shape tensors), and any Python object (`ObjectType`), which is
pickled.

INV-1: a block that leaves this process is compact: a slice does not take the table along that it was cut from.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterable, Mapping, Sequence, Set
from typing import Any, NamedTuple, TypeAlias

import cloudpickle
import numpy as np
import pyarrow as pa

Block: TypeAlias = pa.Table

NO_COLUMNS = (str, bytes, Mapping, Set)
"""What can be iterated over, but is one value, or has no order."""
SLACK_BYTES = 64 << 10
"""How much a slice may take along of what it was cut from."""


class BlockMeta(NamedTuple):
    """What is known of a block without reading it."""

    rows: int
    size_bytes: int
    schema: pa.Schema
    files: tuple[str, ...] = ()
    """Where its rows come from."""


class Least(NamedTuple):
    """How much is to be taken together, if there is as much. The block that completes it is taken whole."""

    rows: int = 0
    size_bytes: int = 0


ALONE = Least()
"""Each block on its own."""


class TensorType(pa.ExtensionType):  # type: ignore[misc]  # pyarrow has no types
    """Arrays of one element type and any shapes: the elements in C order, and the shape."""

    def __init__(self, value_type: pa.DataType) -> None:
        self.value_type = value_type
        storage = pa.struct([("data", pa.large_list(value_type)), ("shape", pa.list_(pa.int64()))])
        super().__init__(storage, "skate.tensor")

    def __hash__(self) -> int:  # Arrow's own takes it away
        return hash((self.extension_name, self.storage_type))

    def __arrow_ext_serialize__(self) -> bytes:
        return b""

    @classmethod
    def __arrow_ext_deserialize__(cls, storage_type: pa.DataType, serialized: bytes) -> TensorType:
        return cls(storage_type.field("data").type.value_type)


class ObjectType(pa.ExtensionType):  # type: ignore[misc]
    """Any Python objects, pickled. They are opened only where user code runs, and for errors that say what they are."""

    def __init__(self) -> None:
        super().__init__(pa.large_binary(), "skate.object")

    def __hash__(self) -> int:  # Arrow's own takes it away
        return hash((self.extension_name, self.storage_type))

    def __arrow_ext_serialize__(self) -> bytes:
        return b""

    @classmethod
    def __arrow_ext_deserialize__(cls, storage_type: pa.DataType, serialized: bytes) -> ObjectType:
        return cls()


OWN = (TensorType, ObjectType, pa.FixedShapeTensorType)
"""Types whose values only this module makes; pandas knows those of its own."""


def _register() -> None:
    for kind in (TensorType(pa.float64()), ObjectType()):
        try:
            pa.register_extension_type(kind)
        except pa.ArrowKeyError:
            continue  # this module was loaded before, under another name


_register()


# ---------------------------------------------------------------- columns in


def column(values: Any) -> pa.Array:
    """A column from an Arrow, numpy or pandas array, or a sequence of Python values.

    Raises:
        TypeError: it is one value, not a sequence of them.
    """
    if isinstance(values, pa.ChunkedArray):
        return values.combine_chunks() if values.num_chunks != 1 else values.chunk(0)
    if isinstance(values, pa.Array):
        return values
    if isinstance(values, np.ndarray):
        return _from_numpy(values)
    if isinstance(values, NO_COLUMNS) or not isinstance(values, Iterable):
        raise TypeError(f"a column must be an array or a list, with a value for each row, not {type(values).__name__}")
    if (
        hasattr(values, "__arrow_c_array__")
        or hasattr(values, "__arrow_c_stream__")
        or hasattr(values, "__arrow_array__")
    ):
        try:
            return column(pa.chunked_array(values) if hasattr(values, "__arrow_c_stream__") else pa.array(values))
        except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError):
            return _from_values(list(values))
    return _from_values(list(values))


def _from_numpy(values: np.ndarray[Any, Any]) -> pa.Array:
    if values.ndim == 0:
        raise TypeError(
            f"a column must be an array or a list, with a value for each row, not an array of one {values.dtype}"
        )
    if values.dtype == object:
        return _from_values(list(values))
    if values.ndim == 1:
        if values.dtype.kind == "U" or values.dtype.kind == "S":
            return pa.array(values.tolist(), pa.string() if values.dtype.kind == "U" else pa.binary())
        try:
            return pa.array(values)
        except (pa.ArrowNotImplementedError, pa.ArrowInvalid):
            return objects(list(values))
    try:
        kind = pa.from_numpy_dtype(values.dtype)
    except pa.ArrowNotImplementedError:
        return objects(list(values))
    shape = values.shape[1:]
    if pa.types.is_boolean(kind) or 0 in shape:  # Arrow packs bits, which no tensor of numpy does
        return _ragged(list(values), kind)
    flat = pa.array(np.ascontiguousarray(values).reshape(-1), kind)
    tensor = pa.fixed_shape_tensor(kind, shape)
    size = int(np.prod(shape))
    return pa.ExtensionArray.from_storage(tensor, pa.FixedSizeListArray.from_arrays(flat, size))


def _from_values(values: list[Any]) -> pa.Array:
    first = next((value for value in values if value is not None), None)
    if isinstance(first, np.ndarray) and first.ndim:
        return _from_arrays(values)
    try:
        return pa.array(values)
    except OverflowError:
        return _large(values)
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError):
        return objects(values)


def _large(values: list[Any]) -> pa.Array:
    """Whole numbers of which some do not fit into 64 bits with a sign."""
    try:
        return pa.array(values, pa.uint64())
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):
        return objects(values)


def _from_arrays(values: list[Any]) -> pa.Array:
    if all(isinstance(value, np.ndarray) for value in values):
        shapes = {value.shape for value in values}
        dtypes = {value.dtype for value in values}
        if len(shapes) == 1 and len(dtypes) == 1 and np.dtype(object) not in dtypes:
            return _from_numpy(np.stack(values))
    if all(value is None or isinstance(value, np.ndarray) for value in values):
        dtype = np.result_type(*{value.dtype for value in values if value is not None})
        try:
            return _ragged(values, pa.from_numpy_dtype(dtype))
        except (pa.ArrowNotImplementedError, TypeError):
            pass
    return objects(values)


def _ragged(values: list[Any], kind: pa.DataType) -> pa.Array:
    tensor = TensorType(kind)
    entries = [
        None if value is None else {"data": np.ascontiguousarray(value).reshape(-1), "shape": list(value.shape)}
        for value in values
    ]
    return pa.ExtensionArray.from_storage(tensor, pa.array(entries, tensor.storage_type))


def objects(values: list[Any]) -> pa.Array:
    """A column of Python objects, pickled."""
    packed = [None if value is None else cloudpickle.dumps(value, 5) for value in values]
    return pa.ExtensionArray.from_storage(ObjectType(), pa.array(packed, pa.large_binary()))


# ---------------------------------------------------------------- columns out


def is_tensor(kind: pa.DataType) -> bool:
    """Whether the values of a column are arrays of numpy."""
    return isinstance(kind, (TensorType, pa.FixedShapeTensorType))


def to_numpy(values: pa.ChunkedArray) -> np.ndarray[Any, Any]:
    """A column as one array. Without nulls and in one piece, numbers and tensors are views of the same memory.

    Nulls become NaN, NaT or None; what numpy has no type for is an array of objects.
    """
    kind = values.type
    if isinstance(kind, pa.FixedShapeTensorType) and not values.null_count:
        parts = [chunk.to_numpy_ndarray() for chunk in values.chunks]
        if not parts:
            return np.empty((0, *kind.shape), kind.value_type.to_pandas_dtype())
        return parts[0] if len(parts) == 1 else np.concatenate(parts)
    if isinstance(kind, (TensorType, ObjectType, pa.FixedShapeTensorType)):
        return array_of(to_values(values))
    if pa.types.is_nested(kind):
        return array_of(values.to_pylist())
    if len(values.chunks) == 1:
        found: np.ndarray[Any, Any] = values.chunk(0).to_numpy(zero_copy_only=False)
        return found
    return values.to_numpy()  # type: ignore[no-any-return]


def array_of(values: list[Any]) -> np.ndarray[Any, Any]:
    """An array of objects, one for each value."""
    out = np.empty(len(values), dtype=object)
    for at, value in enumerate(values):
        out[at] = np.asarray(value) if isinstance(value, list) else value
    return out


def to_values(values: pa.ChunkedArray) -> list[Any]:
    """A column as a list of Python values."""
    kind = values.type
    if isinstance(kind, ObjectType):
        return [None if packed is None else pickle.loads(packed) for packed in _storage(values).to_pylist()]
    if isinstance(kind, TensorType):
        dtype = kind.value_type.to_pandas_dtype()
        return [
            None if entry is None else np.asarray(entry["data"], dtype).reshape(entry["shape"])
            for entry in _storage(values).to_pylist()
        ]
    if isinstance(kind, pa.FixedShapeTensorType):
        if not values.null_count:
            return list(to_numpy(values))
        dtype = kind.value_type.to_pandas_dtype()
        return [
            None if entry is None else np.asarray(entry, dtype).reshape(kind.shape)
            for entry in _storage(values).to_pylist()
        ]
    if isinstance(kind, pa.ExtensionType) and kind.extension_name.startswith("pandas."):
        return list(values.to_pandas())
    return values.to_pylist()  # type: ignore[no-any-return]


def _storage(values: pa.ChunkedArray) -> pa.ChunkedArray:
    return pa.chunked_array([chunk.storage for chunk in values.chunks], values.type.storage_type)


# ---------------------------------------------------------------- tables


def from_columns(columns: Mapping[str, Any]) -> Block:
    """A block from named columns of one length.

    Raises:
        ValueError: the lengths differ.
        TypeError: a name is no string, or a column is no sequence.
    """
    arrays = {}
    for name, values in columns.items():
        if not isinstance(name, str):
            raise TypeError(f"the name of a column must be a string, not {name!r}")
        try:
            arrays[name] = column(values)
        except TypeError as error:
            raise TypeError(f"column {name!r}: {error}") from None
    lengths: dict[int, str] = {}
    for name, array in arrays.items():
        lengths.setdefault(len(array), name)
    if len(lengths) > 1:
        raise ValueError(
            f"the columns have different lengths: {', '.join(f'{name!r} has {count}' for count, name in lengths.items())}"
        )
    return pa.table(arrays)


def from_rows(rows: Sequence[Mapping[str, Any]]) -> Block:
    """A block from rows. What a row does not have is null."""
    if not rows:
        return pa.table({})
    names = list(rows[0])
    known = set(names)
    for row in rows:
        if len(row) != len(names) or not known.issuperset(row):
            names += [name for name in row if name not in known]
            known.update(row)
    return from_columns({name: [row.get(name) for row in rows] for name in names})


def to_rows(block: Block) -> list[dict[str, Any]]:
    """The rows of a block."""
    columns = [to_values(values) for values in block.columns]
    names = block.column_names
    return [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)] if columns else []


def concat(blocks: Sequence[Block]) -> Block:
    """Blocks in a row, as one; of none, one without columns.

    Raises:
        TypeError: their columns do not go together.
    """
    if not blocks:
        return from_columns({})
    if len(blocks) == 1:
        return blocks[0]
    filled = [block for block in blocks if block.num_rows] or [max(blocks, key=lambda block: block.num_columns)]
    if all(block.schema.equals(filled[0].schema) for block in filled[1:]):
        return pa.concat_tables(filled)
    filled = going_together(filled)
    schema = unify_blocks([meta_of(block) for block in filled])
    return pa.concat_tables([conform(block, schema) for block in filled])


def says_nothing(block: Block) -> bool:
    """Whether it has neither rows nor columns: so a task that calls a user's function says that it was given no rows."""
    return not block.num_rows and not block.num_columns


def going_together(blocks: list[Block]) -> list[Block]:
    """The blocks. If types of columns do not go together, those in which there is nothing have none: a frame of pandas has NaN
    for what is missing, whatever it is."""
    try:
        unify([block.schema for block in blocks])
    except TypeError:
        return [_of_no_type(block) for block in blocks]
    return blocks


def _of_no_type(block: Block) -> Block:
    for at, values in enumerate(block.columns):
        if values.null_count == block.num_rows:
            block = block.set_column(at, block.column_names[at], pa.nulls(block.num_rows))
    return block


def unify(schemas: Sequence[pa.Schema]) -> pa.Schema:
    """One schema for all; numbers widen, what is missing somewhere is null there.

    Raises:
        TypeError: a column has types that do not go together.
    """
    distinct = list(dict.fromkeys(schema.remove_metadata() for schema in schemas))
    if len(distinct) == 1:
        return distinct[0]
    fields: dict[str, pa.Field] = {}
    for schema in distinct:
        for field in schema:
            known = fields.get(field.name)
            fields[field.name] = field if known is None else _common(known, field)
    return pa.schema(list(fields.values()))


def unify_blocks(metas: Sequence[BlockMeta]) -> pa.Schema:
    """One schema for blocks.

    Raises:
        TypeError: columns do not go together; it says in which files, or else in which rows of all these blocks.
    """
    try:
        return unify([meta.schema for meta in metas])
    except TypeError:
        seen: dict[pa.Schema, Sequence[str]] = {}
        first = 0
        for meta in metas:
            place = seen.setdefault(meta.schema, meta.files or [f"rows {first} to {first + meta.rows - 1}"])
            for schema, other in seen.items():
                unify_files(schema, other, meta.schema, place)
            first += meta.rows
        raise


def unify_files(one: pa.Schema, files: Sequence[str], other: pa.Schema, others: Sequence[str]) -> pa.Schema:
    """One schema for two, that are of some files and of others.

    Raises:
        TypeError: they do not go together; it names the first file of each.
    """
    try:
        return unify([one, other])
    except TypeError as error:
        if not files or not others:
            raise
        raise TypeError(f"{files[0]} and {others[0]} do not go together: {error}") from None


def _common(one: pa.Field, other: pa.Field) -> pa.Field:
    if one.type.equals(other.type):
        return one
    if pa.types.is_null(one.type) or pa.types.is_null(other.type):
        return other if pa.types.is_null(one.type) else one
    if is_tensor(one.type) and is_tensor(other.type) and one.type.value_type.equals(other.type.value_type):
        return pa.field(one.name, TensorType(one.type.value_type))
    if isinstance(one.type, ObjectType) or isinstance(other.type, ObjectType):
        return pa.field(one.name, ObjectType())
    try:
        return pa.unify_schemas([pa.schema([one]), pa.schema([other])], promote_options="permissive").field(0)
    except (pa.ArrowTypeError, pa.ArrowInvalid):
        raise TypeError(f"column {one.name!r} is {one.type} in one place and {other.type} in another") from None


def conform(block: Block, schema: pa.Schema) -> Block:
    """The block with exactly these columns; what it does not have is null."""
    if block.schema.equals(schema):
        return block
    columns = []
    for field in schema:
        at = block.schema.get_field_index(field.name)
        if at < 0:
            columns.append(pa.chunked_array([nulls(block.num_rows, field.type)]))
        elif block.schema.field(at).type.equals(field.type):
            columns.append(block.column(at))
        else:
            columns.append(_cast(block.column(at), field.type))
    return pa.table(columns, schema=schema)


def nulls(count: int, kind: pa.DataType) -> pa.Array:
    """A column of nulls."""
    if isinstance(kind, (pa.ExtensionType, pa.BaseExtensionType)):
        return pa.ExtensionArray.from_storage(kind, pa.nulls(count, kind.storage_type))
    return pa.nulls(count, kind)


def _cast(values: pa.ChunkedArray, kind: pa.DataType) -> pa.ChunkedArray:
    if isinstance(kind, TensorType):
        return pa.chunked_array([_ragged(to_values(values), kind.value_type)])
    if isinstance(kind, ObjectType):
        return pa.chunked_array([objects(to_values(values))])
    if isinstance(kind, pa.BaseExtensionType):
        return pa.chunked_array([nulls(len(values), kind)])  # only a column of nulls becomes one
    return values.cast(kind)


def compact(block: Block) -> Block:
    """The block without what it was cut from; see INV-1."""
    if block.get_total_buffer_size() <= block.nbytes + block.nbytes // 8 + SLACK_BYTES:
        return block
    return copied(block)


def copied(block: Block) -> Block:
    """The block in memory of its own."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, block.schema) as writer:
        writer.write_table(block)
    return pa.ipc.open_stream(sink.getvalue()).read_all()


def meta_of(block: Block, files: Sequence[str] = ()) -> BlockMeta:
    """What there is to know of a block."""
    return BlockMeta(block.num_rows, block.nbytes, block.schema, tuple(files))


def __getattr__(name: str) -> Any:
    """What has the same name in Ray's module, and is elsewhere here."""
    if name == "BlockAccessor":
        from .accessor import BlockAccessor

        return BlockAccessor
    if name == "BlockMetadata":
        from .sources.datasource import BlockMetadata

        return BlockMetadata
    raise AttributeError(f"module {__name__!r} has no {name!r}")
