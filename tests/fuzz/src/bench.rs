//! What `lockstep bench` reads: templates of parameters, and answers over HTTP.

use lockstep_cli::decoders;

use crate::Target;

pub const BENCH_TEMPLATE: Target = Target {
    name: "bench-template",
    reads: "parameters with placeholders, on the command line of `lockstep bench`",
    run: template,
    seeds: || {
        let texts = [
            r#"{"from":"acc{key}","to":"a\"{other}","cents":{seq},"tags":["x",{connection}],"on":true}"#,
            r#"[{random:3-5},{random},"{random:0-9}"]"#,
        ];
        texts.map(|text| text.as_bytes().to_vec()).into()
    },
};

pub const BENCH_ANSWER: Target = Target {
    name: "bench-answer",
    reads: "a processor's answer over HTTP, in `lockstep bench`",
    run: answer,
    seeds: || {
        let whole = |status: &str, body: &str| {
            let length = body.len();
            format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\nLockstep-Event: x\r\n\r\n{body}")
                .into_bytes()
        };
        let problem = r#"{"code":"LS0318","detail":"starting","retry":"same-id"}"#;
        vec![whole("200 OK", "{\"entry\":7}"), whole("503 Service Unavailable", problem)]
    },
};

fn template(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else { return false };
    let mut taken = false;
    for number in [0, 1, u64::MAX] {
        let Ok((json, _)) = decoders::template(text, number) else { return false };
        // Numbers of chance have values of their own, which may stand beside digits.
        if !text.contains("{random") {
            let read = serde_json::from_slice::<serde_json::Value>(&json);
            assert!(read.is_ok(), "{}: {read:?}", String::from_utf8_lossy(&json));
        }
        taken = true;
    }
    taken
}

fn answer(bytes: &[u8]) -> bool {
    match decoders::answer(bytes) {
        Ok(Some(length)) => {
            assert!(length <= bytes.len());
            assert_eq!(decoders::answer(&bytes[..length]), Ok(Some(length)));
            assert_eq!(decoders::answer(&bytes[..length - 1]), Ok(None), "the rest of it is awaited");
            true
        }
        Ok(None) | Err(_) => false,
    }
}
