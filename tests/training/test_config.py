import argparse
from dataclasses import fields, replace
from pathlib import Path

import pytest

from training.student.config import Config, add_flags, from_flags


def parse(*given: str) -> Config:
    parser = argparse.ArgumentParser()
    add_flags(parser)
    return from_flags(parser.parse_args(given))


def test_flags_win_over_the_file_and_the_file_over_defaults(tmp_path: Path) -> None:
    file = tmp_path / "run.toml"
    file.write_text("epochs = 3\nseed = 5\n")
    config = parse("--config", str(file), "--seed", "7", "--tune-embeddings")
    assert (config.epochs, config.seed, config.batch_size, config.tune_embeddings) == (3, 7, 32, True)


def test_every_setting_has_a_flag() -> None:
    parser = argparse.ArgumentParser()
    add_flags(parser)
    assert parse() == Config()
    assert {field.name for field in fields(Config)} <= set(vars(parser.parse_args([])))


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("epoch = 3", r"unknown setting epoch; did you mean epochs\?"),
        ("epochs = ", r"the settings .*run\.toml cannot be read"),
        ("[student]\nepochs = 3", "unknown setting student"),
    ],
)
def test_an_invalid_file_is_refused(tmp_path: Path, text: str, complaint: str) -> None:
    file = tmp_path / "run.toml"
    file.write_text(text)
    parser = argparse.ArgumentParser()
    add_flags(parser)
    with pytest.raises(ValueError, match=complaint):
        from_flags(parser.parse_args(["--config", str(file)]))


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("epochs", 0),
        ("epochs", "many"),
        ("epochs", True),
        ("delta", 0.0),
        ("delta", 1.0),
        ("label_smoothing", 1.0),
        ("learning_rate", -1.0),
        ("max_tokens", 2),
        ("feed_forward_share", 0.0),
        ("name", "../elsewhere"),
        ("seed", -1),
    ],
)
def test_a_setting_out_of_range_is_refused_by_name(setting: str, value: object) -> None:
    with pytest.raises(ValueError, match=setting):
        Config(**{setting: value})


def test_the_name_is_the_data_folders_own_unless_given() -> None:
    assert Config(data="some/where/clinc150").model_name == "clinc150"
    assert Config(data="some/where.jsonl").model_name == "where"
    assert Config(data="x", name="mine").home == Path("models/mine").absolute()


def test_a_model_stays_where_it_is_when_the_process_changes_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = Config(name="mine")
    home = config.home
    monkeypatch.chdir(tmp_path)
    assert config.home == replace(config, seed=1).home == home


def test_a_report_does_not_tell_where_things_lie(tmp_path: Path) -> None:
    shown = Config(data=str(tmp_path / "support"), models=str(tmp_path / "models")).shown()
    assert (shown["data"], shown["models"]) == ("support", "models")
    assert Config(data="data/support").shown()["data"] == "data/support"


def test_equal_settings_have_equal_ids() -> None:
    assert Config().id() == Config().id() != Config(seed=1).id()
    assert Config(models="elsewhere", delta=0.2).id() == Config().id()


def test_names_with_dots_do_not_collide(tmp_path: Path) -> None:
    for name in ("support.2024", "support.2025"):
        (tmp_path / name).mkdir()
        assert Config(data=str(tmp_path / name), models=str(tmp_path / "models")).model_name == name
    for name in ("queries.jsonl", "queries.jsonl.gz"):
        (tmp_path / name).touch()
        assert Config(data=str(tmp_path / name)).model_name == "queries"


def test_a_model_under_its_former_name_is_not_begun_anew_in_silence(tmp_path: Path) -> None:
    (tmp_path / "support.2024").mkdir()
    (tmp_path / "models" / "support").mkdir(parents=True)
    config = Config(data=str(tmp_path / "support.2024"), models=str(tmp_path / "models"))
    with pytest.raises(ValueError, match=r"give --name support to go on with it, or --name support\.2024"):
        _ = config.home
    assert replace(config, name="support.2024").model_name == "support.2024"
    (tmp_path / "models" / "support.2024").mkdir()
    assert config.model_name == "support.2024"
