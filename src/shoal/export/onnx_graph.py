"""The ONNX graph of a model: which center is nearest, and how far all of them are.

One ``Gemm`` has all products of rows and centers, whatever runs it. The nearest of them is then
measured by itself, from the differences: its distance is as good as the numbers allow, where the
product cancels. Rows that are not finite, or whose distances are not, get the label -1 and NaN.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from shoal.export.shifted import Shifted, halves, split_factor
from shoal.inference import ALL_SCORES, CLUSTER_IDX, LEFT_OUT, SCORES
from shoal.types import Array

#: Names in the graph.
ROWS, SHIFT, CENTERS, CONSTANTS = "X", "shift", "centers", "constants"
#: Powers of two between which squares of numbers are in range, and their sums.
IN_RANGE = {"float32": (-30, 50), "float64": (-400, 400)}
#: From this version on the axes of reductions are an input.
AXES_AS_INPUT = 18


def graph(model: Shifted, cosine: bool, opset: int) -> Any:
    """The graph, of the dtype of ``model``: a ``GraphProto``."""
    build = _Builder(model.centers.dtype, opset)
    centers = build.constant(CENTERS, model.centers)
    if not cosine:
        rows = ROWS
        if model.shift.any():
            rows = build.add("Sub", ROWS, build.constant(SHIFT, model.shift))
        constants = build.constant(CONSTANTS, model.constants)
        products = build.add("Gemm", rows, centers, constants, alpha=-2.0, transB=1)
        return _outputs(build, model, rows, products)
    rows, none = _unit_rows(build, model)
    constants = build.constant(CONSTANTS, 0.5 * model.constants)
    products = build.add("Gemm", rows, centers, constants, alpha=-1.0, transB=1)
    return _outputs(build, model, rows, products, none)


class _Builder:
    """Nodes and constants of a graph, in order."""

    def __init__(self, dtype: Any, opset: int) -> None:
        import onnx
        from onnx import helper, numpy_helper

        self.dtype, self.opset = dtype, opset
        self.helper, self._to_tensor = helper, numpy_helper.from_array
        self.type = helper.np_dtype_to_tensor_dtype(dtype)
        self.int64 = onnx.TensorProto.INT64
        self.nodes: list[Any] = []
        self.constants: dict[str, Any] = {}

    def constant(self, name: str, value: Any, dtype: Any = None) -> str:
        """An array of the model."""
        array = np.ascontiguousarray(value, self.dtype if dtype is None else dtype)
        self.constants[name] = self._to_tensor(array.reshape(np.shape(value)), name)
        return name

    def add(self, operation: str, *inputs: str, name: str = "", **attributes: Any) -> str:
        """A node; its output, whose name is ``name`` or made up."""
        name = name or f"{operation.lower()}_{len(self.nodes)}"
        node = self.helper.make_node(operation, inputs, [name], name=name, **attributes)
        self.nodes.append(node)
        return name

    def along_columns(self, operation: str, rows: str) -> str:
        """A reduction of each row, [N, 1]."""
        if self.opset >= AXES_AS_INPUT:
            return self.add(operation, rows, self.axis())
        return self.add(operation, rows, axes=[1])

    def axis(self) -> str:
        """The axis of columns."""
        return self.constant("columns_axis", np.array([1]), np.int64)

    def squares(self, rows: str) -> str:
        """The square of the length of each row, [N, 1]."""
        return self.along_columns("ReduceSumSquare", rows)

    def unless(self, condition: str, value: str, instead: str) -> str:
        """``value`` where not ``condition``."""
        return self.add("Where", condition, instead, value)


def _unit_rows(build: _Builder, model: Shifted) -> tuple[str, str]:
    """Rows of length one, less the shift; and which of them have no direction."""
    one, zero = build.constant("one", np.array(1.0)), build.constant("zero", np.array(0.0))
    least = build.add("Neg", build.along_columns("ReduceMin", ROWS))
    largest = build.add("Max", build.along_columns("ReduceMax", ROWS), least)
    none = build.add("Equal", largest, zero)
    rows = _in_range(build, largest)
    length = build.add("Sqrt", build.squares(rows))
    divisor = build.unless(none, length, one)
    if model.shift.any():
        return _unit_less_shift(build, model, rows, length, divisor), none
    return build.add("Div", rows, divisor), none


def _in_range(build: _Builder, largest: str) -> str:
    """Rows brought to where their squares are in range: not touched where they are."""
    low, high = (2.0**exponent for exponent in IN_RANGE[build.dtype.name])
    limits = build.constant("low", np.array(low)), build.constant("high", np.array(high))
    tiny = build.constant("tiny", np.array(np.finfo(build.dtype).tiny))
    nearest = build.add("Clip", largest, *limits)
    return build.add("Mul", ROWS, build.add("Div", nearest, build.add("Max", largest, tiny)))


def _unit_less_shift(build: _Builder, model: Shifted, rows: str, length: str, divisor: str) -> str:
    """Rows divided by their lengths, less the shift, as if that was rounded once.

    The difference may be much smaller than its terms. t, half of the bits of the length, times
    half of those of the shift, is exact, and so is the difference to that; what t differs from the
    length is made good along the shift, where it is of no weight.
    """
    high, low = halves(model.shift)
    factor = build.constant("split_factor", np.array(split_factor(build.dtype)))
    large = build.add("Mul", length, factor)
    t = build.add("Sub", large, build.add("Sub", large, length))
    for name, half in (("shift_high", high), ("shift_low", low)):
        if half.any():
            rows = build.add("Sub", rows, build.add("Mul", t, build.constant(name, half)))
    rest = build.add("Div", build.add("Sub", t, length), divisor)
    more = build.add("Mul", rest, build.constant(SHIFT, model.shift))
    return build.add("Add", build.add("Div", rows, divisor), more)


def _outputs(
    build: _Builder, model: Shifted, rows: str, products: str, none: str | None = None
) -> Any:
    """The nearest by the products, measured by itself, and the distances of all.

    ``products`` are the distances but for the squares of the rows; ``none``: under cosine, which
    rows have no direction.
    """
    helper, dim = build.helper, model.centers.shape[1]
    at = build.add("ArgMin", products, axis=1, keepdims=1, select_last_index=0)
    label = build.add("Squeeze", at, build.axis())
    nearest = build.squares(build.add("Sub", rows, build.add("Gather", CENTERS, label, axis=0)))
    rest = build.squares(rows)
    nan = build.add("Sub", nearest, nearest)  # where it is not finite, else 0
    if none is not None:
        half = build.constant("half", np.array(0.5))
        nearest, rest = build.add("Mul", nearest, half), build.add("Mul", rest, half)
        if model.zeros.any():
            more = build.constant("of_zero_centers", 0.5 * model.zeros[:, None])
            nearest = build.add("Add", nearest, build.add("Gather", more, label, axis=0))
        # From 0 to 2, and 1 where a row has no direction, whatever the products are.
        largest = build.unless(none, build.constant("two", np.array(2.0)), "one")
        nearest = build.unless(none, build.add("Min", nearest, largest), "one")
    nearest = build.add("Add", nearest, nan)
    found = build.add("Add", products, build.add("Add", rest, nan))
    if none is not None:
        found = build.add("Min", found, largest)
    # Rounding may take a product below the distance of the nearest, and never means it.
    found = build.add("Max", found, nearest)
    build.add("ScatterElements", found, at, nearest, axis=1, name=ALL_SCORES)
    build.add("Squeeze", nearest, build.axis(), name=SCORES)
    if none is not None:
        first = build.constant("first", np.array(0), np.int64)
        label = build.unless(build.add("Squeeze", none, build.axis()), label, first)
    bad = build.add("Squeeze", build.add("IsNaN", nan), build.axis())
    left_out = build.constant("left_out", np.array(LEFT_OUT), np.int64)
    build.add("Where", bad, left_out, label, name=CLUSTER_IDX)
    value, k = helper.make_tensor_value_info, len(model.centers)
    return helper.make_graph(
        build.nodes,
        "shoal",
        [value(ROWS, build.type, ["N", dim])],
        [
            value(CLUSTER_IDX, build.int64, ["N"]),
            value(SCORES, build.type, ["N"]),
            value(ALL_SCORES, build.type, ["N", k]),
        ],
        list(build.constants.values()),
    )


def centers_of(arrays: dict[str, Array]) -> Array:
    """The centers [k, d] that a graph was made of, as ``Shifted`` rounded them."""
    centers = arrays[CENTERS]
    shift = arrays.get(SHIFT, np.zeros(centers.shape[1]))
    found: Array = (centers.astype(np.float64) + shift).astype(centers.dtype)
    return found
