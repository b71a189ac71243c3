#!/bin/bash
# `serl` with ROS 2 sourced. Our packages go first in PYTHONPATH: ROS has a Python package `launch`
# too, and `serl` must find its own; rclpy does not need ROS's.
source /opt/ros/humble/setup.bash
source /opt/ros2_ws/install/setup.bash
export PYTHONPATH=/opt/serl/venv/lib/python3.10/site-packages:$PYTHONPATH
exec /opt/serl/venv/bin/serl "$@"
