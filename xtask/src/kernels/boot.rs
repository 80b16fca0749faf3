//! Starts a kernel in QEMU and follows it to its end. Emulated, because a machine that is itself virtual, as those that
//! run a gate are, often cannot do better; so it is the same everywhere.

use std::fs;
use std::io::{BufRead as _, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};

use super::console::{Transcript, last};
use super::qemu::Qemu;
use crate::machine::shown;

/// Kernel options: its messages on the first serial line; an end instead of a standstill when it panics; no watchdog,
/// which on a busy machine barks at the emulator.
const OPTIONS: &str = "console=ttyS0 loglevel=7 panic=-1 nowatchdog rdinit=/init";

/// Two CPUs, because what is tested is what they do to each other; no devices but the serial lines.
const MACHINE: [&str; 13] = [
    "-accel",
    "tcg",
    "-cpu",
    "max",
    "-smp",
    "2",
    "-m",
    "2G",
    "-nodefaults",
    "-display",
    "none",
    "-no-reboot",
    "-no-user-config",
];

/// Runs a kernel to its end and shows what the tests print.
///
/// # Errors
///
/// QEMU cannot be started or does not end within `limit`, or the tests or the kernel fail: the end of the kernel's
/// messages is then printed.
pub fn run(qemu: &Qemu, kernel: &Path, initramfs: &Path, log: &Path, limit: Duration) -> anyhow::Result<()> {
    // Should we be killed, so is QEMU; Ctrl-C reaches both.
    let mut command = Command::new("setpriv");
    command
        .args(["--pdeathsig", "KILL", "--"])
        .args(qemu.command())
        .args(MACHINE);
    command.arg("-kernel").arg(kernel).arg("-initrd").arg(initramfs);
    command
        .args(["-append", OPTIONS, "-serial"])
        .arg(format!("file:{}", log.display()));
    command
        .args(["-serial", "stdio"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    let line = shown(&command);
    let mut running = Running(
        command
            .spawn()
            .with_context(|| format!("cannot start `{line}`"))?,
    );

    let outcome = follow(&mut running, limit).and_then(|transcript| {
        let messages = messages(log)?;
        transcript.judge(&messages)
    });
    if outcome.is_err() {
        println!("the last messages of the kernel (all are in {}):", log.display());
        for line in last(&messages(log)?) {
            println!("    {line}");
        }
    }
    outcome
}

fn messages(log: &Path) -> anyhow::Result<String> {
    let bytes = fs::read(log).with_context(|| format!("cannot read {}", log.display()))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn follow(running: &mut Running, limit: Duration) -> anyhow::Result<Transcript> {
    let deadline = Instant::now() + limit;
    let output = running.0.stdout.take().context("QEMU's output is a pipe")?;
    let lines = lines(output);
    let mut transcript = Transcript::default();
    loop {
        match lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(line) => {
                if transcript.take(&line) {
                    println!("{line}");
                }
            }
            Err(RecvTimeoutError::Timeout) => bail!("not at its end after {} s", limit.as_secs()),
            Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    let status = running.0.wait().context("cannot wait for QEMU")?;
    if !status.success() {
        bail!("QEMU failed ({status})");
    }
    Ok(transcript)
}

/// The lines of an output as they come, until its end. The serial line ends them as terminals do.
fn lines(output: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = channel();
    thread::spawn(move || {
        for line in BufReader::new(output).split(b'\n').map_while(Result::ok) {
            let line = String::from_utf8_lossy(&line).trim_end_matches('\r').to_owned();
            if sender.send(line).is_err() {
                break; // nobody follows any more
            }
        }
    });
    receiver
}

/// QEMU, which does not outlive whoever follows it.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It has ended, unless something failed; a child that was waited for is not killed.
        if let Ok(None) = self.0.try_wait()
            && let Err(error) = self.0.kill().and_then(|()| self.0.wait())
        {
            eprintln!("error: cannot end QEMU: {error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_without_their_ends_whatever_is_in_them() {
        let lines: Vec<String> = lines(&b"one\r\ntwo \xff\r\nthree"[..]).iter().collect();
        assert_eq!(lines, ["one", "two \u{fffd}", "three"]);
    }

    /// A process in QEMU's place.
    fn shell(script: &str) -> Running {
        let mut command = Command::new("sh");
        Running(
            command
                .args(["-c", script])
                .stdout(Stdio::piped())
                .spawn()
                .unwrap(),
        )
    }

    #[test]
    fn follows_to_the_end_of_the_output() {
        let mut running = shell("echo '== ended: x 0'; echo '== end of the tests'");
        let transcript = follow(&mut running, Duration::from_secs(60)).unwrap();
        assert!(transcript.judge("").is_ok());
    }

    #[test]
    fn does_not_wait_for_ever() {
        let mut running = shell("exec sleep 600");
        let error = follow(&mut running, Duration::from_millis(50)).unwrap_err();
        assert_eq!(error.to_string(), "not at its end after 0 s");
    }
}
