# The workstation beside the arm, or a laptop: actor, learner and simulator, with off-screen OpenGL.
#   docker build -f docker/workstation.Dockerfile -t serl-workstation .
#   docker run -v "$PWD/runs:/serl/runs" serl-workstation
# Cameras are devices of the host, V4L2 (81) and USB (189); RealSense's udev rules belong on the host:
#   docker run -v /dev:/dev --device-cgroup-rule "c 81:* rmw" --device-cgroup-rule "c 189:* rmw" \
#       --group-add video serl-workstation cameras list
# `serl cameras crop` writes its page where there is no window; `serl classifier label` serves one on
# loopback, which --network host shares.
FROM python:3.11-slim
RUN apt-get update \
    && apt-get install -y --no-install-recommends libegl1 libgles2 libgl1 libgl1-mesa-dri libusb-1.0-0 \
    && rm -rf /var/lib/apt/lists/*
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
    && pip install --no-cache-dir --no-build-isolation -c constraints/full.txt ".[learner,sim,log,cameras]"
ENV MUJOCO_GL=egl
USER serl
WORKDIR /serl
ENTRYPOINT ["serl"]
CMD ["demo"]
