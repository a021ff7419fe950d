"""The recipe: every number that training depends on, with its unit and bounds.

Its defaults are the recipe that ships.
"""

from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from edge_qc.align import Align
from edge_qc.errors import ConfigError
from edge_qc.region import Region

Share = Annotated[float, Field(ge=0, le=1)]
Layer = tuple[Annotated[int, Field(ge=4, le=512)], Literal[1, 3, 5, 7], Literal[1, 2]]


class Section(BaseModel):
    """A part of the recipe: frozen, and a key it does not know is a fault."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class Augment(Section):
    """How a training picture is varied. A share is the probability that a picture gets the variation."""

    plain_share: Share = 0.4
    """Pictures that are only mirrored and turned by quarters: interpolation blurs, the device's camera does not."""
    zoom_min: Annotated[float, Field(gt=0.3, le=1)] = 0.85
    """Smallest zoom, as a factor."""
    zoom_max: Annotated[float, Field(ge=1, le=3)] = 1.12
    """Largest zoom, as a factor."""
    stretch: Annotated[float, Field(ge=0, le=0.3)] = 0.05
    """Largest stretch of each axis by itself, as a share of its length."""
    shift: Annotated[float, Field(ge=0, le=0.5)] = 0.06
    """Largest shift of each axis, as a share of the picture's side."""
    cut_share: Share = 0.15
    """Unwrapped rings of pictures that are shifted, so that their borders cut a rim."""
    glint_share: Share = 0.4
    """Unwrapped rings that get a fan of fine lines along the radius, as a turned face reflects its lamp: no defect."""
    light_share: Share = 0.7
    """Pictures that get another gamma, gain and offset."""
    gamma: Annotated[float, Field(ge=0, le=1.5)] = 0.55
    """Largest change of gamma, natural logarithm."""
    gain: Annotated[float, Field(ge=0, le=0.9)] = 0.3
    """Largest change of gain around mid grey, as a share."""
    offset: Annotated[float, Field(ge=0, le=100)] = 35.0
    """Largest offset, grey levels."""
    lamp_share: Share = 0.3
    """Pictures that get a lamp from one side."""
    lamp: Annotated[float, Field(ge=0, le=1)] = 0.4
    """Largest difference of the light between two opposite edges, as a share."""
    blur_share: Share = 0.4
    """Pictures that are blurred."""
    blur_px: Annotated[float, Field(ge=0.4, le=10)] = 1.4
    """Largest blur, standard deviation in pixels."""
    noise_share: Share = 0.15
    """Pictures that get noise."""
    noise: Annotated[float, Field(ge=1, le=60)] = 8.0
    """Largest noise, standard deviation in grey levels."""
    jpeg_share: Share = 0.0
    """Pictures that are compressed as JPEG and read again, of quality 50 to 95."""
    draw_share: Share = 0.4
    """Good pictures that get a drawn defect and its label; half as many defective ones get one more. Only where one
    class is good and one defective."""


