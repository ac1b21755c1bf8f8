"""Microphone nodes: one by one and in fleets, their tags, their addresses without passwords, and passwords."""

import os
from pathlib import Path

import pytest

from gwanje.core.site import camera_passwords
from gwanje.core.site.camera_passwords import CameraPasswordsError, Login
from gwanje.core.site.merged import Merged
from gwanje.core.site.nodes import Node, read_nodes, url_problem
from gwanje.core.site.tag_files import read_tags
from gwanje.core.site.toml_reader import Document

NODE = """
[[node]]
name = "mic{n}"
area = "jincheon"
label_ko = "골목"
label_en = "alley"
url = "rtsp://192.0.2.1/{n}"
x_m = 1
y_m = 2
"""
FLEET = """
[[fleet]]
n = [9, 12]
name = "mic{n:03}"
area = "jincheon"
label_ko = "골목 {n}"
label_en = "Alley {n}"
url = "rtsp://127.0.0.1:15554/mic{n:03}"
codec = ["L16", "PCMU", "AAC"]
x_m = -10
y_m = 5
columns = 2
dx_m = 100
dy_m = 50
simulated = true
background = ["a.flac", "b.flac"]
"""


def merged(folder: Path, **texts: str) -> Merged:
    documents = []
    for name, text in texts.items():
        path = folder / f"{name}.toml"
        path.write_text(text, encoding="utf-8")
        documents.append(Document.load(path, f"site/{'nodes/' if documents else ''}{name}.toml"))
    return Merged.of(documents)


def said(document: Merged) -> list[str]:
    return [str(one) for one in document.problems]


def test_nodes_of_several_files_are_one_list_that_knows_its_places(tmp_path):
    document = merged(tmp_path, nodes=NODE.format(n=1), cctv=FLEET, more=NODE.format(n=2))
    nodes, script = read_nodes(document)
    assert said(document) == []
    assert script == ()
    assert [one.name for one in nodes] == ["mic1", "mic2", "mic009", "mic010", "mic011", "mic012"]
    assert (nodes[0].codec, nodes[0].transport, nodes[0].source) == ("auto", "tcp", "nodes.toml")
    assert (nodes[1].source, nodes[1].path) == ("nodes/more.toml", ("node", 0))
    assert (nodes[2].source, nodes[2].path) == ("nodes/cctv.toml", ("fleet", 0))


def test_a_fleet_gives_arrays_in_turn_and_places_on_a_grid(tmp_path):
    nodes, _ = read_nodes(merged(tmp_path, cctv=FLEET))
    assert [one.codec for one in nodes] == ["L16", "PCMU", "AAC", "L16"]
    assert [one.params["background"] for one in nodes] == ["a.flac", "b.flac"] * 2
    assert [(one.x_m, one.y_m) for one in nodes] == [(-10, 5), (90, 5), (-10, 55), (90, 55)]
    assert nodes[1].label_ko == "골목 10"
    assert nodes[1].url == "rtsp://127.0.0.1:15554/mic010"


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (("n = [9, 12]", "n = [9]"), "fleet.n: must be [first, last]"),
        (("n = [9, 12]", "n = [12, 9]"), "fleet.n: must be [first, last]"),
        (("n = [9, 12]", "n = [1, 9000]"), "fleet.n: more than 4096 nodes"),
        (('name = "mic{n:03}"', 'name = "mic"'), "fleet.name: must hold {n}"),
        (('name = "mic{n:03}"', 'name = "mic{n:x"'), "fleet.name: cannot be expanded"),
        (('name = "mic{n:03}"', 'name = "Mic {n}"'), "fleet.name: of node 9: 'Mic 9' is not a word"),
        (('"AAC"', '"MP3"'), "fleet.codec: of node 11: 'MP3' is none of auto, L16"),
        (("x_m = -10", 'x_m = "west"'), "fleet.x_m: of node 9: must be a number"),
        (("/mic{n:03}", "/mic"), "fleet.url: 'rtsp://127.0.0.1:15554/mic' is the node 'mic009''s already"),
        (("rtsp://", "rtsp://user:secret@"), "fleet.url: of node 9: user and password do not belong"),
    ],
)
def test_a_wrong_fleet_is_named_once_with_its_key(tmp_path, change, expected):
    document = merged(tmp_path, nodes=NODE.format(n=1), cctv=FLEET.replace(*change))
    read_nodes(document)
    assert len(document.problems) == 1
    assert expected in said(document)[0]
    assert "nodes/cctv.toml" in said(document)[0]
    assert "secret" not in said(document)[0]


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("http://a/b", "must begin with rtsp://"),
        ("rtsp:///b", "names no host"),
        ("rtsp://a/b c", "holds blanks"),
        ("rtsp://a/b\r\nX: y", "holds blanks"),
        ("rtsp://a:99999/b", "is no address"),
        ("rtsp://[::1/b", "is no address"),
        ("rtsp://u@a/b", "do not belong"),
        ("rtsp://:pw@a/b", "do not belong"),
    ],
)
def test_addresses_that_cannot_be(url, words):
    assert words in url_problem(url)
    assert "pw" not in url_problem(url)
    assert url_problem("rtsp://[::1]:554/a/b?c=d") == ""


def test_two_nodes_of_one_name_and_unknown_keys_are_told(tmp_path):
    document = merged(tmp_path, nodes=NODE.format(n=1) + NODE.format(n=1) + 'background = "x"\ncolour = 1\n[[nod]]\n')
    read_nodes(document)
    words = "\n".join(said(document))
    for one in ("'mic1' is the node 'mic1''s already", "only simulated nodes"):
        assert one in words
    for key in ("colour", "nod"):
        assert f"{key}: unknown key" in words


