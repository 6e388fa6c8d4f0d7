# The node, without torch and CUDA. Build it in the folder of the checkout:
#
#     docker build -f deploy/docker/serving.Dockerfile -t cxrd .
#
# The container runs as user 10001 with a read-only root: it writes to the volume /var/lib/cxrd and to /tmp.
#
#     docker run --read-only --tmpfs /tmp --cap-drop ALL --security-opt no-new-privileges \
#         -v cxrd:/var/lib/cxrd -v ./config.yaml:/etc/cxrd/config.yaml:ro -p 11112:11112 cxrd
ARG BASE=docker.io/library/debian:bookworm-slim

FROM ${BASE} AS build
SHELL ["/bin/sh", "-euc"]
# A new build takes the security fixes of Debian.
# hadolint ignore=DL3008
RUN apt-get update; \
    apt-get install -y --no-install-recommends ca-certificates python3 python3-venv; \
    rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY requirements-serving.txt ./
RUN python3 -m venv /opt/cxrd; \
    /opt/cxrd/bin/pip install --no-cache-dir --require-hashes -r requirements-serving.txt
COPY . ./
# The environment of the node needs no installer.
RUN /opt/cxrd/bin/pip install --no-cache-dir --no-deps .; \
    /opt/cxrd/bin/pip uninstall -y pip setuptools; \
    /opt/cxrd/bin/cxrd --version

FROM ${BASE}
SHELL ["/bin/sh", "-euc"]
# tini ends the processes whose parent was killed; a backup calls pg_dump where the store is PostgreSQL.
# hadolint ignore=DL3008
RUN apt-get update; \
    apt-get install -y --no-install-recommends ca-certificates postgresql-client python3 tini; \
    rm -rf /var/lib/apt/lists/*; \
    groupadd --gid 10001 cxrd; \
    useradd --uid 10001 --gid 10001 --home-dir /var/lib/cxrd --shell /usr/sbin/nologin cxrd; \
    install -d -m 700 -o 10001 -g 10001 /var/lib/cxrd
COPY --from=build /opt/cxrd /opt/cxrd
COPY deploy/docker/config.yaml /etc/cxrd/config.yaml
COPY deploy/docker/healthcheck.py /opt/cxrd/healthcheck.py
ENV PATH=/opt/cxrd/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    XDG_CACHE_HOME=/var/lib/cxrd/cache \
    MPLCONFIGDIR=/var/lib/cxrd/cache/matplotlib
LABEL org.opencontainers.image.title="cxrd" \
      org.opencontainers.image.description="DICOM node that reads chest X-rays. Research use only." \
      org.opencontainers.image.licenses="Apache-2.0"
USER 10001:10001
WORKDIR /var/lib/cxrd
VOLUME /var/lib/cxrd
EXPOSE 11112 8080
STOPSIGNAL SIGTERM
# The first start builds the network; later ones read it from the volume.
HEALTHCHECK --interval=30s --timeout=20s --start-period=120s --retries=3 \
    CMD ["/opt/cxrd/bin/python", "/opt/cxrd/healthcheck.py", "/etc/cxrd/config.yaml"]
ENTRYPOINT ["/usr/bin/tini", "--", "/opt/cxrd/bin/cxrd"]
CMD ["serve", "--config", "/etc/cxrd/config.yaml"]
