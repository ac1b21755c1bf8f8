"""What simulated nodes hear: recordings, loops, levels, µ-law, the script, and the licences of what is shipped."""

import csv
import hashlib
import wave
from pathlib import Path

import av
import numpy as np
import pytest

from gwanje.core.city.part import PartError
from gwanje.core.site.nodes import Node
from gwanje.io.sim import microphones, street
from gwanje.io.sim.sound_codecs import AAC_FRAME, Encoder, aac_config, alaw, encode_loop, mulaw
from gwanje.io.sim.street import Background, Script, SoundError, Street, decode, parse_script

RATE = 16_000


def noise(seconds: float, level: float = 1_000.0, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).normal(0.0, level, int(seconds * RATE)).astype(np.int16)


def write_wav(path: Path, samples: np.ndarray, rate: int = RATE, channels: int = 1) -> Path:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(samples.astype("<i2").tobytes())
    return path


def test_a_wav_at_the_right_rate_comes_through_bit_for_bit(tmp_path):
    samples = noise(1.0)
    decoded, cut = decode(write_wav(tmp_path / "a.wav", samples), RATE)
    np.testing.assert_array_equal(decoded, samples)
    assert not cut


def test_stereo_at_another_rate_becomes_mono_at_ours(tmp_path):
    time_s = np.arange(44_100) / 44_100
    tone = (8_000 * np.sin(2 * np.pi * 440 * time_s)).astype(np.int16)
    decoded, _ = decode(write_wav(tmp_path / "a.wav", np.repeat(tone, 2), 44_100, 2), RATE)
    assert len(decoded) == RATE
    expected = 8_000 * np.sin(2 * np.pi * 440 * np.arange(RATE) / RATE)
    assert np.corrcoef(decoded[1_000:-1_000], expected[1_000:-1_000])[0, 1] > 0.999


def test_long_recordings_are_cut(tmp_path):
    decoded, cut = decode(write_wav(tmp_path / "a.wav", noise(3.0)), RATE, max_s=2.0)
    assert (len(decoded), cut) == (2 * RATE, True)


@pytest.mark.parametrize("content", [b"", b"RIFF", b"not sound at all" * 100, b"\0" * 5_000])
def test_files_that_are_no_sound_say_so_in_one_line(tmp_path, content):
    path = tmp_path / "a.wav"
    path.write_bytes(content)
    with pytest.raises(SoundError) as caught:
        decode(path, RATE)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_and_a_folder_say_so(tmp_path):
    for path in (tmp_path / "none.wav", tmp_path):
        with pytest.raises(SoundError, match="no such file"):
            decode(path, RATE)


def test_an_empty_wav_holds_no_sound(tmp_path):
    with pytest.raises(SoundError, match="holds no sound"):
        decode(write_wav(tmp_path / "a.wav", np.zeros(0, np.int16)), RATE)


def test_a_loop_has_the_asked_level_and_no_seam():
    time_s = np.arange(10 * RATE) / RATE
    hum = (3_000 * np.sin(2 * np.pi * 101.3 * time_s)).astype(np.int16)  # its two ends do not fit
    loop = street.make_loop(hum, RATE, -40.0, 640)
    assert len(loop) % 640 == 0
    assert street.rms_db(loop) == pytest.approx(-40.0, abs=0.3)
    steps = np.abs(np.diff(np.concatenate([loop, loop]).astype(int)))
    assert steps.max() <= 1.5 * np.abs(np.diff(loop[RATE : 8 * RATE].astype(int))).max() + 1


@pytest.mark.parametrize(("samples", "words"), [(noise(0.8), "too short"), (np.zeros(5 * RATE, np.int16), "silent")])
def test_recordings_that_cannot_be_a_background_are_refused(samples, words):
    with pytest.raises(SoundError, match=words):
        street.make_loop(samples, RATE, -40.0, 640)


