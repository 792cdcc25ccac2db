from balle_li.tracking.promotion import Candidate, decide

CHAMPION = Candidate("1", 0.01, 0.9, "abc")


def test_the_first_version_is_promoted():
    promoted, reason = decide(CHAMPION, None)
    assert promoted and "first version" in reason


def test_a_lower_cost_takes_the_place():
    promoted, reason = decide(Candidate("2", 0.01, 0.8, "abc"), CHAMPION)
    assert promoted and "0.8000 is lower than 0.9000 of version 1" in reason


def test_an_equal_or_higher_cost_does_not():
    for cost in (0.9, 1.0):
        promoted, reason = decide(Candidate("2", 0.01, cost, "abc"), CHAMPION)
        assert not promoted and "not lower than 0.9000 of version 1" in reason


def test_costs_at_other_lambdas_or_on_other_pictures_are_not_compared():
    promoted, reason = decide(Candidate("2", 0.02, 0.1, "abc"), CHAMPION)
    assert not promoted and "lmbda 0.02" in reason
    promoted, reason = decide(Candidate("2", 0.01, 0.1, "xyz"), CHAMPION)
    assert not promoted and "other test pictures" in reason


def test_tags_round_trip_exactly():
    assert Candidate.from_tags("1", CHAMPION.tags()) == CHAMPION
    assert Candidate.from_tags("1", {"lmbda": "0.01"}) is None
