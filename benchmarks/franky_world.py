"""franky-sim with what it leaves out: external forces, reflexes, a user stop, an unknown load.

franky-sim 1.0.4 reports no external wrench, ignores collision thresholds and never leaves the modes
Idle and Move. `World` here adds that to its MuJoCo simulator and its robot server, by subclassing.
libfranka's signs: external torques and wrenches are what the robot exerts on its environment.

Run as a process of its own (`FrankyWorld`), it serves the FCI protocol on a loopback address and is
told things as JSON lines on its standard input.
"""

# pyright: basic, reportAttributeAccessIssue=false, reportOptionalMemberAccess=false, reportArgumentType=false
# (franky-sim and mujoco are untyped where this reaches into them)

from __future__ import annotations

import json
import os
import queue
import random
import select
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

JOINT_REFLEX, CARTESIAN_REFLEX = 6, 7
"""Places in libfranka's list of errors."""

FILTER_S = 0.01
"""Time constant of the reported external torques. The real one is not published."""

PATIENCE_S = 0.25
"""How long a step waits for the client's torques."""

START_S = 60.0


def free_address() -> str:
    """A loopback address on which nobody serves the FCI's port 1337."""
    while True:
        host = f"127.{random.randint(1, 254)}.{random.randint(0, 254)}.{random.randint(1, 254)}"
        with socket.socket() as probe:
            try:
                probe.bind((host, 1337))
            except OSError:
                continue
            return host


