import pytest

from dataset_builder.filters import Limits, Rejected, check_caption, check_paraphrase
from dataset_builder.pii import has_personal_data

PERSONAL = [
    "write to jane.doe@example.com", "john (at) example.org sells cars", "call +1 415 555 2671 now",
    "call (415) 555-2671", "415-555-2671 is the number", "+44 20 7946 0958", "030/901820 in Berlin",
    "phone 0171 1234567", "a house at 12 Oak Street", "1600 Pennsylvania Avenue NW", "221B Baker Street, London",
    "a flat in Hauptstraße 5", "12 rue de la Paix", "a shop in Via Roma 12",
]  # fmt: skip
IMPERSONAL = [
    "2 men cross street", "a sign with 1990-1991", "the year 2019-01-05", "1,000,000 people", "a score of 21-15",
    "a man at 5th avenue", "12 people on the road", "route 66 sign", "flight 747 400", "a 1920 x 1080 wallpaper",
    "a concert on 10.12.2019", "5 women crossing street", "a look at 3 dogs", "bus 42 to main street",
]  # fmt: skip


@pytest.mark.parametrize("caption", PERSONAL)
def test_personal_data_is_dropped_if_asked(caption):
    assert has_personal_data(caption)
    assert check_caption(caption, Limits()) == caption
    with pytest.raises(Rejected, match="personal data"):
        check_caption(caption, Limits(drop_pii=True))
    with pytest.raises(Rejected, match="personal data"):
        check_paraphrase(caption, "somebody tells how to reach him", Limits(drop_pii=True))


@pytest.mark.parametrize("caption", IMPERSONAL)
def test_what_only_looks_personal_is_kept(caption):
    assert check_caption(caption, Limits(drop_pii=True)) == caption
