# An image without a shell: the program, the C library and root certificates. docs/install.md says how it is built and run.
#
# The base images are arguments, to pin them by digest, and for places where no public registry is reachable
# (deploy/base-images makes both).
ARG BUILD_IMAGE=docker.io/library/rust:1.95-bookworm
ARG RUN_IMAGE=gcr.io/distroless/cc-debian12:nonroot

FROM ${BUILD_IMAGE} AS build
WORKDIR /build
# Features beside the usual ones: docs/tracing.md has one.
ARG PUSHRELAY_FEATURES=
# The same source gives the same program: where it was built is in none of its texts, and Cargo.lock decides what is in it.
ENV RUSTFLAGS="--remap-path-prefix=/build=/pushrelay --remap-path-prefix=/usr/local/cargo=/cargo" \
    CFLAGS="-ffile-prefix-map=/build=/pushrelay -ffile-prefix-map=/usr/local/cargo=/cargo"
# The dependencies are a layer of their own, built again only when these two files change. Cargo wants to see a source for
# everything that Cargo.toml names.
COPY Cargo.toml Cargo.lock ./
RUN mkdir -p src benches/relay \
    && touch src/lib.rs benches/queue.rs benches/relay/main.rs && echo 'fn main() {}' > src/main.rs \
    && cargo build --release --locked --features "${PUSHRELAY_FEATURES}" --bin pushrelay \
    && rm -rf src target/release/pushrelay target/release/deps/*pushrelay* target/release/.fingerprint/pushrelay-*
COPY src src
ARG PUSHRELAY_COMMIT=
RUN PUSHRELAY_COMMIT=${PUSHRELAY_COMMIT} cargo build --release --locked --features "${PUSHRELAY_FEATURES}" --bin pushrelay \
# Where it may write, and where the image of mattermost-push-proxy has its files: its mounts work here too.
    && mkdir -p /image/usr/local/bin /image/etc/pushrelay /image/var/lib/pushrelay \
        /image/mattermost-push-proxy/config /image/mattermost-push-proxy/certs /image/mattermost-push-proxy/bin \
    && cp target/release/pushrelay /image/usr/local/bin/ \
    && ln -s /usr/local/bin/pushrelay /image/mattermost-push-proxy/bin/mattermost-push-proxy \
    && chmod 0700 /image/var/lib/pushrelay \
    && chown -R 65534:65534 /image/var/lib/pushrelay /image/mattermost-push-proxy

FROM ${RUN_IMAGE}
ARG PUSHRELAY_COMMIT=
ARG PUSHRELAY_VERSION=
LABEL org.opencontainers.image.title="pushrelay" \
      org.opencontainers.image.description="A self-hosted push relay: from signed requests of chat servers to APNs and FCM" \
      org.opencontainers.image.source="https://github.com/pushrelay/pushrelay" \
      org.opencontainers.image.documentation="https://github.com/pushrelay/pushrelay/blob/main/docs/install.md" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${PUSHRELAY_VERSION}" \
      org.opencontainers.image.revision="${PUSHRELAY_COMMIT}"
COPY --from=build /image/ /
WORKDIR /etc/pushrelay
# Numbers: Kubernetes cannot tell whether a name is root's.
USER 65534:65534
EXPOSE 8066
# Whether the process answers, not whether Apple does: nothing is gained by restarting a relay for a provider's outage. It asks
# at port 8066, or where variables say (PUSHRELAY_LISTEN, PUSHRELAY_OPS__LISTEN, PUSHRELAY_CONFIG). No variable is set here:
# it would hold for mattermost-push-proxy's arguments and file as well.
HEALTHCHECK --interval=30s --timeout=5s --start-period=10s --retries=3 CMD ["/usr/local/bin/pushrelay", "health"]
ENTRYPOINT ["/usr/local/bin/pushrelay"]
CMD ["serve", "--config", "/etc/pushrelay/pushrelay.toml"]
