"""Synthetic persons in PKU-ReID's layout, because its photographs cannot be redistributed.

`people` draws each person's attributes, `body` poses the body as tubes, `clothes` colours them,
`rendering` projects and lights them, `scenes` holds the cameras and the places, and `writing`
saves the images. `tables.yaml` holds what people wear, the shapes of bodies and the cameras.
"""

from reid_lib.pedestrians.people import ATTRIBUTES, draw_persons
from reid_lib.pedestrians.rendering import render_person
from reid_lib.pedestrians.writing import write_dataset

DRAWING_VERSION = "1"  # names data folders: raise it with any change that alters a pixel

__all__ = ["ATTRIBUTES", "DRAWING_VERSION", "draw_persons", "render_person", "write_dataset"]
