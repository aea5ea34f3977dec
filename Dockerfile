# syntax=docker/dockerfile:1.10
# Two images: `light` (seed, download, upload, duplex, autokick, status) and `gpu` (process, with the models inside; train).
#   docker build --target light -t duplexforge-light:0.1.0 .
#   HF_TOKEN=... docker build --target gpu --secret id=hf_token,env=HF_TOKEN -t duplexforge-gpu:0.1.0 .
# Nothing is installed or fetched when a container starts.

# A digest, where one is given, wins over the tag: --build-arg PYTHON_DIGEST=sha256:...
ARG PYTHON_IMAGE=python:3.11.14-slim-bookworm
ARG PYTHON_DIGEST=
# CUDA 13 and cuDNN 9 are what onnxruntime-gpu was built for; torch brings its own.
ARG CUDA_IMAGE=nvidia/cuda:13.0.2-cudnn-runtime-ubuntu24.04
ARG CUDA_DIGEST=

FROM ${PYTHON_IMAGE}${PYTHON_DIGEST:+@${PYTHON_DIGEST}} AS python
ENV PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_ROOT_USER_ACTION=ignore

# -- light -------------------------------------------------------------------------------------------------------------

FROM python AS light-build
# For pods that also run the preset `lite` and train on the CPU: --build-arg EXTRAS=lite,autokick,duplex,train
ARG EXTRAS=download,upload,sqs,autokick,report,duplex
WORKDIR /build
RUN python -m venv /opt/venv
ENV PATH=/opt/venv/bin:$PATH
COPY pyproject.toml requirements.txt README.md ./
# The packages come before the source, so that a change of the source does not install them anew.
RUN --mount=type=cache,target=/root/.cache/pip \
    mkdir -p src/duplexforge && touch src/duplexforge/__init__.py \
    && pip install -c requirements.txt ".[${EXTRAS}]"
# The JavaScript runtime that yt-dlp wants for some sites; it finds it on the PATH.
ARG DENO_VERSION=2.9.8
RUN --mount=type=cache,target=/root/.cache/pip pip install "deno==${DENO_VERSION}"
COPY src src
RUN pip install --no-deps --force-reinstall .

FROM python AS light
LABEL org.opencontainers.image.title="duplexforge-light" \
      org.opencontainers.image.description="Seeds, downloads, publishes, builds duplex data sets, watches and scales." \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.licenses="Apache-2.0"
RUN apt-get update \
    && apt-get install --yes --no-install-recommends tini \
    && rm -rf /var/lib/apt/lists/* \
    && groupadd --gid 10001 duplexforge \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /scratch --shell /usr/sbin/nologin duplexforge \
    && install --directory --owner 10001 --group 10001 /scratch
COPY --from=light-build /opt/venv /opt/venv
COPY Emilia /app/Emilia
ENV PATH=/opt/venv/bin:$PATH \
    EMILIA_PATH=/app/Emilia \
    HOME=/scratch \
    TMPDIR=/scratch
WORKDIR /app
USER 10001:10001
RUN duplexforge --version
# An init, for a process that is number 1 would not end at a signal that it does not handle.
ENTRYPOINT ["tini", "--", "duplexforge"]
CMD ["--help"]

# -- gpu ---------------------------------------------------------------------------------------------------------------

FROM ${CUDA_IMAGE}${CUDA_DIGEST:+@${CUDA_DIGEST}} AS gpu-python
ENV PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_ROOT_USER_ACTION=ignore \
    DEBIAN_FRONTEND=noninteractive
# ffmpeg: its libraries are what torchcodec opens. The rest is what the copied Python is linked to.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends \
        ca-certificates ffmpeg libbz2-1.0 libexpat1 libffi8 liblzma5 libncursesw6 libreadline8t64 libsqlite3-0 libssl3t64 \
        libuuid1 tini zlib1g \
    && rm -rf /var/lib/apt/lists/*
# The Python that everything was tested with; this Ubuntu has another one.
COPY --from=python /usr/local /usr/local
RUN ldconfig && python -c "import bz2, ctypes, lzma, readline, sqlite3, ssl, uuid, zlib, pyexpat"

FROM gpu-python AS gpu-build
WORKDIR /build
RUN python -m venv /opt/venv
ENV PATH=/opt/venv/bin:$PATH
COPY pyproject.toml requirements.txt README.md ./
# torch first and by itself, as in the Makefile: what comes after must find it. Then torchcodec, which has to fit it.
RUN --mount=type=cache,target=/root/.cache/pip pip install -c requirements.txt torch
RUN --mount=type=cache,target=/root/.cache/pip pip install -c requirements.txt torchcodec
RUN --mount=type=cache,target=/root/.cache/pip \
    mkdir -p src/duplexforge && touch src/duplexforge/__init__.py \
    && pip install -c requirements.txt ".[emilia,gpu,duplex,train,lora]"
# faster-whisper asks for onnxruntime, whose files are onnxruntime-gpu's too: the one has to go, the other to come again.
RUN --mount=type=cache,target=/root/.cache/pip \
    pip uninstall --yes onnxruntime \
    && pip install -c requirements.txt --no-deps --force-reinstall onnxruntime-gpu
COPY src src
COPY Emilia Emilia
COPY cache_models.py ./
RUN pip install --no-deps --force-reinstall .
# Does nothing beside a torch with CUDA; beside one without, torchaudio could not be imported.
RUN python -m Emilia.models.torchaudio_mend

FROM gpu-build AS models
ARG EMILIA_PRESET=emilia
ENV EMILIA_PATH=/build/Emilia
# The token is there for this step alone and in no layer; a gated model that it does not open ends the build.
RUN --mount=type=secret,id=hf_token,env=HF_TOKEN \
    --mount=type=cache,target=/root/.cache/emilia-models,sharing=locked \
    python cache_models.py --preset ${EMILIA_PRESET} --to /root/.cache/emilia-models \
    && mkdir /models && cp -a /root/.cache/emilia-models/. /models/ && chmod -R a+rX /models
RUN python cache_models.py --preset ${EMILIA_PRESET} --to /models --check

FROM gpu-python AS gpu
LABEL org.opencontainers.image.title="duplexforge-gpu" \
      org.opencontainers.image.description="The speech pipeline with its models, and training." \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.licenses="Apache-2.0"
RUN groupadd --gid 10001 duplexforge \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /scratch --shell /usr/sbin/nologin duplexforge \
    && install --directory --owner 10001 --group 10001 /scratch
COPY --from=gpu-build /opt/venv /opt/venv
COPY Emilia /app/Emilia
COPY --from=models /models /app/Emilia/models
ENV PATH=/opt/venv/bin:$PATH \
    EMILIA_PATH=/app/Emilia \
    HOME=/scratch \
    TMPDIR=/scratch \
    HF_HUB_OFFLINE=1 \
    PYANNOTE_METRICS_ENABLED=0 \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility
WORKDIR /app
USER 10001:10001
RUN duplexforge --version
ENTRYPOINT ["tini", "--", "duplexforge"]
CMD ["--help"]
