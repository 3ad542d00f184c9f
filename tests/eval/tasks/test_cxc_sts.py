import numpy as np
import pytest
from scipy import stats

from eval.tasks import cxc_sts
from tests.eval.samples import write


def test_sampled_spearman_is_its_description():
    rng = np.random.default_rng(0)
    pairs, queries = rng.normal(size=(40, 2)), [str(i // 2) for i in range(40)]
    samples = cxc_sts.sampled_spearman(pairs, queries)
    assert samples.shape == (1000,)
    assert len(set(samples)) > 100
    # one pair a query: each sample is a half of the rows, without repeats
    single = cxc_sts.sampled_spearman(pairs[::2], queries[::2])
    rng = np.random.default_rng(0)
    chosen = rng.choice(20, 10, replace=False)
    assert single[0] == pytest.approx(stats.spearmanr(*pairs[::2][chosen].T).statistic)
    with pytest.raises(ValueError, match="at least 4"):
        cxc_sts.sampled_spearman(pairs[:4], ["a"] * 4)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        pytest.param(
            write("cxc/cxc_sts_val.tsv", b"score\tcaption1\tcaption2\n1\ta\tb\n2\ta\tc\n"),
            "at least 4",
            id="few queries",
        ),
    ],
)
def test_bad_input_is_one_clear_sentence(spoil, message, refused):
    refused("cxc_sts", spoil, message)
