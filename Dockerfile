# The base images are arguments, for places where no public registry is reachable.
ARG BUILD_IMAGE=docker.io/library/rust:1.95-bookworm
ARG RUN_IMAGE=gcr.io/distroless/cc-debian12:nonroot

FROM ${BUILD_IMAGE} AS build
WORKDIR /build
# The dependencies are a layer of their own: they are built again only when Cargo.lock changes.
COPY Cargo.toml Cargo.lock ./
RUN mkdir -p src benches/relay \
    && echo 'fn main() {}' > src/main.rs && touch src/lib.rs && echo 'fn main() {}' > benches/relay/main.rs \
    && cargo build --release --locked --bin pushrelay \
    && rm -rf src benches target/release/pushrelay target/release/deps/*pushrelay* target/release/.fingerprint/pushrelay-*
COPY . .
ARG PUSHRELAY_COMMIT=
RUN PUSHRELAY_COMMIT=${PUSHRELAY_COMMIT} cargo build --release --locked --bin pushrelay
# Where the image of mattermost-push-proxy has its files: its mounts and paths work here too (docs/migrating.md).
RUN mkdir -p /image/mattermost-push-proxy/config /image/mattermost-push-proxy/certs /image/mattermost-push-proxy/bin \
    && ln -s /usr/local/bin/pushrelay /image/mattermost-push-proxy/bin/mattermost-push-proxy \
    && chown -R 65534:65534 /image/mattermost-push-proxy

FROM ${RUN_IMAGE}
LABEL org.opencontainers.image.title="pushrelay" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /build/target/release/pushrelay /usr/local/bin/pushrelay
COPY --from=build /image/ /
WORKDIR /etc/pushrelay
USER 65534:65534
EXPOSE 8066
ENTRYPOINT ["/usr/local/bin/pushrelay"]
CMD ["serve", "--config", "/etc/pushrelay/pushrelay.toml"]