class Recipe(Section):
    """How a network is fitted."""

    size: Annotated[int, Field(ge=32, le=1024)] = 300
    """Side of the network's input, pixels."""
    fit: Literal["letterbox", "crop", "stretch"] = "letterbox"
    """How a picture of another shape is brought to it."""
    region: Region | None = None
    """The region of interest: what lies outside it is cut away, here and on the device. null: the whole picture."""
    align: Align = "none"
    """`part`: the part is found on its plain background and cut out, here and on the device: it may lie anywhere in the
    region, at any distance. A picture in which none is found cannot be judged."""
    layers: Annotated[tuple[Layer, ...], Field(min_length=2, max_length=20)] = (
        (16, 3, 2),
        (24, 3, 2),
        (48, 3, 2),
        (48, 3, 1),
        (64, 3, 2),
        (64, 3, 1),
    )
    """The convolutions: channels out, kernel in pixels, stride in pixels; each with batch norm and ReLU."""
    head: Literal["maps", "pooled"] = "maps"
    """`maps`: a map of each class's evidence, which adds up to the logit; the device shows it as the heatmap. `pooled`:
    mean and maximum of the features, then a dense layer; no heatmap."""
    softness: Annotated[float, Field(ge=0.1, le=5)] = 0.75
    """How the evidence of a map's places adds up to the logit, as softness * log(sum(exp(map / softness))): near 0 the
    loudest place decides alone; the softer, the more do many weak signs count beside it. Head `maps` only."""
    unwrap: Literal["auto", "ring", "none"] = "auto"
    """`ring`: the network sees the part's ring, unwrapped around the dark opening in its middle; a picture without one
    cannot be judged. `auto`: where all but one in a hundred pictures have such an opening."""
    evidence_weight: Annotated[float, Field(ge=0, le=10)] = 1.0
    """Weight of the loss of the single places, beside that of the picture: of what is known to be free of defects and
    of drawn ones. Head `maps` only."""
    free_from: Share = 0.6
    """Share of a defective part's places that is at first taken for free of defects: those that speak least for one."""
    free_to: Share = 0.9
    """The same from the middle of the training on."""
    dropout: Annotated[float, Field(ge=0, lt=0.9)] = 0.1
    """Share of the head's inputs that is dropped in training."""
    epochs: Annotated[int, Field(ge=1, le=10_000)] = 15
    """Epochs at most."""
    steps_per_epoch: Annotated[int, Field(ge=1, le=100_000)] = 50
    """Batches an epoch."""
    patience: Annotated[int, Field(ge=1, le=10_000)] = 8
    """Epochs without a better validation loss after which training stops."""
    batch: Annotated[int, Field(ge=2, le=4096)] = 32
    """Pictures a batch."""
    learning_rate: Annotated[float, Field(gt=0, le=1)] = 3e-3
    """Highest learning rate, after the warm-up; falls with a cosine to a hundredth."""
    weight_decay: Annotated[float, Field(ge=0, le=1)] = 0.01
    """Weight decay, decoupled from the gradient."""
    warmup_steps: Annotated[int, Field(ge=0, le=100_000)] = 150
    """Batches over which the learning rate rises; a tenth of all of them at most."""
    label_smoothing: Annotated[float, Field(ge=0, lt=0.5)] = 0.02
    """Label smoothing of the cross-entropy."""
    average: Annotated[float, Field(ge=0, lt=1)] = 0.99
    """Momentum of the average of the weights, a batch."""
    copies_power: Annotated[float, Field(ge=-1, le=0)] = -0.6
    """A picture is drawn with the weight (copies of its part) ** this: 0 counts pictures, -1 counts parts."""
    source_shares: tuple[Annotated[float, Field(gt=0)], ...] = ()
    """How often each DATA is drawn from within a class, relative; empty: by the weights of its pictures."""
    held_out_share: Annotated[float, Field(gt=0, le=0.5)] = 0.15
    """Share of the parts that is held out to measure on."""
    validation_share: Annotated[float, Field(gt=0, le=0.5)] = 0.15
    """Share of the parts that chooses the epoch and the temperature."""
    group_threshold: Annotated[float, Field(gt=0, le=1)] = 0.92
    """Correlation from which two pictures show the same part. On 5,377 castings, 0.91 to 0.94 gave the same groups."""
    augment: Augment = Augment()
    """Variation of the training pictures."""

    @model_validator(mode="after")
    def _halves_are_alike(self) -> Self:
        if self.unwrap != "none" and self.size % 2:
            raise ValueError(f"size: expected an even one, or unwrap: none; got {self.size}")
        return self

    @property
    def map_side(self) -> int:
        """Rows, and columns, of the network's maps."""
        side = self.size
        for _, _, stride in self.layers:
            side = -(-side // stride)
        return side

    def free_share(self, step: int) -> float:
        """Share of a defective part's places that is taken for free of defects at a step, from 0."""
        risen = min(1.0, 2 * step / (self.epochs * self.steps_per_epoch))
        return self.free_from + (self.free_to - self.free_from) * risen

    def with_options(self, **options: int | None) -> "Recipe":
        """This recipe with those options that are not None in place of its own.

        Raises:
            ConfigError: if one is out of bounds.
        """
        given = {key: value for key, value in options.items() if value is not None}
        return _validated({**self.model_dump(), **given}, "options")


def load_recipe(path: Path | None) -> Recipe:
    """The recipe in a YAML file; the default one for None.

    Raises:
        ConfigError: naming every unknown key and every value that is out of bounds.
    """
    if path is None:
        return Recipe()
    try:
        values = yaml.safe_load(path.read_text("utf-8")) or {}
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError([f"{path}: expected a YAML file; got {error}"], where=str(path)) from None
    if not isinstance(values, dict):
        raise ConfigError([f"{path}: expected keys and values; got {type(values).__name__}"], where=str(path))
    return _validated(values, str(path))


def _validated(values: dict[str, Any], where: str) -> Recipe:
    try:
        return Recipe.model_validate(values)
    except ValidationError as error:
        faults = [
            f"{where}: {'.'.join(map(str, e['loc']))}: {e['msg']}; got {e['input']!r}"
            for e in error.errors(include_url=False)
        ]
        raise ConfigError(faults, where=where) from None
