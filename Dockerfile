# The server, and nothing that trains: docker build -t holdfast .            (CPU)
#                                      docker build -t holdfast --build-arg VARIANT=gpu .   (one NVIDIA GPU, CUDA 13)
#
#   docker run --rm -p 50051:50051 -p 9464:9464 -v "$PWD/bundles/cifar10-small:/bundle:ro" holdfast
#   docker run --rm ... holdfast --reflection --probe-rate 0.01
#   docker run --rm --gpus all ... holdfast --workers 4    (four processes that feed the GPU, on as many cores)
#   docker run --rm --gpus all ... holdfast          (GPU; without one in sight it ends and says so: --device auto does not)
#
# docker stop drains: give it six seconds more than HOLDFAST_DRAIN_NOTICE and HOLDFAST_DRAIN_GRACE together (docker stop -t 31).
# The root may be read-only (--read-only): the server writes to its store alone, where it has one.
ARG VARIANT=cpu
ARG CPU_IMAGE=python:3.11-slim-bookworm
ARG GPU_IMAGE=nvidia/cuda:13.0.1-cudnn-runtime-ubuntu24.04

# Any image with Python 3.11 or newer and its venv module; deploy/image.py makes one of Debian's packages.
FROM ${CPU_IMAGE} AS base-cpu
ENV EXTRA=serve

# onnxruntime-gpu needs CUDA 13 and cuDNN 9; the image has both, and Ubuntu's Python 3.12.
FROM ${GPU_IMAGE} AS base-gpu
ENV EXTRA=gpu
ENV HOLDFAST_DEVICE=cuda
RUN apt-get update && apt-get install --yes --no-install-recommends python3 python3-venv && rm -rf /var/lib/apt/lists/*

FROM base-${VARIANT} AS build
WORKDIR /source
RUN python3 -m venv /opt/holdfast
# Only what the server imports goes in. holdfast/trainer and holdfast/index_build are links to folders that are not copied:
# setuptools packs what it finds.
COPY pyproject.toml README.md LICENSE requirements.lock ./
COPY deploy/top_level deploy/top_level
COPY holdfast holdfast
COPY protos protos
COPY server server
RUN /opt/holdfast/bin/pip install --no-cache-dir --constraint requirements.lock ".[${EXTRA},otel]" \
    && /opt/holdfast/bin/pip uninstall --yes pip setuptools \
    && find /opt/holdfast/lib -type d -name tests -prune -exec rm -r {} +

FROM base-${VARIANT} AS serve
RUN useradd --system --uid 10001 --no-create-home --shell /usr/sbin/nologin holdfast
COPY --from=build /opt/holdfast /opt/holdfast
ENV PATH=/opt/holdfast/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    HOLDFAST_BUNDLE=/bundle \
    HOLDFAST_HOST=0.0.0.0 \
    HOLDFAST_DRAIN_NOTICE=5
USER holdfast
WORKDIR /
EXPOSE 50051 9464
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s CMD ["python", "-m", "holdfast.client", "health", "--timeout", "3"]
ENTRYPOINT ["holdfast", "serve"]
