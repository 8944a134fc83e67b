"""``model_fn``: an estimator as a function of features and mode, as the original has it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from shoal.checks import one_of
from shoal.errors import BadInputError
from shoal.inference import ALL_SCORES, CLUSTER_IDX
from shoal.types import Array

MODES = ("train", "eval", "infer")


class ModelFnOps(NamedTuple):
    """What ``model_fn`` returns: results, and callables that compute the rest."""

    mode: str
    predictions: dict[str, Array] | None
    loss: float | None
    train_op: Callable[[], float] | None
    eval_metric_ops: dict[str, Any]


def operations(
    model: Any,
    features: Any,
    labels: Any,
    mode: str,
    metrics: Mapping[str, Callable[..., Any]] | None = None,
) -> ModelFnOps:
    """Predictions and loss of ``features``, and for ``mode="train"`` a step to run on them."""
    del labels
    one_of("mode", mode, MODES)
    if hasattr(features, "__next__"):
        raise BadInputError(
            f"features is {type(features).__name__}, which can be read once, and is needed "
            "several times: give the rows of one batch, or a callable that returns batches"
        )
    predictions, loss, results = None, None, {}
    if mode != "train" or model.is_fitted:
        predictions = model.predict(features, outputs=(ALL_SCORES, CLUSTER_IDX), as_iterable=False)
    if mode == "eval":
        results = model.evaluate(features, metrics=metrics)
        loss = results["scores"]

    def train_op() -> float:
        losses: list[float] = []
        by_batches = model.get_params()["use_mini_batch"]
        step = model.partial_fit if by_batches else model.fit
        step(features, steps=1, monitors=[_Recorder(losses)])
        return losses[-1] if losses else float("nan")

    return ModelFnOps(mode, predictions, loss, train_op if mode == "train" else None, results)


class _Recorder:
    def __init__(self, losses: list[float]) -> None:
        self._losses = losses

    def after_step(self, context: Any) -> None:
        self._losses.append(context.loss)
