//! What an HTTP request carries: control parameters as JSON, or `multipart/form-data` with the parts `parameters` (JSON)
//! and `body` (any bytes), which is how ancillary data come over HTTP (R18).
//!
//! A form is taken whole, within its bound, before it is parsed: the parser waits for ever for the rest of a form that
//! ends in the middle of a boundary, and so it is asked once and must not wait.
//!
//! Invariant: nothing is kept beyond its bound, and nobody is waited for longer than a time.

use std::time::Duration;

use actix_multipart::{Field, Multipart};
use actix_web::http::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use actix_web::{HttpRequest, web};
use futures_util::{FutureExt, StreamExt, stream};
use lockstep_wire::events::{BODY_BYTES_MAX, PARAMETERS_BYTES_MAX};

/// How long a client may take to send what it has to send.
const READ_TIME_MAX: Duration = Duration::from_secs(10);
/// What boundaries and headers of a form's parts may take, in bytes.
const PARTS_BYTES_MAX: usize = 4 << 10;

/// Control parameters and body.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Sent {
    pub parameters: Vec<u8>,
    pub body: Vec<u8>,
}

/// Why a request carries neither.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Unreadable {
    /// Over the bound, in bytes.
    TooLarge(usize),
    /// It broke off.
    Broken(String),
    /// Its parts are not those that an event has.
    Parts(String),
    /// Another media type.
    MediaType(String),
}

/// Reads what a request carries.
pub(crate) async fn read(request: &HttpRequest, payload: web::Payload) -> Result<Sent, Unreadable> {
    let kind = request.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    if kind == "multipart/form-data" {
        let bytes_max = PARAMETERS_BYTES_MAX + BODY_BYTES_MAX + PARTS_BYTES_MAX;
        let form = take(payload, bytes_max, BODY_BYTES_MAX).await?;
        return read_form(request.headers(), form);
    }
    if kind.starts_with("multipart/") {
        return Err(Unreadable::MediaType(kind));
    }
    let parameters = take(payload, PARAMETERS_BYTES_MAX, PARAMETERS_BYTES_MAX).await?.to_vec();
    Ok(Sent { parameters, body: Vec::new() })
}

/// What a whole form carries.
///
/// The parser panics at short lines in front of the first boundary, which would end the processor. So a form begins with its
/// boundary, as clients write it, and the parser is told what was found to be so.
pub(crate) fn read_form(headers: &HeaderMap, form: web::Bytes) -> Result<Sent, Unreadable> {
    let wrong = |why: &str| Unreadable::Parts(why.into());
    let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let boundary = boundary_of(kind).ok_or_else(|| wrong("the form's `boundary` is missing or malformed"))?;
    let first = format!("--{boundary}\r\n");
    if !form.starts_with(first.as_bytes()) {
        return Err(match first.as_bytes().starts_with(&form) {
            true => Unreadable::Broken("the form has no end".into()),
            false => wrong("the form does not begin with its boundary"),
        });
    }
    let kind = format!("multipart/form-data; boundary=\"{boundary}\"");
    let kind = HeaderValue::try_from(kind).map_err(|_| wrong("the form's `boundary` is malformed"))?;
    let headers = HeaderMap::from_iter([(CONTENT_TYPE, kind)]);
    let parts = Multipart::new(&headers, stream::iter([Ok(form)]));
    let read = read_parts(parts).now_or_never();
    read.unwrap_or_else(|| Err(Unreadable::Broken("the form has no end".into())))
}

/// The boundary that a `Content-Type` names, of letters, digits and what else may stand in one.
fn boundary_of(kind: &str) -> Option<&str> {
    let named =
        |parameter: &&str| parameter.get(..9).is_some_and(|name| name.eq_ignore_ascii_case("boundary="));
    let boundary = kind.split(';').skip(1).map(str::trim).find(named)?[9..].trim();
    let bare = boundary.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(boundary);
    let may_stand = |byte: u8| byte.is_ascii_alphanumeric() || b"'()+_,-./:=? ".contains(&byte);
    ((1..=70).contains(&bare.len()) && !bare.ends_with(' ') && bare.bytes().all(may_stand)).then_some(bare)
}

/// All that a client sends, up to `bytes_max`; `bound` is what it is told of.
async fn take(payload: web::Payload, bytes_max: usize, bound: usize) -> Result<web::Bytes, Unreadable> {
    match tokio::time::timeout(READ_TIME_MAX, payload.to_bytes_limited(bytes_max)).await {
        Ok(Ok(Ok(bytes))) => Ok(bytes),
        Ok(Ok(Err(error))) => Err(Unreadable::Broken(error.to_string())),
        Ok(Err(_)) => Err(Unreadable::TooLarge(bound)),
        Err(_) => Err(Unreadable::Broken(format!("nothing whole came in {} s", READ_TIME_MAX.as_secs()))),
    }
}

