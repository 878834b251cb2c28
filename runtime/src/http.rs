//! The HTTP ingress: events as JSON, what runs here, health and metrics.
//!
//! A handler is a client of this processor's own engine, through its bounded queue of requests; the core passes events
//! on to the active when this side is not. Every error is `application/problem+json` (RFC 9457) with `code`, `event`
//! and `retry`. Bodies are bounded.
//! Deliberately absent: streaming, multipart bodies (refused with a code), TLS.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::time::{Duration, Instant};

use actix_web::http::StatusCode;
use actix_web::http::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use lockstep_core::command::Role;
use lockstep_core::event::{Answer, Encoding, Event, EventId, FaultKind, KEY_BYTES_MAX, Outcome, Rejection};
use serde_json::{Value, json};

use crate::engine::answers::{self, FAULTED, fault_word, rejection_words};
use crate::engine::inbound::{Busy, EngineHandle};
use crate::engines::{Engines, by_key};
use crate::http_body::{self, Sent, Unreadable};
use crate::metrics;
use crate::plugins::Generations;

/// How long a client is kept waiting.
const DEADLINE: Duration = Duration::from_secs(10);
/// How long a client is kept waiting while nobody serves.
const UNSERVED_MAX: Duration = Duration::from_millis(1_500);
/// How often it is looked whether somebody serves.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How many HTTP connections are taken.
const CONNECTIONS_MAX: usize = 1_024;

/// What a client is told whose engine is not there.
const NO_ENGINE: &str = "this processor is stopping, or builds its engine anew after a work unit that hung; send it again with \
                         the same key, here or to the other processor";

/// What the handlers know.
pub struct Site {
    /// This processor.
    pub node: String,
    /// Its engines.
    pub engines: Engines,
    /// Its plugins.
    pub generations: Generations,
}

/// What a client should do about an error.
#[derive(Clone, Copy)]
enum Again {
    SameId,
    NewId,
    Never,
}

struct Problem {
    status: StatusCode,
    code: String,
    detail: String,
    event: Option<String>,
    again: Again,
}

impl Problem {
    fn new(status: StatusCode, code: &str, detail: impl Into<String>, again: Again) -> Self {
        Problem { status, code: code.into(), detail: detail.into(), event: None, again }
    }

    fn of_event(mut self, key: &str) -> Self {
        self.event = Some(key.into());
        self
    }

    fn response(self) -> HttpResponse {
        let retry = match self.again {
            Again::SameId => "same-id",
            Again::NewId => "new-id",
            Again::Never => "never",
        };
        let mut response = HttpResponse::build(self.status);
        response.insert_header((CONTENT_TYPE, "application/problem+json"));
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            response.insert_header((RETRY_AFTER, "1"));
        }
        if let Some(event) = &self.event {
            response.insert_header(("Lockstep-Event", event.clone()));
        }
        let body = json!({
            "title": self.status.canonical_reason().unwrap_or("error"),
            "status": self.status.as_u16(),
            "code": self.code,
            "detail": self.detail,
            "event": self.event,
            "retry": retry,
        });
        response.body(body.to_string() + "\n")
    }
}

/// Serves HTTP on `listener` until the actix system ends.
///
/// # Errors
/// When the listener can't be used.
pub fn serve(listener: TcpListener, site: Site) -> std::io::Result<actix_web::dev::Server> {
    let site = web::Data::new(site);
    let server = HttpServer::new(move || {
        App::new()
            .app_data(site.clone())
            .route("/", web::get().to(index))
            .route("/healthz", web::get().to(healthz))
            .route("/readyz", web::get().to(readyz))
            .route("/metrics", web::get().to(metrics_page))
            .route("/{application}/{procedure}", web::post().to(submit))
            .default_service(web::to(nothing_here))
    })
    .workers(1)
    .max_connections(CONNECTIONS_MAX)
    .shutdown_timeout(1)
    .disable_signals()
    .listen(listener)?
    .run();
    Ok(server)
}

async fn nothing_here(request: HttpRequest) -> HttpResponse {
    let detail = format!(
        "{} {} is nothing here; `GET /` lists what there is, events are sent with POST /APPLICATION/PROCEDURE",
        request.method(),
        request.path()
    );
    Problem::new(StatusCode::NOT_FOUND, "LS0312", detail, Again::Never).response()
}

