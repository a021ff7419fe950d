"""The region of interest: where in the frame the part is looked at."""

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from edge_qc.domain import Pixels, Window
from edge_qc.errors import PictureError

Length = Annotated[float, Field(gt=0, le=65_536)]
Place = Annotated[float, Field(ge=0, le=65_536)]


class Region(BaseModel):
    """A rectangle of the frame. What lies outside it is neither gated nor judged, nor trained on."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    unit: Literal["share", "px"] = "share"
    """Of the four lengths: `share` of the frame's width or height, 0 to 1, or `px`, pixels of the frame."""
    x: Place
    """Left edge, from the frame's left."""
    y: Place
    """Upper edge, from the frame's top."""
    width: Length
    """Width."""
    height: Length
    """Height."""

    @model_validator(mode="after")
    def _within_the_frame(self) -> Self:
        if self.unit == "share" and (self.x + self.width > 1 + 1e-9 or self.y + self.height > 1 + 1e-9):
            raise ValueError(
                f"in shares of the frame, expected x + width and y + height of at most 1, "
                f"got {self.x + self.width:g} and {self.y + self.height:g}"
            )
        return self

    def __str__(self) -> str:
        return f"{self.width:g} x {self.height:g} at {self.x:g}, {self.y:g} ({self.unit})"

    def same_size(self, other: "Region") -> bool:
        """Whether another region shows the part at the same scale: it may lie elsewhere in the frame."""
        return (self.unit, self.width, self.height) == (other.unit, other.width, other.height)

    def of(self, pixels: Pixels) -> Pixels:
        """The region of a picture (rows, columns) uint8, as a view; see ``window``."""
        return self.window(*pixels.shape).of(pixels)

    def window(self, rows: int, columns: int) -> Window:
        """Where the region lies in a picture of that size: whole pixels, at least one each way.

        Raises:
            PictureError: if the region reaches beyond the picture.
        """
        across, down = (columns, rows) if self.unit == "share" else (1, 1)
        left, top = round(self.x * across), round(self.y * down)
        right, bottom = round((self.x + self.width) * across), round((self.y + self.height) * down)
        if right > columns or bottom > rows or right <= left or bottom <= top:
            raise PictureError(
                "the region of interest does not lie in the frame",
                expected=f"a frame that holds {self}",
                got=f"one of {columns} x {rows} px",
                remedy="Set the section region to where the part is, or the camera to the size it was set up with",
            )
        return Window(left, top, right - left, bottom - top)