async fn read_parts(mut parts: Multipart) -> Result<Sent, Unreadable> {
    let (mut parameters, mut body) = (None, None);
    while let Some(part) = parts.next().await {
        let mut part = part.map_err(|error| Unreadable::Broken(error.to_string()))?;
        let name = part.name().unwrap_or_default().to_owned();
        let (slot, bytes_max) = match name.as_str() {
            "parameters" => (&mut parameters, PARAMETERS_BYTES_MAX),
            "body" => (&mut body, BODY_BYTES_MAX),
            _ => return Err(Unreadable::Parts(format!("there is a part `{name}`"))),
        };
        if slot.is_some() {
            return Err(Unreadable::Parts(format!("part `{name}` comes twice")));
        }
        *slot = Some(bytes_of(&mut part, bytes_max).await?);
    }
    Ok(Sent { parameters: parameters.unwrap_or_default(), body: body.unwrap_or_default() })
}

async fn bytes_of(part: &mut Field, bytes_max: usize) -> Result<Vec<u8>, Unreadable> {
    match part.bytes(bytes_max).await {
        Ok(Ok(bytes)) => Ok(bytes.to_vec()),
        Ok(Err(error)) => Err(Unreadable::Broken(error.to_string())),
        Err(_) => Err(Unreadable::TooLarge(bytes_max)),
    }
}

#[cfg(test)]
mod tests {
    use actix_web::FromRequest;
    use actix_web::test::TestRequest;

    use super::*;

    async fn sent(kind: &str, content: impl Into<Vec<u8>>) -> Result<Sent, Unreadable> {
        let request = TestRequest::post().insert_header((CONTENT_TYPE, kind)).set_payload(content.into());
        let (request, mut payload) = request.to_http_parts();
        let payload = web::Payload::from_request(&request, &mut payload).await.expect("it is taken as it is");
        read(&request, payload).await
    }

    fn form(parts: &[(&str, &[u8])]) -> Vec<u8> {
        let mut content = Vec::new();
        for (name, bytes) in parts {
            content.extend(
                format!("--x\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n").into_bytes(),
            );
            content.extend_from_slice(bytes);
            content.extend_from_slice(b"\r\n");
        }
        content.extend_from_slice(b"--x--\r\n");
        content
    }

    const FORM: &str = "multipart/form-data; boundary=x";

    #[actix_web::test]
    async fn json_alone_is_the_parameters() {
        let read = sent("application/json", "{\"a\":1}").await;
        assert_eq!(read, Ok(Sent { parameters: b"{\"a\":1}".to_vec(), body: vec![] }));
    }

    #[actix_web::test]
    async fn a_form_has_parameters_and_body() {
        let read = sent(FORM, form(&[("body", &[0, 13, 10, 255]), ("parameters", b"{}")])).await;
        assert_eq!(read, Ok(Sent { parameters: b"{}".to_vec(), body: vec![0, 13, 10, 255] }));
    }

    #[actix_web::test]
    async fn other_parts_repeated_ones_and_other_kinds_are_refused() {
        for parts in [&[("file", b"a".as_slice())][..], &[("body", b"a"), ("body", b"b")]] {
            assert!(matches!(sent(FORM, form(parts)).await, Err(Unreadable::Parts(_))));
        }
        assert!(matches!(sent("multipart/mixed; boundary=x", "").await, Err(Unreadable::MediaType(_))));
    }

    #[actix_web::test]
    async fn each_has_its_bound() {
        let (body, parameters) = (vec![0; BODY_BYTES_MAX + 1], vec![b' '; PARAMETERS_BYTES_MAX + 1]);
        let too_large = Err(Unreadable::TooLarge(PARAMETERS_BYTES_MAX));
        assert_eq!(sent("application/json", parameters.clone()).await, too_large);
        assert_eq!(sent(FORM, form(&[("parameters", &parameters)])).await, too_large);
        assert_eq!(sent(FORM, form(&[("body", &body)])).await, Err(Unreadable::TooLarge(BODY_BYTES_MAX)));
        let whole = sent(FORM, form(&[("body", &body[1..])])).await;
        assert_eq!(whole.map(|sent| sent.body.len()), Ok(BODY_BYTES_MAX));
    }

    /// The parser itself panics at some of these, and a panic ends the processor.
    #[actix_web::test]
    async fn a_form_begins_with_its_boundary() {
        for before in ["\n", "--\n", "-\r\n", "--x--\r\n\n", "a preamble\r\n"] {
            let content = [before.as_bytes(), &form(&[("body", b"a")])].concat();
            assert!(matches!(sent(FORM, content).await, Err(Unreadable::Parts(_))), "{before:?}");
        }
        let content = form(&[("body", b"a")]);
        for kind in
            ["multipart/form-data", "multipart/form-data; boundary=", "multipart/form-data; boundary=\"x"]
        {
            assert!(matches!(sent(kind, content.clone()).await, Err(Unreadable::Parts(_))), "{kind}");
        }
        for kind in ["multipart/form-data; boundary=\"x\"", "Multipart/Form-Data;charset=utf-8; Boundary=x"] {
            assert_eq!(sent(kind, content.clone()).await.map(|sent| sent.body), Ok(b"a".to_vec()), "{kind}");
        }
    }

    #[actix_web::test]
    async fn a_form_that_breaks_off_is_not_taken() {
        let content = form(&[("body", b"abc"), ("parameters", b"{}")]);
        for end in 0..content.len() - 6 {
            let read = sent(FORM, content[..end].to_vec()).await;
            assert!(matches!(read, Err(Unreadable::Broken(_))), "cut at {end}: {read:?}");
        }
    }
}
