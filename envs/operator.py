"""The person at the cell: what is in their hands, when the arm is theirs, and what they say.

An `Operator` is the `intervention=` of an env: it is asked once per step which arms the person
moves. Whoever runs the loop asks it for `words()`: success, failure, rerecord, pause, stop, ready,
and 'stage 1' to 'stage 9'.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Literal

from envs.devices.base import WORDS, Device, DeviceConfig, Hand, Reading, Twist, parse_devices
from serl.errors import UserError, unknown_name

Mode = Literal["touch", "hold", "toggle", "always"]

MODES: Mapping[Mode, str] = {
    "touch": "the arm is yours at any input, and until intervention_hold_s after the last",
    "hold": "the arm is yours while you press the key whose word is 'hold'",
    "toggle": "the key whose word is 'take' makes the arm yours, and gives it back",
    "always": "the arm is yours; nobody else moves it",
}

LOST_S = 0.5
"""When the device of whoever has the arm is lost, the arm holds this long before it is handed
back [s]."""

SPOKEN = (*WORDS, *(f"stage {n}" for n in range(1, 10)))
HEARD = tuple(word for word in SPOKEN if word not in ("hold", "take", "arm"))
"""What `words()` may return; the others the operator heeds itself."""


@dataclass(frozen=True, kw_only=True)
class OperatorConfig:
    """Which devices, and how they are meant."""

    devices: Mapping[str, DeviceConfig]
    """One for every arm under '' (it moves one arm at a time), or one per arm by its name."""
    listens: tuple[DeviceConfig, ...] = ()
    """Further devices whose keys are words and move nothing: a keyboard beside a SpaceMouse, a
    pedal that types a key."""
    mode: Mode = "touch"
    yaw_deg: float = 0.0
    """Where the person stands: the direction they look in, about the world's z. 0: behind the base,
    along it; 180: across the table, facing the arm, as SERL's do."""
    keys: tuple[tuple[str, str], ...] = ()
    """(word, key): other keys for words."""

    def make(self, arms: Sequence[str] = ("",)) -> Operator:
        """The operator of a cell with these arms; devices are not yet open."""
        return Operator(self, arms)


def parse_keys(text: str) -> tuple[tuple[str, str], ...]:
    """'success=s,failure=f' as pairs. Raises UserError for a word that nobody knows.

    >>> parse_keys("success=s,stage 1=f1")
    (('success', 's'), ('stage 1', 'f1'))
    """
    pairs = []
    for part in filter(None, text.split(",")):
        word, equals, key = (piece.strip().lower() for piece in part.partition("="))
        if not equals or not key:
            raise UserError(f"keys {part!r} is not WORD=KEY, as success=s,failure=f.")
        if word not in SPOKEN:
            raise unknown_name("word", word, SPOKEN)
        pairs.append((word, key))
    return tuple(pairs)