@pytest.mark.parametrize(("name", "code", "step"), [("pcm_mulaw", mulaw, 8), ("pcm_alaw", alaw, 16)])
def test_g711_agrees_with_ffmpegs_decoder_for_every_sample(name, code, step):
    samples = np.arange(-32_768, 32_768).astype(np.int16)
    codec = av.CodecContext.create(name, "r")
    codec.sample_rate, codec.layout = 8_000, "mono"
    frames = codec.decode(av.Packet(code(samples)))
    decoded = np.concatenate([frame.to_ndarray().reshape(-1) for frame in frames]).astype(int)
    error = np.abs(decoded - samples)
    allowed = np.maximum(step, np.abs(samples.astype(int)) // 30 + step)
    inside = np.abs(samples.astype(int)) <= 32_635
    assert (error <= allowed)[inside].all()
    assert (np.diff(decoded) >= 0).all()
    assert abs(decoded[32_768]) <= step


def decoded_by_ffmpeg(payloads: list[bytes], codec: str) -> np.ndarray:
    context = av.CodecContext.create("aac" if codec == "AAC" else "libopus", "r")
    if codec == "AAC":
        context.extradata = bytes.fromhex(aac_config())
        payloads = [one[4:] for one in payloads]
    else:
        context.sample_rate, context.layout = 48_000, "mono"
    resampler = av.AudioResampler(format="s16", layout="mono", rate=RATE)
    blocks = []
    for payload in payloads:
        for frame in context.decode(av.Packet(payload)):
            frame.pts = None
            blocks += [one.to_ndarray().reshape(-1) for one in resampler.resample(frame)]
    return np.concatenate(blocks)


@pytest.mark.parametrize(("codec", "packet"), [("AAC", AAC_FRAME), ("OPUS", 640)])
def test_a_coded_loop_has_no_seam_and_sounds_as_it_was(codec, packet):
    time_s = np.arange(32 * packet) / RATE
    tone = (8_000 * np.sin(2 * np.pi * (10 * RATE / packet) * time_s)).astype(np.int16)  # whole periods in a packet
    payloads = encode_loop(tone, codec, packet)
    assert len(payloads) == 32
    heard = decoded_by_ffmpeg(payloads * 2, codec)[8 * packet : 60 * packet].astype(float)
    assert heard.std() == pytest.approx(8_000 / 2**0.5, rel=0.1)
    spectrum = np.abs(np.fft.rfft(heard * np.hanning(len(heard))))
    assert spectrum.max() ** 2 / np.sum(spectrum**2) > 0.3
    assert np.abs(np.diff(heard)).max() < 1.6 * 8_000 * 2 * np.pi * 10 / packet


@pytest.mark.parametrize(("codec", "packet"), [("AAC", AAC_FRAME), ("OPUS", 640)])
def test_a_coded_street_codes_anew_while_something_happens(codec, packet):
    scene = Street(Background(street.make_loop(noise(4.0, 100.0), RATE, -50.0, packet), codec, packet))
    ready = scene.payload(3)
    assert ready is scene.payload(3), "idle nodes cost a look into a list"
    bang = (10_000 * np.sin(2 * np.pi * 900 * np.arange(8 * packet) / RATE)).astype(np.int16)
    scene.add(bang, 10 * packet)
    heard = decoded_by_ffmpeg([scene.payload(index) for index in range(40)], codec).astype(float)
    assert np.abs(heard[: 9 * packet]).max() < 2_000
    assert np.abs(heard).max() > 7_000
    assert np.abs(heard[22 * packet :]).max() < 2_000
    assert scene.payload(40 + scene.n_packets) is scene.payload(40)


def test_silence_is_digital_zero_in_every_codec():
    for codec, packet in (("L16", 640), ("PCMU", 320), ("AAC", AAC_FRAME), ("OPUS", 640)):
        rate = 8_000 if codec == "PCMU" else RATE
        scene = Street(Background(street.make_loop(noise(4.0), rate, -40.0, packet), codec, packet))
        scene.fault = "silence"
        if codec in ("AAC", "OPUS"):
            heard = decoded_by_ffmpeg([scene.payload(index) for index in range(10)], codec)[4 * packet :]
            assert heard.max() - heard.min() <= 2, codec
        else:
            assert len(set(scene.payload(0))) == 1


def test_an_encoder_gives_nothing_at_first_and_then_a_payload_each():
    encoder = Encoder("AAC", AAC_FRAME)
    counts = [len(encoder.encode(np.zeros(AAC_FRAME, np.int16))) for _ in range(5)]
    assert counts == [0, 1, 1, 1, 1]


def test_a_quiet_street_is_its_loop_and_a_happening_is_added_where_it_was_asked():
    loop = street.make_loop(noise(4.0), RATE, -40.0, 640)
    scene = Street(Background(loop, "L16", 640), offset=3)
    turned = np.roll(loop, -3 * 640)
    quiet = np.frombuffer(b"".join(scene.payload(index) for index in range(len(loop) // 640 + 2)), ">i2")
    np.testing.assert_array_equal(quiet, np.concatenate([turned, turned[: 2 * 640]]))
    bang = np.full(1_500, 4_000, np.int16)
    scene.add(bang, 10 * 640 + 100)
    heard = np.concatenate([np.frombuffer(scene.payload(index), ">i2") for index in range(8, 16)]).astype(int)
    expected = turned[8 * 640 : 16 * 640].astype(int)
    expected[2 * 640 + 100 : 2 * 640 + 1_600] += 4_000
    np.testing.assert_array_equal(heard, expected)
    assert scene._happenings == []


def test_loud_happenings_saturate_instead_of_wrapping():
    scene = Street(Background(street.make_loop(noise(4.0), RATE, -20.0, 640), "L16", 640))
    for _ in range(3):
        scene.add(np.full(640, 20_000, np.int16), 0)
    assert (scene.samples(0) == 32_767).all()


def test_a_node_takes_only_so_many_happenings_and_forgets_what_nobody_heard():
    scene = Street(Background(street.make_loop(noise(4.0), RATE, -40.0, 640), "L16", 640))
    for _ in range(Street.MAX_HAPPENINGS):
        scene.add(np.ones(640, np.int16), 0)
    with pytest.raises(SoundError, match="too many sounds"):
        scene.add(np.ones(640, np.int16), 0)
    scene.pass_over(0)
    scene.add(np.ones(640, np.int16), 640)


def test_levels_are_of_the_loud_part_and_never_clip():
    burst = np.zeros(RATE, np.int16)
    burst[: RATE // 5] = noise(0.2, 1_000.0)
    level = street.active_level_db(burst, RATE)
    assert level == pytest.approx(street.rms_db(burst[: RATE // 5]) - 3.0, abs=0.2)  # 20 % loud of the 40 % looked at
    raised = street.at_level(burst, 6.0)
    assert street.active_level_db(raised, RATE) == pytest.approx(level + 6.0, abs=0.05)
    assert np.abs(street.at_level(burst, 80.0).astype(int)).max() <= street.PEAK_LIMIT
    assert street.active_level_db(np.full(10, 100, np.int16), RATE) == pytest.approx(-50.3, abs=0.1)


SCRIPT = {"at_s": 1.0, "node": "mic01", "sounds": "glass_break/*"}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"sond": "x"}, "unknown key 'sond'"),
        ({"node": "mic99"}, "unknown node 'mic99'"),
        ({"node": ["mic01"]}, "node must be text"),
        ({"sounds": {"dog": 1}}, "sounds must be text"),
        ({"sounds": "", "fault": True, "for_s": 3.0}, "fault must be text"),
        ({"at_s": -1.0}, "at_s must be a number 0 to 86400"),
        ({"at_s": "1"}, "at_s must be a number"),
        ({"count": 1.5}, "count must be a whole number"),
        ({"count": True}, "count must be a whole number"),
        ({"sounds": "nothing/*"}, "no recording matches 'nothing/\\*'"),
        ({"sounds": ""}, "either sounds or fault"),
        ({"fault": "dead", "for_s": 3.0}, "either sounds or fault"),
        ({"sounds": "", "fault": "broken", "for_s": 3.0}, "fault must be one of"),
        ({"sounds": "", "fault": "dead"}, "with for_s"),
    ],
)
def test_a_wrong_script_is_refused_with_its_place(change, words):
    with pytest.raises(SoundError, match=words) as caught:
        parse_script([SCRIPT, {**SCRIPT, **change}], ["mic01"])
    assert str(caught.value).startswith("nodes.toml: script 2: ")
    with pytest.raises(SoundError, match="at_s is missing"):
        parse_script([{"node": "mic01", "sounds": "dog/*"}], ["mic01"])


def test_the_script_comes_in_order_repeats_and_is_drawn_by_the_seed():
    entries = parse_script(
        [
            {"at_s": 5.0, "node": "mic02", "sounds": "footstep/*", "count": 6, "repeat_s": 10.0},
            {"at_s": 2.0, "node": "mic01", "sounds": "dog/*"},
            {"at_s": 7.0, "node": "mic01", "fault": "frozen", "for_s": 3.0},
        ],
        ["mic01", "mic02"],
    )
    script = Script(entries, seed=4)
    assert script.next_s == 2.0
    assert script.due(1.9) == []
    cues = script.due(26.0)
    assert [cue.at_s for cue in cues] == [2.0, 5.0, 7.0, 15.0, 25.0]
    assert [len(cue.files) for cue in cues] == [1, 6, 0, 6, 6]
    assert cues[1].files != cues[3].files
    assert Script(entries, seed=4).due(26.0) == cues
    assert Script(entries, seed=5).due(26.0) != cues


def node(**changes) -> Node:
    params = {"background": "clear_winter.flac", "background_level_db": -45, **changes.pop("params", {})}
    fields = {
        "name": "mic01", "area": "jincheon", "label_ko": "", "label_en": "", "url": "rtsp://127.0.0.1:15554/mic01",
        "codec": "L16", "x_m": 0.0, "y_m": 0.0, "simulated": True, **changes,
    }  # fmt: skip
    return Node(**fields, params=params)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"params": {"bakground": "x"}}, "bakground: unknown key"),
        ({"params": {"background": ""}}, "background: a simulated node needs one"),
        ({"params": {"background": "nothing.flac"}}, "background: no recording 'nothing.flac'"),
        ({"params": {"background_level_db": 5}}, "background_level_db: must be a number -90 to -10"),
        ({"params": {"packet_ms": 30}}, "packet_ms: must be 20 or 40"),
        ({"params": {"fault": "tired"}}, "fault: must be one of"),
        ({"codec": "G726"}, "codec: a simulated node speaks one of L16 PCMU"),
        ({"transport": "udp"}, "transport: a simulated node speaks tcp only"),
        ({"url": "rtsp://192.0.2.1/mic01"}, "loopback only"),
        ({"url": "rtsp://127.0.0.1:99999/mic01"}, "is no address"),
        ({"url": "rtsp://127.0.0.1:15554/other"}, "ends with /mic01"),
    ],
)
def test_a_wrong_node_is_refused_with_its_key(changes, words):
    with pytest.raises(PartError, match=words) as caught:
        microphones.build([node(**changes)], seed=1)
    assert str(caught.value).startswith("nodes.toml: node 'mic01'")


