"""The network: plain convolutions, which run fastest quantized, and a head of one or two outputs."""

from typing import Any

from edge_qc_trainer.config import Recipe

LOGITS, MAPS = "logits", "maps"


def build(recipe: Recipe, classes: int) -> Any:
    """A ``keras.Model`` from standardised pictures, (n, size, size, 1) float32, to logits, (n, classes) float32."""
    import keras

    x = inputs = keras.layers.Input((recipe.size, recipe.size, 1))
    for channels, kernel, stride in recipe.layers:
        x = keras.layers.Conv2D(channels, kernel, strides=stride, padding="same", use_bias=False)(x)
        x = keras.layers.BatchNormalization(momentum=0.95)(x)
        x = keras.layers.ReLU()(x)
    head = _maps_head if recipe.head == "maps" else _pooled_head
    return keras.Model(inputs, head(x, classes, recipe.dropout))


def _maps_head(features: Any, classes: int, dropout: float) -> Any:
    from keras import layers

    maps = layers.Conv2D(classes, 1, name=MAPS)(layers.Dropout(dropout)(features))
    # The maximum alone: with the mean in the logit a network learns what defective parts look like as a whole, and
    # takes an unknown good one for defective.
    return layers.Reshape((classes,), name=LOGITS)(layers.MaxPooling2D(maps.shape[1:3])(maps))


def _pooled_head(features: Any, classes: int, dropout: float) -> Any:
    from keras import layers

    pools = [layers.GlobalAveragePooling2D()(features), layers.GlobalMaxPooling2D()(features)]
    return layers.Dense(classes, name=LOGITS)(layers.Dropout(dropout)(layers.Concatenate()(pools)))


def has_maps(model: Any) -> bool:
    """Whether a network of ``build`` has class maps."""
    return MAPS in [layer.name for layer in model.layers]


def for_training(model: Any) -> Any:
    """The same network and the same weights with the class maps, where it has them, as a second output."""
    import keras

    if not has_maps(model):
        return model
    return keras.Model(model.inputs, [model.output, model.get_layer(MAPS).output])


def for_device(model: Any) -> Any:
    """The same network for one picture, with the class maps as a second output where it has them.

    The batch is fixed to one: an open one leaves shape arithmetic in the converted graph.
    """
    import keras

    names = [layer.name for layer in model.layers]
    outputs = [model.get_layer(name).output for name in (LOGITS, MAPS) if name in names]
    both = keras.Model(model.inputs, outputs)
    one = keras.layers.Input(batch_shape=(1, *model.input_shape[1:]))
    return keras.Model(one, both(one, training=False))
