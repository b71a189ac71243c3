#!/bin/bash
# Inside docker's robot-PC image, with the repository's tests/ at /serl/tests: the ros2 backend over
# real rclpy. First against the simulated arm (its nodes then speak real ROS), then with
# ros2_control's mock component under the real controller manager and CRISP's real controllers.
source /opt/ros/humble/setup.bash
source /opt/ros2_ws/install/setup.bash
set -euo pipefail
venv=/opt/serl/venv
# Ours first: see serl-with-ros2.sh. ROS brings pytest plugins that import its own `launch`.
export PYTHONPATH=$venv/lib/python3.10/site-packages:/serl/tests:$PYTHONPATH
export PYTEST_DISABLE_PLUGIN_AUTOLOAD=1 ROS_LOCALHOST_ONLY=1 ROS_DOMAIN_ID=77
test="$venv/bin/python -m pytest -q --import-mode=importlib -p no:cacheprovider -p pytest_timeout"
cd /serl
$test tests/ros2 --deselect tests/ros2/test_mock_component.py
$test tests/contracts/test_backend_contract.py -k ros2

description=$venv/lib/python3.10/site-packages/robot_servers/ros2_launch
log=$(mktemp)
export ROS_DOMAIN_ID=78
# `ros2 launch` in an environment without ours, for the same reason the other way round.
(
    export PYTHONPATH=${PYTHONPATH#"$venv"/lib/python3.10/site-packages:/serl/tests:}
    exec ros2 launch "$description/franka_crisp.launch.xml" \
        robot_ip:=none fake_hardware:=true gripper:=false >"$log" 2>&1
) &
ros=$!
trap 'kill -INT $ros 2>/dev/null || true; wait $ros || true' EXIT
if ! SERL_ROS2_MOCK=1 $test tests/ros2/test_mock_component.py; then
    tail -50 "$log"
    exit 1
fi
