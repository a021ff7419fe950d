"""The network: plain convolutions, which run fastest quantized, and a head of one or two outputs."""

from typing import Any

import numpy as np

from edge_qc.domain import FloatArray
from edge_qc_trainer.config import Recipe
from edge_qc_trainer.dataset import Flags

LOGITS, MAPS, RAW_MAPS = "logits", "maps", "raw_maps"

# How far the int8 maps reach below and above even odds, in log-odds: down to a probability of 0.0003, and up so far
# that the loudest place still stands out. What lies beyond is clamped, so that a step is small where the decision is
# made, whatever a picture says.
BELOW, ABOVE = 8.0, 16.0
_CLAMPED_AT = 6.0  # by ReLU6, which costs nothing since the convolution does it
MAPS_TEMPERATURE = _CLAMPED_AT / (BELOW + ABOVE)
"""What the logits of a network with maps are divided by on the device, to be log-odds."""


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
    return keras.Model(inputs, head(x, good, recipe.dropout))


def _maps_head(features: Any, good: Flags, dropout: float) -> Any:
    from keras import layers

    classes = len(good)
    raw = layers.Conv2D(classes, 1, name=RAW_MAPS)(layers.Dropout(dropout)(features))
    # Each place by itself says how much more it speaks for a defect than for a good part: relative to the mean of the
    # good classes' maps. Where there is one good class, a place that looks very good makes up for no other.
    relative = layers.Conv2D(classes, 1, use_bias=False, trainable=False, name=MAPS)
    maps = relative(raw)
    relative.set_weights([_relative_to(good)[None, None]])
    # The maximum alone: with the mean in the logit a network learns what defective parts look like as a whole, and
    # takes an unknown good one for defective.
    return layers.Reshape((classes,), name=LOGITS)(layers.MaxPooling2D(maps.shape[1:3])(maps))


def _relative_to(good: Flags) -> FloatArray:
    """The matrix (classes, classes) that takes the mean of the good classes' evidence off each class'."""
    return (np.eye(len(good)) - np.outer(good / good.sum(), np.ones(len(good)))).astype(np.float32)


def _pooled_head(features: Any, good: Flags, dropout: float) -> Any:
    from keras import layers

    pools = [layers.GlobalAveragePooling2D()(features), layers.GlobalMaxPooling2D()(features)]
    return layers.Dense(len(good), name=LOGITS)(layers.Dropout(dropout)(layers.Concatenate()(pools)))


def has_maps(model: Any) -> bool:
    """Whether a network of ``build`` has class maps."""
    return MAPS in [layer.name for layer in model.layers]


def for_training(model: Any) -> Any:
    """The same network and the same weights with the class maps, where it has them, as a second output."""
    import keras

    if not has_maps(model):
        return model
    return keras.Model(model.inputs, [model.output, model.get_layer(MAPS).output])


def for_device(model: Any, temperature: float) -> Any:
    """The same network for one picture, with the class maps as a second output where it has them.

    The batch is fixed to one: an open one leaves shape arithmetic in the converted graph. The two convolutions that
    make the maps become one; of two classes its output is clamped and scaled to what ReLU6 lets through.

    Args:
        model: from ``build``, fitted.
        temperature: what its logits are divided by to be log-odds.
    """
    import keras

    outputs = _folded(model, temperature) if has_maps(model) else [model.output]
    one = keras.layers.Input(batch_shape=(1, *model.input_shape[1:]))
    return keras.Model(one, keras.Model(model.inputs, outputs)(one, training=False))


def _folded(model: Any, temperature: float) -> list[Any]:
    """Logits and maps, symbolic. Clamped, 0 stands for log-odds of -BELOW and 6 for ABOVE."""
    from keras import layers

    raw, (relative,) = model.get_layer(RAW_MAPS), model.get_layer(MAPS).get_weights()
    scale = MAPS_TEMPERATURE / temperature
    kernel, bias = (weights @ relative[0, 0] * scale for weights in raw.get_weights())
    # Of several good or several defective classes the louder must be told: clamped, both would be the same.
    clamped = len(bias) == 2
    convolution = layers.Conv2D(bias.shape[0], 1, activation="relu6" if clamped else None, name="folded_maps")
    maps = convolution(raw.input)
    convolution.set_weights([kernel, bias + (BELOW * MAPS_TEMPERATURE if clamped else 0)])
    return [layers.Reshape(bias.shape)(layers.MaxPooling2D(maps.shape[1:3])(maps)), maps]
