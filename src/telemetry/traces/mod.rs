//! Traces: one span for each notification, one below it for each attempt, sent to a collector by OTLP. Off unless configured,
//! and then nothing is made: neither spans nor ids.
//!
//! No device token and no text is in a span, only what a line of the log has as well.

#[cfg(feature = "otlp")]
mod export;

use std::borrow::Cow;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::mpsc;
use url::Url;

use super::log::Subject;
use crate::clock::Clock;
use crate::outcome::{Attempt, Report};

/// Spans that wait to be sent, at most: about 0.5 KiB each. What comes while it is full is counted and dropped.
#[cfg(feature = "otlp")]
const WAITING: usize = 4_096;

/// Where spans go, and which.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceSettings {
    /// The collector's address for traces, path included.
    pub endpoint: Url,
    /// What the relay is called there.
    pub service_name: String,
    /// How many of a hundred notifications whose sender does not say whether they are to be traced.
    pub sample_percent: u8,
}

/// Why there are no traces.
#[derive(Debug, thiserror::Error)]
pub enum TracesError {
    /// Left out when it was built.
    #[error("this program was built without traces (feature `otlp`)")]
    NotBuilt,
    /// The exporter.
    #[error("traces cannot be sent: {0}")]
    Exporter(String),
}

/// Takes spans. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Traces(Option<Arc<On>>);

#[derive(Debug)]
struct On {
    spans: mpsc::Sender<Span>,
    sample_percent: u8,
    clock: Clock,
    dropped: AtomicU64,
}

/// A trace that a caller has begun: `traceparent` of the W3C's Trace Context.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parent {
    trace: u128,
    span: u64,
    sampled: bool,
}

/// A notification's span that has not ended. Only what is to be sent has one.
#[derive(Debug)]
pub struct Open {
    trace: u128,
    span: u64,
    parent: Option<u64>,
    began: Duration,
}

/// What stands behind a key.
#[derive(Debug)]
#[cfg_attr(not(feature = "otlp"), expect(dead_code, reason = "read by the exporter alone"))]
enum Attribute {
    Text(Cow<'static, str>),
    Number(u64),
}

/// One that has ended. Times are since the Unix epoch.
#[derive(Debug)]
#[cfg_attr(not(feature = "otlp"), expect(dead_code, reason = "read by the exporter alone"))]
struct Span {
    name: &'static str,
    trace: u128,
    id: u64,
    parent: Option<u64>,
    /// The parent is the caller's.
    is_entry: bool,
    began: Duration,
    ended: Duration,
    attributes: Vec<(&'static str, Attribute)>,
    failed: bool,
}

tokio::task_local! {
    static PARENT: Parent;
}

/// Runs a request as part of its caller's trace, if there is one.
pub async fn under<T>(parent: Option<Parent>, request: impl Future<Output = T>) -> T {
    match parent {
        Some(parent) => PARENT.scope(parent, request).await,
        None => request.await,
    }
}

impl Parent {
    /// `00-<32 hex>-<16 hex>-<2 hex>`. Later versions may have more behind it; anything else is no trace, as the standard
    /// says.
    pub fn of(header: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(header).ok()?;
        let is_lower_hex =
            |part: &&str| part.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
        let mut parts = text.split('-');
        let mut part = |length| parts.next().filter(|part: &&str| part.len() == length).filter(is_lower_hex);
        let (version, trace, span, flags) = (part(2)?, part(32)?, part(16)?, part(2)?);
        if version == "ff" || (version == "00" && parts.next().is_some()) {
            return None;
        }
        let trace = u128::from_str_radix(trace, 16).ok().filter(|trace| *trace != 0)?;
        let span = u64::from_str_radix(span, 16).ok().filter(|span| *span != 0)?;
        let sampled = u8::from_str_radix(flags, 16).ok()? & 1 == 1;
        Some(Self { trace, span, sampled })
    }
}

impl Traces {
    /// Begins to take spans. The future sends them until `stop` is ready, and then what still waits.
    #[cfg(feature = "otlp")]
    pub fn start(
        settings: &TraceSettings,
        clock: &Clock,
        stop: impl Future<Output = ()> + Send + 'static,
    ) -> Result<(Self, impl Future<Output = ()> + Send + 'static), TracesError> {
        let (sender, receiver) = mpsc::channel(WAITING);
        let exporter = export::Exporter::new(settings).map_err(TracesError::Exporter)?;
        let on = On {
            spans: sender,
            sample_percent: settings.sample_percent,
            clock: clock.clone(),
            dropped: AtomicU64::new(0),
        };
        let on = Arc::new(on);
        Ok((Self(Some(Arc::clone(&on))), exporter.run(receiver, on, stop)))
    }

    /// There is nothing to send with.
    #[cfg(not(feature = "otlp"))]
    pub fn start(
        _settings: &TraceSettings,
        _clock: &Clock,
        _stop: impl Future<Output = ()> + Send + 'static,
    ) -> Result<(Self, std::future::Ready<()>), TracesError> {
        Err(TracesError::NotBuilt)
    }

    /// What a request's header says, if anybody wants to know.
    pub fn parent(&self, header: impl FnOnce() -> Option<Parent>) -> Option<Parent> {
        self.0.as_ref()?;
        header()
    }

    /// Spans that were not sent, since the start.
    pub fn dropped(&self) -> u64 {
        self.0.as_ref().map_or(0, |on| on.dropped.load(Ordering::Relaxed))
    }

