"""From captions to a paraphrase corpus, and the embedded corpus of drawn scenes."""

from .builder import ParaCLIPParaphrases, load_scenes
from .errors import InputError
from .triples import load_triples, split_by_image_id, split_names

__all__ = [
    "InputError",
    "ParaCLIPParaphrases",
    "load_scenes",
    "load_triples",
    "split_by_image_id",
    "split_names",
]
