"""The network: plain convolutions, which run fastest quantized, and a head that says its evidence or its logits."""

import math
from typing import Any

import numpy as np

from edge_qc.domain import FloatArray
from edge_qc_trainer.config import Recipe
from edge_qc_trainer.dataset import Flags
from edge_qc_trainer.errors import ConversionError

LOGITS, LOUDEST, MAPS, RAW_MAPS = "logits", "loudest", "maps", "raw_maps"


def build(recipe: Recipe, good: Flags) -> Any:
    """The network of a recipe.

    Args:
        recipe: its layers and its head.
        good: shape (classes,): which classes are good.

    Returns:
        A ``keras.Model`` from standardised pictures, (n, size, size, 1) float32, to logits, (n, classes) float32.
    """
    import keras
    from keras import layers

    x = inputs = layers.Input((recipe.size, recipe.size, 1))
    for channels, kernel, stride in recipe.layers:
        x = layers.Conv2D(channels, kernel, strides=stride, padding="same", use_bias=False)(x)
        x = layers.BatchNormalization(momentum=0.95)(x)
        x = layers.ReLU()(x)
    head = _maps_head if recipe.head == "maps" else _pooled_head
    return keras.Model(inputs, head(x, good, recipe))


def _maps_head(features: Any, good: Flags, recipe: Recipe) -> Any:
    from keras import layers, ops

    classes, softness = len(good), recipe.softness
    raw = layers.Conv2D(classes, 1, name=RAW_MAPS)(layers.Dropout(recipe.dropout)(features))
    # Each place by itself says how much more it speaks for a defect than for a good part: relative to the mean of the
    # good classes' maps. Where there is one good class, a place that looks very good makes up for no other.
    relative = layers.Conv2D(classes, 1, use_bias=False, trainable=False, name=MAPS)
    maps = relative(raw)
    relative.set_weights([_relative_to(good)[None, None]])
    # The loudest place decides, and many weak signs beside it count as well: see ``edge_qc.bundle.Outputs``.
    together = ops.logsumexp(layers.Rescaling(1 / softness)(maps), axis=(1, 2))
    off = np.where(good, math.log(recipe.map_side**2), 0.0).astype(np.float32)
    return layers.Rescaling(softness, name=LOGITS)(together - off)


def _relative_to(good: Flags) -> FloatArray:
    """The matrix (classes, classes) that takes the mean of the good classes' evidence off each class'."""
    return (np.eye(len(good)) - np.outer(good / good.sum(), np.ones(len(good)))).astype(np.float32)


def _pooled_head(features: Any, good: Flags, recipe: Recipe) -> Any:
    from keras import layers

    pools = [layers.GlobalAveragePooling2D()(features), layers.GlobalMaxPooling2D()(features)]
    return layers.Dense(len(good), name=LOGITS)(layers.Dropout(recipe.dropout)(layers.Concatenate()(pools)))


def has_maps(model: Any) -> bool:
    """Whether a network of ``build`` has class maps."""
    return MAPS in [layer.name for layer in model.layers]


def softness_of(model: Any) -> float | None:
    """How the evidence of a network's maps adds up (``Recipe.softness``); None of a network without maps.

    Raises:
        ConversionError: if it was fitted before evidence added up.
    """
    if not has_maps(model):
        return None
    softness = getattr(model.get_layer(LOGITS), "scale", None)
    if softness is None:
        raise ConversionError(
            "the network is of an earlier version",
            expected="one whose places add up to its logits",
            got="one whose loudest place is its logit",
            remedy="Fit it anew, with the command in the .json beside it",
        )
    return float(softness)


def for_training(model: Any) -> Any:
    """The same network and the same weights as it is trained: of class maps the loudest place of each, and the maps.

    With all places together, or their mean, a network learns what defective parts look like as a whole, and takes an
    unknown good one for defective. What it finds is added up only when it is asked (docs/studies/).
    """
    import keras

    if not has_maps(model):
        return model
    maps = model.get_layer(MAPS).output
    loudest = keras.layers.MaxPooling2D(maps.shape[1:3])(maps)
    return keras.Model(model.inputs, [keras.layers.Reshape(maps.shape[3:], name=LOUDEST)(loudest), maps])


def for_device(model: Any) -> Any:
    """The same network for one picture, with what the device reads: the class maps where it has them, else the logits.

    The batch is fixed to one: an open one leaves shape arithmetic in the converted graph. The two convolutions that
    make the maps become one.

    Args:
        model: from ``build``, fitted.
    """
    import keras

    output = _folded(model) if has_maps(model) else model.output
    one = keras.layers.Input(batch_shape=(1, *model.input_shape[1:]))
    return keras.Model(one, keras.Model(model.inputs, output)(one, training=False))


def _folded(model: Any) -> Any:
    """The maps, symbolic."""
    from keras import layers

    raw, (relative,) = model.get_layer(RAW_MAPS), model.get_layer(MAPS).get_weights()
    kernel, bias = (weights @ relative[0, 0] for weights in raw.get_weights())
    convolution = layers.Conv2D(bias.shape[0], 1, name="folded_maps")
    maps = convolution(raw.input)
    convolution.set_weights([kernel, bias])
    return maps
