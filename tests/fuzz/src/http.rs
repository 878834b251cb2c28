//! What we decode of HTTP ourselves: forms, and the keys in headers. Heads and chunks are read by `actix-http`.

use lockstep_runtime::decoders;

use crate::Target;

pub const HTTP_FORM: Target = Target {
    name: "http-form",
    reads: "`multipart/form-data` of an event, over HTTP",
    run: form,
    seeds: forms,
};

pub const HTTP_KEYS: Target = Target {
    name: "http-keys",
    reads: "`Idempotency-Key` and `Lockstep-Key`, over HTTP",
    run: keys,
    seeds: || {
        let keys: [&[u8]; 4] = [b"order-7", b"\"order 7\"", "Zürich".as_bytes(), &[b'k'; 128]];
        keys.map(<[u8]>::to_vec).into()
    },
};

/// Longer than anything that a small input could hold by chance.
const BOUNDARY: &str = "3c8f2e51d6b94a7f3c8f2e51d6b94a7f";

fn write(parts: &[(&str, &[u8])], boundary: &str) -> Vec<u8> {
    let mut form = Vec::new();
    for (name, bytes) in parts {
        let head = format!("--{boundary}\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n");
        form.extend(head.into_bytes());
        form.extend(*bytes);
        form.extend(b"\r\n");
    }
    form.extend(format!("--{boundary}--\r\n").into_bytes());
    form
}

fn kind(boundary: &str) -> String {
    format!("multipart/form-data; boundary={boundary}")
}

fn forms() -> Vec<Vec<u8>> {
    let whole = |parts: &[(&str, &[u8])]| {
        let kind = kind("x");
        [&[kind.len() as u8], kind.as_bytes(), &write(parts, "x")].concat()
    };
    vec![
        whole(&[("parameters", b"{}"), ("body", &[0, 13, 10, 255])]),
        whole(&[("body", b"abc")]),
        whole(&[("parameters", b"{\"cents\":7}")]),
    ]
}

/// How long the kind is, the kind, the form.
fn form(bytes: &[u8]) -> bool {
    let Some((length, rest)) = bytes.split_first() else { return false };
    let (declared, content) = rest.split_at(usize::from(*length).min(rest.len()));
    let Some((parameters, body)) = decoders::form(declared, content) else { return false };
    assert!(parameters.len() + body.len() <= content.len());
    let again = write(&[("parameters", &parameters), ("body", &body)], BOUNDARY);
    assert_eq!(decoders::form(kind(BOUNDARY).as_bytes(), &again), Some((parameters, body)));
    true
}

fn keys(bytes: &[u8]) -> bool {
    let event = decoders::idempotency_key(bytes);
    if let Some(key) = &event {
        assert!((1..=128).contains(&key.len()));
        // It comes back in `Lockstep-Event`, and a repeat may name it so, with quotes or without.
        assert_eq!(decoders::idempotency_key(key.as_bytes()).as_ref(), Some(key));
        assert_eq!(decoders::idempotency_key(format!("\"{key}\"").as_bytes()).as_ref(), Some(key));
    }
    let partition = decoders::partition_key(bytes);
    if let Some(key) = &partition {
        assert_eq!(key.as_bytes(), bytes);
        assert!((1..=128).contains(&key.len()));
    }
    event.is_some() || partition.is_some()
}
