"""Sound at places: delays, levels and the streets of arrays are what physics says."""

import math

import numpy as np
import pytest

from gwanje.io.sim import soundfield, street
from gwanje.io.sim.soundfield import Place, Post, arrive, everywhere

RATE = 16_000
SQUARE = ((0.0, 0.1), (0.1, 0.0), (0.0, -0.1), (-0.1, 0.0))
C = soundfield.speed_m_s(15.0)


def click(n: int = 2_000) -> np.ndarray:
    """A band-limited impulse at sample 200."""
    at = np.arange(n) - 200
    return 10_000.0 * np.sinc(at * 0.8) * np.exp(-((at / 12.0) ** 2))


def test_delay_and_level_follow_the_distance():
    near, far = (arrive(click(), RATE, Post(0.0, 0.0, 1.2), Place(0.0, r), C) for r in (20.0, 40.0))
    peak = [one.first + int(np.abs(one.samples[0]).argmax()) - 200 for one in (near, far)]
    assert peak == [round(r / C * RATE) for r in (20.0, 40.0)]
    ratio = np.abs(near.samples[0]).max() / np.abs(far.samples[0]).max()
    assert ratio == pytest.approx(2.0, rel=0.1)  # the ground and the air have their say


@pytest.mark.parametrize("yaw_deg", [0.0, 30.0, 200.0])
def test_the_array_hears_the_plane_wave_of_its_bearing(yaw_deg):
    yaw, azimuth = math.radians(yaw_deg), math.radians(70.0)
    post = Post(5.0, -3.0, 1.2, SQUARE, yaw)
    place = Place(post.x_m + 60.0 * math.sin(yaw + azimuth), post.y_m + 60.0 * math.cos(yaw + azimuth))
    rows = arrive(click(), RATE, post, place, C).samples
    spectra = np.fft.rfft(rows, 8_192)
    omega = 2.0 * np.pi * np.arange(200, 1_500) / 8_192 * RATE
    for mic, (x, y) in enumerate(SQUARE[1:], 1):
        turned = np.unwrap(np.angle(spectra[mic, 200:1_500] / spectra[0, 200:1_500]))
        late_s = -np.polyfit(omega, turned, 1)[0]
        towards = np.array([math.sin(azimuth), math.cos(azimuth)])
        expected = -(np.array([x, y]) - np.array(SQUARE[0])) @ towards / C
        assert late_s == pytest.approx(expected, abs=8e-6)


def test_a_street_for_an_array_is_as_loud_and_comes_from_everywhere():
    rng = np.random.default_rng(3)
    loop = street.make_loop((rng.normal(0.0, 900.0, int(8.5 * RATE))).astype(np.int16), RATE, -45.0, 640)
    rows = everywhere(loop, SQUARE, RATE)
    assert rows.shape == (4, len(loop))
    assert [street.rms_db(row) for row in rows] == pytest.approx([-45.0] * 4, abs=0.5)
    spectra = np.fft.rfft(rows[:, :64_000].reshape(4, 125, 512) * np.hanning(512), axis=2)
    cross = (spectra[0] * spectra[2].conj()).mean(axis=0)
    coherence = np.abs(cross) ** 2 / ((np.abs(spectra[0]) ** 2).mean(axis=0) * (np.abs(spectra[2]) ** 2).mean(axis=0))
    assert coherence[4:10].mean() > 0.6, "the long waves are one sound"
    assert coherence[100:200].mean() < 0.3, "the short ones come from all sides"


def test_what_is_far_below_a_street_is_left_out_and_the_same_grid_serves_all_rates():
    from gwanje.core.clock import VirtualClock
    from gwanje.io.sim import rtsp
    from gwanje.io.sim.microphone_client import Microphone
    from gwanje.io.sim.microphone_server import MicrophoneServer

    rng = np.random.default_rng(4)
    noise = rng.normal(0.0, 900.0, int(8.5 * RATE)).astype(np.int16)
    loop = everywhere(street.make_loop(noise, RATE, -45.0, 640), SQUARE, RATE)
    slow = street.make_loop(noise[::2], 8_000, -45.0, 320)

    def node(name: str, x_m: float, codec: str, mics: tuple) -> Microphone:
        background = street.Background(loop if mics else slow, codec, 640 if mics else 320)
        media = rtsp.Media(name, codec, 40, channels=max(1, len(mics)))
        return Microphone(name, "127.0.0.1", 0, media, street.Street(background), post=Post(x_m, 0.0, 4.0, mics))

    nodes = [node("near", 10.0, "L16", SQUARE), node("slow", 30.0, "PCMU", ()), node("far", 9_000.0, "L16", SQUARE)]
    server = MicrophoneServer(nodes, VirtualClock())
    sound = {RATE: click().astype(np.int16), 8_000: click()[::2].astype(np.int16)}
    arrivals = server.arrivals(sound, Place(0.0, 0.0), 15.0, snr_db=25.0)
    assert sorted(arrivals) == ["near", "slow"]
    assert arrivals["near"].samples.shape[0] == 4
    begun_ns = server.begin(arrivals)
    assert begun_ns % 125_000 == server._groups[0].epoch_ns % 125_000
    for name, rate in (("near", RATE), ("slow", 8_000)):
        one, packet = server.microphones[name], 640 if rate == RATE else 320
        heard = np.concatenate([np.atleast_2d(one.street.samples(index)) for index in range(12)], axis=1)[0]
        quiet = np.concatenate([one.street._background.loop.reshape(-1, len(one.street._background.loop.T))[0]])
        peak = int(np.abs(heard.astype(int) - quiet[: 12 * packet]).argmax())
        at_ns = server._group[name].epoch_ns + peak * 1_000_000_000 // rate
        range_m = one.post.range_m(Place(0.0, 0.0))
        assert (at_ns - begun_ns) / 1e9 == pytest.approx(range_m / C + 200 / RATE, abs=3e-4)


def test_a_node_of_four_microphones_says_so_and_sends_them_in_turn():
    from gwanje.io.sim import rtsp
    from gwanje.io.sim.sound_codecs import encode

    media = rtsp.Media("mic01", "L16", 40, channels=4)
    assert "a=rtpmap:97 L16/16000/4\r\n" in media.description()
    rows = np.arange(8, dtype=np.int16).reshape(4, 2)
    assert np.frombuffer(encode(rows, "L16"), ">i2").tolist() == [0, 2, 4, 6, 1, 3, 5, 7]


@pytest.mark.parametrize("fault", street.ARRAY_FAULTS)
def test_faults_of_an_array_change_one_microphone_or_turn_it(fault):
    rng = np.random.default_rng(5)
    loop = rng.normal(0.0, 500.0, (4, 6_400)).astype(np.int16)
    one = street.Street(street.Background(loop, "L16", 640))
    whole = np.frombuffer(one.payload(0), ">i2").reshape(-1, 4).T
    np.testing.assert_array_equal(whole, loop[:, :640])
    one.fault = fault
    ill = np.frombuffer(one.payload(0), ">i2").reshape(-1, 4).T
    changed = [mic for mic in range(4) if not np.array_equal(ill[mic], whole[mic])]
    assert changed == {"mic_exchanged": [0, 1], "turned": [0, 1, 2, 3]}.get(fault, [1])
