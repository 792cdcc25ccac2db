from dataclasses import replace

import pytest
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE, RESOURCE_DOES_NOT_EXIST, TEMPORARILY_UNAVAILABLE

from balle_li.comparison.curves import bd_rate
from balle_li.config import RegisterConfig
from balle_li.errors import TrackingError
from balle_li.tracking.promotion import Candidate, decide, holder

CHAMPION = Candidate("1", 0.01, 0.9, "abc")
CONFIG = RegisterConfig("codec", "psnr", max_encode_ms=100, max_decode_ms=100, max_megabytes=10, min_gain=0.01)
COSTS = {"encode_ms": 10.0, "decode_ms": 20.0, "megabytes": 5.0, "pictures": 50}
RATES = (0.2, 0.4, 0.8, 1.6)


def decision(new, champion=CHAMPION, config=CONFIG, challenger=None, **costs):
    return decide(new, champion, challenger, COSTS | costs, config, bd_rate)


def curve(factor, psnr=(28.0, 31.0, 34.0, 37.0)):
    """A curve with `factor` times the bits of the plain one."""
    return tuple(
        {"bpp": factor * bpp, "psnr": quality, "ms_ssim_db": None} for bpp, quality in zip(RATES, psnr, strict=True)
    )


def test_the_first_version_is_promoted():
    found = decision(CHAMPION, None)
    assert found.alias == "champion" and "first version" in found.reason


def test_a_lower_cost_takes_the_place():
    found = decision(Candidate("2", 0.01, 0.8, "abc"))
    assert found.alias == "champion" and "0.8000 is lower than 0.9000 of version 1" in found.reason


def test_an_equal_or_higher_cost_makes_the_challenger():
    for cost in (0.9, 1.0):
        found = decision(Candidate("2", 0.01, cost, "abc"))
        assert found.alias == "challenger" and "not lower than 0.9000 of version 1" in found.reason


def test_costs_at_other_lambdas_or_on_other_pictures_are_not_compared():
    found = decision(Candidate("2", 0.02, 0.1, "abc"))
    assert found.alias is None and "lmbda 0.02" in found.reason
    found = decision(Candidate("2", 0.01, 0.1, "xyz"))
    assert found.alias is None and "other test pictures" in found.reason


def test_models_that_were_trained_for_different_things_are_not_compared():
    champion = replace(CHAMPION, points=curve(1.0), kind="ms-ssim")
    for points in ((), curve(0.5)):
        found = decision(Candidate("2", 0.01, 0.1, "abc", points, "mse"), champion)
        assert found.alias is None
        assert "not promoted: trained for MSE, version 1, the champion, for MS-SSIM" in found.reason
        assert "-S register.name=…" in found.reason and "`make rollback`" in found.reason
        assert decision(Candidate("2", 0.01, 0.1, "abc", points, "ms-ssim"), champion).alias == "champion"
        assert decision(Candidate("2", 0.01, 0.1, "abc", points), champion).alias == "champion", "of a kind not known"
    unknown = Candidate("1", 0.01, 0.9, "abc")
    challenger = Candidate("2", 0.01, 1.0, "abc", kind="ms-ssim")
    found = decision(Candidate("3", 0.01, 0.95, "abc", kind="mse"), unknown, challenger=challenger)
    assert found.alias is None and "version 2, the challenger, for MS-SSIM" in found.reason
    assert "make rollback" not in found.reason, "which is for champions"


def test_the_challenger_is_the_best_that_was_not_promoted_not_the_newest():
    challenger = Candidate("2", 0.01, 1.0, "abc")
    found = decision(Candidate("3", 0.01, 1.2, "abc"), challenger=challenger)
    assert found.alias is None and "1.2000 is not lower than 1.0000 of version 2, the challenger" in found.reason
    found = decision(Candidate("3", 0.01, 0.95, "abc"), challenger=challenger)
    assert found.alias == "challenger" and "is lower than 1.0000 of version 2, the challenger" in found.reason
    assert decision(Candidate("3", 0.01, 0.8, "abc"), challenger=challenger).alias == "champion"


def test_a_challenger_that_cannot_be_compared_with_the_champion_makes_way():
    found = decision(Candidate("3", 0.01, 1.2, "abc"), challenger=Candidate("2", 0.01, 0.5, "other pictures"))
    assert found.alias == "challenger"


