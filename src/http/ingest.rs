//! Which request of the chat servers' listener goes where, and who is asked about it: admission whether it may be sent, the
//! relay what became of it.

use std::sync::Arc;

use axum::Router;
use bytes::Bytes;
use futures_util::future::Either;
use http::Method;
use hyper::body::Body;

use super::answer::Answer;
use super::native::{self, ApiError, NOTIFICATIONS, Signed};
use super::push::Claimed;
use super::serve::{Answering, Routes};
use super::signed::SignedHeaders;
use super::{Edge, SEND_PUSH, push, routes};
use crate::admission::{Admitted, Caller, Proven, Refusal, RefusalKind};
use crate::notification::{Notification, TargetName};
use crate::outcome::{Outcome, Report};
use crate::relay::When;
use crate::telemetry::log;
use crate::telemetry::traces::{self, Parent};

/// Which trace a request belongs to (W3C Trace Context).
const TRACEPARENT: &str = "traceparent";

/// Pushes go past the router: they are all but a few of the requests, and its layers would cost each a microsecond and
/// a kilobyte while it is in flight.
pub(super) fn ingest_routes(edge: Arc<Edge>, router: Router) -> Routes {
    let others = routes(router);
    let throttle = edge.throttle.clone();
    let unlimited = Routes::new(move |request, peer| {
        let path = request.uri().path();
        if request.method() != Method::POST || (path != SEND_PUSH && path != NOTIFICATIONS) {
            return others.answer(request, peer);
        }
        let caller = Caller {
            address: edge.client_address.client(peer.address, request.headers()),
            certificate: peer.identity.as_ref().map(|identity| identity.fingerprint_sha256),
        };
        let parent = edge.relay.traces().parent(|| Parent::of(request.headers().get(TRACEPARENT)?.as_bytes()));
        let edge = Arc::clone(&edge);
        let answering: Answering = if path == NOTIFICATIONS {
            let (head, body) = request.into_parts();
            Box::pin(async move { edge.notify(caller, SignedHeaders(head.headers), body).await })
        } else if SignedHeaders::are_in(request.headers()) {
            let (head, body) = request.into_parts();
            Box::pin(async move { edge.send_signed_push(caller, SignedHeaders(head.headers), body).await })
        } else {
            let body = request.into_body();
            Box::pin(async move { edge.send_push(caller, body).await })
        };
        match parent {
            None => answering,
            Some(_) => Box::pin(traces::under(parent, answering)),
        }
    });
    match throttle {
        Some(throttle) => throttle.before(unlimited),
        None => unlimited,
    }
}

impl Edge {
    pub(super) async fn send_push<B>(&self, caller: Caller, body: B) -> Answer
    where
        B: Body<Data = Bytes> + Unpin,
    {
        push::send(
            &self.gate,
            &self.metrics,
            self.compatibility,
            Claimed { server: "", client: caller.address },
            body,
            |_| Ok(()),
            |(), notification| {
                let admitted = self.admission.admit(caller, notification, |push| self.relay.is_repeat(push))?;
                Ok(self.deliver(admitted))
            },
        )
        .await
    }

    fn deliver(&self, admitted: Admitted<Notification>) -> impl Future<Output = Outcome> + Send + '_ {
        if let Some(refusal) = admitted.observed() {
            self.metrics.observed_refusal(refusal.label());
        }
        self.relay.deliver(admitted)
    }

    /// Mattermost's request from another chat server, which signs it as a whole.
    async fn send_signed_push<B>(&self, caller: Caller, headers: SignedHeaders, body: B) -> Answer
    where
        B: Body<Data = Bytes> + Unpin,
    {
        let verify = |body: &[u8]| match self.admission.prove(caller, headers.server(), headers.webhook(), body) {
            Ok(proven) => Ok(Some(proven)),
            // Sent all the same, and counted as what it is without this signature.
            Err(_) if self.admission.sends_everything() => Ok(None),
            Err(refusal) => Err(refusal),
        };
        let claimed = Claimed { server: headers.server().unwrap_or_default(), client: caller.address };
        push::send(&self.gate, &self.metrics, self.compatibility, claimed, body, verify, |proven, mut notification| {
            if proven.is_some() && notification.ack_id.is_empty() {
                // The signature's id names the request: a repeat is known by it.
                notification.ack_id = headers.id();
            }
            let admitted = match proven {
                Some(proven) => {
                    self.admission.admit_proven(&proven, notification, |push| self.relay.is_repeat(push))?
                }
                None => self.admission.admit(caller, notification, |push| self.relay.is_repeat(push))?,
            };
            Ok(self.deliver(admitted))
        })
        .await
    }

    /// A program's message to many devices.
    pub(super) async fn notify<B>(&self, caller: Caller, headers: SignedHeaders, body: B) -> Answer
    where
        B: Body<Data = Bytes> + Unpin,
    {
        let claimed = Claimed { server: headers.server().unwrap_or_default(), client: caller.address };
        let verify = |body: &[u8]| {
            let proven = self.admission.prove(caller, headers.server(), headers.webhook(), body);
            let proof = proven.map_err(|refusal| self.refused(refusal, claimed))?;
            Ok(Signed { server: proof.server_id().clone(), id: headers.id(), proof })
        };
        let later = headers.prefer_to_hear_soon() && self.relay.takes_entries();
        let admit = |proven: Proven, target: &TargetName| {
            self.admission.may_push_to(&proven, target).map_err(|refusal| self.refused(refusal, claimed))?;
            if !self.relay.knows(target) {
                return Err(ApiError::unknown_target());
            }
            Ok(move |notification: Notification, within| {
                let (ack_id, kind) = (notification.ack_id.clone(), notification.kind.word());
                let (server, target) = (notification.server_id.clone(), notification.target.clone());
                let subject = log::Subject { ack_id: &ack_id, server: server.as_str(), target: target.as_str(), kind };
                match self.admission.admit_proven(&proven, notification, |push| self.relay.is_repeat(push)) {
                    Ok(admitted) => {
                        let when = if later { When::Later } else { When::Now(within) };
                        Either::Left(self.relay.report(admitted, when))
                    }
                    Err(refusal) => {
                        self.metrics.refusal(refusal.label());
                        log::refusal_line(&subject, claimed.client, refusal.label());
                        self.metrics.refused().note(&subject, refusal.label(), &refusal.to_string());
                        Either::Right(std::future::ready(not_admitted(refusal)))
                    }
                }
            })
        };
        native::send(&self.gate, &self.native, &self.metrics, claimed, later, body, verify, admit).await
    }

    fn refused(&self, refusal: Refusal, claimed: Claimed<'_>) -> ApiError {
        self.metrics.refusal(refusal.label());
        let text = refusal.to_string();
        let subject = log::Subject { ack_id: "", server: claimed.server, target: "", kind: "unread" };
        self.metrics.refused().note(&subject, refusal.label(), &text);
        let error = match refusal.kind() {
            RefusalKind::Unproven => ApiError::unauthorized(text),
            RefusalKind::Forbidden => ApiError::forbidden(text),
            RefusalKind::TooOften { retry_after } => ApiError::too_many(text, retry_after),
        };
        error.because(refusal.label())
    }
}

/// What becomes of one device of a message whose server has used up what it may.
fn not_admitted(refusal: Refusal) -> Report {
    Report {
        outcome: Outcome::Failed { text: refusal.to_string().into() },
        reason: Some(refusal.label()),
        may_be_repeated: matches!(refusal.kind(), RefusalKind::TooOften { .. }),
    }
}
