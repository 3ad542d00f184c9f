import numpy as np
import pytest

from eval import __main__ as cli
from eval.calibrate import _auc, _best_threshold, calibrate


def unit(x):
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def embeds(n, pictures, noise, seed=0):
    rng = np.random.default_rng(seed)
    gallery = unit(rng.normal(size=(pictures, 32))).astype(np.float32)
    picture = np.arange(n) % pictures
    return unit(gallery[picture, None] + noise * rng.normal(size=(n, 3, 32))).astype(np.float32), gallery, picture


def test_texts_that_lie_at_their_pictures_are_told_apart_from_others():
    found = calibrate(*embeds(60, 30, 0.01))
    assert (found.precision, found.recall, found.f1, found.auc, found.flips) == (1, 1, 1, 1, 0)
    assert 0.7 < found.threshold < 1
    assert found.queries == 2 * 3 * 30  # two indices, three wordings, half of the 60 triples


def test_noise_costs_all_of_it():
    good, bad = (calibrate(*embeds(400, 100, noise)) for noise in (0.1, 0.6))
    assert bad.auc < good.auc
    assert bad.flips > good.flips
    assert 0.5 < bad.f1 < good.f1


def test_the_threshold_is_the_best_of_all():
    rng = np.random.default_rng(1)
    for _ in range(20):
        scores, present = rng.integers(0, 6, 15) / 5, rng.random(15) < 0.5
        if not present.any():
            continue

        def f1(threshold, scores=scores, present=present):
            answered = scores >= threshold
            return 2 * (answered & present).sum() / max(answered.sum() + present.sum(), 1)

        assert f1(_best_threshold(scores, present)) == max(map(f1, scores))
        pairs = [(a > b) + 0.5 * (a == b) for a in scores[present] for b in scores[~present]]
        assert _auc(scores, present) == pytest.approx(np.mean(pairs)) if pairs else np.isnan(_auc(scores, present))


def test_too_few_pictures_are_refused():
    with pytest.raises(ValueError, match="at least 4 pictures, here are 3"):
        calibrate(*embeds(6, 3, 0.1))


def test_the_command_compares_models(folder, tiny_clip, capsys):
    cli.main(["calibrate", "--models", str(tiny_clip), "--data", str(folder)])
    out = capsys.readouterr().out
    assert "photos few_triples_val: " in out
    assert tiny_clip.name in out
    with pytest.raises(SystemExit, match=r"eval calibrate: .*triples_val\.jsonl"):
        cli.main(["calibrate", "--models", str(tiny_clip), "--data", str(tiny_clip)])
