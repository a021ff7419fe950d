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
    # The mean alone overlooks a small hole; the maximum alone does not learn.
    everywhere = layers.GlobalAveragePooling2D(keepdims=True)(maps)
    strongest = layers.MaxPooling2D(maps.shape[1:3])(maps)
    return layers.Reshape((classes,), name=LOGITS)(layers.Add()([everywhere, strongest]))


def _pooled_head(features: Any, classes: int, dropout: float) -> Any:
    from keras import layers

    pools = [layers.GlobalAveragePooling2D()(features), layers.GlobalMaxPooling2D()(features)]
    return layers.Dense(classes, name=LOGITS)(layers.Dropout(dropout)(layers.Concatenate()(pools)))


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
