# avpipe with the tested versions, so that all workers of a cluster have the same:
#   docker build -t avpipe .
#   docker run -v /shared:/shared avpipe extract /shared/videos --cache /shared/avcache
#   docker run --network host -v /shared:/shared --entrypoint dask avpipe worker tcp://HOST:8786 --nthreads 1
# CPU-only builds of torch: --build-arg TORCH_INDEX=https://... (the address that pytorch.org gives)
FROM python:3.11-slim AS build
WORKDIR /src
COPY . .
RUN pip install --no-cache-dir -c constraints.txt build setuptools
RUN python -m build --wheel --no-isolation --outdir /wheels .

FROM python:3.11-slim
ARG TORCH_INDEX=
ARG EXTRAS=dask
COPY constraints.txt /install/
COPY --from=build /wheels/ /install/
RUN pip install --no-cache-dir ${TORCH_INDEX:+--extra-index-url "$TORCH_INDEX"} -c /install/constraints.txt "$(echo /install/avpipe-*.whl)[$EXTRAS]"
RUN useradd --create-home avpipe
USER avpipe
WORKDIR /home/avpipe
HEALTHCHECK --interval=5m --timeout=2m CMD ["avpipe", "doctor"]
ENTRYPOINT ["avpipe"]