def test_tags_for_nodes_are_made_for_every_node_that_fits(tmp_path):
    path = tmp_path / "t.toml"
    path.write_text(
        '[[tag]]\nname = "{node}.level_db"\nfor_nodes = "jincheon.*"\nunit = "dBFS"\nowner = "media"\n'
        'ko = "{ko} 크기"\nen = "{en}, level"\n', encoding="utf-8"
    )  # fmt: skip
    document = Document.load(path, "site/tags/t.toml")
    nodes = [Node(name, area, "골목", "alley", "", "L16", 0, 0, True, {})
             for name, area in (("mic1", "jincheon"), ("mic2", "eumseong"), ("mic3", "jincheon"))]  # fmt: skip
    tags = [one.tag for one in read_tags([document], nodes)]
    assert document.problems == []
    assert [one.name for one in tags] == ["jincheon.mic1.level_db", "jincheon.mic3.level_db"]
    assert (tags[0].description_ko, tags[0].description_en) == ("골목 크기", "alley, level")


def write(folder: Path, text: str, mode: int = 0o600) -> Path:
    path = folder / camera_passwords.FILE
    path.write_text(text, encoding="utf-8")
    path.chmod(mode)
    return folder


def test_passwords_are_read_and_shown_to_nobody(tmp_path):
    assert camera_passwords.load(tmp_path) == {}
    logins = camera_passwords.load(write(tmp_path, '[mic1]\nuser = "listener"\npassword = "s3cret"\n'))
    assert logins == {"mic1": Login("listener", "s3cret")}
    assert "s3cret" not in repr(logins)


@pytest.mark.parametrize(
    ("text", "mode", "words"),
    [
        ('[mic1]\nuser = "u"\npassword = "s3cret"\n', 0o640, "others may read it: chmod 600"),
        ("mic1 = s3cret", 0o600, "is not TOML"),
        ('mic1 = "s3cret"', 0o600, "mic1: must be a table"),
        ('[mic1]\nuser = "u"\npasword = "s3cret"\n', 0o600, "mic1: must be a table with user and password"),
        ('[mic1]\npassword = "s3cret"\n', 0o600, "mic1: user and password must be texts"),
        ('[mic1]\nuser = "u\\nv"\npassword = "s3cret"\n', 0o600, "mic1: user and password must be texts"),
        ("[mic1]\nuser = 3\n", 0o600, "mic1: user and password must be texts"),
        ("# " + "s3cret" * 200_000, 0o600, "larger than"),
    ],
)
def test_a_wrong_file_of_passwords_is_refused_without_repeating_one(tmp_path, text, mode, words):
    write(tmp_path, text, mode)
    with pytest.raises(CameraPasswordsError, match=words) as caught:
        camera_passwords.load(tmp_path)
    assert "s3cret" not in str(caught.value)
    assert words in camera_passwords.problems([], tmp_path)[0][1]


def test_a_link_in_place_of_the_file_is_not_followed(tmp_path):
    (tmp_path / "other").write_text("", encoding="utf-8")
    os.symlink(tmp_path / "other", tmp_path / camera_passwords.FILE)
    with pytest.raises(CameraPasswordsError, match="cannot be read"):
        camera_passwords.load(tmp_path)


def test_passwords_of_nodes_that_are_not_there_are_told(tmp_path):
    write(tmp_path, '[mic7]\nuser = "u"\n')
    assert "mic7: there is no such node" in camera_passwords.problems([], tmp_path)[0][1]


def test_a_node_says_what_its_array_is(tmp_path):
    square = NODE.replace("{n}", "1") + "mics = 4\nyaw_deg = 90\n"
    line = NODE.replace("{n}", "2") + "mic_xy_m = [[-0.05, 0], [0.05, 0.0]]\nheight_m = 6\n"
    document = merged(tmp_path, nodes=square + line + NODE.replace("{n}", "3"))
    (first, second, third), _ = read_nodes(document)
    assert said(document) == []
    assert (first.channels, second.channels, third.channels) == (4, 2, 1)
    assert first.mic_xy_m[0] == pytest.approx((0.0, 0.1))
    assert first.mic_xy_m[1] == pytest.approx((0.1, 0.0))
    assert first.yaw == pytest.approx(1.5708, abs=1e-4)
    assert (second.mic_xy_m, second.height_m) == (((-0.05, 0.0), (0.05, 0.0)), 6.0)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ("mics = 9", "out of range"),
        ("mics = 0", "out of range"),
        ("mic_radius_m = 0.1", "say how many with mics"),
        ("mic_xy_m = [[0, 0]]", "2 to 8 microphones"),
        ("mic_xy_m = [[0, 0], [0, 3]]", "within 1 m"),
        ("mic_xy_m = [[0, 0], [0, 0.001]]", "at one place"),
        ("mic_xy_m = [[0, 0], [0, true]]", "2 to 8 microphones"),
        ("mics = 4\nmic_xy_m = [[0, 0], [0, 0.1]]", "mic_xy_m has 2"),
        ("mics = 4\nyaw_deg = 400", "out of range"),
    ],
)
def test_an_array_that_cannot_be_is_told(tmp_path, more, words):
    document = merged(tmp_path, nodes=NODE.replace("{n}", "1") + more + "\n")
    read_nodes(document)
    assert any(words in one for one in said(document)), said(document)
