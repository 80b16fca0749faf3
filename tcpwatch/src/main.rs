//! The command: dispatches, turns errors into one line and an exit status, and nothing else.

use std::future::Future;
use std::io::{BufWriter, Write};
use std::process::ExitCode;

use clap::{CommandFactory as _, FromArgMatches as _};
use tcpwatch::cli::{Cli, Command, GeoArgs, RunArgs};
use tcpwatch::config::Config;
use tcpwatch::control::command::{self as control, CommandError};
use tcpwatch::control::last_error::LastError;
use tcpwatch::detach;
use tcpwatch::doctor;
use tcpwatch::geo::{self, Ending};
use tcpwatch::import;
use tcpwatch::kernel::memory;
use tcpwatch::manual::{self, ManualError};
use tcpwatch::pipeline::{self, PipelineError};
use tcpwatch::report::command;
use tcpwatch::selftest;
use tcpwatch::service;
use tcpwatch::service::journal::{self, Prioritised};
use tcpwatch::service::rights::Loader;
use tcpwatch::sink::wants_colour;
use tcpwatch::verify;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

/// Failed while running.
const FAILED: u8 = 1;
/// Wrong usage or configuration; nothing was touched.
const USAGE: u8 = 2;

/// With the commit and its date where `cargo xtask package` built it. Here and not in the library, of which nothing is then built anew.
const VERSION: &str = match option_env!("TCPWATCH_VERSION") {
    Some(version) => version,
    None => env!("CARGO_PKG_VERSION"),
};

fn main() -> ExitCode {
    let command = Cli::command().version(VERSION);
    let typed = Cli::from_arg_matches(&command.clone().get_matches());
    let typed = typed.unwrap_or_else(|error| error.format(&mut command.clone()).exit());
    match typed.command {
        Command::Run(args) => watch(*args),
        Command::Verify(args) => verify_books(&args),
        Command::Import(args) => import_records(args),
        Command::Geo(args) => answer(args),
        Command::Report(args) => report(&args),
        Command::Detach(args) => detach_all(&args),
        Command::Config => describe(manual::config(&mut std::io::stdout())),
        Command::Completions(args) => describe(manual::completions(&args, &mut std::io::stdout())),
        Command::Doctor(args) => examine(&args),
        Command::Selftest(args) => test_itself(&args),
        Command::Man(args) => describe(manual::man(&args, command, &mut std::io::stdout())),
        Command::Status(args) => asked(control::status(&args, &mut std::io::stdout())),
        Command::Ban(args) => asked(control::ban(&args, &mut std::io::stdout())),
        Command::Reload(args) => asked(control::reload(&args, &mut std::io::stdout())),
    }
}

/// A command that answers and ends.
fn answer(args: GeoArgs) -> ExitCode {
    let mut stderr = std::io::stderr();
    match geo::run(args.command, &mut std::io::stdout(), &mut stderr) {
        Ok(ending) => ended(ending),
        Err(error) => complain(&mut stderr, &error, USAGE),
    }
}

/// What became of asking the tcpwatch that is running.
fn asked(answered: Result<Ending, CommandError>) -> ExitCode {
    match answered {
        Ok(ending) => ended(ending),
        Err(error) => {
            let status = if error.is_usage() { USAGE } else { FAILED };
            complain(&mut std::io::stderr(), &error.into(), status)
        }
    }
}

fn report(args: &command::Arguments) -> ExitCode {
    let mut stderr = std::io::stderr();
    match command::run(args, &mut std::io::stdout(), &mut stderr) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let status = if error.is_usage() { USAGE } else { FAILED };
            complain(&mut stderr, &error.into(), status)
        }
    }
}

fn describe(written: Result<(), ManualError>) -> ExitCode {
    match written {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => complain(&mut std::io::stderr(), &error.into(), FAILED),
    }
}

fn verify_books(args: &verify::Arguments) -> ExitCode {
    match verify::run(args, &mut BufWriter::new(std::io::stdout())) {
        Ok(ending) => ended(ending),
        Err(error) => complain(&mut std::io::stderr(), &error.into(), USAGE),
    }
}

fn import_records(args: import::Arguments) -> ExitCode {
    let mut stderr = std::io::stderr();
    match import::run(args, &mut std::io::stdout(), &mut stderr) {
        Ok(ending) => ended(ending),
        Err(error) => {
            let status = if error.before_start() { USAGE } else { FAILED };
            complain(&mut stderr, &error.into(), status)
        }
    }
}

fn detach_all(args: &detach::Arguments) -> ExitCode {
    match detach::run(args, &mut std::io::stdout()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => complain(&mut std::io::stderr(), &error.into(), USAGE),
    }
}

