"""A picture shows what its scene says."""

import random

from dataset_builder import drawing


def test_a_picture_shows_what_is_said():
    scene = drawing.Scene(drawing.Thing("circle", "red", None), "left", drawing.Thing("square", "blue", None), "sand")
    picture = drawing.draw_scene(scene, random.Random(0))
    middle = drawing.IMAGE_SIZE // 2
    assert picture.getpixel((round(0.26 * drawing.IMAGE_SIZE), middle)) == drawing._RGB["red"]
    assert picture.getpixel((round(0.74 * drawing.IMAGE_SIZE), middle)) == drawing._RGB["blue"]
