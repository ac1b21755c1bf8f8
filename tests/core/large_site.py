"""A site of the plan's size, made up: 3 400 devices with profiles, 25 000 tags, alarms and topology over all."""

from pathlib import Path

SITE = """\
[site]
id = "large"
name_ko = "큰 시험"
name_en = "Large"
connection_rating_w = 1_000_000
"""
POINT = """\
[[point]]
quantity = "{quantity}"
unit = "{unit}"
low = 0
high = 100000
stale_after_s = 60
ko = "{ko}"
en = "{en}"
at = {{ attribute = "{quantity}" }}
"""
COMMAND = """\
[[command]]
quantity = "dim_setpoint_pct"
unit = "%"
low = 0
high = 100
failsafe = 80
hold_s = 3600
revert_s = 600
ko = "조광 설정"
en = "dimming set-point"
at = { attribute = "override" }
"""
GATEWAY = """\
[[device]]
name = "{name}"
area = "jincheon"
label_ko = "게이트웨이 {name}"
label_en = "Gateway {name}"
driver = "{driver}"
host = "127.0.0.1"
port = {port}
params = {{ hub = true }}
[device.twin]
kind = "hub"
"""
FLEET = """\
[[fleet]]
profile = "{profile}"
n = [1, {n}]
name = "{name}{{n:04}}"
area = "jincheon"
label_ko = "{ko} {{n}}"
label_en = "{en} {{n}}"
via = "{via}"
address = "{name}-{{n}}"
x_m = -1500.0
y_m = -1200.0
columns = 50
dx_m = 35.0
dy_m = 70.0
[fleet.twin]
kind = "{name}"
"""
ALARM = """\
[[alarm]]
id = "{id}"
tag = "{tag}"
condition = "{condition}"
{limit}priority = 3
respond_within_s = 3600
text_ko = "{{ko}} 이상"
text_en = "{{en}} is wrong"
cause_ko = "원인 {{place}}"
cause_en = "cause {{place}}"
consequence_ko = "결과"
consequence_en = "consequence"
response_ko = "조치"
response_en = "response"
suppress_when = "{{device}}.online < 0.5"
"""
TOPOLOGY = """\
[[node]]
id = "low_voltage"
kind = "connection"
ko = "저압"
en = "low voltage"

[[node]]
kind = "load"
each = "jincheon.lamp*"
parent = "low_voltage"

[[node]]
kind = "load"
each = "jincheon.charger*"
parent = "low_voltage"
"""
QUANTITIES = (
    ("dim_pct", "%", "조광률", "dimming level"),
    ("active_w", "W", "전력", "power"),
    ("energy_wh", "Wh", "전력량", "energy"),
    ("fault", "", "고장", "fault"),
    ("supply_v", "V", "전압", "voltage"),
    ("burning_s", "s", "점등 시간", "burning time"),
)


def large_site(root: Path, n_lamps: int = 3_000, n_chargers: int = 400) -> Path:
    """Write the site; its folder."""
    for folder in ("profiles", "devices"):
        (root / folder).mkdir(parents=True)
    (root / "site.toml").write_text(SITE, encoding="utf-8")
    points = "".join(POINT.format(quantity=a, unit=b, ko=c, en=d) for a, b, c, d in QUANTITIES)
    for name, driver, more in (("streetlight", "talq", COMMAND), ("charger", "ocpp", "")):
        head = f'[profile]\ndriver = "{driver}"\nscan = "slow"\nhealth = "online"\n'
        (root / "profiles" / f"{name}.toml").write_text(head + points + more, encoding="utf-8")
    lamps = FLEET.format(profile="streetlight", n=n_lamps, name="lamp", ko="가로등", en="Streetlight", via="gateway")
    chargers = FLEET.format(profile="charger", n=n_chargers, name="charger", ko="충전기", en="Charger", via="csms")
    devices = GATEWAY.format(name="gateway", driver="talq", port=15510)
    (root / "devices" / "street.toml").write_text(devices + lamps, encoding="utf-8")
    devices = GATEWAY.format(name="csms", driver="ocpp", port=15500)
    (root / "devices" / "charging.toml").write_text(devices + chargers, encoding="utf-8")
    alarms = ALARM.format(id="lamp_fault", tag="jincheon.lamp*.fault", condition="above", limit="limit = 0.5\n")
    alarms = alarms.replace('suppress_when = "{device}.online < 0.5"\n', "")
    alarms += alarms.replace("lamp", "charger")
    (root / "alarms.toml").write_text(alarms, encoding="utf-8")
    (root / "topology.toml").write_text(TOPOLOGY, encoding="utf-8")
    return root