/// A key for an event whose client gave none.
fn fresh_key() -> Result<String, Problem> {
    lockstep_os::random_u128().map(|random| format!("http-{random:032x}")).map_err(|error| {
        let detail = format!("no event id can be made: {error}; send a key of your own in `Idempotency-Key`");
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "LS0313", detail, Again::NewId)
    })
}

fn key_of(request: &HttpRequest) -> Result<String, Problem> {
    let Some(key) = request.headers().get("Idempotency-Key") else { return fresh_key() };
    idempotency_key(key).ok_or_else(|| {
        let detail = format!("`Idempotency-Key` is 1 to {KEY_BYTES_MAX} bytes of visible ASCII");
        Problem::new(StatusCode::BAD_REQUEST, "LS0314", detail, Again::Never)
    })
}

/// The key that a header names, with or without the quotes that its draft asks for. One with further quotes or space at its
/// ends is none: `Lockstep-Event` would not tell it from another.
pub(crate) fn idempotency_key(header: &HeaderValue) -> Option<String> {
    let text = header.to_str().unwrap_or_default().trim().trim_matches('"');
    let is_bare = text == text.trim().trim_matches('"');
    ((1..=KEY_BYTES_MAX).contains(&text.len()) && is_bare).then(|| text.into())
}

/// The event's partition key (R1), if it has one.
fn partition_key_of(request: &HttpRequest) -> Result<Option<String>, Problem> {
    let Some(key) = request.headers().get("Lockstep-Key") else { return Ok(None) };
    partition_key(key).map(Some).ok_or_else(|| {
        let detail = format!("`Lockstep-Key` is 1 to {KEY_BYTES_MAX} bytes of UTF-8");
        Problem::new(StatusCode::BAD_REQUEST, "LS0321", detail, Again::Never)
    })
}

pub(crate) fn partition_key(header: &HeaderValue) -> Option<String> {
    let key = std::str::from_utf8(header.as_bytes()).ok()?;
    (1..=KEY_BYTES_MAX).contains(&key.len()).then(|| key.to_owned())
}

/// An event that was turned away.
fn rejected(rejection: Rejection) -> Problem {
    let status = match rejection {
        Rejection::UnknownProcedure | Rejection::UnknownSession => StatusCode::NOT_FOUND,
        Rejection::MalformedParameters(_) | Rejection::KeyMissing { .. } => StatusCode::BAD_REQUEST,
        Rejection::WrongPartition { .. } => StatusCode::MISDIRECTED_REQUEST,
        Rejection::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
        Rejection::AlreadyAnswered | Rejection::EncodingConflict => StatusCode::CONFLICT,
        Rejection::WindowFull { .. } => StatusCode::TOO_MANY_REQUESTS,
        Rejection::NotEnabled => StatusCode::NOT_IMPLEMENTED,
        Rejection::Retired => StatusCode::GONE,
        Rejection::NoRoom { .. } => StatusCode::INSUFFICIENT_STORAGE,
    };
    let again = match status {
        StatusCode::TOO_MANY_REQUESTS | StatusCode::INSUFFICIENT_STORAGE => Again::SameId,
        _ => Again::Never,
    };
    let (code, detail) = rejection_words(rejection);
    Problem::new(status, code, detail, again)
}

/// A request whose event can't be read.
fn cannot_read(unreadable: Unreadable) -> Problem {
    match unreadable {
        Unreadable::TooLarge(bytes_max) => rejected(Rejection::TooLarge { bytes_max: bytes_max as u64 }),
        Unreadable::Broken(why) => {
            let detail = format!("the request did not come whole: {why}; send it again");
            Problem::new(StatusCode::BAD_REQUEST, "LS0315", detail, Again::SameId)
        }
        Unreadable::Parts(why) => {
            let detail = format!("{why}; a form has the parts `parameters` (JSON) and `body`");
            Problem::new(StatusCode::BAD_REQUEST, "LS0322", detail, Again::Never)
        }
        Unreadable::MediaType(kind) => {
            let detail = format!("`{kind}` is not taken: send JSON, or multipart/form-data");
            Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "LS0311", detail, Again::Never)
        }
    }
}

async fn submit(
    site: web::Data<Site>,
    path: web::Path<(String, String)>,
    request: HttpRequest,
    payload: web::Payload,
) -> HttpResponse {
    let (application, procedure) = path.into_inner();
    match run(&site, &application, procedure, &request, payload).await {
        Ok(response) => response,
        Err(problem) => problem.response(),
    }
}

