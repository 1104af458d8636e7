"""Types by names that do not depend on the library."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

import skate.data as data
from skate.data.datatype import DataType
from skate.data.expressions import col, udf

FACTORIES = {
    "int8": pa.int8(),
    "uint64": pa.uint64(),
    "float32": pa.float32(),
    "string": pa.string(),
    "bool": pa.bool_(),
    "binary": pa.binary(),
}


def test_types_by_name() -> None:
    for name, kind in FACTORIES.items():
        assert getattr(DataType, name)() == DataType.from_arrow(kind)
    small = DataType.int32()
    assert DataType.list(small).to_arrow_dtype() == pa.list_(pa.int32())
    assert DataType.fixed_size_list(small, 2).to_arrow_dtype() == pa.list_(pa.int32(), 2)
    assert DataType.map(DataType.string(), small).to_arrow_dtype() == pa.map_(pa.string(), pa.int32())
    assert DataType.struct([("a", small)]).to_arrow_dtype() == pa.struct([("a", pa.int32())])
    assert DataType.tensor((2, 3), small).is_tensor_type() and DataType.tensor((2,), small).is_of("tensor")
    assert DataType.temporal("timestamp", unit="ms", tz="UTC").to_arrow_dtype() == pa.timestamp("ms", "UTC")
    assert DataType.temporal("date32").is_temporal_type() and DataType.temporal("time32").is_of("temporal")
    with pytest.raises(ValueError, match="temporal_type"):
        DataType.temporal("year")
    with pytest.raises(ValueError, match="category"):
        small.is_of("number")
    with pytest.raises(TypeError, match="no type"):
        DataType("int")


def test_from_and_to_others() -> None:
    assert DataType.from_numpy("int32").to_arrow_dtype() == pa.int32() and DataType(int).to_python_type() is int
    assert DataType.int64().to_numpy_dtype() == np.int64 and DataType.list(DataType.int8()).to_numpy_dtype().kind == "O"
    assert DataType.infer_dtype([1, 2]).is_list_type() and DataType.infer_dtype(np.float32(1)).is_floating_type()
    assert DataType(list).to_arrow_dtype([[1], [2]]) == pa.list_(pa.int64()) and not DataType(list).is_list_type()
    assert DataType.float64().is_numerical_type() and not DataType.bool().is_numerical_type()
    assert len({DataType.int8(), DataType.int8(), DataType.int16()}) == 2
    with pytest.raises(ValueError, match="Python"):
        DataType.int8().to_python_type()


def test_in_expressions() -> None:
    @udf(return_dtype=DataType.float32())
    def half(values: pa.Array) -> list[float]:
        return [value / 2 for value in values.to_pylist()]

    found = data.range(3).with_columns({"half": half(col("id")), "text": col("id").cast(DataType.string())})
    assert found.schema().types == [pa.int64(), pa.float32(), pa.string()]