def test_curves_are_compared_by_bd_rate_whatever_the_lmbda():
    champion = replace(CHAMPION, points=curve(1.0))
    better = decision(Candidate("2", 0.02, 9.0, "abc", curve(0.9)), champion)
    assert better.alias == "champion" and "BD-rate -10.0 % by PSNR saves bits" in better.reason
    worse = decision(Candidate("2", 0.02, 0.1, "abc", curve(1.1)), champion)
    assert worse.alias == "challenger" and "BD-rate +10.0 % by PSNR saves no bits" in worse.reason


def test_a_gain_below_the_least_one_is_no_promotion():
    champion = replace(CHAMPION, points=curve(1.0))
    found = decision(Candidate("2", 0.01, 0.5, "abc", curve(0.994)), champion)
    assert found.alias == "challenger"
    assert "BD-rate -0.6 % by PSNR saves less than register.min_gain, 1 %, against version 1" in found.reason
    assert decision(Candidate("2", 0.01, 0.5, "abc", curve(0.985)), champion).alias == "champion"
    found = decision(Candidate("2", 0.01, 0.895, "abc"))
    assert found.alias == "challenger" and "is lower by less than register.min_gain, 1 %," in found.reason
    assert decision(Candidate("2", 0.01, 0.895, "abc"), config=replace(CONFIG, min_gain=0.0)).alias == "champion"
    found = decision(Candidate("3", 0.01, 0.999, "abc"), challenger=Candidate("2", 0.01, 1.0, "abc"))
    assert found.alias is None, "the challenger makes way for a version that is hardly better"


def test_few_test_pictures_are_named_where_versions_are_compared():
    for cost, alias in ((0.8, "champion"), (1.0, "challenger")):
        found = decision(Candidate("2", 0.01, cost, "abc"), pictures=4)
        assert found.alias == alias and "(4 test pictures are few: chance may decide)" in found.reason
    assert "few" not in decision(Candidate("2", 0.01, 0.8, "abc")).reason
    assert "few" not in decision(CHAMPION, None, pictures=4).reason


def test_curves_that_hardly_overlap_leave_it_to_the_cost():
    champion = replace(CHAMPION, points=curve(1.0))
    elsewhere = curve(1.0, psnr=(36.5, 40.0, 42.0, 44.0))
    found = decision(Candidate("2", 0.01, 0.8, "abc", elsewhere), champion)
    assert found.alias == "champion" and "is lower" in found.reason and "share only" in found.reason


@pytest.mark.parametrize(
    ("cost", "words"),
    [
        ({"encode_ms": 101.0}, "encodes a test picture in 101 ms, register.max_encode_ms is 100"),
        ({"decode_ms": 150.0}, "decodes a test picture in 150 ms"),
        ({"megabytes": 10.5}, "has 10.5 MB, register.max_megabytes is 10"),
    ],
)
def test_a_version_over_a_limit_is_neither_however_good(cost, words):
    found = decision(Candidate("2", 0.01, 0.1, "abc"), **cost)
    assert found.alias is None and words in found.reason
    assert decision(CHAMPION, None, **cost).alias is None


def test_a_lookup_that_fails_is_no_missing_alias():
    class Client:
        def __init__(self, code):
            self.code = code

        def get_model_version_by_alias(self, name, alias):
            raise MlflowException("not now\nor later", self.code)

    assert holder(Client(RESOURCE_DOES_NOT_EXIST), "codec", "champion") is None
    assert holder(Client(INVALID_PARAMETER_VALUE), "codec", "champion") is None
    with pytest.raises(TrackingError, match=r"which version of codec is the champion \(not now\); repeat") as caught:
        holder(Client(TEMPORARILY_UNAVAILABLE), "codec", "champion")
    assert "\n" not in str(caught.value)


def test_null_is_no_limit():
    found = decision(CHAMPION, None, replace(CONFIG, max_encode_ms=None), encode_ms=1e9)
    assert found.alias == "champion"


def test_tags_and_curve_make_the_same_candidate_again():
    whole = replace(CHAMPION, lmbda=0.00215443469, points=curve(1.0))
    assert Candidate.from_tags("1", whole.tags(), whole.points) == whole
    assert Candidate.from_tags("1", whole.tags() | {"kind": "good"}, whole.points) == whole
    assert Candidate.from_tags("1", (other := replace(whole, kind="ms-ssim")).tags(), whole.points) == other
    assert Candidate.from_tags("1", {"lmbda": "0.01"}, ()) is None
