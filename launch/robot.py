"""An operator's words to a robot server: look, move, set, stop.

Looking, `stop` and `estop` need no lease; what moves or sets needs it, and asks before the arm
moves. Ctrl-C stops sending: the arm holds where it is.

examples:
  serl robot state
  serl robot state --once --address 192.168.1.10:5600 --token-file token --tls-ca ca.pem
  serl robot home
  serl robot move-to 0.5 0 0.3 --speed 0.05
  serl robot move-to 0.5 0 0.3 3.1416 0 0
  serl robot joint-reset 0 -0.785 0 -2.356 0 1.571 0.785
  serl robot gripper close --force 20
  serl robot gains translational_stiffness_n_per_m=1000
  serl robot load --mass 0.3 --com 0 0 0.05
  serl robot stop
  serl robot recover --operator
  serl robot teach
  serl robot bounds --seconds 30
  serl robot record wipe.npz
  serl robot playback wipe.npz --rate 0.5
  serl robot unlock --desk 172.16.0.2 --user operator --password-file desk.txt"""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from launch.arguments import Parser, number
from launch.robot_link import RobotLink, add_link, confirm
from serl.errors import UserError

SPEED_M_PER_S = 0.1


@dataclass(frozen=True)
class Word:
    """One verb after `serl robot`."""

    help: str
    add: Callable[[Parser], None]
    run: Callable[[Namespace], int]


class WordParser(Parser):
    """What argparse makes for one word."""

    def __init__(self, prog: str, **_: object) -> None:
        super().__init__(prog.removeprefix("serl "), None)


def add_arguments(parser: Parser) -> None:
    words = parser.add_subparsers(
        dest="word", required=True, metavar="WHAT", title="what", parser_class=WordParser
    )
    for name, word in WORDS.items():
        one = words.add_parser(name, help=word.help)
        one.description = word.help
        word.add(one)


def run(args: Namespace) -> int:
    return WORDS[args.word].run(args)


def _state(args: Namespace) -> int:
    from launch import robot_show

    with RobotLink(args) as robot:
        if args.counters:
            print(robot_show.counters(robot.backend.server_counters()))
        elif args.once:
            robot_show.show(robot)
        else:
            robot_show.watch(robot)
    return 0


def _move_to(args: Namespace) -> int:
    from launch.robot_moves import move_straight, target_pose
    from launch.robot_show import snippet

    with RobotLink(args, commands=True) as robot:
        goal = target_pose(args.pose, robot.state().T_base_tcp)
        where = ", ".join(f"{x:.3f}" for x in goal[:3, 3])
        confirm(args, f"{robot.robot.name} to ({where}) m at {args.speed:g} m/s.")
        print(snippet(move_straight(robot, goal, args.speed)))
    return 0


def _home(args: Namespace) -> int:
    args.q = []
    return _joint_reset(args)


def _joint_reset(args: Namespace) -> int:
    import numpy as np

    from launch.robot_moves import move_joints

    with RobotLink(args, commands=True) as robot:
        q = np.array(args.q or robot.robot.q_home_rad)
        confirm(args, f"{robot.robot.name} to joints {np.array2string(q, precision=3)} rad.")
        state = move_joints(robot, q)
        print(f"there: {np.array2string(state.q_rad, precision=3, suppress_small=True)} rad")
    return 0


def _gripper(args: Namespace) -> int:
    from launch.robot_moves import move_gripper
    from robot_servers.types import GripperTarget

    if (args.to == "move") != (args.mm is not None):
        raise UserError("`gripper move` takes the opening in mm; `open` and `close` take none.")
    with RobotLink(args, commands=True) as robot:
        gripper = robot.robot.gripper
        if gripper is None:
            raise UserError(f"{robot.robot.name} has no gripper; [arm.gripper] of robot.toml.")
        mm = args.mm or (1000 * gripper.width_max_m if args.to == "open" else 0.0)
        if mm > 1000 * gripper.width_max_m + 1e-6:
            raise UserError(
                f"{mm:g} mm is wider than the {gripper.name} opens, "
                f"{1000 * gripper.width_max_m:g} mm."
            )
        confirm(args, f"{gripper.name} to {mm:g} mm.")
        target = GripperTarget(width_m=mm / 1000, force_n=args.force)
        print(f"opening: {1000 * move_gripper(robot, target).gripper_width_m:.1f} mm")
    return 0