class Operator:
    """One person, or one per arm. Use with `with`: devices are open inside."""

    def __init__(self, config: OperatorConfig, arms: Sequence[str] = ("",)) -> None:
        self.config = config
        self.arms = tuple(arms)
        self._devices = _by_arm(config.devices, self.arms)
        """Each moving device, with the arms that are its own."""
        self._listeners = [listener.make() for listener in config.listens]
        configs = [config.devices[key] for key in config.devices] + list(config.listens)
        self._bindings = _bindings(configs, config.keys)
        self._yaw_rad = {arm: math.radians(config.yaw_deg) for arm in self.arms}
        self._active = 0
        """Of the arms of a device that has several, the one it moves."""
        self._taken = False
        self._had = False
        """The last step was the person's."""
        self._lost_until_s = 0.0
        self.paused = False
        """The arm stays where it is, whatever the hand does; words are still heard."""
        self._words: list[str] = []
        self.readings: dict[str, Reading] = {}
        """The newest reading of each device, by its name, for whoever shows them."""
        for device, words in zip(self.all_devices, self._bindings, strict=True):
            device.reserved = frozenset(words)
        self._refuse_missing_word()

    @property
    def all_devices(self) -> list[Device]:
        """Those that move an arm, then those that only listen."""
        return [device for device, _ in self._devices] + self._listeners

    @property
    def hold_s(self) -> float | None:
        """For `Intervention`: how long the person keeps the arm after the last input; None is the
        env's own. Only touch needs it: in the others the person says when."""
        return None if self.config.mode == "touch" else 0.0

    @property
    def active_arm(self) -> str:
        """The arm that a device for all arms moves now."""
        return self.arms[self._active % len(self.arms)]

    def __enter__(self) -> Operator:
        try:
            for device in self.all_devices:
                device.open()
            self._refuse_blind_hold()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let every device go."""
        for device in self.all_devices:
            device.close()

    def attach(self, env: Any) -> None:
        """From `Intervention`: the env this is the operator of."""
        for arm in env.unwrapped.config.arms:
            self._yaw_rad[arm.name] = math.radians(self.config.yaw_deg) - arm.base_yaw_rad
        for device in self.all_devices:
            getattr(device, "attach", lambda env: None)(env)

    def begin(self) -> None:
        """From `Intervention`: a new episode; nobody has the arm yet."""
        self._taken = self._had = False
        self._lost_until_s = 0.0
        for device in self.all_devices:
            getattr(device, "begin", lambda: None)()

    def __call__(self) -> Mapping[str, Hand] | None:
        """A Hand for each arm the person moves now; None when the arm is not theirs."""
        readings = self._read()
        if self.paused:
            return {}
        if self._had and not all(reading.live for reading in readings):
            self._taken = self._had = False
            self._lost_until_s = time.monotonic() + LOST_S
        hands = self._hands(readings)
        if hands is None and time.monotonic() < self._lost_until_s:
            return {}
        self._had = hands is not None
        return hands

    def words(self) -> list[str]:
        """What was said up to the last step, or `listen`, and not yet told; in order."""
        said, self._words = self._words, []
        return said

    def listen(self) -> bool:
        """Where nobody steps: hear what is said now. Returns whether a hand asks for a move, which
        is not made."""
        readings = self._read()
        scripts = any(hasattr(device, "hands") for device, _ in self._devices)
        return scripts or any(reading.moves for reading in readings)

    def trouble(self) -> str:
        """What is wrong with a device, as far as is known; "" when nothing is."""
        return " ".join(r.trouble for r in self.readings.values() if r.trouble)

    def key_of(self, word: str) -> str:
        """The keys that say a word, for a prompt: 'enter', or 'y or enter'."""
        found = [key for words in self._bindings for key, said in words.items() if said == word]
        return " or ".join(dict.fromkeys(found))

    def words_of(self, device: Device) -> Mapping[str, str]:
        """The word of each key of one of `all_devices`."""
        return dict(self._bindings[self.all_devices.index(device)])

    def moves_with(self, device: Device) -> bool:
        """Whether it moves an arm, or its keys are words alone."""
        return any(device is mover for mover, _ in self._devices)

    @property
    def drives(self) -> bool:
        """The last step was the person's."""
        return self._had

    def _read(self) -> list[Reading]:
        """Read every device once and hear its words; the readings of those that move an arm."""
        for device, bound in zip(self.all_devices, self._bindings, strict=True):
            reading = self.readings[device.name] = device.read()
            for key in reading.pressed:
                self._hear(bound.get(key))
        return [self.readings[device.name] for device, _ in self._devices]

    def _hear(self, word: str | None) -> None:
        if word == "arm":
            self._active += 1
        elif word == "take":
            self._taken = not self._taken
        elif word in HEARD:
            self._words.append(word)

    def _hands(self, readings: Sequence[Reading]) -> dict[str, Hand] | None:
        """What the hands ask for, if the mode lets them."""
        hands: dict[str, Hand] = {}
        scripted = False
        for (device, arms), reading in zip(self._devices, readings, strict=True):
            own = getattr(device, "hands", lambda: None)()
            if own is not None:
                hands, scripted = {**hands, **own}, True
            if reading.moves:
                arm = arms[0] if len(arms) == 1 else self.active_arm
                hands[arm] = self._hand(arm, reading)
        match self.config.mode:
            case "always":
                return hands
            case "toggle":
                return hands if self._taken else None
            case "hold":
                return hands if self._holds() else None
        return hands if hands or scripted else None

    def _holds(self) -> bool:
        return any(
            bound.get(key) == "hold"
            for device, bound in zip(self.all_devices, self._bindings, strict=True)
            for key in self.readings[device.name].held
        )

    def _hand(self, arm: str, reading: Reading) -> Hand:
        """From the operator's axes to those of the arm's base."""
        twist = turned(reading.twist, self._yaw_rad.get(arm, 0.0))
        return Hand(twist, reading.gripper, reading.stamp_mono_ns)

    def _refuse_missing_word(self) -> None:
        """A mode whose word no key says could never be used."""
        needs = {"hold": "hold", "toggle": "take"}.get(self.config.mode)
        if needs and not any(needs in words.values() for words in self._bindings):
            raise UserError(
                f"mode {self.config.mode!r}: no key of {self.all_devices[0].name} says {needs!r}; "
                f"bind one, as --keys {needs}=KEY, or take another mode."
            )

    def _refuse_blind_hold(self) -> None:
        """A key whose release is not told cannot be held."""
        if self.config.mode != "hold":
            return
        holds = [
            getattr(device, "tells_releases", True)
            for device, bound in zip(self.all_devices, self._bindings, strict=True)
            if "hold" in bound.values()
        ]
        if not any(holds):
            raise UserError(
                "mode 'hold': this terminal does not tell when a key is let go. Take mode toggle, "
                "a terminal that does (docs/teleoperation.md), or another device."
            )


