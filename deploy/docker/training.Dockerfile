# The commands that train, calibrate and measure models, with torch. Build it in the folder of the checkout:
#
#     docker build -f deploy/docker/training.Dockerfile -t cxrd-training .
#
# Films and bundles lie in the folder that is mounted at /work, which belongs to the user of the container:
#
#     docker run --rm --gpus all --user "$(id -u):$(id -g)" --ipc host -v "$PWD:/work" cxrd-training \
#         model train --help
ARG BASE=docker.io/library/debian:bookworm-slim

FROM ${BASE}
SHELL ["/bin/sh", "-euc"]
# A new build takes the security fixes of Debian.
# hadolint ignore=DL3008
RUN apt-get update; \
    apt-get install -y --no-install-recommends ca-certificates python3 python3-venv tini; \
    rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY requirements-full.txt ./
# The lock names the builds of PyPI, which bring CUDA.
RUN python3 -m venv /opt/cxrd; \
    /opt/cxrd/bin/pip install --no-cache-dir --require-hashes -r requirements-full.txt
COPY . ./
RUN /opt/cxrd/bin/pip install --no-cache-dir --no-deps .; \
    /opt/cxrd/bin/cxrd --version; \
    rm -rf /src/*; \
    groupadd --gid 10001 cxrd; \
    useradd --uid 10001 --gid 10001 --no-create-home --shell /usr/sbin/nologin cxrd; \
    install -d -o 10001 -g 10001 /work
ENV PATH=/opt/cxrd/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    HOME=/tmp \
    XDG_CACHE_HOME=/tmp/cache
LABEL org.opencontainers.image.title="cxrd training" \
      org.opencontainers.image.description="Training and measuring of chest X-ray models. Research use only." \
      org.opencontainers.image.licenses="Apache-2.0"
USER 10001:10001
WORKDIR /work
STOPSIGNAL SIGTERM
ENTRYPOINT ["/usr/bin/tini", "--", "/opt/cxrd/bin/cxrd"]
CMD ["model", "--help"]