async fn run(
    site: &Site,
    application: &str,
    procedure: String,
    request: &HttpRequest,
    payload: web::Payload,
) -> Result<HttpResponse, Problem> {
    let Some(engines) = site.engines.of(application) else {
        let detail = format!("application `{application}` does not run here; `GET /` lists those that do");
        return Err(Problem::new(StatusCode::NOT_FOUND, "LS0310", detail, Again::Never));
    };
    let key = key_of(request)?;
    let partition_key = partition_key_of(request).map_err(|problem| problem.of_event(&key))?;
    let engine =
        by_key(engines, partition_key.as_deref()).map_err(|rejection| rejected(rejection).of_event(&key))?;
    let Sent { parameters, body } = http_body::read(request, payload)
        .await
        .map_err(|unreadable| cannot_read(unreadable).of_event(&key))?;
    // No parameters at all are those of a procedure that needs none.
    let parameters = if parameters.is_empty() { b"{}".to_vec() } else { parameters };
    let event = Event {
        id: EventId::Keyed { key: key.clone() },
        awaited_from: 0,
        procedure: procedure.into(),
        encoding: Encoding::Json,
        parameters,
        body,
    };
    let busy = |detail: &str| {
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, "LS0316", detail, Again::SameId).of_event(&key)
    };
    let asked = engine.request(answers::by_key(partition_key.unwrap_or_default(), event));
    let mut asked = asked.map_err(|why| {
        busy(match why {
            Busy::Full => "more requests wait than this processor takes; send it again with the same key",
            Busy::Gone => NO_ENGINE,
        })
    })?;
    let answer = match wait(asked.answer(), || engine.face().served()).await {
        Waited::Answer(answer) => answer,
        Waited::Gone => return Err(busy(NO_ENGINE)),
        Waited::Unserved => {
            let detail =
                "no processor is active, or the active can't be reached; send it again with the same key";
            let problem = Problem::new(StatusCode::SERVICE_UNAVAILABLE, "LS0320", detail, Again::SameId);
            return Err(problem.of_event(&key));
        }
        Waited::Late => {
            let detail = format!("no answer in {} s; send it again with the same key", DEADLINE.as_secs());
            let problem = Problem::new(StatusCode::GATEWAY_TIMEOUT, "LS0317", detail, Again::SameId);
            return Err(problem.of_event(&key));
        }
    };
    response_of(answer, engine, &key)
}

/// What became of a request.
#[derive(Debug, PartialEq, Eq)]
enum Waited {
    Answer(Answer),
    /// Its engine has stopped or hung: no answer comes.
    Gone,
    /// There has been no active for so long that the client had better try again later.
    Unserved,
    Late,
}

/// Waits for the answer while it may come.
async fn wait<E>(answer: impl Future<Output = Result<Answer, E>>, served: impl Fn() -> bool) -> Waited {
    let begun = Instant::now();
    let mut unserved_since = None;
    tokio::pin!(answer);
    loop {
        match tokio::time::timeout(LOOK_EVERY, &mut answer).await {
            Ok(Ok(answer)) => return Waited::Answer(answer),
            Ok(Err(_)) => return Waited::Gone,
            Err(_) if begun.elapsed() >= DEADLINE => return Waited::Late,
            Err(_) if served() => unserved_since = None,
            Err(_) if unserved_since.get_or_insert_with(Instant::now).elapsed() >= UNSERVED_MAX => {
                return Waited::Unserved;
            }
            Err(_) => {}
        }
    }
}

fn response_of(answer: Answer, engine: &EngineHandle, key: &str) -> Result<HttpResponse, Problem> {
    let problem = match answer {
        Answer::Ended { number, outcome: Outcome::Committed { reply } } => {
            let mut response = HttpResponse::Ok();
            response.insert_header((CONTENT_TYPE, "application/json"));
            response.insert_header(("Lockstep-Event", key));
            response.insert_header(("Lockstep-Sequence", number.0.to_string()));
            response.insert_header(("Lockstep-Version", engine.face().descriptor().version.to_string()));
            let reply = if reply.is_empty() { b"null".to_vec() } else { reply.to_vec() };
            return Ok(response.body(reply));
        }
        Answer::Ended { outcome: Outcome::Refused(refusal), .. } => {
            Problem::new(StatusCode::UNPROCESSABLE_ENTITY, &refusal.code, refusal.message, Again::NewId)
        }
        Answer::Ended { outcome: Outcome::Faulted(fault), .. } => {
            let detail = format!("work unit `{}`: {}: {}", fault.unit, fault_word(fault.kind), fault.message);
            let (status, again) = match fault.kind {
                FaultKind::Deadline => (StatusCode::GATEWAY_TIMEOUT, Again::NewId),
                // The same under a new id would take the next processor down (R21).
                FaultKind::Killed | FaultKind::Hung | FaultKind::Quarantined => {
                    (StatusCode::INTERNAL_SERVER_ERROR, Again::Never)
                }
                FaultKind::Panic | FaultKind::Error | FaultKind::Contract => {
                    (StatusCode::INTERNAL_SERVER_ERROR, Again::NewId)
                }
            };
            Problem::new(status, FAULTED, detail, again)
        }
        Answer::Retry { reason } => {
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, "LS0318", reason, Again::SameId)
        }
        Answer::Rejected(rejection) => rejected(rejection),
        Answer::SessionOpened { .. } => {
            Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "LS0319", "a session was opened", Again::Never)
        }
    };
    Err(problem.of_event(key))
}