def turned(twist: Twist, yaw_rad: float) -> Twist:
    """The same motion in axes that are turned back by `yaw_rad` about z.

    >>> [round(v, 6) + 0.0 for v in turned((1.0, 0.0, 0.5, 0.0, 1.0, 0.0), math.pi / 2)]
    [0.0, 1.0, 0.5, -1.0, 0.0, 0.0]
    """
    if yaw_rad == 0.0:
        return twist
    c, s = math.cos(yaw_rad), math.sin(yaw_rad)
    x, y, z, rx, ry, rz = twist
    return (c * x - s * y, s * x + c * y, z, c * rx - s * ry, s * rx + c * ry, rz)


def operator_config(
    device: str,
    *,
    mode: Mode = "touch",
    yaw_deg: float = 0.0,
    keys: str = "",
    listen: bool = False,
) -> OperatorConfig:
    """From the words of a command line.

    Args:
        device: 'KIND', 'KIND:ADDRESS', or one per arm: 'left=KIND:ADDRESS,right=...'.
        listen: the terminal's keys are words too, whatever device moves.
    """
    devices = parse_devices(device)
    kinds = {config.kind for config in devices.values()}
    listens = parse_devices("keyboard") if listen and "keyboard" not in kinds else {}
    return OperatorConfig(
        devices=devices,
        listens=tuple(listens.values()),
        mode=mode,
        yaw_deg=yaw_deg,
        keys=parse_keys(keys),
    )


def _by_arm(
    devices: Mapping[str, DeviceConfig], arms: tuple[str, ...]
) -> list[tuple[Device, tuple[str, ...]]]:
    """Each device made, with the arms it may move."""
    if set(devices) == {""}:
        return [(devices[""].make(), arms)]
    if set(devices) != set(arms):
        have, want = ", ".join(map(repr, devices)), ", ".join(map(repr, arms))
        raise UserError(
            f"devices are given for the arms {have}; this cell's are {want}. Name each of them, or "
            "give one device for all."
        )
    return [(config.make(), (arm,)) for arm, config in devices.items()]


def _bindings(
    configs: Sequence[DeviceConfig], keys: tuple[tuple[str, str], ...]
) -> list[dict[str, str]]:
    """Word of each key, device by device.

    A key that is given a word is a keyboard's where one listens, else every device's; 'DEVICE.KEY'
    says which. A word that is given a key of a device loses its usual one there.
    """
    bound = [dict(config.words) for config in configs]
    kinds = [config.kind for config in configs]
    for word, text in keys:
        kind, dot, key = text.partition(".")
        if not (dot and kind in kinds and key):
            kind, key = ("keyboard" if "keyboard" in kinds else ""), text
        for words, own in zip(bound, kinds, strict=True):
            if own == kind or not kind:
                for usual in [k for k, said in words.items() if said == word]:
                    del words[usual]
                words[key] = word
    return bound
