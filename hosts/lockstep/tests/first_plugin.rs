//! `docs/first-plugin.md`: the commands of the page, as they stand there, from `lockstep new` to an upgrade that ran. Only
//! the ports are others, and what the package shares with this workspace is built once.
#![forbid(unsafe_code)]

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// What stands in the page's blocks of shell commands.
fn commands() -> String {
    let page = std::fs::read_to_string(root().join("docs/first-plugin.md")).expect("the page is there");
    let blocks = page.split("```sh\n").skip(1).map(|rest| rest.split("```").next().unwrap_or_default());
    blocks.collect()
}

/// The first of six ports that nobody has now.
fn free_ports() -> u16 {
    let listen = |port: u16| TcpListener::bind(("127.0.0.1", port)).ok();
    (0..100)
        .filter_map(|_| {
            let first = listen(0)?.local_addr().ok()?.port();
            (first <= 65_000).then_some(())?;
            (1..6).all(|more| listen(first + more).is_some()).then_some(first)
        })
        .next()
        .expect("there are free ports")
}

/// What stands for `curl` where there is none: it asks and prints the body.
const CURL: &str = r#"
command -v curl > /dev/null || curl() {
    local host="${2%%/*}" path="/${2#*/}"
    exec 9<> "/dev/tcp/127.0.0.1/${host##*:}"
    printf 'POST %s HTTP/1.1\r\nHost: x\r\n%s\r\nContent-Type: application/json\r\nContent-Length: %s\r\nConnection: close\r\n\r\n%s' \
        "$path" "$4" "${#6}" "$6" >&9
    sed '1,/^\r$/d' <&9
}
"#;

#[test]
fn the_commands_of_the_page_lead_to_an_upgrade_that_ran() {
    // The processors' program; cargo names it only to the packages that it belongs to.
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    // With the features that tests are built with, it has mostly been built.
    let all = ["build", "--quiet", "--workspace", "--bin", "lockstepd", "--example", "swap"];
    let built = Command::new(&cargo).args(all).current_dir(root()).status();
    assert!(built.expect("cargo runs").success());
    let programs = Path::new(env!("CARGO_BIN_EXE_lockstep")).parent().expect("it stands somewhere");
    let target = programs.parent().expect("a profile's directory stands in the target directory");
    let port = free_ports().to_string();
    let commands = commands().replace("7101", &port);
    let shared = format!("cd my-app\nln -s {} target\n", target.display());
    let commands = commands
        .replace("lockstep new my-app", &format!("lockstep new my-app --port {port}"))
        .replace("cd my-app\n", &shared);
    let script = format!(
        "set -euo pipefail\ntrap 'kill $(jobs -p) 2> /dev/null || true' EXIT\n{CURL}\nset -x\n{commands}"
    );
    let directory = tempfile::tempdir().expect("a directory");
    let path = std::env::join_paths(
        std::iter::once(programs.to_owned())
            .chain(Path::new(&cargo).parent().map(Path::to_owned))
            .chain(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default())),
    );
    let mut bash = Command::new("timeout");
    bash.args(["540", "bash", "-c", &script]).current_dir(&directory).env("PATH", path.expect("plain paths"));
    for (name, _) in
        std::env::vars().filter(|(name, _)| name.starts_with("CARGO_PKG_") || name == "LOCKSTEP_CONFIG")
    {
        bash.env_remove(name);
    }
    let output = bash.output().expect("bash runs");
    let (said, trace) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let log = |node: &str| std::fs::read_to_string(directory.path().join(format!("my-app/{node}.log")));
    assert!(output.status.success(), "{said}\n{trace}\n{:?}\n{:?}", log("a"), log("b"));
    for words in [
        "\n33", // one answer, and its repeat
        "my-app 1.0.0 -> 1.1.0: mixed",
        "shipped: 2 work units became 3 (R16)",
        "nothing was changed",
    ] {
        assert!(said.contains(words), "`{words}` is not said: {said}\n{trace}");
    }
    let after = said.split("nothing was changed").nth(1).unwrap_or_default();
    assert!(
        after.contains('7') && after.contains("in lock step") && after.contains("1.1.0"),
        "{after}\n{trace}"
    );
}
