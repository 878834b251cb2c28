//! A Lockstep processor.
//!
//! Reads its configuration, starts the processor inside an actix system, prints one JSON line with its addresses when
//! it serves, tells the service manager, and stops in order on SIGTERM, SIGINT or an operator's word. Several `--config` start several processors
//! in one process, each with an actix system of its own.
#![forbid(unsafe_code)]

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, ValueEnum};
use lockstep_runtime::config::NodeConfig;
use lockstep_runtime::config::report::render;
use lockstep_runtime::engine::ASSERTION_FAILED;
use lockstep_runtime::processor::{Processor, StartError};
use lockstep_runtime::supervisor::Supervisor;
use tokio::signal::unix::{SignalKind, signal};

/// How often is looked whether the service manager is to be told something new, and whether memory is to go back.
const STATUS_EVERY: std::time::Duration = std::time::Duration::from_millis(500);

/// Rows come and go by the hundred thousand a second, and the tables are to lie in huge pages.
#[global_allocator]
static ALLOCATOR: lockstep_os::heap::Heap = lockstep_os::heap::Heap;

/// A Lockstep processor: runs applications in lock step with its partner.
#[derive(Debug, Parser)]
#[command(name = "lockstepd", version)]
struct Arguments {
    /// The processor's configuration; several times for several processors in one process.
    #[arg(long, required = true, value_name = "FILE")]
    config: Vec<PathBuf>,
    /// How the log on standard error is written.
    #[arg(long, value_enum, default_value = "text")]
    log: LogForm,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum LogForm {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

fn main() -> ExitCode {
    lockstep_runtime::plugins::probe_if_asked();
    let arguments = Arguments::parse();
    let mut configs = Vec::new();
    for file in &arguments.config {
        match NodeConfig::load(file) {
            Ok(config) => configs.push(config),
            Err(error) => {
                eprint!("{}", render(&error));
                return ExitCode::from(2);
            }
        }
    }
    let filter = configs.first().map_or("info", |config| config.log.as_str());
    begin_log(arguments.log, filter);
    abort_on_panic();
    if let Err(error) = lockstep_runtime::processor::prepare_process() {
        tracing::warn!(%error, "the process could not be set up as wanted");
    }
    let supervisor = Supervisor::of_process(configs.len());
    let mut threads = Vec::new();
    let last = configs.pop();
    for config in configs {
        let name = format!("processor-{}", config.node);
        let supervisor = supervisor.clone();
        match std::thread::Builder::new().name(name).spawn(move || run(config, supervisor)) {
            Ok(thread) => threads.push(thread),
            Err(error) => {
                let why = format!("a processor gets no thread: {error}");
                report(&StartError::of_system(why, "see the limits on threads"));
                return ExitCode::from(1);
            }
        }
    }
    let mut good = last.is_none_or(|config| run(config, supervisor));
    for thread in threads {
        good &= thread.join().unwrap_or(false);
    }
    if good { ExitCode::SUCCESS } else { ExitCode::from(1) }
}

/// Runs one processor to its end; whether all went well.
fn run(config: NodeConfig, supervisor: Supervisor) -> bool {
    let system = actix_rt::System::new();
    let result = system.block_on(serve(config, supervisor));
    if let Err(error) = &result {
        report(error);
    }
    result.is_ok()
}

fn report(StartError { code, message, help }: &StartError) {
    let diagnostic = miette::MietteDiagnostic::new(message.clone()).with_code(code.clone());
    let diagnostic = if help.is_empty() { diagnostic } else { diagnostic.with_help(help.clone()) };
    eprint!("{}", render(&diagnostic));
}

async fn serve(config: NodeConfig, supervisor: Supervisor) -> Result<(), StartError> {
    let cannot = |error: std::io::Error| {
        StartError::of_system(format!("signals can't be received: {error}"), "start it again")
    };
    let mut terminate = signal(SignalKind::terminate()).map_err(cannot)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(cannot)?;
    let node = config.node.to_string();
    let mut processor = Processor::start(config, supervisor.clone()).await?;
    println!("{}", processor.ready_line());
    supervisor.ready();
    let mut looks = tokio::time::interval(STATUS_EVERY);
    loop {
        tokio::select! {
            _ = terminate.recv() => break tracing::info!("SIGTERM"),
            _ = interrupt.recv() => break tracing::info!("SIGINT"),
            () = processor.asked_to_stop() => break tracing::info!("asked to stop"),
            _ = looks.tick() => {
                supervisor.status(&node, &processor.words());
                lockstep_os::heap::give_back();
            }
        }
    }
    supervisor.stopping();
    processor.stop().await;
    actix_rt::System::current().stop();
    Ok(())
}

fn begin_log(form: LogForm, filter: &str) {
    use tracing_subscriber::EnvFilter;
    let filter = EnvFilter::try_new(filter).unwrap_or_else(|error| {
        eprintln!("warning: the log filter `{filter}` is not one ({error}); `info` is used");
        EnvFilter::new("info")
    });
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match form {
        LogForm::Text => {
            use std::io::IsTerminal;
            builder.with_ansi(std::io::stderr().is_terminal()).init();
        }
        LogForm::Json => builder.json().init(),
    }
}

/// A panic outside of plugin code means that this side is wrong: the process ends, and the partner takes over.
/// Plugins catch their own panics, in a runtime of their own; the store catches those of the engine that reads a damaged
/// checkpoint.
fn abort_on_panic() {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if lockstep_store::panic_is_caught() {
            return;
        }
        before(panic);
        tracing::error!(code = ASSERTION_FAILED, %panic, "an assertion failed; this processor stops, its partner takes over");
        std::process::abort();
    }));
}