class FrankyWorld:
    """The simulator's process, and its knobs."""

    def __init__(self, q_rad: Sequence[float] | None = None, *, wrap: Sequence[str] = ()) -> None:
        self._wrap = wrap  # what the process is started through: `ip netns exec NAME`
        self.host = free_address()
        self._q = q_rad

    def __enter__(self) -> FrankyWorld:
        arguments = [self.host] + ([json.dumps(list(self._q))] if self._q is not None else [])
        self._process = subprocess.Popen(
            [*self._wrap, sys.executable, str(Path(__file__).resolve()), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
        )
        assert self._answer(START_S) == "ready"
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            stream.close()

    def ask(self, verb: str, *arguments):
        """Have the world do `verb`, between two steps; its answer."""
        self._process.stdin.write(json.dumps([verb, *arguments]) + "\n")
        self._process.stdin.flush()
        return self._answer(20.0)

    def push(self, *wrench: float) -> None:
        """A wrench (6,) that the environment exerts on the TCP, in base, until changed."""
        self.ask("push", wrench)

    def press_user_stop(self, pressed: bool = True) -> None:
        self.ask("press_user_stop", pressed)

    def set_payload(self, mass_kg: float) -> None:
        """A load at the TCP that the arm has not been told of."""
        self.ask("set_payload", mass_kg)

    def set_friction(self, torque_nm: float) -> None:
        """Coulomb friction in every joint."""
        self.ask("set_friction", torque_nm)

    def place(self, q_rad: Sequence[float]) -> None:
        """The arm at rest at `q_rad`, pushes gone."""
        self.ask("place", list(q_rad))

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Nothing leaves the arm: its process is stopped."""
        self._process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._process.send_signal(signal.SIGCONT)

    def status(self) -> dict:
        """'moves': Move commands so far; 'mode', 'q', 'width', 'thresholds', 'time_s'."""
        return self.ask("status")

    def _answer(self, limit_s: float):
        ready, _, _ = select.select([self._process.stdout], [], [], limit_s)
        line = self._process.stdout.readline() if ready else ""
        if not line:
            raise RuntimeError(f"franky_world gave no answer within {limit_s:g} s")
        kind, value = json.loads(line)
        if kind == "error":
            raise RuntimeError(f"franky_world: {value}")
        return value


def serve(host: str, q_rad: Sequence[float] | None) -> None:
    """The process: physics at 1 kHz on the wall clock, and the knobs."""
    import franky_sim
    import mujoco
    from franky_sim import franka_robot_protocol as protocol
    from franky_sim.franka_gripper_protocol import GripperCommandStatus
    from franky_sim.franka_gripper_server import FrankaGripperServer
    from franky_sim.franka_server import BaseCommand
    from franky_sim.mujoco_simulator import FrankaMujocoRobot, MujocoSimulator

    home = (0.0, -0.785, 0.0, -2.35, 0.0, 1.57, 0.785)

    class Robot(FrankaMujocoRobot):
        """Knows what pushes it."""

        def prepare(self) -> None:
            self.push_base = np.zeros(6)
            self.payload_kg = 0.0
            self.tau_ext = np.zeros(7)
            self.wrench = np.zeros(6)
            self.hand = self._model.body("robot0_hand").id
            self.own_mass = float(self._model.body_mass[self.hand])

        def apply_push(self) -> None:
            """The push at the TCP as a force at the hand's centre of mass."""
            T = self.kinematics(np.array(self.inner_state.q)).homogeneous
            arm = T[:3, 3] - self._data.xipos[self.hand]
            force, torque = self.push_base[:3], self.push_base[3:]
            self._data.xfrc_applied[self.hand] = [*force, *(torque + np.cross(arm, force))]

        def jacobian(self):
            """(6, 7) of the TCP in base, from MuJoCo."""
            J = np.zeros((6, self._model.nv))
            T = self.kinematics(np.array(self.inner_state.q)).homogeneous
            mujoco.mj_jac(self._model, self._data, J[:3], J[3:], T[:3, 3], self.hand)
            return J[:, self._dof_addrs]

        def feel(self) -> None:
            """External torques and wrench of the step just taken, filtered."""
            J = self.jacobian()
            weight = np.array([0, 0, -9.81 * self.payload_kg, 0, 0, 0])
            on_robot = J.T @ (self.push_base + weight) + self.contact_torque()
            self.tau_ext += (0.001 / FILTER_S) * (-on_robot - self.tau_ext)
            self.wrench = np.linalg.solve(J @ J.T + 1e-6 * np.eye(6), J @ self.tau_ext)

        def contact_torque(self):
            """Of contacts with what is not the robot (7,). Joint friction is not external: the
            real arm's torque sensors stand behind it."""
            model, data, total = self._model, self._data, np.zeros(self._model.nv)
            for i in range(data.ncon):
                contact = data.contact[i]
                bodies = model.geom_bodyid[contact.geom]
                mine = model.body_rootid[bodies] == model.body_rootid[self.hand]
                if mine[0] == mine[1]:
                    continue
                local = np.zeros(6)
                mujoco.mj_contactForce(model, data, i, local)
                frame = contact.frame.reshape(3, 3)
                sign = 1.0 if mine[1] else -1.0  # a contact's force is the one on its second geom
                force, torque = sign * frame.T @ local[:3], sign * frame.T @ local[3:]
                body = bodies[1] if mine[1] else bodies[0]
                mujoco.mj_applyFT(model, data, force, torque, contact.pos, body, total)
            return total[self._dof_addrs]

        @property
        def state(self):
            T = self.kinematics(np.array(self.inner_state.q)).homogeneous
            in_tcp = (self.wrench.reshape(2, 3) @ T[:3, :3]).ravel()
            return super().state.replace(
                tau_ext_hat_filtered=tuple(self.tau_ext),
                O_F_ext_hat_K=tuple(self.wrench),
                K_F_ext_hat_K=tuple(in_tcp),
            )

    class Thresholds(protocol.SetCollisionBehaviorCommand):
        def handle(self, server) -> None:
            server.torque_limits = np.array(self.upper_torque_thresholds_nominal)
            server.force_limits = np.array(self.upper_force_thresholds_nominal)
            self.reply(0)

    class Move(protocol.MoveCommand):
        def handle(self, server) -> None:
            if server.user_stopped:
                self.reply(protocol.MoveStatus.kCommandRejectedDueToActivatedSafetyFunctions)
            elif server.reflex is not None:
                self.reply(protocol.MoveStatus.kCommandNotPossibleRejected)
            else:
                server.moves += 1
                server.began = server._FrankaServer__message_id
                super().handle(server)

    class Recovery(protocol.AutomaticErrorRecoveryCommand):
        def handle(self, server) -> None:
            status = protocol.AutomaticErrorRecoveryStatus
            if server.user_stopped:
                self.reply(status.kCommandRejectedDueToActivatedSafetyFunctions)
            else:
                server.reflex = None
                self.reply(status.kSuccess)

    class GripperServer(FrankaGripperServer):
        def stop(self, command_id, tcp_socket) -> None:
            """The real hand answers the command that it interrupts; the stock one forgets it."""
            if self._pending_command_id is not None:
                BaseCommand.send_response(
                    self._pending_tcp_socket,
                    self._pending_command_type,
                    self._pending_command_id,
                    GripperCommandStatus.kAborted,
                    command_type_struct="H",
                    status_type_struct="H",
                )
            super().stop(command_id, tcp_socket)

    class RobotServer(franky_sim.FrankaRobotServer):
        """Reflex and user stop, and what they refuse."""

        def __init__(self, robot, hosts) -> None:
            super().__init__(robot, hosts)
            self._FrankaServer__command_class_map.update(
                {
                    protocol.RobotCommand.kMove: Move,
                    protocol.RobotCommand.kSetCollisionBehavior: Thresholds,
                    protocol.RobotCommand.kAutomaticErrorRecovery: Recovery,
                }
            )
            self.torque_limits = np.full(7, np.inf)
            self.force_limits = np.full(6, np.inf)
            self.reflex: int | None = None
            self.user_stopped = False
            self.moves = 0

        def _bind_children(self, hostname: str) -> None:
            gripper = GripperServer(self.robot, hostname)
            gripper.init()
            self._FrankaRobotServer__gripper_server = gripper

        def abort(self, status) -> None:
            """End the motion under way, and hold."""
            motion = self.current_motion_id
            self.stop_motion(send_preemption_signal=False)
            if motion and self._tcp_socket is not None:
                command = protocol.RobotCommand.kMove
                BaseCommand.send_response(self._tcp_socket, command, motion, status)
            self.reset_current_motion_id()

        def await_command(self) -> None:
            """In motion, the client answers every state; a busy machine that is late slows this
            world down instead of driving the arm on old torques, which does not end well."""
            if self.answered < self.began:
                return  # the first answer of a motion comes after a state sent in it
            deadline = time.monotonic() + PATIENCE_S
            asked = self._FrankaServer__message_id - 1
            while self.current_motion_id and self.udp_connected and self.answered < asked:
                left = deadline - time.monotonic()
                if left <= 0:
                    break
                select.select([self._FrankaServer__udp_socket], [], [], left)
                self._process_udp_commands()
                self._post_process_commands()

        def _handle_udp_command(self, command_data) -> None:
            (self.answered,) = struct.unpack_from("<Q", command_data)
            super()._handle_udp_command(command_data)

        def _reset_state(self) -> None:
            self.answered = self.began = 0
            super()._reset_state()

        def watch(self) -> None:
            """Trip the reflex when a threshold is exceeded."""
            robot = self.robot
            if self.reflex is not None or self.user_stopped:
                return
            if (np.abs(robot.wrench) > self.force_limits).any():
                self.reflex = CARTESIAN_REFLEX
            elif (np.abs(robot.tau_ext) > self.torque_limits).any():
                self.reflex = JOINT_REFLEX
            if self.reflex is not None:
                self.send_state()  # the reason is known before the motion's end is
                self.abort(protocol.MoveStatus.kReflexAborted)

        def press(self, pressed: bool) -> None:
            self.user_stopped = pressed
            if pressed:
                self.send_state()
                self.abort(protocol.MoveStatus.kPreemptedDueToActivatedSafetyFunctions)

        @property
        def robot_state(self):
            state = super().robot_state
            if self.user_stopped:
                return state.replace(robot_mode=protocol.RobotMode.kUserStopped)
            if self.reflex is not None:
                flags = tuple(i == self.reflex for i in range(41))
                return state.replace(
                    robot_mode=protocol.RobotMode.kReflex, errors=flags, reflex_reason=flags
                )
            return state

    class Knobs:
        """What the process can be asked for, by name."""

        def __init__(self, sim, robot, server) -> None:
            self.sim, self.robot, self.server = sim, robot, server
            self.steps = 0

        def push(self, wrench) -> None:
            self.robot.push_base = np.array(wrench, float)

        def press_user_stop(self, pressed) -> None:
            self.server.press(pressed)

        def set_payload(self, mass_kg) -> None:
            self.robot.payload_kg = mass_kg
            self.sim.model.body_mass[self.robot.hand] = self.robot.own_mass + mass_kg
            mujoco.mj_setConst(self.sim.model, mujoco.MjData(self.sim.model))

        def set_friction(self, torque_nm) -> None:
            self.sim.model.dof_frictionloss[self.robot._dof_addrs] = torque_nm

        def place(self, q_rad) -> None:
            data = self.sim.data
            data.qpos[self.robot._qpos_addrs] = q_rad
            data.qvel[:] = 0.0
            self.robot.push_base[:] = 0.0
            mujoco.mj_forward(self.sim.model, data)
            self.robot.tau_ext[:] = 0.0
            self.server._FrankaRobotServer__holding_q = tuple(q_rad)

        def status(self):
            return {
                "moves": self.server.moves,
                "mode": int(self.server.robot_state.robot_mode),
                "q": list(self.robot.inner_state.q),
                "width": self.robot.hand_width,
                "torque_limits": list(self.server.torque_limits),
                "force_limits": list(self.server.force_limits),
                "load_kg": self.robot.m_load,
                "time_s": 1e-3 * self.steps,
            }

    asked: queue.SimpleQueue[str] = queue.SimpleQueue()

    def listen() -> None:
        for line in sys.stdin:
            asked.put(line)
        os._exit(0)  # whoever started this is gone

    with MujocoSimulator() as sim:
        robot = sim.add_robot(initial_q=q_rad or home)
        robot.__class__ = Robot
        server = RobotServer(robot, [host])
        server.init()
        sim.start()
        robot.prepare()
        knobs = Knobs(sim, robot, server)
        threading.Thread(target=listen, daemon=True).start()
        print(json.dumps(["done", "ready"]), flush=True)
        deadline = time.monotonic()
        while True:
            while not asked.empty():
                verb, *arguments = json.loads(asked.get())
                try:
                    answer = ["done", getattr(knobs, verb)(*arguments)]
                except Exception as error:  # told to the test
                    answer = ["error", repr(error)]
                print(json.dumps(answer), flush=True)
            server.process_commands()
            server.await_command()
            robot.apply_push()
            sim.step()
            robot.feel()
            server.watch()
            server.send_state()
            knobs.steps += 1
            deadline += 0.001
            ahead = deadline - time.monotonic()
            if ahead > 0:
                time.sleep(ahead)
            elif ahead < -0.05:
                deadline = time.monotonic()


if __name__ == "__main__":
    serve(sys.argv[1], json.loads(sys.argv[2]) if len(sys.argv) > 2 else None)
