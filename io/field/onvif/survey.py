"""What of a camera can be used: its media profile, its drives and presets, its loudspeaker."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from gwanje.io.field.errors import LinkError
from gwanje.io.field.onvif import messages
from gwanje.io.field.onvif.link import OnvifLink
from gwanje.io.field.onvif.messages import Preset
from gwanje.io.field.onvif.plan import CameraPlan
from gwanje.io.field.onvif.ptz import numbered
from gwanje.io.field.onvif.soap import FaultError


@dataclass(slots=True)
class Seen:
    """What was found.

    Attributes:
        profile: token of the media profile in use; empty where there is none.
        number: its place among the camera's, from 1.
        ptz: whether the camera turns.
        presets: by number.
        mute: why no prompt can be said; empty where one may.
        issues: what the site expects and the camera does not have.
    """

    profile: str = ""
    number: int = 0
    ptz: bool = False
    presets: Mapping[int, Preset] = field(default_factory=dict)
    mute: str = ""
    issues: tuple[str, ...] = ()


async def survey(link: OnvifLink, plan: CameraPlan) -> Seen:
    """Ask a camera that has been identified.

    Raises:
        LinkError: it fell silent, or lacks the profile that the site names.
        FaultError: it refuses.
    """
    seen = Seen()
    profiles = []
    if link.media:
        body = messages.get_profiles(link.media)
        profiles = await link.ask(link.media, body, "GetProfiles", messages.parse_profiles)
    able = [one for one in profiles if one.token == plan.profile or (not plan.profile and one.ptz)]
    if plan.profile and not able:
        raise LinkError(f"the camera has no media profile {plan.profile!r}")
    chosen = next(iter(able or profiles), None)
    if chosen is not None:
        seen.profile, seen.number = chosen.token, profiles.index(chosen) + 1
        seen.ptz = chosen.ptz and "tptz" in link.services
    issues = []
    if not seen.ptz and any(one in plan.values for one in ("pan", "tilt", "zoom")):
        issues.append("the camera has no PTZ")
    seen.presets = await presets_of(link, plan, seen)
    if "prompt" in plan.readbacks and not await _speaks(link):
        seen.mute = "the camera has no loudspeaker"
        issues.append(seen.mute)
    seen.issues = tuple(issues)
    return seen


async def presets_of(link: OnvifLink, plan: CameraPlan, seen: Seen) -> Mapping[int, Preset]:
    """Presets by their number; none of a camera that does not turn.

    Raises:
        LinkError, FaultError: as :func:`survey`.
    """
    if not seen.ptz:
        return {}
    presets = await link.ask("tptz", messages.get_presets(seen.profile), "GetPresets", messages.parse_presets)
    return numbered(presets, plan.presets)


async def _speaks(link: OnvifLink) -> bool:
    """Whether it may have a loudspeaker: one that does not know the question is believed until it is spoken to."""
    if link.media != "trt":
        return True
    try:
        outputs = await link.ask("trt", messages.get_audio_outputs(), "GetAudioOutputs", messages.parse_audio_outputs)
        decoders = await link.ask(
            "trt", messages.get_decoders(), "GetAudioDecoderConfigurations", messages.parse_decoders
        )
    except FaultError as fault:
        if fault.unauthorized:
            raise
        return True
    return outputs > 0 and decoders > 0