def _gains(args: Namespace) -> int:
    from launch import robot_settings

    if not args.gains:
        with RobotLink(args) as robot:
            print(robot_settings.gains_text(robot.gains))
        return 0
    with RobotLink(args, commands=True) as robot:
        before = robot.gains
        wanted = robot_settings.parse_gains(args.gains, before)
        print(robot_settings.gains_text(robot_settings.set_gains(robot, wanted), before))
    return 0


def _load(args: Namespace) -> int:
    from robot_servers.types import Payload

    payload = Payload(
        mass_kg=args.mass,
        com_flange_m=tuple(args.com),
        inertia_kg_m2=tuple(args.inertia or (0.0,) * 9),
    )
    with RobotLink(args, commands=True) as robot:
        robot.backend.set_payload({robot.arm: payload})
    print(
        f"{args.mass:g} kg from now on, until the server starts again: put it into robot.toml's "
        "[arm.payload] to keep it."
    )
    return 0


def _recover(args: Namespace) -> int:
    with RobotLink(args, commands=True) as robot:
        faults = {arm: s.fault for arm, s in robot.states().items() if s.fault is not None}
        for arm, fault in faults.items():
            print(f"{arm or 'arm'}: {fault.kind.name}: {fault.reason} {fault.recording}".rstrip())
        if not faults:
            print("no arm is in fault.")
            return 0
        confirm(args, "Recover: the arm is held again where it is.")
        robot.backend.recover(faults if args.arm is None else [args.arm])
    print("recovered: the arm holds.")
    return 0


def _stop(args: Namespace) -> int:
    return _end(args, emergency=False)


def _estop(args: Namespace) -> int:
    return _end(args, emergency=True)


def _end(args: Namespace, *, emergency: bool) -> int:
    from launch.robot_link import stop

    stop(args, emergency=emergency)
    what = "control has ended" if emergency else "every arm holds"
    print(f"{what}, latched; `serl robot recover` when it is safe.")
    return 0


def _teach(args: Namespace) -> int:
    from launch.robot_show import snippet

    with RobotLink(args) as robot:
        print(snippet(robot.state()))
    return 0


def _bounds(args: Namespace) -> int:
    from launch import robot_show

    with RobotLink(args) as robot:
        robot.refuse_lockstep()
        box = robot_show.bounds(robot, args.seconds)
    print(box.text(robot.arm, args.margin_mm / 1000.0, args.margin_rad))
    return 0


def _record(args: Namespace) -> int:
    from launch import robot_motion

    robot_motion.refuse_existing(args.file)
    with RobotLink(args) as robot:
        robot.refuse_lockstep()
        until = "Enter ends it" if args.seconds is None else f"for {args.seconds:g} s"
        print(f"recording {robot.robot.name} ({until}).", flush=True)
        motion = robot_motion.record(robot, args.seconds)
    path = motion.save(args.file)
    print(f"{path}: {motion.duration_s:.1f} s, up to {motion.fastest_m_per_s:.2f} m/s")
    return 0


def _playback(args: Namespace) -> int:
    from launch import robot_motion

    motion = robot_motion.Motion.load(args.file)
    with RobotLink(args, commands=True) as robot:
        confirm(args, f"{args.file}: {motion.duration_s / args.rate:.1f} s, first to its start.")
        off_m = robot_motion.play(robot, motion, args.rate)
    print(f"done; never more than {1000 * off_m:.1f} mm from the recording.")
    return 0


def _unlock(args: Namespace) -> int:
    from launch.robot_desk import unlock

    return unlock(args)


def _nothing(parser: Parser) -> None:
    add_link(parser)


def _commands(parser: Parser) -> None:
    add_link(parser, commands=True)


def _add_state(parser: Parser) -> None:
    parser.add_argument("--once", action="store_true", help="print the table and end")
    parser.add_argument("--counters", action="store_true", help="clamps, refusals, faults so far")
    add_link(parser)


def _add_move_to(parser: Parser) -> None:
    parser.add_argument(
        "pose",
        nargs="+",
        type=number(float),
        metavar="NUMBER",
        help="x y z [m] in base; then rx ry rz, a rotation vector [rad], or a quaternion x y z w",
    )
    parser.add_argument(
        "--speed",
        type=number(float, 0.001, 0.5),
        default=SPEED_M_PER_S,
        help=f"along the line [m/s] ({SPEED_M_PER_S:g})",
    )
    add_link(parser, commands=True)


