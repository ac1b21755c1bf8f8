"""What the listening city alarms on, in both of its languages, and the AudioSet evidence for it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class SoundClass:
    """One class of sound.

    Attributes:
        name: in code, on the bus and in the tags.
        text_ko: for operators.
        text_en: the same in English.
    """

    name: str
    text_ko: str
    text_en: str


CLASSES: Final = (
    SoundClass("gunshot", "총성", "Gunshot"),
    SoundClass("explosion", "폭발", "Explosion"),
    SoundClass("glass_break", "유리 파손", "Glass break"),
    SoundClass("scream", "비명", "Scream"),
    SoundClass("baby_cry", "아기 울음", "Baby cry"),
    SoundClass("siren_alarm", "사이렌", "Siren or alarm"),
    SoundClass("car_horn", "경적", "Car horn"),
    SoundClass("vehicle_crash", "차량 충돌", "Vehicle crash"),
)
CLASS_NAMES: Final = tuple(one.name for one in CLASSES)

EVIDENCE: Final[tuple[tuple[str, ...], ...]] = (
    ("Gunshot, gunfire",),
    ("Machine gun", "Fusillade", "Artillery fire"),
    ("Cap gun",),
    ("Fireworks", "Firecracker"),
    ("Explosion", "Boom", "Eruption"),
    ("Burst, pop",),
    ("Thunder", "Thunderstorm"),
    ("Shatter",),
    ("Glass",),
    ("Chink, clink",),
    ("Breaking",),
    ("Smash, crash",),
    ("Screaming",),
    ("Yell", "Shout", "Bellow", "Whoop"),
    ("Wail, moan", "Groan"),
    ("Speech", "Conversation"),
    ("Singing", "Chant"),
    ("Children shouting", "Child speech, kid speaking", "Children playing"),
    ("Baby cry, infant cry",),
    ("Crying, sobbing", "Whimper"),
    ("Siren", "Civil defense siren", "Ambulance (siren)", "Police car (siren)", "Fire engine, fire truck (siren)"),
    ("Emergency vehicle",),
    ("Alarm", "Smoke detector, smoke alarm", "Fire alarm", "Car alarm", "Buzzer"),
    ("Whistle", "Steam whistle", "Whistling"),
    ("Train", "Train whistle", "Train horn", "Rail transport"),
    ("Vehicle horn, car horn, honking",),
    ("Toot", "Air horn, truck horn", "Foghorn"),
    ("Skidding", "Tire squeal"),
    ("Crushing", "Crumpling, crinkling"),
    ("Animal", "Domestic animals, pets", "Dog", "Bark"),
    ("Bird", "Fowl", "Chicken, rooster", "Crow"),
    ("Door", "Slam", "Knock"),
    ("Thump, thud", "Bang", "Slap, smack", "Whack, thwack"),
    ("Tools", "Hammer", "Mechanisms", "Ratchet, pawl"),
    ("Vehicle", "Car", "Engine", "Truck"),
    ("Rain", "Water", "Raindrop", "Ocean", "Waves, surf"),
    ("Wind", "Rustling leaves"),
    ("Music", "Musical instrument"),
    ("Bell", "Church bell", "Bicycle bell", "Jingle bell"),
    ("Chainsaw", "Sawing", "Power tool"),
    ("Helicopter", "Aircraft", "Jet engine"),
    ("Fire", "Crackle"),
    ("Tick", "Tick-tock", "Clock"),
    ("Sneeze", "Cough", "Sniff"),
    ("Walk, footsteps", "Run"),
    ("Silence",),
    ("Breathing", "Gasp", "Pant", "Snort"),
    ("Clapping", "Applause", "Cheering", "Crowd"),
)
"""Groups of AudioSet classes whose strongest score is evidence for or against an alarm.

Fifty words generalise where a thousand activations learned from a handful of recordings do not: a class with two
sources is found through what the network already knows about it.
"""
