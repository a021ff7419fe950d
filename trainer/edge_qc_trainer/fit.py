"""Fits the network: losses of pictures and of places, averaged weights, the epoch that is best on validation."""

import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from edge_qc.domain import FloatArray, Pixels
from edge_qc.preprocess import Normalisation, standardise
from edge_qc_trainer.batches import FloatWeights, Sampler, made_ahead
from edge_qc_trainer.checkpoint import Checkpoint, State
from edge_qc_trainer.config import Recipe
from edge_qc_trainer.dataset import Flags, IntArray
from edge_qc_trainer.errors import BackendError, FittingError
from edge_qc_trainer.network import LOUDEST, build, for_training, has_maps
from edge_qc_trainer.optimizer import build_optimizer

_REFRESH_BATCHES = 30
_PREDICT_AT_ONCE = 64


@dataclass(frozen=True, slots=True)
class Epoch:
    """An epoch's figures: mean cross-entropy (nats) and share right; validation counts every part alike, or is None."""

    epoch: int
    loss: float
    accuracy: float
    validation_loss: float | None
    validation_accuracy: float | None
    seconds: float


@dataclass(frozen=True, slots=True, eq=False)
class Validation:
    """Pictures (n, size, size) uint8, their classes (n,) int64, and the weight of each (n,) float64, sum 1."""

    pixels: Pixels
    targets: IntArray
    weights: FloatWeights


@dataclass(frozen=True, slots=True, eq=False)
class Fitted:
    """A fitted network.

    Attributes:
        model: the ``keras.Model`` with the weights of the best epoch.
        epochs: the figures of each epoch.
        best: number of the best epoch, from 1.
    """

    model: Any
    epochs: tuple[Epoch, ...]
    best: int

    def history(self) -> list[dict[str, Any]]:
        """The epochs for JSON."""
        return [asdict(epoch) for epoch in self.epochs]