def _add_joint_reset(parser: Parser) -> None:
    parser.add_argument(
        "q", nargs="*", type=number(float), metavar="RAD", help="every joint; default: home"
    )
    add_link(parser, commands=True)


def _add_gripper(parser: Parser) -> None:
    parser.add_argument("to", choices=("open", "close", "move"), help="what")
    parser.add_argument("mm", nargs="?", type=number(float, 0.0, 500.0), help="opening of `move`")
    parser.add_argument("--force", type=number(float, 0.0, 1000.0), help="of the grasp [N]")
    add_link(parser, commands=True)


def _add_gains(parser: Parser) -> None:
    parser.add_argument(
        "gains", nargs="*", metavar="NAME=VALUE", help="without any: what is in effect"
    )
    add_link(parser, commands=True)


def _add_load(parser: Parser) -> None:
    parser.add_argument("--mass", type=number(float, 0.0, 50.0), required=True, help="[kg]")
    parser.add_argument(
        "--com",
        nargs=3,
        type=number(float, -1.0, 1.0),
        default=(0.0, 0.0, 0.0),
        help="centre of mass in the flange's frame [m]",
    )
    parser.add_argument(
        "--inertia",
        nargs=9,
        type=number(float),
        help="about the centre of mass, flange axes, row by row [kg m^2]",
    )
    add_link(parser, commands=True)


def _add_bounds(parser: Parser) -> None:
    _add_seconds(parser)
    parser.add_argument(
        "--margin-mm", type=number(float, 0.0, 500.0), default=10.0, help="added on each side (10)"
    )
    parser.add_argument(
        "--margin-rad", type=number(float, 0.0, 3.0), default=0.05, help="the same (0.05)"
    )
    add_link(parser)


def _add_record(parser: Parser) -> None:
    parser.add_argument("file", type=Path, help="an .npz that is written")
    _add_seconds(parser)
    add_link(parser)


def _add_playback(parser: Parser) -> None:
    parser.add_argument("file", type=Path, help="what `record` wrote")
    parser.add_argument(
        "--rate", type=number(float, 0.05, 2.0), default=1.0, help="times the recorded speed (1)"
    )
    add_link(parser, commands=True)


def _add_unlock(parser: Parser) -> None:
    parser.add_argument("--desk", required=True, metavar="HOST", help="the arm's control unit")
    parser.add_argument("--user", required=True, help="of Desk")
    parser.add_argument("--password-file", type=Path, required=True, help="its first line")
    parser.add_argument("--panda", action="store_true", help="a Panda, or an FR3's old firmware")
    parser.add_argument("--lock", action="store_true", help="lock the brakes again instead")
    parser.add_argument("--yes", action="store_true", help="do not ask")


def _add_seconds(parser: Parser) -> None:
    parser.add_argument(
        "--seconds", type=number(float, 0.1, 3600.0), help="end by itself; default: Enter ends it"
    )


WORDS: dict[str, Word] = {
    "state": Word("what every arm is doing, live", _add_state, _state),
    "move-to": Word("the TCP along a straight line", _add_move_to, _move_to),
    "home": Word("every joint to the robot's home", _commands, _home),
    "joint-reset": Word("every joint to given positions", _add_joint_reset, _joint_reset),
    "gripper": Word("open, close or move the gripper", _add_gripper, _gripper),
    "gains": Word("show the gains, or set some by name", _add_gains, _gains),
    "load": Word("what the arm carries", _add_load, _load),
    "recover": Word("leave a fault: the only way out of one", _commands, _recover),
    "stop": Word("every arm holds, latched; needs no lease", _nothing, _stop),
    "estop": Word("end control of every arm, latched; needs no lease", _nothing, _estop),
    "teach": Word("the TCP's pose as lines of a config", _nothing, _teach),
    "bounds": Word("the box a hand-guided TCP has been in", _add_bounds, _bounds),
    "record": Word("a motion into a file", _add_record, _record),
    "playback": Word("a recorded motion, within the limits", _add_playback, _playback),
    "unlock": Word("Franka's brakes and FCI, through Desk", _add_unlock, _unlock),
}
