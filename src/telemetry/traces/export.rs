//! From spans to a collector: OTLP over HTTP, in batches, on the relay's one TLS stack.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, UNIX_EPOCH};

use opentelemetry::trace::{SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState};
use opentelemetry::{InstrumentationScope, KeyValue, Value};
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanExporter as _, SpanLinks};
use tokio::sync::mpsc;

use super::{Attribute, On, Span, TraceSettings};

/// Spans sent at once, at most.
const BATCH: usize = 512;

/// How long the first span of a batch waits for others.
const PAUSE: Duration = Duration::from_secs(1);

/// The longest wait for a collector to take a batch.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The most read of a collector's answer, bytes.
const ANSWER: usize = 64 * 1024;

pub(super) struct Exporter {
    otlp: SpanExporter,
    scope: InstrumentationScope,
}

impl Exporter {
    pub(super) fn new(settings: &TraceSettings) -> Result<Self, String> {
        let client = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .timeout(TIMEOUT)
            // In clear there is no certificate to look at, and the system's authorities need not be read for it.
            .tls_danger_accept_invalid_certs(settings.endpoint.scheme() == "http")
            .build()
            .map_err(|_| "the HTTP client cannot be set up".to_owned())?;
        let mut otlp = SpanExporter::builder()
            .with_http()
            .with_http_client(Client(client))
            .with_protocol(Protocol::HttpBinary)
            .with_endpoint(settings.endpoint.as_str())
            .with_timeout(TIMEOUT)
            .build()
            .map_err(|error| error.to_string())?;
        otlp.set_resource(&Resource::builder_empty().with_service_name(settings.service_name.clone()).build());
        let scope = InstrumentationScope::builder("pushrelay").with_version(env!("CARGO_PKG_VERSION")).build();
        Ok(Self { otlp, scope })
    }

    /// Sends until told to stop, and then what still waits.
    pub(super) async fn run(
        self,
        mut spans: mpsc::Receiver<Span>,
        on: Arc<On>,
        stop: impl Future<Output = ()> + Send + 'static,
    ) {
        let mut stop = std::pin::pin!(stop);
        let mut batch = Vec::with_capacity(BATCH);
        let (mut is_failing, mut stopping) = (false, false);
        loop {
            if !stopping {
                tokio::select! {
                    biased;
                    () = &mut stop => stopping = true,
                    _ = spans.recv_many(&mut batch, BATCH) => {}
                }
            }
            if !stopping && batch.len() < BATCH {
                // What comes meanwhile waits in the channel.
                tokio::select! {
                    () = &mut stop => stopping = true,
                    () = tokio::time::sleep(PAUSE) => {}
                }
            }
            while batch.len() < BATCH
                && let Ok(span) = spans.try_recv()
            {
                batch.push(span);
            }
            if batch.is_empty() {
                // Only the end wakes it without a span: the channel cannot be closed, since `on` holds it open.
                return;
            }
            let count = batch.len() as u64;
            let sent = self.otlp.export(batch.drain(..).map(|span| self.data(span)).collect()).await;
            if sent.is_err() {
                on.dropped.fetch_add(count, Ordering::Relaxed);
            }
            // Said once, not for each batch: the metric counts. The error could quote an address with a password.
            if sent.is_err() && !is_failing {
                tracing::warn!("the collector takes no traces: spans are dropped until it does");
            }
            is_failing = sent.is_err();
        }
    }

    fn data(&self, span: Span) -> SpanData {
        let context = SpanContext::new(
            TraceId::from_bytes(span.trace.to_be_bytes()),
            SpanId::from_bytes(span.id.to_be_bytes()),
            TraceFlags::SAMPLED,
            false,
            TraceState::NONE,
        );
        let attributes = span.attributes.into_iter().map(|(key, value)| {
            let value = match value {
                Attribute::Text(text) => Value::from(text),
                Attribute::Number(number) => Value::I64(number.cast_signed()),
            };
            KeyValue::new(key, value)
        });
        SpanData {
            span_context: context,
            parent_span_id: span.parent.map_or(SpanId::INVALID, |parent| SpanId::from_bytes(parent.to_be_bytes())),
            parent_span_is_remote: span.is_entry && span.parent.is_some(),
            span_kind: if span.is_entry { SpanKind::Server } else { SpanKind::Client },
            name: span.name.into(),
            start_time: UNIX_EPOCH + span.began,
            end_time: UNIX_EPOCH + span.ended,
            attributes: attributes.collect(),
            dropped_attributes_count: 0,
            events: SpanEvents::default(),
            links: SpanLinks::default(),
            status: if span.failed { Status::error("") } else { Status::Unset },
            instrumentation_scope: self.scope.clone(),
        }
    }
}

/// The relay's own HTTP client, for the exporter.
#[derive(Debug)]
struct Client(reqwest::Client);

impl HttpClient for Client {
    fn send_bytes<'s, 'f>(
        &'s self,
        request: Request<Bytes>,
    ) -> Pin<Box<dyn Future<Output = Result<Response<Bytes>, HttpError>> + Send + 'f>>
    where
        's: 'f,
        Self: 'f,
    {
        Box::pin(async move {
            let (head, body) = request.into_parts();
            let url = head.uri.to_string();
            let mut answer = self.0.request(head.method, url).headers(head.headers).body(body).send().await?;
            let status = answer.status();
            let mut body = Vec::new();
            while let Some(chunk) = answer.chunk().await? {
                if body.len() + chunk.len() > ANSWER {
                    return Err("the collector's answer is too long".into());
                }
                body.extend_from_slice(&chunk);
            }
            Ok(Response::builder().status(status).body(body.into())?)
        })
    }
}
