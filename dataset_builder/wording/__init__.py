"""Does a paraphrase contradict its text? Checks by words alone, each of which objects only where it is certain.

A paraphrase may leave out, add and rename, so a word that is gone proves nothing. What proves something is

- a sense that is gone while one that excludes it has come: man to woman, red to blue, left to right (`senses.py`);
- a sense that stands with another noun than before: a red cup and a blue plate, a blue cup and a red plate;
- who does what to whom: a dog chases a cat, a cat chases a dog;
- a negation that has come, gone or moved to another word;
- a number that the other text cannot account for (`counts.py`).

All of it is English. In another language only digits are compared.
"""

from .contradictions import contradiction
from .counts import digits_differ
from .same import says_the_same, shared_words

__all__ = ["contradiction", "digits_differ", "says_the_same", "shared_words"]