fn examine(args: &doctor::Arguments) -> ExitCode {
    let mut stdout = std::io::stdout();
    let paper = doctor::Paper {
        colour: wants_colour(&stdout),
        columns: terminal_size::terminal_size_of(&stdout).map(|(width, _)| usize::from(width.0)),
    };
    match doctor::run(args, paper, &mut stdout) {
        Ok(ending) => ended(ending),
        Err(error) => complain(&mut std::io::stderr(), &error.into(), USAGE),
    }
}

fn test_itself(args: &selftest::Arguments) -> ExitCode {
    match selftest::run(args, &mut std::io::stdout()) {
        Ok(ending) => ended(ending),
        Err(error) => complain(&mut std::io::stderr(), &error.into(), USAGE),
    }
}

fn ended(ending: Ending) -> ExitCode {
    match ending {
        Ending::Done => ExitCode::SUCCESS,
        Ending::Failed => ExitCode::from(FAILED),
    }
}

fn watch(args: RunArgs) -> ExitCode {
    memory::give_back_large_blocks();
    let config = match Config::new(args, std::env::args_os()) {
        Ok(config) => config,
        Err(error) => return complain(&mut std::io::stderr(), &error.into(), USAGE),
    };
    // Before the first thread: each has rights of its own.
    let confinement = match service::confine(&config) {
        Ok(confinement) => confinement,
        Err(error) => return complain(&mut std::io::stderr(), &error.into(), USAGE),
    };
    // A terminal that has been stopped, or a pipe that nobody reads, must not hold up a drain: what is said goes through a
    // thread, and what that cannot take is dropped. The guard's end waits a second at most.
    let (mut stderr, _guard) = tracing_appender::non_blocking(std::io::stderr());
    let filter = tracing_subscriber::EnvFilter::try_from_env("TCPWATCH_LOG")
        .unwrap_or_else(|_unset_or_invalid| tracing_subscriber::EnvFilter::new("info"));
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(stderr.clone())
        .with_ansi(wants_colour(&std::io::stderr()))
        .with_target(false)
        .without_time();
    if journal::is_stderr() {
        log.event_format(Prioritised::default())
            .finish()
            .with(LastError)
            .init();
    } else {
        log.finish().with(LastError).init();
    }
    let loader = confinement.and_then(|confinement| {
        confinement.log();
        confinement.loader
    });
    match start(config, loader, &mut stderr) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let before_start = error
                .downcast_ref::<PipelineError>()
                .is_none_or(PipelineError::before_start);
            complain(&mut stderr, &error, if before_start { USAGE } else { FAILED })
        }
    }
}

fn start(config: Config, loader: Option<Loader>, stderr: &mut dyn Write) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let ended = runtime.block_on(async {
        let stop = stop_signal()?;
        Ok(pipeline::run(config, loader, stop, stderr).await?)
    });
    // A place database that is being read, from a file system that does not answer perhaps, is not waited for.
    runtime.shutdown_background();
    ended
}

/// Ready when the first SIGINT or SIGTERM arrives. The handlers are in place when this returns.
fn stop_signal() -> std::io::Result<impl Future<Output = ()>> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}

/// One line, whatever the causes contain.
fn complain(stderr: &mut dyn Write, error: &anyhow::Error, status: u8) -> ExitCode {
    let line = format!("{error:#}");
    let line = shortened(&line.split_whitespace().collect::<Vec<_>>().join(" "));
    let priority = if journal::is_stderr() { journal::ERROR } else { "" };
    // Nobody to read it is no reason for a panic.
    writeln!(stderr, "{priority}tcpwatch: {line}").unwrap_or_default();
    ExitCode::from(status)
}

/// A verifier's log has megabytes; what went wrong is at its end.
fn shortened(line: &str) -> String {
    const BEGINNING: usize = 300;
    const END: usize = 700;
    let chars: Vec<char> = line.chars().collect();
    match (
        chars.get(..BEGINNING),
        chars.len().checked_sub(END).and_then(|from| chars.get(from..)),
    ) {
        (Some(beginning), Some(end)) if chars.len() > BEGINNING + END => {
            beginning.iter().chain(&[' ', '…', ' ']).chain(end).collect()
        }
        _ => line.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::shortened;

    #[test]
    fn a_verifiers_log_keeps_its_beginning_and_its_end() {
        let line = format!("begin {} end", "é".repeat(100_000));
        let short = shortened(&line);
        assert!(
            short.starts_with("begin é") && short.ends_with("é end"),
            "{short}"
        );
        assert_eq!(short.chars().count(), 1003);
        assert_eq!(shortened("no interface eth9"), "no interface eth9");
    }
}
