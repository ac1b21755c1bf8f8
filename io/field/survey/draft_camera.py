"""From an ONVIF camera that was found to a profile and a device of our own configuration. No I/O.

A drafted profile watches and commands nothing: how far a camera may turn, and what its loudspeaker may say, is for the
person who knows the place. Cameras of one model share a profile.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from gwanje.io.field.survey.draft import Draft, free_name, quoted, word
from gwanje.io.field.survey.onvif_probe import Camera

Point = tuple[str, str, float, float, int, str, str]
"""Quantity, unit, lowest, highest, decimals, Korean and English name."""
DRIVES: tuple[Point, ...] = (
    ("pan", "", -1, 1, 3, "수평 방향", "pan"),
    ("tilt", "", -1, 1, 3, "상하 방향", "tilt"),
    ("zoom", "", 0, 1, 3, "확대", "zoom"),
)
ALWAYS: tuple[Point, ...] = (
    ("profile", "", 0, 32, 0, "영상 프로파일", "media profile"),
    ("clock_skew_s", "s", -86_400, 86_400, 0, "시계 차이", "clock skew"),
)
STATES: Mapping[str, tuple[str, str, str]] = {
    "moving": ("구동 상태", "drives", '[["정지", "still"], ["회전 중", "moving"]]'),
    "motion": ("움직임 감지", "motion", '[["없음", "none"], ["감지", "seen"]]'),
    "tamper": ("카메라 훼손", "tampering", '[["정상", "none"], ["훼손", "tampered"]]'),
}
STALE_S = 60
"""Six slow scans: a camera that stands is asked every ten seconds."""


def draft_camera(camera: Camera, area: str, profiles: Mapping[str, str], devices: Collection[str]) -> Draft:
    """A profile and a device that uses it.

    Args:
        camera: that was found.
        area: of the site in which it shall stand.
        profiles: names that are taken → their texts, as far as they were drafted now; the same text is drafted once.
        devices: names that are taken.
    """
    title = " ".join(one for one in (camera.maker, camera.model) if one) or "ONVIF camera"
    text = _profile(title, camera)
    wanted = word(title)
    known = [name for name, content in profiles.items() if content == text]
    profile = known[0] if known else free_name(wanted, profiles)
    name = free_name(word(f"{camera.model or 'camera'} {camera.serial or camera.port}"), devices)
    left_out = () if camera.ptz else (_why_no_drives(camera),)
    return Draft(profile, name, text, _device(camera, profile, name, area, title), text.count("[[point]]"), left_out)


def _why_no_drives(camera: Camera) -> str:
    if camera.needs_login:
        return "pan, tilt and zoom: whether it has drives it says only to those who sign in"
    return "pan, tilt and zoom: it has no PTZ service"


def _profile(title: str, camera: Camera) -> str:
    numbers = (*DRIVES, *ALWAYS) if camera.ptz else ALWAYS
    states = [one for one in STATES if camera.ptz or one != "moving"]
    head = [
        f"# {title} as it was found.", "# User and password: camera-passwords.toml in the site's security folder.", "",
        "[profile]", 'driver = "onvif"', 'scan = "slow"', "timeout_s = 2.0", "",
    ]  # fmt: skip
    return "\n".join([*head, *(_number(*one) for one in numbers), *(_state(one) for one in states)])


def _number(quantity: str, unit: str, low: float, high: float, decimals: int, ko: str, en: str) -> str:
    lines = ["[[point]]", f'quantity = "{quantity}"', *([f'unit = "{unit}"'] if unit else []), f"decimals = {decimals}",
             f"low = {low:g}", f"high = {high:g}", f"stale_after_s = {STALE_S}", f'ko = "{ko}"', f'en = "{en}"',
             f'at = {{ value = "{quantity}" }}', ""]  # fmt: skip
    return "\n".join(lines)


def _state(quantity: str) -> str:
    ko, en, states = STATES[quantity]
    lines = ["[[point]]", f'quantity = "{quantity}"', 'kind = "state"', "decimals = 0", f"states = {states}", "low = 0",
             "high = 1", f"stale_after_s = {STALE_S}", f'ko = "{ko}"', f'en = "{en}"',
             f'at = {{ value = "{quantity}" }}', ""]  # fmt: skip
    return "\n".join(lines)


def _device(camera: Camera, profile: str, name: str, area: str, title: str) -> str:
    label = quoted(f"{title} {camera.serial}".strip())
    lines = [
        "[[device]]", f'profile = "{profile}"', f'name = "{name}"', f'area = "{area}"', f"label_ko = {label}",
        f"label_en = {label}", f'host = "{camera.host}"', f"port = {camera.port}", f"address = {quoted(camera.path)}",
        "",
    ]  # fmt: skip
    return "\n".join(lines)