def import_keras() -> Any:
    """Keras on the backend that ``KERAS_BACKEND`` names.

    Raises:
        BackendError: if keras or that backend is not installed.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # else pages of notes about the machine
    try:
        import keras
    except (ImportError, ValueError) as error:
        raise BackendError(
            "the training backend cannot be loaded",
            expected="KERAS_BACKEND=tensorflow, jax or torch, and that library installed",
            got=str(error),
            remedy="pip install 'edge-qc[train]' for TensorFlow, or install the backend you named",
        ) from None
    return keras


def train(
    recipe: Recipe,
    sampler: Sampler,
    validation: Validation | None,
    *,
    seed: int,
    threads: int,
    report: Callable[[int, str], object] = lambda _steps, _text: None,
    checkpoint: Checkpoint | None = None,
) -> Fitted:
    """Fits a network and returns it with the weights of the epoch that had the least validation loss.

    Without validation pictures it runs to the end of the schedule, and the last epoch is the one.

    Args:
        recipe: how.
        sampler: makes the training batches.
        validation: chooses the epoch; None for all epochs.
        seed: of the first weights and of dropout.
        threads: threads that make batches.
        report: called with the steps done so far and a line of text.
        checkpoint: where the fit is kept after each epoch, and taken up again if it was stopped.

    Raises:
        FittingError: if the loss is no longer finite.
        OSError: if the checkpoint cannot be written.
    """
    keras = import_keras()
    keras.utils.set_random_seed(seed)
    model = build(recipe, sampler.good)
    trained = compiled(model, recipe, sampler.good)
    trained.optimizer.build(trained.trainable_variables)
    state = checkpoint.load(recipe.epochs) if checkpoint else None
    if state is None:
        state = State()
    else:
        for variable, value in zip(_variables(trained), state.variables, strict=True):
            variable.assign(value)
    while not state.done:
        state = _fit_epoch(model, trained, recipe, sampler, validation, state, threads, report)
        if checkpoint:
            checkpoint.save(state)
    if validation is None:
        average_weights(trained, sampler)
    else:
        model.set_weights(state.best_weights)
    return Fitted(model, tuple(Epoch(**figures) for figures in state.epochs), state.best)


def _fit_epoch(
    model: Any,
    trained: Any,
    recipe: Recipe,
    sampler: Sampler,
    validation: Validation | None,
    state: State,
    threads: int,
    report: Callable[[int, str], object],
) -> State:
    """One more epoch; the network is left with the running weights, not the averaged ones."""
    began, number = time.monotonic(), len(state.epochs) + 1
    loss, accuracy = _run_steps(trained, recipe, sampler, number, threads, report)
    figures: tuple[float, float] | tuple[None, None] = (None, None)
    best, best_weights = number, state.best_weights
    if validation is not None:
        running_weights = model.get_weights()
        average_weights(trained, sampler)
        figures = weighted_figures(logits_of(trained, validation.pixels, sampler.normalisation), validation)
        best = state.best
        if not best or figures[0] <= state.epochs[best - 1]["validation_loss"]:
            best, best_weights = number, model.get_weights()
        model.set_weights(running_weights)
    _check_finite(loss, *(figure for figure in figures if figure is not None))
    epoch = Epoch(number, loss, accuracy, figures[0], figures[1], time.monotonic() - began)
    done = number == recipe.epochs or number - best >= recipe.patience
    variables = [import_keras().ops.convert_to_numpy(variable) for variable in _variables(trained)]
    return State([*state.epochs, asdict(epoch)], best, done, variables, best_weights)


def _variables(trained: Any) -> list[Any]:
    """All that a step changes: weights, batch norm statistics, the state of dropout's chance, the optimizer's sums."""
    return [*trained.variables, *trained.optimizer.variables]


def _check_finite(*losses: float) -> None:
    if not np.isfinite(losses).all():
        raise FittingError(
            "the fit has diverged",
            expected="a finite loss",
            got=", ".join(map(str, losses)),
            remedy="Lower learning_rate in the recipe",
        )


def compiled(model: Any, recipe: Recipe, good: Flags) -> Any:
    """The network as it is trained, with its losses and its optimizer; it shares its weights with ``model``.

    Args:
        model: from ``build``.
        recipe: how to train.
        good: shape (classes,): which classes are good.
    """
    import keras

    trained = for_training(model)
    losses = [keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=recipe.label_smoothing)]
    metrics: list[list[Any]] = [[keras.metrics.CategoricalAccuracy(name="accuracy")]]
    if has_maps(model):
        losses.append(evidence_loss(good))
        metrics.append([])
    weights = [1.0, recipe.evidence_weight][: len(losses)]
    trained.compile(build_optimizer(recipe), losses, loss_weights=weights, metrics=metrics)
    return trained


def evidence_loss(good: Flags) -> Callable[[Any, Any], Any]:
    """The loss of the single places of the maps: what is known of them, and that a defect is a small thing.

    The log-odds of the defective classes at each place are held down where there is no defect and up where one was
    drawn. Of a defective part whose defect nobody has marked, the places that speak least for one are held down too:
    so the network finds where the defect lies instead of learning the part by heart.

    Args:
        good: shape (classes,): which classes are good.

    Returns:
        A function of the evidence (batch, rows, columns), as ``Sampler.batch`` gives it, and the maps (batch, rows,
        columns, classes); its value has shape (batch,), in nats a place.
    """
    from keras import ops

    ok, defective = np.flatnonzero(good).tolist(), np.flatnonzero(~good).tolist()

    def loss(evidence: Any, maps: Any) -> Any:
        evidence = ops.reshape(evidence, (-1, maps.shape[1] * maps.shape[2]))
        log_odds = ops.logsumexp(ops.take(maps, defective, -1), -1) - ops.logsumexp(ops.take(maps, ok, -1), -1)
        log_odds = ops.reshape(log_odds, (-1, maps.shape[1] * maps.shape[2]))
        drawn, free = ops.cast(evidence >= 1, "float32"), evidence < 0
        unknown = ops.logical_and(evidence > 0, evidence < 1)
        rank = ops.argsort(ops.argsort(ops.where(unknown, log_odds, np.inf), axis=1), axis=1)
        fewest = ops.cast(rank, "float32") < evidence * ops.sum(ops.cast(unknown, "float32"), 1, keepdims=True)
        held_down = ops.cast(ops.logical_or(free, ops.logical_and(unknown, fewest)), "float32")
        down = ops.sum(held_down * ops.softplus(log_odds), 1) / ops.maximum(ops.sum(held_down, 1), 1)
        up = ops.sum(drawn * ops.softplus(-log_odds), 1) / ops.maximum(ops.sum(drawn, 1), 1)
        return down + up

    return loss


def _run_steps(
    model: Any,
    recipe: Recipe,
    sampler: Sampler,
    epoch: int,
    threads: int,
    report: Callable[[int, str], object],
) -> tuple[float, float]:
    """One epoch of batches; the mean cross-entropy of the pictures and the share right over it."""
    last = epoch * recipe.steps_per_epoch
    with_maps = len(model.outputs) == 2
    of_pictures = LOUDEST + "_" if with_maps else ""
    sums = np.zeros(2)
    for step, batch in enumerate(made_ahead(sampler.batch, last - recipe.steps_per_epoch, last, threads), 1):
        pictures, targets, evidence = batch
        figures = model.train_on_batch(pictures, [targets, evidence] if with_maps else targets, return_dict=True)
        sums += figures[of_pictures + "loss"], figures[of_pictures + "accuracy"]  # Keras' own begin anew each batch
        done = last - recipe.steps_per_epoch + step
        report(done, f"epoch {epoch}/{recipe.epochs}  loss {float(figures['loss']):.3f}")
    loss, accuracy = (sums / recipe.steps_per_epoch).tolist()
    return loss, accuracy


def average_weights(model: Any, sampler: Sampler) -> None:
    """Puts the averaged weights into the network, and batch norm statistics that are theirs."""
    model.optimizer.finalize_variable_values(model.trainable_variables)
    refresh_batch_norm(model, sampler)


def refresh_batch_norm(model: Any, sampler: Sampler) -> None:
    """Measures the batch norm statistics anew: the running ones belong to weights of the last few steps."""
    import keras

    norms = [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]
    momenta = [norm.momentum for norm in norms]
    for number in range(_REFRESH_BATCHES):
        for norm in norms:
            norm.momentum = number / (number + 1)  # the running mean of all batches so far
        pictures = sampler.batch(number)[0]
        model(keras.ops.convert_to_tensor(pictures), training=True)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum


def logits_of(model: Any, pixels: Pixels, normalisation: Normalisation) -> FloatArray:
    """Logits (pictures, classes) float32 of pictures (pictures, size, size) uint8, as many at once as memory allows.

    Of a network as it is trained, those of the loudest places.
    """
    blocks = (pixels[start : start + _PREDICT_AT_ONCE] for start in range(0, len(pixels), _PREDICT_AT_ONCE))
    said = [model.predict_on_batch(_inputs(block, normalisation)) for block in blocks]
    return np.concatenate([one[0] if isinstance(one, list) else one for one in said])


def _inputs(pixels: Pixels, normalisation: Normalisation) -> FloatArray:
    return np.stack([standardise(picture, normalisation) for picture in pixels])[..., None]


def weighted_figures(logits: FloatArray, validation: Validation) -> tuple[float, float]:
    """Cross-entropy in nats, and share right, each weighted by ``validation.weights``."""
    centred = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    log_likelihood = centred - np.log(np.exp(centred).sum(axis=1, keepdims=True))
    of_truth = log_likelihood[np.arange(len(logits)), validation.targets]
    right = logits.argmax(axis=1) == validation.targets
    return float(-(validation.weights * of_truth).sum()), float((validation.weights * right).sum())
