# The server as an image: docker build -t tertulia .
#
# Two stages: the first one has what builds, the second one only what runs. No secret goes in: keys and
# passwords are given when a container starts, see docs/deploying.md.

ARG PYTHON=3.13-slim-bookworm

FROM python:${PYTHON} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /build
# What changes least comes first: an edit of the code installs nothing anew.
COPY deploy/requirements.lock deploy/build.lock ./
RUN python -m venv --without-pip /app \
    && python -m pip --python /app install --no-deps --require-hashes --only-binary=:all: -r requirements.lock \
    && python -m pip install --no-deps --require-hashes --only-binary=:all: -r build.lock
COPY pyproject.toml README.md LICENSE ./
COPY src src
RUN python -m pip wheel --no-deps --no-build-isolation --wheel-dir dist . \
    && python -m pip --python /app install --no-deps dist/*.whl

FROM python:${PYTHON}
LABEL org.opencontainers.image.title="Tertulia" \
      org.opencontainers.image.description="Conversational agents that never lose the thread." \
      org.opencontainers.image.licenses="Apache-2.0"
RUN groupadd --gid 10001 tertulia \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /data --shell /usr/sbin/nologin tertulia \
    && install --directory --mode 0700 --owner 10001 --group 10001 /data
COPY --from=build /app /app
# Inside a container the loopback address reaches nobody. TERTULIA_AUTH is left to whoever starts one: without
# authentication the server refuses to listen here until somebody has said who else decides who comes in.
ENV PATH=/app/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    TERTULIA_HOST=0.0.0.0 \
    TERTULIA_DATA_DIR=/data
WORKDIR /app
USER 10001:10001
VOLUME /data
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 \
    CMD ["python", "-c", "import http.client, os, sys; c = http.client.HTTPConnection('127.0.0.1', int(os.environ.get('TERTULIA_PORT') or 8000), timeout=4); c.request('GET', '/readyz'); sys.exit(c.getresponse().status != 200)"]
ENTRYPOINT ["tertulia"]
CMD ["serve"]
