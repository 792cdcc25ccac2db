import pytest

from balle_li.errors import TrackingError


def champion():
    from balle_li.tracking import connection

    return str(connection.connect().MlflowClient().get_model_version_by_alias("codec", "champion").version)


def test_rollback_restores_the_version_before_and_leaves_its_reason(register, capsys):
    from balle_li.tracking import connection
    from balle_li.tracking.rollback import main

    for cost in (0.9, 1.0, 0.8):
        register(cost)
    assert main(["--name", "codec", "--reason", "faces are blurred"]) == 0
    assert "version 1 is the champion again" in capsys.readouterr().out
    assert champion() == "1"
    client = connection.connect().MlflowClient()
    demoted, restored = client.get_model_version("codec", "3"), client.get_model_version("codec", "1")
    for version, words in ((demoted, "rolled back on"), (restored, "restored on")):
        assert words in version.tags["reason"] and "faces are blurred" in version.tags["reason"]
        assert version.description == f"{version.tags['reason']}\n\n# codec {version.version}\n\nA card.\n"
    assert demoted.tags["promoted"] == "false"

    assert register(0.85)["promoted"], "it is measured against the restored champion, not against the one rolled back"
    assert main(["--name", "codec", "--yes"]) == 0
    assert champion() == "1"


def test_without_a_reason_it_says_what_it_would_do_and_does_nothing(register, capsys):
    from balle_li.tracking.rollback import main

    register(0.9), register(0.8)
    capsys.readouterr()
    for reason in ([], ["--reason", " "]):
        assert main(["--name", "codec", *reason]) == 1
        said = capsys.readouterr().out
        assert "version 1 the champion of codec in place of version 2" in said and "YES=1" in said
        assert champion() == "2"


def test_champions_are_taken_back_one_by_one(register):
    from balle_li.tracking.rollback import rollback

    for cost in (0.9, 0.8, 0.7):
        register(cost)
    assert rollback("codec") == ("3", "2")
    assert rollback("codec") == ("2", "1")
    with pytest.raises(TrackingError, match="no version to go back to"):
        rollback("codec")


def test_without_a_version_to_go_back_to_it_is_one_line(register, home, capsys):
    from balle_li.tracking.rollback import main

    (home / "params.yaml").write_text("register: {name: codec}")
    assert main([]) == 1
    assert "codec has no champion" in capsys.readouterr().err
    register(0.9)
    capsys.readouterr()
    assert main([]) == 1
    message = capsys.readouterr().err.strip()
    assert "no version to go back to" in message and "\n" not in message
    assert champion() == "1"


def test_a_deleted_version_is_not_restored(register):
    from balle_li.tracking import connection
    from balle_li.tracking.rollback import rollback

    register(0.9), register(0.8)
    connection.connect().MlflowClient().delete_model_version("codec", "1")
    with pytest.raises(TrackingError, match="version 1 of codec, the champion before 2, was deleted"):
        rollback("codec")
    assert champion() == "2"
