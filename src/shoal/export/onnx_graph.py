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
#: Powers of two by which rows are multiplied whose largest magnitude is beyond another, so that
#: their squares are in range: comparison, limit, factor.
SCALES = {
    "float32": (("Greater", 50, -80), ("Less", -30, 60), ("Less", -90, 120)),
    "float64": (("Greater", 400, -600), ("Less", -400, 600)),
}
#: From this version on the axes of ReduceMax are an input.
AXES_AS_INPUT = 18


def graph(model: Shifted, cosine: bool, opset: int) -> Any:
    """The graph, of the dtype of ``model``: a ``GraphProto``."""
    build = _Builder(model.centers.dtype, opset)
    rows, far, none = _cosine(build, model) if cosine else (*_euclidean(build, model), None)
    return _outputs(build, model, rows, far, none)


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
        """A sum or maximum of each row, [N, 1]."""
        if operation == "ReduceSum" or self.opset >= AXES_AS_INPUT:
            return self.add(operation, rows, self.axis())
        return self.add(operation, rows, axes=[1])

    def axis(self) -> str:
        """The axis of columns."""
        return self.constant("columns_axis", np.array([1]), np.int64)

    def squares(self, rows: str) -> str:
        """The square of the length of each row, [N, 1]."""
        return self.along_columns("ReduceSum", self.add("Mul", rows, rows))

    def unless(self, condition: str, value: str, instead: str) -> str:
        """``value`` where not ``condition``."""
        return self.add("Where", condition, instead, value)


def _euclidean(build: _Builder, model: Shifted) -> tuple[str, str]:
    """Rows less the shift; distances but for |x|², [N, k]."""
    rows = ROWS
    if model.shift.any():
        rows = build.add("Sub", ROWS, build.constant(SHIFT, model.shift))
    centers = build.constant(CENTERS, model.centers)
    constants = build.constant(CONSTANTS, model.constants)
    return rows, build.add("Gemm", rows, centers, constants, alpha=-2.0, transB=1)


def _cosine(build: _Builder, model: Shifted) -> tuple[str, str, str]:
    """Rows of length one less the shift; distances but for ½|x|²; which rows have no direction.

    A further column, 1 but for rows without direction, adds the constants: all products of those
    are 0, and the lowest index wins.
    """
    one, zero = build.constant("one", np.array(1.0)), build.constant("zero", np.array(0.0))
    largest = build.along_columns("ReduceMax", build.add("Abs", ROWS))
    none = build.add("Equal", largest, zero)
    rows = _in_range(build, largest)
    length = build.add("Sqrt", build.squares(rows))
    divisor = build.unless(none, length, one)
    if model.shift.any():
        rows = _unit_less_shift(build, model, rows, length, divisor)
    else:
        rows = build.add("Div", rows, divisor)
    wide = np.column_stack([model.centers, -0.5 * model.constants])
    columns = build.add("Concat", rows, build.unless(none, one, zero), axis=1)
    products = build.add("Gemm", columns, build.constant(CENTERS, wide), alpha=-1.0, transB=1)
    return rows, products, none


def _in_range(build: _Builder, largest: str) -> str:
    """Rows times a power of two, where squares would leave the range of the dtype: exact."""
    factor = "one"
    for i, (comparison, limit, exponent) in enumerate(SCALES[build.dtype.name]):
        at = build.constant(f"limit_{i}", np.array(2.0**limit))
        by = build.constant(f"factor_{i}", np.array(2.0**exponent))
        factor = build.unless(build.add(comparison, largest, at), factor, by)
    return build.add("Mul", ROWS, factor)


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


def _outputs(build: _Builder, model: Shifted, rows: str, far: str, none: str | None) -> Any:
    """The nearest by the products, measured by itself, and the distances of all."""
    helper, dim = build.helper, model.centers.shape[1]
    at = build.add("ArgMin", far, axis=1, keepdims=1, select_last_index=0)
    label = build.add("Squeeze", at, build.axis())
    centers = CENTERS
    if none is not None:  # without the column of constants
        first = build.constant("first_column", np.array([0]), np.int64)
        end = build.constant("num_columns", np.array([dim]), np.int64)
        centers = build.add("Slice", CENTERS, first, end, build.axis())
    mine = build.add("Gather", centers, label, axis=0)
    nearest = build.squares(build.add("Sub", rows, mine))
    rest = build.squares(rows)
    nan = build.add("Sub", nearest, nearest)  # where it is not finite, else 0
    if none is not None:
        half = build.constant("half", np.array(0.5))
        nearest, rest = build.add("Mul", nearest, half), build.add("Mul", rest, half)
        if model.zeros.any():
            more = build.constant("of_zero_centers", 0.5 * model.zeros[:, None])
            nearest = build.add("Add", nearest, build.add("Gather", more, label, axis=0))
        two = build.constant("two", np.array(2.0))
        nearest = build.unless(none, build.add("Min", nearest, two), "one")
        rest = build.unless(none, rest, "one")
    nearest, rest = build.add("Add", nearest, nan), build.add("Add", rest, nan)
    found = build.add("Add", far, rest)
    if none is not None:
        found = build.add("Min", found, "two")
    # Rounding may take a product below the distance of the nearest, and never means it.
    found = build.add("Max", found, nearest)
    build.add("ScatterElements", found, at, nearest, axis=1, name=ALL_SCORES)
    build.add("Squeeze", nearest, build.axis(), name=SCORES)
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


def centers_of(arrays: dict[str, Array], cosine: bool) -> Array:
    """The centers [k, d] that a graph was made of, as ``Shifted`` rounded them."""
    centers = arrays[CENTERS]
    if cosine:
        centers = centers[:, :-1]
    shift = arrays.get(SHIFT, np.zeros(centers.shape[1]))
    found: Array = (centers.astype(np.float64) + shift).astype(centers.dtype)
    return found
