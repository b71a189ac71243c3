# The robot PC: the base install under the Python of ROS 2 Humble, with franka_ros2 and CRISP's
# controllers for the ros2 backend, and franky's wheel for the franky backend; no JAX, no simulator.
#   docker build -f docker/robot-pc.Dockerfile -t serl-robot-pc .
#   docker run --network host serl-robot-pc
# A real arm also needs, on a real-time kernel (docs/franka.md):
#   docker run --network host --cap-add sys_nice --ulimit rtprio=99 --ulimit memlock=-1 \
#       -v "$PWD/robot.toml:/serl/robot.toml:ro" serl-robot-pc robot-server --backend ros2 --config robot.toml
# Never built by CI, which has no network to ROS's packages: `make test-ros2` builds and tests it.
FROM ros:humble-ros-base
ARG FRANKA_ROS2=v2.5.0
ARG CRISP=v2.3.1
ARG DEBIAN_FRONTEND=noninteractive
RUN useradd --create-home --home-dir /serl serl
RUN apt-get update \
    && apt-get install -y --no-install-recommends git python3-venv python3-vcstool \
        python3-colcon-common-extensions ros-humble-ros2-control ros-humble-ros2-controllers \
        ros-humble-generate-parameter-library ros-humble-pinocchio ros-humble-xacro \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /opt/ros2_ws
RUN git clone --depth 1 --branch "$FRANKA_ROS2" https://github.com/frankarobotics/franka_ros2.git src/franka_ros2 \
    && vcs import src --recursive --skip-existing < src/franka_ros2/dependency.repos \
    && git clone --depth 1 --branch "$CRISP" https://github.com/learnsyslab/crisp_controllers.git src/crisp_controllers \
    && apt-get update && rosdep update \
    && rosdep install --from-paths src --ignore-src --rosdistro humble -y \
    && rm -rf /var/lib/apt/lists/* \
    && . /opt/ros/humble/setup.sh \
    && colcon build --merge-install --cmake-args -DCMAKE_BUILD_TYPE=Release -DBUILD_TESTING=OFF \
        --packages-up-to franka_bringup franka_gripper franka_robot_state_broadcaster crisp_controllers \
    && rm -rf build log
WORKDIR /opt/serl
COPY pyproject.toml README.md LICENSE ./
COPY constraints constraints
COPY serl serl
COPY robot_servers robot_servers
COPY envs envs
COPY launch launch
COPY examples examples
COPY benchmarks benchmarks
# Humble's message packages are compiled against NumPy 1: under NumPy 2 they do not import. rclpy
# itself needs PyYAML, which a virtual environment does not see in Ubuntu's packages.
RUN { grep -v "^numpy==" constraints/full.txt; echo "numpy>=1.26,<2"; } > ros2-constraints.txt \
    && python3 -m venv venv \
    && venv/bin/pip install --no-cache-dir -c constraints/build.txt setuptools
ENV PIP_CONSTRAINT=/opt/serl/ros2-constraints.txt
RUN venv/bin/pip install --no-cache-dir --no-build-isolation ".[franky,robotiq,http]" pyyaml \
    && venv/bin/pip install --no-cache-dir pytest pytest-timeout hypothesis
COPY docker/serl-with-ros2.sh /usr/local/bin/serl
COPY docker/test-ros2.sh /usr/local/bin/test-ros2
USER serl
WORKDIR /serl
ENTRYPOINT ["serl"]
CMD ["doctor"]
