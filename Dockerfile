# syntax=docker/dockerfile:1
# The node as an image: no compiler, no secrets, no root. Everything installed is pinned by hash.

FROM python:3.11-slim AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
RUN python -m venv --without-pip /opt/metawatt
WORKDIR /src
COPY requirements.lock requirements-build.lock ./
RUN pip install --require-hashes --requirement requirements-build.lock \
    && pip --python /opt/metawatt/bin/python install --require-hashes --only-binary :all: \
        --requirement requirements.lock
COPY pyproject.toml README.md ./
COPY config config
COPY store store
COPY certificates certificates
COPY overlay overlay
COPY topics topics
COPY lookup lookup
COPY basket basket
COPY energytag energytag
COPY bridge bridge
COPY api api
COPY cli cli
RUN pip wheel --no-deps --no-build-isolation --wheel-dir /wheels . \
    && pip --python /opt/metawatt/bin/python install --no-deps /wheels/*.whl \
    && /opt/metawatt/bin/python -m compileall -q /opt/metawatt/lib

FROM python:3.11-slim
RUN groupadd --gid 10001 metawatt \
    && useradd --uid 10001 --gid metawatt --home-dir /data --no-create-home --shell /usr/sbin/nologin metawatt \
    && install --directory --owner metawatt --group metawatt --mode 0700 /data
COPY --from=build /opt/metawatt /opt/metawatt
ENV PATH=/opt/metawatt/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    METAWATT_NODE__HOST=0.0.0.0 \
    METAWATT_NODE__PORT=8080 \
    METAWATT_NODE__DATA_DIR=/data \
    METAWATT_LOG__FORMAT=json
USER 10001:10001
WORKDIR /data
VOLUME /data
EXPOSE 8080
# Longer than node.shutdown_secs must be given to `docker stop --time`; compose does.
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request as r; r.urlopen('http://127.0.0.1:' + os.environ['METAWATT_NODE__PORT'] + '/health/ready', timeout=4)"]
ENTRYPOINT ["metawatt"]
CMD ["serve"]
