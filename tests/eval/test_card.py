import numpy as np

from eval import suite
from eval.card import add_to_card, eval_results
from eval.statistics import Scored, Spearman


def test_card_gets_its_model_index(encoder, folder, tmp_path):
    card = tmp_path / "README.md"
    card.write_text("---\nlicense: mit\n---\n\n# Mine\n")
    measured, _ = suite.evaluate(encoder, ["sts"], folder)
    for _ in range(2):  # a second time changes nothing
        add_to_card(card, measured)
        text = card.read_text()
        assert text.endswith("# Mine\n")
        assert "license: mit" in text
        assert text.count("type: spearman") == 1


def test_an_undefined_figure_is_in_no_model_index():
    flat = Scored(np.ones(4), Spearman(np.arange(4.0)))
    assert eval_results([suite.Measurement("a", "t", "d", "metric", flat)]) == []
