# The kit in a container. CPU: `docker build -t lead_kit .`; CUDA: `docker build --build-arg TORCH=cu130 -t lead_kit .`
FROM python:3.11-slim-bookworm
ARG TORCH=cpu
RUN apt-get update && apt-get install -y --no-install-recommends make git && rm -rf /var/lib/apt/lists/*
WORKDIR /lead_kit
COPY . .
RUN make install TORCH_ARGS="--index-url https://download.pytorch.org/whl/$TORCH" && rm -rf /root/.cache
ENV PATH=/lead_kit/.venv/bin:$PATH
CMD ["make", "lab", "LAB_ARGS=--allow-root"]
