"""``gwanje check`` names every mistake in the files of lamps, gateways, brokers and sensors."""

import pytest
from street_rig import PROFILES, broker_text, gateway_text, lamps_text, make_site, things_text

from gwanje.io.config_check import problems
from gwanje.io.field.mqtt.settings import broker_settings
from gwanje.io.field.street.settings import ParamError, Params, read_secret
from gwanje.io.field.talq.settings import gateway_settings

LAMP = things_text("mqtt_lamp", "node", 1, 2, "n", "mqtt_lamp", 'params = { road_class = "M4" }')
WHOLE = (
    gateway_text("gw1", "jincheon", 15510, 15511) + lamps_text(1, 3, "gw1", "jincheon") + broker_text(15520) + LAMP
    + things_text("air_quality", "air", 1, 2, "a", "air_quality")
)  # fmt: skip


def found(tmp_path, devices=WHOLE, profiles=None):
    return [f"{file}: {'.'.join(map(str, path))}: {reason}" for file, path, reason in problems(
        make_site(tmp_path, devices, profiles=profiles)
    )]  # fmt: skip


def test_the_small_street_is_well(tmp_path):
    assert found(tmp_path) == []


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('"secret-gw1"', "7", "params.token: 7 is no text"),
        ("door_port = 15511", 'door_port = 15511, colour = "red"', "params.colour: unknown key"),
        ("page = 7", "page = 0", "page: 0 is outside 1 … 2000"),
        ('road_class = "M4"', 'road_class = "X9"', "'X9' is none of M3, M4, M5, P3"),
        ('kind = "lamp"', 'kind = "candle"', "'candle' is none of lamp, lamp_gateway"),
        ("rated_w = 100", "rated_w = -1", "-1 is no number in 1 … 5000"),
        ("every_s = 0.4", 'every_s = "often"', "'often' is no number"),
        ("embedded_broker = true", "embedded_broker = 1", "1 is neither true nor false"),
        ("embedded_broker = true", "keepalive_s = 1", "keepalive_s: 1 is outside 5 … 600"),
        ('address = "a-{n}"', 'address = "a+{n}"', "cannot stand in a topic"),
        ('host = "127.0.0.1"\nport = 15520', 'host = "192.0.2.1"\nport = 15520', "listens on this machine only"),
    ],
)  # fmt: skip
def test_mistakes_in_devices_are_named(tmp_path, old, new, words):
    assert old in WHOLE
    told = found(tmp_path, WHOLE.replace(old, new))
    assert any(words in one for one in told), told


@pytest.mark.parametrize(
    ("profile", "old", "new", "words"),
    [
        ("streetlight", '"activePower"', '"activePowder"', "LampMonitorFunction has no 'activePowder'"),
        ("streetlight", '"LampMonitorFunction", attribute', '"Lamp", attribute', "'Lamp' is none of"),
        ("streetlight", ', part = "reason"', ', part = "colour"', "'colour' is none of value, level, reason"),
        ("streetlight", ', part = "reason"', "", "read its level"),
        ("streetlight", "scale = 1000\n", "", "is in KiloWattHours: a tag in Wh with scale = 1000"),
        ("streetlight", '"lampFailure", ', '"lampPower", ', "has no truth 'lampPower'"),
        ("streetlight", "hold_s = 28_800\nrevert_s = 600\n", "", "hold_s"),
        ("talq_gateway", '{ zone = "all" }', "{ }", "dims all of its lamps"),
        ("mqtt_lamp", 'field = "power_w"', 'field = "a..b"', "is no field"),
        ("mqtt_lamp", 'field = "power_w"', 'feld = "power_w"', "is missing"),
        ("mqtt_lamp", 'ack = "lamps/{address}/ack", ', "", "ack: is missing"),
        ("mqtt_lamp", 'online_topic = "lamps/{address}/online"', 'online_topic = "lamps/#"', "is no topic"),
        ("mqtt_lamp", ', readback = "commanded_pct"', "", "go together"),
        ("mqtt_broker", 'own = "dropped"', 'own = "weather"', "own = one of"),
    ],
)  # fmt: skip
def test_mistakes_in_profiles_are_named_with_their_file(tmp_path, profile, old, new, words):
    text = (PROFILES / f"{profile}.toml").read_text(encoding="utf-8")
    assert old in text
    try:
        told = found(tmp_path, profiles={profile: text.replace(old, new, 1)})
    except Exception as error:  # noqa: BLE001 - the reader of profiles may name it first
        told = [str(error)]
    assert any(words in one and f"profiles/{profile}.toml" in one for one in told), told


def device(tmp_path, text, name):
    return make_site(tmp_path, text).device(name)


@pytest.mark.parametrize(
    ("extra", "words"),
    [
        ("", "TLS only"), (", tls = true", "token_file"),
        (', tls = true, token_file = "t"', "beyond loopback name a token_file"),
    ],
)  # fmt: skip
def test_a_gateway_beyond_this_machine_needs_tls_and_a_secret_file(tmp_path, extra, words):
    text = gateway_text("gw1", "jincheon", 15510, 15511, extra).replace('host = "127.0.0.1"', 'host = "192.0.2.1"')
    if "token_file" not in extra:
        text = text.replace('token = "secret-gw1", ', "")
    with pytest.raises(ParamError, match=words):
        gateway_settings(device(tmp_path, text, "gw1"))


def test_a_door_beyond_this_machine_needs_a_certificate(tmp_path):
    text = gateway_text("gw1", "jincheon", 15510, 15511, ', door_host = "192.0.2.9"')
    with pytest.raises(ParamError, match="certificate"):
        gateway_settings(device(tmp_path, text, "gw1"))


@pytest.mark.parametrize(("extra", "words"), [("", "TLS only"), (", tls = true", "user and password_file")])
def test_a_broker_beyond_this_machine_needs_tls_and_an_account(tmp_path, extra, words):
    text = broker_text(15520, extra).replace('"127.0.0.1"', '"192.0.2.1"').replace("true", "false", 1)
    with pytest.raises(ParamError, match=words):
        broker_settings(device(tmp_path, text, "broker"))


def test_secrets_are_read_from_the_security_folder_alone(tmp_path):
    secret = tmp_path / "token"
    secret.write_text("abc\n", encoding="ascii")
    secret.chmod(0o644)
    with pytest.raises(ParamError, match="others may read"):
        read_secret(tmp_path, "token")
    secret.chmod(0o600)
    assert read_secret(tmp_path, "token") == "abc"
    for name in ("../token", "nothing"):
        with pytest.raises(ParamError):
            read_secret(tmp_path, name)
    secret.write_text("", encoding="ascii")
    with pytest.raises(ParamError, match="no secret"):
        read_secret(tmp_path, "token")


def test_params_know_their_types():
    params = Params({"a": 1.5, "b": "x", "c": True, "d": 2})
    assert (params.number("a", None, 0, 2), params.text("b"), params.flag("c", False)) == (1.5, "x", True)
    with pytest.raises(ParamError, match="no whole number"):
        params.whole("a", None, 0, 2)
    with pytest.raises(ParamError, match="d: unknown key"):
        params.finish()
    with pytest.raises(ParamError, match="is missing"):
        params.number("e", None, 0, 1)
