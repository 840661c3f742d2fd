import argparse
import importlib
import logging
import re
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference.common.settings import add_flags, check_types, from_environment, from_flags, load, setting

TEXT = st.text(st.characters(exclude_categories=["C"]), max_size=10).map(str.strip).filter("--".__ne__)
COMMANDS = ["inference.classify", "inference.report", "inference.costs"]
COMMANDS += [f"training.{name}" for name in ("train", "label", "refresh", "dataset", "change", "publish")]


@dataclass(frozen=True)
class Oven:
    """Settings of every kind."""

    name: str = setting("", "what it is called")
    shelves: int = setting(3, "how many shelves it has")
    heat: float = setting(180.5, "100 % of what it reaches")
    limit: float | None = setting(None, "where it stops")
    fan: bool = setting(False, "whether the air moves")
    code: str = setting("", "what opens it", secret=True)

    def __post_init__(self) -> None:
        check_types(self)


OVENS = st.builds(
    Oven,
    name=TEXT,
    shelves=st.integers(-(10**20), 10**20),
    heat=st.floats(allow_nan=False),
    limit=st.none() | st.floats(allow_nan=False),
    fan=st.booleans(),
    code=TEXT,
)


@given(OVENS)
def test_what_is_written_into_the_environment_is_read_back(oven: Oven) -> None:
    variables = {f"MONOKU_{name.upper()}": str(value) for name, value in asdict(oven).items() if value is not None}
    assert load(Oven, None, variables, {}) == oven


PARSER = argparse.ArgumentParser()
add_flags(PARSER, Oven, leave_out=["fan"])


@given(OVENS)
def test_flags_say_the_same(oven: Oven) -> None:
    values = {name: value for name, value in asdict(oven).items() if name != "fan" and value is not None}
    flags = [f"--{name}={value}" for name, value in values.items()]
    assert Oven(**from_flags(Oven, PARSER.parse_args(flags))) == replace(oven, fan=False)


@given(st.sets(st.sampled_from(["file", "variable", "argument"])))
def test_the_argument_wins_over_the_variable_and_that_over_the_file(
    tmp_path_factory: pytest.TempPathFactory, places: set[str]
) -> None:
    file = tmp_path_factory.mktemp("oven") / "oven.toml"
    file.write_bytes(b"\xef\xbb\xbfshelves = 1\n" if "file" in places else b"")
    variables = {"MONOKU_SHELVES": "2"} if "variable" in places else {}
    arguments = {"shelves": 4} if "argument" in places else {}
    expected = 4 if "argument" in places else 2 if "variable" in places else 1 if "file" in places else 3
    assert load(Oven, file, variables, arguments).shelves == expected


@given(st.dictionaries(st.text(max_size=12).map("MONOKU_{}".format), st.text(max_size=5)))
def test_variables_of_others_never_stop_the_process(variables: dict[str, str]) -> None:
    known = {f"MONOKU_{item.name.upper()}" for item in fields(Oven)}
    assert from_environment(Oven, {name: text for name, text in variables.items() if name not in known}) == {}


def test_what_kubernetes_and_tests_set_is_passed_over_in_silence(caplog: pytest.LogCaptureFixture) -> None:
    names = ("MONOKU_PORT", "MONOKU_SERVICE_HOST", "MONOKU_TEST_NAME", "MONOKU_NAME_SERVICE_PORT", "MONOKU_", "SHELVES")
    assert from_environment(Oven, dict.fromkeys(names, "tcp://10.0.0.1:80")) == {}
    assert caplog.records == []


@pytest.mark.parametrize("variable", ["MONOKU_SHELVE", "MONOKU_SHELVESS", "MONOKU_shelves"])
def test_a_variable_that_is_nearly_ours_is_a_warning_without_its_value(
    variable: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert from_environment(Oven, {variable: "s3cret"}) == {}
    [record] = caplog.records
    assert (record.name, record.levelno) == ("monoku.settings", logging.WARNING)
    assert record.getMessage() == f"the environment variable {variable} is ignored; did you mean MONOKU_SHELVES?"


def test_an_empty_variable_is_not_set() -> None:
    assert from_environment(Oven, {"MONOKU_SHELVES": "", "MONOKU_LIMIT": " "}) == {}


@pytest.mark.parametrize(
    ("variable", "text", "complaint"),
    [
        ("MONOKU_SHELVES", "3.5", "MONOKU_SHELVES must be a whole number, got '3.5'"),
        ("MONOKU_HEAT", "hot", "MONOKU_HEAT must be a number, got 'hot'"),
        ("MONOKU_FAN", "perhaps", "MONOKU_FAN must be true or false, got 'perhaps'"),
    ],
)
def test_a_variable_with_a_wrong_value_is_refused_by_name(variable: str, text: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=re.escape(complaint)):
        from_environment(Oven, {variable: text})


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ({"name": 3}, "name must be text, got 3"),
        ({"shelves": True}, "shelves must be a whole number, got True"),
        ({"heat": "3"}, "heat must be a number, got '3'"),
        ({"fan": 1}, "fan must be true or false, got 1"),
        ({"shelves": None}, "shelves must be a whole number, got None"),
        ({"shelf": 3}, "the arguments: unknown setting shelf; known are name, shelves, heat, limit, fan, code"),
        ({"shelve": 3}, "the arguments: unknown setting shelve; did you mean shelves? known are name"),
    ],
)
def test_a_wrong_argument_is_refused_by_name(values: dict[str, object], complaint: str) -> None:
    with pytest.raises(ValueError, match=re.escape(complaint)):
        load(Oven, None, {}, values)


@pytest.mark.parametrize("value", [7, 10**400])
def test_a_whole_number_is_taken_for_the_number_it_stands_for(value: int) -> None:
    heat = load(Oven, None, {}, {"heat": value}).heat
    assert type(heat) is float
    assert heat == (7.0 if value == 7 else float("inf"))


@pytest.mark.parametrize("content", [b"shelves = ", b"\xff\xfe", None])
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "oven.toml"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ValueError, match=r"the settings .*oven\.toml cannot be read"):
        load(Oven, file, {}, {})


def test_help_says_what_a_flag_means_and_its_default() -> None:
    parser = argparse.ArgumentParser(prog="oven")
    add_flags(parser, Oven)
    text = " ".join(parser.format_help().split())
    assert "--heat N 100 % of what it reaches (default 180.5)" in text
    assert "--name TEXT what it is called --shelves" in text
    assert "--fan, --no-fan whether the air moves (default False)" in text


@pytest.mark.parametrize("command", COMMANDS)
def test_no_flag_of_a_command_lacks_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        importlib.import_module(command).main(["--help"])
    options = re.split(r"^  (?=\S)", capsys.readouterr().out, flags=re.MULTILINE)[1:]
    assert len(options) > 1
    for option in options:
        # The help begins after two blanks, or on a line of its own.
        assert len(re.split(r" {2,}|\n", option.strip(), maxsplit=1)) == 2, option
