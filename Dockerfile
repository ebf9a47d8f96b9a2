# One image for both roles: `serve` (the default), or `api` and `worker` apart.
FROM python:3.12.12-slim-bookworm AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /src
RUN python -m venv /opt/gateway
COPY requirements requirements
RUN pip install --quiet --root-user-action=ignore --require-hashes --requirement requirements/build.lock \
    && /opt/gateway/bin/pip install --quiet --require-hashes --requirement requirements/runtime.lock
COPY pyproject.toml LICENSE README.md ./
COPY gateway gateway
RUN pip wheel --quiet --no-deps --no-build-isolation --wheel-dir /wheels . \
    && /opt/gateway/bin/pip install --quiet --no-deps --no-index /wheels/*.whl

FROM python:3.12.12-slim-bookworm
RUN groupadd --gid 10001 gateway \
    && useradd --uid 10001 --gid gateway --no-create-home --home-dir /data --shell /usr/sbin/nologin gateway \
    && install --directory --owner gateway --group gateway /data
COPY --from=build /opt/gateway /opt/gateway
ENV PATH=/opt/gateway/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 GATEWAY_BIND=0.0.0.0:8080
# SQLite's file, and beside it the key that webhook secrets are derived from.
WORKDIR /data
VOLUME /data
USER 10001:10001
EXPOSE 8080
STOPSIGNAL SIGTERM
# Asks the API whether it is alive: a database that is away for a moment is no reason to restart.
# For a container that runs only a worker, switch it off (`healthcheck: {disable: true}`).
HEALTHCHECK --interval=15s --timeout=5s --start-period=30s --retries=3 \
    CMD ["python", "-c", "import http.client as h, os, sys; c = h.HTTPConnection('127.0.0.1', int(os.environ['GATEWAY_BIND'].split(':')[-1]), timeout=4); c.request('GET', '/healthz'); sys.exit(c.getresponse().status != 200)"]
ENTRYPOINT ["gateway"]
CMD ["serve"]
