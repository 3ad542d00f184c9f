"""The folder `space` is a Space's root, not a package: its modules are imported as they are there."""

import sys
from pathlib import Path

import pytest

from modeling_paraclip import BASE_MODEL_DIR

sys.path.insert(0, str(Path(__file__).parents[2] / "space"))


@pytest.fixture(scope="session")
def base():
    """The embedded base, opened as the page opens it."""
    import search

    return search.Model.open("Base", BASE_MODEL_DIR)


@pytest.fixture(scope="session")
def drawn(base):
    """A gallery of 40 drawn scenes."""
    import search

    return search.drawn_scenes(search.drawn_rows(40), [base])