    /// Begins a notification's span, if it is to be sent.
    pub fn open(&self) -> Option<Box<Open>> {
        let on = self.0.as_ref()?;
        let parent = PARENT.try_with(|parent| *parent).ok();
        let sampled = parent.map_or_else(|| fastrand::u8(..100) < on.sample_percent, |parent| parent.sampled);
        sampled.then(|| {
            Box::new(Open {
                trace: parent.map_or_else(|| fastrand::u128(1..), |parent| parent.trace),
                span: fastrand::u64(1..),
                parent: parent.map(|parent| parent.span),
                began: on.clock.unix(),
            })
        })
    }

    /// An attempt has ended, which took so long. `number` counts from 1.
    pub fn attempt(&self, open: &Open, attempt: &Attempt, number: u32, took: Duration) {
        let Some(on) = &self.0 else { return };
        let mut attributes = vec![
            ("pushrelay.attempt", Attribute::Number(number.into())),
            ("pushrelay.verdict", Attribute::Text(attempt.verdict.label().into())),
        ];
        attributes.extend(attempt.verdict.reason().map(|reason| ("pushrelay.reason", Attribute::Text(reason.into()))));
        let id = attempt.provider_id.as_ref();
        attributes.extend(id.map(|id| ("pushrelay.provider_id", Attribute::Text(id.to_string().into()))));
        let ended = on.clock.unix();
        on.send(Span {
            name: "attempt",
            trace: open.trace,
            id: fastrand::u64(1..),
            parent: Some(open.span),
            is_entry: false,
            // Two clocks: an attempt must not seem to begin before its notification.
            began: ended.saturating_sub(took).max(open.began).min(ended),
            ended,
            attributes,
            failed: attempt.verdict != crate::outcome::Verdict::Delivered,
        });
    }

    /// A notification has ended, or has come to the disk.
    pub fn end(&self, open: &Open, subject: &Subject<'_>, report: &Report) {
        let Some(on) = &self.0 else { return };
        let text = |text: &str| Attribute::Text(text.to_owned().into());
        let mut attributes = vec![
            ("pushrelay.server", text(subject.server)),
            ("pushrelay.target", text(subject.target)),
            ("pushrelay.kind", text(subject.kind)),
            ("pushrelay.outcome", Attribute::Text(report.outcome.word().into())),
        ];
        attributes.extend(report.reason.map(|reason| ("pushrelay.reason", Attribute::Text(reason.into()))));
        on.send(Span {
            name: "notification",
            trace: open.trace,
            id: open.span,
            parent: open.parent,
            is_entry: true,
            began: open.began,
            ended: on.clock.unix(),
            attributes,
            failed: matches!(report.outcome, crate::outcome::Outcome::Failed { .. }),
        });
    }
}

impl On {
    fn send(&self, span: Span) {
        if self.spans.try_send(span).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_callers_trace_is_read_as_the_standard_says() {
        let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
        let span = "00f067aa0ba902b7";
        let known = |sampled| {
            Some(Parent { trace: 0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736, span: 0x00f0_67aa_0ba9_02b7, sampled })
        };
        for (header, expected) in [
            (format!("00-{trace}-{span}-01"), known(true)),
            (format!("00-{trace}-{span}-00"), known(false)),
            (format!("cc-{trace}-{span}-03-what-comes-later"), known(true)),
            (format!("00-{trace}-{span}-01-more"), None),
            (format!("ff-{trace}-{span}-01"), None),
            (format!("00-{}-{span}-01", trace.to_uppercase()), None),
            (format!("00-{}-{span}-01", "0".repeat(32)), None),
            (format!("00-{trace}-{}-01", "0".repeat(16)), None),
            (format!("00-{trace}-{span}"), None),
            (format!("00-{trace}-{span}-1"), None),
            (String::new(), None),
        ] {
            assert_eq!(Parent::of(header.as_bytes()), expected, "{header}");
        }
        assert_eq!(Parent::of(&[0xff, 0xfe]), None);
    }

    fn on(sample_percent: u8, waiting: usize) -> (Traces, mpsc::Receiver<Span>, Clock) {
        let (spans, receiver) = mpsc::channel(waiting);
        let clock = Clock::manual(1_000);
        let on = On { spans, sample_percent, clock: clock.clone(), dropped: AtomicU64::new(0) };
        (Traces(Some(Arc::new(on))), receiver, clock)
    }

    #[tokio::test]
    async fn the_caller_decides_whether_its_trace_is_kept_and_the_percentage_about_the_others() {
        let parent = |sampled| Some(Parent { trace: 7, span: 8, sampled });
        for (percent, parent, kept) in
            [(0, None, false), (100, None, true), (0, parent(true), true), (100, parent(false), false)]
        {
            let (traces, _receiver, _) = on(percent, 1);
            let open = under(parent, async { traces.open() }).await;
            assert_eq!(open.is_some(), kept, "{percent} % {parent:?}");
        }
        assert!(Traces::default().open().is_none());
    }

    #[test]
    fn what_finds_no_room_is_dropped_and_counted() {
        let (traces, mut receiver, clock) = on(100, 1);
        let open = traces.open().unwrap();
        let attempt = Attempt::unanswered(crate::outcome::Verdict::Delivered);
        clock.advance(Duration::from_secs(5));
        for number in 1..=3 {
            traces.attempt(&open, &attempt, number, Duration::from_secs(1));
        }
        assert_eq!(traces.dropped(), 2);
        let span = receiver.try_recv().unwrap();
        assert_eq!((span.parent, span.trace), (Some(open.span), open.trace));
        assert_eq!(span.began + Duration::from_secs(1), span.ended);
    }
}
