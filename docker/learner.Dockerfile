# The learner, on a machine with an NVIDIA GPU: no simulator, no robot library.
#   docker build -f docker/learner.Dockerfile -t serl-learner .
#   docker run --gpus all -p 5488:5488 -v "$PWD/runs:/serl/runs" -v "$PWD/secrets:/secrets:ro" serl-learner \
#       learner pick_cube_state --bind 0.0.0.0:5488 --token-file /secrets/token \
#       --tls-cert /secrets/cert.pem --tls-key /secrets/key.pem
# Our trunk weights are in the image. Imported ones (`serl weights fetch`) and a classifier whose version
# the actor's must equal come from outside:
#   -v "$PWD/weights:/serl/.cache/serl/weights" -v "$PWD/pick_cube.safetensors:/serl/pick_cube.safetensors:ro"
FROM python:3.11-slim
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
    && pip install --no-cache-dir --no-build-isolation -c constraints/full.txt -c constraints/cuda.txt ".[learner-cuda,log]"
USER serl
WORKDIR /serl
EXPOSE 5488
ENTRYPOINT ["serl"]
CMD ["--help"]
