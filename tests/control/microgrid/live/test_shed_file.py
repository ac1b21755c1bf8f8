"""What a successor learns of loads that are held off: all of it, nothing that has come back, and nothing unsaid."""

import pytest

from gwanje.control.microgrid.live.shed_file import ShedFile
from gwanje.core.state_file import StateFile

HOMES = {"jincheon.homes": 7e4}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "shed.json"


def opened(path):
    return ShedFile(StateFile(path, 200))


def test_what_was_held_off_is_found_by_the_next_process(path):
    assert (opened(path).before, opened(path).unread) == ({}, "")
    assert opened(path).keep(HOMES) == ""
    assert opened(path).before == HOMES


def test_a_load_that_came_back_before_a_successor_began_is_not_named_any_more(path):
    opened(path).keep(HOMES)
    successor = opened(path)
    assert successor.keep({}) == "", "it was found closed: nothing is held off"
    assert opened(path).before == {}, "a person who opens it now is not undone"


@pytest.mark.parametrize("content", ["{", "[]", '{"jincheon.homes": "much"}', '{"jincheon.homes": NaN}',
                                     '{"jincheon.homes": true}'])  # fmt: skip
def test_what_cannot_be_read_is_said_and_set_aside(path, content):
    path.write_text(content, encoding="utf-8")
    shed = opened(path)
    assert shed.before == {}
    assert shed.unread
    assert shed.keep({}) == ""
    assert path.with_name("shed.json.damaged-1").read_text(encoding="utf-8") == content
    assert opened(path).unread == ""


def test_a_folder_that_takes_nothing_is_an_answer_and_tried_again(path, monkeypatch):
    shed = opened(path)
    with monkeypatch.context() as patch:

        def full(*_):
            raise OSError(28, "No space left on device")

        patch.setattr(shed._file, "save", full)
        assert "No space" in shed.keep(HOMES)
        assert "No space" in shed.keep(HOMES)
    assert shed.keep(HOMES) == ""
    assert opened(path).before == HOMES