def test_nodes_with_one_recording_begin_at_different_places():
    first, second = microphones.build([node(), node(name="mic02", url="rtsp://127.0.0.1:15554/mic02")], seed=1)
    assert first.street.samples(0).tolist() != second.street.samples(0).tolist()
    again = microphones.build([node()], seed=1)[0]
    np.testing.assert_array_equal(again.street.samples(5), first.street.samples(5))
    assert first.street.background_db == pytest.approx(-45.0, abs=0.5)


def manifest() -> list[dict[str, str]]:
    with open(street.SOUNDS_DIR / "manifest.csv", encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_every_shipped_recording_has_its_licence_author_and_hash():
    rows = manifest()
    listed = {row["path"] for row in rows}
    found = {path.relative_to(street.SOUNDS_DIR).as_posix() for path in street.matching("*")}
    assert listed == found
    for row in rows:
        content = (street.SOUNDS_DIR / row["path"]).read_bytes()
        assert hashlib.sha256(content).hexdigest() == row["sha256"], row["path"]
        assert row["licence"] in ("CC0-1.0", "Public-Domain", "CC-BY", "CC-BY-3.0", "CC-BY-4.0"), row["path"]
        assert "SA" not in row["licence_as_stated"]
        assert "NC" not in row["licence_as_stated"]
        assert row["author"]
        assert row["source_url"].startswith("http")
        assert row["origin"]
        assert bool(row["changes"]) == (row["sha256"] != row["original_sha256"])
    assert sum((street.SOUNDS_DIR / path).stat().st_size for path in listed) <= 8_000_000


@pytest.mark.parametrize("row", manifest(), ids=lambda row: row["path"])
def test_every_shipped_recording_can_be_played(row):
    samples, _ = decode(street.SOUNDS_DIR / row["path"], RATE)
    assert len(samples) / RATE == pytest.approx(float(row["duration_s"]), abs=0.1)
    assert street.active_level_db(samples, RATE) > -60.0
