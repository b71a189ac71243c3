# The robot PC: the base install alone, under the Python of ROS 2 Humble; no JAX, no simulator.
#   docker build -f docker/robot-pc.Dockerfile -t serl-robot-pc .
#   docker run --network host serl-robot-pc
FROM python:3.10-slim
RUN useradd --create-home --home-dir /serl serl
WORKDIR /opt/serl
COPY pyproject.toml README.md LICENSE ./
COPY constraints constraints
COPY serl serl
COPY robot_servers robot_servers
COPY envs envs
COPY launch launch
COPY examples examples
COPY benchmarks benchmarks
RUN pip install --no-cache-dir -c constraints/build.txt setuptools \
    && pip install --no-cache-dir --no-build-isolation -c constraints/base.txt .
USER serl
WORKDIR /serl
ENTRYPOINT ["serl"]
CMD ["doctor"]
