"""From captions to a paraphrase corpus, and the corpus that is embedded here."""

from .builder import ParaCLIPParaphrases, load_scenes, load_triples, split_by_image_id, split_names

__all__ = ["ParaCLIPParaphrases", "load_scenes", "load_triples", "split_by_image_id", "split_names"]
