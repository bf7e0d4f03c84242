# One image for every process; which requirements it holds is the build argument's: serve (default) or learn (adds River).
ARG PYTHON=3.12

FROM python:${PYTHON}-slim AS build
ARG REQUIREMENTS=serve
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
WORKDIR /build
# For the compiled parts of the request path; without it numpy serves, several times slower.
RUN apt-get update && apt-get install -y --no-install-recommends gcc libc6-dev && rm -rf /var/lib/apt/lists/*
RUN python -m venv /opt/opportune
COPY requirements/ requirements/
RUN python -m pip install --require-hashes -r requirements/build.txt \
 && /opt/opportune/bin/python -m pip install --require-hashes -r requirements/${REQUIREMENTS}.txt
COPY pyproject.toml hatch_build.py README.md LICENSE ./
COPY src/ src/
RUN python -m pip wheel --no-deps --no-build-isolation --wheel-dir /build/wheels . \
 && /opt/opportune/bin/python -m pip install --no-deps --no-index /build/wheels/*.whl

FROM python:${PYTHON}-slim
COPY --from=build /opt/opportune /opt/opportune
ENV PATH=/opt/opportune/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
# No name needed, only that it is not root; compose runs it as the owner of the files.
USER 10001:10001
WORKDIR /home/opportune
ENTRYPOINT ["python", "-m", "opportune"]
CMD ["--help"]