fn role_word(role: Role) -> String {
    role.to_string()
}

async fn index(site: web::Data<Site>) -> HttpResponse {
    let applications: Vec<Value> = site
        .engines
        .applications()
        .map(|(name, engines)| {
            // Versions may differ for moments, while a campaign goes from group to group.
            let engine = &engines[0];
            let descriptor = engine.face().descriptor();
            let procedures: Vec<Value> = descriptor
                .procedures
                .iter()
                .map(|procedure| {
                    let parameters = serde_json::from_str(&procedure.parameters)
                        .unwrap_or_else(|_| Value::String(procedure.parameters.clone()));
                    json!({
                        "name": procedure.name,
                        "version": procedure.version,
                        "reads_only": procedure.reads_only,
                        "path": format!("/{name}/{}", procedure.name),
                        "parameters": parameters,
                    })
                })
                .collect();
            json!({
                "name": name,
                "version": descriptor.version.to_string(),
                "role": role_word(engine.face().role()),
                "partitions": engines.len(),
                "procedures": procedures,
            })
        })
        .collect();
    json_page(StatusCode::OK, &json!({ "node": site.node, "applications": applications }))
}

async fn healthz() -> HttpResponse {
    json_page(StatusCode::OK, &json!({ "ok": true }))
}

async fn readyz(site: web::Data<Site>) -> HttpResponse {
    let roles: BTreeMap<_, _> = site
        .engines
        .all()
        .map(|engine| (engine.label.to_string(), role_word(engine.face().role())))
        .collect();
    let ready = site.engines.all().all(|engine| match engine.face().role() {
        Role::Active => true,
        Role::Standby => engine.face().linked(),
        Role::Starting | Role::Isolated => false,
    });
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    json_page(status, &json!({ "ready": ready, "roles": roles }))
}

async fn metrics_page(site: web::Data<Site>) -> HttpResponse {
    let page = metrics::page(&site.node, &site.engines, &site.generations.memory()).await;
    HttpResponse::Ok().insert_header((CONTENT_TYPE, "text/plain; version=0.0.4")).body(page)
}

fn json_page(status: StatusCode, value: &Value) -> HttpResponse {
    HttpResponse::build(status)
        .insert_header((CONTENT_TYPE, "application/json"))
        .body(value.to_string() + "\n")
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;

    #[actix_rt::test]
    async fn a_client_does_not_wait_long_while_nobody_serves() {
        let (sender, answer) = oneshot::channel();
        let begun = Instant::now();
        assert_eq!(wait(answer, || false).await, Waited::Unserved);
        assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
        drop(sender);
    }

    #[actix_rt::test]
    async fn an_answer_is_waited_for_while_somebody_serves() {
        let (sender, answer) = oneshot::channel();
        actix_rt::spawn(async move {
            tokio::time::sleep(UNSERVED_MAX * 2).await;
            let _ = sender.send(Answer::Retry { reason: String::new() });
        });
        assert_eq!(wait(answer, || true).await, Waited::Answer(Answer::Retry { reason: String::new() }));
        let (sender, answer) = oneshot::channel::<Answer>();
        drop(sender);
        assert_eq!(wait(answer, || true).await, Waited::Gone);
    }

    #[test]
    fn not_in_service_says_when_to_try_again() {
        let problem = Problem::new(StatusCode::SERVICE_UNAVAILABLE, "LS0000", "", Again::SameId).response();
        assert_eq!(problem.headers().get(RETRY_AFTER).unwrap(), "1");
    }
}
